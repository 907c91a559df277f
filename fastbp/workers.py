"""Evaluating a slow function in other processes, on this machine or on a cluster.

joblib does the work: its own processes, or those of the Dask cluster inside
``joblib.parallel_config("dask")``. What is evaluated does not depend on who does it, so neither do
the bits. Workers that die are replaced, and what they had in hand is evaluated again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastbp.errors import EvaluationError, OptionError
from fastbp.evaluation import Function, perturbed_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.evaluation import Point

    Vector: TypeAlias = NDArray[np.float64]

__all__ = ["DistributedFunction"]

TASKS_PER_WORKER = 4
# A function that takes its worker with it each time is not tried without end.
ATTEMPTS = 4


class Job:
    """What every task needs: the function and the point, sent once."""

    def __init__(self, function: Callable[[Any], Any], point: Point, name: str) -> None:
        self.function, self.point, self.name = function, point, name

    def __sizeof__(self) -> int:
        """Say that this is large: Dask then keeps it on the workers and sends a reference."""
        return 1 << 20

    def evaluate(
        self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]
    ) -> tuple[Vector | None, str, BaseException | None]:
        """Return values, or what went wrong: a raised exception would lose its cause on the way."""
        try:
            values = perturbed_values(self.function, self.point, self.name, leaf, indices, entries)
        except EvaluationError as error:
            return None, str(error), error.__cause__
        return values, "", None


def _evaluate(
    job: Job, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]
) -> tuple[Vector | None, str, BaseException | None]:
    return job.evaluate(leaf, indices, entries)


class DistributedFunction(Function):
    """A function whose values at perturbed points come from other processes."""

    def __init__(
        self, function: Callable[[Any], Any], point: Point, name: str, workers: int
    ) -> None:
        try:
            import joblib
        except ImportError as error:
            raise OptionError(
                'workers needs joblib: python -m pip install "fastbp[cluster]".'
            ) from error
        self.joblib, self.workers = joblib, workers
        super().__init__(function, point, name)
        with joblib.parallel_config(n_jobs=workers):
            self.hands = max(1, joblib.effective_n_jobs(workers))
        self._job = Job(function, point, name)

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Evaluate in other processes, and again what a dying one had in hand."""
        if self._restore_always or indices.size == 0:
            return super().perturbed(leaf, indices, entries)
        self.evaluations += indices.size
        count = min(indices.size, TASKS_PER_WORKER * self.hands)
        parts = np.array_split(np.arange(indices.size), count)
        values = np.empty(indices.size)
        waiting = list(range(count))
        for attempt in range(ATTEMPTS):
            tasks = [
                self.joblib.delayed(_evaluate)(
                    self._job, leaf, indices[parts[task]], entries[parts[task]]
                )
                for task in waiting
            ]
            waiting, death = self._collect(tasks, waiting, parts, values)
            if not waiting:
                return values
            if attempt == ATTEMPTS - 1:
                place = parts[waiting[0]][0]
                raise EvaluationError(
                    f"{self.name} lost its worker {ATTEMPTS} times, lately with "
                    f"{self.point.entry_name(leaf, int(indices[place]))} and others changed."
                ) from death
        return values

    def _collect(
        self,
        tasks: list[Any],
        waiting: list[int],
        parts: list[NDArray[np.int64]],
        values: Vector,
    ) -> tuple[list[int], Exception | None]:
        """Run tasks and keep what comes; return those without a result, and why."""
        left = list(waiting)
        try:
            parallel = self.joblib.Parallel(
                n_jobs=self.workers, return_as="generator", batch_size=1
            )
            for task, (found, message, cause) in zip(waiting, parallel(tasks), strict=True):
                if found is None:
                    raise EvaluationError(message) from cause
                values[parts[task]] = found
                left.remove(task)
        except EvaluationError:
            raise
        except Exception as death:  # tasks return what f raises: this is about the workers
            if _cannot_travel(death):
                raise OptionError(
                    f"workers: {self.name} or its argument cannot be sent to other processes: "
                    f"{death}"
                ) from death
            return left, death
        return left, None


def _cannot_travel(error: Exception) -> bool:
    return "pickle" in type(error).__name__.lower() or "pickle" in str(error).lower()
