"""A function that is evaluated in other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.evaluation import Function
from fastbp.function.moved_values import (
    Leaves,
    Raised,
    as_floats,
    moved_name,
    moved_results,
    perturbed_values,
)
from fastbp.runtime.workers.worker_pool import WorkerPool, Workers
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastbp.function.containers.point import Point
    from fastbp.runtime.account import Account
    from fastbp.runtime.workers.task import Task

__all__ = ["DistributedFunction"]

SECONDS_AT_A_TIME = 2.0  # between two savings


class Job:
    """A scalar function at a point, in a worker."""

    def __init__(self, function: Callable[[Any], Any], point: Point, name: str) -> None:
        self.function, self.point, self.name = function, point, name

    def of_a_thread(self) -> Job:
        """Return it with a working copy of the point of its own."""
        return Job(self.function, self.point.copy(), self.name)

    def perturbed(
        self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]
    ) -> tuple[Vector, Raised]:
        """Evaluate with single entries replaced; also what the function raised."""
        raised = Raised()
        values = perturbed_values(
            self.function, self.point, self.name, leaf, indices, entries, raised
        )
        return values, raised

    def moved(
        self, leaf: Leaves, steps: Sequence[float], part: slice, direction: NDArray[Any]
    ) -> tuple[Vector, Raised]:
        """Evaluate with a slice of a leaf moved along a direction; also what was raised."""
        raised = Raised()
        results = moved_results(
            self.function, self.point, self.name, leaf, direction[part], steps, part,
            outside=np.nan, raised=raised,
        )  # fmt: skip
        return as_floats(results, self.name), raised

    def moved_or_raised(self, leaf: Leaves, step: float, direction: NDArray[Any]) -> Vector:
        """Evaluate with a leaf moved along a direction; raise what the function raises."""
        results = moved_results(self.function, self.point, self.name, leaf, direction, (step,))
        return as_floats(results, self.name)


class DistributedFunction(Function):
    """A scalar function whose values beside the point come from other processes."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        point: Point,
        name: str,
        workers: Workers,
        account: Account | None = None,
    ) -> None:
        self._pool = WorkerPool(workers, name)
        super().__init__(function, point, name, account)
        self.concurrency = self._pool.concurrency
        job = Job(self.function, point, name)
        self._pool.pack(job, {name: self.function, point.name: point})

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Evaluate in other processes, and again what a dying one had in hand."""
        if self._restore_always or indices.size == 0:
            return super().perturbed(leaf, indices, entries)
        self.evaluations += indices.size
        parts = self._pool.shares(indices.size, self.seconds)
        tasks: list[Task] = [("perturbed", (leaf, indices[part], entries[part])) for part in parts]

        def describe(task: int) -> str:
            entry = self.point.entry_name(leaf, int(indices[parts[task].start]))
            return f"with {entry} and others changed"

        counts = [part.stop - part.start for part in parts]
        return self._values(tasks, counts, None, describe)

    def moved(
        self, leaf: Leaves, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        """Evaluate in other processes; they get a direction once, whatever part is moved."""
        if self._restore_always:
            return super().moved(leaf, direction, steps, part)
        self.evaluations += len(steps)
        shares = self._pool.shares(len(steps), self.seconds)
        tasks: list[Task] = [("moved", (leaf, steps[share], part)) for share in shares]
        where = f"with {moved_name(self.point, leaf)} moved at random"
        counts = [share.stop - share.start for share in shares]
        return self._values(tasks, counts, direction, lambda _: where)

    def _values(
        self,
        tasks: list[Task],
        counts: list[int],
        shared: NDArray[Any] | None,
        describe: Callable[[int], str],
    ) -> Vector:
        """Let tasks be executed, and put the evaluations of each on the account when it is done."""

        def done(task: int) -> None:
            self.account.spend(counts[task])
            if self.account.stopped is None and self.account.seconds_left < 0:
                self.account.require(0.0)

        found: list[tuple[Vector, Raised]] = self._pool.run(tasks, shared, describe, done)
        for _, raised in found:
            self.raised.include(raised)
        return np.concatenate([values for values, _ in found])

    @property
    def counts_itself(self) -> bool:  # type: ignore[override]
        """Whether the evaluations are put on the account while they are made."""
        return not self._restore_always

    @property
    def at_a_time(self) -> int:
        """All that there are, and as many as workers get done in the time that is left."""
        if self.account.checkpoint is not None:  # what is not saved is lost
            some = SECONDS_AT_A_TIME * self.concurrency / max(self.seconds, 1e-9)
            return int(max(4 * self.concurrency, some))
        if not self.account.is_limited:
            return 1 << 62
        fit = self.account.seconds_left * self.concurrency / max(self.seconds, 1e-9)
        return int(min(max(self.concurrency, fit), 1 << 62))

    def _moved_or_raised(self, leaf: Leaves, direction: NDArray[Any], step: float) -> None:
        if self._restore_always:
            super()._moved_or_raised(leaf, direction, step)
            return
        where = f"with {moved_name(self.point, leaf)} moved by {step:g}"
        self._pool.run([("moved_or_raised", (leaf, step))], direction, lambda _: where)

    def close(self) -> None:
        """Let the workers go."""
        self._pool.close()
        super().close()
