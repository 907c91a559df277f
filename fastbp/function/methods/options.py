"""Options and tolerances that all checks of a function share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.backends.choose import check_workers
from fastbp.runtime.progress import require_progress_option
from fastbp.runtime.validation import (
    require_bool,
    require_choice,
    require_integer,
    require_number,
    require_seed,
)
from fastbp.typing import Vector
from fastbp.verdict.tolerance import Tolerance, default_tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Options", "checked_options", "function_tolerance"]


# What a correct gradient in float64 may be off by: of the entry, and, where terms cancel, of the
# largest entry of its array. Some thousand roundings.
RTOL, CANCELLATION = 2.0**-40, 2.0**-44


# One in float32 may also lose digits of its own by cancellation, up to this part of the largest.
MOST_NOISE = 2.0**-7


@dataclass(frozen=True, slots=True)
class Options:
    """How to check: the validated keyword arguments of the public functions."""

    method: str
    rtol: float | None
    atol: float | None
    budget: float
    most: int
    seed: int
    vectorized: bool
    workers: int | None
    progress: bool | None

    @property
    def tolerance(self) -> Tolerance | None:
        """The user's tolerance; None for ours."""
        if self.rtol is None and self.atol is None:
            return None
        return Tolerance(self.rtol or 0.0, self.atol or 0.0)

    def method_for(self, seconds: float) -> tuple[str, list[str]]:
        """Return the method where *every* would take so long, and a note if that was decisive."""
        if self.method != "auto":
            return self.method, []
        if seconds <= self.budget:
            return "every", []
        note = (
            f"auto chose probe: every entry would take about {seconds:.0f} s, "
            f"the budget is {self.budget:g} s"
        )
        return "probe", [note]


def function_tolerance(
    options: Options,
    given: NDArray[Any],
    dtype: np.dtype[Any],
    numerical: Vector,
    noise: float = 0.0,
) -> Tolerance:
    """Return what a correct gradient of that precision may be off by.

    `noise` is how far the given one, in float32, is from the same function's in float64.
    """
    if options.tolerance is not None:
        return options.tolerance
    finite = np.abs(numerical[np.isfinite(numerical)])
    largest = float(np.max(finite, initial=0.0))
    if given.dtype.itemsize == 4 or dtype.itemsize == 4:
        usual = default_tolerance(np.dtype(np.float32), numerical)
        return Tolerance(usual.rtol, usual.atol + min(2 * noise, MOST_NOISE * largest))
    return Tolerance(RTOL, CANCELLATION * largest)


METHODS = ("auto", "every", "probe")


def checked_options(
    method: str,
    rtol: float | None,
    atol: float | None,
    budget: float,
    most: int,
    seed: int | None,
    vectorized: bool,
    workers: int | None,
    progress: bool | None,
) -> Options:
    """Validate the keyword arguments that all checks of functions share."""
    require_choice(method, "method", METHODS)
    expected = "None or a finite number of at least 0"
    for value, name in ((rtol, "rtol"), (atol, "atol")):
        if value is not None:
            require_number(value, name, 0.0, np.inf, expected)
    require_number(budget, "budget", 0.0, np.inf, "a finite number of at least 0")
    require_integer(most, "most", 1)
    require_bool(vectorized, "vectorized")
    check_workers(workers, vectorized)
    require_progress_option(progress)
    return Options(
        method, rtol, atol, budget, most, require_seed(seed), vectorized, workers, progress
    )
