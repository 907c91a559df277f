"""How noisy the values of a function are, from tables of them at equal distances."""

from __future__ import annotations

import numpy as np

from fastbp.typing import Vector

__all__ = ["ROUNDING", "evaluation_noise", "lower_median", "rounding_of_values"]

# The standard deviation of a k-th difference of independent noise is sqrt((2k)! / k!^2) of it.
THIRD_DIFFERENCE = np.sqrt(20.0)
# Mean of the third of six third differences, over that of the fourth, on which the margins rest.
TYPICAL_OF_LOWER_MEDIAN = 0.73
# Rounding the value alone: half a unit in the last place at most, 0.29 units on average.
ROUNDING = 0.6
# Of float64, which values of a function in float32 are often computed in.
UNDERFLOW = float(np.finfo(np.float64).smallest_subnormal)


def evaluation_noise(table: Vector, unit: float) -> Vector:
    """Estimate the noise in the values of f from values at equal distances.

    Parameters
    ----------
    table : ndarray of float64, shape (points, n)
        Values along n lines, so close together that only noise has a third difference.
    unit : float
        Half the distance of 1 to the next number of the precision f computes in.

    Returns
    -------
    ndarray of float64, shape (n,)
        An estimate of the standard deviation; at least what rounding the value makes.

    Notes
    -----
    The lower median of the third differences: a kink at the point spoils two of the six, one
    between two points of the table three. Moré & Wild (2011), section 4, use root mean squares.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        middle = lower_median(np.abs(np.diff(table, 3, axis=0)))
        estimate = middle / (TYPICAL_OF_LOWER_MEDIAN * THIRD_DIFFERENCE)
    found: Vector = np.fmax(estimate, rounding_of_values(table, unit))
    return found


def rounding_of_values(table: Vector, unit: float) -> Vector:
    """Return the noise that rounding the values of f makes, if it does nothing else.

    At least the distance of two numbers next to 0, where x**2 becomes 0 at 1e-200.
    """
    largest = np.max(np.abs(table), axis=0, where=np.isfinite(table), initial=0)
    noise: Vector = np.maximum(ROUNDING * unit * largest, UNDERFLOW)
    return noise


def lower_median(values: Vector) -> Vector:
    """Median of the finite values, the lower one of two; NaN where there are none."""
    finite = np.isfinite(values)
    ordered = np.sort(np.where(finite, values, np.inf), axis=0)
    middle = (finite.sum(axis=0) - 1) // 2  # the last one, infinite, where none is finite
    found: Vector = ordered[middle, np.arange(values.shape[1])]
    return np.where(np.isfinite(found), found, np.nan)
