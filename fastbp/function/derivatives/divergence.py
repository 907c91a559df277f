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
FEWEST = 3  # quotients that tell


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
    if len(quotients) < FEWEST:
        return found
    with np.errstate(invalid="ignore", over="ignore"):
        changes = np.abs(np.diff(quotients[: FEWEST + 1], axis=0))
        clear = changes > 4 * resolution[: len(changes)]
        # Where f bends at once, the climb ends after three steps: two changes tell.
        unknown = ~np.isfinite(changes)
        unknown[:2] = False
        converging = changes[:-1] < CONVERGENT * changes[1:]
        jumping = changes[:-1] >= GROWTH_OF_JUMP * changes[1:]
        grows = (clear | unknown).all(axis=0) & (~converging | unknown[1:]).all(axis=0)
        jumps = grows & (jumping | unknown[1:]).all(axis=0)
    found[grows] = INFINITE_SLOPE
    found[jumps] = JUMP
    return found
