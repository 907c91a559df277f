"""Forward and backward through one layer for a batch of one, at the speed of memory.

The weights are read once on the way forward and once on the way back, where the weight
gradient is written in the same sweep.  ``matrix`` stands for the weights as they lie in
memory, (rows, columns), row by row: W for weights (n_out, n_in), its transpose for (n_in,
n_out).
"""

from __future__ import annotations

from .compile import kernel
from .matmul import dot


@kernel
def times_vector(first, last, columns, matrix, matrix_at, vector, vector_at, result, result_at):
    """result[r] = matrix[r, :] . vector for the rows first..last."""
    for r in range(first, last):
        result[result_at + r] = dot(columns, matrix, matrix_at + r * columns, vector, vector_at)


@kernel
def transposed_times_vector(
    first, last, rows, columns, matrix, matrix_at, vector, vector_at, result, result_at
):
    """result[c] = sum over r of matrix[r, c] vector[r] for the columns first..last."""
    for c in range(first, last):
        result[result_at + c] = 0
    for r in range(rows):
        factor = vector[vector_at + r]
        if factor != 0:  # the unit is off: its row adds nothing and need not be read
            line = matrix_at + r * columns
            for c in range(first, last):
                result[result_at + c] += factor * matrix[line + c]


@kernel
def outer_product(
    top, bottom, first, last, columns, left, left_at, right, right_at, decay, matrix, matrix_at,
    result,
):  # fmt: skip
    """result[r, c] = left[r] right[c] + decay matrix[r, c] for a block of rows and columns."""
    for r in range(top, bottom):
        factor = left[left_at + r]
        line = matrix_at + r * columns
        if decay == 0:
            for c in range(first, last):
                result[line + c] = factor * right[right_at + c]
        else:
            for c in range(first, last):
                result[line + c] = factor * right[right_at + c] + decay * matrix[line + c]
