"""Where a function has no derivative: a jump at the point, or an infinite slope.

Difference quotients converge as the step h shrinks: what one changes to the next shrinks with h,
as h^p for some p > 0. At an infinite slope (sqrt or x log x at 0) it does not shrink, and at a
jump it grows as 1/h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CONVERGENT", "INFINITE_SLOPE", "JUMP", "divergence"]

INFINITE_SLOPE, JUMP = 1, 2
# What the changes shrink by at least, of a step to the one of a quarter, where they converge.
CONVERGENT = 0.8
# Quotients of a jump grow by 4 from step to step.
GROWTH_OF_JUMP = 3.5


def divergence(quotients: Vector, resolution: Vector) -> NDArray[np.int8]:
    """Tell where one-sided difference quotients diverge as the step shrinks.

    Parameters
    ----------
    quotients : ndarray of float64, shape (steps, n)
        On one side of n points, each step four times the one before.
    resolution : ndarray of float64, shape (steps, n)
        What noise may do to them.

    Returns
    -------
    ndarray of int8, shape (n,)
        0 where they converge, or where noise hides it; `INFINITE_SLOPE`; `JUMP`.
    """
    found = np.zeros(quotients.shape[1], dtype=np.int8)
    if len(quotients) < 4:
        return found
    with np.errstate(invalid="ignore", over="ignore"):
        first, second, third = np.abs(np.diff(quotients[:4], axis=0))
        clear = (first > 4 * resolution[0]) & (second > 4 * resolution[1])
        clear &= (third > 4 * resolution[2]) & np.isfinite(first + second + third)
        grows = clear & (first >= CONVERGENT * second) & (second >= CONVERGENT * third)
        jumps = grows & (first >= GROWTH_OF_JUMP * second) & (second >= GROWTH_OF_JUMP * third)
    found[grows] = INFINITE_SLOPE
    found[jumps] = JUMP
    return found
