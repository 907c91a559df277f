"""The sweep forward, a block of rows or a level at a time: h, its noise and doubt, pairs, W v."""

from __future__ import annotations

import math

from ..layer_table import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT
from ..machine.compile import kernel
from ..products.matmul import multiply_twice
from ..products.norms import panel_norms, row_norms
from ..random_numbers import FORWARD_NOISE, fill_signs
from ..simd.moves import copy_run
from ..simd.vectors import panel_width
from .network_pairs import (
    B_H,
    B_PAIR,
    add_projection,
    copy_to_pair,
    dots_of_pair,
    samples_of_pair,
    step_pair,
    vectors_of_pair,
)
from .proof import project_rows
from .rounding_noise import activate_block, growth_root, underflow_of_sum
from .sweep_arrays import kept_start, panel_start, panels_apart
from .weight_rows import multiply_panels, rows_of_weights


@kernel(inline=True)
def bias_of(layer, parameters, unit):
    """Bias of a unit, 0 where the layer has none."""
    return parameters[layer[BIASES] + unit] if layer[BIASES] >= 0 else 0.0


@kernel
def forward_step(k, block, panel, panels, sweep, scratch):
    """Compute a block of rows of layer k for some panels of samples: h, noise, doubt, pairs."""
    rows = rows_of_weights(k, block, sweep.network)
    load_rows(k, rows, sweep.network, scratch)
    if panel == 0:
        keep_row_norms(k, rows, sweep, scratch)
        if k > 0:
            project_weights(k, rows, sweep)
    multiply_forward(k, rows, panel, panels, sweep, scratch)
    multiply_pairs(k, rows, panel, panels, sweep, scratch)
    activate_rows(k, rows, panel, panels, sweep, scratch)
    activate_pairs(k, rows, panel, panels, sweep, scratch)


@kernel(inline=True)
def load_rows(k, rows, network, scratch):
    """Write the norms of the rows and their biases to scratch."""
    layer, parameters = network.layers[k], network.parameters
    row_norms(
        rows.height, rows.depth, parameters, rows.at, rows.row_stride, rows.column_stride,
        scratch.row_norms[: rows.height],
    )  # fmt: skip
    for r in range(rows.height):
        scratch.biases[r] = bias_of(layer, parameters, rows.first + r)


@kernel(inline=True)
def keep_row_norms(k, rows, sweep, scratch):
    """Copy the norms of the rows out of scratch."""
    layers = sweep.network.layers
    unit = layers[k, UNITS_OUT] - layers[0, INPUTS] + rows.first
    copy_run(rows.height, scratch.row_norms, 0, sweep.unit_norms.weight_rows, unit)


@kernel(inline=True)
def project_weights(k, rows, sweep):
    """W v, by which the way back is proved."""
    network, proof = sweep.network, sweep.proof
    layers = network.layers
    above = layers[k, UNITS_OUT] - layers[0, INPUTS] + rows.first
    below = layers[k, UNITS_IN] - layers[0, INPUTS]
    for d in range(proof.directions):
        start = d * (proof.v.size // proof.directions)
        project_rows(
            rows.height, rows.depth, network.parameters, rows.at, rows.row_stride,
            rows.column_stride, proof.v[start + below : start + below + rows.depth],
            proof.w_v[start + above : start + above + rows.height],
        )  # fmt: skip


@kernel(inline=True)
def multiply_forward(k, rows, panel, panels, sweep, scratch):
    """W h and, where noise came in, W xi."""
    network, batch, h, xi = sweep.network, sweep.batch, sweep.levels.h, sweep.noise.xi
    width = panel_width(h)
    layer = network.layers[k]
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    h_at = panel_start(layer[UNITS_IN], inputs, panel, batch.pitch, width)
    f_at = panel_start(layer[UNITS_OUT], outputs, panel, batch.pitch, width) + rows.first * width
    if k > 0:
        all_panels = batch.pitch // width
        multiply_twice(
            rows.height, panels, batch.vectors, rows.depth, network.parameters, rows.at,
            rows.row_stride, rows.column_stride, scratch.strips,
            h, h_at, inputs * width, h, f_at, outputs * width,
            xi, kept_start(xi, k, panel, all_panels),
            xi, kept_start(xi, k + 1, panel, all_panels) + rows.first * width,
            panels_apart(xi, all_panels),
        )  # fmt: skip
    else:
        multiply_panels(
            rows, network.parameters, panels, batch.vectors, h, h_at, inputs * width,
            scratch.strips, h, f_at, outputs * width,
        )  # fmt: skip


@kernel(inline=True)
def multiply_pairs(k, rows, panel, panels, sweep, scratch):
    """W h of the pairs that follow samples of these panels; in the first layer that is W x."""
    network, batch, pairs, h = sweep.network, sweep.batch, sweep.pairs, sweep.levels.h
    width = panel_width(h)
    layer, count = network.layers[k], pairs.chosen.size
    for pair in range(count):
        own, lane = samples_of_pair(pair, pairs, width)
        if panel <= own < panel + panels:
            to = kept_start(pairs.h, k + 1, pair, count) + rows.first * width
            if k == 0:
                source = panel_start(layer[UNITS_OUT], layer[OUTPUTS], own, batch.pitch, width)
                source += rows.first * width + lane
                copy_to_pair(rows.height, pairs.samples, h, source, pairs.h, to)
            else:
                multiply_panels(
                    rows, network.parameters, 1, vectors_of_pair(pairs.samples, width),
                    pairs.h, kept_start(pairs.h, k, pair, count), 0, scratch.strips,
                    pairs.h, to, 0,
                )  # fmt: skip


@kernel(inline=True)
def activate_rows(k, rows, panel, panels, sweep, scratch):
    """Turn W h and W xi into h, xi and doubt, and take the norms of xi by unit."""
    levels, noise, batch, norms = sweep.levels, sweep.noise, sweep.batch, sweep.norms
    unit_norms, layers = sweep.unit_norms, sweep.network.layers
    width = panel_width(levels.h)
    outputs, before = layers[k, OUTPUTS], layers[k, UNITS_OUT]
    hidden = k < layers.shape[0] - 1
    signs = scratch.signs[: rows.height]
    root, share = growth_root(rows.depth), 1.0 / math.sqrt(float(rows.depth))
    least = underflow_of_sum(rows.depth, noise.least)
    all_panels = batch.pitch // width
    all_units = unit_norms.xi.size // all_panels
    size = rows.height * width
    for q in range(panel, panel + panels):
        start = panel_start(before, outputs, q, batch.pitch, width) + rows.first * width
        noise_at = kept_start(noise.xi, k + 1, q, all_panels) + rows.first * width
        fill_signs(sweep.keys[FORWARD_NOISE], start // width, signs)
        at = k * batch.pitch + q * width
        unit = q * all_units + before + rows.first
        activate_block(
            k > 0, scratch.row_norms[: rows.height], scratch.biases[: rows.height], root, share,
            least, noise.margin, hidden, batch.live[q * width : (q + 1) * width],
            norms.h[at : at + width], norms.xi[at : at + width], signs,
            levels.h[start : start + size], noise.xi[noise_at : noise_at + size],
            levels.doubt[start : start + size], unit_norms.xi[unit : unit + rows.height],
        )  # fmt: skip


@kernel(inline=True)
def activate_pairs(k, rows, panel, panels, sweep, scratch):
    """Turn W h of the pairs into their activations."""
    pairs, h, layers = sweep.pairs, sweep.levels.h, sweep.network.layers
    width = panel_width(h)
    outputs, count = layers[k, OUTPUTS], pairs.chosen.size
    unit = layers[k, UNITS_OUT] - layers[0, INPUTS] + rows.first
    for pair in range(count):
        own, lane = samples_of_pair(pair, pairs, width)
        if panel <= own < panel + panels:
            to = kept_start(pairs.h, k + 1, pair, count) + rows.first * width
            base = panel_start(layers[k, UNITS_OUT], outputs, own, sweep.batch.pitch, width)
            base += rows.first * width + lane
            step_pair(
                rows.height, pairs.samples, k < layers.shape[0] - 1, scratch.biases[: rows.height],
                pairs.a[unit : unit + rows.height], pairs.c[unit : unit + rows.height],
                dots_of_pair(k, B_PAIR, pair, 2 * pairs.samples, pairs, width),
                h[base : base + (rows.height - 1) * width + pairs.samples],
                pairs.h[to : to + rows.height * width],
                pairs.crossed[pair * pairs.samples : (pair + 1) * pairs.samples],
            )  # fmt: skip


@kernel
def level_step(level, panel, sweep):
    """Norms of h and xi of a panel of a level, and b.h of the pairs for the next layer."""
    batch, norms, layers = sweep.batch, sweep.norms, sweep.network.layers
    h, xi = sweep.levels.h, sweep.noise.xi
    width = panel_width(h)
    count = layers.shape[0]
    units = layers[level, INPUTS] if level < count else layers[count - 1, OUTPUTS]
    before = layers[level, UNITS_IN] if level < count else layers[count - 1, UNITS_OUT]
    start = panel_start(before, units, panel, batch.pitch, width)
    at = level * batch.pitch + panel * width
    panel_norms(units, h, start, norms.h[at : at + width])
    if level > 0:
        there = kept_start(xi, level, panel, batch.pitch // width)
        panel_norms(units, xi, there, norms.xi[at : at + width])
    if level < count:
        project_pairs(level, panel, start, sweep)


@kernel(inline=True)
def project_pairs(k, panel, start, sweep):
    """b.h of the samples of a panel that pairs follow, and of the pairs' own activations."""
    pairs, h, layers = sweep.pairs, sweep.levels.h, sweep.network.layers
    width = panel_width(h)
    inputs, before, half = layers[k, INPUTS], layers[k, UNITS_IN], pairs.samples
    factors = pairs.b[before : before + inputs]
    for pair in range(pairs.chosen.size):
        own, lane = samples_of_pair(pair, pairs, width)
        if own == panel:
            base = dots_of_pair(k, B_H, pair, half, pairs, width)
            add_projection(inputs, factors, h, start + lane, half, width, base)
            both = dots_of_pair(k, B_PAIR, pair, 2 * half, pairs, width)
            if k == 0:
                copy_run(half, base, 0, both, 0)
                copy_run(half, base, 0, both, half)
            else:
                source = kept_start(pairs.h, k, pair, pairs.chosen.size)
                add_projection(inputs, factors, pairs.h, source, 2 * half, width, both)
