"""Slopes along lines on which f is as smooth as it looks, in few evaluations.

Eight values beside the point, a 4096th of the entry apart, tell the noise of f from differences so
high that what f bends by has none, and the slope from a fit of low degree. Once some entries have
told noise and smoothness, four values are enough for each further one: two central differences
and their extrapolation. Whatever does not fit that picture, because there is a kink, an edge, a
step, more noise or another scale, is in doubt, and is measured with `measure_lines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.derivatives.climb import BEND_SIGMAS
from fastbp.function.derivatives.lines import Lines
from fastbp.function.derivatives.noise.evaluation_noise import ROUNDING, rounding_of_values
from fastbp.function.derivatives.noise.hidden_noise import find_hidden_noise
from fastbp.function.derivatives.step_choice import RATIO, SIGMAS
from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.derivatives.lines import Evaluate

__all__ = ["Smoothness", "by_four_values", "by_table"]

# The distance of the values in a table, relative to the entry: fifth differences of a smooth
# function, 1e-18 of its fifth derivative, are below the rounding of f, and steps of 4 such
# distances give the slope to twelve digits.
SPACING = 2.0**-12
TABLE = 4  # points on either side
# The standard deviation of a k-th difference of independent noise is sqrt((2k)! / k!^2) of it.
FIFTH_DIFFERENCE = np.sqrt(252.0)
# More noise than so many times the rounding of f, or than known, may be a kink or a short scale.
MUCH_NOISE = 8.0
MOST_IN_VAIN = 3  # tables, before f is not taken for smooth anywhere
# How much larger a derivative may be than those of the entries measured so far.
MARGIN, MARGIN_OF_FIFTH = 8.0, 64.0
# What a slope changes by from one step to the next, of what it has changed by before, at a kink.
ABRUPT = 64.0
# The shorter of two steps, relative to the entry.
SHORTEST_STEP, LONGEST_STEP = 2.0**-14, 2.0**-5


def _weights(degrees: tuple[int, ...]) -> Vector:
    """Return the combination of d_1 ... d_4 that is the constant of a fit by these powers.

    d_j is a central difference over 2 j, and its noise goes with 1 / j: a weighted least squares
    fit, exact for the polynomial of these degrees.
    """
    places = np.arange(1.0, TABLE + 1)
    powers = places[:, np.newaxis] ** np.array(degrees)
    weighted = np.linalg.pinv(places[:, np.newaxis] * powers)
    constant: Vector = weighted[0] * places
    return constant


PLACES = np.arange(1.0, TABLE + 1)
LEVELS = [0, TABLE - 1, TABLE, 2 * TABLE - 1]  # the distances 1 and 4 above, and below
CUBIC, QUINTIC = _weights((0, 2)), _weights((0, 2, 4))
NOISE_OF_CUBIC = float(np.linalg.norm(CUBIC / PLACES))
NOISE_OF_CHANGE = float(np.linalg.norm((CUBIC - QUINTIC) / PLACES))
# Of the fourth power of the distance in what a cubic fit gives.
FOURTH_POWER = abs(float(CUBIC @ PLACES**4))
# f(4) - 16 f(1) of second differences b_j: what is left is the fourth derivative.
WITHOUT_SECOND = RATIO**2
THIRD_OF_PAIR = 6 / (RATIO**2 - 1)
FOURTH_OF_PAIR = RATIO**2 * (RATIO**2 - 1) / 12
CUT_OFF_OF_PAIR = RATIO**2 / 120


@dataclass(slots=True)
class Smoothness:
    """What the entries measured so far tell about all others; it grows while entries are measured.

    Attributes
    ----------
    wanted : int
        The number of entries to learn from.
    learnt, in_doubt : int
        How many were measured by a table, and how many of those looked rough.
    noise : float
        Standard deviation of the noise in a value of f.
    third, fourth, fifth : float
        The largest derivatives, relative to the entries: f''' x^3 and so on. Bounds where noise
        hides them.
    """

    wanted: int
    learnt: int = 0
    in_doubt: int = 0
    noise: float = 0.0
    third: float = 0.0
    fourth: float = 0.0
    fifth: float = 0.0

    @property
    def known(self) -> bool:
        """Tell whether enough entries have been seen."""
        return self.learnt >= self.wanted

    @property
    def hopeless(self) -> bool:
        """Tell whether f has not been smooth anywhere so far."""
        return self.in_doubt >= MOST_IN_VAIN and not self.learnt

    @property
    def step(self) -> float:
        """The shorter of two steps, relative to the entry; a power of two.

        What is cut off, with its margin, is no more than the noise.
        """
        if not self.fifth > 0:
            return LONGEST_STEP
        cut_off = MARGIN_OF_FIFTH * CUT_OFF_OF_PAIR * self.fifth
        best = np.clip((SIGMAS * self.noise / cut_off) ** 0.2, SHORTEST_STEP, LONGEST_STEP)
        return float(np.exp2(np.round(np.log2(best))))

    def learn(self, table: _Table, accepted: NDArray[np.bool_], scale: Vector) -> None:
        """Take in the tables of some entries."""
        self.in_doubt += int(np.count_nonzero(~accepted))
        if not accepted.any():
            return
        self.learnt += int(np.count_nonzero(accepted))
        self.noise = max(self.noise, float(np.max(table.noise[accepted])))
        for name, power in (("third", 3), ("fourth", 4), ("fifth", 5)):
            found = (getattr(table, name) * scale**power)[accepted]
            setattr(self, name, max(getattr(self, name), float(np.max(found))))
        if self.third > 0:  # the fifth may be 0 by accident
            self.fifth = max(self.fifth, self.fourth * (self.fourth / self.third))


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """What a table of values tells of each line: arrays of shape (n,)."""

    smooth: NDArray[np.bool_]
    noise: Vector
    slope: Vector
    noise_bar: Vector
    cut_off: Vector
    curvature: Vector
    third: Vector
    fourth: Vector
    fifth: Vector


def by_table(
    evaluate: Evaluate, centre: Vector, scale: Vector, longest: Vector, size: Vector, unit: float,
    known: Smoothness, least_noise: float = 0.0,
) -> tuple[Lines, NDArray[np.bool_]]:  # fmt: skip
    """Measure lines by a table of eight values each, and longer steps as long as they help.

    Parameters
    ----------
    evaluate : callable
        As in `measure_lines`.
    centre : ndarray of float64, shape (n,)
        f at the point.
    scale, longest, size : ndarray of float64, shape (n,)
        On which f may vary, the longest step, and the size of what moves.
    unit : float
        Of the precision f computes in.
    known : Smoothness
        Learns from the lines that are as smooth as they look.
    least_noise : float
        Lines that show less are doubtful: steps of f are hidden there.

    Returns
    -------
    lines : Lines
    doubtful : ndarray of bool
    """
    everyone = np.arange(centre.size)
    spacing = SPACING * scale
    places = np.concatenate([PLACES, -PLACES])[:, np.newaxis] * spacing
    which = np.broadcast_to(everyone, places.shape)
    realised, values = evaluate(which.reshape(-1), places.reshape(-1))
    realised, values = realised.reshape(places.shape), values.reshape(places.shape)
    with np.errstate(all="ignore"):
        table = _table(centre, realised, values, spacing, size, unit, known.noise, least_noise)
        climb = _Climb(evaluate, centre, table.noise, realised[LEVELS], values[LEVELS])
        climb.slope, climb.error_bar = table.slope.copy(), table.noise_bar + 2 * table.cut_off
        climb.third, climb.fourth, climb.fifth = table.third, table.fourth, table.fifth
        unseen = table.cut_off <= SIGMAS * table.noise * NOISE_OF_CHANGE / spacing
        climb.go_on(table.smooth & unseen, longest, table.noise_bar, table.cut_off)
        sides = climb.sides()
    hidden = find_hidden_noise(evaluate, centre, sides, table.noise, longest, alike=True)
    accepted = table.smooth & ~(hidden.first_step > 0)
    known.learn(table, accepted, scale)
    lines = Lines.without_kinks(
        climb.slope,
        climb.error_bar,
        table.noise,
        table.curvature,
        climb.third,
        spacing,
        smooth=True,
    )
    return lines, ~accepted


def _table(
    centre: Vector, realised: Vector, values: Vector, spacing: Vector, size: Vector, unit: float,
    known_noise: float, least_noise: float,
) -> _Table:  # fmt: skip
    above, below = values[:TABLE], values[TABLE:]
    steps = (realised[:TABLE] - realised[TABLE:]) / 2
    slopes = (above - below) / (2 * steps)
    whole = np.concatenate([below[::-1], centre[np.newaxis], above])
    slope, quintic = CUBIC @ slopes, QUINTIC @ slopes
    fifths = np.diff(whole, 5, axis=0) / FIFTH_DIFFERENCE
    own = np.sqrt(np.mean(fifths * fifths, axis=0))
    rounding = np.fmax(rounding_of_values(whole, unit), ROUNDING * unit * np.abs(slope * size))
    usual = np.fmax(rounding, known_noise)
    noise = np.fmax(own, usual)
    smooth = (own <= MUCH_NOISE * usual) & (own >= least_noise) & np.isfinite(whole).all(axis=0)
    bends = above[[0, -1]] + below[[0, -1]] - 2 * centre
    change = np.abs(slope - quintic)
    resolution = SIGMAS * noise * NOISE_OF_CHANGE / spacing
    third = _seen(np.abs(slopes[-1] - slopes[0]), 1.25 * SIGMAS * noise / spacing)
    fourth = _seen(
        np.abs(bends[1] - WITHOUT_SECOND * bends[0]), WITHOUT_SECOND * BEND_SIGMAS * noise
    )
    return _Table(
        smooth=smooth,
        noise=noise,
        slope=slope,
        noise_bar=SIGMAS * noise * NOISE_OF_CUBIC / spacing,
        cut_off=change,
        curvature=_seen(np.abs(bends[1]), BEND_SIGMAS * noise) / (TABLE * spacing) ** 2,
        third=third * THIRD_OF_PAIR / spacing**2,
        fourth=fourth / FOURTH_OF_PAIR / spacing**4,
        fifth=_seen(change, resolution) * 120 / FOURTH_POWER / spacing**4,
    )


def _seen(sizes: Vector, resolution: Vector) -> Vector:
    """Return sizes, or a bound where they are within the noise."""
    found: Vector = np.where(sizes > resolution, sizes, sizes + resolution)
    return found


class _Climb:
    """Longer steps than those of a table, as long as what they cut off does not show."""

    def __init__(
        self, evaluate: Evaluate, centre: Vector, noise: Vector, realised: Vector, values: Vector
    ) -> None:
        """Begin with two steps and the values there; rows are above, above, below, below."""
        self.evaluate, self.centre, self.noise = evaluate, centre, noise
        self.steps = [(realised[place], -realised[place + 2]) for place in (0, 1)]
        self.values = [(values[place], values[place + 2]) for place in (0, 1)]
        self.third, self.fourth, self.fifth = np.full((3, centre.size), np.inf)
        self.slope, step = self._extrapolated()
        self.error_bar = 1.1 * SIGMAS * noise / step

    def go_on(
        self, where: NDArray[np.bool_], longest: Vector, noise: Vector, change: Vector
    ) -> None:
        """Take steps along some lines, each four times the one before.

        `noise` and `change` say what noise may do to the slope, and by how much one of another
        degree differs.
        """
        former, longer = self.slope.copy(), RATIO * self._central(-1)[1]
        active = np.flatnonzero(where & (longer <= longest))
        while active.size:
            self._step(active, longer)
            slope, step = self._extrapolated()
            before, change = change, np.abs(slope - former)
            before_noise, noise = noise, 1.1 * SIGMAS * self.noise / step
            smooth = ~self._abrupt()
            self._learn(step, change, noise + before_noise, smooth)
            self._take(slope, noise, before_noise, np.fmax(change, before / RATIO**2))
            # Where f is no more than quadratic, the longer step alone is better.
            plain, last = self._central(-1)
            noise_of_plain = SIGMAS * self.noise / last
            self._take(plain, noise_of_plain, RATIO * noise_of_plain, self._changes().max(axis=0))
            former, longer = slope, RATIO * longer
            going_on = smooth & (change <= noise + before_noise) & (longer <= longest)
            active = active[going_on[active]]

    def _take(self, slope: Vector, noise: Vector, before: Vector, change: Vector) -> None:
        """Take slopes of smaller error bars than those so far, if they do not contradict these.

        The noise of the shorter step may hide a change, up to a few standard deviations of it.
        """
        error_bar = noise + before / 4 + 2 * change
        better = error_bar < self.error_bar
        better &= np.abs(slope - self.slope) <= error_bar + self.error_bar
        self.slope[better], self.error_bar[better] = slope[better], error_bar[better]

    def _changes(self) -> Vector:
        """Return the last two changes of the central differences."""
        slopes = np.array([self._central(place)[0] for place in (-3, -2, -1)])
        changes: Vector = np.abs(np.diff(slopes, axis=0)) * [[1 / RATIO], [1.0]]
        return changes

    def _abrupt(self) -> NDArray[np.bool_]:
        """Tell where the last step met a kink or a jump: smooth changes grow by 16 or 256."""
        changes = self._changes()
        resolution = 1.25 * SIGMAS * self.noise / self._central(-3)[1]
        abrupt: NDArray[np.bool_] = ~(changes[1] <= ABRUPT * (RATIO * changes[0] + resolution))
        return abrupt

    def _learn(
        self, step: Vector, change: Vector, resolution: Vector, smooth: NDArray[np.bool_]
    ) -> None:
        """Narrow the bounds of what is too small for the steps before."""
        noise = self.noise
        (near, _), (far, _) = (self._central(place) for place in (-2, -1))
        bends = [sum(self.values[place]) - 2 * self.centre for place in (-2, -1)]
        left_over = np.abs(bends[1] - WITHOUT_SECOND * bends[0])
        found = (
            _seen(np.abs(far - near), 1.25 * SIGMAS * noise / step) * THIRD_OF_PAIR / step**2,
            _seen(left_over, WITHOUT_SECOND * BEND_SIGMAS * noise) / FOURTH_OF_PAIR / step**4,
            _seen(change, resolution) / CUT_OFF_OF_PAIR / step**4,
        )
        for bound, fresh in zip((self.third, self.fourth, self.fifth), found, strict=True):
            np.fmin(bound, fresh, out=bound, where=smooth)

    def _step(self, active: NDArray[np.int64], step: Vector) -> None:
        signed = np.concatenate([step[active], -step[active]])
        realised, found = self.evaluate(np.concatenate([active, active]), signed)
        up, down, above, below = np.full((4, step.size), np.nan)
        up[active], down[active] = realised[: active.size], -realised[active.size :]
        above[active], below[active] = found[: active.size], found[active.size :]
        self.steps.append((up, down))
        self.values.append((above, below))

    def _extrapolated(self) -> tuple[Vector, Vector]:
        """Return the slopes from the last two steps, and the shorter of these."""
        (shorter, step), (longer, last) = (self._central(place) for place in (-2, -1))
        return shorter + (shorter - longer) / ((last / step) ** 2 - 1), step

    def _central(self, place: int) -> tuple[Vector, Vector]:
        (above, below), (up, down) = self.values[place], self.steps[place]
        return (above - below) / (up + down), (up + down) / 2

    def sides(self) -> list[tuple[Vector, Vector, float]]:
        """Return the one-sided quotients, as `find_hidden_noise` takes them."""
        up, down = (np.array(steps) for steps in zip(*self.steps, strict=True))
        above, below = (np.array(values) for values in zip(*self.values, strict=True))
        return [((self.centre - below) / down, down, -1.0), ((above - self.centre) / up, up, 1.0)]


def by_four_values(
    evaluate: Evaluate, centre: Vector, scale: Vector, longest: Vector, size: Vector, unit: float,
    known: Smoothness,
) -> tuple[Lines, NDArray[np.bool_]]:  # fmt: skip
    """Measure lines by two central differences each, knowing how smooth and noisy f is.

    Parameters and results are as of `by_table`.
    """
    count = centre.size
    step = known.step * scale
    signed = np.concatenate([step, RATIO * step, -step, -RATIO * step])
    realised, values = (
        part.reshape(4, count) for part in evaluate(np.tile(np.arange(count), 4), signed)
    )
    with np.errstate(all="ignore"):
        near, far = (values[:2] - values[2:]) / (realised[:2] - realised[2:])
        bends = values[:2] + values[2:] - 2 * centre
        slope = near + (near - far) / (RATIO**2 - 1)
        noise = np.fmax(rounding_of_values(values, unit), ROUNDING * unit * np.abs(slope * size))
        noise = np.fmax(noise, known.noise)
        change, left_over = np.abs(near - far), np.abs(bends[1] - WITHOUT_SECOND * bends[0])
        noise_of_change = 1.25 * SIGMAS * noise / step
        third = _seen(change, noise_of_change) * THIRD_OF_PAIR / step**2
        most = MARGIN * known.third / THIRD_OF_PAIR * known.step**2 / scale
        smooth = change <= noise_of_change + most
        fourth = np.where(left_over > WITHOUT_SECOND * BEND_SIGMAS * noise, left_over, 0.0)
        fourth /= FOURTH_OF_PAIR * step**4
        most_left = MARGIN * FOURTH_OF_PAIR * known.fourth * known.step**4
        smooth &= left_over <= WITHOUT_SECOND * BEND_SIGMAS * noise + most_left
        curvature = _seen(np.abs(bends[1]), BEND_SIGMAS * noise) / (RATIO * step) ** 2
        # A function of a shorter scale has larger derivatives, the fifth most of all.
        seen = np.where(change > noise_of_change, third, 0.0)
        more = np.fmax(seen * scale**3 / known.third, fourth * scale**4 / known.fourth)
        fifth = MARGIN_OF_FIFTH * known.fifth * np.fmax(1.0, more) ** (5 / 3)
        error_bar = 1.1 * SIGMAS * noise / step + CUT_OFF_OF_PAIR * fifth * known.step**4 / scale
        climb = _Climb(evaluate, centre, noise, realised, values)
        climb.error_bar = error_bar
        smooth &= np.isfinite(slope)
        climb.go_on(smooth & (change <= noise_of_change), longest, error_bar, 0.0 * slope)
    third = np.fmin(third, climb.third)
    lines = Lines.without_kinks(
        climb.slope, climb.error_bar, noise, curvature, third, step, smooth=True
    )
    return lines, ~smooth
