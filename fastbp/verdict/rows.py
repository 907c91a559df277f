"""A row of the report for one array, and its worst entries.

Rows are judged (by `judged_row` from arrays in NumPy, by `summarised_row` from any summary),
unusable (what was given cannot be compared), unjudged (there is nothing to compare with) or bare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.report import ArrayReport, Failure
from fastbp.report.model import ArrayVerdict
from fastbp.report.pictures.cells import Cells, samples_of
from fastbp.typing import Array, Floats, Indices, Mask, Radius, Vector
from fastbp.verdict.agreement import Agreement
from fastbp.verdict.arrays import TOO_ROUGH, verdict_of, verdict_of_rough
from fastbp.verdict.entries import Entries, compare, entries_of
from fastbp.verdict.summary import Entry, Summary, Unexplained, summarise
from fastbp.verdict.tolerance import Tolerance, allowed_difference, default_tolerance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fastbp.report.pictures.picture import Picture

    Shape = tuple[int, ...]

__all__ = [
    "Numerical",
    "bare_row",
    "failure_of",
    "judged_row",
    "passed_row",
    "summarised_row",
    "unjudged_rows",
    "unusable_reason",
    "unusable_row",
    "with_picture",
    "worst_first",
    "worst_of_all",
]

*_FIELDS, _PICTURE = (field.name for field in fields(ArrayReport))
assert _PICTURE == "picture"
_all_but_picture = attrgetter(*_FIELDS)

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
    hull : float or ndarray of float64, shape (n,)
        Radius of what conventions at a kink can produce.
    left_out : ndarray of bool, shape (n,), optional
        The entries on kinks that are not to be judged.
    noise : callable, optional
        Returns the norm of what rounding makes of the array, where that is known: an array that is
        below all its bars is then judged as a whole.
    kink : ndarray of bool, shape (n,), optional
        The entries that the picture of the array marks as on a kink, where that is known better
        than by their hull.
    inside : tuple of (tuple of int, ndarray of int64 of shape (n,)), optional
        The shape of the whole array and the places of these entries in it, for the picture, where
        they are not all of it.
    """

    name: str
    shape: Shape
    values: Vector
    error_bar: Radius
    hull: Radius = 0.0
    left_out: Mask | None = None
    noise: Callable[[], float] | None = None
    kink: Mask | None = None
    inside: tuple[Shape, Indices] | None = None


def judged_row(
    given: Array, numerical: Numerical, dtype: np.dtype[Any], tolerance: Tolerance | None
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
    name, shape, values = numerical.name, numerical.shape, numerical.values
    reason = unusable_reason(given, shape)
    if tolerance is None:
        coarser = np.dtype(np.float32) if not reason and given.itemsize == 4 else dtype
        tolerance = default_tolerance(coarser, values)
    flat = np.zeros(values.size) if reason else given.reshape(-1)
    beside = (values, numerical.error_bar)
    hull, left_out = numerical.hull, numerical.left_out
    if reason:
        found = summarise(flat, *beside, tolerance, hull=hull, left_out=left_out)
        return unusable_row(name, shape, found, reason), ()
    cells = Cells(shape if numerical.inside is None else numerical.inside[0])

    def note(start: int, ratio: Vector, kink: Mask) -> None:
        part = slice(start, start + ratio.size)
        kink = kink if numerical.kink is None else numerical.kink[part]
        if numerical.inside is None:
            cells.add(start, ratio, kink)
        else:
            cells.add_at(numerical.inside[1][part], ratio, kink)

    found = summarise(flat, *beside, tolerance, hull=hull, left_out=left_out, note=note)
    inside = None if numerical.inside is None else numerical.inside[1]
    return summarised_row(
        name, shape, found, lambda: entries_of(flat, *beside, hull, left_out), tolerance,
        numerical.noise, cells.picture(samples_of(flat, *beside, hull, inside)),
    )  # fmt: skip


def summarised_row(
    name: str,
    shape: Shape,
    found: Summary,
    entries: Callable[[], Iterable[Entries]],
    tolerance: Tolerance,
    noise: Callable[[], float] | None,
    picture: Picture | None,
    finer: Cells | None = None,
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    """Return the row of one array from its summary, and its worst wrong entries.

    Parameters
    ----------
    name, shape : str, tuple of int
    found : Summary
    entries : callable
        Goes through the array again, which is needed if it failed or is rough.
    tolerance : Tolerance
    noise : callable or None
        As in `Numerical`.
    picture : Picture or None
    finer : Cells, optional
        Takes up the errors of an array that failed, to replace those of its picture.
    """
    verdict, reason = verdict_of(found)
    if verdict == "passed":
        return passed_row(name, shape, found, tolerance, picture), ()
    failures: tuple[Failure, ...] = ()
    residual = None
    if found.wrong:
        failures, residual, agreement = _failures(
            name, shape, entries(), tolerance, found.factor, finer
        )
        if picture is not None and finer is not None:
            picture = finer.picture(picture.samples)
        near = "" if found.not_finite else agreement.sentence(found.wrong)
        reason = f"{reason}; {near}" if near else reason
    elif noise is not None and (reason == TOO_ROUGH or _may_be_no_zero(verdict, found)):
        verdict, reason = verdict_of_rough(entries(), tolerance, noise())
    row = passed_row(name, shape, found, tolerance, picture)
    worst = failures[0] if failures else row.worst
    changed = replace(row, worst=worst, residual=residual, verdict=verdict, reason=reason)
    return changed, failures


def passed_row(
    name: str, shape: Shape, found: Summary, tolerance: Tolerance, picture: Picture | None
) -> ArrayReport:
    """Return the row of an array that passed, without anything more to say of it."""
    worst = None
    if found.worst is not None:
        worst = failure_of(name, shape, found.worst, tolerance)
    return ArrayReport(
        name, shape, found.entries, found.wrong, found.zero, found.kinks, worst, found.factor,
        None, found.detectable, "passed", "", picture,
    )  # fmt: skip


def _may_be_no_zero(verdict: ArrayVerdict, found: Summary) -> bool:
    """Tell whether an array given as 0, within its bars, is numerically not exactly 0."""
    return verdict == "untested" and found.square > 0.0


def unusable_row(name: str, shape: Shape, beside_zeros: Summary, reason: str) -> ArrayReport:
    """Return the row of an array that cannot be compared entry by entry: all of it is wrong.

    `beside_zeros` is the summary of zeros in its place: it knows the kinks, and what would have
    been seen.
    """
    row = bare_row(name, shape, beside_zeros.entries, "failed", reason)
    return replace(row, kinks=beside_zeros.kinks, detectable=beside_zeros.detectable)


def unusable_reason(given: Array, shape: Shape) -> str:
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


def unjudged_rows(
    names: Sequence[str], shapes: Sequence[Shape], arrays: Sequence[Array], problem: str
) -> list[ArrayReport]:
    """Return inconclusive rows; what cannot be compared at all still fails.

    Parameters
    ----------
    names, shapes : sequence of str, sequence of tuple of int
        Of the arrays, and the shapes that they must have.
    arrays : sequence of ndarray
        The given gradients.
    problem : str
        Why there is nothing to compare them with.
    """
    rows = []
    for name, shape, array in zip(names, shapes, arrays, strict=True):
        reason = unusable_reason(array, shape)
        verdict = "failed" if reason else "inconclusive"
        rows.append(bare_row(name, shape, math.prod(shape), verdict, reason or problem))
    return rows


def bare_row(name: str, shape: Shape, entries: int, verdict: Any, reason: str) -> ArrayReport:
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
        detectable=math.inf if entries else 0.0,
        verdict=verdict,
        reason=reason,
    )


def with_picture(row: ArrayReport, picture: Picture | None) -> ArrayReport:
    """Return the row with that picture; `dataclasses.replace` takes three times as long."""
    if row.picture is picture:
        return row
    values: list[Any] = [*_all_but_picture(row), picture]
    return ArrayReport(*values)


def failure_of(
    name: str,
    shape: Shape,
    entry: Entry,
    tolerance: Tolerance,
) -> Failure:
    """Return what there is to say of one entry."""
    place, given, numerical, error_bar, hull = entry
    return Failure(
        array=name,
        index=_index_of(place, shape),
        given=given,
        numerical=numerical,
        error=abs(given - numerical) if math.isfinite(given) else math.inf,
        error_bar=error_bar,
        allowed=float(allowed_difference(numerical, error_bar, tolerance, hull)),
        hull=hull,
    )


def worst_first(failures: Iterable[Failure]) -> list[Failure]:
    """Sort entries by error over what is allowed, the largest first, equals as they come.

    What is not finite comes before everything; entries where nothing is allowed, by their error.
    """
    return sorted(failures, key=_severity)


def _severity(failure: Failure) -> tuple[float, float]:
    error, allowed = failure.error, failure.allowed
    if error < math.inf and allowed > 0.0:
        ratio = error / allowed
        if ratio < math.inf:
            return -ratio, 0.0
    return -math.inf, -error


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
    chosen += worst_first(rest)[: max(0, FAILURES_IN_ALL - len(chosen))]
    return tuple(worst_first(chosen)[:FAILURES_IN_ALL])


def _failures(
    name: str,
    shape: Shape,
    parts: Iterable[Entries],
    tolerance: Tolerance,
    factor: float | None,
    cells: Cells | None,
) -> tuple[tuple[Failure, ...], float | None, Agreement]:
    """Go through a failed array again: its worst entries, what no factor explains, how near."""
    kept = np.empty((0, 7))
    agreement = Agreement()
    unexplained = Unexplained(factor)
    for entries in parts:
        found = compare(entries, tolerance)
        ratio = found.ratio
        wrong = np.flatnonzero(found.wrong)
        if len(kept) == FAILURES_IN_ALL:
            wrong = wrong[ratio[wrong] >= kept[-1, 0]]
        _, given, numerical, error_bar, hull, _ = entries
        bars, radii = (np.broadcast_to(radius, ratio.shape) for radius in (error_bar, hull))
        if cells is not None:
            cells.add(entries.start, ratio, radii > bars)
        columns = (ratio, found.error, given, numerical, bars, radii)
        lines = np.stack([column[wrong] for column in columns], axis=1)
        lines = np.insert(lines, 2, entries.start + wrong, axis=1)
        kept = _sorted_lines(np.concatenate([kept, lines]))[:FAILURES_IN_ALL]
        used = found.judged & found.finite
        unexplained.add(given[used], numerical[used])
        agreement.add(given[used], numerical[used], bars[used], radii[used])
    failures = [
        failure_of(name, shape, Entry(int(place), *values), tolerance)
        for _, _, place, *values in kept.tolist()
    ]
    return tuple(failures), unexplained.residual, agreement


def _sorted_lines(lines: Floats) -> Floats:
    """Sort as `worst_first` does, equals by their place: ratio, error and place come first."""
    ratio, error, place = lines[:, 0], lines[:, 1], lines[:, 2]
    ties = np.where(np.isinf(ratio), -error, 0.0)
    return lines[np.lexsort((place, ties, -ratio))]


def _index_of(place: int, shape: Shape) -> Shape:
    """Index of an entry by its place in C order; NumPy's own takes 3 us of a small check."""
    index: list[int] = []
    for length in reversed(shape):
        place, inside = divmod(place, length)
        index.insert(0, inside)
    return tuple(index)
