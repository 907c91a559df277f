"""Rounding noise at one unit, for the lanes of a panel: how much, how it travels on, what it hides.

All of it is in units of u, the roundoff; it is linear, so one propagation serves float64 and
float32. A layer adds to row i of its product, in sample n, plus or minus ::

    eta = (|W_i| + least) (|h_n| + least) + |b_i| + sqrt(n) / 4 |f_i| + least

where ``least`` is what numbers lose that are too small for their digits, or become 0 for that, in
units of u.
Sums of n terms in any order are off by about the first term where signs are random, and by the
last, in a plain loop, where they are all alike. What was there before goes through the weights
with the values themselves. What a layer adds has a random sign; no value is less than half of what
independent errors would make it: one that happens to cancel must not pass for exactness.
"""

from __future__ import annotations

import math

import numpy as np

from ..machine.compile import kernel
from ..products.norms import lane_norms


@kernel(inline=True)
def growth_root(depth):
    """sqrt(n) / 4 or n / 64: a plain sum of n numbers of one sign is off by so many u of itself.

    Where the numbers are all equal, every rounding may go the same way: n / 2, and the margin is
    32.
    """
    return max(0.25 * math.sqrt(float(depth)), float(depth) / 64.0)


@kernel(inline=True)
def underflow_of_sum(depth, least):
    """What a sum of n products may lose in units of u, where each loses ``least`` at most.

    All of it in one of 32 products; beyond, the margin is 32.
    """
    return least * (1.0 + growth_root(depth))


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
    on_top, sizes, biases, root, share, least, margin, hidden, live, h_norms, xi_norms, signs,
    f, xi, doubt, norms,
):  # fmt: skip
    """Turn a block of W h and W xi into activations, noise and doubt; write the norms of xi.

    Shapes: ``sizes`` (|W_i|), ``biases``, ``signs`` (64 random bits each) and ``norms`` (rows,);
    ``live``, ``h_norms`` and ``xi_norms`` one panel's lanes; the rest (rows, lanes). Without
    ``on_top`` no noise came in; a pre-activation is in doubt if it is at most ``margin`` times its
    own noise, or exactly 0. Written for vectors: no branch, and lanes counted at run time
    (1.6 ns an entry with either, 0.7 without).
    """
    width = live.size
    kept = 1.0 if on_top else 0.0
    judged = 1 if hidden else 0
    for r in range(sizes.size):
        size, bias, bits = sizes[r], biases[r], signs[r]
        size += least
        offset = abs(bias) + least
        for lane in range(width):
            k = r * width + lane
            value = f[k] + bias
            away = abs(value)
            eta = live[lane] * (size * (h_norms[lane] + least) + offset + root * away)
            moved = kept * xi[k] + eta * sign_of_lane(bits, lane)
            moved = no_less(moved, eta, size * xi_norms[lane] * share * live[lane])
            doubtful = (away <= margin * abs(moved)) & (live[lane] > 0)
            off = (judged > 0) & (value <= 0)
            doubt[k] = np.uint8(judged) if doubtful else np.uint8(0)
            f[k] = 0.0 if off else value
            xi[k] = 0.0 if off & (not doubtful) else moved
    lane_norms(width, xi, norms)


@kernel
def mask_block(
    sizes, root, share, least, live, s_norms, z_norms, signs, h, doubt, before, s, z, norms
):  # fmt: skip
    """Mask a block of U = W^T s into s, and of its noise W^T z; write the norms of z.

    Shapes as in ``activate_block``; ``sizes`` are the norms of the weights' columns. Noise passes
    through units in doubt as well: another convention lets them through.
    """
    width = s_norms.size
    for r in range(sizes.size):
        size, bits = sizes[r] + least, signs[r]
        for lane in range(width):
            k = r * width + lane
            value = before[k]
            eta = size * s_norms[lane] + root * abs(value) + least * live[lane]
            moved = z[k] + eta * sign_of_lane(bits, lane)
            moved = no_less(moved, eta, size * z_norms[lane] * share)
            active = h[k] > 0
            s[k] = value if active else 0.0
            z[k] = moved if active | (doubt[k] != 0) else 0.0
    lane_norms(width, z, norms)
