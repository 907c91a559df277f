"""Processes of this machine, by loky: they live on for the next check."""

from __future__ import annotations

import contextlib
import os
import tempfile
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.process_executor import ProcessPoolExecutor

from fastbp.function.backends.executor import LARGE_BYTES, WorkerDiedError
from fastbp.function.backends.futures_pool import FuturesPool
from fastbp.function.backends.orphans import end_with_parent
from fastbp.function.backends.task import ArrayInFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor as FuturesExecutor

    from numpy.typing import NDArray

    from fastbp.function.backends.task import Task, TaskResult

__all__ = ["Processes"]

IDLE_SECONDS = 300  # without a task, after which a worker ends
# What the threads of a worker are counted by. Together they are no more than there are processors.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip

_pools: dict[tuple[int, int], FuturesExecutor] = {}  # by process and number of workers


class Processes(FuturesPool):
    """Processes of this machine, each of which ends with this one.

    Parameters
    ----------
    workers : int
        How many; -1 for one per processor.
    """

    def __init__(self, workers: int) -> None:
        count = max(1, joblib.effective_n_jobs(workers))
        super().__init__(_pool_of(count), count)
        # No more than fit into the queue of its workers: what waits longer is lost with an error
        # on stderr when they are killed.
        self.submitted = 2 * count

    def put(self, array: NDArray[Any]) -> Any:
        """Write a large array to a file, of which the workers get the name."""
        if array.nbytes < LARGE_BYTES:
            return array
        descriptor, name = tempfile.mkstemp(prefix="fastbp-")
        # The tracker removes the file where this process is killed.
        resource_tracker.register(name, "file")
        with os.fdopen(descriptor, "wb") as file:
            file.write(np.ascontiguousarray(array).data)
        return ArrayInFile(name, array.dtype, array.shape)

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
        finished = False
        try:
            yield from super().run(token, data, shared, tasks)
            finished = True
        except WorkerDiedError as death:
            raise WorkerDiedError from death.__cause__  # next time there are new ones
        finally:
            if not finished:
                self._end()

    def _end(self) -> None:
        _pools.pop((os.getpid(), self.concurrency), None)
        with contextlib.suppress(BrokenExecutor, OSError):
            self.executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]


def _pool_of(count: int) -> FuturesExecutor:
    """Return the processes that are there, or new ones."""
    key = os.getpid(), count
    if key not in _pools:
        threads = str(max(1, joblib.cpu_count() // count))
        _pools[key] = ProcessPoolExecutor(
            count,
            timeout=IDLE_SECONDS,
            initializer=end_with_parent,
            initargs=(os.getpid(),),
            env={name: os.environ.get(name, threads) for name in THREAD_VARIABLES},
        )
    return _pools[key]
