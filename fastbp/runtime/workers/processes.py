"""Processes of this machine, by loky: they live on for the next check."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.process_executor import ProcessPoolExecutor

from fastbp.errors import OptionError
from fastbp.runtime.workers.executor import LARGE_BYTES
from fastbp.runtime.workers.futures_pool import FuturesPool
from fastbp.runtime.workers.orphans import end_with_parent
from fastbp.runtime.workers.task import ArrayInFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor as FuturesExecutor
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from fastbp.runtime.workers.task import Task, TaskResult

__all__ = ["Processes"]

IDLE_SECONDS = 300  # without a task, after which a worker ends
SECONDS_TO_THE_QUEUE = 1.0  # at most, from which workers take their tasks: some milliseconds
# What the threads of a worker are counted by. Together they are no more than there are processors.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS", "FASTBP_NUM_THREADS",
)  # fmt: skip

_pools: dict[tuple[int, int], FuturesExecutor] = {}  # by process and number of workers


class Processes(FuturesPool):
    """Processes of this machine, each of which ends with this one.

    Parameters
    ----------
    workers : int
        How many; -1 for one per processor.
    """

    is_renewed = True

    def __init__(self, workers: int) -> None:
        count = max(1, joblib.effective_n_jobs(workers))
        super().__init__(_pool_of(count), count)
        # No more than fit into the queue of its workers. What waits for a place there when they are
        # killed loky forgets, looks for, and dies of with a traceback on stderr.
        self.submitted = 2 * count
        self.threads = int(_variables_of_each(count)["FASTBP_NUM_THREADS"])

    def put(self, array: NDArray[Any]) -> Any:
        """Write a large array to a file, of which the workers get the name."""
        if array.nbytes < LARGE_BYTES:
            return array
        try:
            return self._written(array)
        except OSError as error:
            raise OptionError(
                f"workers: {array.nbytes:,} bytes for them cannot be written to a temporary file: "
                f"{error}. TMPDIR names the folder."
            ) from error

    def _written(self, array: NDArray[Any]) -> ArrayInFile:
        descriptor, name = tempfile.mkstemp(prefix="fastbp-")
        # The tracker removes the file where this process is killed.
        resource_tracker.register(name, "file")
        handle = ArrayInFile(name, array.dtype, array.shape)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(np.ascontiguousarray(array).data)
        except BaseException:
            self.drop(handle)
            raise
        return handle

    def drop(self, handle: Any) -> None:
        """Remove the file."""
        if isinstance(handle, ArrayInFile):
            with contextlib.suppress(OSError):  # Windows keeps what is mapped somewhere
                os.unlink(handle.name)
                resource_tracker.unregister(handle.name, "file")

    def run(
        self, token: str, data: Any, shared: Any, tasks: list[Task]
    ) -> Iterator[tuple[int, TaskResult]]:
        """Execute tasks; whatever interrupts this kills the processes at once."""
        self.executor = _pool_of(self.concurrency)
        return super().run(token, data, shared, tasks)

    def _abandon(self, futures: Iterable[Future[TaskResult]]) -> None:
        """Kill the processes: loky ends the futures, and would die of those that are cancelled."""
        deadline = time.monotonic() + SECONDS_TO_THE_QUEUE
        while not all(future.running() or future.done() for future in futures):
            if time.monotonic() > deadline:
                break
            time.sleep(1e-3)
        _pools.pop((os.getpid(), self.concurrency), None)
        with contextlib.suppress(BrokenExecutor, OSError):
            self.executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


def _pool_of(count: int) -> FuturesExecutor:
    """Return the processes that are there, or new ones."""
    key = os.getpid(), count
    if key not in _pools:
        _pools[key] = ProcessPoolExecutor(
            count,
            timeout=IDLE_SECONDS,
            initializer=end_with_parent,
            initargs=(os.getpid(),),
            env=_variables_of_each(count),
        )
    return _pools[key]


def _variables_of_each(count: int) -> dict[str, str]:
    """Give each of so many processes as many threads as were asked for, or a share of them all."""
    share = str(max(1, joblib.cpu_count() // count))
    return {name: os.environ.get(name, share) for name in THREAD_VARIABLES}
