"""Jumps of f far from the point: what iterating until a tolerance is met leaves of a derivative.

A solver that stops when its steps are shorter than 1e-6 is smooth as long as the number of its
iterations is the same, so that no noise shows near the point; but what is left of the error varies,
from one change of that number to the next, by as much as f jumps there. Its derivative is off by
about the jump over the distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.derivatives.noise.evaluation_noise import lower_median
from fastbp.function.derivatives.noise.hidden_noise import Evaluate
from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["slope_of_distant_jumps"]

# So many points on either side, as far as half of what moves.
POINTS, REACH = 32, 0.5
# A fourth difference that is so many times the usual one shows a jump, or a kink.
UNUSUAL = 16.0
# Finer grids around it; there that of a kink shrinks by 64.
REFINEMENTS, FINER, SHRUNK = 2, 8, 0.25
# A larger jump, relative to f, is a feature of f.
LARGEST_JUMP = 2.0**-10
MARGIN = 2.0


def slope_of_distant_jumps(evaluate: Evaluate, centre: Vector, size: Vector) -> Vector:
    """Return by how much the slopes of some lines may be off because f jumps far from the point.

    Parameters
    ----------
    evaluate : callable
        As in `measure_lines`.
    centre : ndarray of float64, shape (n,)
        f at the point.
    size : ndarray of float64, shape (n,)
        Of what moves along each line.

    Returns
    -------
    ndarray of float64, shape (n,)
        0 where no jump is found.

    Notes
    -----
    64 evaluations for each line, and as many for each with a jump or a kink.
    """
    everyone = np.arange(centre.size)
    places = np.concatenate([np.arange(-POINTS, 0), np.arange(1, POINTS + 1)]) / POINTS
    steps = REACH * places[:, np.newaxis] * size
    lines = np.broadcast_to(everyone, steps.shape)
    beside = evaluate(lines.reshape(-1), steps.reshape(-1))[1].reshape(steps.shape)
    values = np.concatenate([beside[:POINTS], centre[np.newaxis], beside[POINTS:]])
    size_of_jump, place = _largest_fourth_difference(values)
    with np.errstate(invalid="ignore", over="ignore"):
        usual = lower_median(np.abs(np.diff(values, 4, axis=0)))
        unusual = np.flatnonzero(size_of_jump > UNUSUAL * usual)
    if unusual.size == 0:
        return np.zeros(centre.size)
    spacing = REACH / POINTS * size[unusual]
    start = (place[unusual] - POINTS) * spacing
    jump = _jump(evaluate, unusual, start, spacing, size_of_jump[unusual])
    nearest = np.maximum(np.minimum(np.abs(start), np.abs(start + 4 * spacing)), spacing)
    small = jump <= LARGEST_JUMP * np.nanmax(np.abs(values[:, unusual]), axis=0)
    error = np.zeros(centre.size)
    error[unusual] = np.where(small, MARGIN * jump / nearest, 0.0)
    return error


def _largest_fourth_difference(values: Vector) -> tuple[Vector, NDArray[np.int64]]:
    """Return its size, and the first of its five points, for each column of values."""
    with np.errstate(invalid="ignore", over="ignore"):
        fourth = np.abs(np.diff(values, 4, axis=0))
    fourth[~np.isfinite(fourth)] = 0.0
    place = np.argmax(fourth, axis=0)
    return fourth[place, np.arange(values.shape[1])], place


def _jump(
    evaluate: Evaluate,
    which: NDArray[np.int64],
    start: Vector,
    spacing: Vector,
    fourth: Vector,
) -> Vector:
    """Return how far f jumps within four spacings; 0 where it does not.

    On finer and finer grids the fourth difference remains what it is at a jump; that of a kink
    shrinks with the spacing, but later where the kink lies beside the first of the five points. At
    a kink the change from one point to the next lies between those before and after it.
    """
    found = fourth
    for _ in range(REFINEMENTS):
        spacing = spacing / FINER
        places = np.arange(-1, 4 * FINER + 2)[:, np.newaxis] * spacing + start
        lines = np.broadcast_to(which, places.shape)
        values = evaluate(lines.reshape(-1), places.reshape(-1))[1].reshape(places.shape)
        found, place = _largest_fourth_difference(values)
        start = start + (place - 1) * spacing
    return np.where(found > SHRUNK * fourth, _largest_step(values), 0.0)


def _largest_step(values: Vector) -> Vector:
    """Return how far a change from one value to the next is outside of its two neighbours."""
    with np.errstate(invalid="ignore", over="ignore"):
        change = np.diff(values, axis=0)
        before, after = change[:-2], change[2:]
        above = change[1:-1] - np.maximum(before, after)
        below = np.minimum(before, after) - change[1:-1]
        outside = np.maximum(above, below)
    step: Vector = np.max(outside, axis=0, initial=0.0, where=np.isfinite(outside))
    return step
