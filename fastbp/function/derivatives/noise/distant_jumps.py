"""Jumps of f far from the point: what iterating until a tolerance is met leaves of a derivative.

A solver that stops when its steps are shorter than 1e-6 is smooth as long as the number of its
iterations is the same, so that no noise shows near the point; but what is left of the error varies,
from one change of that number to the next, by as much as f jumps there. Its derivative is off by
about the jump over the distance: as if each value had noise of the height of the jumps.

Grids of values show the jumps. The six values before a jump, and the six behind it, lie on one
polynomial each, which tell on which side of the jump any value between them is. So it is found by
halving; a kink is found too, but there the two polynomials meet. And where f has the same slope on
both sides, as if a number was added to it, no error comes to an end there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fastbp.function.derivatives.noise.evaluation_noise import lower_median, rounding_of_values
from fastbp.typing import Vector

__all__ = ["DistantJumps", "find_distant_jumps"]

# f for some displacements along one line.
Along: TypeAlias = Callable[[Vector], Vector]

# So many points on either side, as far as half of what moves, then nearer: three grids, and more
# where f is too rough for them.
POINTS, FARTHEST, NEARER, USUAL_GRIDS, MOST_GRIDS = 20, 0.5, 4, 3, 6
# Differences of six values and one more; such a difference of a jump is up to ten times as high.
ORDER = 6
# The slope of the polynomial through them one place beyond the last.
SLOPE_BEYOND = np.array([-137.0, 810.0, -1980.0, 2540.0, -1755.0, 522.0]) / 60.0
# The difference is not in those of the values before and behind the jump.
QUIET = 1.0 / 16
# What noise of f makes of one, at most.
NOISE_OF_DIFFERENCES = 512.0
# The interval around a jump is halved so often, unless it is that of a kink, which is less than
# this part of the differences by then; and the highest jump stays what it is down to neighbouring
# numbers.
HALVINGS, A_FEW, KINK, MORE_HALVINGS, SAME = 16, 6, 1.0 / 160, 24, 0.25
# Values so much closer together tell the slopes on both sides, but for so many times the noise.
# What they change by is at least that part of the jump for each spacing of the grid.
CLOSER, NOISE_OF_SLOPES, CHANGE = 8, 4096.0, 2.0**-9
# What is looked at closely, of each grid and in all.
MOST_OF_A_GRID, MOST_SUSPECTS, ENOUGH = 3, 12, 2
# Higher ones, relative to f, are features of f; a lower one too if there is no other.
HIGHEST, HIGHEST_ALONE = 2.0**-8, 2.0**-11


@dataclass(frozen=True, slots=True)
class DistantJumps:
    """What was found along a line.

    Attributes
    ----------
    height : float
        Of the highest of the jumps.
    distance : float
        The displacement of the nearest one.
    """

    height: float
    distance: float


def find_distant_jumps(
    along: Along, centre: float, noise: float, unit: float
) -> DistantJumps | None:
    """Look for jumps of f along a line.

    Parameters
    ----------
    along : callable
        f for some displacements, of which 1 is the size of what moves.
    centre : float
        f at the point.
    noise : float
        Of one value of f, as short steps show it.
    unit : float
        Of the precision f computes in.

    Notes
    -----
    100 evaluations where f is smooth, up to 190 where it is rough, 6 for each kink and 28 for each
    jump.
    """
    jumps: list[_Suspect] = []
    values = np.full(2 * POINTS + 1, np.nan)
    values[POINTS] = centre
    reach, largest, left = FARTHEST, abs(centre), MOST_SUSPECTS
    for grid in range(1, MOST_GRIDS + 1):
        values, spacing = _grid(along, values, reach), reach / POINTS
        noise = max(noise, float(rounding_of_values(values[:, np.newaxis], unit)[0]))
        largest = max(largest, float(np.max(np.abs(values), where=np.isfinite(values), initial=0)))
        suspects, rough = _suspects(values, spacing, NOISE_OF_DIFFERENCES * noise)
        fresh = [one for one in suspects if not any(one.holds(jump.place) for jump in jumps)]
        for suspect in fresh[: min(MOST_OF_A_GRID, left)]:
            left -= 1
            low = suspect.is_jump(along) and suspect.height <= HIGHEST * largest
            if low and suspect.changes_slope(along, noise):
                jumps.append(suspect)
        if len(jumps) >= ENOUGH or (grid >= USUAL_GRIDS and (jumps or not rough)):
            break
        reach /= NEARER
    if not jumps:
        return None
    highest = max(jumps, key=lambda jump: jump.height)
    if len(jumps) < ENOUGH and highest.height > HIGHEST_ALONE * largest:
        return None
    distance = min(abs(jump.place) for jump in jumps)
    return DistantJumps(highest.height, distance) if highest.stays(along) else None


def _grid(along: Along, farther: Vector, reach: float) -> Vector:
    """Return values as far as that on both sides, some of which a grid that reaches farther has."""
    places = np.arange(-POINTS, POINTS + 1)
    values = np.full(places.size, np.nan)
    shared = places % NEARER == 0
    values[shared] = farther[POINTS + places[shared] // NEARER]
    fresh = np.isnan(values)
    values[fresh] = along(places[fresh] * (reach / POINTS))
    return values


def _suspects(values: Vector, spacing: float, lowest: float) -> tuple[list[_Suspect], bool]:
    """Return where f may jump between two values of a grid, and whether it is rough everywhere.

    The highest come first.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(np.diff(values, ORDER))
        usual = float(lower_median(differences[:, np.newaxis])[0])
        found = []
        # Those of which the last value is `first`, and those that begin with the next.
        for first in range(ORDER, values.size - ORDER - 1):
            outside = np.maximum(differences[first - ORDER], differences[first + 1])
            largest = float(np.max(differences[first - ORDER + 1 : first + 1]))
            if largest > lowest and outside <= QUIET * largest:
                left = values[first - ORDER + 1 : first + 1]
                right = values[first + 1 : first + ORDER + 1]
                place = (first - POINTS) * spacing
                found.append(_Suspect(left, right, place, spacing, largest))
    found.sort(key=lambda suspect: -suspect.difference)
    return found, usual > lowest


class _Suspect:
    """Two neighbouring values of a grid between which f may jump, and six on either side.

    Attributes
    ----------
    difference : float
        The largest one across it.
    place, height : float
        Of the jump, as far as they are known.
    """

    def __init__(
        self, left: Vector, right: Vector, start: float, spacing: float, difference: float
    ) -> None:
        self.left, self.right, self.difference = left, right, difference
        self.start, self.spacing = start, spacing
        self.low, self.high = 0.0, 1.0  # between the two, in spacings
        self.f_low, self.f_high = float(left[-1]), float(right[0])

    def holds(self, place: float) -> bool:
        """Tell whether a place lies between the two."""
        return self.start <= place <= self.start + self.spacing

    @property
    def place(self) -> float:
        """Where the interval begins that is left."""
        return self.start + self.low * self.spacing

    @property
    def height(self) -> float:
        """By how much f changes within the interval, but for its slope."""
        rise = self._from_left(self.high) - self._from_left(self.low)
        return abs(self.f_high - self.f_low - rise)

    def is_jump(self, along: Along) -> bool:
        """Halve the interval, and tell whether f jumps within."""
        for times in (A_FEW, HALVINGS - A_FEW):
            self._halve(along, times)
            if not self.height > KINK * self.difference:
                return False
        return True

    def changes_slope(self, along: Along, noise: float) -> bool:
        """Tell whether the slope is another one behind the jump, or may be, for all noise."""
        apart = np.arange(ORDER, 0, -1) / CLOSER
        places = self.low + np.concatenate([-apart, apart])
        values = along(self.start + places * self.spacing)
        before = CLOSER * _slope_beyond(values[:ORDER])
        behind = -CLOSER * _slope_beyond(values[ORDER:])
        change = abs(behind - before)
        uncertain = NOISE_OF_SLOPES * noise > CHANGE * self.height
        return uncertain or change > CHANGE * self.height

    def stays(self, along: Along) -> bool:
        """Tell whether that is so down to neighbouring numbers."""
        height = self.height
        self._halve(along, MORE_HALVINGS)
        return abs(self.height - height) <= SAME * height

    def _halve(self, along: Along, times: int) -> None:
        for _ in range(times):
            middle = (self.low + self.high) / 2
            value = float(along(np.array([self.start + middle * self.spacing]))[0])
            if abs(value - self._from_left(middle)) < abs(value - self._from_right(middle)):
                self.low, self.f_low = middle, value
            else:
                self.high, self.f_high = middle, value

    def _from_left(self, place: float) -> float:
        return _continued(self.left, place)

    def _from_right(self, place: float) -> float:
        return _continued(self.right[::-1], 1.0 - place)


def _continued(values: Vector, beyond: float) -> float:
    """Return the polynomial through values at equal distances, so far beyond the last one."""
    places = np.arange(1 - values.size, 1)
    apart = places[:, np.newaxis] - places + np.eye(values.size)
    ratios = (beyond - places + np.zeros_like(apart)) / apart
    np.fill_diagonal(ratios, 1.0)
    return float(np.prod(ratios, axis=1) @ values)


def _slope_beyond(values: Vector) -> float:
    """Return the slope of that polynomial at the next place."""
    return float(SLOPE_BEYOND @ values)
