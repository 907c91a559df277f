"""Slopes of a black-box function along many lines, each with an error bar.

Every line is climbed with steps that grow by 4, from far below any kink until what the
differences cut off shows. A table of differences (Moré & Wild, "Estimating computational noise",
SIAM J. Sci. Comput. 33, 2011) gives the noise of the function, and with it what rounding does to
the difference of each step; of all steps, and their extrapolations, the one with the smallest
error bar is taken that contradicts no smaller step (`step_choice`). At a kink the second
difference shrinks with the step only, not with its square, and left and right slopes are told
apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastbp.function.derivatives.climb import (
    AT_AN_EDGE,
    BESIDE_AN_EDGE,
    SHORTEST,
    Setting,
    climbed,
    powers_above,
)
from fastbp.function.derivatives.divergence import JUMP
from fastbp.function.derivatives.lines import Evaluate, Lines
from fastbp.function.derivatives.noise.hidden_noise import HiddenNoise, find_hidden_noise
from fastbp.typing import Vector

__all__ = [
    "FIRST_STEP",
    "FIRST_STEP_SINGLE",
    "LAST_STEP",
    "measure_lines",
]


# The steps relative to the size of what moves along the line: from far below any kink.
FIRST_STEP, FIRST_STEP_SINGLE = 2.0**-24, 2.0**-10
LAST_STEP = 2.0**-3
DOUBLE_UNIT = 2.0**-53
# Steps of f that are so wide, relative to what moves, may be meant (round, floor, argsort), and the
# derivative between them is 0; arithmetic in half precision takes steps of 2**-11. So may be
# those that are of different heights, or so high relative to f: a result rounded to some digits
# takes steps of one height. Where f is not constant between them, as x - floor(x) and angles
# modulo 2 pi, it is that slope which is meant.
WIDE, HIGH, ONE_HEIGHT = 2.0**-8, 2.0**-8, 16.0


def measure_lines(
    evaluate: Evaluate,
    centre: Vector,
    first_step: Vector,
    last_step: Vector,
    unit: float,
    shared_noise: float | Vector = 0.0,
    *,
    alike: bool = True,
    size: Vector | None = None,
    one_entry: bool = False,
) -> Lines:
    """Measure the slope along n lines.

    Parameters
    ----------
    evaluate : callable
        Takes indices of lines and a displacement for each (powers of two), and returns what the
        displacements became in floating point, and the values of f there.
    centre : ndarray of float64, shape (n,)
        f at the point itself.
    first_step, last_step : ndarray of float64, shape (n,)
        Powers of two between which the steps are.
    unit : float
        Half the distance of 1 to the next number of the precision f computes in.
    shared_noise : float or ndarray of float64, shape (n,)
        At least so much noise is in each value.
    alike : bool
        Whether the values of all lines are equally noisy, as those of one function are.
    size : ndarray of float64, shape (n,), optional
        Of what moves along each line; by default the one to which the first step is relative.
    one_entry : bool
        Whether a single entry moves along each line: it moves by steps so short that entries that
        are larger than the typical one would stay where they are.

    Returns
    -------
    Lines

    Notes
    -----
    8 evaluations for the table of each line and 2 for each further step, of which there are at
    most log4(last_step / first_step), and far fewer where f bends early.
    """
    coarse = unit > DOUBLE_UNIT
    if size is None:
        size = first_step / (FIRST_STEP_SINGLE if coarse else FIRST_STEP)
    nearest = BESIDE_AN_EDGE if one_entry else AT_AN_EDGE
    setting = Setting(unit, coarse, alike, nearest)
    shortest = powers_above(SHORTEST * unit * size)
    first_step = np.maximum(first_step, shortest)
    floor = np.full(centre.shape, shared_noise)
    climb = climbed(evaluate, centre, first_step, last_step, size, setting, floor)
    hidden = find_hidden_noise(
        evaluate, centre, climb.sides_and_steps(), climb.noise, last_step, alike=alike
    )
    meant = _are_meant(hidden, size, centre, floor)
    if meant.any():
        between = meant & climb.has_clear_slope()
        climb.forget_beyond(np.where(between, hidden.reach, np.inf))
        hidden = hidden.but(between)
    if alike:
        climb.noise = np.maximum(climb.noise, hidden.quantum)
    climb.descend()
    lines = climb.result()
    rough = hidden.first_step > 0
    if rough.any():
        coarser = climbed(
            _of_some(evaluate, rough),
            centre[rough],
            hidden.first_step[rough],
            last_step[rough],
            size[rough],
            Setting(unit, True, False),
            hidden.noise[rough],  # of jumps far above what the lines have shown
        )
        coarser.descend()
        lines = lines.replaced(rough, coarser.result().or_zero(meant[rough]))
    lines.divergence[climb.isolated] = JUMP
    lines = lines.replaced(climb.isolated, lines.only(climb.isolated).without_divergent())
    steep = (lines.divergence != 0) & ~rough & ~climb.isolated
    if steep.any():
        shorter = np.maximum(AT_AN_EDGE * first_step, shortest)
        finer = climbed(
            _of_some(evaluate, steep),
            centre[steep],
            shorter[steep],
            last_step[steep],
            size[steep],
            setting,
            np.maximum(floor, climb.noise if alike else 0.0)[steep],
        )
        finer.descend()
        lines = lines.replaced(steep, finer.result().without_divergent())
    return lines


def _are_meant(
    hidden: HiddenNoise, size: Vector, centre: Vector, floor: Vector
) -> NDArray[np.bool_]:
    """Tell which steps of f may be a part of it, and not what few digits leave.

    Of a single line nothing tells whether all steps are of one height. But where it is measured
    again, and lines measured before have shown far less noise (`floor`), these took no such steps
    for few digits.
    """
    if not hidden.anywhere:
        return np.zeros(size.shape, dtype=bool)
    stepping = hidden.first_step > 0
    heights, shown = hidden.noise[stepping], floor[stepping]
    refuted = heights.size == 1 and 0.0 < ONE_HEIGHT**2 * shown[0] < heights[0]
    few = heights.max() <= min(HIGH * np.abs(centre).max(), ONE_HEIGHT * heights.min())
    wide: NDArray[np.bool_] = (hidden.first_step > WIDE * size) & (refuted or not few)
    return wide


def _of_some(evaluate: Evaluate, where: NDArray[np.bool_]) -> Evaluate:
    """Return the evaluation of some of the lines, counted among themselves."""
    indices = np.flatnonzero(where)
    return lambda which, steps: evaluate(indices[which], steps)
