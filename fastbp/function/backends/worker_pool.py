"""Evaluating a slow function in other processes, on this machine or on a cluster.

What is evaluated does not depend on who does it, so neither do the bits. Workers that die are
replaced, and what they had in hand is evaluated again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastbp.errors import EvaluationError, OptionError
from fastbp.function.evaluation import Function, as_floats, moved_results, perturbed_values
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastbp.function.backends.task import Errand, Outcome, Parcel
    from fastbp.function.evaluation import Point


__all__ = ["DistributedFunction", "Workforce"]

# A task takes about so long: a hundred times what it costs to send, and what is lost, or still
# runs after Ctrl-C, is no more than that or one evaluation.
TASK_SECONDS = 0.1
LARGE_BYTES = 1 << 18  # an array of which workers are told where it is; others go with each task
# A function that takes its worker with it each time is not tried without end.
ATTEMPTS = 4


class Job:
    """A scalar function at a point, in a worker."""

    def __init__(self, function: Callable[[Any], Any], point: Point, name: str) -> None:
        self.function, self.point, self.name = function, point, name

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Evaluate with single entries replaced."""
        return perturbed_values(self.function, self.point, self.name, leaf, indices, entries)

    def moved(
        self, leaf: int, steps: Sequence[float], part: slice, direction: NDArray[Any]
    ) -> Vector:
        """Evaluate with a slice of a leaf moved along a direction."""
        results = moved_results(
            self.function, self.point, self.name, leaf, direction[part], steps, part
        )
        return as_floats(results, self.name)


class Crew(Protocol):
    """Whoever does errands: joblib's processes, or a Dask cluster."""

    hands: int

    def put(self, array: NDArray[Any]) -> Any:
        """Lay a large array down where all workers find it, and return what stands for it."""

    def drop(self, handle: Any) -> None:
        """Take it away again."""

    def run(
        self, token: str, data: Any, shared: Any, errands: list[Errand]
    ) -> Iterator[tuple[int, Outcome]]:
        """Do errands and yield what comes, each with its place; raise `WorkerDiedError`."""

    def close(self, token: str) -> None:
        """Let go of what workers have unpacked."""


class WorkerDiedError(Exception):
    """Errands are left without an outcome; `final` says that trying again is no use."""

    def __init__(self, final: bool = False) -> None:
        super().__init__()
        self.final = final


class Workforce:
    """Errands with the contents of one parcel, done by a crew whatever becomes of its members.

    Parameters
    ----------
    workers : int
        As in `numerical_gradient`.
    name : str
        What the function is called in messages.

    Attributes
    ----------
    hands : int
        How many errands are done at the same time.
    """

    def __init__(self, workers: int, name: str) -> None:
        self.name = name
        self._crew = _hired(workers)
        self.hands = self._crew.hands
        self._parcel: Parcel | None = None
        # Arrays that lie ready for the workers, each with what stands for it.
        self._data: tuple[NDArray[Any], Any] | None = None
        self._shared: tuple[NDArray[Any], Any] | None = None

    def pack(self, contents: object, parts: dict[str, object]) -> None:
        """Say with whose methods the errands are done; raise if it cannot be sent."""
        from fastbp.function.backends.task import Parcel

        self._parcel = Parcel(contents, parts)

    def shares(self, count: int, seconds: float) -> list[slice]:
        """Divide a number of evaluations that take so long each among tasks."""
        most = -(-count // self.hands)
        each = min(most, max(1, round(TASK_SECONDS / max(seconds, 1e-9))))
        return [slice(start, min(start + each, count)) for start in range(0, count, each)]

    def run(
        self,
        errands: list[Errand],
        shared: NDArray[Any] | None,
        describe: Callable[[int], str],
    ) -> list[NDArray[np.float64]]:
        """Return what the errands give, in their order.

        Parameters
        ----------
        errands : list of (str, tuple)
            Methods of the contents and their arguments.
        shared : ndarray or None
            One more argument, the last, for all of them.
        describe : callable
            What an errand is about: for the message when it kills one worker after the other.
        """
        assert self._parcel is not None
        found: dict[int, NDArray[np.float64]] = {}
        for attempt in range(1, ATTEMPTS + 1):
            waiting = [place for place in range(len(errands)) if place not in found]
            try:
                self._data = self._laid_down(self._data, self._parcel.data)
                self._shared = self._laid_down(self._shared, shared)
                done = self._crew.run(
                    self._parcel.token,
                    self._data and self._data[1],
                    self._shared and self._shared[1],
                    [errands[place] for place in waiting],
                )
                with contextlib.closing(done) as outcomes:  # type: ignore[type-var]
                    for place, outcome in outcomes:
                        found[waiting[place]] = outcome.result()
            except WorkerDiedError as death:
                self._take_back()  # it may have died with its worker
                if death.final or attempt == ATTEMPTS:
                    left = next(place for place in waiting if place not in found)
                    raise EvaluationError(
                        f"{self.name} lost its worker {ATTEMPTS} times, lately {describe(left)}."
                    ) from death.__cause__
            else:
                break
        return [found[place] for place in range(len(errands))]

    def _laid_down(
        self, former: tuple[NDArray[Any], Any] | None, array: NDArray[Any] | None
    ) -> tuple[NDArray[Any], Any] | None:
        """Lay an array down, unless it is the one that lies there."""
        if former is not None and former[0] is array:
            return former
        if former is not None:
            self._crew.drop(former[1])
        return None if array is None else (array, self._crew.put(array))

    def _take_back(self) -> None:
        self._data = self._laid_down(self._data, None)
        self._shared = self._laid_down(self._shared, None)

    def close(self) -> None:
        """Let go of what workers keep of this check."""
        self._take_back()
        if self._parcel is not None:
            self._crew.close(self._parcel.token)


def _hired(workers: int) -> Crew:
    """Return the cluster whose backend is active in joblib, or else processes of joblib's."""
    try:
        import cloudpickle  # noqa: F401
        import joblib
    except ImportError as error:
        raise OptionError(
            'workers needs joblib: python -m pip install "fastbp[cluster]".'
        ) from error
    client = getattr(joblib.parallel.get_active_backend()[0], "client", None)
    if client is not None and type(client).__module__.startswith("distributed"):
        from fastbp.function.backends.dask_pool import DaskCluster

        return DaskCluster(client)
    return JoblibProcesses(workers)


class JoblibProcesses:
    """joblib's processes, or whatever its active backend has."""

    def __init__(self, workers: int) -> None:
        import joblib

        self.joblib, self.workers = joblib, workers
        with joblib.parallel_config(n_jobs=workers):
            self.hands = max(1, joblib.effective_n_jobs(workers))

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
        self, token: str, data: Any, shared: Any, errands: list[Errand]
    ) -> Iterator[tuple[int, Outcome]]:
        """Do errands; whatever interrupts this kills the processes at once."""
        from fastbp.function.backends.task import run_errand

        parallel = self.joblib.Parallel(
            n_jobs=self.workers, return_as="generator", batch_size=1, max_nbytes=None
        )
        tasks = [self.joblib.delayed(run_errand)(token, data, shared, errand) for errand in errands]
        try:
            results = parallel(tasks)
            with warnings.catch_warnings():
                # joblib warns of results that were not taken; where f raised nobody wants them.
                warnings.simplefilter("ignore", UserWarning)
                with contextlib.closing(results):
                    yield from enumerate(results)
        except Exception as death:  # what f raises is an outcome: this is about the workers
            raise WorkerDiedError from death

    def close(self, token: str) -> None:
        """Nothing to do: the processes end when nobody has used them for a while."""


class DistributedFunction(Function):
    """A scalar function whose values beside the point come from other processes."""

    def __init__(
        self, function: Callable[[Any], Any], point: Point, name: str, workers: int
    ) -> None:
        self._force = Workforce(workers, name)
        super().__init__(function, point, name)
        self.hands = self._force.hands
        job = Job(self.function, point, name)
        self._force.pack(job, {name: self.function, point.name: point})

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Evaluate in other processes, and again what a dying one had in hand."""
        if self._restore_always or indices.size == 0:
            return super().perturbed(leaf, indices, entries)
        self.evaluations += indices.size
        parts = self._force.shares(indices.size, self.seconds)
        errands: list[Errand] = [
            ("perturbed", (leaf, indices[part], entries[part])) for part in parts
        ]

        def describe(task: int) -> str:
            entry = self.point.entry_name(leaf, int(indices[parts[task].start]))
            return f"with {entry} and others changed"

        return np.concatenate(self._force.run(errands, None, describe))

    def moved(
        self, leaf: int, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        """Evaluate in other processes; they get a direction once, whatever part is moved."""
        if self._restore_always:
            return super().moved(leaf, direction, steps, part)
        self.evaluations += len(steps)
        errands: list[Errand] = [
            ("moved", (leaf, steps[share], part))
            for share in self._force.shares(len(steps), self.seconds)
        ]
        where = f"with {self.point.container.names[leaf]} moved at random"
        values = self._force.run(errands, direction, lambda _: where)
        return np.concatenate(values)

    def close(self) -> None:
        """Let the workers go."""
        self._force.close()
        super().close()
