"""Ways to evaluate a function at many points: one by one, many in a call, compiled, or elsewhere.

All of them give the same bits for the same function.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fastbp.errors import EvaluationError, OptionError, ShapeError
from fastbp.function.evaluation import Function, real_numbers
from fastbp.kernels.perturbation.perturbed_function import evaluate_perturbed
from fastbp.runtime.threads import get_num_threads, run_team
from fastbp.runtime.validation import require_bool
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastbp.function.evaluation import Point


__all__ = ["check_workers", "make_function", "moved_batches"]

BATCH_NUMBERS = 1 << 22  # real numbers in one call of a vectorized function: 32 MB
# What `run_team` takes for work, from time: it wakes other threads for what takes over 0.2 ms.
OPERATIONS_PER_SECOND = 2e10
ENOUGH_TO_TIME = 64  # evaluations in one call


def make_function(
    f: Callable[[Any], Any], point: Point, name: str, *, vectorized: bool, workers: int | None
) -> Function:
    """Return the function at the point, evaluated in the way that was asked for."""
    require_bool(vectorized, "vectorized")
    check_workers(workers, vectorized)
    if vectorized:
        return VectorizedFunction(f, point, name)
    if workers is not None:
        from fastbp.function.backends.worker_pool import DistributedFunction

        return DistributedFunction(f, point, name, workers)
    if isinstance(f, Dispatcher):
        return CompiledFunction(f, point, name)
    return Function(f, point, name)


def check_workers(workers: object, vectorized: bool) -> None:
    """Raise unless `workers` is None or a number of processes that makes sense."""
    if workers is None:
        return
    if isinstance(workers, bool) or not isinstance(workers, int) or workers == 0 or workers < -1:
        raise OptionError(
            f"workers must be None, a number of processes, or -1 for one per processor, "
            f"not {workers!r}."
        )
    if vectorized:
        raise OptionError("workers and vectorized exclude each other: one call takes many points.")


class CompiledFunction(Function):
    """A function that numba compiled: so is the loop over it, on all threads.

    numba's functions take arrays, numbers, and tuples and named tuples of these. Where it cannot
    compile the loop after all, that is Python's, as it is for numbers beside the arrays.
    """

    def _begin(self) -> None:
        self._kernel = self.function
        self._spare_points: list[Point] = []
        super()._begin()
        self.hands = 1 if _has_threads(self._kernel) else get_num_threads()
        self._compiled = False
        arrays = [leaf for leaf in range(len(self.point.flat)) if not self.point.is_scalar(leaf)]
        nothing = np.empty(0, dtype=np.int64)
        started = time.perf_counter()
        try:
            for leaf in arrays:
                self._run(leaf, nothing, self.point.base[leaf][:0], 0.0)
        except (NumbaError, TypeError) as error:
            reason = f"numba cannot compile it for this argument or result ({type(error).__name__})"
            self.notes.append(f"the loop over f is Python's: {reason}")
            return
        if not arrays:
            self.notes.append("the loop over f is Python's: its argument has no arrays")
            return
        self._compiled = True
        seconds = time.perf_counter() - started
        self.notes.append(
            f"the loop over f was compiled in {seconds:.2g} s and runs on "
            + ("one thread, since f has its own" if _has_threads(self._kernel) else "all threads")
        )

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        # A function that changes its argument is nothing that the loop expects.
        if self.findings or not self._compiled or self.point.is_scalar(leaf):
            return super().perturbed(leaf, indices, entries)
        started = time.perf_counter()
        values, raised = self._run(leaf, indices, entries, self.seconds * indices.size)
        if raised:  # once more in Python, to see where and what
            return super().perturbed(leaf, indices, entries)
        self.evaluations += indices.size
        if indices.size >= ENOUGH_TO_TIME:  # what was timed before is a call from Python
            elapsed = time.perf_counter() - started
            self.seconds = min(self.seconds, self.hands * elapsed / indices.size)
        return values

    def _run(
        self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any], seconds: float
    ) -> tuple[Vector, bool]:
        values, raised = np.empty(indices.size), np.zeros(1, dtype=np.int64)
        arguments = (
            np.ascontiguousarray(indices),
            np.ascontiguousarray(entries, dtype=self.point.base[leaf].dtype),
            values,
            raised,
        )

        def share(control: NDArray[np.int64], *arguments: Any) -> None:
            own = self._taken_point()
            evaluate_perturbed(control, self._kernel, own.argument, own.flat[leaf], *arguments)
            if not raised[0]:  # else an entry of it may still be changed
                self._spare_points.append(own)

        run_team(share, arguments, OPERATIONS_PER_SECOND * seconds, alone=self.hands == 1)
        return values, bool(raised[0])

    def _taken_point(self) -> Point:
        """Return a copy of the point that no other thread has; made anew only if there is none."""
        try:
            return self._spare_points.pop()
        except IndexError:
            return self.point.copy()


def _has_threads(function: Any) -> bool:
    """Tell whether a compiled function runs on several threads itself.

    numba's own layers do not bear that several threads of ours call such a function at once.
    """
    if function.targetoptions.get("parallel"):
        return True
    return any("numba_parallel_for" in text for text in function.inspect_llvm().values())


class VectorizedFunction(Function):
    """A function of many points at once: each leaf has one more axis, the first."""

    def _call(self, where: str) -> Any:
        self.evaluations += 1
        return self._evaluated(self.point.repeated(1), where)[0]

    def _changed(self) -> list[str]:
        """Compare what the function got last with the point."""
        return [
            name
            for name, batch, base in zip(
                self.point.container.names, self._last, self.point.base, strict=True
            )
            if not np.array_equal(real_numbers(batch), base, equal_nan=True)
        ]

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        self.evaluations += indices.size
        points = points_per_call(self.point)
        values = np.empty(indices.size)
        for start in range(0, indices.size, points):
            part = slice(start, min(start + points, indices.size))
            count = part.stop - part.start
            batch = self.point.repeated(count)
            numbers = real_numbers(batch[leaf]).reshape(count, -1)
            numbers[np.arange(count), indices[part]] = entries[part]
            where = f"with entries of {self.point.container.names[leaf]} changed"
            values[part] = self._evaluated(batch, where)
        return values

    def moved(
        self, leaf: int, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        self.evaluations += len(steps)
        values = [
            self._evaluated(batch, _where_moved(self.point, leaf, some))
            for some, batch in moved_batches(self.point, leaf, direction, steps, part)
        ]
        return np.concatenate(values)

    def close(self) -> None:
        """Nothing to look at: each call got copies of its own."""

    def _evaluated(self, batch: list[NDArray[Any]], where: str) -> NDArray[Any]:
        count = len(batch[0])
        self._last = batch
        try:
            with np.errstate(all="ignore"):
                values = np.asarray(self.function(self.point.container.rebuilt(batch)))
        except Exception as error:
            raise EvaluationError(
                f"{self.name} raised {type(error).__name__} {where}: {error}"
            ) from error
        if values.shape != (count,) or values.dtype.kind != "f":
            raise ShapeError(
                f"{self.name} is vectorized: it must return floats of shape ({count},) for "
                f"{count} points, not {values.dtype} of shape {values.shape}."
            )
        return values


def points_per_call(point: Point) -> int:
    """Return how many points a vectorized function is given at a time."""
    return max(1, BATCH_NUMBERS // sum(base.size for base in point.base))


def moved_batches(
    point: Point,
    leaf: int,
    direction: NDArray[Any],
    steps: Sequence[float],
    part: slice,
) -> Iterator[tuple[Sequence[float], list[NDArray[Any]]]]:
    """Yield some of the steps, and the points that lie so far along a direction."""
    points = points_per_call(point)
    for start in range(0, len(steps), points):
        some = steps[start : start + points]
        batch = point.repeated(len(some))
        numbers = real_numbers(batch[leaf]).reshape(len(some), -1)
        for row, step in zip(numbers, some, strict=True):
            row[part] += row.dtype.type(step) * direction[part]
        yield some, batch


def _where_moved(point: Point, leaf: int, steps: Sequence[float]) -> str:
    by = ", ".join(f"{step:g}" for step in steps)
    return f"with {point.container.names[leaf]} moved by {by} at random"
