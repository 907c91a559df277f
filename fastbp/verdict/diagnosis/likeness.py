"""When an array counts as explained: how near a given array must be to what a mistake makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.verdict.blocks import norm

if TYPE_CHECKING:
    from fastbp.typing import Floats

__all__ = ["Likeness", "Multiple", "fitted_multiple", "residual"]

# Two computations of one mistake agree to 1e-13 in float64 and to 3e-6 in float32 (networks of six
# layers); a mistake that is as small as this is not told from rounding.
CLOSE_FLOAT64, CLOSE_FLOAT32 = 1e-9, 5e-5
# A hypothesis must leave so little of the error that it explains.
EXPLAINED = 0.02


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near is near enough, relative to the largest entry of an array."""

    tolerance: float

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> Likeness:
        """Return the tolerance for gradients that were computed in float64 or float32."""
        return cls(CLOSE_FLOAT64 if dtype.itemsize == 8 else CLOSE_FLOAT32)

    def alike(self, given: Floats, expected: Floats) -> bool:
        """Tell whether a given array is what a mistake makes of it.

        Examples
        --------
        >>> likeness = Likeness.of(np.dtype(np.float64))
        >>> likeness.alike(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-12]))
        True
        >>> likeness.alike(np.array([1.0, 2.0]), np.array([1.0, 2.1]))
        False
        """
        if given.shape != expected.shape:
            return False
        if not given.size:
            return True
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(given - expected).max()
            return bool(apart <= self.tolerance * np.abs(expected).max())

    def may_be_alike(self, given: float, expected: float, largest: float) -> bool:
        """Tell whether arrays with this entry may be alike; `largest` is that of the given one.

        Examples
        --------
        >>> likeness = Likeness(1e-9)
        >>> likeness.may_be_alike(1.0, 1.0 + 1e-12, 2.0), likeness.may_be_alike(1.0, 1.1, 2.0)
        (True, False)
        """
        # If they are alike, the largest entry of the expected one is at most 1 / (1 - tolerance)
        # times that of the given one.
        return abs(given - expected) <= 1.001 * self.tolerance * largest

    def explains(self, given: Floats, expected: Floats, truth: Floats) -> bool:
        """Tell whether it is alike, and far nearer to the given array than the truth is."""
        if not self.alike(given, expected):
            return False
        with np.errstate(invalid="ignore", over="ignore"):
            return norm(given - expected) <= EXPLAINED * norm(given - truth)


@dataclass(frozen=True, slots=True)
class Multiple:
    """given = factor * expected, as far as it goes."""

    factor: float
    informative: int  # entries that are not 0 on both sides


def residual(given: Floats, expected: Floats) -> float:
    """Return |given - expected| / |given|; 0 where both are zero.

    Examples
    --------
    >>> residual(np.array([3.0, 4.0]), np.array([3.0, 4.5]))
    0.1
    """
    apart, size = norm(given - expected), norm(given)
    return apart / size if size else float(apart > 0)


def fitted_multiple(given: Floats, expected: Floats) -> Multiple | None:
    """Return k of ``given = k expected`` in least squares; None where it is 0/0.

    Examples
    --------
    >>> fitted_multiple(np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    Multiple(factor=2.0, informative=2)
    """
    size = norm(expected)
    if not 0.0 < size < np.inf:
        return None
    unit = expected / size
    with np.errstate(invalid="ignore", over="ignore"):
        factor = float(np.vdot(unit, given) / size)
    if not np.isfinite(factor):
        return None
    return Multiple(factor, int(np.count_nonzero((expected != 0) | (given != 0))))
