"""A function with array results at a point, as a function of real numbers with real results.

Complex numbers are pairs of real ones. By JAX's convention the pairing of a cotangent w and an
output z is Re(w z), by PyTorch's it is Re(conj(w) z); so of a real function, JAX's gradient is the
conjugate of PyTorch's, which points uphill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastbp.containers import Container, require_leaves, take_apart
from fastbp.errors import EvaluationError, ShapeError
from fastbp.evaluation import (
    DOUBLE_UNIT,
    SINGLE_UNIT,
    Point,
    argument_name,
    call_at,
    make_point,
    real_numbers,
)
from fastbp.lines import measure_lines
from fastbp.slopes import FIRST_STEP, FIRST_STEP_SINGLE, LAST_STEP, typical

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.given_function import GivenLeaves
    from fastbp.lines import Lines

    Vector: TypeAlias = NDArray[np.float64]

__all__ = [
    "CONVENTIONS",
    "VectorFunction",
    "call_with",
    "measure_outputs",
    "output_name",
    "random_components",
    "real_given",
    "real_leaf",
]

CONVENTIONS = ("jax", "torch")


class VectorFunction:
    """A function with array results at a point, as a function of real numbers with real results."""

    def __init__(self, f: Callable[[Any], Any], at: Any, convention: str, seed: int) -> None:
        self.f, self.convention = f, convention
        self.name = argument_name(f)
        self.point = make_point(f, at, self.name, complex_too=True)
        self.rng = np.random.default_rng(seed)
        self.evaluations = 0
        self.findings: list[str] = []
        result = self._called_twice()
        self.output: Container = take_apart(result, "output")
        require_leaves(self.output, "output", complex_too=True)
        self.dtypes = [np.asarray(leaf).dtype for leaf in self.output.leaves]
        self.value = self.real_output(result)
        own = Point(at, self.name, double=False)
        self.single_argument = own.single
        # What the user's own vjp gets is of the precision that f returns at the user's point.
        self.given_dtypes = self.dtypes
        if own.single and not self.point.single:
            leaves = take_apart(call_at(f, own, "f"), "output").leaves
            self.given_dtypes = [np.asarray(leaf).dtype for leaf in leaves]

    def _called_twice(self) -> Any:
        """Evaluate at the point, and see whether f changes its argument or its mind."""
        result = call_at(self.f, self.point, "f")
        first = [np.array(leaf) for leaf in take_apart(result, "output").leaves]
        if self.point.changed():
            self.findings.append(f"f changed its argument: {', '.join(self.point.changed())}")
            self.point.restore()
        again = [np.asarray(leaf) for leaf in take_apart(self._fresh(), "output").leaves]
        same = len(first) == len(again) and all(
            one.shape == two.shape and np.allclose(one, two, rtol=1e-13, atol=0, equal_nan=True)
            for one, two in zip(first, again, strict=True)
        )
        if not same:
            self.findings.append("f, called twice at the same point, gave two different results")
        return result

    def _fresh(self) -> Any:
        result = call_at(self.f, self.point, "f")
        self.point.restore()
        return result

    @property
    def complex_output(self) -> list[bool]:
        """Tell which outputs are complex."""
        return [dtype.kind == "c" for dtype in self.dtypes]

    @property
    def unit(self) -> float:
        """Of the coarsest precision among the outputs and arguments."""
        single = any(dtype in (np.float32, np.complex64) for dtype in self.dtypes)
        return SINGLE_UNIT if single or self.point.single else DOUBLE_UNIT

    def real_output(self, result: Any) -> Vector:
        """Return all real numbers of a result in one vector; raise if it is of another form."""
        parts = take_apart(result, "output")
        if parts.names != self.output.names or parts.shapes != self.output.shapes:
            raise ShapeError(
                f"f must always return the same structure: it gave {parts.names} of shapes "
                f"{parts.shapes} after {self.output.names} of {self.output.shapes}."
            )
        return np.concatenate([real_leaf(leaf) for leaf in parts.leaves])

    def evaluated(self) -> Vector:
        """Evaluate at the working copy, as it is now."""
        self.evaluations += 1
        return self.real_output(call_at(self.f, self.point, "f"))

    def output_parts(self) -> list[slice]:
        """Where the real numbers of each output are in the vector."""
        sizes = [
            int(np.prod(shape)) * (2 if is_complex else 1)
            for shape, is_complex in zip(self.output.shapes, self.complex_output, strict=True)
        ]
        ends = np.cumsum(sizes).tolist()
        return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def random_cotangent(self) -> Vector:
        """Return real weights of all real outputs, between a half and one in size."""
        return random_components(self.rng, self.value.size)

    def paired_with(self, weights: Vector) -> Callable[[Any], float]:
        """Return the scalar function <weights, f>."""

        def paired(argument: Any) -> Any:
            self.evaluations += 1
            total = float(weights @ self.real_output(self.f(argument)))
            return np.float32(total) if self.unit == SINGLE_UNIT else total

        return paired

    def nested_output(self, weights: Vector) -> Any:
        """Return the cotangent, in the structure of the output, that has these real weights."""
        return self._nested(self.output, self.output_parts(), self.given_dtypes, weights, dual=True)

    def nested_tangent(self, leaf: int, tangent: Vector) -> Any:
        """Return a tangent in the structure of the argument, zero but in one leaf."""
        container = self.point.container
        sizes = [numbers.size for numbers in self.point.base]
        ends = np.cumsum(sizes).tolist()
        parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        vector = np.zeros(ends[-1])
        vector[parts[leaf]] = tangent
        dtypes = [np.asarray(leaf).dtype for leaf in container.leaves]
        return self._nested(container, parts, dtypes, vector, dual=False)

    def _nested(
        self,
        container: Container,
        parts: list[slice],
        dtypes: list[Any],
        vector: Vector,
        dual: bool,
    ) -> Any:
        leaves = []
        for shape, part, dtype, leaf in zip(
            container.shapes, parts, dtypes, container.leaves, strict=True
        ):
            numbers = vector[part]
            if dtype.kind == "c":
                numbers = numbers.copy().view(np.complex128)
                if dual and self.convention == "jax":
                    numbers = numbers.conj()
            array = numbers.astype(dtype).reshape(shape)
            leaves.append(array if isinstance(leaf, np.ndarray) or shape else array[()])
        return container.rebuilt(leaves)

    def real_cotangent(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a given cotangent of an argument as real numbers, with one more axis."""
        dual = array.conj() if self.convention == "jax" else array
        return np.stack([dual.real, dual.imag], axis=-1)


def real_leaf(leaf: Any) -> Vector:
    """Return the real numbers of an array or scalar in one vector of float64."""
    array = np.ascontiguousarray(leaf)
    return real_numbers(array).astype(np.float64)


def random_components(rng: np.random.Generator, size: int) -> Vector:
    """Return random numbers between a half and one in size, of either sign."""
    signs = rng.integers(0, 1, size, endpoint=True) * 2 - 1
    components: Vector = signs * rng.integers(128, 256, size, endpoint=True) / 256
    return components


def output_name(function: VectorFunction, place: int) -> str:
    """Return a real number of the output as one writes it in Python."""
    for name, shape, part, is_complex in zip(
        function.output.names,
        function.output.shapes,
        function.output_parts(),
        function.complex_output,
        strict=True,
    ):
        if part.start <= place < part.stop:
            entry, ending = place - part.start, ""
            if is_complex:
                entry, imaginary = divmod(entry, 2)
                ending = ".imag" if imaginary else ".real"
            index = ", ".join(str(int(i)) for i in np.unravel_index(entry, shape))
            return f"{name}[{index}]{ending}" if index else f"{name}{ending}"
    raise IndexError(place)


def measure_outputs(
    function: VectorFunction,
    leaf: int,
    tangent: Vector,
    shift: float = 1.0,
    only: slice = slice(None),
) -> Lines:
    """Difference all outputs, or some, along a tangent of one leaf."""
    point = function.point
    numbers, base = point.flat[leaf], point.base[leaf]
    single = function.unit == SINGLE_UNIT
    scale = typical(base) if np.count_nonzero(tangent) != 1 else _entry_scale(base, tangent)
    direction = tangent.astype(base.dtype)
    cache: dict[float, Vector] = {}

    def evaluate(which: NDArray[np.int64], steps: Vector) -> tuple[Vector, Vector]:
        # All outputs move along the same line: one evaluation for all that share a step.
        values = np.empty(steps.size)
        for step in np.unique(steps).tolist():
            if step not in cache:
                numbers[:] = base + numbers.dtype.type(step) * direction
                try:
                    cache[step] = function.evaluated()[only]
                finally:
                    numbers[:] = base
            same = steps == step
            values[same] = cache[step][which[same]]
        return steps, values

    values = function.value[only]
    first = FIRST_STEP_SINGLE if single else FIRST_STEP
    return measure_lines(
        evaluate,
        values,
        np.full(values.size, shift * first * scale),
        np.full(values.size, LAST_STEP * max(scale, typical(base))),
        function.unit,
        alike=False,
    )


def _entry_scale(base: NDArray[np.floating], tangent: Vector) -> float:
    entry = base[np.flatnonzero(tangent)]
    return max(typical(entry), 2.0**-16 * typical(base)) if entry[0] else typical(base)


def real_given(given: GivenLeaves, function: VectorFunction) -> GivenLeaves:
    """Replace complex leaves by real ones with one more axis, as the rows call them."""
    container = function.point.container
    arrays: list[NDArray[Any] | None] = []
    for array, leaf in zip(given.arrays, container.leaves, strict=True):
        if array is None or np.asarray(leaf).dtype.kind != "c" or array.dtype.kind != "c":
            arrays.append(array)
        else:
            arrays.append(function.real_cotangent(array))
    given.arrays = arrays
    return given


def call_with(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """Call a user's function; what it raises becomes the cause of an error of ours."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments)
    except Exception as error:
        raise EvaluationError(
            f"{name} raised {type(error).__name__} at the point: {error}"
        ) from error
