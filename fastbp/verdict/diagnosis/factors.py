"""What a constant factor may stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastbp.report.causes import Cause

__all__ = [
    "AGREEING",
    "Named",
    "factor_cause",
    "is_factor_worth_naming",
    "is_simple",
    "is_telling",
    "plain_factor",
    "readings",
]

# A factor that is no simple number needs so many entries that agree on it.
AGREEING = 3


@dataclass(frozen=True, slots=True)
class Named:
    """A number that a gradient may be multiplied by through a mistake, and the mistake."""

    number: float
    reading: str


LARGEST_PLAIN, LARGEST_SIMPLE = 1e9, 16


def is_simple(factor: float | None) -> bool:
    """Tell whether a plain factor is a small integer or the reciprocal of one.

    Examples
    --------
    >>> is_simple(2.0), is_simple(-1 / 3), is_simple(0.37), is_simple(784.0)
    (True, True, False, False)
    """
    if factor is None or not 1 / LARGEST_SIMPLE <= abs(factor) <= LARGEST_SIMPLE:
        return False
    larger = max(abs(factor), 1.0 / abs(factor))
    return abs(larger - round(larger)) < 1e-12 * larger


def readings(factor: float, named: list[Named], tolerance: float) -> tuple[str, ...]:
    """Return what a factor may stand for, each reading once.

    Examples
    --------
    >>> readings(2.0, [Named(2.0, "a square"), Named(3.0, "outputs")], 1e-9)
    ('a square',)
    """
    found = [one.reading for one in named if abs(factor - one.number) <= tolerance * abs(factor)]
    return tuple(dict.fromkeys(found))


def factor_cause(
    factor: float, named: list[Named], tolerance: float, kind: str = "factor"
) -> Cause:
    """Return the cause of a factor, with what it may stand for.

    Examples
    --------
    >>> factor_cause(2.0, [Named(2.0, "a square")], 1e-9)
    Cause(kind='factor', detail='', factor=2.0, readings=('a square',))
    >>> factor_cause(-1.0, [], 1e-9).kind
    'sign'
    """
    plain = plain_factor(factor, tolerance)
    if kind == "factor" and plain == -1.0:
        return Cause("sign")
    return Cause(kind, "", plain, readings(factor, named, tolerance))


def is_telling(cause: Cause) -> bool:
    """Tell whether a factor is simple or has a meaning, and is no mere number.

    Examples
    --------
    >>> is_telling(Cause("factor", factor=2.0)), is_telling(Cause("factor", factor=0.37))
    (True, False)
    """
    return cause.kind == "sign" or bool(cause.readings) or is_simple(cause.factor)


def is_factor_worth_naming(cause: Cause, informative: int) -> bool:
    """Tell whether a factor says what the mistake is: never 1, and no number of a few entries.

    Examples
    --------
    >>> is_factor_worth_naming(Cause("factor", factor=2.0), 1)
    True
    >>> is_factor_worth_naming(Cause("factor", factor=0.37), 2)
    False
    >>> is_factor_worth_naming(factor_cause(1.0 + 1e-11, [], 1e-9), 1000)
    False
    """
    return cause.factor != 1.0 and (is_telling(cause) or informative >= AGREEING)


def plain_factor(factor: float, tolerance: float) -> float:
    """Return the integer, or the reciprocal of one, that a factor is to within rounding.

    Other factors come back to so many digits as are known.

    Examples
    --------
    >>> plain_factor(2.0000000000001, 1e-9), plain_factor(0.1249999999999, 1e-9)
    (2.0, 0.125)
    >>> plain_factor(0.37000000000004, 1e-9)
    0.37
    """
    size = abs(factor)
    if 1.0 / LARGEST_PLAIN < size < LARGEST_PLAIN:
        near = round(size) if size >= 1.0 else 1.0 / round(1.0 / size)
        if abs(size - near) <= tolerance * size:
            return float(near if factor > 0 else -near)
    # As many digits as make no integer of what is none.
    digits = 1 + math.ceil(-math.log10(tolerance))
    return float(f"{factor:.{digits}g}")
