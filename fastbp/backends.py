"""Ways to evaluate a function at many points: one by one, many in a call, compiled, or elsewhere.

All of them give the same bits for the same function.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numba.core.dispatcher import Dispatcher

from fastbp.errors import EvaluationError, OptionError, ShapeError
from fastbp.evaluation import Function, real_numbers
from fastbp.kernels.perturb import evaluate_perturbed
from fastbp.threads import get_num_threads, run_team
from fastbp.validate import require_bool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastbp.evaluation import Point

    Vector: TypeAlias = NDArray[np.float64]

__all__ = ["check_workers", "make_function"]

BATCH_NUMBERS = 1 << 22  # real numbers in one call of a vectorized function: 32 MB
# What `run_team` takes for work, from time: it wakes other threads for what takes over 0.2 ms.
OPERATIONS_PER_SECOND = 2e10


def make_function(
    f: Callable[[Any], Any], point: Point, name: str, *, vectorized: bool, workers: int | None
) -> Function:
    """Return the function at the point, evaluated in the way that was asked for."""
    require_bool(vectorized, "vectorized")
    check_workers(workers, vectorized)
    if vectorized:
        return VectorizedFunction(f, point, name)
    if workers is not None:
        from fastbp.workers import DistributedFunction

        return DistributedFunction(f, point, name, workers)
    if isinstance(f, Dispatcher) and point.is_one_array:
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
    """A function that numba compiled: so is the loop over it, on all threads."""

    def _begin(self) -> None:
        super()._begin()
        self.hands = get_num_threads()
        started = time.perf_counter()
        nothing = np.empty(0, dtype=np.int64)
        self._run(nothing, np.empty(0, dtype=self.point.base[0].dtype), 0.0)
        seconds = time.perf_counter() - started
        self.notes.append(f"the loop over f was compiled in {seconds:.2g} s")

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        if self.findings:  # it may change its argument, which the loop does not expect
            return super().perturbed(leaf, indices, entries)
        values, raised = self._run(indices, entries, self.seconds * indices.size)
        if raised:  # once more in Python, to see where and what
            return super().perturbed(leaf, indices, entries)
        self.evaluations += indices.size
        return values

    def _run(
        self, indices: NDArray[np.int64], entries: NDArray[Any], seconds: float
    ) -> tuple[Vector, bool]:
        values, raised = np.empty(indices.size), np.zeros(1, dtype=np.int64)
        arguments = (
            self.function,
            self.point.argument,
            np.ascontiguousarray(indices),
            np.ascontiguousarray(entries, dtype=self.point.base[0].dtype),
            values,
            raised,
        )
        run_team(evaluate_perturbed, arguments, OPERATIONS_PER_SECOND * seconds)
        return values, bool(raised[0])


class VectorizedFunction(Function):
    """A function of many points at once: each leaf has one more axis, the first."""

    def _call(self, where: str) -> Any:
        self.evaluations += 1
        return self._evaluated(repeated_point(self.point, 1), where)[0]

    def _changed(self) -> list[str]:
        """Compare what the function got last with the point."""
        return [
            name
            for name, batch, base in zip(
                self.point.container.names, self._last, self.point.base, strict=True
            )
            if not np.array_equal(batch.reshape(-1), base, equal_nan=True)
        ]

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        self.evaluations += indices.size
        points = points_per_call(self.point)
        values = np.empty(indices.size)
        for start in range(0, indices.size, points):
            part = slice(start, min(start + points, indices.size))
            count = part.stop - part.start
            batch = repeated_point(self.point, count)
            batch[leaf].reshape(count, -1)[np.arange(count), indices[part]] = entries[part]
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


def repeated_point(point: Point, count: int) -> list[NDArray[Any]]:
    """Return the leaves of a number of points: each with one more axis, the first."""
    return [
        np.repeat(base.view(dtype).reshape(1, *shape), count, axis=0)
        for base, dtype, shape in zip(
            point.base, point.dtypes, point.container.shapes, strict=True
        )
    ]


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
        batch = repeated_point(point, len(some))
        numbers = real_numbers(batch[leaf]).reshape(len(some), -1)
        for row, step in zip(numbers, some, strict=True):
            row[part] += row.dtype.type(step) * direction[part]
        yield some, batch


def _where_moved(point: Point, leaf: int, steps: Sequence[float]) -> str:
    by = ", ".join(f"{step:g}" for step in steps)
    return f"with {point.container.names[leaf]} moved by {by} at random"
