"""What checks of any function have in common: options, tolerance, rows and the report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.report import ArrayReport, Failure, Report
from fastbp.typing import Vector
from fastbp.verdict.entries import Tolerance, check_verdict, default_tolerance
from fastbp.verdict.rows import worst_of_all

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["FunctionCheck", "Options", "bare_row", "function_tolerance", "report_of"]

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


@dataclass(frozen=True, slots=True)
class FunctionCheck:
    """What a check of one scalar function found."""

    rows: tuple[ArrayReport, ...]
    others: tuple[ArrayReport, ...]
    failures: tuple[tuple[Failure, ...], ...]
    method: str
    evaluations: int
    notes: tuple[str, ...]
    at_least: bool


def bare_row(
    name: str, shape: tuple[int, ...], entries: int, verdict: Any, reason: str
) -> ArrayReport:
    """Return a row without any comparison: all entries are wrong if it failed."""
    return ArrayReport(
        name=name,
        shape=shape,
        entries=entries,
        wrong=entries if verdict == "failed" else 0,
        zero=0,
        kinks=0,
        worst=None,
        factor=None,
        residual=None,
        detectable=np.inf if entries else 0.0,
        verdict=verdict,
        reason=reason,
    )


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


def report_of(
    checks: list[FunctionCheck],
    title: str,
    base: list[NDArray[np.floating]],
    options: Options,
    started: float,
) -> Report:
    """Put checks together to a report."""
    rows = [row for check in checks for row in check.rows]
    others = [row for check in checks for row in check.others]
    notes = [note for check in checks for note in check.notes]
    return Report(
        verdict=check_verdict([row.verdict for row in rows], [row.verdict for row in others]),
        arrays=(*rows, *others),
        failures=worst_of_all([wrong for check in checks for wrong in check.failures]),
        sizes=(),
        batch=0,
        dtype=", ".join(sorted({str(numbers.dtype) for numbers in base})),
        layout="",
        method=checks[0].method,
        scheme="central",
        delta=0.0,
        rtol=options.rtol,
        atol=options.atol,
        evaluations=sum(check.evaluations for check in checks),
        seconds=time.perf_counter() - started,
        function=title,
        at_least=any(check.at_least for check in checks),
        notes=tuple(notes),
    )
