"""A function that is constant at every step tried: its digits may be too few for all of them.

Where a float32 is near 1e8 the next one is 8 apart, and a text of six digits near 1e6 changes by
10. Every difference is 0 then, and says no more than that f changes by less than one such step.
"""

from __future__ import annotations

import numpy as np

from fastbp.typing import Vector

__all__ = ["hidden_slope", "spacing_of_few_digits"]

DIGITS = 6  # of printf's %g, by default


def hidden_slope(value: float, unit: float, size: Vector, longest: Vector) -> Vector:
    """Return how large the slopes of a function that is constant at every step may be.

    Parameters
    ----------
    value : float
        Of the function.
    unit : float
        Of the precision it computes in.
    size, longest : ndarray of float64, shape (n,)
        Of what moves along each line, and the longest step.
    """
    # Terms of that size may have cancelled, as the largest logit and the logarithm of the sum of
    # exponentials do.
    hidden: Vector = (spacing_of_few_digits(value) + unit * size) / longest
    return hidden


def spacing_of_few_digits(value: float) -> float:
    """Return how far apart numbers beside a value are, if it has few digits; 0 if it has many.

    Examples
    --------
    >>> spacing_of_few_digits(1e6), spacing_of_few_digits(2.0**24), spacing_of_few_digits(0.1234567)
    (10.0, 2.0, 0.0)
    """
    if value == 0.0 or not np.isfinite(value):
        return 0.0
    spacing = 0.0
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    if float(single) == value:
        spacing = float(np.spacing(np.abs(single)))
    if float(f"{value:.{DIGITS}g}") == value:
        decimal = 10.0 ** (np.floor(np.log10(abs(value))) + 1 - DIGITS)
        spacing = max(spacing, float(decimal))
    return spacing
