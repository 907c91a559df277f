"""The derivative of a function by every entry of its argument, each with an error bar.

Some entries of each array are measured thoroughly (`lines`): they tell how noisy the function is
and how much it bends. With that, one central difference is enough for the others; entries whose
values do not fit the picture, because there is a corner, an edge or more noise, are measured
thoroughly too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.derivatives.line_slopes import (
    BEND_SIGMAS,
    FIRST_STEP,
    FIRST_STEP_SINGLE,
    LAST_STEP,
    SIGMAS,
    Lines,
    measure_lines,
)
from fastbp.function.point import SINGLE_UNIT
from fastbp.typing import Indices, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.evaluation import Function


__all__ = [
    "Survey",
    "cheap_slopes",
    "first_step",
    "measure_again",
    "measure_entries",
    "measure_leaf",
    "power_of_two",
    "survey_leaf",
    "typical",
]

FEWEST_SAMPLES, MOST_SAMPLES = 4, 12
ENTRIES_PER_SAMPLE = 16
# An entry may be so much smaller than the typical one and still get steps of its own size.
SMALLEST_SCALE = 2.0**-16
# The steps of a single central difference, relative to the typical entry.
CHEAP_STEPS, CHEAP_STEPS_SINGLE = (2.0**-22, 2.0**-16), (2.0**-9, 2.0**-4)
# By which the steps of a second measurement are longer: no difference is taken twice.
INDEPENDENT = 2.0
# How much more an entry may bend than the sampled ones before it is looked at closely.
BEND_MARGIN, THIRD_MARGIN = 16.0, 8.0
# Entries between two looks at the progress: a twentieth of a second, within limits.
BATCH_SECONDS, SMALLEST_BATCH, LARGEST_BATCH = 0.05, 8, 1 << 14
THOROUGH_BATCH = 1 << 8  # entries, of some 24 evaluations


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the sampled entries of an array tell about the others.

    Attributes
    ----------
    noise : float
        Standard deviation of the noise in a value of f.
    curvature, third : float
        The largest |f''| and |f'''|, relative to the size of the entry: f'' x², f''' x³.
    typical : float
        The size of a typical entry, a power of two.
    step : float
        Of the cheap central difference, relative to the size of the entry; a power of two.
    """

    noise: float
    curvature: float
    third: float
    typical: float
    step: float


def first_step(function: Function) -> float:
    """Return the shortest step of a thorough measurement, relative to the entry."""
    return FIRST_STEP_SINGLE if function.unit == SINGLE_UNIT else FIRST_STEP


def power_of_two(values: Vector) -> Vector:
    """Round positive numbers to powers of two: such steps are exact."""
    nearest: Vector = np.exp2(np.round(np.log2(values)))
    return nearest


def typical(base: NDArray[np.floating]) -> float:
    """Return the root mean square of the entries as a power of two; 1 where they are all 0.

    Examples
    --------
    >>> typical(np.array([3.0, -4.0, 5.0])), typical(np.zeros(3))
    (4.0, 1.0)
    """
    finite = np.abs(base[np.isfinite(base)], dtype=np.float64)
    largest = float(np.max(finite, initial=0.0))
    if largest == 0:
        return 1.0
    size = largest * np.sqrt(np.mean((finite / largest) ** 2))
    return float(np.clip(power_of_two(np.array([size]))[0], 2.0**-500, 2.0**500))


def measure_leaf(
    function: Function, leaf: int, advance: Callable[[int], None], sparing: float = 1.0
) -> Lines:
    """Measure the slopes by all real numbers of one leaf.

    Parameters
    ----------
    function : Function
        What is differenced.
    leaf : int
        Which leaf of its argument.
    advance : callable
        Is told how many entries are done.
    sparing : float
        The share of the usual number of samples: less where there are many leaves.

    Returns
    -------
    Lines
    """
    size = function.point.base[leaf].size
    count = int(
        max(1, sparing * min(MOST_SAMPLES, max(FEWEST_SAMPLES, size // ENTRIES_PER_SAMPLE)))
    )
    sampled = _samples(function.point.base[leaf], count)
    lines = measure_entries(function, leaf, sampled)
    advance(sampled.size)
    rest = np.flatnonzero(~_mask(size, sampled))
    if rest.size == 0:
        return lines
    survey = survey_leaf(function, leaf, sampled, lines)
    everything = _empty_lines(size)
    everything = everything.replaced(_mask(size, sampled), lines)
    batch = _batch_size(function)
    doubtful = []
    for start in range(0, rest.size, batch):
        some = rest[start : start + batch]
        lines, doubt = cheap_slopes(function, leaf, some, survey)
        _put(everything, some, lines)
        doubtful.append(some[doubt])
        advance(int(np.count_nonzero(~doubt)))
    # Entries measured together share what is known of the noise: which ones may depend neither on
    # how long f takes nor on how many evaluate it.
    left = np.concatenate(doubtful)
    for start in range(0, left.size, THOROUGH_BATCH):
        some = left[start : start + THOROUGH_BATCH]
        _put(everything, some, measure_entries(function, leaf, some, survey.noise))
        advance(some.size)
    return everything


def _batch_size(function: Function) -> int:
    entries = function.concurrency * BATCH_SECONDS / max(function.seconds, 1e-9)
    return int(np.clip(entries, SMALLEST_BATCH * function.concurrency, LARGEST_BATCH))


def _samples(base: NDArray[np.floating], count: int) -> Indices:
    """Choose entries: the largest and the smallest, the others spread evenly."""
    if base.size <= count + 2:
        return np.arange(base.size)
    sizes = np.where(np.isfinite(base), np.abs(base), 0.0)
    spread = np.linspace(0, base.size - 1, count).astype(np.int64)
    return np.unique(np.concatenate([spread, [np.argmax(sizes), np.argmin(sizes)]]))


def survey_leaf(function: Function, leaf: int, sampled: Indices, lines: Lines) -> Survey:
    """Sum up what thoroughly measured entries tell about their leaf."""
    base = function.point.base[leaf]
    size = typical(base)
    scale = _sizes(base[sampled], size)
    single = function.unit == SINGLE_UNIT
    low, high = CHEAP_STEPS_SINGLE if single else CHEAP_STEPS
    noise = _largest(lines.noise)
    third = _largest(lines.third * scale**3)
    curvature = _largest(lines.curvature * scale**2)
    # Noise and what is cut off are equal at (3 noise / f''')^(1/3): a quarter of that leaves room
    # for entries that bend far more than the sampled ones.
    best = 0.25 * (3 * noise / third) ** (1 / 3) if third > 0 and noise > 0 else high
    step = float(power_of_two(np.array([np.clip(best, low, high)]))[0])
    return Survey(noise, curvature, third, size, step)


def _largest(values: Vector) -> float:
    return float(np.max(values, initial=0.0, where=np.isfinite(values)))


def _sizes(base: NDArray[np.floating], size: float) -> Vector:
    """Return the scale on which each entry may vary, a power of two."""
    entries = np.where(np.isfinite(base), np.abs(base), 0.0).astype(np.float64)
    return power_of_two(np.maximum(entries, size))


def cheap_slopes(
    function: Function, leaf: int, indices: Indices, survey: Survey
) -> tuple[Lines, NDArray[np.bool_]]:
    """Take one central difference for each entry, and tell which ones are in doubt.

    Returns
    -------
    lines : Lines
    doubtful : ndarray of bool
        Where the second difference is more than noise and the usual curvature explain (a corner,
        more noise, another scale), or where a value is not finite.
    """
    base = function.point.base[leaf][indices]
    scale = _sizes(base, survey.typical)
    above, below = _beside(base, survey.step * scale)
    with np.errstate(all="ignore"):
        twice = np.concatenate([indices, indices])
        both = function.perturbed(leaf, twice, np.concatenate([above, below]))
        up, down = both[: indices.size], both[indices.size :]
        width = above.astype(np.float64) - below
        half = width / 2
        slope = (up - down) / width
        rounding = SIGMAS * survey.noise / half
        # Entries of another size may bend as the sampled ones do, or as these relative to size.
        cut_off = THIRD_MARGIN * survey.third / survey.typical**3 / 6 * half**2
        error_bar = rounding + cut_off
        second = np.abs((up - function.value) - (function.value - down))
        if function.unit == SINGLE_UNIT:
            error_bar += _hidden_corners(second / half)
        usual = BEND_MARGIN * survey.curvature / survey.typical**2 * half**2
        doubtful = ~(second <= BEND_SIGMAS * survey.noise + usual) | ~np.isfinite(slope)
        doubtful |= cut_off > 4 * rounding
    same = np.full(slope.shape, np.nan)
    nowhere = np.zeros(slope.shape, dtype=bool)
    noise = np.full(slope.shape, survey.noise)
    lines = Lines(slope, error_bar, slope.copy(), slope.copy(), noise, same, same.copy(), nowhere)
    return lines, doubtful


def _hidden_corners(bends: Vector) -> Vector:
    """Return what corners within the smallest step may do to the slope: half of its bend.

    In float64 that step is so small that no corner is hit by chance; in float32 it is not, and
    many corners together look like curvature.
    """
    hidden: Vector = np.abs(bends) / 2
    return np.where(np.isfinite(hidden), hidden, 0.0)


def _beside(
    base: NDArray[np.floating], step: Vector
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the entries a step above and below, rounded to their own precision."""
    steps = step.astype(base.dtype)
    return base + steps, base - steps


def measure_entries(
    function: Function, leaf: int, indices: Indices, shared_noise: float = 0.0, shift: float = 1.0
) -> Lines:
    """Measure some entries thoroughly.

    Parameters
    ----------
    function : Function
        What is differenced.
    leaf : int
        Which leaf of its argument.
    indices : ndarray of int64, shape (n,)
        Which of its real numbers.
    shared_noise : float
        At least so much noise is in each value.
    shift : float
        A power of two by which all steps are longer: other ones give an independent result.
    """
    base = function.point.base[leaf][indices]
    size = typical(function.point.base[leaf])
    entries = np.where(np.isfinite(base), np.abs(base), 0.0).astype(np.float64)
    scale = power_of_two(np.maximum(entries, SMALLEST_SCALE * size))
    scale[entries == 0] = size
    lines = _measured_at(function, leaf, indices, shift * scale, shared_noise)
    # Near the edge of a domain a step of the typical size is too long for a tiny entry.
    tiny = ~np.isfinite(lines.error_bar) & (entries > 0) & (entries < scale)
    if tiny.any():
        own = power_of_two(entries[tiny])
        again = _measured_at(function, leaf, indices[tiny], shift * own, shared_noise)
        lines = lines.replaced(tiny, again)
    return lines


def _measured_at(
    function: Function, leaf: int, indices: Indices, scale: Vector, shared_noise: float
) -> Lines:
    base = function.point.base[leaf][indices]
    size = typical(function.point.base[leaf])

    def evaluate(which: Indices, steps: Vector) -> tuple[Vector, Vector]:
        entries = base[which] + steps.astype(base.dtype)
        realised = entries.astype(np.float64) - base[which]
        return realised, function.perturbed(leaf, indices[which], entries)

    return measure_lines(
        evaluate,
        np.full(indices.size, function.value),
        first_step(function) * scale,
        LAST_STEP * np.maximum(scale, size),
        function.unit,
        shared_noise,
        size=np.abs(base, dtype=np.float64),
    )


def measure_again(function: Function, leaf: int, indices: Indices, former: Lines) -> Lines:
    """Measure entries with other steps, and let the two results correct each other.

    The one with the smaller error bar stays; where the two contradict each other, its bar is
    widened by as much as they are apart. A single central difference is given up for a thorough
    measurement, and for a second one where that contradicts it or is less certain.
    """
    noise = _usual_noise(former)
    fresh = measure_entries(function, leaf, indices, noise, shift=INDEPENDENT)
    # Tables of values in float32 may show too little noise; a bar that rests on it is too narrow.
    if function.unit == SINGLE_UNIT and 0 < noise < _usual_noise(fresh):
        former = replace(former, error_bar=former.error_bar * (_usual_noise(fresh) / noise))
    cheap = np.isnan(former.third) & ~former.corner
    refuted = _contradiction(fresh, former) > 0
    refuted |= ~(fresh.error_bar + fresh.hull <= former.error_bar + former.hull)
    refuted &= cheap
    if refuted.any():
        thorough = measure_entries(function, leaf, indices[refuted], noise)
        former, cheap = former.replaced(refuted, thorough), cheap & ~refuted
    contradiction = _contradiction(fresh, former)
    with np.errstate(invalid="ignore"):
        better = cheap | ~(former.error_bar + former.hull <= fresh.error_bar + fresh.hull)
    chosen = former.replaced(better, fresh.only(better))
    chosen.error_bar[:] += contradiction
    return chosen


def _usual_noise(lines: Lines) -> float:
    known = lines.noise[np.isfinite(lines.noise)]
    return float(np.median(known)) if known.size else 0.0


def _contradiction(fresh: Lines, former: Lines) -> Vector:
    """How far two measurements are apart where their bars do not meet; 0 where they do."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(fresh.slope - former.slope)
        allowed = fresh.error_bar + fresh.hull + former.error_bar + former.hull
        return np.where(apart > allowed, apart, 0.0)


def _empty_lines(size: int) -> Lines:
    slope, left, right, noise, curvature, third = np.full((6, size), np.nan)
    nowhere = np.zeros(size, dtype=bool)
    return Lines(slope, np.full(size, np.inf), left, right, noise, curvature, third, nowhere)


def _mask(size: int, indices: Indices) -> NDArray[np.bool_]:
    mask = np.zeros(size, dtype=bool)
    mask[indices] = True
    return mask


def _put(everything: Lines, indices: Indices, lines: Lines) -> None:
    """Write lines to their places."""
    for name in Lines.__dataclass_fields__:
        getattr(everything, name)[indices] = getattr(lines, name)
