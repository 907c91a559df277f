"""Functions whose digits may be too few for every step tried.

Where a float32 is near 1e8 the next one is 8 apart, and a text of six digits near 1e6 changes by
10. Every difference may be 0 then, and says no more than that f changes by less than one such step.
Where the digits are so few that all values tell it, one or two of these steps say no more.
"""

from __future__ import annotations

import math

from fastbp.typing import Vector

__all__ = ["has_few_digits", "hidden_slope", "spacing_of_few_digits"]

# Bits of the mantissa: bfloat16, float16, float32.
BITS = (8, 11, 24)
BITS_OF_HALF = 11
# Significant digits of sums in cents, and of what printf writes by default.
DIGITS = range(3, 7)
DIGITS_OF_CENTS = 5


def has_few_digits(value: float) -> bool:
    """Tell whether a number has no more digits than half precision, or than a sum in cents.

    Examples
    --------
    >>> has_few_digits(3.140625), has_few_digits(123.45), has_few_digits(3.14159)
    (True, True, False)
    """
    short = math.ldexp(math.frexp(value)[0], BITS_OF_HALF).is_integer()
    return short or float(f"{value:.{DIGITS_OF_CENTS}g}") == value


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

    Of binary formats it is the shortest that holds the value, down to eight bits; of decimal ones
    the one with the fewest digits, three to six.

    Examples
    --------
    >>> [spacing_of_few_digits(value) for value in (1e6 + 10, 2.0**24 + 2, 4.16, 0.1234567)]
    [10.0, 2.0, 0.01, 0.0]
    """
    if value == 0.0 or not math.isfinite(value):
        return 0.0
    mantissa, exponent = math.frexp(abs(value))
    bits = next((bits for bits in BITS if math.ldexp(mantissa, bits).is_integer()), None)
    spacing = 0.0 if bits is None else math.ldexp(1.0, exponent - bits)
    for digits in DIGITS:
        if float(f"{value:.{digits}g}") == value:
            decimal = 10.0 ** (math.floor(math.log10(abs(value))) + 1 - digits)
            return max(spacing, decimal)
    return spacing
