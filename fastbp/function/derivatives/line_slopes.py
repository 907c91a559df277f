"""Slopes of a black-box function along many lines, each with an error bar.

Every line is climbed with steps that grow by 4, from far below any corner until what the
differences cut off shows. A table of differences (Moré & Wild, "Estimating computational noise",
SIAM J. Sci. Comput. 33, 2011) gives the noise of the function, and with it what rounding does to
the difference of each step; of all steps, and their extrapolations, the one with the smallest
error bar is taken that contradicts no smaller step (`candidates`). At a corner the second
difference shrinks with the step only, not with its square, and left and right slopes are told
apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbp.function.derivatives.evaluation_noise import (
    ROUNDING,
    evaluation_noise,
    rounding_of_values,
)
from fastbp.function.derivatives.step_choice import (
    RATIO,
    SIGMAS,
    Best,
    Candidates,
    Hulls,
    best_of,
    extrapolated,
    possible_slopes,
)
from fastbp.typing import Vector

__all__ = [
    "BEND_SIGMAS",
    "FIRST_STEP",
    "FIRST_STEP_SINGLE",
    "LAST_STEP",
    "SIGMAS",
    "Lines",
    "measure_lines",
]

# (which lines, displacement of each) -> (displacement as realised in floating point, value of f)
Evaluate: TypeAlias = Callable[[NDArray[np.int64], Vector], tuple[Vector, Vector]]

# Displacements as realised, and the values of f there.
Side: TypeAlias = tuple[Vector, Vector]

# The steps relative to the size of what moves along the line: from far below any corner.
FIRST_STEP, FIRST_STEP_SINGLE = 2.0**-24, 2.0**-10
LAST_STEP = 2.0**-3
TABLE = 4  # the difference table has so many points on either side
# The second difference of three noisy values, divided by the step: sqrt(6) standard deviations.
BEND_SIGMAS = 15.0
# Steps shorter than the first, where that one meets a corner.
DESCENTS = 4
DOUBLE_UNIT = 2.0**-53
# So many times that may be corners.
MUCH_NOISE = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The slope along each of n lines, at the point where they start; arrays of shape (n,).

    Attributes
    ----------
    slope, error_bar : ndarray of float64
        The derivative, and how far off it may be. NaN and infinity where there is none.
    left, right : ndarray of float64
        The slopes on both sides of a corner at the point; the slope where there is none.
    noise : ndarray of float64
        The standard deviation of the noise in the values of f.
    curvature, third : ndarray of float64
        How large the second and the third derivative may be; NaN at a corner.
    corner : ndarray of bool
        Where left and right slope differ: `slope` is their mean, and `error_bar` that of each.
    """

    slope: Vector
    error_bar: Vector
    left: Vector
    right: Vector
    noise: Vector
    curvature: Vector
    third: Vector
    corner: NDArray[np.bool_]

    @property
    def hull(self) -> Vector:
        """Half the distance between left and right slope; 0 where there is no corner."""
        return np.where(self.corner, np.abs(self.right - self.left) / 2, 0.0)

    def only(self, where: NDArray[np.bool_] | slice) -> Lines:
        """Return some of these lines."""
        return Lines(*(getattr(self, field.name)[where] for field in fields(self)))

    def replaced(self, where: NDArray[np.bool_], other: Lines) -> Lines:
        """Return these lines, those of `other` (one for each True) in the given places."""
        arrays = [getattr(self, field.name).copy() for field in fields(self)]
        for array, field in zip(arrays, fields(self), strict=True):
            array[where] = getattr(other, field.name)
        return Lines(*arrays)


def measure_lines(
    evaluate: Evaluate,
    centre: Vector,
    first_step: Vector,
    last_step: Vector,
    unit: float,
    shared_noise: float = 0.0,
    *,
    alike: bool = True,
    size: Vector | None = None,
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
    shared_noise : float
        At least so much noise is in each value.
    alike : bool
        Whether the values of all lines are equally noisy, as those of one function are.
    size : ndarray of float64, shape (n,), optional
        Of what moves along each line; by default the one to which the first step is relative.

    Returns
    -------
    Lines

    Notes
    -----
    8 evaluations for the table of each line and 2 for each further step, of which there are at
    most log4(last_step / first_step), and far fewer where f bends early.
    """
    if size is None:
        size = first_step / (FIRST_STEP_SINGLE if unit > DOUBLE_UNIT else FIRST_STEP)
    climb = _Climb(evaluate, centre, first_step, size, unit, shared_noise, alike)
    active = np.flatnonzero(np.isfinite(centre))
    while active.size:
        climb.step(active)
        active = active[climb.may_go_on(active, last_step)]
    climb.descend()
    return climb.result()


class _Climb:
    """The values on both sides for growing steps, and what follows from them."""

    def __init__(
        self,
        evaluate: Evaluate,
        centre: Vector,
        first_step: Vector,
        size: Vector,
        unit: float,
        shared_noise: float,
        alike: bool,
    ) -> None:
        self.evaluate, self.centre, self.unit = evaluate, centre, unit
        self.next_step = first_step.copy()
        self.above: list[Vector] = []
        self.below: list[Vector] = []
        self.step_up: list[Vector] = []
        self.step_down: list[Vector] = []
        table = self._begin_with_table(first_step)
        own = evaluation_noise(table, self.unit)
        if self.unit > DOUBLE_UNIT:
            self._correct_for_corners(own, table, first_step)
        with np.errstate(all="ignore"):
            slopes = (table[TABLE + 1] - table[TABLE - 1]) / (2 * first_step)
            terms = self._rounding_of_terms(slopes * size)
        own = np.fmax(own, np.fmax.reduce(terms, initial=0.0) if alike else terms)
        # One table says little; what all lines share is known better.
        known = own[np.isfinite(own)]
        usual = float(np.median(known)) if known.size else 0.0
        floor = max(usual, shared_noise) if alike else shared_noise
        self.noise = np.maximum(np.where(np.isfinite(own), own, floor), floor)

    def _begin_with_table(self, first_step: Vector) -> Vector:
        """Evaluate the table; its points 1 and 4 are the first two steps."""
        everyone = np.flatnonzero(np.isfinite(self.centre))
        table, sides = self._table(everyone, first_step)
        for place in (1, TABLE):
            self._keep(*sides[place - 1])
        self.next_step = TABLE * RATIO * first_step
        return table

    def _rounding_of_terms(self, terms: Vector) -> Vector:
        """Return the noise of sums of slope times entry, which may be far larger than f.

        Where they cancel to almost nothing, values so close together as those of a table need not
        show it.
        """
        noise: Vector = ROUNDING * self.unit * np.abs(terms)
        return noise

    def _correct_for_corners(self, own: Vector, table: Vector, first_step: Vector) -> None:
        """Look at a finer table where there is much noise: corners shrink with the step.

        Where many lie within a table, most of its third differences are theirs.
        """
        doubtful = own > MUCH_NOISE * rounding_of_values(table, self.unit)
        which = np.flatnonzero(doubtful & np.isfinite(self.centre))
        if which.size:
            finer, _ = self._table(which, first_step / RATIO**2)
            noise = evaluation_noise(finer[:, which], self.unit)
            shrunk = noise < own[which] / 2
            own[which[shrunk]] = noise[shrunk]

    def _table(
        self, which: NDArray[np.int64], step: Vector
    ) -> tuple[Vector, list[tuple[Side, Side]]]:
        """Evaluate some lines at equal distances on both sides; NaN for the others."""
        table = np.full((2 * TABLE + 1, self.centre.size), np.nan)
        table[TABLE] = self.centre
        places = np.arange(1.0, TABLE + 1)
        sides = self._both_sides(which, places[:, np.newaxis] * step[which])
        for place, (up, down) in enumerate(sides, start=1):
            table[TABLE + place], table[TABLE - place] = up[1], down[1]
        return table, sides

    def _both_sides(self, which: NDArray[np.int64], steps: Vector) -> list[tuple[Side, Side]]:
        """Evaluate f above and below, for steps of shape (steps, lines), in one call."""
        signed = np.concatenate([steps, -steps])
        lines = np.broadcast_to(which, signed.shape)
        realised, values = np.full((2, len(signed), self.centre.size), np.nan)
        found = self.evaluate(lines.reshape(-1), signed.reshape(-1))
        realised[:, which] = found[0].reshape(signed.shape)
        values[:, which] = found[1].reshape(signed.shape)
        sides = list(zip(realised, values, strict=True))
        return list(zip(sides[: len(steps)], sides[len(steps) :], strict=True))

    def _keep(self, up: Side, down: Side) -> None:
        self.step_up.append(up[0])
        self.above.append(up[1])
        self.step_down.append(-down[0])
        self.below.append(down[1])

    def step(self, active: NDArray[np.int64]) -> None:
        """Go one step further along the active lines."""
        [(up, down)] = self._both_sides(active, self.next_step[np.newaxis, active])
        self._keep(up, down)
        self.next_step = self.next_step * RATIO

    def may_go_on(self, active: NDArray[np.int64], last_step: Vector) -> NDArray[np.bool_]:
        """Tell where a longer step may be better: finite so far, and not yet bending."""
        with np.errstate(all="ignore"):
            slopes, steps = self._central()
            change = np.abs(np.diff(slopes[-3:], axis=0))
            bending = change > 64 * SIGMAS * self.noise / steps[-2:]
            going_on = np.isfinite(self.above[-1]) | np.isfinite(self.below[-1])
            going_on &= ~bending.all(axis=0) & (self.next_step <= last_step)
        return going_on[active]

    def descend(self) -> None:
        """Take shorter steps where the first one meets a corner, as long as noise allows it.

        Levels that a line does not have come last.
        """
        for _ in range(DESCENTS):
            with np.errstate(all="ignore"):
                steps = self._central()[1]
                shortest = steps[0] / RATIO
                lowest, highest = possible_slopes(*self._sides(), SIGMAS * self.noise / steps)
                worthwhile = highest[0] - lowest[0] > 2 * SIGMAS * self.noise / shortest
                worthwhile &= self._suspects(self._bends(), steps)[0]
            which = np.flatnonzero(worthwhile)
            if which.size == 0:
                break
            [(up, down)] = self._both_sides(which, shortest[np.newaxis, which])
            for levels, values in (
                (self.step_up, up[0]), (self.above, up[1]),
                (self.step_down, -down[0]), (self.below, down[1]),
            ):  # fmt: skip
                _insert_shortest(levels, which, values)

    def _suspects(self, bends: Vector, steps: Vector) -> NDArray[np.bool_]:
        """Tell at which steps the second difference may come from a corner.

        In float64 where it does not shrink as the step does. In float32 the shortest step is so
        long that many corners within look like curvature, and each counts.
        """
        if self.unit > DOUBLE_UNIT:
            return np.isfinite(bends)
        suspects: NDArray[np.bool_] = self._jumps(bends, steps) != 0
        suspects[0] = False  # its jump has no other to be compared with
        suspects[:-1] |= suspects[1:]
        suspects &= np.isfinite(bends)
        return suspects

    def _central(self) -> tuple[Vector, Vector]:
        up, down = np.array(self.step_up), np.array(self.step_down)
        return (np.array(self.above) - np.array(self.below)) / (up + down), (up + down) / 2

    def _one_sided(self) -> tuple[Vector, Vector]:
        """Return the quotients of the side that is finite longer, and their steps."""
        left, right = self._sides()
        to_the_right = np.isfinite(right).sum(axis=0) >= np.isfinite(left).sum(axis=0)
        steps = np.where(to_the_right, np.array(self.step_up), np.array(self.step_down))
        return np.where(to_the_right, right, left), steps

    def result(self) -> Lines:
        """Choose the best candidate of each line."""
        with np.errstate(all="ignore"):
            slopes, steps = self._central()
            bends = self._bends()
            sides = self._sides()
            hulls = Hulls.of(*sides, SIGMAS * self.noise / steps, self._suspects(bends, steps))
            jumps = self._jumps(bends, steps)
            candidates = self._central_candidates(slopes, steps, jumps).covering(hulls)
            candidates.replace_first(hulls)
            best = best_of(candidates, slopes, self.noise, steps)
            lines = self._assembled(best, slopes, steps, bends)
            edge = np.isfinite(self.centre) & ~np.isfinite(slopes[0])
            if edge.any():
                lines = lines.replaced(edge, self._at_an_edge(edge))
        return lines

    def _sides(self) -> tuple[Vector, Vector]:
        """Return the slopes to the left and to the right."""
        right = (np.array(self.above) - self.centre) / np.array(self.step_up)
        left = (self.centre - np.array(self.below)) / np.array(self.step_down)
        return left, right

    def _bends(self) -> Vector:
        """Second differences divided by the step: right slope less left slope."""
        left, right = self._sides()
        return right - left

    def _central_candidates(self, slopes: Vector, steps: Vector, jumps: Vector) -> Candidates:
        noise = SIGMAS * self.noise / steps
        plain = Candidates.of(slopes, noise, jumps)
        better = extrapolated(slopes, steps, 2)
        noise_better = np.full_like(noise, np.inf)
        noise_better[1:] = noise[:-1] * 16 / 15 + noise[1:] / 15
        return plain.joined(Candidates.of(better, noise_better, jumps))

    def _jumps(self, bends: Vector, steps: Vector) -> Vector:
        """Change of the slope at the point itself, as seen from each step; 0 if within noise."""
        jumps = np.zeros_like(bends)
        found = extrapolated(bends, steps, 1)[1:]
        resolution = BEND_SIGMAS * self.noise / steps[:-1]
        # Where f is smooth the bend of the smaller step is curvature, and its jump is nothing.
        real = (np.abs(found) > resolution) & (found * np.sign(bends[:-1]) > np.abs(bends[:-1]) / 2)
        jumps[1:] = np.where(real, found, 0.0)
        # The very first step has no other to compare with: what it sees counts in full.
        jumps[0] = np.where(np.abs(bends[0]) > BEND_SIGMAS * self.noise / steps[0], bends[0], 0.0)
        return jumps

    def _assembled(self, best: Best, slopes: Vector, steps: Vector, bends: Vector) -> Lines:
        jump = best.jump
        corner = jump != 0
        return Lines(
            slope=best.value,
            error_bar=best.error_bar,
            left=best.value - jump / 2,
            right=best.value + jump / 2,
            noise=self.noise,
            curvature=np.where(corner, np.nan, self._curvature(bends, steps)),
            third=np.where(corner, np.nan, self._third(slopes, steps)),
            corner=corner,
        )

    def _curvature(self, bends: Vector, steps: Vector) -> Vector:
        """|f''| from the smallest step that resolves it, else the bound from the largest."""
        resolution = BEND_SIGMAS * self.noise / steps
        return _first_resolved(np.abs(bends), resolution, steps)

    def _third(self, slopes: Vector, steps: Vector) -> Vector:
        """|f'''| in the same way, from how much the slope changes with the step."""
        change = np.abs(np.diff(slopes, axis=0))
        resolution = SIGMAS * self.noise / steps[:-1]
        return 6 * _first_resolved(change, resolution, steps[1:] ** 2 - steps[:-1] ** 2)

    def _at_an_edge(self, edge: NDArray[np.bool_]) -> Lines:
        """Measure from one side, where f is not finite on the other."""
        slopes, steps = (array[:, edge] for array in self._one_sided())
        noise = 2 * SIGMAS * self.noise[edge] / steps
        nothing = np.zeros_like(slopes)
        once = extrapolated(slopes, steps, 1)
        noise_once = np.full_like(noise, np.inf)
        noise_once[1:] = (4 * noise[:-1] + noise[1:]) / 3
        twice = extrapolated(once, steps, 2)
        noise_twice = np.full_like(noise, np.inf)
        noise_twice[2:] = (16 * noise_once[1:-1] + noise_once[2:]) / 15
        candidates = Candidates.of(slopes, noise, nothing)
        candidates = candidates.joined(Candidates.of(once, noise_once, nothing))
        candidates = candidates.joined(Candidates.of(twice, noise_twice, nothing))
        best = best_of(candidates, slopes, np.full(slopes.shape[1], np.inf), steps)
        unknown = np.full(slopes.shape[1], np.nan)
        return Lines(
            best.value, best.error_bar, best.value, best.value, self.noise[edge],
            unknown, unknown, np.zeros(slopes.shape[1], dtype=bool),
        )  # fmt: skip


def _insert_shortest(levels: list[Vector], which: NDArray[np.int64], values: Vector) -> None:
    """Put values of some lines before those of all their longer steps."""
    levels.append(np.full_like(levels[0], np.nan))
    for longer, shorter in zip(levels[:0:-1], levels[-2::-1], strict=True):
        longer[which] = shorter[which]
    levels[0][which] = values[which]


def _first_resolved(sizes: Vector, resolution: Vector, divisors: Vector) -> Vector:
    """sizes / divisors of the first step where the size is above its resolution.

    Where that happens nowhere: the smallest bound that the steps give.
    """
    resolved = np.isfinite(sizes) & (sizes > resolution)
    first = np.argmax(resolved, axis=0)
    columns = np.arange(sizes.shape[1])
    bounds = np.where(np.isfinite(sizes), (sizes + resolution) / divisors, np.inf)
    seen = sizes[first, columns] / divisors[first, columns]
    found: Vector = np.where(resolved.any(axis=0), seen, np.min(bounds, axis=0))
    return found
