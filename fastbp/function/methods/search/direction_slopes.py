"""Derivatives along slices of random directions: one thorough measurement, then cheap ones.

The first direction tells noise and smoothness of f, and with them the step at which one central
difference is enough for all others. Where that does not look smooth, a slice is measured
thoroughly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.containers.point import SINGLE_UNIT
from fastbp.function.derivatives.climb import BEND_SIGMAS
from fastbp.function.derivatives.entry_slopes import (
    BEND_MARGIN,
    THIRD_MARGIN,
    UNEVEN,
    first_step,
    least_bar,
    power_of_two,
    typical,
)
from fastbp.function.derivatives.line_slopes import LAST_STEP, measure_lines
from fastbp.function.derivatives.second_slopes import INDEPENDENT
from fastbp.function.derivatives.step_choice import SIGMAS
from fastbp.function.methods.search.many_kinks import step_among_kinks
from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.derivatives.lines import Lines
    from fastbp.function.evaluation import Function
    from fastbp.function.methods.search.joined_arrays import JoinedArrays

__all__ = ["EVERYTHING", "DirectionSlopes", "Lead"]

# How often a step is shortened, by 4 each time, before a kink counts as one at the point.
SHORTENINGS = 4
EVERYTHING = slice(None)


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """A direction of one array along which gradient and differences disagree.

    Attributes
    ----------
    direction : ndarray of float64
        The components of the array's entries.
    step, noise, curvature, third, kink_error : float
        What is known of differences along it: see `DirectionSlopes`.
    many_kinks, coarse : bool
    """

    direction: NDArray[np.floating]
    step: float
    noise: float
    curvature: float
    third: float
    kink_error: float
    many_kinks: bool
    coarse: bool


class DirectionSlopes:
    """Measures derivatives along directions of one leaf: the first sets the step for all others.

    Attributes
    ----------
    size : float
        Of the typical entry: steps are relative to it.
    step : float
        Of the cheap central differences; 0 as long as nothing has been learnt.
    noise, curvature, third : float
        The standard deviation of the noise of f, and how large the derivatives may be.
    kink_error : float
        What kinks everywhere may do to a central difference of that step.
    coarse, many_kinks : bool
        Whether steps are so long that they hide kinks, and whether these are everywhere.
    """

    def __init__(self, function: Function, leaf: int) -> None:
        self.function, self.leaf = function, leaf
        self.size = UNEVEN * typical(function.point.base[leaf])
        self.step = self.curvature = self.third = self.kink_error = 0.0
        self.noise = function.quantum
        self.coarse = function.unit == SINGLE_UNIT or function.jumps
        self.many_kinks = False

    def slope(self, direction: NDArray[np.floating], part: slice) -> tuple[float, float, float]:
        """Return the derivative along a slice of a direction, its error bar and its hull."""
        found = self._slope(direction, part)
        if found[0] == 0.0 and self._heeds_steps_of_f():
            found = self._slope(direction, part)
        slope, error_bar, hull = found
        return slope, max(error_bar, self._least_bar(direction, part)), hull

    def again(self, direction: NDArray[np.floating]) -> tuple[float, float]:
        """Measure a whole direction with other steps; the bar holds what a kink adds."""
        found = self._again(direction)
        if found[0] == 0.0 and self._heeds_steps_of_f():
            found = self._again(direction)
        return found[0], max(found[1], self._least_bar(direction, EVERYTHING))

    def _least_bar(self, direction: NDArray[np.floating], part: slice) -> float:
        """Return the slope that the digits of f may hide."""
        if not direction[part].any():
            return 0.0
        return float(least_bar(self.function, np.array([self.size]))[0])

    def _slope(self, direction: NDArray[np.floating], part: slice) -> tuple[float, float, float]:
        for _ in range(2):
            if self.step:
                cheap = self._central(direction, part, self.step)
                if cheap is not None:
                    return cheap
            line = self.thorough(direction, part)
            if self.step:
                break
            self._learn(direction, line)
            if not self.many_kinks:
                break
        hull = self.due_to_kinks(line)
        return float(line.slope[0]), float(line.error_bar[0] + line.hull[0]) - hull, hull

    def _again(self, direction: NDArray[np.floating]) -> tuple[float, float]:
        if self.many_kinks:
            cheap = self._central(direction, EVERYTHING, self.step / INDEPENDENT)
            if cheap is not None:
                return cheap[0], cheap[1] + cheap[2]
        line = self.thorough(direction, EVERYTHING, shift=INDEPENDENT)
        return float(line.slope[0]), float(line.error_bar[0] + line.hull[0])

    def lead(self, direction: NDArray[np.floating], function: JoinedArrays, place: int) -> Lead:
        """Return a direction, and what is known of it, as a search through one array takes it.

        Sizes of arrays are powers of two, so that it moves by the same steps there.
        """
        part = function.slices[place]
        base = function.whole.point.base[function.leaves[place]]
        ratio = typical(self.function.point.base[0]) / typical(base)
        return Lead(
            (direction[part] * ratio).astype(base.dtype),
            self.step / ratio,
            self.noise,
            self.curvature * ratio**2,
            self.third * ratio**3,
            self.kink_error * ratio,
            self.many_kinks,
            self.coarse,
        )

    def learn_from(self, lead: Lead) -> None:
        """Take over what is known of the differences, unless f has turned out to be noisier."""
        if self.function.quantum > lead.noise:
            return
        self.step, self.noise, self.kink_error = lead.step, lead.noise, lead.kink_error
        self.curvature, self.third = lead.curvature, lead.third
        self.many_kinks, self.coarse = lead.many_kinks, lead.coarse

    def due_to_kinks(self, line: Lines) -> float:
        """Return what kinks do to a bar: their hull, and what noise at any step does not explain.

        Where kinks of many kinds meet, the bar covers them and no jump is told.
        """
        if not np.isfinite(line.error_bar[0]):
            return 0.0
        noise = SIGMAS * float(line.noise[0]) / (first_step(self.function) * self.size)
        return float(line.hull[0]) + max(0.0, float(line.error_bar[0]) - noise)

    def _heeds_steps_of_f(self) -> bool:
        """Learn anew if another line has shown that f takes steps; tell whether.

        A direction that lies between two of them says that there is no noise, and no slope.
        """
        if self.function.quantum <= self.noise:
            return False
        self.noise, self.step, self.coarse = self.function.quantum, 0.0, True
        return True

    def _learn(self, direction: NDArray[np.floating], line: Lines) -> None:
        """Choose the step of the cheap differences from the first thorough measurement."""
        noise, third = float(line.noise[0]), float(line.third[0])
        if not np.isfinite(noise):
            return
        self.noise = noise
        if line.shortest[0] > 2 * first_step(self.function) * self.size:
            self.coarse = True
            self.function.learn_steps(line.noise)
        shortest, longest = 4 * first_step(self.function) * self.size, 2.0**-9 * self.size
        best = 0.5 * (3 * noise / third) ** (1 / 3) if third > 0 and noise > 0 else longest
        if self.coarse or np.isnan(third) or not best > shortest:
            self._learn_step_among_kinks(direction)
            return
        self.step = UNEVEN * float(power_of_two(np.array([min(best, longest)]))[0])
        self.third, self.curvature = third, float(line.curvature[0])

    def _learn_step_among_kinks(self, direction: NDArray[np.floating]) -> None:
        """Choose the step where there are kinks everywhere, or may be, as in float32."""
        chosen = step_among_kinks(
            lambda step: self._quotient(direction, EVERYTHING, step),
            self.size,
            self.noise,
            coarse=self.coarse,
        )
        if chosen is not None:
            self.many_kinks = True
            self.step, self.kink_error = chosen

    def _quotient(
        self, direction: NDArray[np.floating], part: slice, step: float
    ) -> tuple[float, float]:
        """Return a central difference, and the right slope less the left one."""
        both = self.function.along(self.leaf, direction, (step, -step), part)
        up, down = both.tolist()
        value = self.function.value
        return (up - down) / (2 * step), ((up - value) - (value - down)) / step

    def _central(
        self, direction: NDArray[np.floating], part: slice, step: float
    ) -> tuple[float, float, float] | None:
        """Take one central difference; None if the values are not as smooth as was learned.

        Returns what `slope` does; here the hull is what kinks everywhere may do.
        """
        slope, bend = self._quotient(direction, part, step)
        rounding = SIGMAS * self.noise / step
        if self.coarse:
            hull = abs(bend) / 2 + self.kink_error
            return (slope, rounding, hull) if np.isfinite(hull) else None
        for _ in range(SHORTENINGS if self.many_kinks else 0):
            if abs(bend) <= BEND_SIGMAS * self.noise / step:
                return slope, rounding, abs(bend) / 2 + self.kink_error
            step /= 4
            slope, bend = self._quotient(direction, part, step)
            rounding = SIGMAS * self.noise / step
        usual = BEND_SIGMAS * self.noise / step + BEND_MARGIN * self.curvature * step
        if not abs(bend) <= usual:
            return None
        return slope, rounding + THIRD_MARGIN * self.third / 6 * step**2, 0.0

    def thorough(self, direction: NDArray[np.floating], part: slice, shift: float = 1.0) -> Lines:
        """Measure the derivative along a slice of a direction by many steps."""
        function = self.function

        def evaluate(_: NDArray[np.int64], steps: Vector) -> tuple[Vector, Vector]:
            return steps, function.along(self.leaf, direction, steps.tolist(), part)

        first = shift * first_step(function) * self.size
        return measure_lines(
            evaluate,
            np.array([function.value]),
            np.array([first]),
            np.array([LAST_STEP * self.size]),
            function.unit,
            self.noise,
        )
