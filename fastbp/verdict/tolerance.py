"""What a gradient may be off by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from fastbp.typing import AnyFloats, Floats, Radius
from fastbp.verdict.blocks import largest_finite

__all__ = ["Tolerance", "agreement_of_sums", "allowed_difference", "default_tolerance"]


# A float32 gradient carries the rounding of a whole backward pass in float32: of the entry itself,
# and, where terms cancel, of the array's largest entries.
RTOL_FLOAT64 = 1e-6


RTOL_FLOAT32 = 1e-4


CANCELLATION_FLOAT32 = 64 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What the given gradient may be off by: ``atol + rtol * |numerical|``."""

    rtol: float
    atol: float

    @classmethod
    def of(cls, rtol: float | None, atol: float | None) -> Tolerance | None:
        """Return the user's tolerance, where one that is not given is 0; None for the default."""
        return None if rtol is None and atol is None else cls(rtol or 0.0, atol or 0.0)

    def with_noise(self, noise: float) -> Tolerance:
        """Return the same for a gradient that is off by so much in every call."""
        return Tolerance(self.rtol, self.atol + noise)


def default_tolerance(dtype: np.dtype[Any], numerical: AnyFloats) -> Tolerance:
    """Return the tolerance for an array that was computed in float64 or float32.

    Parameters
    ----------
    dtype : dtype
        The coarser of the network's dtype and that of the given gradient.
    numerical : ndarray, shape (n,)
        The numerical gradient of the array; its largest entry sets what cancellation may cost in
        float32.

    Examples
    --------
    >>> default_tolerance(np.dtype(np.float64), np.array([3.0]))
    Tolerance(rtol=1e-06, atol=0.0)
    """
    if dtype.itemsize == 8:
        return Tolerance(RTOL_FLOAT64, 0.0)
    return Tolerance(RTOL_FLOAT32, CANCELLATION_FLOAT32 * largest_finite(numerical))


def agreement_of_sums(single: bool) -> float:
    """Return how far two correct sums of the same terms may be apart, relative to their sizes.

    The terms are rounded, and added in different orders.
    """
    return 2.0**-12 if single else 2.0**-36


@overload
def allowed_difference(
    numerical: float, error_bar: float, tolerance: Tolerance, hull: float = 0.0
) -> float: ...


@overload
def allowed_difference(
    numerical: Floats, error_bar: Radius, tolerance: Tolerance, hull: Radius = 0.0
) -> Floats: ...


def allowed_difference(
    numerical: Radius, error_bar: Radius, tolerance: Tolerance, hull: Radius = 0.0
) -> Radius:
    """Return ``error_bar + hull + atol + rtol * |numerical|``, of one entry or of each.

    In the order of operations that the kernels have.
    """
    if isinstance(numerical, float):  # of Python, whose arithmetic is silent and ten times as fast
        return (
            float(error_bar) + float(hull) + float(tolerance.atol)
            + float(tolerance.rtol) * abs(float(numerical))
        )  # fmt: skip
    # An infinite numerical value is not judged; with rtol = 0 its product is a NaN, in silence.
    with np.errstate(invalid="ignore", over="ignore"):
        return error_bar + hull + tolerance.atol + tolerance.rtol * np.abs(numerical)
