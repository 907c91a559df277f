"""A function that takes many points in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import EvaluationError, ShapeError
from fastbp.function.containers.point import real_numbers
from fastbp.function.evaluation import Function
from fastbp.function.moved_values import Leaves, pieces, where_moved
from fastbp.runtime.user_code import calling
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastbp.function.containers.point import Point

__all__ = ["moved_batches"]


BATCH_NUMBERS = 1 << 22  # real numbers in one call of a vectorized function: 32 MB


class VectorizedFunction(Function):
    """A function of many points at once: each leaf has one more axis, the first."""

    def _call(self, where: str) -> Any:
        self.evaluations += 1
        value = self._evaluated(self.point.repeated(1), where)[0]
        self.account.spend(1)
        return value

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
            values[part] = self._evaluated_beside(batch)
        return values

    def moved(
        self, leaf: Leaves, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        self.evaluations += len(steps)
        batches = moved_batches(self.point, leaf, direction, steps, part)
        return np.concatenate([self._evaluated_beside(batch) for _, batch in batches])

    def _moved_or_raised(self, leaf: Leaves, direction: NDArray[Any], step: float) -> None:
        for _, batch in moved_batches(self.point, leaf, direction, (step,), slice(None)):
            self._evaluated(batch, where_moved(self.point, leaf, direction, step))

    def _evaluated_beside(self, batch: list[NDArray[Any]]) -> NDArray[Any]:
        """Evaluate many points; where the function raises, halve them: it is NaN for that one."""
        count = len(batch[0])
        try:
            return self._evaluated(batch, "beside the point")
        except EvaluationError as error:
            if count == 1:
                self.raised.add(error.__cause__ or error, lambda: "beside the point")
                return np.full(1, np.nan)
        halves = (slice(0, count // 2), slice(count // 2, count))
        return np.concatenate(
            [self._evaluated_beside([leaf[half] for leaf in batch]) for half in halves]
        )

    def close(self) -> None:
        """Nothing to look at: each call got copies of its own."""

    def _evaluated(self, batch: list[NDArray[Any]], where: str) -> NDArray[Any]:
        count = len(batch[0])
        self._last = batch
        with calling(self.name, where):
            values = np.asarray(self.function(self.point.container.rebuilt(batch)))
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
    leaf: Leaves,
    direction: NDArray[Any],
    steps: Sequence[float],
    part: slice,
) -> Iterator[tuple[Sequence[float], list[NDArray[Any]]]]:
    """Yield some of the steps, and the points that lie so far along a direction."""
    points = points_per_call(point)
    for start in range(0, len(steps), points):
        some = steps[start : start + points]
        batch = point.repeated(len(some))
        moving = direction[part]
        for one, own, place in pieces(point, leaf, part):
            numbers = real_numbers(batch[one]).reshape(len(some), -1)
            for row, step in zip(numbers, some, strict=True):
                row[own] += row.dtype.type(step) * moving[place]
        yield some, batch
