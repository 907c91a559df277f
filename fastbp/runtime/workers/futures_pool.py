"""Tasks for any executor of `concurrent.futures`, or for anything that maps as `map` does."""

from __future__ import annotations

import os
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from fastbp.errors import OptionError
from fastbp.runtime.workers.executor import Executor, WorkerDiedError
from fastbp.runtime.workers.task import TaskResult, run_task, run_task_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor as FuturesExecutor

    from fastbp.runtime.workers.task import Task

__all__ = ["FuturesPool", "MapPool"]

# Of an executor that does not say how many tasks it executes at the same time.
FEWEST_SUBMITTED = 64


class FuturesPool(Executor):
    """An executor of `concurrent.futures`, of the standard library, loky, MPI, Dask or others.

    It is the user's: what has not begun is cancelled when a run ends early, nothing else is done.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    concurrency : int, optional
        How many tasks it executes at the same time; by default what it says, or one per processor.

    Attributes
    ----------
    submitted : int
        So many tasks wait for it at most.
    is_renewed : bool
        Whether there is another one after its workers have died.
    """

    is_renewed = False

    def __init__(self, executor: FuturesExecutor, concurrency: int | None = None) -> None:
        self.executor = executor
        known = getattr(executor, "_max_workers", None)
        otherwise = known if isinstance(known, int) and known > 0 else os.cpu_count() or 1
        self.concurrency = concurrency or otherwise
        self.submitted = max(FEWEST_SUBMITTED, 4 * self.concurrency)
        self.shares_memory = isinstance(executor, ThreadPoolExecutor)

    def run(
        self, token: str, data: Any, shared: Any, tasks: list[Task]
    ) -> Iterator[tuple[int, TaskResult]]:
        """Execute tasks; whatever interrupts this abandons those that are not done."""
        left = iter(enumerate(tasks))
        places: dict[Future[TaskResult], int] = {}

        def submit(count: int) -> None:
            for place, task in islice(left, count):
                future = self.executor.submit(run_task, token, data, shared, task)
                if not isinstance(future, Future):
                    raise OptionError(
                        f"workers: submit of the executor must return a Future of "
                        f"concurrent.futures, not {type(future).__name__}."
                    )
                places[future] = place

        finished = False
        try:
            submit(self.submitted)
            while places:
                for future in wait(places, return_when=FIRST_COMPLETED).done:
                    yield places.pop(future), future.result()
                    submit(1)
            finished = True
        except (BrokenExecutor, CancelledError) as death:
            raise WorkerDiedError(final=not self.is_renewed) from death
        except RuntimeError as error:  # of `submit`, after `shutdown`
            raise OptionError(f"workers: the executor takes no tasks: {error}") from error
        finally:
            if not finished:
                self._abandon(places)

    def _abandon(self, futures: Iterable[Future[TaskResult]]) -> None:
        """Give up tasks that are not done."""
        for future in futures:
            future.cancel()


class MapPool(Executor):
    """Anything that maps as `map` does: ``pool.map`` of `multiprocessing`, for example.

    Parameters
    ----------
    mapping : callable
        ``mapping(function, tasks)`` returns an iterable of the results, in any order.
    concurrency : int, optional
        How many tasks are executed at the same time; by default one per processor.
    """

    def __init__(
        self, mapping: Callable[..., Iterable[Any]], concurrency: int | None = None
    ) -> None:
        self.mapping = mapping
        self.concurrency = concurrency or os.cpu_count() or 1

    def run(
        self, token: str, data: Any, shared: Any, tasks: list[Task]
    ) -> Iterator[tuple[int, TaskResult]]:
        """Execute tasks."""
        done: set[int] = set()
        came = ""
        try:
            run = partial(run_task_in_place, token, data, shared)
            for result in self.mapping(run, list(enumerate(tasks))):
                if not isinstance(result, TaskResult):
                    came = f"a {type(result).__name__} in place of a result"
                elif result.place in done:
                    came = "more results"
                if came:
                    break
                yield result.place, result
                done.add(result.place)
        except Exception as error:  # what f raises is a result: this is about the workers
            raise OptionError(
                f"workers: the map that was given raised {type(error).__name__}: {error}"
            ) from error
        if came or len(done) != len(tasks):
            raise OptionError(
                f"workers must map as map does: for {len(tasks)} tasks it gave "
                f"{came or f'{len(done)} results'}."
            )
