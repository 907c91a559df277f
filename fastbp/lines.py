"""Slopes of a black-box function along many lines, each with an error bar.

Every line is climbed with steps that grow by 4, from far below any corner until what the
differences cut off shows. A table of differences (Moré & Wild, "Estimating computational noise",
SIAM J. Sci. Comput. 33, 2011) gives the noise of the function, and with it what rounding does to
the difference of each step; of all steps, and their extrapolations, the one with the smallest
error bar is taken that contradicts no smaller step (Lepski's rule). At a corner the second
difference shrinks with the step only, not with its square, and left and right slopes are told
apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FIRST_STEP",
    "FIRST_STEP_SINGLE",
    "LAST_STEP",
    "Lines",
    "evaluation_noise",
    "hidden_corners",
    "measure_lines",
]

Vector: TypeAlias = NDArray[np.float64]
# (which lines, displacement of each) -> (displacement as realised in floating point, value of f)
Evaluate: TypeAlias = Callable[[NDArray[np.int64], Vector], tuple[Vector, Vector]]

# Displacements as realised, and the values of f there.
Side: TypeAlias = tuple[Vector, Vector]

# The steps relative to the size of what moves along the line: from far below any corner.
FIRST_STEP, FIRST_STEP_SINGLE = 2.0**-24, 2.0**-10
LAST_STEP = 2.0**-3
RATIO = 4.0  # of one step to the one before
TABLE = 4  # the difference table has so many points on either side
# The standard deviation of a k-th difference of independent noise is sqrt((2k)! / k!^2) of it.
THIRD_DIFFERENCE = np.sqrt(20.0)
# Noise of one evaluation -> error of a central difference times the step: 1/sqrt(2) of it is the
# standard deviation, so this is over eight, and covers what a table of nine points cannot know
# (with 4 one of a thousand random functions had an entry outside its bar).
SIGMAS = 6.0
# The second difference of three noisy values, divided by the step: sqrt(6) standard deviations.
BEND_SIGMAS = 15.0
# Mean of the third of six third differences, over that of the fourth, on which the margins rest.
TYPICAL_OF_LOWER_MEDIAN = 0.73
# Steps shorter than the first, where that one meets a corner.
DESCENTS = 4
# Rounding the value alone: half a unit in the last place at most, 0.29 units on average.
ROUNDING = 0.6
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


def evaluation_noise(table: Vector, unit: float) -> Vector:
    """Estimate the noise in the values of f from values at equal distances.

    Parameters
    ----------
    table : ndarray of float64, shape (points, n)
        Values along n lines, so close together that only noise has a third difference.
    unit : float
        Half the distance of 1 to the next number of the precision f computes in.

    Returns
    -------
    ndarray of float64, shape (n,)
        An estimate of the standard deviation; at least what rounding the value makes.

    Notes
    -----
    The lower median of the third differences: a corner at the point spoils two of the six, one
    between two points of the table three. Moré & Wild (2011), section 4, use root mean squares.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        middle = _lower_median(np.abs(np.diff(table, 3, axis=0)))
        estimate = middle / (TYPICAL_OF_LOWER_MEDIAN * THIRD_DIFFERENCE)
    found: Vector = np.fmax(estimate, rounding_of_values(table, unit))
    return found


def rounding_of_values(table: Vector, unit: float) -> Vector:
    """Return the noise that rounding the values of f makes, if it does nothing else."""
    largest = np.max(np.abs(table), axis=0, where=np.isfinite(table), initial=0)
    noise: Vector = ROUNDING * unit * largest
    return noise


def hidden_corners(bends: Vector) -> Vector:
    """Return what corners within the smallest step may do to the slope: half of its bend.

    In float64 that step is so small that no corner is hit by chance; in float32 it is not, and
    many corners together look like curvature.
    """
    hidden: Vector = np.abs(bends) / 2
    return np.where(np.isfinite(hidden), hidden, 0.0)


def _lower_median(values: Vector) -> Vector:
    """Median of the finite values, the lower one of two; NaN where there are none."""
    finite = np.isfinite(values)
    ordered = np.sort(np.where(finite, values, np.inf), axis=0)
    middle = np.maximum(finite.sum(axis=0) - 1, 0) // 2
    found: Vector = ordered[middle, np.arange(values.shape[1])]
    return np.where(np.isfinite(found), found, np.nan)


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
                lowest, highest = _possible_slopes(*self._sides(), SIGMAS * self.noise / steps)
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
            hulls = _Hulls.of(*sides, SIGMAS * self.noise / steps, self._suspects(bends, steps))
            jumps = self._jumps(bends, steps)
            candidates = self._central_candidates(slopes, steps, jumps).covering(hulls)
            candidates.replace_first(hulls)
            best = _best(candidates, slopes, self.noise, steps)
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

    def _central_candidates(self, slopes: Vector, steps: Vector, jumps: Vector) -> _Candidates:
        noise = SIGMAS * self.noise / steps
        plain = _Candidates.of(slopes, noise, jumps)
        better = _extrapolated(slopes, steps, 2)
        noise_better = np.full_like(noise, np.inf)
        noise_better[1:] = noise[:-1] * 16 / 15 + noise[1:] / 15
        return plain.joined(_Candidates.of(better, noise_better, jumps))

    def _jumps(self, bends: Vector, steps: Vector) -> Vector:
        """Change of the slope at the point itself, as seen from each step; 0 if within noise."""
        jumps = np.zeros_like(bends)
        found = _extrapolated(bends, steps, 1)[1:]
        resolution = BEND_SIGMAS * self.noise / steps[:-1]
        # Where f is smooth the bend of the smaller step is curvature, and its jump is nothing.
        real = (np.abs(found) > resolution) & (found * np.sign(bends[:-1]) > np.abs(bends[:-1]) / 2)
        jumps[1:] = np.where(real, found, 0.0)
        # The very first step has no other to compare with: what it sees counts in full.
        jumps[0] = np.where(np.abs(bends[0]) > BEND_SIGMAS * self.noise / steps[0], bends[0], 0.0)
        return jumps

    def _assembled(self, best: _Best, slopes: Vector, steps: Vector, bends: Vector) -> Lines:
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
        once = _extrapolated(slopes, steps, 1)
        noise_once = np.full_like(noise, np.inf)
        noise_once[1:] = (4 * noise[:-1] + noise[1:]) / 3
        twice = _extrapolated(once, steps, 2)
        noise_twice = np.full_like(noise, np.inf)
        noise_twice[2:] = (16 * noise_once[1:-1] + noise_once[2:]) / 15
        candidates = _Candidates.of(slopes, noise, nothing)
        candidates = candidates.joined(_Candidates.of(once, noise_once, nothing))
        candidates = candidates.joined(_Candidates.of(twice, noise_twice, nothing))
        best = _best(candidates, slopes, np.full(slopes.shape[1], np.inf), steps)
        unknown = np.full(slopes.shape[1], np.nan)
        return Lines(
            best.value, best.error_bar, best.value, best.value, self.noise[edge],
            unknown, unknown, np.zeros(slopes.shape[1], dtype=bool),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Slopes to choose from, shape (steps, n), each with its error bar."""

    value: Vector
    error_bar: Vector
    jump: Vector

    @classmethod
    def of(cls, values: Vector, noise: Vector, jumps: Vector) -> _Candidates:
        """Build the error bars of one sequence: noise, and twice how much the last step changed.

        The change itself may hide behind noise, so that half of that of the step before comes
        on top; and two steps may agree by accident, so that the change before them counts too.
        """
        changes = np.full_like(values, np.inf)
        changes[1:] = np.abs(np.diff(values, axis=0))
        before = np.zeros_like(values)
        before[2:] = np.where(np.isfinite(changes[1:-1]), changes[1:-1], 0.0) / 16
        error_bar = noise + 2 * np.fmax(changes, before)
        error_bar[1:] += np.where(np.isfinite(noise[:-1]), noise[:-1], 0.0) / 2
        # The first step has only the next one to be compared with.
        if len(values) > 1:
            error_bar[0] = noise[0] + 2 * changes[1]
        return cls(values, np.where(np.isfinite(values), error_bar, np.inf), jumps)

    def replace_first(self, hulls: _Hulls) -> None:
        """Take the hull of the shortest step where it tells more than that step's difference.

        That has nothing but a longer step, which may cross a corner, to be compared with.
        """
        better = hulls.half[0] < self.error_bar[0] + np.abs(self.jump[0]) / 2
        self.value[0, better] = hulls.centre[0, better]
        self.error_bar[0, better] = hulls.half[0, better]
        self.jump[0, better] = 0.0

    def covering(self, hulls: _Hulls) -> _Candidates:
        """Widen the error bars until value, bar and corner cover the hulls of shorter steps."""
        sequences = len(self.value) // len(hulls.centre)
        centre, half = (np.tile(part, (sequences, 1)) for part in (hulls.centre, hulls.half))
        needed = np.abs(self.value - centre) + half - np.abs(self.jump) / 2
        return _Candidates(self.value, np.fmax(self.error_bar, needed), self.jump)

    def joined(self, other: _Candidates) -> _Candidates:
        return _Candidates(
            np.concatenate([self.value, other.value]),
            np.concatenate([self.error_bar, other.error_bar]),
            np.concatenate([self.jump, other.jump]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Hulls:
    """What a corner within a step lets the slope at the point be.

    For each step, that of the step up to this one which tells most, but of none after the first
    that is more than noise: corners on both sides make a longer one too narrow. NaN where no step
    so far may have met a corner; shape (steps, n).
    """

    centre: Vector
    half: Vector

    @classmethod
    def of(cls, left: Vector, right: Vector, noise: Vector, suspects: NDArray[np.bool_]) -> _Hulls:
        lowest, highest = _possible_slopes(left, right, noise)
        centre, half = (lowest + highest) / 2, (highest - lowest) / 2
        resolved = np.zeros(noise.shape[1], dtype=bool)
        clear = suspects & (half > 2 * noise)
        half += noise
        half[~suspects | np.isnan(half)] = np.inf
        for level in range(1, len(half)):
            resolved |= clear[level - 1]
            kept = resolved | ~(half[level] < half[level - 1])
            for part in (centre, half):
                part[level, kept] = part[level - 1, kept]
        return cls(centre, np.where(np.isfinite(half), half, np.nan))


def _possible_slopes(left: Vector, right: Vector, noise: Vector) -> tuple[Vector, Vector]:
    """Return the lowest and the highest slope that the point may have, as each step sees it.

    With a corner on one side only, the other has the slope of the point and what curvature adds
    to it, which its longer step tells: the slope is one of four, or between them where there is
    no corner. Changes of both sides that die out as the step grows come from corners on both: the
    slope may lie as far beyond this step's as this is beyond the longer one's. NaN at the last.
    """
    possible = np.array([left, right, _without_curvature(left), _without_curvature(right)])
    changes = [_change_of_next(side) for side in (left, right)]
    both = np.logical_and(*(_dies_out(change, noise) for change in changes))
    beyond = [
        np.where(both, side - change, side)
        for side, change in zip(possible[:2], changes, strict=True)
    ]
    possible = np.concatenate([possible, beyond])
    return np.min(possible, axis=0), np.max(possible, axis=0)


def _change_of_next(slopes: Vector) -> Vector:
    """Return by how much the next longer step differs; NaN at the last."""
    change = np.full_like(slopes, np.nan)
    change[:-1] = np.diff(slopes, axis=0)
    return change


def _dies_out(change: Vector, noise: Vector) -> NDArray[np.bool_]:
    size = np.abs(change)
    found = np.zeros(size.shape, dtype=bool)
    found[:-1] = (size[:-1] > size[1:]) & (size[:-1] > noise[:-1])
    return found


def _without_curvature(slopes: Vector) -> Vector:
    """Extrapolate one-sided slopes from each step and the next longer one; NaN at the last."""
    better: Vector = slopes - _change_of_next(slopes) / (RATIO - 1)
    return better


def _insert_shortest(levels: list[Vector], which: NDArray[np.int64], values: Vector) -> None:
    """Put values of some lines before those of all their longer steps."""
    levels.append(np.full_like(levels[0], np.nan))
    for longer, shorter in zip(levels[:0:-1], levels[-2::-1], strict=True):
        longer[which] = shorter[which]
    levels[0][which] = values[which]


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The chosen candidate of each line."""

    value: Vector
    error_bar: Vector
    jump: Vector


def _best(candidates: _Candidates, slopes: Vector, noise: Vector, steps: Vector) -> _Best:
    """Take the smallest error bar, corner included, among those that no smaller step refutes."""
    score = candidates.error_bar + np.abs(candidates.jump) / 2
    levels = len(slopes)
    for level in range(levels):
        lower_and_upper = SIGMAS * noise / steps[level]
        for place in range(len(score)):
            if place % levels > level:
                allowed = score[place] + 1.5 * lower_and_upper
                refuted = np.abs(candidates.value[place] - slopes[level]) > allowed
                score[place] = np.where(refuted, np.inf, score[place])
    score = np.where(np.isfinite(score), score, np.inf)
    chosen = np.argmin(score, axis=0)
    columns = np.arange(score.shape[1])
    found = np.isfinite(score[chosen, columns])
    nothing = np.where(found, 0.0, np.nan)
    return _Best(
        candidates.value[chosen, columns] + nothing,
        np.where(found, candidates.error_bar[chosen, columns], np.inf),
        np.where(found, candidates.jump[chosen, columns], 0.0),
    )


def _extrapolated(values: Vector, steps: Vector, power: int) -> Vector:
    """Remove the term that grows with that power of the step; infinite at the first step."""
    better = np.full_like(values, np.inf)
    weight = (steps[1:] / steps[:-1]) ** power - 1
    better[1:] = values[:-1] + (values[:-1] - values[1:]) / weight
    return better


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
