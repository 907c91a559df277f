"""Noise that short steps do not show: functions that take steps.

A function that computes in float32 and returns a Python float, that rounds its result to some
digits, or that iterates until a tolerance is met, is piecewise smooth. Between two of its jumps
every table of differences says that there is no noise, and the slope there (0, if f is constant)
says nothing about the function that was meant. Only longer steps show it: a difference quotient
changes abruptly. A kink does the same to it, but f is continuous there: when the interval around
the change is halved, the second difference shrinks, and at a jump it does not. Where there are
many jumps they are noise, of the size of one, and f has to be differenced with steps that pass
several; a single one is a feature of f.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbp.function.derivatives.noise.evaluation_noise import evaluation_noise
from fastbp.typing import Vector

__all__ = ["ROUNDING_OF_STEPS", "Evaluate", "HiddenNoise", "find_hidden_noise", "is_jump"]

Evaluate: TypeAlias = Callable[[NDArray[np.int64], Vector], tuple[Vector, Vector]]

# Second difference of noise: sqrt(6) standard deviations, as for the bends of line_slopes.
RESOLUTION = 15.0
# A change of the quotients is abrupt if it is so many times the one before; that of a polynomial
# of degree 4 grows by 64 from one step to the next.
ABRUPT = 64.0
# At least by so much changes grow from one step to the next where f is smooth: 4 with curvature.
LEAST_GROWTH = 2.0
# The interval around a jump is halved so often. Second difference over width is at most half the
# change of the slope at a kink; at a jump it grows as the width shrinks.
HALVINGS = 8
CONTINUOUS = 8.0
# Halved as often once more, a kink near one end of the interval shows too: its second difference
# shrinks by 256, that of a jump not at all.
SHRUNK = 1.0 / 8
# What f rises by counts so much less than what it bends by.
FLAT = 2.0**-10
# Standard deviation of the rounding to a multiple of 1: 1/sqrt(12).
ROUNDING_OF_STEPS = 0.3
# The third differences of a table are 0 beside a single jump, and of its size where there are many.
MANY = 1.0 / 32
# Points of a table at multiples of a power of two would meet each jump of a rounded argument at
# the same place.
UNEVEN = 175.0 / 128
# A change is a multiple of a jump up to this part of it; a single jump makes one in a table.
WHOLE, SEVERAL = 2.0**-10, 3
TIED = 2  # of eight neighbouring values of a table may be equal by accident
TABLE = 4
# Of lines whose values have nothing in common (outputs), so many are looked at.
MOST_LINES = 8


@dataclass(frozen=True, slots=True, eq=False)
class HiddenNoise:
    """What longer steps tell.

    Attributes
    ----------
    first_step : ndarray of float64, shape (n,)
        The shortest step that passes several jumps; 0 where there is no hidden noise.
    noise : ndarray of float64, shape (n,)
        Its standard deviation; 0 where there is none.
    height : ndarray of float64, shape (n,)
        Of a jump that was looked at closely; 0 where none was.
    reach : ndarray of float64, shape (n,)
        A step that crosses the first jump, and is no more than four times as long as one that
        does not; infinite where there is no hidden noise.
    """

    first_step: Vector
    noise: Vector
    height: Vector
    reach: Vector

    @classmethod
    def nowhere(cls, count: int) -> HiddenNoise:
        """Return that there is none along so many lines."""
        first_step, noise, height = np.zeros((3, count))
        return cls(first_step, noise, height, np.full(count, np.inf))

    @property
    def anywhere(self) -> bool:
        """Tell whether there is any."""
        return bool((self.first_step > 0).any())

    @property
    def quantum(self) -> float:
        """The standard deviation of the smallest one, which all lines of one function share."""
        heights = self.height[self.height > 0]
        return ROUNDING_OF_STEPS * float(np.min(heights)) if heights.size else 0.0

    def but(self, where: NDArray[np.bool_]) -> HiddenNoise:
        """Return the same without that of some lines."""
        found = self.copy()
        for part in (found.first_step, found.noise, found.height):
            part[where] = 0.0
        found.reach[where] = np.inf
        return found

    def copy(self) -> HiddenNoise:
        """Return the same in arrays of their own."""
        parts = (self.first_step, self.noise, self.height, self.reach)
        return HiddenNoise(*(part.copy() for part in parts))


def find_hidden_noise(
    evaluate: Evaluate,
    centre: Vector,
    sides: list[tuple[Vector, Vector, float]],
    noise: Vector,
    last_step: Vector,
    *,
    alike: bool,
) -> HiddenNoise:
    """Look for noise that only shows at longer steps.

    Parameters
    ----------
    evaluate : callable
        As in `measure_lines`.
    centre : ndarray of float64, shape (n,)
        f at the point.
    sides : list of (quotients, steps, sign)
        The one-sided difference quotients, shape (steps, n), of both sides.
    noise : ndarray of float64, shape (n,)
        What the shortest steps show.
    last_step : ndarray of float64, shape (n,)
        The longest step that makes sense.
    alike : bool
        Whether all lines are of one function.

    Notes
    -----
    No evaluations where the quotients change smoothly; 15 for each line with an abrupt change,
    and 8 or more for each with a jump.
    """
    nowhere = HiddenNoise.nowhere(centre.size)
    end, change, slope = _abrupt_changes(sides, noise)

    def without_slope(lines: NDArray[np.int64], steps: Vector) -> tuple[Vector, Vector]:
        realised, values = evaluate(lines, steps)
        return realised, values - slope[lines] * realised

    which = np.flatnonzero(end)
    if which.size == 0:
        return nowhere
    examined = which if alike else which[:: -(-which.size // MOST_LINES)]
    jump = is_jump(
        without_slope, examined, np.zeros(examined.size), end[examined], change[examined]
    )
    jump[jump <= RESOLUTION * noise[examined]] = 0.0
    jumping = jump > 0
    if not jumping.any():
        return nowhere
    step, found = _many_jumps(
        evaluate, centre, examined[jumping], np.abs(end[examined[jumping]]), jump[jumping],
        last_step,
    )  # fmt: skip
    many = step > 0
    if not many.any():
        return nowhere
    result, some = nowhere, examined[jumping]
    result.first_step[some], result.noise[some] = step, found
    result.height[some] = np.where(many, jump[jumping], 0.0)
    result.reach[some] = np.where(many, np.abs(end[some]), np.inf)
    if not alike:
        others = np.setdiff1d(which, examined)
        farther = np.median(step[many] / np.abs(end[some][many]))
        result.reach[others] = np.abs(end[others])
        # How high a jump is, about: what the quotients change by, times their step.
        height = np.where(np.isfinite(change), change, 0.0) * np.abs(end)
        result.noise[others] = height[others] * np.median(found[many] / height[some][many])
        result.first_step[others] = np.exp2(np.round(np.log2(np.abs(end[others]) * farther)))
    return result


def _abrupt_changes(
    sides: list[tuple[Vector, Vector, float]], noise: Vector
) -> tuple[Vector, Vector, Vector]:
    """Return where the quotients change abruptly.

    The displacement before which they do so first, by how much, and what they are before it; all
    of it 0 where they never do.
    """
    ends, changes, slopes = np.zeros((3, noise.size))
    for quotients, steps, sign in sides:
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.abs(np.diff(quotients, axis=0))
            resolution = RESOLUTION * noise / steps[:-1]
            before, after = np.zeros_like(change), np.full_like(change, np.inf)
            before[1:], after[:-1] = change[:-1] + resolution[:-1], change[1:]
            before[0] = np.inf
            abrupt = change > ABRUPT * before
            abrupt |= change > np.where(np.isfinite(after), after, np.inf) / LEAST_GROWTH
            abrupt &= change > resolution
            abrupt &= np.isfinite(change)
        level = np.argmax(abrupt, axis=0)
        columns = np.flatnonzero(abrupt.any(axis=0))
        found = steps[level[columns] + 1, columns]
        nearer = (ends[columns] == 0) | (found < np.abs(ends[columns]))
        ends[columns[nearer]] = sign * found[nearer]
        further = np.minimum(level[columns] + 2, len(quotients) - 1)
        largest = np.fmax(
            change[level[columns], columns],
            np.abs(quotients[further, columns] - quotients[level[columns], columns]),
        )
        changes[columns[nearer]] = largest[nearer]
        slopes[columns[nearer]] = quotients[level[columns], columns][nearer]
    return ends, changes, slopes


def is_jump(
    evaluate: Evaluate, which: NDArray[np.int64], low: Vector, width: Vector, change: Vector
) -> Vector:
    """Return how far f jumps between `low` and `low + width`; 0 where it only bends.

    `change` is by how much the slope changes there.
    """
    found = np.zeros(which.size)
    interval = _Interval.between(evaluate, which, low, low + width)
    interval.halve(HALVINGS)
    with np.errstate(invalid="ignore", over="ignore"):
        jumps = interval.bend > CONTINUOUS * change * interval.width
    if jumps.any():
        closer = interval.only(jumps)
        closer.halve(HALVINGS)
        # A jump or an infinite slope at the point itself is no noise.
        real = (closer.bend > SHRUNK * interval.bend[jumps]) & (closer.low != 0)
        found[np.flatnonzero(jumps)[real]] = closer.bend[real]
    return found


@dataclass(slots=True, eq=False)
class _Interval:
    """An interval of each line, the values at its ends and its middle, and what f bends there."""

    evaluate: Evaluate
    which: NDArray[np.int64]
    low: Vector
    high: Vector
    f_low: Vector
    f_middle: Vector
    f_high: Vector
    bend: Vector

    @classmethod
    def between(
        cls, evaluate: Evaluate, which: NDArray[np.int64], low: Vector, high: Vector
    ) -> _Interval:
        """Begin with these."""
        left, middle, right = (evaluate(which, place)[1] for place in (low, (low + high) / 2, high))
        return cls(evaluate, which, low, high, left, middle, right, np.zeros(which.size))

    @property
    def width(self) -> Vector:
        size: Vector = np.abs(self.high - self.low)
        return size

    def only(self, where: NDArray[np.bool_]) -> _Interval:
        return _Interval(
            self.evaluate, self.which[where], self.low[where], self.high[where],
            self.f_low[where], self.f_middle[where], self.f_high[where], self.bend[where],
        )  # fmt: skip

    def halve(self, times: int) -> None:
        """Keep the half that bends more, so often."""
        for _ in range(times):
            middle = (self.low + self.high) / 2
            f_left = self.evaluate(self.which, (self.low + middle) / 2)[1]
            f_right = self.evaluate(self.which, (middle + self.high) / 2)[1]
            with np.errstate(invalid="ignore", over="ignore"):
                left = np.abs(self.f_low - 2 * f_left + self.f_middle)
                right = np.abs(self.f_middle - 2 * f_right + self.f_high)
                # Steps may lie on a line by accident; where f is flat there is none.
                rise_left = FLAT * np.abs(self.f_middle - self.f_low)
                rise_right = FLAT * np.abs(self.f_high - self.f_middle)
                to_left = ~(left + rise_left < right + rise_right)
            self.low, self.high = (
                np.where(to_left, self.low, middle), np.where(to_left, middle, self.high)
            )  # fmt: skip
            self.f_low = np.where(to_left, self.f_low, self.f_middle)
            self.f_high = np.where(to_left, self.f_middle, self.f_high)
            self.f_middle = np.where(to_left, f_left, f_right)
            self.bend = np.where(to_left, left, right)


def _many_jumps(
    evaluate: Evaluate,
    centre: Vector,
    which: NDArray[np.int64],
    end: Vector,
    jump: Vector,
    last_step: Vector,
) -> tuple[Vector, Vector]:
    """Return the step that passes several jumps, and the noise that they are.

    Both are 0 for a single jump.
    """
    step, noise = np.zeros(which.size), np.zeros(which.size)
    spacing, looking = end.copy(), np.ones(which.size, dtype=bool)
    while looking.any():
        lines = np.flatnonzero(looking)
        table = _uneven_table(evaluate, centre, which[lines], spacing[lines])
        found = evaluation_noise(table, 0.0)
        tied = np.sum(np.diff(table, axis=0) == 0, axis=0)
        several = (found > MANY * jump[lines]) | _are_multiples(table, jump[lines])
        step[lines[several]] = spacing[lines[several]]
        noise[lines] = np.fmax(noise[lines], np.where(several, found, 0.0))
        looking[lines] = ~several | (tied > TIED)
        spacing[lines] *= 4.0
        looking &= spacing <= last_step[which]
    noise = np.where(step > 0, np.maximum(noise, ROUNDING_OF_STEPS * jump), 0.0)
    return step, noise


def _are_multiples(table: Vector, jump: Vector) -> NDArray[np.bool_]:
    """Tell where f changes by multiples of a jump, and in several places, as rounded results do.

    Where it rises by about the same number of them each time, third differences show nothing.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        changes = np.diff(table, axis=0) / jump
        whole = (np.abs(changes - np.rint(changes)) < WHOLE).all(axis=0)
    several: NDArray[np.bool_] = whole & (np.sum(np.abs(changes) > WHOLE, axis=0) >= SEVERAL)
    return several


def _uneven_table(
    evaluate: Evaluate, centre: Vector, which: NDArray[np.int64], spacing: Vector
) -> Vector:
    places = np.concatenate([np.arange(-TABLE, 0), np.arange(1, TABLE + 1)])
    displaced = UNEVEN * places[:, np.newaxis] * spacing
    lines = np.broadcast_to(which, displaced.shape)
    values = evaluate(lines.reshape(-1), displaced.reshape(-1))[1].reshape(displaced.shape)
    return np.concatenate([values[:TABLE], centre[which][np.newaxis], values[TABLE:]])
