"""Pairs of real networks that ride along: one literal difference of two losses for some samples.

The parameters of a pair are theta + step and theta - step.  The step of each layer's weights is a
random matrix a b^T of rank one, so that its activations need products with W alone ::

    (W +- a b^T) h = W h +- a (b^T h)

and that of the biases is c.  A pair follows ``half`` neighbouring samples of one panel, in a
panel of its own: theta + step in its first lanes, theta - step in as many behind them.
"""

from __future__ import annotations

import math

from ..machine.compile import kernel
from ..simd.moves import copy_run
from ..simd.vectors import VECTORS, panel_width

# What is known of each sample of a pair: b.h, b.h+-, a.s, c.s, a.z, c.z for each layer.
B_H, B_PAIR, A_S, C_S, A_Z, C_Z = range(6)
PAIR_DOTS = 6


@kernel
def samples_of_pair(pair, pairs, width):
    """Panel and first lane of the samples that a pair follows."""
    sample = pairs.chosen[pair] * pairs.samples
    return sample // width, sample % width


@kernel(inline=True)
def dots_of_pair(k, kind, pair, count, pairs, width):
    """What is known of a pair in layer k, by lane: a view of shape (count,)."""
    at = ((k * PAIR_DOTS + kind) * pairs.chosen.size + pair) * width
    return pairs.dots[at : at + count]


@kernel(inline=True)
def vectors_of_pair(half, width):
    """Vectors that the lanes of a pair fill."""
    return 1 if 2 * half * VECTORS <= width else VECTORS


@kernel
def copy_to_pair(rows, half, h, h_at, pairs, pairs_at):
    """Copy rows of a panel, from a pair's first sample on, to both of its networks.

    Shapes: h (rows, NR) from ``h_at`` on, of which ``half`` lanes are copied; pairs (rows, NR)
    from ``pairs_at`` on.
    """
    width = panel_width(h)
    for r in range(rows):
        source, target = h_at + r * width, pairs_at + r * width
        copy_run(half, h, source, pairs, target)
        copy_run(half, h, source, pairs, target + half)


@kernel
def step_pair(rows, half, hidden, biases, a, c, b_h, h, pairs, crossed):
    """Add bias +- (a b.h + c) to rows of a pair, take the ReLU, and note who crosses it.

    Shapes: biases, a and c (rows,); b_h (2 half,), of theta + step and of theta - step; h (rows,
    NR) from the pair's first sample on, of which ``half`` lanes are read; pairs (rows, NR): W h,
    then activations; crossed (half,), set to 1 for samples in which a unit is active in one of
    the three networks and not in another.
    """
    width = panel_width(pairs)
    for r in range(rows):
        bias, factor, offset = biases[r], a[r], c[r]
        at = r * width
        for lane in range(half):
            above = pairs[at + lane] + (bias + (factor * b_h[lane] + offset))
            below = pairs[at + half + lane]
            below += bias - (factor * b_h[half + lane] + offset)
            if hidden:
                active = h[at + lane] > 0
                if (above > 0) != active or (below > 0) != active:
                    crossed[lane] = 1
                above, below = max(above, 0.0), max(below, 0.0)
            pairs[at + lane] = above
            pairs[at + half + lane] = below


@kernel
def add_projection(units, factors, values, at, count, lanes, total):
    """total[lane] = sum over units of factors[unit] values[at + unit * lanes + lane]."""
    total[:] = 0.0
    panel = values[at : at + (units - 1) * lanes + count]
    for r in range(units):
        factor = factors[r]
        for lane in range(count):
            total[lane] += factor * panel[r * lanes + lane]


@kernel
def typical_size(count, values, at):
    """Root mean square of up to some 256 entries of an array; 1 / count where all are 0."""
    step = max(1, count // 256)
    largest, total = 0.0, 0.0
    for k in range(at, at + count, step):
        largest = max(largest, abs(values[k]))
    if not 0.0 < largest < math.inf:
        return 1.0 / count
    for k in range(at, at + count, step):
        total += (values[k] / largest) ** 2
    return largest * math.sqrt(total / ((count + step - 1) // step))


@kernel(entry=True)
def typical_sizes(places, parameters, sizes):
    """Write the typical sizes of each layer's weights and biases.

    Shapes: places (4, layers), where each array begins (negative: there is none) and how long it
    is; sizes (2, layers).
    """
    for k in range(sizes.shape[1]):
        for array in range(2):
            at, count = places[2 * array, k], places[2 * array + 1, k]
            sizes[array, k] = typical_size(count, parameters, at) if at >= 0 else 0.0
