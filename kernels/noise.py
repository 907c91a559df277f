"""Rounding noise at one unit, for the lanes of a panel: how much, how it travels on, what it hides.

All of it is in units of u, the roundoff; it is linear, so one propagation serves float64 and
float32. A layer adds to row i of its product, in sample n, a random number of the size ::

    eta = |W_i| |h_n| + |b_i| + sqrt(n) / 4 |f_i|

Sums of n terms in any order are off by about the first term where signs are random, and by the
last, in a plain loop, where they are all alike. What was there before goes through the weights
with the values themselves. No value is less than half of what independent errors would make it:
a random number near 0 must not pass for exactness.
"""

from __future__ import annotations

import math

import numpy as np

from .compile import kernel
from .simd import panel_width


@kernel(inline=True)
def safe_norm(total, largest, count):
    """Root of a sum of squares, or no less than it where squares leave the range of numbers."""
    return math.sqrt(total) if 1e-250 < total < 1e250 else largest * math.sqrt(float(count))


@kernel
def activate_block(
    rows, on_top, sizes, biases, root, share, margin, hidden, live, h_norms, x_norms, normals,
    f, xi, doubt, norms,
):  # fmt: skip
    """Turn a block of W h and W xi into activations, noise and doubt; write the norms of xi.

    Shapes: ``sizes`` (|W_i|), ``biases`` and ``norms`` (rows,); ``live``, ``h_norms`` and
    ``x_norms`` one panel's lanes; the rest (rows, lanes). ``on_top`` is 0 where no noise came in;
    a pre-activation is in doubt if it is at most ``margin`` times its own noise, or exactly 0.
    A whole block at a time: to cut an array into rows costs more than the work on one.
    """
    width = panel_width(f)
    for r in range(rows):
        size, bias = sizes[r], biases[r]
        offset = abs(bias)
        total, largest = 0.0, 0.0
        for lane in range(width):
            value = f[r * width + lane] + bias
            away = abs(value)
            eta = live[lane] * (size * h_norms[lane] + offset + root * away)
            moved = on_top * xi[r * width + lane] + eta * normals[r * width + lane]
            least = 0.5 * max(eta, size * x_norms[lane] * share * live[lane])
            moved = math.copysign(max(abs(moved), least), moved)
            doubtful = away <= margin * abs(moved) and live[lane] > 0
            if hidden:
                doubt[r * width + lane] = 1 if doubtful else 0
                f[r * width + lane] = 0.0 if value <= 0 else value
                moved = moved if value > 0 or doubtful else 0.0
            else:
                f[r * width + lane] = value
            xi[r * width + lane] = moved
        for lane in range(width):
            moved = xi[r * width + lane]
            total += moved * moved
            largest = max(largest, abs(moved))
        norms[r] = safe_norm(total, largest, width)


@kernel
def mask_block(rows, sizes, root, share, s_norms, z_norms, normals, h, doubt, s, z, norms):
    """Mask a block of W^T s and of its noise W^T z; write the norms of z.

    Shapes as in ``activate_block``; ``sizes`` are the norms of the weights' columns. Noise passes
    through units in doubt as well: another convention lets them through.
    """
    width = panel_width(s)
    for r in range(rows):
        size = sizes[r]
        total, largest = 0.0, 0.0
        for lane in range(width):
            value = s[r * width + lane]
            eta = size * s_norms[lane] + root * abs(value)
            moved = z[r * width + lane] + eta * normals[r * width + lane]
            least = 0.5 * max(eta, size * z_norms[lane] * share)
            moved = math.copysign(max(abs(moved), least), moved)
            active = h[r * width + lane] > 0
            s[r * width + lane] = value if active else 0.0
            z[r * width + lane] = moved if active or doubt[r * width + lane] != 0 else 0.0
        for lane in range(width):
            moved = z[r * width + lane]
            total += moved * moved
            largest = max(largest, abs(moved))
        norms[r] = safe_norm(total, largest, width)


@kernel
def add_direction_block(rows, inverse_norms, normals, h, s, tangent, dots):
    """tangent = mask (tangent + v / |s_n|), where v is random; dots = sum of s v / |s_n|."""
    width = panel_width(s)
    dots[:] = 0.0
    for r in range(rows):
        for lane in range(width):
            step = normals[r * width + lane] * inverse_norms[lane]
            dots[lane] += s[r * width + lane] * step
            moved = tangent[r * width + lane] + step
            tangent[r * width + lane] = moved if h[r * width + lane] > 0 else 0.0


@kernel
def _scaled_norms(units, values, at, norms):
    """Norms of columns whose squares leave the range of numbers."""
    width = panel_width(values)
    for lane in range(width):
        largest = 0.0
        for r in range(units):
            largest = max(largest, abs(values[at + r * width + lane]))
        total = 0.0
        if largest > 0:
            for r in range(units):
                part = values[at + r * width + lane] / largest
                total += part * part
        norms[lane] = largest * math.sqrt(total)


@kernel
def panel_norms(units, values, at, norms):
    """Norms of the columns of one panel."""
    width = panel_width(values)
    norms[:] = 0.0
    panel = values[at : at + units * width]
    for r in range(units):
        for lane in range(width):
            norms[lane] += panel[r * width + lane] * panel[r * width + lane]
    safe = True
    for lane in range(width):
        if not 1e-250 < norms[lane] < 1e250:
            safe = False
    if safe:
        for lane in range(width):
            norms[lane] = math.sqrt(norms[lane])
    else:
        _scaled_norms(units, values, at, norms)


@kernel
def weighted_norms(units, weights, values, at, norms, result):
    """Norms of the columns of one panel, rows times ``weights``; ``norms`` without weights."""
    width = panel_width(values)
    scale = np.empty(width)
    for lane in range(width):
        scale[lane] = 1.0 / norms[lane] if norms[lane] > 0 else 0.0
    result[:] = 0.0
    panel = values[at : at + units * width]
    for r in range(units):
        factor = weights[r]
        for lane in range(width):
            part = factor * (panel[r * width + lane] * scale[lane])
            result[lane] += part * part
    for lane in range(width):
        result[lane] = math.sqrt(result[lane]) * norms[lane]


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
        largest = max(largest, abs(a[at + p * step]))
    total = 0.0
    if largest > 0:
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
