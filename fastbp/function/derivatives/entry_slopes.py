"""The derivative of a function by every entry of its argument, each with an error bar.

Some entries of each array are measured thoroughly (`lines`): they tell how noisy the function is
and how much it bends. With that, one central difference is enough for the others; entries whose
values do not fit the picture, because there is a kink, an edge or more noise, are measured
thoroughly too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.containers.point import SINGLE_UNIT
from fastbp.function.derivatives.climb import BEND_SIGMAS
from fastbp.function.derivatives.line_slopes import (
    FIRST_STEP,
    FIRST_STEP_SINGLE,
    LAST_STEP,
    measure_lines,
)
from fastbp.function.derivatives.lines import Lines
from fastbp.function.derivatives.noise.last_digits import has_few_digits, hidden_slope
from fastbp.function.derivatives.smooth_slopes import Smoothness, by_four_values, by_table
from fastbp.function.derivatives.step_choice import SIGMAS
from fastbp.typing import Indices, Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.derivatives.lines import Evaluate
    from fastbp.function.evaluation import Function


__all__ = [
    "Survey",
    "bar_of_few_digits",
    "beside",
    "cheap_slopes",
    "entry_sizes",
    "evaluation_of",
    "expected_evaluations",
    "first_step",
    "is_spread",
    "least_bar",
    "may_be_smooth",
    "measure_by_table",
    "measure_entries",
    "measure_leaf",
    "measure_where_steps_hid",
    "power_of_two",
    "sampled_entries",
    "smaller_scale_first",
    "survey_leaf",
    "tiny_entries",
    "typical",
    "usual_samples",
    "wide_if_digits_are_few",
]

FEWEST_SAMPLES, MOST_SAMPLES = 4, 12
ENTRIES_PER_SAMPLE = 16
# An entry that is so much smaller than the typical one is measured with steps of its own size too.
SMALLEST_SCALE = 2.0**-16
# What is smaller counts as that: steps are down to 2**-48 of it, and denormal ones would be 0.
SMALLEST_SIZE = 2.0**-970
# Where more than so many are so small, each entry gets steps of its own size.
SPREAD_SHARE = 0.01
# Steps that are no powers of two, so that the rounding of an argument within f shows. After steps
# that it represents exactly that would be the same everywhere, and after multiples of nearly such a
# step it would grow in proportion. The Thue-Morse sequence has no three equal digits in a row: of
# these steps any binary rounding leaves a sixth or more.
UNEVEN = 1.0 + 0.41245403364010759
# The steps of a single central difference, relative to the typical entry; where f takes steps or
# varies fast they may be longer or shorter.
CHEAP_STEPS, CHEAP_STEPS_SINGLE = (2.0**-22, 2.0**-16), (2.0**-9, 2.0**-4)
SHORTEST_STEP = 2.0**-44
# In so much noise, relative to the rounding of f, they may be as long as that.
VERY_MUCH_NOISE, LONGEST_STEP_IN_NOISE = 64.0, 2.0**-8
# What noise a table shows at least, of that which steps of f make, where it does not miss them, and
# what its shortest step counts as then: as one that passes steps.
LEAST_OF_QUANTUM, ROUGHER = 1.0 / 16, 4.0
# How much more an entry may bend than the sampled ones before it is looked at closely.
BEND_MARGIN, THIRD_MARGIN = 16.0, 8.0
# Left and right slopes of a cheap difference are no farther apart, relative to the slope.
LARGEST_BEND = 2.0**-7
# Entries between two looks at the progress: a twentieth of a second, within limits.
BATCH_SECONDS, SMALLEST_BATCH, LARGEST_BATCH = 0.05, 8, 1 << 14
THOROUGH_BATCH = 1 << 8  # entries, of some 24 evaluations
# Evaluations for each sampled entry of a smooth function, and for each other one.
SMOOTH, CHEAP = 4, 2


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
    coarse : bool
        Whether that is so long that kinks within it are nothing unusual.
    own_sizes : bool
        Whether the entries are so far apart that each has a size of its own.
    """

    noise: float
    curvature: float
    third: float
    typical: float
    step: float
    coarse: bool
    own_sizes: bool


def first_step(function: Function) -> float:
    """Return the shortest step of a thorough measurement, relative to the entry."""
    return FIRST_STEP_SINGLE if function.unit == SINGLE_UNIT else FIRST_STEP


def power_of_two(values: Vector) -> Vector:
    """Round positive sizes to powers of two, at least `SMALLEST_SIZE`: such steps are exact."""
    nearest: Vector = np.exp2(np.round(np.log2(np.maximum(values, SMALLEST_SIZE))))
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
    function: Function,
    leaf: int,
    smoothness: Smoothness,
    sparing: float,
    everything: Lines,
) -> None:
    """Measure the slopes by all real numbers of one leaf.

    Parameters
    ----------
    function : Function
        What is differenced.
    leaf : int
        Which leaf of its argument.
    smoothness : Smoothness
        What other leaves have told; learns from this one.
    sparing : float
        The share of the usual number of samples: less where there are many leaves.
    everything : Lines
        Unknown; takes what is measured. Entries that are not chosen stay as they are, and where
        the account closes on the way, what was not measured by then.
    """
    size = function.point.base[leaf].size
    chosen = function.chosen
    wanted = np.flatnonzero(chosen.masks[leaf]) if chosen is not None else np.arange(size)
    if chosen is not None and wanted.size == 0:
        return
    count = _samples(wanted.size, sparing)
    sampled = wanted[sampled_entries(function.point.base[leaf][wanted], count)]
    lines = _in_few_evaluations(function, leaf, sampled, smoothness)
    lines = measure_where_steps_hid(function, leaf, lines, sampled)
    everything.put(sampled, lines)
    rest = np.setdiff1d(wanted, sampled)
    if rest.size == 0:
        return
    survey = survey_leaf(function, leaf, sampled, lines)
    batch = _batch_size(function)
    doubtful = []
    if not survey.own_sizes:  # the steps of the others are too long for tiny entries
        doubtful.append(np.intersect1d(tiny_entries(function.point.base[leaf]), rest))
        rest = np.setdiff1d(rest, doubtful[0])
    for start in range(0, rest.size, batch):
        some = rest[start : start + batch]
        lines, doubt = cheap_slopes(function, leaf, some, survey)
        everything.put(some[~doubt], lines.only(~doubt))
        doubtful.append(some[doubt])
    # Entries measured together share what is known of the noise: which ones may depend neither on
    # how long f takes nor on how many evaluate it.
    left = np.concatenate([*doubtful, rest[:0]])
    for start in range(0, left.size, THOROUGH_BATCH):
        some = left[start : start + THOROUGH_BATCH]
        everything.put(some, measure_entries(function, leaf, some, survey.noise))


def measure_where_steps_hid(
    function: Function, leaf: int, lines: Lines, indices: Indices | None = None
) -> Lines:
    """Measure the entries anew that did not show the steps that f was found to take elsewhere."""
    if indices is None:
        indices = np.arange(lines.slope.size)
    finite = np.isfinite(function.point.base[leaf][indices])
    hid = np.flatnonzero(finite & (lines.noise < LEAST_OF_QUANTUM * function.quantum))
    for start in range(0, hid.size, THOROUGH_BATCH):
        some = hid[start : start + THOROUGH_BATCH]
        lines.put(some, measure_entries(function, leaf, indices[some]))
    return lines


def wide_if_digits_are_few(
    function: Function, leaf: int, lines: Lines, indices: Indices | None = None
) -> Lines:
    """Widen the error bars where f was constant at every step, or has few digits."""
    if not hides_slopes(function):
        return lines
    if indices is None:
        indices = np.arange(lines.slope.size)
    base = function.point.base[leaf]
    size = entry_sizes(function, leaf, indices, typical(base), own_sizes=is_spread(base))
    bar = bar_of_few_digits(function.value, function.unit, size)
    least = np.where(np.isfinite(base[indices]), bar, 0.0)
    return replace(lines, error_bar=np.fmax(lines.error_bar, least))


def hides_slopes(function: Function) -> bool:
    """Tell whether f may change by less than its values show.

    They are the same at every step, or all of few digits.
    """
    return not function.varies or all(map(has_few_digits, function.first_values))


def least_bar(function: Function, size: Vector) -> Vector:
    """Return what slopes the digits of f may hide; `size` is of what moves."""
    if not hides_slopes(function):
        return np.zeros(size.shape)
    return bar_of_few_digits(function.value, function.unit, size)


def bar_of_few_digits(value: float, unit: float, size: Vector) -> Vector:
    """Return what slopes may be where the digits of f hide all steps, up to the longest one."""
    return hidden_slope(value, unit, size, LAST_STEP * size)


def _in_few_evaluations(
    function: Function, leaf: int, indices: Indices, smoothness: Smoothness
) -> Lines:
    """Measure some entries by few values where f is smooth, and thoroughly where it is not."""
    lines, left = Lines.unknown(indices.size), np.ones(indices.size, dtype=bool)
    entries = np.abs(function.point.base[leaf][indices], dtype=np.float64)
    waiting = np.flatnonzero(may_be_smooth(function, leaf, indices))
    waiting = waiting[np.argsort(-entries[waiting], kind="stable")]
    while waiting.size and not smoothness.hopeless:
        if smoothness.known and not function.quantum:
            found, doubtful = _by_four_values(function, leaf, indices[waiting], smoothness)
            lines.put(waiting, found)
            left[waiting] = doubtful
            some, waiting = waiting[doubtful], waiting[:0]
            if some.size == 0:
                break
        else:
            # The first alone: what is learnt from it is no doubt about the others.
            wanted = max(1, smoothness.wanted - smoothness.learnt) if smoothness.learnt else 1
            some, waiting = waiting[:wanted], waiting[wanted:]
        found, doubtful = measure_by_table(function, leaf, indices[some], smoothness)
        lines.put(some, found)
        left[some] = doubtful
        if doubtful.any() and smoothness.in_doubt == 1 and not smoothness.learnt:
            # What looks like a kink may be more noise than that of rounding. If it is none, the
            # others are measured together, in the end.
            some = some[doubtful]
            found = measure_entries(function, leaf, indices[some])
            lines.put(some, found)
            left[some] = False
            usual = ~found.kink & np.isfinite(found.noise) & ~_is_fine(function, leaf, some, found)
            smoothness.noise = max(smoothness.noise, np.max(found.noise, where=usual, initial=0.0))
    if left.any():
        thorough = measure_entries(function, leaf, indices[left], smoothness.noise)
        lines.put(np.flatnonzero(left), thorough)
    return lines


def _is_fine(function: Function, leaf: int, indices: Indices, lines: Lines) -> NDArray[np.bool_]:
    """Tell which entries were measured by far shorter steps than usual.

    Along them f varies fast. Where a table of others, with longer steps, meets nearly whole periods
    of it, that looks like as much noise.
    """
    base = function.point.base[leaf]
    scale = entry_sizes(function, leaf, indices, typical(base), own_sizes=is_spread(base))
    fine: NDArray[np.bool_] = lines.shortest < first_step(function) * scale / 2
    return fine


def may_be_smooth(function: Function, leaf: int, indices: Indices) -> NDArray[np.bool_]:
    """Tell which entries a table may do for; tiny ones are measured on two scales."""
    if function.unit == SINGLE_UNIT or not np.isfinite(function.value):
        return np.zeros(indices.size, dtype=bool)
    base = function.point.base[leaf]
    easy: NDArray[np.bool_] = np.isfinite(base[indices])
    if function.domain.scale(leaf) is None:
        easy &= ~np.isin(indices, tiny_entries(base))
    return easy


def measure_by_table(
    function: Function, leaf: int, indices: Indices, smoothness: Smoothness, shift: float = 1.0
) -> tuple[Lines, NDArray[np.bool_]]:
    """Measure entries as `by_table` does, on the scale of each, or one that is longer."""
    size = typical(function.point.base[leaf])
    scale = entry_sizes(function, leaf, indices, size, own_sizes=True)
    smoothness.noise = max(smoothness.noise, function.quantum)
    lines, doubtful = by_table(
        *_as_lines(function, leaf, indices, shift * scale),
        smoothness,
        least_noise=LEAST_OF_QUANTUM * function.quantum,
    )
    shortest = first_step(function) * scale * (ROUGHER if function.quantum else 1.0)
    return replace(lines, shortest=shortest), doubtful


def _by_four_values(
    function: Function, leaf: int, indices: Indices, smoothness: Smoothness
) -> tuple[Lines, NDArray[np.bool_]]:
    """Measure entries as `by_four_values` does; the first along which f is constant is doubtful."""
    base = function.point.base[leaf]
    scale = entry_sizes(function, leaf, indices, typical(base), own_sizes=is_spread(base))
    lines, doubtful = by_four_values(*_as_lines(function, leaf, indices, scale), smoothness)
    doubtful[np.flatnonzero(lines.slope == 0.0)[:1]] = True
    return replace(lines, shortest=first_step(function) * scale), doubtful


def _as_lines(
    function: Function, leaf: int, indices: Indices, scale: Vector
) -> tuple[Evaluate, Vector, Vector, Vector, Vector, float]:
    """Return the evaluation of f with one of these entries displaced, and what to know of it.

    The value of f, the scale, the longest step and the size of each, and the unit of f.
    """
    base = function.point.base[leaf]
    longest = scale
    if function.domain.scale(leaf) is None:
        longest = np.maximum(scale, typical(base))
    size = np.abs(base[indices], dtype=np.float64)
    value = np.full(indices.size, function.value)
    evaluate = evaluation_of(function, leaf, indices)
    return evaluate, value, UNEVEN * scale, UNEVEN * LAST_STEP * longest, size, function.unit


def evaluation_of(function: Function, leaf: int, indices: Indices) -> Evaluate:
    """Return the evaluation of f with one of these entries displaced."""
    base = function.point.base[leaf][indices]

    def evaluate(which: Indices, steps: Vector) -> tuple[Vector, Vector]:
        entries = base[which] + steps.astype(base.dtype)
        realised = entries.astype(np.float64) - base[which]
        return realised, function.with_entries(leaf, indices[which], entries)

    return evaluate


def _batch_size(function: Function) -> int:
    entries = function.concurrency * BATCH_SECONDS / max(function.seconds, 1e-9)
    return int(np.clip(entries, SMALLEST_BATCH * function.concurrency, LARGEST_BATCH))


def expected_evaluations(entries: int, sparing: float) -> int:
    """Return how many evaluations the entries of a leaf take, about, where f is smooth."""
    sampled = min(entries, _samples(entries, sparing))
    return SMOOTH * sampled + CHEAP * (entries - sampled)


def _samples(entries: int, sparing: float) -> int:
    return int(max(1, sparing * usual_samples(entries)))


def usual_samples(entries: int) -> int:
    """Return how many of so many entries are measured thoroughly."""
    return int(np.clip(entries // ENTRIES_PER_SAMPLE, FEWEST_SAMPLES, MOST_SAMPLES))


def sampled_entries(base: NDArray[np.floating], count: int) -> Indices:
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
    own_sizes = is_spread(base)
    scale = entry_sizes(function, leaf, sampled, size, own_sizes=own_sizes)
    rough = lines.shortest > 2 * first_step(function) * scale
    fine = _is_fine(function, leaf, sampled, lines)
    coarse = function.unit == SINGLE_UNIT or bool(rough.any())
    low, high = CHEAP_STEPS_SINGLE if coarse else CHEAP_STEPS
    if fine.any() and not coarse:
        low = SHORTEST_STEP
    noise = _largest(lines.noise)
    if not coarse and noise > VERY_MUCH_NOISE * function.unit * abs(function.value):
        high = LONGEST_STEP_IN_NOISE
    with np.errstate(over="ignore", invalid="ignore"):
        third = _largest(lines.third * scale * scale * scale)
        curvature = _largest(lines.curvature * scale * scale)
    # Noise and what is cut off are equal at (3 noise / f''')^(1/3): a quarter of that leaves room
    # for entries that bend far more than the sampled ones.
    best = 0.25 * (3 * noise / third) ** (1 / 3) if third > 0 and noise > 0 else high
    step = float(power_of_two(np.array([np.clip(best, low, high)]))[0])
    return Survey(noise, curvature, third, size, step, coarse, own_sizes)


def is_spread(base: NDArray[np.floating]) -> bool:
    """Tell whether entries are so far apart that no step fits them all; zeros do not count.

    A few tiny ones among many, as of a million normal random numbers, do not make it so.
    """
    nonzero = np.count_nonzero(np.isfinite(base) & (base != 0))
    return bool(tiny_entries(base).size > SPREAD_SHARE * nonzero)


def tiny_entries(base: NDArray[np.floating]) -> Indices:
    """Return the entries that are tiny beside the typical one, but not 0."""
    with np.errstate(invalid="ignore"):
        sizes = np.abs(base)
        return np.flatnonzero((sizes > 0) & (sizes < SMALLEST_SCALE * typical(base)))


def _largest(values: Vector) -> float:
    return float(np.max(values, initial=0.0, where=np.isfinite(values)))


def entry_sizes(
    function: Function, leaf: int, indices: Indices, size: float, *, own_sizes: bool
) -> Vector:
    """Return the scale on which each entry may vary, a power of two."""
    scale = function.domain.scale(leaf)
    if scale is not None:
        sizes = scale[indices]
    else:
        base = function.point.base[leaf][indices]
        entries = np.where(np.isfinite(base), np.abs(base), 0.0).astype(np.float64)
        sizes = np.where(entries > 0, entries, size) if own_sizes else np.maximum(entries, size)
    return power_of_two(sizes)


def cheap_slopes(
    function: Function, leaf: int, indices: Indices, survey: Survey
) -> tuple[Lines, NDArray[np.bool_]]:
    """Take one central difference for each entry, and tell which ones are in doubt.

    Returns
    -------
    lines : Lines
    doubtful : ndarray of bool
        Where the second difference is more than noise and the usual curvature explain (a kink,
        more noise, another scale), or where a value is not finite.
    """
    base = function.point.base[leaf][indices]
    scale = entry_sizes(function, leaf, indices, survey.typical, own_sizes=survey.own_sizes)
    # What the sampled entries tell is relative to the size of each, or to the typical one.
    size = scale if survey.own_sizes or function.domain.scale(leaf) is not None else survey.typical
    above, below = beside(base, survey.step * scale)
    with np.errstate(all="ignore"):
        twice = np.concatenate([indices, indices])
        both = function.with_entries(leaf, twice, np.concatenate([above, below]))
        up, down = both[: indices.size], both[indices.size :]
        width = above.astype(np.float64) - below
        half = width / 2
        slope = (up - down) / width
        rounding = SIGMAS * survey.noise / half
        # Entries of another size may bend as the sampled ones do, or as these relative to size.
        cut_off = THIRD_MARGIN * survey.third / 6 * (half / size) ** 2 / size
        error_bar = rounding + cut_off
        second = np.abs((up - function.value) - (function.value - down))
        if survey.coarse:
            error_bar += _hidden_kinks(second / half)
        usual = BEND_MARGIN * survey.curvature * (half / size) ** 2
        doubtful = ~(second <= BEND_SIGMAS * survey.noise + usual) | ~np.isfinite(slope)
        doubtful |= cut_off > 4 * rounding
        if not survey.coarse:  # some of the sampled entries may bend far more than others
            resolved = second > BEND_SIGMAS * survey.noise
            doubtful |= resolved & (second / half > LARGEST_BEND * np.abs(slope))
    fixed = ~np.isfinite(base)
    slope[fixed], error_bar[fixed], doubtful[fixed] = 0.0, 0.0, False
    unknown = np.full(slope.shape, np.nan)
    noise = np.full(slope.shape, survey.noise)
    lines = Lines.without_kinks(
        slope, error_bar, noise, unknown, unknown.copy(), half, smooth=False
    )
    return lines, doubtful


def _hidden_kinks(bends: Vector) -> Vector:
    """Return what kinks within the smallest step may do to the slope: half of its bend.

    In float64 that step is so small that no kink is hit by chance; in float32 it is not, and
    many kinks together look like curvature.
    """
    hidden: Vector = np.abs(bends) / 2
    return np.where(np.isfinite(hidden), hidden, 0.0)


def beside(
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
    finite = np.isfinite(base)
    lines = _held_fixed(indices.size)
    if not finite.any():
        return lines
    size = typical(function.point.base[leaf])
    entries = np.where(finite, np.abs(base), size).astype(np.float64)
    own = power_of_two(np.where(entries > 0, entries, size))
    tiny = finite & (own < SMALLEST_SCALE * size)
    scale = np.maximum(own, SMALLEST_SCALE * size)
    longest = LAST_STEP * np.maximum(scale, size)
    if function.domain.scale(leaf) is not None:
        tiny[:] = False
        scale = entry_sizes(function, leaf, indices, size, own_sizes=True)
        longest = LAST_STEP * scale
    shared_noise = max(shared_noise, function.quantum)
    scale, longest = shift * UNEVEN * scale, UNEVEN * longest
    # The values of tiny entries after long steps say nothing about the noise of the others.
    for part in (finite & ~tiny, tiny):
        if part.any():
            measured = _measured_at(
                function, leaf, indices[part], scale[part], longest[part], shared_noise
            )
            lines = lines.replaced(part, measured)
    if tiny.any():
        # A function of 1e-12 may vary on that scale: what steps of the typical size say counts
        # where it agrees.
        own *= shift * UNEVEN
        again = _measured_at(
            function, leaf, indices[tiny], own[tiny], LAST_STEP * own[tiny], shared_noise
        )
        lines = lines.replaced(tiny, smaller_scale_first(again, lines.only(tiny)))
    function.learn_steps(lines.noise[lines.shortest > 2 * first_step(function) * scale])
    for place in np.flatnonzero(~np.isfinite(lines.error_bar))[:1].tolist():
        step = first_step(function) * float(scale[place])
        function.raise_if_it_raised(leaf, int(indices[place]), step)
    return lines


def _held_fixed(count: int) -> Lines:
    """Return what is known of infinite entries: no step moves them."""
    zero = np.zeros(count)
    return Lines.without_kinks(zero, zero, zero, zero, zero, zero, smooth=False)


def smaller_scale_first(own: Lines, longer: Lines) -> Lines:
    """Return the measurements at the scale of the entries; longer steps where these agree."""
    with np.errstate(invalid="ignore"):
        agree = np.abs(own.slope - longer.slope) <= (
            own.error_bar + own.hull + longer.error_bar + longer.hull
        )
        better = agree & (longer.error_bar + longer.hull < own.error_bar + own.hull)
    return own.replaced(better, longer.only(better))


def _measured_at(
    function: Function,
    leaf: int,
    indices: Indices,
    scale: Vector,
    longest: Vector,
    shared_noise: float,
) -> Lines:
    base = function.point.base[leaf][indices]

    return measure_lines(
        evaluation_of(function, leaf, indices),
        np.full(indices.size, function.value),
        first_step(function) * scale,
        longest,
        function.unit,
        shared_noise,
        size=np.abs(base, dtype=np.float64),
        one_entry=True,
    )
