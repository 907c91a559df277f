"""Processes of this machine, by joblib."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.backends.executor import LARGE_BYTES, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastbp.function.backends.task import Task, TaskResult


class JoblibProcesses:
    """joblib's processes, or whatever its active backend has."""

    def __init__(self, workers: int) -> None:
        import joblib

        self.joblib, self.workers = joblib, workers
        with joblib.parallel_config(n_jobs=workers):
            self.concurrency = max(1, joblib.effective_n_jobs(workers))

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        """Write a large array to a file, of which joblib sends the name."""
        if array.nbytes < LARGE_BYTES:
            return array
        descriptor, name = tempfile.mkstemp(prefix="fastbp-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(np.ascontiguousarray(array).data)
        return np.memmap(name, dtype=array.dtype, mode="r", shape=array.shape)

    def drop(self, handle: NDArray[Any]) -> None:
        """Remove the file."""
        if isinstance(handle, np.memmap) and handle.filename is not None:
            with contextlib.suppress(OSError):  # Windows keeps what is mapped somewhere
                os.unlink(handle.filename)

    def run(
        self, token: str, data: Any, shared: Any, tasks: list[Task]
    ) -> Iterator[tuple[int, TaskResult]]:
        """Execute tasks; whatever interrupts this kills the processes at once."""
        from fastbp.function.backends.task import run_task

        parallel = self.joblib.Parallel(
            n_jobs=self.workers, return_as="generator", batch_size=1, max_nbytes=None
        )
        calls = [self.joblib.delayed(run_task)(token, data, shared, task) for task in tasks]
        try:
            results = parallel(calls)
            with warnings.catch_warnings():
                # joblib warns of results that were not taken; where f raised nobody wants them.
                warnings.simplefilter("ignore", UserWarning)
                with contextlib.closing(results):
                    yield from enumerate(results)
        except Exception as death:  # what f raises is a result: this is about the workers
            raise WorkerDiedError from death

    def close(self, token: str) -> None:
        """Nothing to do: the processes end when nobody has used them for a while."""
