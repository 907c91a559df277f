"""A function with array results as one of real vectors, alone and paired with weights.

Both travel to workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import ShapeError
from fastbp.function.containers.point import real_numbers
from fastbp.function.containers.pytree import take_apart
from fastbp.function.moved_values import Raised, moved_results
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastbp.function.containers.point import Point
    from fastbp.function.containers.pytree import Container


__all__ = ["OutputsJob", "Pairing", "RealOutputs", "first_of", "real_leaf"]


def real_leaf(leaf: Any) -> Vector:
    """Return the real numbers of an array or scalar in one vector of float64."""
    array = np.ascontiguousarray(leaf)
    return real_numbers(array).astype(np.float64)


class RealOutputs:
    """All real numbers of what a function returns, in one new vector.

    Parameters
    ----------
    f : callable
        Returns an array, a number, or a nesting of these.
    form : Container
        Names and shapes of the leaves of its result: always the same.
    vectorized : bool
        Whether it takes and returns many points at once, each leaf with one more axis, the first;
        then there is a row for each point.

    Attributes
    ----------
    size : int
        How many real numbers the result has, at one point.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        form: Container,
        *,
        vectorized: bool,
        called: str = "f",
        result: str = "output",
    ) -> None:
        self.called, self.result = called, result
        self.f, self.form, self.vectorized = f, form, vectorized
        self._alone = form.names == [result]  # an array, and no nesting
        self.size = sum(real_leaf(leaf).size for leaf in form.leaves)

    def __call__(self, argument: Any) -> NDArray[np.float64]:
        """Evaluate f."""
        return self.rows(self.f(argument)) if self.vectorized else self.vector(self.f(argument))

    def vector(self, result: Any) -> Vector:
        """Return the real numbers of a result; raise if it is of another form."""
        if self._alone and type(result) is np.ndarray and result.shape == self.form.shapes[0]:
            return real_leaf(result)
        parts = take_apart(result, self.result).holding()
        if not parts.same_form(self.form):
            raise ShapeError(
                f"{self.called} must always return the same structure: it gave {parts.names} of "
                f"shapes {parts.shapes} after {self.form.names} of {self.form.shapes}"
                + (", or with other entries." if parts.shapes == self.form.shapes else ".")
            )
        return np.concatenate([real_leaf(leaf) for leaf in parts.leaves])

    def rows(self, result: Any) -> NDArray[np.float64]:
        """Return the same for the result of many points, of shape (points, numbers)."""
        parts = take_apart(result, self.result).holding()
        counts = {shape[:1] for shape in parts.shapes}
        inner = [shape[1:] for shape in parts.shapes]
        if parts.names != self.form.names or inner != self.form.shapes or len(counts) != 1:
            raise ShapeError(
                f"{self.called} is vectorized and must always return the same structure: it gave "
                f"{parts.names} of shapes {parts.shapes} after {self.form.names} of (1, *shape) "
                f"for shapes {self.form.shapes}."
            )
        [(count,)] = counts
        return np.concatenate([real_leaf(leaf).reshape(count, -1) for leaf in parts.leaves], axis=1)


def first_of(result: Any, called: str, name: str) -> Container:
    """Take the result of a vectorized function for one point apart, without the first axis."""
    parts = take_apart(result, name).holding()
    for leaf_name, shape in zip(parts.names, parts.shapes, strict=True):
        if shape[:1] != (1,):
            raise ShapeError(
                f"{called} is vectorized: {leaf_name} must have shape (1, ...) for 1 point, "
                f"not {shape}."
            )
    return take_apart(parts.rebuilt([leaf[0] for leaf in parts.leaves]), name).holding()


class Pairing:
    """The scalar function <weights, f>, without the outputs whose weight is 0: they may be NaN.

    Parameters
    ----------
    outputs : RealOutputs
    weights : ndarray of float64, shape (numbers,)
    single : bool
        Whether f computes in single precision: then so is the result, as far as its type tells.
    """

    def __init__(self, outputs: RealOutputs, weights: Vector, *, single: bool) -> None:
        self.outputs, self.weights = outputs, weights
        self.unused = None if np.all(weights) else weights == 0
        self.result = np.float32 if single else np.float64

    def __call__(self, argument: Any) -> Any:
        """Evaluate it: a number, or one for each point.

        NumPy's sum and no dot product: BLAS adds in another order with another number of threads.
        """
        outputs = self.outputs(argument)
        with np.errstate(all="ignore"):  # ours, within the call of a user's function
            terms = self.weights * outputs
            if self.unused is not None:
                terms[..., self.unused] = 0.0
            return np.sum(terms, axis=-1).astype(self.result)


class OutputsJob:
    """A function with array results at a point, in a worker."""

    def __init__(self, outputs: RealOutputs, point: Point) -> None:
        self.outputs, self.point = outputs, point

    def of_a_thread(self) -> OutputsJob:
        """Return it with a working copy of the point of its own."""
        return OutputsJob(self.outputs, self.point.copy())

    def moved(
        self, leaf: int, steps: Sequence[float], part: slice, direction: NDArray[Any]
    ) -> tuple[NDArray[np.float64], Raised]:
        """Return a row of outputs for each step along a direction; NaN where f raises."""
        raised = Raised()
        rows = moved_results(
            self.outputs, self.point, self.outputs.called, leaf, direction[part], steps, part,
            outside=np.full(self.outputs.size, np.nan), raised=raised,
        )  # fmt: skip
        return np.array(rows), raised
