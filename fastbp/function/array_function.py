"""A function with array results at a point, as a function of real numbers with real results.

Complex numbers are pairs of real ones. By JAX's convention the pairing of a cotangent w and an
output z is Re(w z), by PyTorch's it is Re(conj(w) z); so of a real function, JAX's gradient is the
conjugate of PyTorch's, which points uphill.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import EvaluationError, ShapeError
from fastbp.function.backends.vectorized import moved_batches
from fastbp.function.by_reference import OwnCopies, references
from fastbp.function.containers.alignment import aligned
from fastbp.function.containers.given_gradient import GivenLeaves, leaves_of
from fastbp.function.containers.point import (
    DOUBLE_UNIT,
    SINGLE_UNIT,
    Point,
    argument_name,
    consecutive,
    make_point,
    real_numbers,
)
from fastbp.function.containers.pytree import Container, require_leaves, take_apart
from fastbp.function.domain import Domain
from fastbp.function.moved_values import Raised, moved_results, raise_on_both_sides, where_moved
from fastbp.function.real_outputs import OutputsJob, Pairing, RealOutputs, first_of, real_leaf
from fastbp.runtime.account import Account
from fastbp.runtime.user_code import NOISE_IS_AN_OPTION, called_twice, calling
from fastbp.typing import Mask, Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fastbp.function.containers.chosen_entries import Chosen
    from fastbp.runtime.workers.task import Task
    from fastbp.runtime.workers.worker_pool import WorkerPool


__all__ = [
    "CONVENTIONS",
    "VectorFunction",
    "output_name",
    "real_given",
]

CONVENTIONS = ("jax", "torch")
# How far beside the point, relative to its largest entry, single precision is looked for; and the
# noise of outputs in which it is found, relative to them.
BESIDE, SINGLE_ROUNDING = 2.0**-12, 2 * SINGLE_UNIT


class VectorFunction:
    """A function with array results at a point, as a function of real numbers with real results.

    Parameters
    ----------
    f : callable
    at : nesting of arrays and scalars
    convention : {"jax", "torch"}
    vectorized, workers
        How f is evaluated, as in `numerical_gradient`.
    noise : float
        By how much two results at the point may differ.
    called, result : str
        What f and its result are called in messages.
    members : dict of str to str, optional
        What the members of `at` are called, by their paths, where each is an argument of its own.
    account : Account, optional
        Where every evaluation is counted.

    Attributes
    ----------
    evaluations : int
        How often f was called.
    seconds : float
        The time that one evaluation takes: the shortest one at the point.
    chosen : Chosen or None
        The entries by which derivatives are asked for; None for all.
    errors : list of EvaluationError
        What f raised on both sides of an entry, where the check went on.
    raised : Raised
        What it raised beside the point.
    product_noise : float
        By how much products of a given function differ from call to call, where that is allowed.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        at: Any,
        convention: str,
        *,
        vectorized: bool,
        workers: Any,
        noise: float = 0.0,
        called: str = "f",
        result: str = "output",
        members: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        self.account = Account() if account is None else account
        self.f, self.convention = f, convention
        self.called, self.result = called, result
        self.vectorized, self.workers = vectorized, workers
        self.name = ", ".join(members.values()) if members else argument_name(f)
        self.point = make_point(
            f, at, self.name, vectorized=vectorized, complex_too=True, members=members
        )
        evaluated = self.point.evaluated_by(f)
        self.evaluations, self.seconds = 0, 0.0
        self.product_noise = 0.0
        self.domain = Domain()
        self.chosen: Chosen | None = None
        self.findings: list[str] = []
        self.errors: list[EvaluationError] = []
        self.raised = Raised()
        before = references(self.point)
        self.output = self._called_twice(evaluated, noise)
        require_leaves(self.output, self.result, complex_too=True, empty_too=True)
        self.dtypes = [np.asarray(leaf).dtype for leaf in self.output.leaves]
        self.outputs = RealOutputs(
            evaluated, self.output, vectorized=vectorized, called=called, result=result
        )
        self._may_keep = True
        self._keeps_its_argument(before)
        self.value = np.concatenate([real_leaf(leaf) for leaf in self.output.leaves])
        own = self.point.as_given()
        self.single_argument = own.single
        # What the user's own vjp gets is of the precision that f returns at the user's point.
        self.given_dtypes = self.dtypes
        if own.single and not self.point.single:
            self.given_dtypes = [np.asarray(leaf).dtype for leaf in self._result(f, own).leaves]

    def _result(self, f: Callable[[Any], Any], point: Point) -> Container:
        """Evaluate at the point and take the result apart."""
        began = time.perf_counter()
        if not self.vectorized:
            with calling(self.called, "at or beside the point"):
                result = f(point.argument)
            self._count_one(time.perf_counter() - began)
            return take_apart(result, self.result).holding()
        batch = point.repeated(1)
        with calling(self.called):
            result = f(point.container.rebuilt(batch))
        self._count_one(time.perf_counter() - began)
        for numbers, one in zip(point.flat, batch, strict=True):
            numbers[:] = real_numbers(one)  # what f changed is looked for there
        return first_of(result, self.called, self.result)

    def _count_one(self, seconds: float) -> None:
        # The first call may compile f or load what it needs, and any may be held up.
        self.seconds = min(seconds, self.seconds) if self.evaluations else seconds
        self.evaluations += 1
        self.account.spend(1)

    def _called_twice(self, f: Callable[[Any], Any], noise: float) -> Container:
        """Evaluate at the point, and see whether f changes its argument or its mind."""
        outputs: list[Container] = []

        def call() -> tuple[list[str], list[Any], list[str]]:
            outputs.append(self._result(f, self.point).copied())
            changed = self.point.changed()
            self.point.restore()
            return outputs[-1].names, outputs[-1].leaves, changed

        twice = called_twice(call, noise=noise)
        if twice.changed:
            self.findings.append(f"{self.called} changed its argument: {', '.join(twice.changed)}")
        if twice.differing:
            ending = NOISE_IS_AN_OPTION if twice.apart else ""
            self.findings.append(
                f"{self.called}, called twice at the same point, {twice.differing}{ending}"
            )
        return outputs[0]

    def _keeps_its_argument(self, before: int) -> bool:
        """Tell whether there are more references to the argument; the next get copies."""
        if self.findings or references(self.point) <= before:
            return False
        self.point.renew()
        self.outputs.f = OwnCopies(self.outputs.f)
        self._may_keep = False
        return True

    def along(self, leaf: int, direction: NDArray[Any], steps: Sequence[float]) -> list[Vector]:
        """Evaluate as `moved` does; NaN beyond the bounds."""
        base = self.point.base[leaf]
        moved = [base + step * direction for step in steps]
        inside = [bool(self.domain.holds(leaf, place, slice(None)).all()) for place in moved]
        within = [step for step, holds in zip(steps, inside, strict=True) if holds]
        found = iter(self.moved(leaf, direction, within))
        nothing = np.full(self.value.size, np.nan)
        return [next(found) if holds else nothing for holds in inside]

    def moved(self, leaf: int, direction: NDArray[Any], steps: Sequence[float]) -> list[Vector]:
        """Evaluate with a leaf moved along a direction, for each of some steps.

        Raises
        ------
        Stopped
            If the account does not have so many evaluations.
        """
        if not steps:
            return []
        self.account.require_all(self.seconds * len(steps) / self.concurrency, len(steps))
        self.evaluations += len(steps)
        try:
            rows = self._evaluated(leaf, direction, steps)
        except KeyboardInterrupt as interrupt:
            raise self.account.interrupted(interrupt) from interrupt
        self.account.spend(len(steps))
        return rows

    def _evaluated(
        self, leaf: int, direction: NDArray[Any], steps: Sequence[float]
    ) -> list[Vector]:
        """Evaluate in the way that was asked for."""
        if self.vectorized:
            rows: list[Vector] = []
            for some, batch in moved_batches(self.point, leaf, direction, steps, slice(None)):
                rows += self._rows_of(batch, len(some))
            return rows
        if self._pool is not None:
            tasks: list[Task] = [
                ("moved", (leaf, steps[share], slice(None)))
                for share in self._pool.shares(len(steps), np.inf)
            ]
            where = f"with {self.point.container.names[leaf]} moved along a tangent"
            results: list[tuple[NDArray[np.float64], Raised]] = self._pool.run(
                tasks, direction, lambda _: where
            )
            for _, raised in results:
                self.raised.include(raised)
            return [row for rows, _ in results for row in rows]
        if not self._may_keep or not any(steps):
            return self._moved_here(leaf, direction, steps)
        self._may_keep = False
        before = references(self.point)
        rows = self._moved_here(leaf, direction, steps)
        kept = self._keeps_its_argument(before)  # which was changed since then
        return self._moved_here(leaf, direction, steps) if kept else rows

    def _rows_of(self, batch: list[NDArray[Any]], count: int) -> list[Vector]:
        """Evaluate many points; where f raises, halve them: it is NaN for that one."""
        try:
            with calling(self.called):
                found = self.outputs(self.point.container.rebuilt(batch))
        except EvaluationError as error:
            if count == 1:
                self.raised.add(error.__cause__ or error, lambda: "beside the point")
                return [np.full(self.value.size, np.nan)]
            halves = (slice(0, count // 2), slice(count // 2, count))
            return [
                row
                for half in halves
                for row in self._rows_of([leaf[half] for leaf in batch], half.stop - half.start)
            ]
        if len(found) != count:
            raise ShapeError(
                f"{self.called} is vectorized: for {count} points it must return as many, not "
                f"{len(found)}."
            )
        return list(found)

    def _moved_here(
        self, leaf: int, direction: NDArray[Any], steps: Sequence[float]
    ) -> list[Vector]:
        return moved_results(
            self.outputs, self.point, self.called, leaf, direction, steps,
            restore=bool(self.findings), outside=np.full(self.value.size, np.nan),
            raised=self.raised,
        )  # fmt: skip

    def raise_if_it_raised_along(self, leaf: int, direction: NDArray[Any], step: float) -> None:
        """Raise what f raises on both sides of the point along a direction, if it does."""
        raise_on_both_sides(lambda signed: self._moved_or_raised(leaf, direction, signed), step)

    def _moved_or_raised(self, leaf: int, direction: NDArray[Any], step: float) -> None:
        if not self.vectorized:
            moved_results(self.outputs, self.point, self.called, leaf, direction, (step,))
            return
        for _, batch in moved_batches(self.point, leaf, direction, (step,), slice(None)):
            with calling(self.called, where_moved(self.point, leaf, direction, step)):
                self.outputs(self.point.container.rebuilt(batch))

    @property
    def why_stopped(self) -> str:
        """Why no more evaluations are made; empty while they are."""
        return "" if self.account.stopped is None else self.account.stopped.reason

    def mask(self, leaf: int) -> Mask:
        """Return by which real numbers of a leaf derivatives are asked for."""
        if self.chosen is None:
            return np.ones(self.point.base[leaf].size, dtype=bool)
        return self.chosen.masks[leaf]

    @property
    def chosen_numbers(self) -> Mask:
        """By which real numbers of the argument derivatives are asked for."""
        return np.concatenate([self.mask(leaf) for leaf in range(len(self.point.base))])

    @property
    def concurrency(self) -> int:
        """How many evaluations go on at the same time."""
        return 1 if self._pool is None else self._pool.concurrency

    @cached_property
    def _pool(self) -> WorkerPool | None:
        """Who evaluates f elsewhere; None where f changes its argument: that is watched here."""
        if self.workers is None or self.findings:
            return None
        from fastbp.runtime.workers.worker_pool import WorkerPool

        pool = WorkerPool(self.workers, self.called)
        pool.pack(
            OutputsJob(self.outputs, self.point), {self.called: self.f, self.name: self.point}
        )
        return pool

    def __enter__(self) -> VectorFunction:
        """Begin: a context, so that workers are let go whatever happens."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the workers go, if there are any."""
        pool = vars(self).get("_pool")
        if pool is not None:
            pool.close()

    @cached_property
    def hidden_rounding(self) -> Vector:
        """The noise of outputs in float64 that are computed in single precision; 0 for others.

        A number that comes from float64 has no 29 zeros at its end, but by chance. Beside the
        point, since at the point it may be a whole number.
        """
        nothing = np.zeros(self.value.size)
        if self.unit == SINGLE_UNIT or self.findings:
            return nothing
        rng = np.random.default_rng(0)
        rounded, moved = np.ones(self.value.size, dtype=bool), nothing.astype(bool)
        for leaf, base in enumerate(self.point.base):
            size = float(np.max(np.abs(base[np.isfinite(base)]), initial=0.0)) or 1.0
            beside = rng.uniform(0.5, 1.0, base.size).astype(base.dtype)
            directions = self.domain.inward(leaf, base, beside)
            values = self._beside(leaf, directions, BESIDE * size)
            with np.errstate(all="ignore"):
                rounded &= values.astype(np.float32) == values
                moved |= values != self.value
        return np.where(rounded & moved, SINGLE_ROUNDING * np.abs(self.value), nothing)

    def _beside(self, leaf: int, direction: NDArray[Any], step: float) -> Vector:
        """Evaluate once beside the point, in this process; NaN where f raises or has bounds."""
        nothing = np.full(self.value.size, np.nan)
        inside = self.domain.holds(leaf, self.point.base[leaf] + step * direction, slice(None))
        if not inside.all():
            return nothing
        try:
            if self.vectorized or self._pool is None:
                return self.moved(leaf, direction, [step])[0]
            self._count_one(self.seconds)
            return self._moved_here(leaf, direction, [step])[0]
        except EvaluationError:
            return nothing

    @property
    def complex_output(self) -> list[bool]:
        """Tell which outputs are complex."""
        return [dtype.kind == "c" for dtype in self.dtypes]

    @property
    def unit(self) -> float:
        """Of the coarsest precision among the outputs and arguments."""
        single = any(dtype in (np.float32, np.complex64) for dtype in self.dtypes)
        return SINGLE_UNIT if single or self.point.single else DOUBLE_UNIT

    @property
    def single_products(self) -> bool:
        """Tell whether the user's products of this function may be computed in single precision."""
        return self.unit == SINGLE_UNIT or self.single_argument

    def given_vjp(self, vjp: Callable[..., Any], weights: Vector) -> list[NDArray[Any] | None]:
        """Call the user's vjp; return an array of real numbers for each leaf, or None."""
        with calling("vjp"):
            result = vjp(self.point.for_derivative()[0], self.nested_output(weights))
        return real_given(leaves_of(result, self.point, "vjp"), self).arrays

    def given_jvp(
        self, jvp: Callable[..., Any], leaf: int, tangent: Vector, called: str = "jvp"
    ) -> list[NDArray[Any] | None]:
        """Call the user's jvp; return an array for each output, or None."""
        with calling(called):
            result = jvp(self.point.for_derivative()[0], self.nested_tangent(leaf, tangent))
        return aligned(result, self.output, called).arrays

    def output_parts(self) -> list[slice]:
        """Where the real numbers of each output are in the vector."""
        sizes = [
            int(np.prod(shape)) * (2 if is_complex else 1)
            for shape, is_complex in zip(self.output.shapes, self.complex_output, strict=True)
        ]
        return consecutive(sizes)

    def finite_outputs(self) -> Mask:
        """Tell which real numbers of the result are finite; of a complex one both parts must be."""
        finite: Mask = np.isfinite(self.value)
        for part, is_complex in zip(self.output_parts(), self.complex_output, strict=True):
            if is_complex:
                finite[part] = np.repeat(finite[part].reshape(-1, 2).all(axis=1), 2)
        return finite

    def paired_with(self, weights: Vector) -> Pairing:
        """Return the scalar function <weights, f>."""
        return Pairing(self.outputs, weights, single=self.unit == SINGLE_UNIT)

    def nested_output(self, weights: Vector) -> Any:
        """Return the cotangent, in the structure of the output, that has these real weights."""
        return self._nested(self.output, self.output_parts(), self.given_dtypes, weights, dual=True)

    def nested_tangent(self, leaf: int, tangent: Vector) -> Any:
        """Return a tangent in the structure of the argument, zero but in one leaf."""
        container = self.point.container
        parts = self.point.parts
        vector = np.zeros(parts[-1].stop)
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
