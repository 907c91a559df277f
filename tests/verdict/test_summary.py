"""Counts, sums, factor and residual of an array."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from fastbp.kernels.comparison import chunks
from fastbp.kernels.comparison import summary_columns as columns
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from support.judging import TIGHT, gradient

from fastbp.verdict.arrays import verdict_of
from fastbp.verdict.blocks import power_below, powers_below
from fastbp.verdict.entries import Entries
from fastbp.verdict.summary import (
    Unexplained,
    plainly_passed,
    read_summaries,
    summaries,
    summarise,
    summary_rows,
)
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small


def factor_and_residual(given, numerical):
    factor = summarise(given, numerical, 0.0, TIGHT).factor
    unexplained = Unexplained(factor)
    unexplained.add(given, numerical)
    return factor, unexplained.residual


@hypothesis_given(
    factor=st.floats(1e-6, 1e6), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 99)
)
def test_a_constant_factor_is_measured(factor, sign, seed):
    numerical = gradient(seed=seed)
    k, residual = factor_and_residual(sign * factor * numerical, numerical)
    assert k == pytest.approx(sign * factor, rel=1e-13)
    assert residual < 1e-14


def test_what_is_no_multiple_leaves_a_residual():
    numerical = gradient()
    _, residual = factor_and_residual(numerical[::-1].copy(), numerical)
    assert residual > 0.5


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_factor_and_residual_neither_overflow_nor_underflow(size):
    numerical = size * gradient()
    factor, residual = factor_and_residual(0.5 * numerical + 0.1 * numerical[::-1], numerical)
    one = factor_and_residual(0.5 * gradient() + 0.1 * gradient()[::-1], gradient())
    assert (factor, residual) == pytest.approx(one, rel=1e-13)


def test_arrays_that_lie_end_to_end_are_counted_apart():
    given = np.array([1.0, 9.0, 0.0, 9.0, 9.0])
    entries = Entries(0, given, np.array([1.0, 1.0, 0.0, 1.0, 1.0]), np.zeros(5), np.zeros(5))
    for starts, wrong in (((0, 2), [1, 2]), ((0,), [3]), ((0, 2, 3), [1, 0, 2])):
        table = summary_rows(entries, TIGHT, 1.0, starts)
        assert table[:, columns.WRONG].tolist() == wrong


def awkward_entries(hull: bool) -> tuple[np.ndarray, ...]:
    """Right and wrong entries, zeros, NaN, infinities, kinks and what cannot be judged."""
    rng = np.random.default_rng(7)
    numerical = rng.choice([0.0, 1e-12, 1.0, -2.0, np.nan, np.inf], 300)
    given = numerical + rng.choice([0.0, 1e-10, 0.5], 300)
    given[rng.random(300) < 0.1] = 0.0
    given[rng.random(300) < 0.05] = np.nan
    given[rng.random(300) < 0.05] = -np.inf
    bars = rng.choice([1e-9, 1e-3, np.inf], 300, p=[0.5, 0.45, 0.05])
    radii = rng.choice([0.0, 1e-3, 1.0], 300) if hull else np.zeros(300)
    return given, numerical, bars, radii


@numba.njit
def counted_by_kernel(given, value, radius, bars, tolerance, scale, ratios):
    zeros, (rtol, atol) = np.zeros(bars.size), tolerance
    return chunks.compare_row(
        given, value, radius, 1.0, 0.0, bars, zeros, zeros, rtol, atol, scale, ratios
    )


@pytest.mark.parametrize("hull", [False, True])
def test_the_kernel_and_numpy_count_alike(hull):
    given, numerical, bars, radii = awkward_entries(hull)
    ratios = np.empty(300)
    with np.errstate(invalid="ignore"):
        counts = counted_by_kernel(given, numerical, radii, bars, (1e-6, 1e-12), 0.5, ratios)
    entries = Entries(0, given, numerical, bars, radii)
    table = summary_rows(entries, Tolerance(1e-6, 1e-12), 0.5)
    order = [
        columns.WRONG, columns.ZERO, columns.KINKS, columns.ABOVE_NOISE, columns.BROKEN,
        columns.NOT_FINITE, columns.NOT_ZERO, columns.LARGEST_ALLOWED, columns.PRODUCT,
        columns.SQUARE,
    ]  # fmt: skip
    np.testing.assert_allclose(table[0, order], counts, rtol=1e-13)
    assert table[0, columns.WORST_RATIO] == ratios.max()
    assert table[0, columns.WORST_PLACE] == ratios.argmax()
    assert table[0, columns.LEFT_OUT] == 0


def test_arrays_end_to_end_are_summed_up_as_each_alone():
    given, numerical, bars, radii = awkward_entries(hull=True)
    starts, sizes = [0, 1, 40], [1, 39, 260]
    table = summary_rows(Entries(0, given, numerical, bars, radii), TIGHT, np.ones(300), starts)
    together = summaries(table, range(3), sizes)
    for found, start, size in zip(together, starts, sizes, strict=True):
        part = slice(start, start + size)
        own = Entries(0, given[part], numerical[part], bars[part], radii[part])
        (alone,) = summaries(summary_rows(own, TIGHT, 1.0), [0], [size])
        assert repr(found) == repr(alone)  # NaN is no equal of itself


def test_the_worst_of_merged_rows_is_looked_for_in_each_array():
    rows = np.zeros((6, columns.SUMMARY_COLUMNS))
    rows[:, columns.WORST_RATIO] = [1.0, 7.0, 3.0, 2.0, 9.0, 8.0]
    rows[:, columns.WORST_PLACE] = range(6)
    merged = summaries(rows, [0, 3], [3, 3])
    assert [found.worst and found.worst.place for found in merged] == [1, 4]


def test_merged_rows_count_the_whole_and_name_the_first_of_the_worst():
    rows = np.zeros((3, columns.SUMMARY_COLUMNS))
    rows[:, columns.WRONG] = [1, 0, 2]
    rows[:, columns.LARGEST_ALLOWED] = [0.5, 2.0, 1.0]
    rows[:, columns.WORST_RATIO] = [7.0, -1.0, 7.0]
    rows[:, columns.WORST_PLACE] = [3, 0, 9]
    (found,) = summaries(rows, [0], [12])
    assert (found.entries, found.wrong, found.detectable) == (12, 3, 4.0)
    assert found.worst is not None
    assert found.worst.place == 3


def test_powers_of_many_numbers_are_those_of_each():
    sizes = np.array([0.0, 5e-324, 1e-308, 0.3, 1.0, 2.0, 1e300, 1.7e308, np.inf, np.nan])
    assert powers_below(sizes).tolist() == [power_below(size) for size in sizes.tolist()]


def test_arrays_pass_plainly_in_a_table_where_they_do_one_by_one():
    rng = np.random.default_rng(0)
    table = np.zeros((500, columns.SUMMARY_COLUMNS))
    entries = rng.integers(0, 4, len(table))
    counted = [
        columns.WRONG, columns.BROKEN, columns.ZERO, columns.LEFT_OUT, columns.ABOVE_NOISE,
    ]  # fmt: skip
    table[:, counted] = rng.integers(0, 3, (len(table), len(counted)))
    table[:, columns.ZERO] = np.minimum(table[:, columns.ZERO], entries)
    left = entries - table[:, columns.ZERO]
    table[:, columns.LEFT_OUT] = np.minimum(table[:, columns.LEFT_OUT], left)
    table[::2, [columns.WRONG, columns.BROKEN]] = 0
    one_by_one = [verdict_of(found)[0] for found in read_summaries(table, entries.tolist())]
    assert {"passed", "failed", "inconclusive", "untested"} == set(one_by_one)
    expected = [verdict == "passed" for verdict in one_by_one]
    assert plainly_passed(table, entries).tolist() == expected
