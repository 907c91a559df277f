"""The products of a batch of one: plain, compiled, in NumPy."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from fastbp.kernels.products.matvec import (
    PIECE,
    outer_product,
    stream_multiple,
    sum_partials,
    sum_rows,
)
from fastbp.kernels.simd.vectors import square_width
from support.kernel_arrays import DTYPES, GUARD, aligned, ways

pytestmark = pytest.mark.processor


@numba.njit
def stream_by_kernel(factor, source, target):
    stream_multiple(factor, source, target)


@numba.njit
def sum_rows_by_kernel(
    top, bottom, columns, matrix, matrix_at, vector, vector_at, skip, total
):  # fmt: skip
    sum_rows(top, bottom, columns, matrix, matrix_at, vector, vector_at, skip, total)


@numba.njit
def sum_partials_by_kernel(first, last, count, pitch, partials, result):
    sum_partials(first, last, count, pitch, partials, result)


@numba.njit
def outer_by_kernel(
    top, bottom, columns, left, left_at, right, right_at, stream, decay, matrix, matrix_at, result
):  # fmt: skip
    outer_product(
        top, bottom, columns, left, left_at, right, right_at, stream, decay, matrix, matrix_at,
        result,
    )  # fmt: skip


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@ways(getattr(stream_multiple, "py_func", stream_multiple), stream_by_kernel)
def test_a_multiple_is_streamed_at_every_alignment_and_length(run, dtype, rng):
    lanes = square_width(np.empty(0, dtype))
    factor = dtype(0.3)
    source = rng.standard_normal(3 * lanes + 1).astype(dtype)
    for begin in range(lanes):
        for length in range(3 * lanes + 2):
            memory = aligned(begin + length + lanes, dtype)
            run(factor, source[:length], memory[begin : begin + length])
            np.testing.assert_array_equal(memory[begin : begin + length], factor * source[:length])
            assert (memory[:begin] == GUARD).all()
            assert (memory[begin + length :] == GUARD).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 9, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 3])
@pytest.mark.parametrize("skip", [False, True])
def test_rows_are_summed_in_pieces(columns, dtype, skip, rng):
    top, bottom, matrix_at, vector_at = 2, 7, 3, 1
    matrix = rng.integers(-9, 10, matrix_at + bottom * columns).astype(dtype)
    vector = rng.integers(-2, 3, vector_at + bottom).astype(dtype)
    vector[vector_at + 3] = 0
    rows = matrix[matrix_at:].reshape(bottom, columns)[top:]
    expected = vector[vector_at + top :] @ rows
    memory = np.full(columns + 5, GUARD, dtype)
    sum_rows_by_kernel(
        top, bottom, columns, matrix, matrix_at, vector, vector_at, skip, memory[2 : 2 + columns]
    )
    np.testing.assert_array_equal(memory[2 : 2 + columns], expected)
    assert (memory[:2] == GUARD).all()
    assert (memory[2 + columns :] == GUARD).all()


@pytest.mark.small
def test_only_a_row_that_may_be_skipped_is_not_read():
    matrix, vector, total = np.array([1.0, np.nan, 2.0]), np.array([3.0, 0.0, 4.0]), np.empty(1)
    sum_rows_by_kernel(0, 3, 1, matrix, 0, vector, 0, True, total)
    assert total[0] == 11.0
    sum_rows_by_kernel(0, 3, 1, matrix, 0, vector, 0, False, total)
    assert np.isnan(total[0])


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_partial_sums_are_added_in_their_order(count, dtype, rng):
    first, last, pitch = 3, 31, 40
    partials = rng.standard_normal(count * pitch).astype(dtype)
    expected = np.zeros(last - first, dtype)
    for block in partials.reshape(count, pitch):
        expected += block[first:last]
    memory = np.full(last - first + 2, GUARD, dtype)
    sum_partials_by_kernel(first, last, count, pitch, partials, memory[1:-1])
    np.testing.assert_array_equal(memory[1:-1], expected)
    assert memory[0] == memory[-1] == GUARD


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.0, 0.25])
@pytest.mark.parametrize("columns", [1, 7, 16, 65])
def test_outer_products_have_the_same_bits_streamed_or_not(columns, decay, dtype, rng):
    """However the rows lie: those of an odd length begin at every alignment."""
    top, bottom, left_at, right_at = 1, 20, 2, 3
    left = rng.standard_normal(left_at + bottom).astype(dtype)
    right = rng.standard_normal(right_at + columns).astype(dtype)
    for matrix_at in (0, 1, 5):
        matrix = rng.standard_normal(matrix_at + bottom * columns).astype(dtype)
        expected = np.full(matrix_at + bottom * columns + 4, GUARD, dtype)
        rows = expected[matrix_at : matrix_at + bottom * columns].reshape(bottom, columns)[top:]
        rows[...] = np.outer(left[left_at + top :], right[right_at:])
        weights = matrix[matrix_at:].reshape(bottom, columns)[top:]
        for stream in (False, True):
            result = aligned(expected.size, dtype)
            outer_by_kernel(
                top, bottom, columns, left, left_at, right, right_at, stream, dtype(decay),
                matrix, matrix_at, result,
            )  # fmt: skip
            if decay == 0:
                np.testing.assert_array_equal(result, expected)
            else:
                decayed = expected.copy()
                inner = decayed[matrix_at : matrix_at + bottom * columns].reshape(bottom, columns)
                inner[top:] += dtype(decay) * weights
                close = 4 * np.finfo(dtype).eps
                np.testing.assert_allclose(result, decayed, rtol=close, atol=4 * close)
