"""Slopes of all outputs by one entry after the other: a few thoroughly, the rest cheaply.

As in `fastbp.function.derivatives.entry_slopes` for a scalar function, thoroughly measured entries
tell the noise of each output; two central differences by every other entry tell the rest, and where
they do not look smooth the entry is measured thoroughly too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.containers.point import SINGLE_UNIT
from fastbp.function.derivatives.climb import BEND_SIGMAS
from fastbp.function.derivatives.entry_slopes import (
    is_spread,
    power_of_two,
    sampled_entries,
    typical,
    usual_samples,
)
from fastbp.function.derivatives.line_slopes import FIRST_STEP
from fastbp.function.derivatives.lines import Lines
from fastbp.function.derivatives.noise.evaluation_noise import ROUNDING
from fastbp.function.derivatives.output_slopes import measure_outputs
from fastbp.function.derivatives.step_choice import RATIO, SIGMAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.function.array_function import VectorFunction
    from fastbp.typing import Vector

__all__ = ["expected_evaluations", "measure_column", "measure_columns"]

CHEAP = 4  # evaluations: two central differences

# Columns that are tried cheaply before the rest is given up, if more than half are in doubt.
TRIED = 16
# The shorter of two steps, relative to the entry: noise and what is cut off are about equal.
STEP = 2.0**-18
# What a slope may change by from one step to the next, relative to slopes of the output.
LARGEST_CHANGE = 2.0**-16


def measure_column(
    function: VectorFunction,
    leaf: int,
    place: int,
    shift: float = 1.0,
    noise: Vector | float = 0.0,
) -> Lines:
    """Difference all outputs thoroughly by one entry of a leaf, as `measure_outputs` does."""
    tangent = np.zeros(function.point.base[leaf].size)
    tangent[place] = 1.0
    return measure_outputs(function, leaf, tangent, shift, noise=noise)


def measure_columns(function: VectorFunction, leaf: int) -> Iterator[tuple[int, Lines]]:
    """Difference all outputs by every entry of a leaf.

    Yields
    ------
    place : int
    lines : Lines
        Of all outputs.

    Notes
    -----
    Some 25 evaluations for each of 4 to 14 entries and for those in doubt, 4 for each other one. Of
    all entries, or of those that were chosen.
    """
    places = np.flatnonzero(function.mask(leaf))
    base = function.point.base[leaf][places]
    sampled = places[sampled_entries(base, usual_samples(base.size))]
    rest = np.setdiff1d(places, sampled).tolist()
    survey = _Survey(function, leaf)
    for place in sampled.tolist():
        lines = measure_column(function, leaf, place)
        survey.learn(place, lines)
        yield place, lines
    doubtful = 0
    for tried, place in enumerate(rest):
        cheap: Lines | None = None
        if survey.helps and not (tried >= TRIED and 2 * doubtful > tried):
            cheap = survey.cheap(place)
        if cheap is not None:
            yield place, cheap
            continue
        doubtful += 1
        yield place, measure_column(function, leaf, place, noise=survey.noise)


def expected_evaluations(function: VectorFunction, leaf: int, thorough: float) -> float:
    """Return how many evaluations `measure_columns` takes, about.

    `thorough` is how many a thoroughly measured entry takes.
    """
    columns = int(np.count_nonzero(function.mask(leaf)))
    sampled = min(columns, usual_samples(columns)) if _is_fine(function, leaf) else columns
    return thorough * sampled + CHEAP * (columns - sampled)


def _is_fine(function: VectorFunction, leaf: int) -> bool:
    """Tell whether the digits of f and the sizes of a leaf's entries let two differences do."""
    base = function.point.base[leaf]
    return (
        function.unit != SINGLE_UNIT
        and not function.hidden_rounding.any()
        and function.domain.scale(leaf) is None
        and not is_spread(base)
        and bool(np.isfinite(base).all())
    )


class _Survey:
    """What thoroughly measured columns tell of each output.

    Attributes
    ----------
    noise, usual : ndarray of float64, shape (outputs,)
        The standard deviation of the noise of each output, and its largest slope so far.
    """

    def __init__(self, function: VectorFunction, leaf: int) -> None:
        self.function, self.leaf = function, leaf
        self.noise, self.usual = np.zeros((2, function.value.size))
        self._learnt, self._rough = 0, np.zeros(function.value.size, dtype=np.int64)
        self._fine = _is_fine(function, leaf)

    @property
    def helps(self) -> bool:
        """Tell whether other columns may be measured cheaply.

        Not where an output takes steps, as one in few digits does: a few values say nothing then.
        In single precision, with entries of very different sizes and with scales of the user, steps
        are chosen one by one.
        """
        return self._fine and not np.any(2 * self._rough > self._learnt)

    def _scale(self, place: int) -> float:
        base = self.function.point.base[self.leaf]
        size = max(abs(float(base[place])), typical(base))
        return float(power_of_two(np.array([size]))[0])

    def learn(self, place: int, lines: Lines) -> None:
        """Take in a thoroughly measured column."""
        for known, found in ((self.noise, lines.noise), (self.usual, np.abs(lines.slope))):
            known[:] = np.fmax(known, np.where(np.isfinite(found), found, 0.0))
        self._learnt += 1
        self._rough += lines.shortest > 4 * FIRST_STEP * self._scale(place)

    def cheap(self, place: int) -> Lines | None:
        """Take two central differences of all outputs; None if any of them is in doubt.

        What the two differ by is what they cut off, and one step of Richardson's extrapolation
        takes that away. At a kink second differences do not grow with the square of the step.
        """
        function = self.function
        base = function.point.base[self.leaf]
        entry, step = float(base[place]), STEP * self._scale(place)
        tangent = np.zeros(base.size, dtype=base.dtype)
        tangent[place] = 1.0
        steps = [step, -step, RATIO * step, -RATIO * step]
        values = np.array(function.along(self.leaf, tangent, steps))
        centre = function.value
        realised = (entry + np.array(steps)) - entry
        with np.errstate(all="ignore"):
            widths = realised[0::2] - realised[1::2]
            near, far = (values[0::2] - values[1::2]) / widths[:, np.newaxis]
            slope = near + (near - far) / (RATIO**2 - 1)
            rounding = ROUNDING * function.unit * np.max(np.abs(values), axis=0)
            noise = np.fmax(self.noise, rounding)
            change = np.abs(near - far)
            resolution = 1.25 * SIGMAS * noise / step
            bends = np.abs((values[0::2] - centre) - (centre - values[1::2]))
            bar = 1.1 * SIGMAS * noise / step + 2 * change / (RATIO**2 - 1)
            # Smooth: 16 times as large after a step 4 times as long. A kink at the point: 4 times;
            # one between the steps: only the second one is large.
            left_over = np.abs(bends[1] - RATIO**2 * bends[0])
            doubtful = left_over > RATIO**2 * BEND_SIGMAS * noise + bends[1] / 4
            doubtful |= change > resolution + LARGEST_CHANGE * np.fmax(np.abs(slope), self.usual)
            doubtful |= ~np.isfinite(slope)
        # An output that is not finite at the point has no derivative whatever is measured.
        if (doubtful & np.isfinite(centre)).any():
            return None
        unknown = np.full(slope.shape, np.nan)
        bar = np.where(np.isfinite(slope), bar, np.inf)
        shortest = np.full(slope.shape, step)
        return Lines.without_kinks(
            slope, bar, noise, unknown, unknown.copy(), shortest, smooth=False
        )
