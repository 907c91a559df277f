"""Sums by lane in explicit vectors, beside plain loops and their twins."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from fastbp.kernels.simd.lane_sums import squares_of_lanes, sums_along_lanes
from fastbp.kernels.simd.vectors import panel_width
from hypothesis import given
from hypothesis import strategies as st
from support.kernel_arrays import GUARD, SEEDS, whole_numbers

pytestmark = [pytest.mark.small, pytest.mark.processor]

WIDTH = panel_width(np.empty(0))


@numba.njit
def compiled_squares(units, factors, step, values, at, totals):
    squares_of_lanes(units, factors, step, values, at, totals)


@numba.njit
def compiled_sums(rows, values, at, other, other_at, other_row, add, totals):
    sums_along_lanes(rows, values, at, other, other_at, other_row, add, totals)


def between_guards(inner: np.ndarray, at: int) -> np.ndarray:
    """Put an array at a place of a flat one; what is about it spoils every sum."""
    flat = np.full(at + inner.size + 3, np.nan)
    flat[at : at + inner.size] = inner.ravel()
    return flat


@pytest.mark.parametrize("run", [squares_of_lanes, compiled_squares], ids=["plain", "compiled"])
@given(units=st.integers(0, 40), step=st.sampled_from([0, 1, 3]), at=st.integers(0, 9), seed=SEEDS)
def test_squares_of_lanes(run, units, step, at, seed):
    rng = np.random.default_rng(seed)
    panel, factors = whole_numbers(rng, units, WIDTH), whole_numbers(rng, 1 + units * step)
    totals = np.full(WIDTH + 2, GUARD)
    run(units, factors, step, between_guards(panel, at), at, totals)
    expected = [
        sum((factors[unit * step] * panel[unit, lane]) ** 2 for unit in range(units))
        for lane in range(WIDTH)
    ]
    np.testing.assert_array_equal(totals, [*expected, GUARD, GUARD])


@pytest.mark.parametrize("run", [sums_along_lanes, compiled_sums], ids=["plain", "compiled"])
@given(
    rows=st.integers(0, 40),
    apart=st.sampled_from([0, WIDTH, WIDTH + 5]),
    at=st.integers(0, 9),
    add=st.booleans(),
    seed=SEEDS,
)
def test_sums_along_lanes(run, rows, apart, at, add, seed):
    rng = np.random.default_rng(seed)
    panel = whole_numbers(rng, rows, WIDTH)
    other = whole_numbers(rng, rows * apart + WIDTH)
    before = whole_numbers(rng, rows)
    totals = np.concatenate([before if add else np.full(rows, np.nan), [GUARD]])
    run(rows, between_guards(panel, at), at, between_guards(other, at), at, apart, int(add), totals)
    expected = [
        before[r] * add + sum(panel[r, lane] * other[r * apart + lane] for lane in range(WIDTH))
        for r in range(rows)
    ]
    np.testing.assert_array_equal(totals, [*expected, GUARD])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_sums_pass_nan_and_infinity_through(compiled, value):
    """They reach their own row or lane, and no other."""
    units = 3
    squares, sums = np.empty(WIDTH), np.empty(units)
    for row in range(units):
        for lane in range(WIDTH):
            panel = np.ones((units, WIDTH))
            panel[row, lane] = value
            flat = panel.ravel()
            (compiled_squares if compiled else squares_of_lanes)(
                units, np.ones(units), 1, flat, 0, squares
            )
            (compiled_sums if compiled else sums_along_lanes)(
                units, flat, 0, np.ones(flat.size), 0, WIDTH, 0, sums
            )
            np.testing.assert_array_equal(squares, np.where(np.arange(WIDTH) == lane, value, units))
            np.testing.assert_array_equal(sums, np.where(np.arange(units) == row, value, WIDTH))
