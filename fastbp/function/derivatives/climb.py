"""The climb along lines: values on both sides for growing steps, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbp.function.derivatives.divergence import CONVERGENT, INFINITE_SLOPE, divergence
from fastbp.function.derivatives.lines import Evaluate, Lines
from fastbp.function.derivatives.noise.evaluation_noise import (
    ROUNDING,
    evaluation_noise,
    rounding_of_values,
)
from fastbp.function.derivatives.step_choice import (
    CLEARLY,
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
    "AT_AN_EDGE",
    "BEND_SIGMAS",
    "BESIDE_AN_EDGE",
    "SHORTEST",
    "Climb",
    "Setting",
    "climbed",
    "powers_above",
]


# Displacements as realised, and the values of f there.
Side: TypeAlias = tuple[Vector, Vector]

TABLE = 4  # the difference table has so many points on either side
# The second difference of three noisy values, divided by the step: sqrt(6) standard deviations.
BEND_SIGMAS = 15.0
# Steps shorter than the first, where that one meets a kink.
DESCENTS = 4
# So many times that may be kinks.
MUCH_NOISE = 8.0
# So many times that may be a function that varies on a scale of its own, or is infinitely steep;
# the rounding of long sums is less.
VERY_MUCH_NOISE = 64.0
# How often a finer table is looked for, at distances shorter by FINER each time, and how many are
# made in vain before that counts as noise.
FINER, FINER_TABLES, MOST_IN_VAIN = RATIO**2, 6, 2
# Noise of more than a two-thousandth of f may be none: f may vary fast, as the sine of a time since
# 1970. Distances are made shorter to the end then, but after the first tables a second difference,
# of two values, tells whether another one is worthwhile. The end is where rounding what moves makes
# noise of any function that varies so fast.
WILD, FINEST = 2.0**-11, 2.0**8
# What the third differences of kinks shrink by is 16, those of noise not at all.
SHRUNK = 8.0
# By how much shorter the first step is where f ends, jumps or is infinitely steep.
AT_AN_EDGE = 2.0**-16
# And where one entry moves beside an edge: numbers 32 times as large as it do not stay the same.
BESIDE_AN_EDGE = 2.0**-24
# The value at the point is another one than all beside it, as where labels are compared, if that
# changes f by so large a part, and so many times as much as the next steps do.
LARGE_PART, ALONE = 2.0**-8, 64.0
# How far aside, in steps, noise is looked for where that at the point is doubtful.
ASIDE = 128
# Where a step so many times the first, as a power of RATIO, tells that f is not constant: its slope
# is so many times what noise, or a kink, may make of it.
CLEAR_LEVEL, CLEAR = 2, 16.0
# The shortest step relative to what moves: so many times half a unit in the last place.
SHORTEST = 2.0**5


@dataclass(frozen=True, slots=True)
class Setting:
    """What a climb has to know.

    Attributes
    ----------
    unit : float
        Of the precision f computes in.
    coarse : bool
        Whether steps are so long that they hide kinks.
    alike : bool
        Whether the values of all lines are equally noisy.
    nearest : float
        By how much shorter than the first the steps beside an edge may be.
    """

    unit: float
    coarse: bool
    alike: bool
    nearest: float = AT_AN_EDGE


def powers_above(values: Vector) -> Vector:
    """Round positive numbers up to powers of two."""
    with np.errstate(divide="ignore"):
        powers: Vector = np.exp2(np.ceil(np.log2(values)))
    return powers


def climbed(
    evaluate: Evaluate,
    centre: Vector,
    first_step: Vector,
    last_step: Vector,
    size: Vector,
    setting: Setting,
    floor: Vector,
) -> Climb:
    """Climb along all lines where f is finite, as far as longer steps may help."""
    climb = Climb(evaluate, centre, first_step, size, setting, floor)
    active = np.flatnonzero(np.isfinite(centre) & ~climb.isolated)
    while active.size:
        climb.step(active)
        active = active[climb.may_go_on(active, last_step)]
    return climb


class Climb:
    """The values on both sides for growing steps, and what follows from them."""

    def __init__(
        self,
        evaluate: Evaluate,
        centre: Vector,
        first_step: Vector,
        size: Vector,
        setting: Setting,
        floor: Vector,
    ) -> None:
        self.evaluate, self.centre, self.unit = evaluate, centre, setting.unit
        self.coarse, self.size, self.nearest = setting.coarse, size, setting.nearest
        self.above: list[Vector] = []
        self.below: list[Vector] = []
        self.step_up: list[Vector] = []
        self.step_down: list[Vector] = []
        self.first_step = first_step.copy()
        table = self._begin_with_table()
        own = self._own_noise(table, alike=setting.alike)
        # One table says little; what all lines share is known better.
        usual = float(np.median(own)) if own.size and setting.alike else 0.0
        self.noise = np.maximum(own, np.maximum(floor, usual))

    def _own_noise(self, table: Vector, *, alike: bool) -> Vector:
        """Return what the table of each line says of the noise, looked at twice in doubt."""
        own = evaluation_noise(table, self.unit)
        much = own > VERY_MUCH_NOISE * self._rounding(table)
        if self.coarse:
            self._correct_for_kinks(own, table)
            much[:] = False
        whole = np.isfinite(table).all(axis=0)
        doubtful = np.flatnonzero((much | ~whole) & np.isfinite(self.centre) & ~self.isolated)
        if doubtful.size:
            self._look_aside(own, doubtful)
        with np.errstate(all="ignore"):
            slopes = (table[TABLE + 1] - table[TABLE - 1]) / (2 * self.first_step)
            terms = self._rounding_of_terms(slopes * self.size)
        found: Vector = np.fmax(own, np.fmax.reduce(terms, initial=0.0) if alike else terms)
        return found

    def _look_aside(self, own: Vector, which: NDArray[np.int64]) -> None:
        """Look at tables beside the point: at a jump or an infinite slope its own says nothing."""
        for sign in (-1.0, 1.0):
            places = sign * (ASIDE + np.arange(2.0 * TABLE + 1))
            lines = np.broadcast_to(which, (places.size, which.size))
            steps = places[:, np.newaxis] * self.first_step[which]
            values = self.evaluate(lines.reshape(-1), steps.reshape(-1))[1].reshape(steps.shape)
            found = evaluation_noise(values, self.unit)
            better = np.isfinite(values).all(axis=0) & ~(found > own[which] / MUCH_NOISE)
            own[which[better]] = found[better]

    def _begin_with_table(self) -> Vector:
        """Evaluate the table; its points 1 and 4 are the first two steps."""
        everyone = np.flatnonzero(np.isfinite(self.centre))
        table, sides = self._table(everyone, self.first_step[everyone])
        self.isolated = _is_isolated(table)
        table[: TABLE + 1, self.isolated] = np.nan  # the other side tells of the noise
        outside = everyone[~(np.isfinite(table).all(axis=0) | self.isolated)[everyone]]
        if outside.size:
            self._step_back_from_edges(outside)
            _put(table, sides, outside, *self._table(outside, self.first_step[outside]))
        if not self.coarse:
            self._make_finer(table, sides)
        for place in (1, TABLE):
            self._keep(*sides[place - 1])
        self.next_step = TABLE * RATIO * self.first_step
        return table

    def _step_back_from_edges(self, outside: NDArray[np.int64]) -> None:
        """Shorten the first step of lines whose table reaches beyond the domain of f.

        Down to the shortest possible one where the edge is so near, as of log(1 - x) at 1 - 1e-12.
        """
        shortest = powers_above(SHORTEST * self.unit * self.size)
        nearest = np.maximum(self.nearest * self.first_step, shortest)
        from_the_edge = np.maximum(AT_AN_EDGE * self.first_step, shortest)
        on_the_edge = self._outside(outside, np.minimum(self.first_step, nearest))
        self.first_step[on_the_edge] = np.minimum(self.first_step, from_the_edge)[on_the_edge]
        outside = np.setdiff1d(outside, on_the_edge)
        while outside.size:
            self.first_step[outside] /= FINER
            outside = self._outside(outside, self.first_step)

    def _outside(self, which: NDArray[np.int64], first_step: Vector) -> NDArray[np.int64]:
        """Return the lines whose table has no finite values at one of its ends, or both."""
        if which.size == 0:
            return which
        [(up, down)] = self._both_sides(which, TABLE * first_step[np.newaxis, which])
        return which[~(np.isfinite(up[1]) & np.isfinite(down[1]))[which]]

    def _make_finer(self, table: Vector, sides: list[tuple[Side, Side]]) -> None:
        """Replace tables with much noise by finer ones, if that is less there.

        Noise is the same at all distances; the third differences of a function that varies fast
        shrink as the third power of the distance, those of many kinks in proportion to it. A finer
        table with far more noise shows that the distances of the former were nearly whole periods
        of f.
        """
        noise = evaluation_noise(table, self.unit)
        doubtful = noise > VERY_MUCH_NOISE * self._rounding(table)
        doubtful &= np.isfinite(table).all(axis=0)
        largest = np.max(np.abs(table), axis=0, where=np.isfinite(table), initial=0.0)
        step, in_vain = self.first_step.copy(), np.zeros(doubtful.shape, dtype=np.int64)
        for _ in range(FINER_TABLES):
            step /= FINER
            doubtful &= step > FINEST * self.unit * self.size
            doubtful &= (in_vain < MOST_IN_VAIN) | (noise > WILD * largest)
            worthwhile = doubtful & (in_vain < MOST_IN_VAIN)
            waiting = np.flatnonzero(doubtful & ~worthwhile)
            worthwhile[waiting] = self._bends_otherwise(waiting, step, noise)
            which = np.flatnonzero(worthwhile)
            if which.size == 0:
                continue
            finer, finer_sides = self._table(which, step[which])
            found = evaluation_noise(finer, self.unit)
            better = worthwhile & _differ(found, noise)
            in_vain = np.where(better, 0, in_vain + 1)
            self.first_step[better], noise[better] = step[better], found[better]
            _put(table, sides, np.flatnonzero(better), finer, finer_sides)
            doubtful &= noise > VERY_MUCH_NOISE * self._rounding(table)

    def _bends_otherwise(
        self, which: NDArray[np.int64], step: Vector, noise: Vector
    ) -> NDArray[np.bool_]:
        """Tell along which lines a second difference does not look like the noise so far."""
        if which.size == 0:
            return np.zeros(0, dtype=bool)
        [(up, down)] = self._both_sides(which, step[np.newaxis, which])
        with np.errstate(invalid="ignore", over="ignore"):
            bend = np.abs(up[1] + down[1] - 2 * self.centre)
        return _differ(bend[which], noise[which])

    def _rounding(self, table: Vector) -> Vector:
        """Return the noise of rounding f and what moves: usual, and no reason to look closely."""
        with np.errstate(all="ignore"):
            slopes = (table[TABLE + 1] - table[TABLE - 1]) / (2 * self.first_step)
            terms = self._rounding_of_terms(slopes * self.size)
        usual: Vector = np.fmax(rounding_of_values(table, self.unit), terms)
        return usual

    def _rounding_of_terms(self, terms: Vector) -> Vector:
        """Return the noise of sums of slope times entry, which may be far larger than f.

        Where they cancel to almost nothing, values so close together as those of a table need not
        show it.
        """
        noise: Vector = ROUNDING * self.unit * np.abs(terms)
        return noise

    def _correct_for_kinks(self, own: Vector, table: Vector) -> None:
        """Look at a finer table where there is much noise: kinks shrink with the step.

        Where many lie within a table, most of its third differences are theirs.
        """
        which = np.flatnonzero(own > MUCH_NOISE * rounding_of_values(table, self.unit))
        if which.size:
            finer, _ = self._table(which, self.first_step[which] / FINER)
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
        sides = self._both_sides(which, places[:, np.newaxis] * step)
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
        """Take shorter steps where the first one meets a kink, as long as noise allows it.

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
        """Tell at which steps the second difference may come from a kink.

        In float64 where it does not shrink as the step does. In float32 the shortest step is so
        long that many kinks within look like curvature, and each counts.
        """
        if self.coarse:
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
            best = best_of(candidates, slopes, self.noise, steps, sides)
            lines = self._assembled(best, slopes, steps, bends)
            edge = np.isfinite(self.centre) & ~np.isfinite(slopes[0])
            if edge.any():
                lines = lines.replaced(edge, self._at_an_edge(edge))
            for side, of_side in zip(sides, (self.step_down, self.step_up), strict=True):
                found = divergence(side, BEND_SIGMAS * self.noise / np.array(of_side))
                np.maximum(lines.divergence, found, out=lines.divergence)
        return lines

    def sides_and_steps(self) -> list[tuple[Vector, Vector, float]]:
        """Return the quotients to the left and to the right, the steps, and the sign of these."""
        with np.errstate(all="ignore"):
            left, right = self._sides()
        return [(left, np.array(self.step_down), -1.0), (right, np.array(self.step_up), 1.0)]

    def forget_beyond(self, reach: Vector) -> None:
        """Take away the values after steps so long, or longer: there f is another one."""
        for side, steps in ((self.above, self.step_up), (self.below, self.step_down)):
            for values, lengths in zip(side, steps, strict=True):
                values[lengths >= CLEARLY * reach] = np.nan

    def has_clear_slope(self) -> NDArray[np.bool_]:
        """Tell where f clearly rises or falls, by as much on both sides, next to the point."""
        with np.errstate(all="ignore"):
            level = min(CLEAR_LEVEL, len(self.above) - 1)
            left, right = (side[level] for side in self._sides())
            resolution = BEND_SIGMAS * self.noise / self._central()[1][level]
            least = np.minimum(np.abs(left), np.abs(right))
            clear: NDArray[np.bool_] = least > CLEAR * np.fmax(resolution, np.abs(right - left))
        return clear

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
        kink = jump != 0
        return Lines(
            slope=best.value,
            error_bar=best.error_bar,
            left=best.value - jump / 2,
            right=best.value + jump / 2,
            noise=self.noise,
            curvature=np.where(kink, np.nan, self._curvature(bends, steps)),
            third=np.where(kink, np.nan, self._third(slopes, steps)),
            kink=kink,
            shortest=self.first_step.copy(),
            divergence=np.zeros(kink.shape, dtype=np.int8),
            smooth=np.zeros(kink.shape, dtype=bool),
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
        converges = _converges(slopes, noise)
        noise[~converges] = np.inf
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
            self.first_step[edge], np.where(
                np.isinf(best.error_bar) & ~converges.all(axis=0), INFINITE_SLOPE, 0
            ).astype(np.int8),
            np.zeros(slopes.shape[1], dtype=bool),
        )  # fmt: skip


def _converges(slopes: Vector, noise: Vector) -> NDArray[np.bool_]:
    """Tell at which steps the slopes change less than at longer ones, as at no singularity.

    Where noise hides that, it is as it was at the next longer step.
    """
    converges = np.ones(slopes.shape, dtype=bool)
    change = np.abs(np.diff(slopes, axis=0))
    for level in range(len(slopes) - 2, 0, -1):
        shorter, longer = change[level - 1], change[level]
        clear = (shorter > 4 * noise[level - 1]) & np.isfinite(longer)
        converges[level] = np.where(clear, shorter <= CONVERGENT * longer, converges[level + 1])
    if len(slopes) > 2:
        # The longest has nothing to be compared with, and the shortest no shorter one.
        converges[0] = converges[1]
        last = np.isfinite(slopes).sum(axis=0) - 1
        columns = np.arange(slopes.shape[1])
        converges[last, columns] = converges[np.maximum(last - 1, 0), columns]
    return converges


def _is_isolated(table: Vector) -> NDArray[np.bool_]:
    """Tell where f at the point is far from its values on both sides, which differ by little."""
    centre = table[TABLE]
    with np.errstate(invalid="ignore", over="ignore"):
        jump = np.minimum(np.abs(table[TABLE - 1] - centre), np.abs(table[TABLE + 1] - centre))
        beside = np.maximum(np.ptp(table[:TABLE], axis=0), np.ptp(table[TABLE + 1 :], axis=0))
        isolated: NDArray[np.bool_] = jump > ALONE * beside
        isolated &= jump > LARGE_PART * np.max(np.abs(table), axis=0)
    return isolated


def _differ(found: Vector, noise: Vector) -> NDArray[np.bool_]:
    """Tell where something is clearly less than the noise so far, or clearly more."""
    with np.errstate(invalid="ignore", over="ignore"):
        differ: NDArray[np.bool_] = (found < noise / SHRUNK) | (found > noise * SHRUNK)
    return differ


def _put(
    table: Vector,
    sides: list[tuple[Side, Side]],
    which: NDArray[np.int64],
    finer: Vector,
    finer_sides: list[tuple[Side, Side]],
) -> None:
    """Put another table of some lines in the place of theirs."""
    table[:, which] = finer[:, which]
    for kept, fresh in zip(sides, finer_sides, strict=True):
        for one, other in zip(kept, fresh, strict=True):
            for array, better in zip(one, other, strict=True):
                array[which] = better[which]


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
