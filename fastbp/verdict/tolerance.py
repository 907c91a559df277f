"""What a gradient may be off by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.typing import AnyFloats, Radius
from fastbp.verdict.blocks import _largest_finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Tolerance", "allowed_difference", "default_tolerance"]


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
    return Tolerance(RTOL_FLOAT32, CANCELLATION_FLOAT32 * _largest_finite(numerical))


def allowed_difference(
    numerical: AnyFloats, error_bar: Radius, tolerance: Tolerance, hull: Radius = 0.0
) -> NDArray[np.float64]:
    """Return ``error_bar + hull + atol + rtol * |numerical|`` for each entry."""
    # An infinite numerical value is not judged; with rtol = 0 its product is a NaN, in silence.
    with np.errstate(invalid="ignore"):
        allowed: NDArray[np.float64] = tolerance.rtol * np.abs(numerical, dtype=np.float64)
    allowed += tolerance.atol
    allowed += error_bar
    allowed += hull
    return allowed
