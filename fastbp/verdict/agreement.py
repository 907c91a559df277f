"""How far a wrong gradient agrees with the numerical one, where that is to many digits.

An unstable backward pass, a solver's tolerance, a constant of eight digits: such a gradient is not
a mistake of its formula, and whoever accepts it wants to know which tolerance it needs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fastbp.typing import AnyFloats, Radius, Vector

__all__ = ["Agreement"]

# Relative errors below this are told as digits that agree: a larger one is hardly a matter of
# precision.
CLOSE = 1e-5
# Measured again under another tolerance, the numerical derivative differs a little.
MARGIN = 1.05


class Agreement:
    """What tolerance a gradient needs, of some entries after the other."""

    def __init__(self) -> None:
        self._relative = self._absolute = self._largest = 0.0

    def add(self, given: AnyFloats, numerical: Vector, error_bar: Radius, hull: Radius) -> None:
        """Take up more entries, given and numerical all finite."""
        size = np.abs(numerical)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            error = np.abs(np.subtract(given, numerical, dtype=np.float64)) - hull
            error = np.where(error <= error_bar, 0.0, error)
            relative = np.where(error == 0.0, 0.0, error / size)
        self._relative = max(self._relative, float(np.max(relative, initial=0.0)))
        self._absolute = max(self._absolute, float(np.max(error, initial=0.0)))
        self._largest = max(self._largest, float(np.max(size, initial=0.0)))

    def sentence(self, wrong: int) -> str:
        """Say to how many digits so many wrong entries agree; empty where that is no help.

        Examples
        --------
        >>> numerical, agreement = np.array([1.0, 2.0]), Agreement()
        >>> agreement.add(numerical * (1 + 1e-11), numerical, 1e-14, 0.0)
        >>> agreement.sentence(2)
        'they agree to 11 digits; an rtol of 2e-11 would pass'
        """
        they = "it agrees" if wrong == 1 else "they agree"
        if 0.0 < self._relative <= CLOSE:
            return (
                f"{they} to {_digits(self._relative)} digits; "
                f"an rtol of {_rounded_up(self._relative)} would pass"
            )
        if 0.0 < self._absolute <= CLOSE * self._largest:
            return (
                f"{they} to {_digits(self._absolute / self._largest)} digits of the largest entry; "
                f"an atol of {_rounded_up(self._absolute)} would pass"
            )
        return ""


def _digits(relative: float) -> int:
    """Return the largest d with a relative error of at most 5 units in digit d + 1."""
    return math.floor(math.log10(5.0 / max(relative, 1e-300)))  # no overflow


def _rounded_up(size: float) -> str:
    """Return a number of one digit that is larger by the margin at least."""
    digits = f"{MARGIN * size:.0e}"
    if float(digits) < MARGIN * size:
        power = 10.0 ** math.floor(math.log10(MARGIN * size))
        digits = f"{float(digits) + power:.0e}"
    return digits
