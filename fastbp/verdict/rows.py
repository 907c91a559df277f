"""From the judgement of an array to its row in the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.report import ArrayReport, Failure
from fastbp.verdict.arrays import judge_array
from fastbp.verdict.entries import detectable_error, judged_entries
from fastbp.verdict.tolerance import Tolerance, allowed_difference, default_tolerance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastbp.network.network import Network
__all__ = [
    "Numerical",
    "bare_row",
    "judged_row",
    "unjudged_rows",
    "unusable_reason",
    "worst_of_all",
]

FAILURES_IN_ALL = 1000
FAILURES_PER_ARRAY = 10


@dataclass(frozen=True, slots=True, eq=False)
class Numerical:
    """The numerical gradient of one array.

    Attributes
    ----------
    name : str
        As the report calls the array.
    shape : tuple of int
        Its shape.
    values : ndarray of float64, shape (n,)
        The numerical derivatives, flat in C order.
    error_bar : float or ndarray of float64, shape (n,)
        Their error bars.
    kinks : ndarray of bool, shape (n,)
        The entries that are not to be judged.
    hull : float or ndarray of float64, shape (n,)
        Radius of what conventions at a kink can produce.
    margin : float, optional
        How many times the noise the error bars are, where that is known.
    """

    name: str
    shape: tuple[int, ...]
    values: NDArray[np.float64]
    error_bar: float | NDArray[np.float64]
    kinks: NDArray[np.bool_]
    hull: float | NDArray[np.float64] = 0.0
    margin: float | None = None


def judged_row(
    given: NDArray[Any],
    numerical: Numerical,
    dtype: np.dtype[Any],
    tolerance: Tolerance | None,
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    """Return the row of one array, and its worst wrong entries, at most `FAILURES_IN_ALL`.

    Parameters
    ----------
    given : ndarray
        The gradient in question. A wrong shape or dtype is a finding.
    numerical : Numerical
        What it is compared with.
    dtype : dtype
        In which the gradient was computed; a given array of a coarser one counts as computed in
        that.
    tolerance : Tolerance or None
        None for the default of the dtype.
    """
    reason = unusable_reason(given, numerical.shape)
    if tolerance is None:
        coarser = np.dtype(np.float32) if not reason and given.itemsize == 4 else dtype
        tolerance = default_tolerance(coarser, numerical.values)
    if reason:
        return _unusable_row(numerical, tolerance, reason), ()
    return _compared_row(given.reshape(-1), numerical, tolerance)


def unusable_reason(given: NDArray[Any], shape: tuple[int, ...]) -> str:
    """Say why an array cannot be compared with a gradient of that shape; empty if it can.

    Examples
    --------
    >>> unusable_reason(np.zeros((2, 1)), (2,))
    'must have shape (2,), not (2, 1)'
    """
    if given.dtype.kind != "f" or given.itemsize not in (4, 8):
        return f"must have dtype float64 or float32, not {given.dtype}"
    if given.shape != shape:
        return f"must have shape {shape}, not {given.shape}"
    return ""


def unjudged_rows(net: Network, arrays: Sequence[NDArray[Any]], problem: str) -> list[ArrayReport]:
    """Return inconclusive rows of a network's arrays; what cannot be compared at all still fails.

    Parameters
    ----------
    net : Network
    arrays : sequence of ndarray
        The given gradients, in the order of the parameters.
    problem : str
        Why there is nothing to compare them with.
    """
    rows = []
    for name, array, view in zip(net.parameter_names(), arrays, net.arrays(), strict=True):
        reason = unusable_reason(array, view.shape)
        rows.append(ArrayReport(
            name=name,
            shape=view.shape,
            entries=view.size,
            wrong=view.size if reason else 0,
            zero=0,
            kinks=0,
            worst=None,
            factor=None,
            residual=None,
            detectable=float("inf"),
            verdict="failed" if reason else "inconclusive",
            reason=reason or problem,
        ))  # fmt: skip
    return rows


def worst_of_all(arrays: list[tuple[Failure, ...]]) -> tuple[Failure, ...]:
    """Merge the failures of all arrays: 10 of each, and the worst of the rest; 1000 in all.

    With more than 100 wrong arrays each is still there, with fewer than 10 entries.
    """
    wrong = [failures for failures in arrays if failures]
    if not wrong:
        return ()
    each = max(1, min(FAILURES_PER_ARRAY, FAILURES_IN_ALL // len(wrong)))
    chosen = [failure for failures in wrong for failure in failures[:each]]
    rest = [failure for failures in wrong for failure in failures[each:]]
    chosen += sorted(rest, key=_by_error)[: max(0, FAILURES_IN_ALL - len(chosen))]
    return tuple(sorted(chosen, key=_by_error)[:FAILURES_IN_ALL])


def _by_error(failure: Failure) -> float:
    return -failure.error / max(failure.allowed, 1e-300)


def _compared_row(
    given: NDArray[Any], numerical: Numerical, tolerance: Tolerance
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    found = judge_array(
        given,
        numerical.values,
        numerical.error_bar,
        tolerance,
        hull=numerical.hull,
        kinks=numerical.kinks,
        keep=FAILURES_IN_ALL,
        margin=numerical.margin,
    )
    failures = _entries(found.failures, given, numerical, tolerance)
    worst = _entries(found.worst, given, numerical, tolerance)
    row = ArrayReport(
        name=numerical.name,
        shape=numerical.shape,
        entries=given.size,
        wrong=found.wrong,
        zero=found.zero,
        kinks=found.kinks,
        worst=worst[0] if worst else None,
        factor=found.factor,
        residual=found.residual,
        detectable=found.detectable,
        verdict=found.verdict,
        reason=found.reason,
    )
    return row, failures


def _unusable_row(numerical: Numerical, tolerance: Tolerance, reason: str) -> ArrayReport:
    """Return the row of an array that cannot be compared entry by entry: all of it is wrong."""
    values, error_bar, kinks = numerical.values, numerical.error_bar, numerical.kinks
    judged = judged_entries(values, error_bar, kinks)
    return ArrayReport(
        name=numerical.name,
        shape=numerical.shape,
        entries=values.size,
        wrong=values.size,
        zero=0,
        kinks=int(np.count_nonzero(kinks)),
        worst=None,
        factor=None,
        residual=None,
        detectable=detectable_error(values, error_bar, tolerance, judged, numerical.hull),
        verdict="failed",
        reason=reason,
    )


def _entries(
    flat: NDArray[np.int64], given: NDArray[Any], numerical: Numerical, tolerance: Tolerance
) -> tuple[Failure, ...]:
    """Return what there is to say of these entries, in plain Python numbers."""
    values = numerical.values[flat]
    error_bars = np.broadcast_to(numerical.error_bar, numerical.values.shape)[flat]
    hull = np.broadcast_to(numerical.hull, numerical.values.shape)[flat]
    # A given NaN, or the difference of huge numbers, is an infinite error: a finding, no accident.
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(given[flat].astype(np.float64) - values)
    errors[np.isnan(errors)] = np.inf
    columns = (
        _multi_indices(flat, numerical.shape),
        given[flat].tolist(),
        values.tolist(),
        errors.tolist(),
        error_bars.tolist(),
        allowed_difference(values, error_bars, tolerance, hull).tolist(),
        hull.tolist(),
    )
    return tuple(Failure(numerical.name, *entry) for entry in zip(*columns, strict=True))


def _multi_indices(flat: NDArray[np.int64], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    if not shape:
        return [()] * flat.size
    return list(zip(*(axis.tolist() for axis in np.unravel_index(flat, shape)), strict=True))


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
