"""Moves in explicit vectors: plain, compiled, in NumPy."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from fastbp.kernels.simd.moves import stream_vector, transpose_square, transpose_strip
from fastbp.kernels.simd.vectors import MR, square_width
from support.kernel_arrays import DTYPES, GUARD, aligned, ways

pytestmark = pytest.mark.processor


@numba.njit
def transpose_by_kernel(source, source_at, source_row, target, target_at, target_row):
    transpose_square(source, source_at, source_row, target, target_at, target_row)


@numba.njit
def transpose_strip_by_kernel(source, source_at, source_row, target, target_at):
    transpose_strip(source, source_at, source_row, target, target_at)


@numba.njit
def stream_vector_by_kernel(factor, source, source_at, target, target_at):
    stream_vector(factor, source, source_at, target, target_at)


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@ways(transpose_square, transpose_by_kernel)
def test_a_square_is_transposed_and_nothing_else_is_touched(run, dtype, rng):
    side = square_width(np.empty(0, dtype))
    for source_at, source_more, target_at, target_more in (
        (0, 0, 0, 0),
        (3, 5, 7, 1),
        (1, 0, 2, 9),
    ):
        source_row, target_row = side + source_more, side + target_more
        source = rng.standard_normal(source_at + side * source_row).astype(dtype)
        target = np.full(target_at + side * target_row + 3, GUARD, dtype)
        expected = target.copy()
        for row, column in np.ndindex(side, side):
            expected[target_at + column * target_row + row] = source[
                source_at + row * source_row + column
            ]
        before = source.copy()
        run(source, source_at, source_row, target, target_at, target_row)
        np.testing.assert_array_equal(target, expected)
        np.testing.assert_array_equal(source, before)


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@ways(transpose_strip, transpose_strip_by_kernel)
def test_rows_of_a_strip_become_columns_and_nothing_else_is_touched(run, dtype, rng):
    side = square_width(np.empty(0, dtype))
    for source_at, source_row, target_at in ((0, side, 0), (3, side + 5, 7)):
        source = rng.standard_normal(source_at + MR * source_row).astype(dtype)
        target = np.full(target_at + side * MR + 3, GUARD, dtype)
        expected = target.copy()
        for p, row in np.ndindex(side, MR):
            expected[target_at + p * MR + row] = source[source_at + row * source_row + p]
        run(source, source_at, source_row, target, target_at)
        np.testing.assert_array_equal(target, expected)


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@ways(stream_vector, stream_vector_by_kernel)
def test_one_vector_is_streamed_from_anywhere_to_an_aligned_place(run, dtype, rng):
    lanes = square_width(np.empty(0, dtype))
    factor = dtype(-1.7)
    source = rng.standard_normal(3 * lanes).astype(dtype)
    for source_at in range(2 * lanes):
        target = aligned(3 * lanes, dtype)
        run(factor, source, source_at, target, lanes)
        wanted = factor * source[source_at : source_at + lanes]
        np.testing.assert_array_equal(target[lanes : 2 * lanes], wanted)
        assert (target[:lanes] == GUARD).all()
        assert (target[2 * lanes :] == GUARD).all()
