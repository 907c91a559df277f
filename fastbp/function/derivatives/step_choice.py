"""Which slope of a line to believe: candidates from all steps, and what kinks let them be.

Of all steps, and their extrapolations, the one with the smallest error bar is taken that
contradicts no smaller step (Lepski's rule), and whose bar covers what smaller steps say of
kinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = [
    "CLEARLY",
    "RATIO",
    "SIGMAS",
    "Best",
    "Candidates",
    "Hulls",
    "best_of",
    "extrapolated",
    "possible_slopes",
]

CLEARLY = 0.999  # more than by the rounding of what is compared
RATIO = 4.0  # of one step to the one before
# Noise of one evaluation -> error of a central difference times the step: 1/sqrt(2) of it is the
# standard deviation, so this is over eight, and covers what a table of nine points cannot know
# (with 4 one of a thousand random functions had an entry outside its bar).
SIGMAS = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Slopes to choose from, shape (steps, n), each with its error bar."""

    value: Vector
    error_bar: Vector
    jump: Vector

    @classmethod
    def of(cls, values: Vector, noise: Vector, jumps: Vector) -> Candidates:
        """Build the error bars of one sequence: noise, and twice how much the last step changed.

        The change itself may hide behind noise, so that half of that of the step before comes
        on top; and two steps may agree by accident, so that the change before them counts too.
        """
        changes = np.full_like(values, np.inf)
        changes[1:] = np.abs(np.diff(values, axis=0))
        changes[np.isnan(changes)] = np.inf  # f is nowhere finite at one of the two steps
        before = np.zeros_like(values)
        before[2:] = np.where(np.isfinite(changes[1:-1]), changes[1:-1], 0.0) / 16
        error_bar = noise + 2 * np.fmax(changes, before)
        error_bar[1:] += np.where(np.isfinite(noise[:-1]), noise[:-1], 0.0) / 2
        # The first step has only the next one to be compared with.
        if len(values) > 1:
            error_bar[0] = noise[0] + 2 * changes[1]
        return cls(values, np.where(np.isfinite(values), error_bar, np.inf), jumps)

    def replace_first(self, hulls: Hulls) -> None:
        """Take the hull of the shortest step where it tells more than that step's difference.

        That has nothing but a longer step, which may cross a kink, to be compared with.
        """
        better = hulls.half[0] < CLEARLY * (self.error_bar[0] + np.abs(self.jump[0]) / 2)
        self.value[0, better] = hulls.centre[0, better]
        self.error_bar[0, better] = hulls.half[0, better]
        self.jump[0, better] = 0.0

    def covering(self, hulls: Hulls) -> Candidates:
        """Widen the error bars until value, bar and kink cover the hulls of shorter steps."""
        sequences = len(self.value) // len(hulls.centre)
        centre, half = (np.tile(part, (sequences, 1)) for part in (hulls.centre, hulls.half))
        needed = np.abs(self.value - centre) + half - np.abs(self.jump) / 2
        return Candidates(self.value, np.fmax(self.error_bar, needed), self.jump)

    def joined(self, other: Candidates) -> Candidates:
        """Return both sequences, one after the other."""
        return Candidates(
            np.concatenate([self.value, other.value]),
            np.concatenate([self.error_bar, other.error_bar]),
            np.concatenate([self.jump, other.jump]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Hulls:
    """What a kink within a step lets the slope at the point be.

    For each step, that of the step up to this one which tells most, but of none after the first
    that is more than noise: kinks on both sides make a longer one too narrow. NaN where no step
    so far may have met a kink; shape (steps, n).
    """

    centre: Vector
    half: Vector

    @classmethod
    def of(cls, left: Vector, right: Vector, noise: Vector, suspects: NDArray[np.bool_]) -> Hulls:
        """Choose from left and right slopes, where a step may have met a kink."""
        lowest, highest = possible_slopes(left, right, noise)
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


def possible_slopes(left: Vector, right: Vector, noise: Vector) -> tuple[Vector, Vector]:
    """Return the lowest and the highest slope that the point may have, as each step sees it.

    With a kink on one side only, the other has the slope of the point and what curvature adds
    to it, which its longer step tells: the slope is one of four, or between them where there is
    no kink. Changes of both sides that die out as the step grows come from kinks on both: the
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


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The chosen candidate of each line."""

    value: Vector
    error_bar: Vector
    jump: Vector


def best_of(
    candidates: Candidates,
    slopes: Vector,
    noise: Vector,
    steps: Vector,
    sides: tuple[Vector, Vector] | None = None,
) -> Best:
    """Take the smallest error bar, kink included, among those that no smaller step refutes.

    A kink also says what the slopes to the left and to the right are, which `sides` holds: a bend
    between two steps looks like a kink to all longer ones, and to no shorter one.
    """
    score = candidates.error_bar + np.abs(candidates.jump) / 2
    levels = len(slopes)
    of_candidate = np.arange(len(score)) % levels
    for level in range(levels):
        longer = of_candidate > level
        rounding = 1.5 * SIGMAS * noise / steps[level]
        refuted = np.abs(candidates.value[longer] - slopes[level]) > score[longer] + rounding
        score[longer] = np.where(refuted, np.inf, score[longer])
    if sides is not None:
        for signed_jump, side in zip((-candidates.jump, candidates.jump), sides, strict=True):
            _refute_kinks(score, candidates, signed_jump / 2, side, SIGMAS * noise / steps)
    score = np.where(np.isfinite(score), score, np.inf)
    chosen = np.argmin(score, axis=0)
    columns = np.arange(score.shape[1])
    found = np.isfinite(score[chosen, columns])
    return Best(
        np.where(found, candidates.value[chosen, columns], np.nan),
        np.where(found, candidates.error_bar[chosen, columns], np.inf),
        np.where(found, candidates.jump[chosen, columns], 0.0),
    )


def _refute_kinks(
    score: Vector, candidates: Candidates, offset: Vector, side: Vector, noise: Vector
) -> None:
    """Give up kinks whose slope to one side is not what smaller steps see there.

    `noise` is that of a central difference; that of a one-sided one is twice as large. What `side`
    changes by from the candidate's last step but one to its last is more than curvature makes of
    it at smaller steps.
    """
    if not candidates.jump.any():
        return
    levels = len(side)
    change = np.abs(_change_of_next(side))
    for place, level in enumerate(np.arange(len(score)) % levels):
        kink = candidates.jump[place] != 0
        if level < 2 or not kink.any():
            continue
        apart = np.abs(candidates.value[place] + offset[place] - side[: level - 1])
        allowed = candidates.error_bar[place] + 3 * noise[: level - 1] + change[level - 1]
        score[place, kink & (apart > allowed).any(axis=0)] = np.inf


def extrapolated(values: Vector, steps: Vector, power: int) -> Vector:
    """Remove the term that grows with that power of the step; infinite at the first step."""
    better = np.full_like(values, np.inf)
    weight = (steps[1:] / steps[:-1]) ** power - 1
    better[1:] = values[:-1] + (values[:-1] - values[1:]) / weight
    return better
