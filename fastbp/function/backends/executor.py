"""What executes tasks in other processes: joblib's processes, or a Dask cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastbp.function.backends.task import Task, TaskResult

__all__ = ["LARGE_BYTES", "Executor", "WorkerDiedError"]

LARGE_BYTES = 1 << 18  # an array of which workers are told where it is; others go with each task


class Executor(Protocol):
    """Executes tasks in other processes.

    Not `concurrent.futures.Executor`: joblib's active backend may be any that a user has chosen,
    and of these only its own processes are one.

    Attributes
    ----------
    concurrency : int
        How many tasks are executed at the same time.
    """

    concurrency: int

    def put(self, array: NDArray[Any]) -> Any:
        """Lay a large array down where all workers find it, and return what stands for it."""

    def drop(self, handle: Any) -> None:
        """Take it away again."""

    def run(
        self, token: str, data: Any, shared: Any, tasks: list[Task]
    ) -> Iterator[tuple[int, TaskResult]]:
        """Execute tasks and yield each result with its place; raise `WorkerDiedError`."""

    def close(self, token: str) -> None:
        """Let go of what workers have unpacked."""


class WorkerDiedError(Exception):
    """Tasks are left without a result; `final` says that trying again is no use."""

    def __init__(self, final: bool = False) -> None:
        super().__init__()
        self.final = final
