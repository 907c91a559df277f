"""Forward and backward through one layer for a batch of one, at the speed of memory.

The weights are read once on the way forward and once on the way back, where the weight
gradient is written in the same sweep.  ``matrix`` stands for the weights as they lie in
memory, (rows, columns), row by row: W for weights (n_out, n_in), its transpose for (n_in,
n_out).

Inner loops run over slices: an index that starts at an offset may be negative for all that the
compiler knows, and the test for that keeps it from using vectors.
"""

from __future__ import annotations

from ..machine.compile import kernel
from ..simd.moves import stream_vector
from ..simd.vectors import VECTOR_BYTES, square_width

PIECE = 2048  # columns: sums of 16 KB, and rows that are read four pages at a time


@kernel
def times_vector(first, last, columns, matrix, matrix_at, vector, vector_at, result, result_at):
    """result[r] = matrix[r, :] . vector for the rows first..last."""
    factors = vector[vector_at : vector_at + columns]
    for r in range(first, last):
        start = matrix_at + r * columns
        result[result_at + r] = dot(matrix[start : start + columns], factors)


@kernel(reassociate=True)
def sum_of(array):
    """Sum of all elements, reordered into vectors."""
    total = array.dtype.type(0)
    for k in range(array.size):
        total += array[k]
    return total


@kernel
def add_multiple(factor, source, result):
    """result += factor * source."""
    for k in range(source.size):
        result[k] += factor * source[k]


@kernel
def write_multiple(factor, source, result):
    """result = factor * source."""
    for k in range(source.size):
        result[k] = factor * source[k]


@kernel
def sum_rows(top, bottom, columns, matrix, matrix_at, vector, vector_at, skip, total):
    """total[c] = sum over the rows top..bottom of vector[r] matrix[r, c].

    In pieces long enough for the prefetcher, of which the sums stay in the L1 cache.  With
    ``skip`` a row of which vector[r] is 0 is not read, and a NaN in it not noticed.
    """
    for first in range(0, columns, PIECE):
        last = min(columns, first + PIECE)
        part = total[first:last]
        for c in range(part.size):
            part[c] = 0
        for r in range(top, bottom):
            factor = vector[vector_at + r]
            if factor != 0 or not skip:
                line = matrix_at + r * columns
                add_multiple(factor, matrix[line + first : line + last], part)


@kernel
def sum_partials(first, last, count, pitch, partials, result):
    """result[c] = sum of ``count`` partial sums, in their order, for columns first..last."""
    for c in range(last - first):
        result[c] = 0
    for block in range(count):
        at = block * pitch
        add_multiple(1, partials[at + first : at + last], result)


@kernel
def stream_multiple(factor, source, target):
    """target = factor * source, written past the caches: for what is not read again soon.

    The atomic operation that reports a block as done also waits for such stores.
    """
    lanes = square_width(target)
    ahead = (-target.ctypes.data) % VECTOR_BYTES // target.itemsize
    first = min(target.size, ahead)
    for k in range(first):
        target[k] = factor * source[k]
    last = first + (target.size - first) // lanes * lanes
    for k in range(first, last, lanes):
        stream_vector(factor, source, k, target, k)
    for k in range(last, target.size):
        target[k] = factor * source[k]


@kernel
def outer_product(
    top, bottom, columns, left, left_at, right, right_at, stream, decay, matrix, matrix_at, result
):
    """result[r, :] = left[r] right[:] + decay matrix[r, :] for the rows top..bottom."""
    factors = right[right_at : right_at + columns]
    for r in range(top, bottom):
        at = matrix_at + r * columns
        target = result[at : at + columns]
        if stream and decay == 0:
            stream_multiple(left[left_at + r], factors, target)
        else:
            write_multiple(left[left_at + r], factors, target)
            if decay != 0:
                add_multiple(decay, matrix[at : at + columns], target)


@kernel(reassociate=True)
def long_dot(a, b):
    """Sum of a[k] b[k], reordered into vectors."""
    total = a.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@kernel
def dot(a, b):
    """Sum of a[k] b[k]: in order if it is short, where vectors gain nothing."""
    if a.size > 16:
        return long_dot(a, b)
    total = a.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total
