"""Entries that could not be judged, and arrays that are zero but for rounding.

An entry whose error bar is larger than any derivative of its array passes whatever is given there:
that is no judgement, and the row says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.derivatives.divergence import INFINITE_SLOPE, JUMP
from fastbp.function.derivatives.entry_slopes import typical
from fastbp.verdict.arrays import TOO_ROUGH
from fastbp.verdict.rows import bare_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.derivatives.lines import Lines
    from fastbp.function.evaluation import Function
    from fastbp.report import ArrayReport
    from fastbp.typing import Mask

__all__ = [
    "CONSTANT",
    "LOW_STEP",
    "NOT_CHOSEN",
    "ZERO_WITHIN_ROUNDING",
    "first_named",
    "is_zero_within_rounding",
    "reaching_between_steps",
    "row_of_judged",
    "unjudged_row",
    "why_missing",
]

NAMED = 3  # entries that a reason names
NOT_CHOSEN = "none of its entries was chosen"
ZERO_WITHIN_ROUNDING = "zero within rounding on both sides"
# What the rounding of terms that cancel may leave of the largest derivative.
ROUNDING, ROUNDING_SINGLE = 2.0**-44, 2.0**-17

# f that is constant so far from the point on one side, relative to the entry, takes steps that may
# be meant (round, floor, levels of a picture): the derivative between them is 0, whatever the slope
# over many steps. Those of a float32 are lower, relative to f.
CONSTANT, LOW_STEP = 2.0 ** -np.arange(19.0, 22.0), 2.0**-20
# Between them f may also rise, as floor(x) + x / 10 does: by what is given, up to this part of it,
# which has to be more than so many roundings.
NEARLY, ROUNDINGS = 2.0**-10, 4.0


def reaching_between_steps(
    function: Function,
    leaf: int,
    indices: NDArray[np.int64],
    given: NDArray[np.floating],
    lines: Lines,
) -> Lines:
    """Let error bars of entries reach to what is given where f has that slope between two steps.

    f is constant there where 0 is given. It is asked about other slopes only if it takes steps.
    """
    asked = np.isfinite(given) & ((given == 0) | (function.quantum > 0))
    agrees = np.zeros(indices.size, dtype=bool)
    agrees[asked] = _agrees_between_steps(
        function, leaf, indices[asked], given[asked], lines.error_bar[asked]
    )
    return lines.reaching(given, agrees)


def _agrees_between_steps(
    function: Function,
    leaf: int,
    indices: NDArray[np.int64],
    given: NDArray[np.floating],
    error_bar: NDArray[np.floating],
) -> Mask:
    """Tell along which entries a given slope is that of f next to the point, between two steps.

    Slopes other than 0 are known better than this tells, unless steps of f have made their error
    bars large.
    """
    if _takes_low_steps(function) or indices.size == 0:
        return np.zeros(indices.size, dtype=bool)
    base = function.point.base[leaf]
    at = base[indices]
    size = np.where(at != 0, np.abs(at), typical(base))
    beside = np.array([at + sign * step * size for sign in (-1, 1) for step in CONSTANT])
    beside = beside.astype(base.dtype)
    values = function.with_entries(leaf, np.tile(indices, len(beside)), beside.reshape(-1))
    with np.errstate(all="ignore"):
        said = given * (beside.astype(np.float64) - at)
        apart = np.abs(values.reshape(said.shape) - function.value - said)
        rounding = ROUNDINGS * function.unit * abs(function.value)
        clear = np.abs(said) * NEARLY > rounding
        clear &= error_bar > NEARLY * np.abs(given)
        clear |= given == 0
        same = clear & (apart <= np.where(given == 0, 0.0, NEARLY * np.abs(said)))
    agrees: Mask = same.reshape(2, len(CONSTANT), indices.size).all(axis=1).any(axis=0)
    return agrees


def is_constant_along(
    function: Function, leaf: int, direction: NDArray[np.floating], part: slice
) -> bool:
    """Tell whether f is constant beside the point along a part of a direction."""
    if _takes_low_steps(function):
        return False
    steps = typical(function.point.base[leaf]) * np.concatenate([-CONSTANT, CONSTANT])
    values = function.along(leaf, direction, steps.tolist(), part)
    return bool((values == function.value).reshape(2, -1).all(axis=1).any())


def _takes_low_steps(function: Function) -> bool:
    return bool(0 < function.quantum * np.sqrt(12.0) <= LOW_STEP * abs(function.value))


def row_of_judged(
    row: ArrayReport, function: Function, leaf: int, lines: Lines, *, nothing_given: bool
) -> ArrayReport:
    """Return the row of an array, and say which of its entries could not be judged.

    Parameters
    ----------
    row : ArrayReport
        As its entries were judged.
    function : Function
    leaf : int
        Which leaf of its argument.
    lines : Lines
        The measurements.
    nothing_given : bool
        Whether the given derivatives are no more than rounding.
    """
    row = replace(row, kinks=int(np.count_nonzero(lines.kink)))
    if not np.isfinite(function.value):
        return replace(row, reason=f"f is {function.value} at the point")
    if row.verdict == "failed":
        return row
    missing = ~np.isfinite(lines.error_bar)
    if missing.any():
        why = why_missing(lines, lambda which: _named(function, leaf, which))
        return replace(row, verdict="inconclusive", reason=why)
    if row.verdict == "inconclusive" and row.reason == TOO_ROUGH and nothing_given:
        return replace(row, verdict="untested", reason=ZERO_WITHIN_ROUNDING)
    if row.verdict == "passed":
        rough = _larger_than_every_derivative(function, leaf, lines)
        if rough.any():
            reason = f"{_named(function, leaf, rough)} could not be judged: "
            reason += "the noise is larger than every derivative of the array"
            return replace(row, verdict="inconclusive", reason=reason)
    return row


def unjudged_row(function: Function, leaf: int, reason: str) -> ArrayReport:
    """Return the row of an array that was not judged, or not to its end."""
    name, shape = function.point.row_names[leaf], function.point.row_shapes[leaf]
    size = function.point.base[leaf].size
    row = bare_row(name, shape, size, "inconclusive", f"not judged: {reason}")
    return replace(row, detectable=np.inf)


def is_zero_within_rounding(given: NDArray[np.floating], largest: float) -> bool:
    """Tell whether a gradient array is what rounding leaves of 0, beside the largest of all."""
    rounding = (
        ROUNDING_SINGLE if given.dtype.itemsize == np.dtype(np.float32).itemsize else ROUNDING
    )
    return float(np.max(np.abs(given), initial=0.0)) <= rounding * largest


def why_missing(lines: Lines, named: Callable[[Mask], str]) -> str:
    """Say why lines have no finite derivative; `named` says which they are."""
    missing = ~np.isfinite(lines.error_bar)
    jumps = missing & (lines.divergence == JUMP)
    steep = missing & (lines.divergence == INFINITE_SLOPE)
    reasons = []
    if jumps.any():
        reasons.append(f"f jumps at {named(jumps)}")
    if steep.any():
        reasons.append(f"f has an infinite slope at {named(steep)}")
    others = int(np.count_nonzero(missing & ~jumps & ~steep))
    if others:
        reasons.append(
            f"{others} of {missing.size} entries without a finite derivative: f is not finite "
            f"beside the point, or its noise is not"
        )
    return "; ".join(reasons)


def first_named(which: Mask, name: Callable[[int], str]) -> str:
    """Return the names of some entries, and how many more there are."""
    entries = np.flatnonzero(which).tolist()
    names = ", ".join(name(entry) for entry in entries[:NAMED])
    more = len(entries) - NAMED
    return f"{names} and {more} more" if more > 0 else names


def _larger_than_every_derivative(function: Function, leaf: int, lines: Lines) -> Mask:
    """Return where twice the bar is larger than every derivative, also relative to the entries.

    That is what the report calls detectable: what is given for a derivative, and its measurement,
    may each be off by a bar.
    """
    base = function.point.base[leaf]
    sizes = np.where(np.isfinite(base) & (base != 0), np.abs(base), typical(base))
    bars, slopes = 2 * (lines.error_bar + lines.hull), np.abs(lines.slope)
    with np.errstate(over="ignore"):
        largest, relative = np.max(slopes, initial=0.0), np.max(slopes * sizes, initial=0.0)
        found: Mask = (bars > largest) & (bars * sizes > relative) & ~lines.kink
    return found


def _named(function: Function, leaf: int, which: Mask) -> str:
    return first_named(which, lambda entry: function.point.entry_name(leaf, entry))
