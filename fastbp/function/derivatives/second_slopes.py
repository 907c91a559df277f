"""A second measurement of entries, and one estimate of both: before an entry is called wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.containers.point import SINGLE_UNIT
from fastbp.function.derivatives.entry_slopes import (
    UNEVEN,
    beside,
    entry_sizes,
    may_be_smooth,
    measure_by_table,
    measure_entries,
    measure_where_steps_hid,
    typical,
    wide_if_digits_are_few,
)
from fastbp.function.derivatives.lines import Lines
from fastbp.function.derivatives.noise.distant_jumps import find_distant_jumps
from fastbp.function.derivatives.noise.hidden_noise import ROUNDING_OF_STEPS
from fastbp.function.derivatives.smooth_slopes import Smoothness
from fastbp.typing import Indices, Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.evaluation import Function

__all__ = [
    "INDEPENDENT",
    "allow_for_rounded_entries",
    "learn_distant_jumps",
    "measure_again",
    "measure_among_jumps",
    "measure_unlucky_again",
]

# By which the steps of a second measurement are longer: no difference is taken twice.
INDEPENDENT = 2.0
# The error bars of two thorough measurements of one entry are no farther apart than that.
DISAGREEMENT = 16.0
# Directions along which distant jumps are looked for in a check, and evaluations for each.
MOST_SEARCHES, MOST_EVALUATIONS = 2, 300
# By how much longer than usual the steps are that pass them.
AMONG_JUMPS = 2.0**13
# Where f is noisy, entries whose bars are so many times the usual one are measured again, so often:
# of 120 sums of 8 squares in noise of 1e-8 the largest bar was 100 times the usual one in 7.
UNLUCKY, TIMES = 16.0, 3
# What rounded entries may do to a derivative is no more than this part of it.
MOST_OF_ROUNDED = 2.0**-24


def measure_again(function: Function, leaf: int, indices: Indices, former: Lines) -> Lines:
    """Measure entries with other steps, and make one estimate of both measurements.

    An error bar stays, or gets smaller, unless the second measurement shows that it was wrong.
    Where f is smooth, that is a table of values; elsewhere a thorough measurement.
    """
    fresh, doubtful = _tabled_again(function, leaf, indices, former)
    doubtful |= _contradiction(fresh, former) > 0
    with np.errstate(invalid="ignore"):
        better = ~(former.error_bar + former.hull <= fresh.error_bar)  # a table tells of no kinks
    chosen = former.replaced(better, fresh.only(better))
    if doubtful.any():
        thorough = _thoroughly_again(function, leaf, indices[doubtful], former.only(doubtful))
        chosen = chosen.replaced(doubtful, thorough)
    # Some entries may have shown that f takes steps, and others lie between two of these.
    chosen = measure_where_steps_hid(function, leaf, chosen, indices)
    return wide_if_digits_are_few(function, leaf, chosen, indices)


def measure_unlucky_again(function: Function, leaf: int, chosen: Indices, lines: Lines) -> Lines:
    """Measure entries anew whose bars stand out, where two values of f at one point differ.

    Noise in one short difference may seem to refute all the longer ones. The next time it is
    another.
    """
    for _ in range(TIMES if function.is_noisy and chosen.size else 0):
        bars = lines.error_bar[chosen]
        with np.errstate(invalid="ignore"):
            stands_out = bars > UNLUCKY * np.median(bars)
        unlucky = chosen[stands_out & np.isfinite(bars) & ~lines.kink[chosen]]
        if unlucky.size == 0:
            break
        again = measure_again(function, leaf, unlucky, lines.only(unlucky))
        lines = lines.replaced(unlucky, again)
    return lines


def _tabled_again(
    function: Function, leaf: int, indices: Indices, former: Lines
) -> tuple[Lines, NDArray[np.bool_]]:
    """Measure by a table, with longer steps than before, where that is possible."""
    easy = may_be_smooth(function, leaf, indices)
    lines, doubtful = Lines.unknown(indices.size), np.ones(indices.size, dtype=bool)
    if easy.any():
        known = Smoothness(wanted=0, noise=_usual_noise(former))
        found, doubtful[easy] = measure_by_table(function, leaf, indices[easy], known, INDEPENDENT)
        lines.put(np.flatnonzero(easy), found)
    return lines, doubtful


def _thoroughly_again(function: Function, leaf: int, indices: Indices, former: Lines) -> Lines:
    """Measure entries thoroughly, and let the two results correct each other.

    The one with the smaller error bar stays; where the two contradict each other, its bar is
    widened by as much as they are apart. A single central difference is given up where that
    happens, or where the thorough measurement is less certain and others do not confirm it.
    """
    noise = _usual_noise(former)
    fresh = measure_entries(function, leaf, indices, noise, shift=INDEPENDENT)
    # Tables of values in float32 may show too little noise; a bar that rests on it is too narrow.
    coarse = function.unit == SINGLE_UNIT or function.quantum > 0
    if coarse and 0 < noise < _usual_noise(fresh):
        former = replace(former, error_bar=former.error_bar * (_usual_noise(fresh) / noise))
    cheap = np.isnan(former.third) & ~former.kink
    refuted = _contradiction(fresh, former) > 0
    unsure = cheap & ~refuted & ~(fresh.error_bar + fresh.hull <= former.error_bar)
    if unsure.any():
        refuted[unsure] = ~_confirmed(function, leaf, indices[unsure], former.only(unsure))
    refuted &= cheap
    if refuted.any():
        thorough = measure_entries(function, leaf, indices[refuted], noise)
        former, cheap = former.replaced(refuted, thorough), cheap & ~refuted
    contradiction = _contradiction(fresh, former)
    with np.errstate(invalid="ignore"):
        better = ~(former.error_bar + former.hull <= fresh.error_bar + fresh.hull)
    better |= cheap & ~unsure
    chosen = former.replaced(better, fresh.only(better))
    # Two steps may agree by accident: where the other measurement is far less certain, that counts.
    # A bar that rests on more than these is no accident, and stays as `numerical_gradient` has it.
    by_pair = ~cheap & ~chosen.smooth
    other = np.where(by_pair, np.fmax(former.error_bar, fresh.error_bar), 0.0) / DISAGREEMENT
    other = np.where(np.isfinite(other), other, 0.0)
    far = np.flatnonzero(other > chosen.error_bar)
    if far.size:  # unless a third one says the same
        third = measure_entries(function, leaf, indices[far], noise, shift=INDEPENDENT**2)
        agrees = np.abs(third.slope - chosen.slope[far]) <= chosen.error_bar[far]
        other[far[agrees]] = 0.0
    chosen.error_bar[:] = np.fmax(chosen.error_bar, other)
    chosen.error_bar[:] += contradiction
    return chosen


def _confirmed(function: Function, leaf: int, indices: Indices, former: Lines) -> NDArray[np.bool_]:
    """Tell where central differences over half and twice the step are within the error bar."""
    base = function.point.base[leaf][indices]
    confirmed = np.ones(indices.size, dtype=bool)
    for factor in (1 / INDEPENDENT, INDEPENDENT):
        above, below = beside(base, factor * former.shortest)
        up = function.with_entries(leaf, indices, above)
        down = function.with_entries(leaf, indices, below)
        with np.errstate(all="ignore"):
            slope = (up - down) / (above.astype(np.float64) - below)
            confirmed &= np.abs(slope - former.slope) <= former.error_bar
    return confirmed


def _usual_noise(lines: Lines) -> float:
    known = lines.noise[np.isfinite(lines.noise)]
    return float(np.median(known)) if known.size else 0.0


def _contradiction(fresh: Lines, former: Lines) -> Vector:
    """How far two measurements are apart where their bars do not meet; 0 where they do."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(fresh.slope - former.slope)
        allowed = fresh.error_bar + fresh.hull + former.error_bar + former.hull
        return np.where(apart > allowed, apart, 0.0)


def learn_distant_jumps(
    function: Function, leaf: int, given: NDArray[np.floating], noise: float
) -> bool:
    """Look for jumps of f, far from the point and low, as solvers make them; tell whether it has.

    They are noise of all values then. Twice in a check at most, unless that leaves it too little.
    """
    rough = function.quantum > 0 or function.unit == SINGLE_UNIT
    while not rough and function.searches < MOST_SEARCHES:
        if function.account.evaluations_left < MOST_EVALUATIONS:
            break
        direction = _everything(function, leaf, given, function.searches)
        function.searches += 1

        def along(steps: Vector, direction: NDArray[np.floating] = direction) -> Vector:
            return function.along(leaf, direction, steps.tolist(), slice(None))

        jumps = find_distant_jumps(along, function.value, noise, function.unit)
        if jumps is not None:
            function.learn_steps(np.array([ROUNDING_OF_STEPS * jumps.height]))
            function.learn_jumps(leaf, jumps.height, UNEVEN * jumps.distance)
            return True
        if np.count_nonzero(direction) <= 1:  # any other one is the same
            break
    return False


def _everything(
    function: Function, leaf: int, given: NDArray[np.floating], search: int
) -> NDArray[np.floating]:
    """Return a direction in which all entries move by their size: so that f rises, then at random.

    The iterations of a solver may be as many for all multiples of its argument.
    """
    base = function.point.base[leaf]
    size = entry_sizes(function, leaf, np.arange(base.size), typical(base), own_sizes=True)
    moved = np.isfinite(base)
    if function.chosen is not None:
        moved &= function.chosen.masks[leaf]
    signs = np.where(given < 0, -1.0, 1.0)
    if search:
        signs = np.random.default_rng(search).choice([-1.0, 1.0], base.size)
    return np.where(moved, UNEVEN * size * signs, 0.0).astype(base.dtype)


def measure_among_jumps(function: Function, leaf: int, indices: Indices, lines: Lines) -> Lines:
    """Measure entries by steps that may pass the jumps of f, each value with their noise."""
    found = measure_entries(function, leaf, indices, shift=AMONG_JUMPS)
    return lines.replaced(np.isfinite(found.error_bar), found.only(np.isfinite(found.error_bar)))


def allow_for_rounded_entries(
    function: Function, leaf: int, indices: Indices, lines: Lines
) -> Lines:
    """Widen the error bars by what derivatives change if their entry is rounded.

    A difference of nearly equal numbers within f, as x - mean(x), is off by as much: u |x| f'',
    with half a unit in the last place u. It is next to nothing but where f'' x is thousands of
    times f'. In single precision the tolerance holds it.
    """
    if function.unit == SINGLE_UNIT or function.quantum:
        return lines
    entries = np.abs(function.point.base[leaf][indices], dtype=np.float64)
    with np.errstate(all="ignore"):
        rounding = np.minimum(
            function.unit * entries * lines.curvature, MOST_OF_ROUNDED * np.abs(lines.slope)
        )
    known = np.isfinite(rounding) & np.isfinite(lines.curvature)  # that of log overflows at 1e-200
    return replace(lines, error_bar=lines.error_bar + np.where(known, rounding, 0.0))
