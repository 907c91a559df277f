"""Comparisons in explicit vectors, beside plain loops and their twins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from fastbp.kernels.simd import chunk_comparison as kernels
from fastbp.kernels.simd.chunk_comparison import LANE_ROWS, compare_vectors
from fastbp.kernels.simd.vectors import LANES, MR
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kernel_arrays import SEEDS, whole_numbers

pytestmark = [pytest.mark.small, pytest.mark.processor]


@numba.njit
def compiled_comparison(
    columns, given, given_at, given_row, strip, strip_row, column_sizes, column_noise, factors,
    row_noise, row_size, bounds, maxima, lanes, found,
):  # fmt: skip
    compare_vectors(
        columns, given, given_at, given_row, strip, strip_row, column_sizes, column_noise, factors,
        row_noise, row_size, bounds, maxima, lanes, found,
    )  # fmt: skip


def strip_case(
    rng: np.random.Generator, columns: int, *, atol: float = 0.0, zeros: float = 0.3
) -> SimpleNamespace:
    """A strip that is right: whole numbers, so that every bar, ratio and sum is exact."""
    reach = -(-columns // LANES) * LANES
    value = np.zeros((MR, reach + 3))
    value[:, :columns] = whole_numbers(rng, MR, columns) * (rng.random((MR, columns)) > zeros)
    wide = np.zeros((3, reach))
    wide[:, :columns] = rng.integers(0, 4, (3, columns))
    given_at, given_row = 5, columns + int(rng.integers(0, 4))
    given = np.full(given_at + (MR - 1) * given_row + columns, np.nan)
    case = SimpleNamespace(
        columns=columns, given=given, given_at=given_at, given_row=given_row,
        strip=value, strip_row=reach + 3, column_sizes=wide[0], column_noise=wide[1],
        factors=wide[2], row_noise=rng.integers(0, 4, MR) / 1.0,
        row_size=rng.integers(0, 4, MR) / 1.0, bounds=np.array([2.0**-10, atol, 2.0**-3]),
    )  # fmt: skip
    entries(case)[...] = value[:, :columns]
    return case


def entries(case: SimpleNamespace) -> np.ndarray:
    """View the given numbers as a matrix."""
    flat, size = case.given[case.given_at :], case.given.itemsize
    return np.lib.stride_tricks.as_strided(
        flat, (MR, case.columns), (case.given_row * size, size), writeable=True
    )


def bars(case: SimpleNamespace) -> np.ndarray:
    bar = np.outer(case.row_noise, case.column_sizes) + np.outer(case.row_size, case.column_noise)
    return bar + case.bounds[0]


def compare(run: Any, case: SimpleNamespace, maxima: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lanes, found = np.full(LANE_ROWS * LANES, np.nan), np.full(4, -1, np.int64)
    run(
        case.columns, case.given, case.given_at, case.given_row, case.strip.ravel(),
        case.strip_row, case.column_sizes, case.column_noise, case.factors, case.row_noise,
        case.row_size, case.bounds, maxima, lanes, found,
    )  # fmt: skip
    return lanes.reshape(LANE_ROWS, LANES), found


RUNS = pytest.mark.parametrize(
    "run", [compare_vectors, compiled_comparison], ids=["plain", "compiled"]
)


def expected_lanes(case: SimpleNamespace) -> np.ndarray:
    """What the header of ``compare_vectors.py`` says of the scratch, entry by entry."""
    table = np.zeros((LANE_ROWS, LANES))
    scale, allowed = case.bounds[2], bars(case) + case.bounds[1]
    for column in range(case.column_sizes.size):
        lane = column % LANES
        highest = 0.0
        for r in range(MR):
            value = case.strip[r, column]
            number = float(entries(case)[r, column]) if column < case.columns else 0.0
            table[r, lane] += value * case.factors[column]
            table[kernels.PRODUCT, lane] += number * value * scale**2
            table[kernels.SQUARE, lane] += (value * scale) ** 2
            table[kernels.WIDEST, lane] = max(table[kernels.WIDEST, lane], allowed[r, column])
            highest = max(highest, abs(number - value) / allowed[r, column])
        if highest > table[kernels.TOP, lane]:
            table[kernels.TOP, lane] = highest
            table[kernels.TOP_COLUMN, lane] = column - lane
    return table


@RUNS
@settings(max_examples=60)
@given(
    columns=st.integers(1, 3 * LANES + 1),
    atol=st.sampled_from([0.0, 0.5]),
    zeros=st.sampled_from([0.0, 0.5, 1.0]),
    off=st.booleans(),
    seed=SEEDS,
)
def test_comparison_in_vectors(run, columns, atol, zeros, off, seed):
    rng = np.random.default_rng(seed)
    case = strip_case(rng, columns, atol=atol, zeros=zeros)
    if off:  # some within their bars, some not
        entries(case)[...] += rng.integers(-9, 10, (MR, columns)) / 2 * (rng.random(columns) < 0.5)
    reach = case.column_sizes.size
    raised = rng.integers(0, 2, reach + 1) / 1.0
    maxima = raised.copy()
    lanes, found = compare(run, case, maxima)
    number, value = entries(case), case.strip[:, :columns]
    bar = bars(case)[:, :columns]
    ratio = np.abs(number - value) / (bar + atol)
    np.testing.assert_array_equal(lanes, expected_lanes(case))
    raised[:columns] = np.maximum(raised[:columns], ratio.max(axis=0))
    np.testing.assert_array_equal(maxima, raised)
    assert (found[kernels.WRONG] != 0) == bool((ratio > 1).any())
    assert (found[kernels.ABOVE] != 0) == bool((np.abs(value) > bar).any())
    assert (found[kernels.NOT_ZERO] != 0) == bool(number.any())
    assert found[kernels.ZERO] == np.count_nonzero((number == 0) & (np.abs(value) <= bar))


@RUNS
@pytest.mark.parametrize("columns", sorted({1, LANES - 1, LANES, 2 * LANES + 1}))
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, "by more than its bar"])
def test_a_wrong_entry_is_seen_wherever_it_stands(run, columns, wrong, rng):
    case = strip_case(rng, columns)
    maxima = np.zeros(case.column_sizes.size)
    assert compare(run, case, maxima)[1][kernels.WRONG] == 0
    for r in range(MR):
        for column in {0, columns // 2, columns - 1}:
            numbers = entries(case)
            before = numbers[r, column]
            own = before + 1.5 * bars(case)[r, column] if isinstance(wrong, str) else wrong
            numbers[r, column] = own
            assert compare(run, case, maxima)[1][kernels.WRONG] != 0, (r, column)
            numbers[r, column] = before
    assert compare(run, case, maxima)[1][kernels.WRONG] == 0


@RUNS
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_product_that_is_not_finite_is_seen(run, value, rng):
    """Even where the given number is the same."""
    case = strip_case(rng, LANES + 3)
    for r in range(MR):
        for column in (0, case.columns - 1):
            before = case.strip[r, column]
            case.strip[r, column] = entries(case)[r, column] = value
            maxima = np.zeros(case.column_sizes.size)
            assert compare(run, case, maxima)[1][kernels.WRONG] != 0, (r, column)
            case.strip[r, column] = entries(case)[r, column] = before


@RUNS
def test_zeros_are_counted_on_both_sides_only(run, rng):
    """A zero beside what is above its bar is no zero; nor is what lies behind the last column."""
    case = strip_case(rng, LANES + 1, zeros=1.0)
    maxima = np.zeros(case.column_sizes.size)
    _, found = compare(run, case, maxima)
    assert found[kernels.ZERO] == MR * case.columns
    assert found[kernels.NOT_ZERO] == found[kernels.ABOVE] == 0
    case.strip[MR - 1, LANES] = 2 * bars(case)[MR - 1, LANES]
    _, found = compare(run, case, maxima)
    assert found[kernels.ZERO] == MR * case.columns - 1
    assert found[kernels.ABOVE] != 0
    assert found[kernels.WRONG] != 0
