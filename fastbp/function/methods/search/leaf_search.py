"""The search for the wrong entries of one leaf.

A derivative along a random direction tests all entries of an array at once: a single wrong entry
shows in it, whatever the others do. Halving the direction leads to that entry in log2(n) steps,
each of one central difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.containers.point import SINGLE_UNIT
from fastbp.function.derivatives.entry_slopes import (
    entry_sizes,
    first_step,
    is_spread,
    measure_entries,
    typical,
)
from fastbp.function.derivatives.second_slopes import (
    allow_for_rounded_entries,
    learn_distant_jumps,
    measure_again,
)
from fastbp.function.methods.search.bisection import bisect, halved
from fastbp.function.methods.search.direction_slopes import EVERYTHING, DirectionSlopes
from fastbp.function.methods.search.inward import MOST_ALONE, entries_to_judge_alone, turned_inward
from fastbp.function.methods.search.located import DETECTABLE, POOR, Located, bar_of
from fastbp.function.methods.unjudged import is_constant_along, reaching_between_steps
from fastbp.verdict.blocks import norm
from fastbp.verdict.entries import wrong_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.derivatives.lines import Lines
    from fastbp.function.evaluation import Function
    from fastbp.typing import Vector
    from fastbp.verdict.tolerance import Tolerance

__all__ = ["FRESH", "LeafSearch", "components"]

# Slices of one array that are looked at before the search is given up: where very many entries
# are on kinks, each of them is followed.
MOST_SEGMENTS = 600
# Directions that are drawn anew, in all, where one meets a kink so close to the point that it
# tells far less than the others.
FRESH = 3
# Jumps of f far from the point are looked for where a first entry is off by no more than this part
# of its derivative, or a second one by that.
LITTLE, NOT_LITTLE = 2.0**-12, 0.25
# In arrays of so few entries the first one counts as a second.
FEW = 4
# Slices that are measured thoroughly where a kink or a jump at the point hides more than an entry.
LOOKS_AT_KINKS = 40


def components(function: Function, leaf: int) -> NDArray[np.floating]:
    """Return how far each entry moves, relative to the typical one; infinite ones do not."""
    base = function.point.base[leaf]
    size = typical(base)
    indices = np.arange(base.size)
    relative = entry_sizes(function, leaf, indices, size, own_sizes=is_spread(base)) / size
    if function.domain.scale(leaf) is None and not is_spread(base):
        relative[:] = 1.0
    moved = np.isfinite(base)
    if function.chosen is not None:
        moved &= function.chosen.masks[leaf]
    return np.where(moved, relative, 0.0).astype(base.dtype)


@dataclass(frozen=True, slots=True)
class _Segment:
    """A slice along which gradient and differences disagree: by how much, and how certainly.

    `hull` is the part of `error_bar` that is due to a kink at the point.
    """

    start: int
    stop: int
    difference: float
    error_bar: float
    hull: float

    @property
    def significant(self) -> bool:
        return abs(self.difference) > self.error_bar

    @property
    def clarity(self) -> float:
        """By how many error bars the two disagree; 0 where nothing moves."""
        return abs(self.difference) / self.error_bar if self.error_bar else 0.0


class LeafSearch:
    """The search through one leaf."""

    def __init__(
        self,
        function: Function,
        leaf: int,
        given: Vector,
        tolerance: Tolerance,
        allowance: Callable[[NDArray[np.floating], slice], float],
        most: int,
    ) -> None:
        self.function, self.leaf, self.given = function, leaf, given
        self.tolerance, self.allowance, self.most = tolerance, allowance, most
        self.located = Located()
        self.slopes = DirectionSlopes(function, leaf)
        self.directions = self.unresolved_directions = 0
        self.due_to_kinks = 0.0  # what they let the sum along the present direction be
        self.met_kinks = False
        self.segments_left = MOST_SEGMENTS
        self.examines = False  # single entries, which arrays that are joined do not have
        self.held: set[int] = set()  # those that no direction moves any more
        self.right_alone: list[int] = []  # those that the present direction has led to in vain
        self.looked_at_edges = self.looked_at_kinks = False
        self.begins_again = False  # since f has turned out to be noisier

    @property
    def below_noise(self) -> bool:
        """Tell whether nothing was above the noise along any direction."""
        found = self.located
        sizes = np.maximum(np.abs(found.slopes), np.abs(found.given))
        return bool(np.all(sizes <= np.array(found.allowed)))

    def compared(self, direction: NDArray[np.floating]) -> tuple[NDArray[np.floating], _Segment]:
        """Measure one direction, and compare what the gradient says along it.

        The direction comes back, turned inward if it leads outside of the domain on both sides.
        """
        self.directions += 1
        direction = self._of_the_others(direction)
        slope, error_bar, hull = self._slope_or_zero(direction, EVERYTHING)
        if not np.isfinite(error_bar) and np.isfinite(self.function.value):
            turned = self._turned_inward(direction)
            if turned is not None:
                direction = turned
                slope, error_bar, hull = self._slope_or_zero(direction, EVERYTHING)
            if not np.isfinite(error_bar) and self._judges_alone_at_edges(direction):
                self.directions -= 1
                return self.compared(direction)
            if not np.isfinite(error_bar):
                step = first_step(self.function) * self.slopes.size
                self.function.raise_if_it_raised_along(self.leaf, direction, step)
        said = self.said(direction, EVERYTHING)
        if self._hides_an_entry(direction, error_bar, hull) and self._judges_kinks_alone(direction):
            self.directions -= 1
            return self.compared(direction)
        found = self.located
        found.slopes.append(slope)
        found.given.append(said)
        found.noise.append(error_bar + self.allowance(direction, EVERYTHING))
        found.allowed.append(found.noise[-1] + hull)
        return direction, _Segment(0, self.given.size, said - slope, found.allowed[-1], hull)

    def agrees_again(self, direction: NDArray[np.floating], whole: _Segment) -> bool:
        """Tell whether gradient and differences agree after all, with other steps."""
        slope, error_bar = self.slopes.again(direction)
        found = self.located
        if abs(found.given[-1] - slope) > whole.error_bar + error_bar:
            return False
        found.allowed[-1] = max(found.allowed[-1], abs(whole.difference))
        found.noise[-1] = max(found.noise[-1], abs(whole.difference) - whole.hull)
        return True

    def wrong_parts(
        self, direction: NDArray[np.floating], parts: list[slice], most: int
    ) -> list[int]:
        """Return along which of some neighbouring slices the two disagree."""
        found: list[int] = []

        def disagrees(places: range) -> bool:
            if len(found) >= most:
                return False
            first, last = parts[places[0]], parts[places[-1]]
            if len(places) == len(parts) > 1:
                return True
            return self._segment(direction, first.start, last.stop).significant

        bisect(range(len(parts)), halved, disagrees, found.append)
        return found

    def along(self, direction: NDArray[np.floating]) -> None:
        """Test one direction, and follow what disagrees."""
        direction, whole = self.compared(direction)
        found, said = self.located, self.located.given[-1]
        explained = self._explained(direction)
        if not abs(whole.difference - explained) > whole.error_bar:
            return
        self.due_to_kinks = 0.0
        self.right_alone = []
        bisect(
            whole,
            halves=lambda segment: self._halves(direction, segment),
            disagrees=lambda segment: self._is_followed(segment, whole),
            examine=lambda index: self._examine(index, abs(float(direction[index]))),
        )
        if self.begins_again:
            self._begin_again(direction)
            return
        left = whole.difference - self._explained(direction)
        if abs(left) > whole.error_bar and len(found.indices) < self.most:
            self._confirm(direction, said)
        found.undecided = self.unresolved_directions == self.directions

    def _confirm(self, direction: NDArray[np.floating], said: float) -> None:
        """Measure a direction again, with other steps, before its difference counts as wrong.

        Kinks of opposite signs hide from each other in a sum, but not from the search: what
        they let each entry be counts too.
        """
        found = self.located
        hidden = self._hides_an_entry(direction, 0.0, self.due_to_kinks)
        if hidden and self._judges_kinks_alone(direction):
            self._once_more(direction)
            return
        slope, error_bar = self.slopes.again(direction)
        left = said - slope - self._explained(direction)
        allowed = found.allowed[-1] + error_bar + self.due_to_kinks
        self.met_kinks |= self.due_to_kinks > 0
        if abs(left) <= allowed:
            difference = abs(said - found.slopes[-1])
            found.allowed[-1] = max(found.allowed[-1], difference)
            found.noise[-1] = max(found.noise[-1], difference - self.due_to_kinks)
        elif self.met_kinks:  # no mistake was found, and not every kink either
            self.unresolved_directions += 1
        elif self._holds_what_is_right(direction, abs(left)):
            self._once_more(direction)
        elif self._learns_jumps():
            self._begin_again(direction)
        else:
            found.complete = False

    def _once_more(self, direction: NDArray[np.floating]) -> None:
        """Test a direction again, and forget what it told."""
        found = self.located
        for part in (found.slopes, found.given, found.allowed, found.noise):
            part.pop()
        self.directions -= 1
        self.along(direction)

    def _learns_jumps(self) -> bool:
        """Tell whether f jumps far from the point, so that it is noisier than it looked."""
        noise = self.slopes.noise
        return learn_distant_jumps(self.function, self.leaf, self.given, noise)

    def _begin_again(self, direction: NDArray[np.floating]) -> None:
        self._forget_what_was_wrong()
        self._once_more(direction)

    def _forget_what_was_wrong(self) -> None:
        """Forget what was wrong without the noise that f has turned out to have."""
        self.begins_again = False
        self.located.indices.clear()
        self.located.lines.clear()
        self.slopes = DirectionSlopes(self.function, self.leaf)

    def _holds_what_is_right(self, direction: NDArray[np.floating], left: float) -> bool:
        """Hold entries that are right alone, where the steps of a direction are too long for them.

        Tell whether there are any: those that the search has led to, or beside an edge. Where what
        is left of a difference is within their bars, it may be theirs.
        """
        if not self.right_alone and not self._judges_alone_at_edges(direction):
            return False
        if len(self.held.union(self.right_alone)) > MOST_ALONE:
            return False
        self.held.update(self.right_alone)
        alone = self.located.alone
        bars = (abs(float(direction[place])) * bar_of(alone[place]) for place in self.right_alone)
        self.located.unsure |= left <= math.fsum(bars)
        return True

    def _of_the_others(self, direction: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a direction that does not move the entries that are judged alone."""
        if not self.held:
            return direction
        others = direction.copy()
        others[list(self.held)] = 0.0
        return others

    def _judges_alone_at_edges(self, direction: NDArray[np.floating]) -> bool:
        """Judge entries alone that are next to an edge, or far smaller; tell whether any was."""
        if not self.examines or self.looked_at_edges:
            return False
        self.looked_at_edges = True
        base, before = self.function.point.base[self.leaf], len(self.held)
        self.right_alone = []
        for place in entries_to_judge_alone(base, direction, self._finite_along(direction)):
            self._examine(place, 0.0)
            if place in (*self.right_alone, *self.located.indices):
                self.held.add(place)
        # What was learnt along a direction without a derivative is nothing.
        self.slopes = DirectionSlopes(self.function, self.leaf)
        return len(self.held) > before

    def _hides_an_entry(
        self, direction: NDArray[np.floating], error_bar: float, hull: float
    ) -> bool:
        """Tell whether an error as large as a usual derivative would not show beside a kink."""
        if not np.isfinite(error_bar):
            return True
        usual = norm(self.given * direction) / math.sqrt(np.count_nonzero(direction) or 1)
        return hull > max(POOR * error_bar, usual / DETECTABLE)

    def _judges_kinks_alone(self, direction: NDArray[np.floating]) -> bool:
        """Judge entries alone by which f has a kink, a jump or an infinite slope at the point.

        Tell whether any was; not where kinks are everywhere, or may be steps of f.
        """
        own = self.function
        if not self.examines or self.looked_at_kinks or own.quantum or own.unit == SINGLE_UNIT:
            return False
        self.looked_at_kinks = True
        fresh, looks = DirectionSlopes(own, self.leaf), LOOKS_AT_KINKS
        found: list[int] = []

        def has_no_derivative(part: range) -> bool:
            nonlocal looks
            where = slice(part.start, part.stop)
            if looks <= 0 or not direction[where].any():
                return False
            looks -= 1
            line = fresh.thorough(direction, where)
            return bool(line.kink[0]) or not np.isfinite(line.error_bar[0])

        bisect(range(direction.size), halved, has_no_derivative, found.append)
        if not found or looks <= 0 or len(self.held.union(found)) > MOST_ALONE:
            return False
        for index in found:
            line = self._measured_alone(index)
            if self.begins_again:
                self._forget_what_was_wrong()
                return True
            if index not in self.located.indices:
                judged = np.isfinite(line.error_bar[0])
                (self.located.alone if judged else self.located.unjudged)[index] = line
        self.held.update(found)
        self.slopes = DirectionSlopes(own, self.leaf)
        return True

    def _explained(self, direction: NDArray[np.floating]) -> float:
        """Return how much of a difference comes from the entries that were found."""
        return math.fsum(
            float(direction[index]) * (self.given[index] - float(line.slope[0]))
            for index, line in zip(self.located.indices, self.located.lines, strict=True)
        )

    def said(self, direction: NDArray[np.floating], part: slice) -> float:
        """Return what the gradient says the derivative along a slice of a direction is."""
        # A long double sum: its rounding must not hide a single entry of millions.
        products = self.given[part] * direction[part]
        return float(np.sum(products, dtype=np.longdouble))

    def _is_followed(self, segment: _Segment, whole: _Segment) -> bool:
        """Tell whether a segment is certainly wrong, and the search not yet at its end."""
        if segment is not whole and not segment.significant:
            self.due_to_kinks += segment.hull
            return False
        self.segments_left -= 1
        enough = len(self.located.indices) >= self.most or self.begins_again
        return not enough and self.segments_left > 0

    def _halves(self, direction: NDArray[np.floating], segment: _Segment) -> list[_Segment]:
        """Measure the halves of a segment; the clearer one comes first."""
        middle = (segment.start + segment.stop) // 2
        left = self._segment(direction, segment.start, middle)
        right = _Segment(
            middle,
            segment.stop,
            segment.difference - left.difference,
            segment.error_bar + left.error_bar,
            0.0,
        )
        unclear = abs(right.difference) < 8 * right.error_bar and not left.significant
        if unclear or left.hull or segment.hull:
            right = self._segment(direction, middle, segment.stop)
        return sorted((left, right), key=lambda half: -half.clarity)

    def _segment(self, direction: NDArray[np.floating], start: int, stop: int) -> _Segment:
        part = slice(start, stop)
        slope, error_bar, hull = self._slope_or_zero(direction, part)
        allowed = error_bar + hull + self.allowance(direction, part)
        return _Segment(start, stop, self.said(direction, part) - slope, allowed, hull)

    def _examine(self, index: int, component: float) -> None:
        """Measure a single entry alone, and keep what is learnt."""
        if index in self.located.indices:
            return
        line = self._measured_alone(index)
        if index in self.located.indices or self.begins_again:
            return
        self.due_to_kinks += component * self.slopes.due_to_kinks(line)
        if self.examines and np.isfinite(line.error_bar[0]) and not line.kink[0]:
            self.right_alone.append(index)
            self.located.alone[index] = line

    def _measured_alone(self, index: int) -> Lines:
        """Measure a single entry thoroughly, and again before it is called wrong."""
        place = np.array([index])
        line = measure_entries(self.function, self.leaf, place, self.slopes.noise)
        if self._is_wrong(index, line):
            line = measure_again(self.function, self.leaf, place, line)
            line = allow_for_rounded_entries(self.function, self.leaf, place, line)
            if self._is_wrong(index, line):
                given = self.given[place]
                line = reaching_between_steps(self.function, self.leaf, place, given, line)
            if self._is_wrong(index, line):
                if self._may_stop_at_tolerance(index, line) and self._learns_jumps():
                    self.begins_again = True
                    return line
                self.located.indices.append(index)
                self.located.lines.append(line)
        return line

    def _is_wrong(self, index: int, line: Lines) -> bool:
        given = self.given[index : index + 1]
        wrong = wrong_entries(given, line.slope, line.error_bar, self.tolerance, hull=line.hull)
        return bool(wrong[0])

    def _may_stop_at_tolerance(self, index: int, line: Lines) -> bool:
        """Tell whether an entry may be wrong as those of a solver are: by little, as others are."""
        few = self.given.size <= FEW or self.located.indices
        slope = float(line.slope[0])
        return abs(float(self.given[index]) - slope) <= (NOT_LITTLE if few else LITTLE) * abs(slope)

    def _slope_or_zero(
        self, direction: NDArray[np.floating], part: slice
    ) -> tuple[float, float, float]:
        """Return what `_slope` does; the bar reaches to 0 if that is given, between steps of f."""
        if self.held and not direction[part].any():
            return 0.0, 0.0, 0.0
        slope, error_bar, hull = self.slopes.slope(direction, part)
        if (
            abs(slope) > error_bar + hull
            and not self.given[part].any()
            and is_constant_along(self.function, self.leaf, direction, part)
        ):
            hull = 2 * abs(slope)
        return slope, error_bar, hull

    def _turned_inward(self, direction: NDArray[np.floating]) -> NDArray[np.floating] | None:
        """Return a direction in which f is finite, where that one leaves its domain either way."""
        return turned_inward(direction, self._finite_along(direction))

    def _finite_along(self, direction: NDArray[Any]) -> Callable[[slice], tuple[bool, bool]]:
        """Return what tells whether f is finite a step ahead along a slice, and a step behind."""
        step = first_step(self.function) * self.slopes.size

        def finite(part: slice) -> tuple[bool, bool]:
            both = self.function.along(self.leaf, direction, (step, -step), part)
            ahead, behind = np.isfinite(both).tolist()
            return ahead, behind

        return finite
