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
    from numpy.typing import NDArray

    from fastbp.function.derivatives.line_slopes import Lines
    from fastbp.function.evaluation import Function
    from fastbp.report import ArrayReport
    from fastbp.typing import Mask

__all__ = [
    "NOT_CHOSEN",
    "ZERO_WITHIN_ROUNDING",
    "is_zero_within_rounding",
    "row_of_judged",
    "unjudged_row",
]

NAMED = 3  # entries that a reason names
NOT_CHOSEN = "none of its entries was chosen"
ZERO_WITHIN_ROUNDING = "zero within rounding on both sides"
# What the rounding of terms that cancel may leave of the largest derivative.
ROUNDING, ROUNDING_SINGLE = 2.0**-44, 2.0**-17


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
        return replace(row, verdict="inconclusive", reason=_why_missing(function, leaf, lines))
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


def _why_missing(function: Function, leaf: int, lines: Lines) -> str:
    missing = ~np.isfinite(lines.error_bar)
    jumps = missing & (lines.divergence == JUMP)
    steep = missing & (lines.divergence == INFINITE_SLOPE)
    reasons = []
    if jumps.any():
        reasons.append(f"f jumps at {_named(function, leaf, jumps)}")
    if steep.any():
        reasons.append(f"f has an infinite slope at {_named(function, leaf, steep)}")
    others = int(np.count_nonzero(missing & ~jumps & ~steep))
    if others:
        reasons.append(
            f"{others} of {missing.size} entries without a finite derivative: f is not finite "
            f"beside the point, or its noise is not"
        )
    return "; ".join(reasons)


def _larger_than_every_derivative(function: Function, leaf: int, lines: Lines) -> Mask:
    """Return where the bar is larger than every derivative, also relative to the entries."""
    base = function.point.base[leaf]
    sizes = np.where(np.isfinite(base) & (base != 0), np.abs(base), typical(base))
    bars, slopes = lines.error_bar + lines.hull, np.abs(lines.slope)
    with np.errstate(over="ignore"):
        largest, relative = np.max(slopes, initial=0.0), np.max(slopes * sizes, initial=0.0)
        found: Mask = (bars > largest) & (bars * sizes > relative) & ~lines.kink
    return found


def _named(function: Function, leaf: int, which: Mask) -> str:
    entries = np.flatnonzero(which).tolist()
    names = ", ".join(function.point.entry_name(leaf, entry) for entry in entries[:NAMED])
    more = len(entries) - NAMED
    return f"{names} and {more} more" if more > 0 else names
