"""Work that is shared out to other processes, on this machine or on a cluster.

What is done does not depend on who does it, so neither do the bits. Workers that die are replaced,
and what they had in hand is done again.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Executor as FuturesExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from fastbp.errors import EvaluationError, OptionError
from fastbp.runtime.workers.executor import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

    from fastbp.runtime.workers.executor import Executor
    from fastbp.runtime.workers.task import Contents, PickledJob, SharedJob, Task


__all__ = [
    "OPERATIONS_WORTH_SENDING",
    "WorkerPool",
    "Workers",
    "pool_of",
    "require_workers",
]

Workers: TypeAlias = "int | FuturesExecutor | Callable[..., Iterable[Any]]"


# A task takes about so long: a hundred times what it costs to send, and what is lost, or still
# runs after Ctrl-C, is no more than that or one evaluation.
TASK_SECONDS = 0.1
# The same for kernels, in floating-point operations; and what is done here sooner than sent.
OPERATIONS_PER_TASK = 1e9
OPERATIONS_WORTH_SENDING = 2e8
TASKS_PER_WORKER = 4  # at least, so that all end together
# A function that takes its worker with it each time is not tried without end.
ATTEMPTS = 4


class WorkerPool:
    """Executes the tasks of one job in other processes, also where workers die.

    Parameters
    ----------
    workers : int, concurrent.futures.Executor or callable
        As in `numerical_gradient`.
    name : str
        What loses its worker, in messages: the name of the function.

    Attributes
    ----------
    concurrency : int
        How many tasks are executed at the same time.
    threads : int
        How many threads each of them may use.
    """

    def __init__(self, workers: Workers, name: str) -> None:
        self.name = name
        self._executor = _choose_executor(workers)
        self.concurrency, self.threads = self._executor.concurrency, self._executor.threads
        self._job: PickledJob | SharedJob | None = None
        # Arrays that lie ready for the workers, each with what stands for it.
        self._data: tuple[Any, Any] | None = None
        self._shared: tuple[Any, Any] | None = None

    def pack(self, contents: Contents, parts: dict[str, object]) -> None:
        """Say whose methods the tasks call; raise if it cannot be sent."""
        from fastbp.runtime.workers.surroundings import Shown
        from fastbp.runtime.workers.task import PickledJob, SharedJob

        self._shown = Shown()
        if self._executor.shares_memory:
            self._job = SharedJob(contents)
        else:
            self._job = PickledJob(contents, parts)

    def shares(self, count: int, seconds: float) -> list[slice]:
        """Divide a number of evaluations that take so long each among tasks."""
        most = -(-count // self.concurrency)
        each = min(most, max(1, round(TASK_SECONDS / max(seconds, 1e-9))))
        return [slice(start, min(start + each, count)) for start in range(0, count, each)]

    def operations_per_task(self, together: float) -> float:
        """Return how many floating-point operations of so many make one task."""
        return min(OPERATIONS_PER_TASK, together / (TASKS_PER_WORKER * self.concurrency))

    def run(
        self,
        tasks: list[Task],
        shared: NDArray[Any] | None,
        describe: Callable[[int], str],
        done: Callable[[int], None] = lambda _: None,
    ) -> list[Any]:
        """Return what the tasks give, in their order.

        Parameters
        ----------
        tasks, shared, describe
            As of `results`.
        done : callable
            Is told which task is done.
        """
        found: dict[int, Any] = {}
        with contextlib.closing(self.results(tasks, shared, describe)) as results:
            for place, values in results:
                found[place] = values
                done(place)
        return [found[place] for place in range(len(tasks))]

    def results(
        self, tasks: list[Task], shared: NDArray[Any] | None, describe: Callable[[int], str]
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield the place of each task in the list, as soon as it is done, and what it gives.

        To close this generator early gives up what is not done.

        Parameters
        ----------
        tasks : list of (str, tuple)
            Methods of the contents and their arguments.
        shared : ndarray or None
            One more argument, the last, for all of them.
        describe : callable
            What a task is about: for the message when it kills one worker after the other.
        """
        assert self._job is not None
        waiting = dict(enumerate(tasks))
        for attempt in range(1, ATTEMPTS + 1):
            places = list(waiting)
            try:
                self._data = self._laid_down(self._data, self._job.data)
                self._shared = self._laid_down(self._shared, shared)
                results = self._executor.run(
                    self._job.token,
                    self._data and self._data[1],
                    self._shared and self._shared[1],
                    list(waiting.values()),
                )
                with contextlib.closing(results):  # type: ignore[type-var]
                    for place, result in results:
                        self._shown.show(result.warned)
                        values = result.result()
                        del waiting[places[place]]
                        yield places[place], values
            except WorkerDiedError as death:
                self._take_back()  # it may have died with its worker
                if death.final or attempt == ATTEMPTS:
                    left = next(iter(waiting))
                    count = death.times if death.final else attempt
                    times = f" {count} times, lately" if count > 1 else ""
                    raise EvaluationError(
                        f"{self.name} lost its worker{times} {describe(left)}."
                    ) from death.__cause__
            else:
                break

    def _laid_down(self, former: tuple[Any, Any] | None, array: Any) -> tuple[Any, Any] | None:
        """Lay an array down, unless it is the one that lies there."""
        if former is not None and former[0] is array:
            return former
        if former is not None:
            self._executor.drop(former[1])
        return None if array is None else (array, self._executor.put(array))

    def _take_back(self) -> None:
        self._data = self._laid_down(self._data, None)
        self._shared = self._laid_down(self._shared, None)

    def close(self) -> None:
        """Let go of what workers keep of this check."""
        self._take_back()
        if self._job is not None:
            self._executor.close(self._job.token)


@contextlib.contextmanager
def pool_of(
    workers: Workers | None, name: str, contents: Contents, parts: dict[str, object]
) -> Iterator[WorkerPool | None]:
    """Open a pool for one piece of work, and close it at the end; None where there are no workers.

    Parameters
    ----------
    workers, name
        As of `WorkerPool`.
    contents, parts
        As of its method `pack`.
    """
    if workers is None:
        yield None
        return
    pool = WorkerPool(workers, name)
    try:
        pool.pack(contents, parts)
        yield pool
    finally:
        pool.close()


def require_workers(workers: object) -> None:
    """Raise unless `workers` is None, a number of processes that makes sense, or what maps."""
    if workers is None:
        return
    if isinstance(workers, int) and not isinstance(workers, bool):
        makes_sense = workers == -1 or workers > 0
    else:
        makes_sense = isinstance(workers, FuturesExecutor) or callable(workers)
    if not makes_sense:
        raise OptionError(
            f"workers must be None, a number of processes, or -1 for one per processor; or an "
            f"executor of concurrent.futures, or a callable that maps as map does; not {workers!r}."
        )


def _choose_executor(workers: Workers) -> Executor:
    """Return what executes tasks: the user's own executor or map, a cluster, or processes."""
    try:
        import cloudpickle  # noqa: F401
        import joblib
    except ImportError as error:
        raise OptionError(
            'workers needs joblib: python -m pip install "fastbp[cluster]".'
        ) from error
    from fastbp.runtime.workers.futures_pool import FuturesPool, MapPool

    if isinstance(workers, FuturesExecutor):
        return FuturesPool(workers)
    if not isinstance(workers, int):
        return MapPool(workers)
    backend = joblib.parallel.get_active_backend()[0]
    client = getattr(backend, "client", None)
    if client is not None and type(client).__module__.startswith("distributed"):
        from fastbp.runtime.workers.dask_pool import DaskCluster

        return DaskCluster(client)
    if type(backend) not in (joblib.parallel.LokyBackend, joblib.parallel.SequentialBackend):
        return MapPool(partial(_mapped_by_joblib, workers), joblib.effective_n_jobs(workers))
    from fastbp.runtime.workers.processes import Processes

    return Processes(workers)


def _mapped_by_joblib(
    workers: int, function: Callable[[Any], Any], tasks: list[Any]
) -> Iterable[Any]:
    """Map by whatever backend of joblib a user has chosen."""
    import joblib

    call = joblib.delayed(function)
    results: Iterable[Any] = joblib.Parallel(n_jobs=workers, batch_size=1)(map(call, tasks))
    return results
