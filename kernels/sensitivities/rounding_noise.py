"""Rounding noise at one unit, for the lanes of a panel: how much, how it travels on, what it hides.

All of it is in units of u, the roundoff; it is linear, so one propagation serves float64 and
float32. A layer adds to row i of its product, in sample n, plus or minus ::

    eta = |W_i| |h_n| + |b_i| + sqrt(n) / 4 |f_i|

Sums of n terms in any order are off by about the first term where signs are random, and by the
last, in a plain loop, where they are all alike. What was there before goes through the weights
with the values themselves. What a layer adds has a random sign; no value is less than half of what
independent errors would make it: one that happens to cancel must not pass for exactness.
"""

from __future__ import annotations

import math

import numpy as np

from ..machine.compile import kernel
from ..simd.lane_sums import squares_of_lanes, sums_along_lanes
from ..simd.tile import panel_width

ONE = np.ones(1)


@kernel(inline=True)
def no_smaller(largest, size):
    """Return the larger of two numbers that are not negative, NaN if one is."""
    return largest if size <= largest else size


@kernel(inline=True)
def safe_norm(total, largest, count):
    """Root of a sum of squares, or no less than it where squares leave the range of numbers."""
    return math.sqrt(total) if 1e-250 < total < 1e250 else largest * math.sqrt(float(count))


@kernel(inline=True)
def growth_root(depth):
    """sqrt(n) / 4 or n / 64: a plain sum of n numbers of one sign is off by so many u of itself.

    Where the numbers are all equal, every rounding may go the same way: n / 2, and the margin is
    32.
    """
    return max(0.25 * math.sqrt(float(depth)), float(depth) / 64.0)


@kernel(inline=True)
def panels_apart(riding, panels):
    """Distance of panels that ride along: of the largest level, since they are at any level."""
    return riding.size // 2 // panels


@kernel(inline=True)
def sign_of_lane(bits, lane):
    """+1 or -1, by one bit of 64."""
    return np.float64(np.int64(1) - ((bits >> np.int64(lane)) & np.int64(1)) * np.int64(2))


@kernel(inline=True)
def no_less(moved, one, other):
    """Noise, no smaller than half of either of two sizes."""
    least = 0.5 * (one if one > other else other)
    size = abs(moved)
    size = size if size > least else least
    return size if moved >= 0 else -size


@kernel
def activate_block(
    on_top, sizes, biases, root, share, margin, hidden, live, h_norms, x_norms, signs,
    f, xi, doubt, norms,
):  # fmt: skip
    """Turn a block of W h and W xi into activations, noise and doubt; write the norms of xi.

    Shapes: ``sizes`` (|W_i|), ``biases``, ``signs`` (64 random bits each) and ``norms`` (rows,);
    ``live``, ``h_norms`` and ``x_norms`` one panel's lanes; the rest (rows, lanes). Without
    ``on_top`` no noise came in; a pre-activation is in doubt if it is at most ``margin`` times its
    own noise, or exactly 0. Written for vectors: no branch, and lanes counted at run time
    (1.6 ns an entry with either, 0.7 without).
    """
    width = live.size
    kept = 1.0 if on_top else 0.0
    judged = 1 if hidden else 0
    for r in range(sizes.size):
        size, bias, bits = sizes[r], biases[r], signs[r]
        offset = abs(bias)
        for lane in range(width):
            k = r * width + lane
            value = f[k] + bias
            away = abs(value)
            eta = live[lane] * (size * h_norms[lane] + offset + root * away)
            moved = kept * xi[k] + eta * sign_of_lane(bits, lane)
            moved = no_less(moved, eta, size * x_norms[lane] * share * live[lane])
            doubtful = (away <= margin * abs(moved)) & (live[lane] > 0)
            off = (judged > 0) & (value <= 0)
            doubt[k] = np.uint8(judged) if doubtful else np.uint8(0)
            f[k] = 0.0 if off else value
            xi[k] = 0.0 if off & (not doubtful) else moved
    lane_norms(width, xi, norms)


@kernel
def mask_block(
    sizes, root, share, s_norms, z_norms, signs, h, doubt, before, s, z, norms
):  # fmt: skip
    """Mask a block of U = W^T s into s, and of its noise W^T z; write the norms of z.

    Shapes as in ``activate_block``; ``sizes`` are the norms of the weights' columns. Noise passes
    through units in doubt as well: another convention lets them through.
    """
    width = s_norms.size
    for r in range(sizes.size):
        size, bits = sizes[r], signs[r]
        for lane in range(width):
            k = r * width + lane
            value = before[k]
            eta = size * s_norms[lane] + root * abs(value)
            moved = z[k] + eta * sign_of_lane(bits, lane)
            moved = no_less(moved, eta, size * z_norms[lane] * share)
            active = h[k] > 0
            s[k] = value if active else 0.0
            z[k] = moved if active | (doubt[k] != 0) else 0.0
    lane_norms(width, z, norms)


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
