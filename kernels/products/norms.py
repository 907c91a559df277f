"""Norms of rows, panels and lanes that neither overflow nor lose small numbers."""

from __future__ import annotations

import math

import numpy as np

from ..machine.compile import kernel
from ..simd.lane_sums import squares_of_lanes, sums_along_lanes
from ..simd.vectors import panel_width

ONE = np.ones(1)


@kernel(inline=True)
def no_smaller(largest, size):
    """Return the larger of two numbers that are not negative, NaN if one is."""
    return largest if size <= largest else size


@kernel(inline=True)
def safe_norm(total, largest, count):
    """Root of a sum of squares, or no less than it where squares leave the range of numbers."""
    return math.sqrt(total) if 1e-250 < total < 1e250 else largest * math.sqrt(float(count))


@kernel
def lane_norms(width, values, norms):
    """Norms of rows of one panel's lanes: values (rows, lanes), norms (rows,)."""
    sums_along_lanes(norms.size, values, 0, values, 0, width, 0, norms)
    for r in range(norms.size):
        total = norms[r]
        if 1e-250 < total < 1e250:
            norms[r] = math.sqrt(total)
        else:
            largest = 0.0
            for lane in range(width):
                largest = no_smaller(largest, abs(values[r * width + lane]))
            norms[r] = safe_norm(total, largest, width)


@kernel
def _scaled_norms(units, weights, step, values, at, norms):
    """Norms of columns whose squares leave the range of numbers."""
    width = panel_width(values)
    for lane in range(width):
        largest = 0.0
        for r in range(units):
            part = abs(weights[r * step] * values[at + r * width + lane])
            largest = no_smaller(largest, part)
        total = 0.0
        if not largest <= 0:
            for r in range(units):
                part = weights[r * step] * values[at + r * width + lane] / largest
                total += part * part
        norms[lane] = largest * math.sqrt(total)


@kernel
def weighted_norms(units, weights, step, values, at, norms):
    """Norms of the columns of one panel, its rows times ``weights``, ``step`` apart."""
    squares_of_lanes(units, weights, step, values, at, norms)
    safe = True
    for lane in range(norms.size):
        if not 1e-250 < norms[lane] < 1e250:
            safe = False
    if safe:
        for lane in range(norms.size):
            norms[lane] = math.sqrt(norms[lane])
    else:
        _scaled_norms(units, weights, step, values, at, norms)


@kernel
def panel_norms(units, values, at, norms):
    """Norms of the columns of one panel."""
    weighted_norms(units, ONE, 0, values, at, norms)


@kernel(reassociate=True)
def _sum_of_squares(values):
    total = 0.0
    for k in range(values.size):
        total += values[k] * values[k]
    return total


@kernel
def _scaled_row_norm(depth, a, at, step):
    """Norm of one row whose squares leave the range of numbers."""
    largest = 0.0
    for p in range(depth):
        largest = no_smaller(largest, abs(a[at + p * step]))
    total = 0.0
    if not largest <= 0:
        for p in range(depth):
            part = a[at + p * step] / largest
            total += part * part
    return largest * math.sqrt(total)


@kernel
def row_norms(rows, depth, a, a_at, a_row, a_column, norms):
    """Norms of ``rows`` rows of A (rows, depth), one of whose strides is 1."""
    if a_column == 1:
        for r in range(rows):
            start = a_at + r * a_row
            norms[r] = _sum_of_squares(a[start : start + depth])
    else:
        total = norms[:rows]
        total[:] = 0.0
        for p in range(depth):
            line = a[a_at + p * a_column : a_at + p * a_column + rows]
            for r in range(rows):
                total[r] += line[r] * line[r]
    for r in range(rows):
        if 1e-250 < norms[r] < 1e250:
            norms[r] = math.sqrt(norms[r])
        else:
            norms[r] = _scaled_row_norm(depth, a, a_at + r * a_row, a_column)
