"""Numbers as text, with as many digits as a reader needs."""

from __future__ import annotations

import math

__all__ = ["told_apart"]

# 17 significant digits tell any two float64 apart.
MOST_DIGITS = 17
OF_THE_DIFFERENCE = 2


def told_apart(first: float, second: float, digits: int = 9) -> tuple[str, str]:
    """Write two numbers so that two digits of their difference are seen.

    Parameters
    ----------
    first, second : float
    digits : int
        How many significant digits there are at least.

    Examples
    --------
    >>> told_apart(2.2, 2.2 + 2.2e-11), told_apart(5.0, 5.0), told_apart(1.0, 2.0)
    (('2.2', '2.200000000022'), ('5', '5'), ('1', '2'))
    """
    apart, size = abs(first - second), max(abs(first), abs(second))
    if 0.0 < apart < math.inf:
        before = math.floor(math.log10(size)) - math.floor(math.log10(apart))
        digits = min(MOST_DIGITS, max(digits, before + OF_THE_DIFFERENCE))
    return f"{first:.{digits}g}", f"{second:.{digits}g}"
