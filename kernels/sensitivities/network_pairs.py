"""Pairs of real networks that ride along: one literal difference of two losses for some samples.

The parameters of a pair are theta + step and theta - step, along a random direction of rank one in
each layer, so that its activations need products with W alone ::

    (W +- step a b^T) h = W h +- step a (b^T h)

A pair follows ``half`` neighbouring samples of one panel, in a panel of its own: theta + step in
its first lanes, theta - step in as many behind them.
"""

from __future__ import annotations

import math

from ..machine.compile import kernel
from ..simd.moves import copy_run
from ..simd.vectors import VECTORS, panel_width

# What is known of each sample of a pair: b.h, b.h+-, a.s, c.s, a.z, c.z for each layer.
B_H, B_PAIR, A_S, C_S, A_Z, C_Z = range(6)
PAIR_DOTS = 6


@kernel(inline=True)
def samples_of_pair(pair, chosen, half, width):
    """Panel and first lane of the samples that a pair follows."""
    sample = chosen[pair] * half
    return sample // width, sample % width


@kernel(inline=True)
def vectors_of_pair(half, width):
    """Vectors that the lanes of a pair fill."""
    return 1 if 2 * half * VECTORS <= width else VECTORS


@kernel
def raw_pairs(rows, half, h, h_at, lane, pairs, pairs_at):
    """Copy W x of a pair's samples to both of its networks: the first layer needs no product."""
    width = panel_width(h)
    for r in range(rows):
        source = h_at + r * width + lane
        copy_run(half, h, source, pairs, pairs_at + r * width)
        copy_run(half, h, source, pairs, pairs_at + r * width + half)


@kernel
def step_pair(rows, half, hidden, biases, along, offsets, projections, h, pairs, crossed):
    """Finish rows of a pair: bias +- (along b.h + offset), the ReLU, and who crosses it.

    Shapes: biases, along, offsets (rows,); projections and crossed by lane; h (rows, NR) from the
    pair's first sample on, pairs (rows, NR).
    """
    width = panel_width(pairs)
    for r in range(rows):
        bias, factor, offset = biases[r], along[r], offsets[r]
        at = r * width
        for lane in range(half):
            above = pairs[at + lane] + (bias + (factor * projections[lane] + offset))
            below = pairs[at + half + lane]
            below += bias - (factor * projections[half + lane] + offset)
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
