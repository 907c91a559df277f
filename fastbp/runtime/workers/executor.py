"""What executes tasks elsewhere: processes of ours, a Dask cluster, an executor of the user's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastbp.runtime.workers.task import Task, TaskResult

__all__ = ["LARGE_BYTES", "Executor", "WorkerDiedError"]

LARGE_BYTES = 1 << 18  # an array of which workers are told where it is; others go with each task


class Executor(ABC):
    """Executes tasks elsewhere; `FuturesPool` makes one of any executor of `concurrent.futures`.

    By default nothing is laid down: where the workers are nobody knows, and arrays go with each
    task.

    Attributes
    ----------
    concurrency : int
        How many tasks are executed at the same time.
    threads : int
        How many threads a task may use: one where nobody knows what else runs beside it.
    shares_memory : bool
        Whether they are executed by threads of this process.
    """

    concurrency: int
    threads: int = 1
    shares_memory: bool = False

    def put(self, array: NDArray[Any]) -> Any:
        """Lay a large array down where all workers find it, and return what stands for it."""
        return array

    def drop(self, handle: Any) -> None:  # noqa: B027 - nothing to do, by default
        """Take it away again."""

    @abstractmethod
    def run(
        self, token: str, data: Any, shared: Any, tasks: list[Task]
    ) -> Iterator[tuple[int, TaskResult]]:
        """Execute tasks and yield each result with its place; raise `WorkerDiedError`."""

    def close(self, token: str) -> None:  # noqa: B027 - nothing to do, by default
        """Let go of what workers have unpacked."""


class WorkerDiedError(Exception):
    """Tasks are left without a result.

    Parameters
    ----------
    final : bool
        Whether trying again is no use.
    times : int
        How often the executor has tried.
    """

    def __init__(self, final: bool = False, times: int = 1) -> None:
        super().__init__()
        self.final, self.times = final, times
