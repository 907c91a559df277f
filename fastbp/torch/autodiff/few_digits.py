"""Slopes of functions whose values have few digits, as those in half precision.

A step must be as large as what moves, or the difference is rounding alone; then it also cuts off
much. So differences over many long steps are fitted by their limit and the first powers of the
step, and what they scatter about the fit says how far the limit can be trusted. That is enough to
see a factor, a sign or a missing term, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.typing import Vector

__all__ = [
    "ALLOWANCE",
    "HALF_UNIT",
    "ROUNDING",
    "fitted_offset",
    "judged",
    "long_steps",
    "voted",
]

HALF_UNIT = 2.0**-12  # coarser units are those of half precision
LONGEST, PER_OCTAVE, STEPS, FITTED = 4.0, 3, 16, 10
SIGMAS = 8.0  # of a limit, by the scatter of `FITTED` differences
# Standard deviation of the rounding of a number, relative to it and in units: 0.29 to 0.58.
ROUNDING = 0.4
# What the sum of a correct gradient along a direction may be off by, in units, of its size.
ALLOWANCE = 32.0
# So many directions are looked at, of which half must fail: along some a wrong gradient hides.
DIRECTIONS, FAILING = 6, 3

NOISY = "the noise of the differences is larger than the derivative"


def long_steps(unit: float) -> Vector:
    """Return steps relative to what moves, the longest first, for values of such a unit."""
    longest = LONGEST * 2.0 ** np.ceil(np.log2(unit) / 3)
    steps: Vector = longest * 2.0 ** (-np.arange(STEPS) / PER_OCTAVE)
    return steps


def fitted_offset(steps: Vector, offsets: Vector, rounding: float) -> tuple[float, float]:
    """Return the limit of offsets for short steps, and its error bar.

    Parameters
    ----------
    steps : ndarray of float64, shape (n,)
        The longest first.
    offsets : ndarray of float64, shape (n,)
        How much the difference over each step is off what a gradient says of it. The noise in it
        goes with the inverse of the step.
    rounding : float
        The standard deviation of one value by the rounding of results alone, at least. Values
        between two of the few numbers that there are do not scatter.

    Returns
    -------
    (float, float)
        NaN and infinity where no steps in a row have finite offsets.
    """
    fits = []
    for start in range(len(steps) - FITTED + 1):
        part = slice(start, start + FITTED)
        if np.all(np.isfinite(offsets[part])):
            fits.append(_fit(steps[part], offsets[part]))
    if not fits:
        return np.nan, np.inf
    least = rounding / np.sqrt(2.0)  # of half a difference
    bars = [SIGMAS * spread * max(noise, least) for _, spread, noise in fits]
    best = int(np.argmin(bars))
    return fits[best][0], bars[best]


def _fit(steps: Vector, offsets: Vector) -> tuple[float, float, float]:
    """Return the limit, how far it spreads for a noise of 1 in the value, and that noise."""
    scaled = steps / steps[0]
    terms = scaled[:, None] ** np.arange(3) * steps[:, None]
    found, _, _, _ = np.linalg.lstsq(terms, offsets * steps, rcond=None)
    left = offsets * steps - terms @ found
    noise = float(np.sqrt(np.sum(left**2) / (len(steps) - terms.shape[1])))
    spread = float(np.sqrt(np.linalg.inv(terms.T @ terms)[0, 0]))
    return float(found[0]), spread, noise


def judged(said: float, offset: float, bar: float, size: float) -> tuple[str, str, float]:
    """Judge what a gradient says of one direction.

    Parameters
    ----------
    said : float
        The slope by the gradient.
    offset, bar : float
        How much the measured one is off that, and its error bar.
    size : float
        Of `said`, unless its terms happen to cancel.

    Returns
    -------
    (str, str, float)
        A verdict, its reason, and the bar.
    """
    if not np.isfinite(bar):
        return "inconclusive", "its values are not finite", np.inf
    if abs(offset) > bar:
        slope = said + offset
        reason = (
            f"along a random direction the derivative is {slope:.3g}, its backward pass says "
            f"{said:.3g}"
        )
        return "failed", reason, bar
    if size and bar >= size / 2:  # a gradient of twice the derivative could pass
        return "inconclusive", NOISY, bar
    return "passed", "", bar


def voted(look: Callable[[int], tuple[str, str, float]]) -> tuple[str, str, float]:
    """Return the verdict of several directions: one alone may fail, or hide a mistake, by chance.

    `look` judges the direction of a number.
    """
    found: list[tuple[str, str, float]] = []
    for number in range(DIRECTIONS):
        found.append(look(number))
        failed = [one for one in found if one[0] == "failed"]
        if len(failed) == FAILING:
            return failed[0]
        unclear = [one for one in found if one[0] == "inconclusive"]
        if len(unclear) > DIRECTIONS - FAILING:
            return unclear[0]
    passed = [one for one in found if one[0] == "passed"]
    if len(passed) >= DIRECTIONS - 1:
        return max(passed, key=lambda one: one[2])
    return unclear[0] if unclear else ("inconclusive", "random directions disagree", np.inf)
