"""Checking a gradient entry by entry: each is measured, and again before it is called wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.derivatives.entry_slopes import cheap_slopes, survey_leaf
from fastbp.function.derivatives.numerical_gradient import measure_everything
from fastbp.function.derivatives.second_slopes import (
    allow_for_rounded_entries,
    learn_distant_jumps,
    measure_again,
    measure_among_jumps,
    measure_unlucky_again,
)
from fastbp.function.methods.options import function_tolerance
from fastbp.function.methods.unjudged import (
    NOT_CHOSEN,
    is_zero_within_rounding,
    reaching_between_steps,
    row_of_judged,
)
from fastbp.report.wording.digits import told_apart
from fastbp.verdict.diagnosis.diagnose_arrays import Compared, diagnose_arrays
from fastbp.verdict.entries import wrong_entries
from fastbp.verdict.rows import Numerical, bare_row, judged_row, unusable_reason
from fastbp.verdict.tolerance import Tolerance, allowed_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.containers.given_gradient import GivenLeaves
    from fastbp.function.derivatives.lines import Lines
    from fastbp.function.evaluation import Function
    from fastbp.function.methods.judged import Judged
    from fastbp.function.methods.options import Options
    from fastbp.report import ArrayReport, Failure
    from fastbp.typing import Mask

__all__ = ["judge_every_entry"]

KINKS_NOTED, DISAGREEING = 5, 3
# Wrong entries beyond these, the ones nearest to passing, are measured again by one difference.
MOST_AGAIN = 256
# Jumps of f far from the point are looked for where an entry is off by no more than this part.
LITTLE = 0.25


def judge_every_entry(
    found: Judged, function: Function, given: GivenLeaves, options: Options
) -> None:
    """Measure every entry, and those about to fail again; stop where the account is closed."""
    kinks: list[str] = []
    compared: list[Compared] = []
    begun: tuple[int, Lines] | None = None
    with function.account.until_stopped():  # what is left then has no rows
        for leaf, (lines, complete) in enumerate(measure_everything(function)):
            begun = leaf, lines
            if not complete:
                continue
            found.rows[leaf], found.failures[leaf], lines = _judged_leaf(
                function, leaf, lines, given, options
            )
            array, failed = given.arrays[leaf], found.rows[leaf].verdict == "failed"
            name, shape = function.point.row_names[leaf], function.point.row_shapes[leaf]
            if found.rows[leaf].reason != NOT_CHOSEN:
                compared.append(_compared(name, array, shape, lines, failed=failed))
                kinks += _kink_notes(function, leaf, lines)
    if begun is not None and begun[0] not in found.rows:
        found.notes += _seen_so_far(function, *begun, given, options)
    found.notes += _shortened(kinks)
    if function.chosen is None:  # what is known of some entries only tells little about the array
        found.findings += diagnose_arrays(compared)


def _judged_leaf(
    function: Function, leaf: int, lines: Lines, given: GivenLeaves, options: Options
) -> tuple[ArrayReport, tuple[Failure, ...], Lines]:
    """Return the row of one leaf, its wrong entries, and its lines as they are known then."""
    array = given.arrays[leaf]
    name, shape = function.point.row_names[leaf], function.point.row_shapes[leaf]
    if array is None or unusable_reason(array, shape):
        reason = unusable_reason(array, shape) if array is not None else "is not given"
        return bare_row(name, shape, lines.slope.size, "failed", reason), (), lines
    chosen = None if function.chosen is None else function.chosen.masks[leaf]
    if chosen is not None and not chosen.any():
        return bare_row(name, shape, 0, "untested", NOT_CHOSEN), (), lines
    flat = array.reshape(-1)
    everywhere = np.arange(flat.size) if chosen is None else np.flatnonzero(chosen)
    lines = measure_unlucky_again(function, leaf, everywhere, lines)
    if chosen is not None:
        lines = _as_if_measured(lines, ~chosen, np.zeros(flat.size))
    tolerance = function_tolerance(
        options,
        array,
        given.dtype,
        lines.slope,
        given.noise.get(leaf, 0.0),
        function.point.base[leaf],
    )
    if chosen is not None:
        lines = _as_if_measured(lines, ~chosen, flat)
    lines = _measured_again(function, leaf, flat, lines, tolerance)
    numerical = _numerical(name, shape, lines)
    if chosen is None:
        row, wrong = judged_row(array, numerical, given.dtype, tolerance)
    else:
        row, wrong = _judged_some(flat, chosen, numerical, given.dtype, tolerance)
    nothing = is_zero_within_rounding(flat, given.largest)
    return row_of_judged(row, function, leaf, lines, nothing_given=nothing), wrong, lines


def _seen_so_far(
    function: Function, leaf: int, lines: Lines, given: GivenLeaves, options: Options
) -> list[str]:
    """Say what was seen of an array in which the check was stopped: of a huge one that is much.

    What disagrees is no wrong entry yet: it was not measured again.
    """
    name, array = function.point.row_names[leaf], given.arrays[leaf]
    measured = np.flatnonzero(np.isfinite(lines.error_bar))
    if (
        array is None
        or unusable_reason(array, function.point.row_shapes[leaf])
        or not measured.size
    ):
        return []
    flat, lines = array.reshape(-1)[measured], lines.only(measured)
    base, noise = function.point.base[leaf][measured], given.noise.get(leaf, 0.0)
    tolerance = function_tolerance(options, flat, given.dtype, lines.slope, noise, base)
    wrong = wrong_entries(flat, lines.slope, lines.error_bar, tolerance, hull=lines.hull)
    said = f"{name}: {measured.size:,} of {array.size:,} entries were measured"
    apart = measured[wrong]
    if not apart.size:
        return [f"{said}, and agree"]
    names = ", ".join(function.point.entry_name(leaf, int(one)) for one in apart[:DISAGREEING])
    more = f" and {apart.size - DISAGREEING:,} more" if apart.size > DISAGREEING else ""
    verb = "disagrees" if apart.size == 1 else "disagree"
    return [f"{said}; {names}{more} {verb}, but there was no second measurement"]


def _compared(
    name: str, given: NDArray[Any] | None, shape: tuple[int, ...], lines: Lines, *, failed: bool
) -> Compared:
    bars = np.broadcast_to(lines.error_bar + lines.hull, lines.slope.shape)
    return Compared(name, given, lines.slope.reshape(shape), bars.reshape(shape), failed)


def _numerical(name: str, shape: tuple[int, ...], lines: Lines) -> Numerical:
    return Numerical(name, shape, lines.slope, lines.error_bar, lines.hull, kink=lines.kink)


def _as_if_measured(lines: Lines, where: Mask, slopes: NDArray[Any]) -> Lines:
    """Return the same with what was not measured: slopes that agree with what is given."""
    lines = lines.copy()
    finite = np.where(np.isfinite(slopes), slopes, 0.0)
    for part in (lines.slope, lines.left, lines.right):
        part[where] = finite[where]
    lines.error_bar[where] = 0.0
    return lines


def _judged_some(
    given: NDArray[Any],
    chosen: Mask,
    numerical: Numerical,
    dtype: np.dtype[Any],
    tolerance: Tolerance,
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    """Judge some entries of an array, and name them by their places in the whole."""
    places, hull = np.flatnonzero(chosen), numerical.hull
    kink = numerical.kink
    some = replace(
        numerical,
        shape=(places.size,),
        values=numerical.values[chosen],
        error_bar=np.broadcast_to(numerical.error_bar, chosen.shape)[chosen],
        hull=np.broadcast_to(hull, chosen.shape)[chosen],
        kink=None if kink is None else kink[chosen],
        inside=(numerical.shape, places),
    )
    row, wrong = judged_row(given[chosen], some, dtype, tolerance)

    def in_place(failure: Failure) -> Failure:
        index = np.unravel_index(places[failure.index[0]], numerical.shape)
        return replace(failure, index=tuple(int(i) for i in index))

    worst = None if row.worst is None else in_place(row.worst)
    row = replace(row, shape=numerical.shape, worst=worst)
    return row, tuple(in_place(failure) for failure in wrong)


def _kink_notes(function: Function, leaf: int, lines: Lines) -> list[str]:
    entries = np.flatnonzero(lines.kink).tolist()
    slopes = [told_apart(*_within_bar(lines, entry), 6) for entry in entries]
    return [
        f"{function.point.entry_name(leaf, entry)} is on a kink: slopes "
        f"{left} and {right}, what lies between passes"
        for entry, (left, right) in zip(entries, slopes, strict=True)
    ]


def _within_bar(lines: Lines, entry: int) -> tuple[float, float]:
    """Return left and right slope to the decimals that their error bar leaves."""
    bar = float(lines.error_bar[entry])
    slopes = float(lines.left[entry]), float(lines.right[entry])
    if not 0 < bar < np.inf:
        return slopes
    decimals = -math.ceil(math.log10(bar))
    return round(slopes[0], decimals), round(slopes[1], decimals)


def _shortened(notes: list[str]) -> list[str]:
    more = len(notes) - KINKS_NOTED
    return notes if more <= 0 else [*notes[:KINKS_NOTED], f"{more} more entries on kinks"]


def _measured_again(
    function: Function, leaf: int, given: NDArray[Any], lines: Lines, tolerance: Tolerance
) -> Lines:
    """Measure the entries about to fail once more, with other steps.

    Thoroughly those that are nearest to passing; of very many, the rest by one more central
    difference, and thoroughly where that does not confirm the first one.
    """
    wrong = wrong_entries(given, lines.slope, lines.error_bar, tolerance, hull=lines.hull)
    wrong &= np.isfinite(given)
    indices = np.flatnonzero(wrong)
    if indices.size == 0:
        return lines
    allowed = allowed_difference(
        lines.slope[indices], lines.error_bar[indices], tolerance, lines.hull[indices]
    )
    excess = np.abs(given[indices] - lines.slope[indices]) / allowed
    nearest = np.sort(indices[np.argsort(excess, kind="stable")[:MOST_AGAIN]])
    others = np.setdiff1d(indices, nearest)
    if others.size:
        unconfirmed = _unconfirmed(function, leaf, others, lines)
        nearest = np.sort(np.concatenate([nearest, others[unconfirmed]]))
    again = measure_again(function, leaf, nearest, lines.only(nearest))
    again = allow_for_rounded_entries(function, leaf, nearest, again)
    lines = lines.replaced(nearest, again)
    lines = _between_steps(function, leaf, given, lines, tolerance)
    return _looked_farther(function, leaf, given, lines, tolerance)


def _between_steps(
    function: Function, leaf: int, given: NDArray[Any], lines: Lines, tolerance: Tolerance
) -> Lines:
    """Let error bars reach to what is given where that is the slope between two steps of f."""
    wrong = wrong_entries(given, lines.slope, lines.error_bar, tolerance, hull=lines.hull)
    apart = np.flatnonzero(wrong)
    reaching = reaching_between_steps(function, leaf, apart, given[apart], lines.only(apart))
    return lines.replaced(apart, reaching)


def _looked_farther(
    function: Function, leaf: int, given: NDArray[Any], lines: Lines, tolerance: Tolerance
) -> Lines:
    """Look far from the point for jumps of f, where entries are wrong by little."""
    wrong = wrong_entries(given, lines.slope, lines.error_bar, tolerance, hull=lines.hull)
    with np.errstate(invalid="ignore"):
        apart = np.abs(given - lines.slope)
        little = wrong & (apart <= LITTLE * np.abs(lines.slope))
    if not little.any():
        return lines
    noise = float(np.max(lines.noise[little]))
    if not learn_distant_jumps(function, leaf, given, noise):
        return lines
    indices = np.flatnonzero(wrong & np.isfinite(apart))
    nearest = np.sort(indices[np.argsort(apart[indices], kind="stable")[:MOST_AGAIN]])
    measured = measure_among_jumps(function, leaf, nearest, lines.only(nearest))
    return lines.replaced(nearest, measured)


def _unconfirmed(
    function: Function, leaf: int, indices: NDArray[np.int64], lines: Lines
) -> NDArray[np.bool_]:
    """Tell where one more difference, with half the step, does not agree with the first one."""
    known = np.isfinite(lines.third)
    survey = survey_leaf(function, leaf, np.flatnonzero(known), lines.only(known))
    again, doubtful = cheap_slopes(function, leaf, indices, replace(survey, step=survey.step / 2))
    former = lines.only(indices)
    apart = np.abs(again.slope - former.slope)
    return doubtful | ~(apart <= again.error_bar + former.error_bar + former.hull)
