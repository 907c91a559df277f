"""The sweep forward, a block of rows or a level at a time: h, its noise and doubt, pairs, W v."""

from __future__ import annotations

import math

from ..layer_table import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS, weight_strides
from ..machine.compile import kernel
from ..products.matmul import BLOCK_ROWS, multiply_block
from ..products.norms import panel_norms, row_norms
from ..random_numbers import FORWARD_NOISE, fill_signs
from ..simd.vectors import panel_width
from .network_pairs import (
    B_H,
    B_PAIR,
    PAIR_DOTS,
    add_projection,
    raw_pairs,
    samples_of_pair,
    step_pair,
    vectors_of_pair,
)
from .proof import project_rows
from .rounding_noise import activate_block, growth_root, panels_apart

# Columns of ``blocks``, one row for each layer: rows of a block forward and back.
FORWARD_ROWS, REVERSE_ROWS = range(2)


@kernel(inline=True)
def bias_of(layer, parameters, unit):
    """Bias of a unit, 0 where the layer has none."""
    return parameters[layer[BIASES] + unit] if layer[BIASES] >= 0 else 0.0


@kernel
def pair_products(
    k, row, rows, panel, panels, shape, layer, parameters, w_at, a_row, a_column, h, target,
    pairs, chosen, strips,
):  # fmt: skip
    """Multiply a block of rows of W with the pairs that follow samples of these panels."""
    half = shape[7]
    width = panel_width(h)
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    slot, apart = pairs.size // 2, panels_apart(pairs, max(1, chosen.size))
    for pair in range(chosen.size):
        own, lane = samples_of_pair(pair, chosen, half, width)
        if panel <= own < panel + panels:
            to = (k + 1) % 2 * slot + pair * apart + row * width
            if k == 0:
                source = target + (own - panel) * outputs * width
                raw_pairs(rows, half, h, source, lane, pairs, to)
            else:
                multiply_block(
                    rows, 1, vectors_of_pair(half, width), inputs, parameters, w_at, a_row,
                    a_column, pairs, k % 2 * slot + pair * apart, width, 0, strips,
                    pairs, to, width, 0,
                )  # fmt: skip


@kernel
def finish_pairs(k, row, rows, panel, panels, shape, layers, h, target, pairs, steps, biases):
    """Turn these products into the pairs' activations."""
    half = shape[7]
    chosen, along, _along_in, offsets, dots, crossed = steps
    width = panel_width(h)
    outputs = layers[k, OUTPUTS]
    slot, apart = pairs.size // 2, panels_apart(pairs, max(1, chosen.size))
    unit = layers[k, UNITS_OUT] - layers[0, INPUTS] + row
    for pair in range(chosen.size):
        own, lane = samples_of_pair(pair, chosen, half, width)
        if panel <= own < panel + panels:
            to = (k + 1) % 2 * slot + pair * apart + row * width
            base = target + (own - panel) * outputs * width + lane
            known = ((k * PAIR_DOTS + B_PAIR) * chosen.size + pair) * width
            step_pair(
                rows, half, k < layers.shape[0] - 1, biases, along[unit : unit + rows],
                offsets[unit : unit + rows], dots[known : known + 2 * half],
                h[base : base + (rows - 1) * width + half], pairs[to : to + rows * width],
                crossed[pair * half : (pair + 1) * half],
            )  # fmt: skip


@kernel
def forward_step(
    k, block, panel, panels, shape, network, levels, riding, norms, units, steps, proof, keys,
    scratch,
):  # fmt: skip
    """Compute a block of rows of layer k for some panels: h, noise, doubt, pairs."""
    transposed, pitch, vectors, directions, margin = (
        shape[0],
        shape[2],
        shape[3],
        shape[4],
        shape[5],
    )
    layers, blocks, parameters = network
    h, doubt, live = levels[0], levels[2], levels[3]
    xi, pairs = riding[0], riding[2]
    h_norms, x_norms = norms[0], norms[1]
    weight_norms, x_sizes = units[0], units[2]
    strips, signs, row_sizes, _lanes = scratch
    width = panel_width(h)
    layer = layers[k]
    hidden = k < layers.shape[0] - 1
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    inputs_of_net = layers[0, INPUTS]
    row = block * blocks[k, FORWARD_ROWS]
    rows = min(blocks[k, FORWARD_ROWS], outputs - row)
    a_row, a_column = weight_strides(transposed, layer)
    w_at = layer[WEIGHTS] + row * a_row
    sizes, biases = row_sizes[:rows], row_sizes[BLOCK_ROWS : BLOCK_ROWS + rows]
    row_norms(rows, inputs, parameters, w_at, a_row, a_column, sizes)
    unit = layer[UNITS_OUT] - inputs_of_net + row
    if panel == 0:
        weight_norms[unit : unit + rows] = sizes
        if k > 0:
            factors, projected = proof[0], proof[1]
            for d in range(directions):
                first = d * (factors.size // directions) + layer[UNITS_IN] - inputs_of_net
                there = d * (projected.size // directions) + unit
                project_rows(
                    rows, inputs, parameters, w_at, a_row, a_column,
                    factors[first : first + inputs], projected[there : there + rows],
                )  # fmt: skip
    target = layer[UNITS_OUT] * pitch + (panel * outputs + row) * width
    multiply_block(
        rows, panels, vectors, inputs, parameters, w_at, a_row, a_column,
        h, layer[UNITS_IN] * pitch + panel * inputs * width, width, inputs * width, strips,
        h, target, width, outputs * width,
    )  # fmt: skip
    half = xi.size // 2
    apart = panels_apart(xi, pitch // width)
    noise = (k + 1) % 2 * half + panel * apart + row * width
    if k > 0:
        multiply_block(
            rows, panels, vectors, inputs, parameters, w_at, a_row, a_column,
            xi, k % 2 * half + panel * apart, width, apart, strips,
            xi, noise, width, apart,
        )  # fmt: skip
    pair_products(
        k, row, rows, panel, panels, shape, layer, parameters, w_at, a_row, a_column, h, target,
        pairs, steps[0], strips,
    )  # fmt: skip
    for r in range(rows):
        biases[r] = bias_of(layer, parameters, row + r)
    root, share = growth_root(inputs), 1.0 / math.sqrt(float(inputs))
    all_units = x_sizes.size // (pitch // width)
    for q in range(panels):
        start = target + q * outputs * width
        noise_at = noise + q * apart
        fill_signs(keys[FORWARD_NOISE], start // width, signs[:rows])
        at = k * pitch + (panel + q) * width
        first_unit = (panel + q) * all_units + layer[UNITS_OUT] + row
        activate_block(
            k > 0, sizes, biases, root, share, margin, hidden,
            live[(panel + q) * width : (panel + q + 1) * width],
            h_norms[at : at + width], x_norms[at : at + width], signs,
            h[start : start + rows * width], xi[noise_at : noise_at + rows * width],
            doubt[start : start + rows * width], x_sizes[first_unit : first_unit + rows],
        )  # fmt: skip
    finish_pairs(k, row, rows, panel, panels, shape, layers, h, target, pairs, steps, biases)


@kernel
def level_step(level, panel, panels, shape, network, levels, riding, norms, steps):
    """Norms of h and xi of a level, and what the pairs need of it for the next layer."""
    pitch, pair_half = shape[2], shape[7]
    layers = network[0]
    h, xi, pairs = levels[0], riding[0], riding[2]
    h_norms, x_norms = norms[0], norms[1]
    chosen, along_in, dots = steps[0], steps[2], steps[4]
    width = panel_width(h)
    count = layers.shape[0]
    units = layers[level, INPUTS] if level < count else layers[count - 1, OUTPUTS]
    before = layers[level, UNITS_IN] if level < count else layers[count - 1, UNITS_OUT]
    half = xi.size // 2
    for q in range(panel, panel + panels):
        at = level * pitch + q * width
        panel_norms(units, h, before * pitch + q * units * width, h_norms[at : at + width])
        if level > 0:
            there = level % 2 * half + q * panels_apart(xi, pitch // width)
            panel_norms(units, xi, there, x_norms[at : at + width])
    if level == count:
        return
    factors = along_in[before : before + units]
    for pair in range(chosen.size):
        own, lane = samples_of_pair(pair, chosen, pair_half, width)
        if panel <= own < panel + panels:
            known = ((level * PAIR_DOTS + B_H) * chosen.size + pair) * width
            base = dots[known : known + pair_half]
            source = before * pitch + own * units * width + lane
            add_projection(units, factors, h, source, pair_half, width, base)
            known = ((level * PAIR_DOTS + B_PAIR) * chosen.size + pair) * width
            both = dots[known : known + 2 * pair_half]
            if level == 0:
                both[:pair_half] = base
                both[pair_half:] = base
            else:
                source = level % 2 * (pairs.size // 2) + pair * panels_apart(pairs, chosen.size)
                add_projection(units, factors, pairs, source, 2 * pair_half, width, both)
