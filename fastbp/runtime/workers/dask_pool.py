"""Tasks on a Dask cluster.

Not by joblib's backend for it: where a worker cannot unpack what it is sent, that waits for ever,
and it sends the same arrays again with every call.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import distributed

from fastbp.errors import OptionError
from fastbp.runtime.workers.executor import LARGE_BYTES, Executor, WorkerDiedError
from fastbp.runtime.workers.task import forget, run_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastbp.runtime.workers.task import Task, TaskResult

__all__ = ["DaskCluster"]


class DaskCluster(Executor):
    """The workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self.concurrency = max(1, sum(client.ncores().values()))

    def put(self, array: NDArray[Any]) -> Any:
        """Send a large array to all workers; Dask forgets what nobody refers to."""
        if array.nbytes < LARGE_BYTES:
            return array
        try:
            return self.client.scatter(array, broadcast=True, hash=False)
        except TimeoutError as error:
            raise OptionError("workers: the Dask cluster has no workers.") from error

    def run(
        self, token: str, data: Any, shared: Any, tasks: list[Task]
    ) -> Iterator[tuple[int, TaskResult]]:
        """Execute tasks; whatever interrupts this cancels those that have not begun."""
        places: dict[Any, int] = {}
        try:
            for place, task in enumerate(tasks):
                future = self.client.submit(run_task, token, data, shared, task, pure=False)
                places[future] = place
            completed: Any = distributed.as_completed
            for future in completed(list(places)):
                yield places[future], self._result_of(future)
        finally:
            self.client.cancel(list(places))

    def _result_of(self, future: Any) -> TaskResult:
        if future.status == "finished":
            result: TaskResult = future.result()
            return result
        if future.status != "error":  # cancelled or lost: what it needs is on no worker any more
            raise WorkerDiedError
        error = future.exception()
        if isinstance(error, distributed.scheduler.KilledWorker):  # Dask has tried several times
            raise WorkerDiedError(final=True, times=1 + error.allowed_failures) from error
        raise OptionError(
            f"workers: the workers of the cluster cannot run fastbp: {type(error).__name__}: "
            f"{error}"
        ) from error

    def close(self, token: str) -> None:
        """Let the workers forget what they have unpacked."""
        with contextlib.suppress(Exception):  # the cluster may be gone
            self.client.run(forget, token)
