"""The vector tile and its plain-Python twin."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from fastbp.kernels.simd.tile import UNROLLED, multiply_rows, multiply_strip
from fastbp.kernels.simd.vectors import MR, ROW_COUNTS, VECTORS, panel_width
from support.kernel_arrays import DTYPES, GUARD, whole_numbers

pytestmark = pytest.mark.processor


@numba.njit
def tile_by_kernel(
    rows, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add
):
    multiply_rows(
        rows, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add
    )


@numba.njit
def strip_by_kernel(depth, a, a_at, b, b_at, b_row, next_at, c, c_at, c_row, add):
    multiply_strip(depth, a, a_at, b, b_at, b_row, next_at, c, c_at, c_row, add)


def tile_case(
    rng: np.random.Generator, rows: int, depth: int, dtype: Any, *, by_columns: bool
) -> tuple[list[Any], np.ndarray]:
    """Arguments from depth to c_row, with margins about every operand, and C itself."""
    width = panel_width(np.empty(0, dtype))
    a = whole_numbers(rng, 3 + (rows + 2) * (depth + 2), dtype=dtype)
    b_row = width + 1
    b = whole_numbers(rng, 5 + depth * b_row, dtype=dtype)
    c_row = width + 3
    c = np.full(2 + rows * c_row + width, GUARD, dtype)
    strides = (1, rows + 2) if by_columns else (depth + 2, 1)
    return [depth, a, 3, *strides, b, 5, b_row, c, 2, c_row], c


def expected_tile(
    rows: int, vectors: int, arguments: list[Any], before: np.ndarray, add: int
) -> np.ndarray:
    depth, a, a_at, a_row, a_column, b, b_at, b_row, _, c_at, c_row = arguments
    width = panel_width(b)
    result = before.copy()
    for r in range(rows):
        for lane in range(width * vectors // VECTORS):
            total = float(before[c_at + r * c_row + lane]) if add else 0.0
            for p in range(depth):
                factor = float(a[a_at + r * a_row + p * a_column])
                total += factor * float(b[b_at + p * b_row + lane])
            result[c_at + r * c_row + lane] = total
    return result


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [multiply_rows, tile_by_kernel], ids=["plain", "compiled"])
@pytest.mark.parametrize("rows", sorted(set(ROW_COUNTS)))
def test_tile_is_the_product_and_touches_nothing_else(run, rows, dtype, rng):
    for vectors in (1, VECTORS):
        for depth in (0, 1, 2, 7):
            for add in (0, 1, 256):
                for by_columns in (False, True):
                    arguments, c = tile_case(rng, rows, depth, dtype, by_columns=by_columns)
                    expected = expected_tile(rows, vectors, arguments, c, add)
                    run(rows, vectors, *arguments, add)
                    np.testing.assert_array_equal(c, expected)


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("run", [multiply_rows, tile_by_kernel], ids=["plain", "compiled"])
def test_tile_passes_nan_and_infinity_through(run, value, dtype, rng):
    """They reach the row or the column that they belong to, and no other."""
    depth, rows = 5, MR
    width = panel_width(np.empty(0, dtype))
    for place in ("a", "b"):
        arguments, c = tile_case(rng, rows, depth, dtype, by_columns=False)
        a, b = arguments[1], arguments[5]
        a[:], b[:] = 1, 2
        if place == "a":
            a[arguments[2] + arguments[3] * (rows - 1) + 1] = value
        else:
            b[arguments[6] + 3 * arguments[7] + width - 1] = value
        with np.errstate(invalid="ignore"):
            run(rows, VECTORS, *arguments, 0)
        result = c[2 : 2 + rows * arguments[10]].reshape(rows, -1)[:, :width]
        expected = np.full((rows, width), 2.0 * depth)
        expected[(rows - 1, slice(None)) if place == "a" else (slice(None), width - 1)] = value
        np.testing.assert_array_equal(result, expected)


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [multiply_strip, strip_by_kernel], ids=["plain", "compiled"])
def test_packed_strip_gives_the_bits_of_the_tile(run, dtype, rng):
    """Whatever of the depth is left over by the unrolled steps."""
    for depth in (*range(2 * UNROLLED + 2), 255, 256):
        for add in (0, 1):
            arguments, c = tile_case(rng, MR, depth, dtype, by_columns=False)
            b, b_at, b_row, _, c_at, c_row = arguments[5:]
            strip = rng.standard_normal(3 + depth * MR).astype(dtype)
            b[:] = rng.standard_normal(b.size)
            expected = c.copy()
            other = (expected, c_at, c_row, add)
            tile_by_kernel(MR, VECTORS, depth, strip, 3, 1, MR, b, b_at, b_row, *other)
            run(depth, strip, 3, b, b_at, b_row, b_at, c, c_at, c_row, add)
            if run is strip_by_kernel:
                np.testing.assert_array_equal(c, expected)
            else:  # NumPy sums in another order
                np.testing.assert_allclose(c, expected, rtol=1e-4, atol=1e-3)
