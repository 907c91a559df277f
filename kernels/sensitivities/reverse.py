"""The sweep back, a block of rows or a level at a time: losses, s = dL/df, and its noise."""

from __future__ import annotations

import math

from ..backprop.phases import losses_of_panel
from ..backprop.sample_losses import LEAST_SQUARES, sample_loss
from ..layer_table import INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT
from ..machine.compile import kernel
from ..products.matmul import multiply_twice
from ..products.norms import panel_norms, row_norms, safe_norm, weighted_norms
from ..random_numbers import OUTPUT_DIRECTION, REVERSE_NOISE, fill_normals, fill_signs
from ..simd.moves import copy_run
from ..simd.vectors import panel_width
from .loss_noise import output_noise
from .network_pairs import A_S, A_Z, PAIR_DOTS, add_projection, dots_of_pair, samples_of_pair
from .rounding_noise import growth_root, mask_block, underflow_of_sum
from .sweep_arrays import (
    ALONG_LOSS,
    ALONG_OUTPUT,
    ALONG_SIZE,
    ALONG_STEP,
    LARGEST_OUTPUT,
    LOSSES_BESIDE,
    RESIDUAL_NOISE,
    kept_start,
    panel_start,
    panels_apart,
)
from .weight_rows import rows_of_transpose


@kernel
def loss_step(panel, panels, sweep, scratch):
    """Losses, their derivative by the outputs, its noise and its proof; losses of the pairs."""
    network, batch, loss, levels = sweep.network, sweep.batch, sweep.loss, sweep.levels
    width = panel_width(levels.h)
    layer = network.layers[network.layers.shape[0] - 1]
    outputs = layer[OUTPUTS]
    s_start = (layer[UNITS_OUT] - network.layers[0, INPUTS]) * batch.pitch
    h_start = layer[UNITS_OUT] * batch.pitch
    for q in range(panel, panel + panels):
        losses_of_panel(
            width, q, loss.code, loss.factor, batch.samples, outputs, h_start, levels.h,
            loss.targets, loss.target_row, loss.target_column, loss.labels, True, s_start,
            sweep.results.losses, levels.s,
        )  # fmt: skip
        output_noise(q, sweep)
        difference_at_output(q, sweep, scratch)
    losses_of_pairs(panel, panels, sweep)


@kernel
def difference_at_output(panel, sweep, scratch):
    """Two real losses of every sample of a panel, a step along random outputs d apart."""
    network, batch, loss, facts = sweep.network, sweep.batch, sweep.loss, sweep.results.facts
    h, s, xi = sweep.levels.h, sweep.levels.s, sweep.noise.xi
    width = panel_width(h)
    last = network.layers.shape[0] - 1
    outputs, before = network.layers[last, OUTPUTS], network.layers[last, UNITS_OUT]
    h_at = panel_start(before, outputs, panel, batch.pitch, width)
    s_at = panel_start(before - network.layers[0, INPUTS], outputs, panel, batch.pitch, width)
    xi_at = kept_start(xi, last + 1, panel, batch.pitch // width)
    normals = scratch.outputs[:outputs]
    plus = scratch.outputs[outputs : 2 * outputs]
    minus = scratch.outputs[2 * outputs :]
    for lane in range(width):
        sample = panel * width + lane
        if sample >= batch.samples:
            continue
        largest = largest_at_output(outputs, h, h_at + lane, width, sample, loss)
        step = 1e-5
        if loss.code == LEAST_SQUARES:
            step = 1e-3 * largest if largest > 0 else 1.0
        fill_normals(sweep.keys[OUTPUT_DIRECTION], sample * outputs, normals)
        along, size, length, noise = 0.0, 0.0, 0.0, 0.0
        for i in range(outputs):
            output = h[h_at + i * width + lane]
            plus[i] = output + step * normals[i]
            minus[i] = output - step * normals[i]
            change = plus[i] - minus[i]
            r = s[s_at + i * width + lane]
            along += r * change
            size += abs(r * change)
            length += abs(change)
            noise += abs(r * xi[xi_at + i * width + lane])
        above = loss_of_sample(outputs, plus, 0, 1, sample, loss)
        below = loss_of_sample(outputs, minus, 0, 1, sample, loss)
        facts[ALONG_OUTPUT, sample] = along
        facts[ALONG_LOSS, sample] = above - below
        facts[ALONG_SIZE, sample] = size
        facts[ALONG_STEP, sample] = length
        facts[LARGEST_OUTPUT, sample] = largest
        facts[RESIDUAL_NOISE, sample] = noise
        facts[LOSSES_BESIDE, sample] = abs(above) + abs(below)


@kernel
def largest_at_output(outputs, h, at, stride, sample, loss):
    """Largest size among the outputs of a sample and its targets."""
    largest = 0.0
    for i in range(outputs):
        largest = max(largest, abs(h[at + i * stride]))
        if loss.labels.size == 0:
            target = loss.targets[i * loss.target_row + sample * loss.target_column]
            largest = max(largest, abs(target))
    return largest


@kernel
def loss_of_sample(outputs, values, at, stride, sample, loss):
    """Loss of a sample whose outputs stand ``stride`` apart in ``values``, without factor."""
    return sample_loss(
        loss.code, outputs, values, at, stride, loss.targets, sample * loss.target_column,
        loss.target_row, loss.labels, sample,
    )  # fmt: skip


@kernel
def losses_of_pairs(panel, panels, sweep):
    """Losses of the pairs that follow samples of these panels."""
    batch, pairs, layers = sweep.batch, sweep.pairs, sweep.network.layers
    width = panel_width(pairs.h)
    last, half = layers.shape[0] - 1, pairs.samples
    for pair in range(pairs.chosen.size):
        own, first = samples_of_pair(pair, pairs, width)
        if panel <= own < panel + panels:
            at = kept_start(pairs.h, last + 1, pair, pairs.chosen.size)
            for lane in range(2 * half):
                sample = own * width + first + lane % half
                if sample < batch.samples:
                    pairs.losses[pair * width + lane] = loss_of_sample(
                        layers[last, OUTPUTS], pairs.h, at + lane, width, sample, sweep.loss
                    )


@kernel
def output_noise_sizes(panel, panels, sweep):
    """Norms of z of the outputs over the samples of each panel, whoever wrote z."""
    layers, z, sizes = sweep.network.layers, sweep.noise.z, sweep.unit_norms.z
    width = panel_width(z)
    all_panels = sweep.batch.pitch // width
    last = layers.shape[0] - 1
    outputs = layers[last, OUTPUTS]
    all_units = sizes.size // all_panels
    first = layers[last, UNITS_OUT] - layers[0, INPUTS]
    for q in range(panel, panel + panels):
        at = kept_start(z, last, q, all_panels)
        for i in range(outputs):
            total, largest = 0.0, 0.0
            for lane in range(width):
                noise = z[at + i * width + lane]
                total += noise * noise
                largest = max(largest, abs(noise))
            sizes[q * all_units + first + i] = safe_norm(total, largest, width)


@kernel
def reverse_step(k, block, panel, panels, sweep, scratch):
    """Compute a block of rows of U = W[k]^T s, of s' = mask U, and of their noise."""
    network = sweep.network
    rows = rows_of_transpose(k, block, network)
    norms = scratch.row_norms[: rows.height]
    row_norms(
        rows.height, rows.depth, network.parameters, rows.at, rows.row_stride, rows.column_stride,
        norms,
    )  # fmt: skip
    if panel == 0:
        unit = network.layers[k, UNITS_IN] + rows.first
        copy_run(rows.height, norms, 0, sweep.unit_norms.weight_columns, unit)
    multiply_reverse(k, rows, panel, panels, sweep, scratch)
    mask_rows(k, rows, panel, panels, sweep, scratch)


@kernel(inline=True)
def multiply_reverse(k, rows, panel, panels, sweep, scratch):
    """U = W^T s and W^T z."""
    network, batch, levels, z = sweep.network, sweep.batch, sweep.levels, sweep.noise.z
    width = panel_width(z)
    layer, first_output = network.layers[k], network.layers[0, INPUTS]
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    above, below = layer[UNITS_OUT] - first_output, layer[UNITS_IN] - first_output
    all_panels = batch.pitch // width
    multiply_twice(
        rows.height, panels, batch.vectors, rows.depth, network.parameters, rows.at,
        rows.row_stride, rows.column_stride, scratch.strips,
        levels.s, panel_start(above, outputs, panel, batch.pitch, width), outputs * width,
        levels.unmasked,
        panel_start(below, inputs, panel, batch.pitch, width) + rows.first * width, inputs * width,
        z, kept_start(z, k, panel, all_panels),
        z, kept_start(z, k + 1, panel, all_panels) + rows.first * width,
        panels_apart(z, all_panels),
    )  # fmt: skip


@kernel(inline=True)
def mask_rows(k, rows, panel, panels, sweep, scratch):
    """Turn U and W^T z into s and z, and take the norms of z by unit."""
    levels, batch, norms, z = sweep.levels, sweep.batch, sweep.norms, sweep.noise.z
    sizes, layers = sweep.unit_norms.z, sweep.network.layers
    width = panel_width(z)
    inputs, before, first_output = layers[k, INPUTS], layers[k, UNITS_IN], layers[0, INPUTS]
    signs = scratch.signs[: rows.height]
    root, share = growth_root(rows.depth), 1.0 / math.sqrt(float(rows.depth))
    least = underflow_of_sum(rows.depth, sweep.noise.least)
    all_panels = batch.pitch // width
    all_units = sizes.size // all_panels
    size = rows.height * width
    for q in range(panel, panel + panels):
        start = panel_start(before - first_output, inputs, q, batch.pitch, width)
        start += rows.first * width
        noise_at = kept_start(z, k + 1, q, all_panels) + rows.first * width
        level_at = panel_start(before, inputs, q, batch.pitch, width) + rows.first * width
        fill_signs(sweep.keys[REVERSE_NOISE], start // width, signs)
        at = k * batch.pitch + q * width
        unit = q * all_units + before - first_output + rows.first
        mask_block(
            scratch.row_norms[: rows.height], root, share, least,
            batch.live[q * width : (q + 1) * width], norms.s[at : at + width],
            norms.z[at : at + width], signs, levels.h[level_at : level_at + size],
            levels.doubt[level_at : level_at + size], levels.unmasked[start : start + size],
            levels.s[start : start + size], z[noise_at : noise_at + size],
            sizes[unit : unit + rows.height],
        )  # fmt: skip


@kernel
def sensitivity_step(k, panel, sweep):
    """Norms of s, z and |W_i| s of a panel of layer k, and what the pairs' samples need of them."""
    batch, norms, layers = sweep.batch, sweep.norms, sweep.network.layers
    s, z = sweep.levels.s, sweep.noise.z
    width = panel_width(s)
    outputs, first = layers[k, OUTPUTS], layers[k, UNITS_OUT] - layers[0, INPUTS]
    s_at = panel_start(first, outputs, panel, batch.pitch, width)
    z_at = kept_start(z, k, panel, batch.pitch // width)
    at = k * batch.pitch + panel * width
    panel_norms(outputs, s, s_at, norms.s[at : at + width])
    panel_norms(outputs, z, z_at, norms.z[at : at + width])
    weighted_norms(
        outputs, sweep.unit_norms.weight_rows[first : first + outputs], 1, s, s_at,
        norms.weighted_s[at : at + width],
    )  # fmt: skip
    project_sensitivities(k, panel, s_at, z_at, sweep)


@kernel(inline=True)
def project_sensitivities(k, panel, s_at, z_at, sweep):
    """a.s, c.s, a.z and c.z of the samples of a panel that pairs follow."""
    pairs, s, z, layers = sweep.pairs, sweep.levels.s, sweep.noise.z, sweep.network.layers
    width = panel_width(s)
    outputs, first = layers[k, OUTPUTS], layers[k, UNITS_OUT] - layers[0, INPUTS]
    for pair in range(pairs.chosen.size):
        own, lane = samples_of_pair(pair, pairs, width)
        if own == panel:
            for kind in range(A_S, PAIR_DOTS):
                step = pairs.a if kind in (A_S, A_Z) else pairs.c
                factors = step[first : first + outputs]
                total = dots_of_pair(k, kind, pair, pairs.samples, pairs, width)
                if kind < A_Z:
                    add_projection(outputs, factors, s, s_at + lane, pairs.samples, width, total)
                else:
                    add_projection(outputs, factors, z, z_at + lane, pairs.samples, width, total)
