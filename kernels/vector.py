"""Forward and backward through one layer for a batch of one, at the speed of memory.

The weights are read once on the way forward and once on the way back, where the weight
gradient is written in the same sweep.  ``matrix`` stands for the weights as they lie in
memory, (rows, columns), row by row: W for weights (n_out, n_in), its transpose for (n_in,
n_out).

Inner loops run over slices: an index that starts at an offset may be negative for all that the
compiler knows, and the test for that keeps it from using vectors.
"""

from __future__ import annotations

from .compile import kernel
from .matmul import dot


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
def transposed_times_vector(
    first, last, rows, columns, matrix, matrix_at, vector, vector_at, result, result_at
):
    """result[c] = sum over r of matrix[r, c] vector[r] for the columns first..last."""
    total = result[result_at + first : result_at + last]
    for c in range(last - first):
        total[c] = 0
    for r in range(rows):
        factor = vector[vector_at + r]
        if factor != 0:  # the unit is off: its row adds nothing and need not be read
            line = matrix_at + r * columns
            add_multiple(factor, matrix[line + first : line + last], total)


@kernel
def outer_product(
    top, bottom, first, last, columns, left, left_at, right, right_at, decay, matrix, matrix_at,
    result,
):  # fmt: skip
    """result[r, c] = left[r] right[c] + decay matrix[r, c] for a block of rows and columns."""
    factors = right[right_at + first : right_at + last]
    for r in range(top, bottom):
        line = matrix_at + r * columns
        target = result[line + first : line + last]
        write_multiple(left[left_at + r], factors, target)
        if decay != 0:
            add_multiple(decay, matrix[line + first : line + last], target)
