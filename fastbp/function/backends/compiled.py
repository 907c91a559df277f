"""A function that numba compiled, looped over in machine code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.core.errors import NumbaError

from fastbp.function.evaluation import Function
from fastbp.kernels.perturbation.perturbed_function import evaluate_perturbed
from fastbp.runtime.threads import get_num_threads, run_team
from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.containers.point import Point


# What `run_team` takes for work, from time: it wakes other threads for what takes over 0.2 ms.
OPERATIONS_PER_SECOND = 2e10
ENOUGH_TO_TIME = 64  # evaluations in one call


class CompiledFunction(Function):
    """A function that numba compiled: so is the loop over it, on all threads.

    numba's functions take arrays, numbers, and tuples and named tuples of these. Where it cannot
    compile the loop after all, that is Python's, as it is for numbers beside the arrays.
    """

    def _begin(self) -> None:
        self._kernel = self.function
        self._spare_points: list[Point] = []
        super()._begin()
        self.concurrency = 1 if _has_threads(self._kernel) else get_num_threads()
        self._compiled = False
        arrays = [leaf for leaf in range(len(self.point.flat)) if not self.point.is_scalar(leaf)]
        nothing = np.empty(0, dtype=np.int64)
        started = time.perf_counter()
        try:
            for leaf in arrays:
                self._run(leaf, nothing, self.point.base[leaf][:0], 0.0)
        except (NumbaError, TypeError) as error:
            reason = f"numba cannot compile it for this argument or result ({type(error).__name__})"
            self.notes.append(f"the loop over f is Python's: {reason}")
            return
        if not arrays:
            self.notes.append("the loop over f is Python's: its argument has no arrays")
            return
        self._compiled = True
        seconds = time.perf_counter() - started
        self.notes.append(
            f"the loop over f was compiled in {seconds:.2g} s and runs on "
            + ("one thread, since f has its own" if _has_threads(self._kernel) else "all threads")
        )

    def perturbed(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Return f at the point with one entry changed, for each index and entry in turn."""
        # A function that changes its argument is nothing that the loop expects.
        if self.findings or not self._compiled or self.point.is_scalar(leaf):
            return super().perturbed(leaf, indices, entries)
        started = time.perf_counter()
        values, raised = self._run(leaf, indices, entries, self.seconds * indices.size)
        if raised:  # once more in Python, to see where and what
            return super().perturbed(leaf, indices, entries)
        self.evaluations += indices.size
        if indices.size >= ENOUGH_TO_TIME:  # what was timed before is a call from Python
            elapsed = time.perf_counter() - started
            self.seconds = min(self.seconds, self.concurrency * elapsed / indices.size)
        return values

    def _run(
        self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any], seconds: float
    ) -> tuple[Vector, bool]:
        values, raised = np.empty(indices.size), np.zeros(1, dtype=np.int64)
        arguments = (
            np.ascontiguousarray(indices),
            np.ascontiguousarray(entries, dtype=self.point.base[leaf].dtype),
            values,
            raised,
        )

        def share(control: NDArray[np.int64], *arguments: Any) -> None:
            own = self._taken_point()
            evaluate_perturbed(control, self._kernel, own.argument, own.flat[leaf], *arguments)
            if not raised[0]:  # else an entry of it may still be changed
                self._spare_points.append(own)

        run_team(share, arguments, OPERATIONS_PER_SECOND * seconds, alone=self.concurrency == 1)
        return values, bool(raised[0])

    def _taken_point(self) -> Point:
        """Return a copy of the point that no other thread has; made anew only if there is none."""
        try:
            return self._spare_points.pop()
        except IndexError:
            return self.point.copy()


def _has_threads(function: Any) -> bool:
    """Tell whether a compiled function runs on several threads itself.

    numba's own layers do not bear that several threads of ours call such a function at once.
    """
    if function.targetoptions.get("parallel"):
        return True
    return any("numba_parallel_for" in text for text in function.inspect_llvm().values())
