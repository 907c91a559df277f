"""The step of central differences along a direction with many kinks.

A direction through a network of thousands of ReLUs crosses kinks everywhere. In float64 a step
that meets none is short, but noise allows it; in float32 it does not. They come on both sides and
bend either way, so that neither left nor right slope is that of the point, and what they do to a
central difference is as random as what they do to the second difference, and to the change from
one step to the next. So these measure it: its standard deviation grows as the root of the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp.function.derivatives.step_choice import SIGMAS
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["StepAmongKinks", "step_among_kinks"]

# The steps, relative to the typical entry.
STEPS, STEPS_SINGLE = 2.0 ** np.arange(-36.0, -7.0, 2.0), 2.0 ** np.arange(-14.0, -3.0, 2.0)
# Of what changes from step to step, in the largest of some four such changes: random kinks of
# any density moved one of 2 000 central differences by more than 3 of them.
CHANGES = 4.0


class StepAmongKinks(NamedTuple):
    """A step, and how far off the central differences of that step may be because of kinks."""

    step: float
    error: float


def step_among_kinks(
    central: Callable[[float], tuple[float, float]], size: float, noise: float, *, coarse: bool
) -> StepAmongKinks | None:
    """Choose the step at which noise, curvature and kinks together matter least.

    Parameters
    ----------
    central : callable
        step -> (central difference, right slope less left slope)
    size : float
        Of the typical entry.
    noise : float
        Standard deviation of the noise in the values of f.
    coarse : bool
        Whether noise rules out steps so short that they meet no kink, as in float32.

    Returns
    -------
    StepAmongKinks or None
        None where f is nowhere finite.
    """
    steps = (STEPS_SINGLE if coarse else STEPS) * size
    slopes, bends = np.array([central(step) for step in steps.tolist()]).T
    with np.errstate(invalid="ignore", over="ignore"):
        errors = CHANGES * _changes_nearby(slopes, bends, steps)
        total = SIGMAS * noise / steps + np.abs(bends) / 2 + errors
    if not np.isfinite(total).any():
        return None
    best = int(np.nanargmin(np.where(np.isfinite(total), total, np.inf)))
    return StepAmongKinks(float(steps[best]), float(errors[best]))


def _changes_nearby(slopes: Vector, bends: Vector, steps: Vector) -> Vector:
    """Return, for each step, how much slopes and bends change around it, scaled to that step."""
    found = np.full(steps.size, np.inf)
    for place in range(steps.size - 1):
        near = slice(max(0, place - 1), place + 3)
        curvature = np.median(bends[near] / steps[near])
        root = np.sqrt(steps[place] / steps[near])
        uneven = np.abs(bends[near] - curvature * steps[near]) / 2 * root
        change = np.abs(np.diff(slopes[near])) * root[1:]
        found[place] = max(np.max(uneven), np.max(change))
    return found
