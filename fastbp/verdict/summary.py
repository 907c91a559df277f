"""Counts and sums of an array's entries, from tiles or from vectors, and the verdict they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.kernels.comparison.chunks import (
    ABOVE_NOISE,
    BROKEN,
    FINDINGS,
    HUGE,
    KINKS,
    LARGEST_ALLOWED,
    NOT_FINITE,
    NOT_ZERO,
    PRODUCT,
    SQUARE,
    WORST_BAR,
    WORST_GIVEN,
    WORST_PLACE,
    WORST_RADIUS,
    WORST_RATIO,
    WORST_VALUE,
    WRONG,
    ZERO,
)
from fastbp.verdict.arrays import TOO_ROUGH, failed_reason, verdict_as_a_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from fastbp.report.model import ArrayVerdict
    from fastbp.verdict.tolerance import Tolerance

    # Given, numerical, bar and radius of some entries.
    Vectors = tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

__all__ = [
    "Vectors",
    "entry_ratios",
    "findings_of_vectors",
    "merged_findings",
    "verdict_of",
    "verdict_of_rough",
]

COUNTS = [WRONG, ZERO, KINKS, ABOVE_NOISE, BROKEN, NOT_FINITE, NOT_ZERO, PRODUCT, SQUARE]
OF_WORST = [WORST_RATIO, WORST_PLACE, WORST_GIVEN, WORST_VALUE, WORST_BAR, WORST_RADIUS]


def merged_findings(table: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Merge the findings of tiles into those of arrays.

    Parameters
    ----------
    table : float64, shape (tiles, FINDINGS)
    starts : int64, shape (arrays,)
        The first tile of each array.

    Returns
    -------
    float64, shape (arrays, FINDINGS)
    """
    merged = np.maximum.reduceat(table, starts, axis=0)
    merged[:, COUNTS] = np.add.reduceat(table[:, COUNTS], starts, axis=0)
    owner = np.repeat(np.arange(starts.size), np.diff([*starts, len(table)]))
    worst = np.flatnonzero(table[:, WORST_RATIO] == merged[owner, WORST_RATIO])
    _, first = np.unique(owner[worst], return_index=True)
    merged[:, OF_WORST] = table[np.ix_(worst[first], OF_WORST)]
    return merged


def entry_ratios(
    given: NDArray[Any],
    value: NDArray[np.float64],
    bar: NDArray[np.float64],
    radius: NDArray[np.float64],
    tolerance: Tolerance,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Error over what is allowed, and what is allowed; infinite where the given is no number.

    As the kernel ``compare_row`` has it; an entry that cannot be judged has -1.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = bar + radius + tolerance.atol + tolerance.rtol * np.abs(value)
        ratio = np.abs(given.astype(np.float64) - value) / allowed
        judged = (np.abs(value) <= HUGE) & (allowed <= HUGE)
    ratio[~np.isfinite(given)] = np.inf
    return np.where(judged, ratio, -1.0), allowed


def findings_of_vectors(
    given: NDArray[Any],
    value: NDArray[np.float64],
    bar: NDArray[np.float64],
    radius: NDArray[np.float64],
    tolerance: Tolerance,
    starts: NDArray[np.int64],
    scales: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compare vectors laid end to end, as tiles are compared.

    Parameters
    ----------
    given, value, bar, radius : ndarray, shape (n,)
    tolerance : Tolerance
    starts : int64, shape (arrays,)
    scales : float64, shape (n,)
        What makes products of entries fit a number.

    Returns
    -------
    float64, shape (arrays, FINDINGS)
    """
    ratios, allowed = entry_ratios(given, value, bar, radius, tolerance)
    single = np.zeros((given.size, FINDINGS))
    size = np.abs(value)
    judged = (size <= HUGE) & (allowed <= HUGE)
    finite = np.isfinite(given)
    used = judged & finite
    number = np.where(finite, given, 0.0).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        single[:, WRONG] = judged & ~(np.abs(given.astype(np.float64) - value) <= allowed)
        single[:, ZERO] = (given == 0) & (size + radius <= bar)
        single[:, KINKS] = radius > bar
        single[:, ABOVE_NOISE] = judged & (size > bar)
        single[:, BROKEN] = ~judged
        single[:, NOT_FINITE] = ~finite
        single[:, NOT_ZERO] = given != 0
        single[:, LARGEST_ALLOWED] = np.where(judged, allowed, 0.0)
        single[:, PRODUCT] = np.where(used, (number * scales) * (value * scales), 0.0)
        single[:, SQUARE] = np.where(used, (value * scales) ** 2, 0.0)
    single[:, WORST_RATIO] = ratios
    lengths = np.diff([*starts, given.size])
    single[:, WORST_PLACE] = np.arange(given.size) - np.repeat(starts, lengths)
    single[:, WORST_GIVEN], single[:, WORST_VALUE] = given, value
    single[:, WORST_BAR], single[:, WORST_RADIUS] = bar, radius
    return merged_findings(single, starts)


def verdict_of(found: list[float], entries: int) -> tuple[ArrayVerdict, str]:
    """Return the verdict of one array, and the reason."""
    if found[WRONG]:
        return "failed", failed_reason(
            int(found[WRONG]), entries, int(found[NOT_FINITE]), every_zero=not found[NOT_ZERO]
        )
    if found[BROKEN]:
        return "inconclusive", (
            f"{int(found[BROKEN])} of {entries} entries without a finite derivative or error bar"
        )
    if found[ZERO] == entries:
        return "untested", "zero on both sides in every entry"
    # On a kink some convention's derivative is above the bar.
    if not found[ABOVE_NOISE] and not found[KINKS]:
        return "inconclusive", TOO_ROUGH
    return "passed", ""


def verdict_of_rough(
    parts: Iterable[Vectors], scale: float, margin: float
) -> tuple[ArrayVerdict, str]:
    """Look again, at the whole of an array whose derivatives are all below their bars.

    Parameters
    ----------
    parts : iterable of (given, numerical, bar, radius)
        All of its entries, some at a time.
    scale : float
        What makes squares of entries fit a number.
    margin : float
        How many times the noise the bars are.
    """
    squares = np.zeros(5)
    for given, value, bar, radius in parts:
        number = given.astype(np.float64)
        with np.errstate(over="ignore"):  # infinite, and so no agreement
            apart = np.abs(number - value)
            outside = np.maximum(apart - radius, 0.0)
            for n, side in enumerate((apart, outside, value, number, bar / margin)):
                squares[n] += np.sum(np.square(side * scale))
    return verdict_as_a_whole(*np.sqrt(squares).tolist())
