"""The sweep back, a block of rows or a level at a time: losses, s = dL/df, and its noise."""

from __future__ import annotations

import math

from ..backprop.phases import losses_of_panel
from ..backprop.sample_losses import LEAST_SQUARES, sample_loss
from ..layer_table import INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS, weight_strides
from ..machine.compile import kernel
from ..products.matmul import multiply_block
from ..products.norms import panel_norms, row_norms, safe_norm, weighted_norms
from ..random_numbers import OUTPUT_DIRECTION, REVERSE_NOISE, fill_normals, fill_signs
from ..simd.vectors import panel_width
from .forward import REVERSE_ROWS
from .loss_noise import output_noise
from .network_pairs import A_S, A_Z, PAIR_DOTS, add_projection, samples_of_pair
from .rounding_noise import growth_root, mask_block, panels_apart

# Rows of the table of samples.
(
    ALONG_OUTPUT, ALONG_LOSS, ALONG_SIZE, ALONG_STEP, LARGEST_OUTPUT, RESIDUAL_NOISE,
    LOSSES_BESIDE,
) = range(7)  # fmt: skip
SAMPLE_FACTS = 7


@kernel
def difference_at_output(
    loss, outputs, batch, panel, o_at, r_at, h, s, xi, xi_at, targets, t_row, t_column, labels,
    key, moved, facts,
):  # fmt: skip
    """Two real losses of every sample, a step along a random direction of its outputs apart."""
    width = panel_width(h)
    normals = moved[:outputs]
    plus = moved[outputs : 2 * outputs]
    minus = moved[2 * outputs :]
    for lane in range(width):
        sample = panel * width + lane
        if sample >= batch:
            continue
        largest = 0.0
        for i in range(outputs):
            largest = max(largest, abs(h[o_at + i * width + lane]))
            if labels.size == 0:
                largest = max(largest, abs(targets[i * t_row + sample * t_column]))
        step = 1e-5
        if loss == LEAST_SQUARES:
            step = 1e-3 * largest if largest > 0 else 1.0
        fill_normals(key, sample * outputs, normals)
        along, size, length, noise = 0.0, 0.0, 0.0, 0.0
        for i in range(outputs):
            output = h[o_at + i * width + lane]
            plus[i] = output + step * normals[i]
            minus[i] = output - step * normals[i]
            change = plus[i] - minus[i]
            r = s[r_at + i * width + lane]
            along += r * change
            size += abs(r * change)
            length += abs(change)
            noise += abs(r * xi[xi_at + i * width + lane])
        target_at = sample * t_column
        above = sample_loss(loss, outputs, plus, 0, 1, targets, target_at, t_row, labels, sample)
        below = sample_loss(loss, outputs, minus, 0, 1, targets, target_at, t_row, labels, sample)
        facts[ALONG_OUTPUT, sample] = along
        facts[ALONG_LOSS, sample] = above - below
        facts[ALONG_SIZE, sample] = size
        facts[ALONG_STEP, sample] = length
        facts[LARGEST_OUTPUT, sample] = largest
        facts[RESIDUAL_NOISE, sample] = noise
        facts[LOSSES_BESIDE, sample] = abs(above) + abs(below)


@kernel
def loss_step(panel, panels, shape, network, data, levels, riding, steps, results, keys, moved):
    """Losses, their derivative by the outputs, its noise and its proof; losses of the pairs."""
    batch, pitch, margin, least, half = shape[1], shape[2], shape[5], shape[6], shape[7]
    layers = network[0]
    targets, t_row, t_column, labels, loss, factor = data[3:]
    h, s = levels[0], levels[1]
    xi, z, pairs = riding
    chosen = steps[0]
    losses, pair_losses, facts = results[0], results[1], results[2]
    width = panel_width(h)
    last = layers.shape[0] - 1
    layer = layers[last]
    outputs = layer[OUTPUTS]
    s_start = (layer[UNITS_OUT] - layers[0, INPUTS]) * pitch
    o_start = layer[UNITS_OUT] * pitch
    z_start = last % 2 * (z.size // 2)
    xi_start = (last + 1) % 2 * (xi.size // 2)
    apart = panels_apart(z, pitch // width)
    for q in range(panel, panel + panels):
        losses_of_panel(
            width, q, loss, factor, batch, outputs, o_start, h, targets, t_row, t_column, labels,
            True, s_start, losses, s,
        )  # fmt: skip
        place = q * outputs * width
        output_noise(
            loss, factor, margin, least, outputs, s_start + place, q, targets, t_row, t_column,
            labels, batch, o_start + place, h, s, xi, xi_start + q * apart,
            z[z_start + q * apart : z_start + q * apart + outputs * width],
        )  # fmt: skip
        difference_at_output(
            loss, outputs, batch, q, o_start + place, s_start + place, h, s,
            xi, xi_start + q * apart,
            targets, t_row, t_column, labels, keys[OUTPUT_DIRECTION], moved, facts,
        )  # fmt: skip
    at = (last + 1) % 2 * (pairs.size // 2)
    pairs_apart = panels_apart(pairs, max(1, chosen.size))
    for pair in range(chosen.size):
        own, first = samples_of_pair(pair, chosen, half, width)
        if panel <= own < panel + panels:
            for lane in range(2 * half):
                sample = own * width + first + lane % half
                if sample < batch:
                    pair_losses[pair * width + lane] = sample_loss(
                        loss, outputs, pairs, at + pair * pairs_apart + lane, width,
                        targets, sample * t_column, t_row, labels, sample,
                    )  # fmt: skip


@kernel
def output_noise_sizes(panel, panels, shape, network, riding, units):
    """Norms of z of the outputs over the samples of each panel, whoever wrote z."""
    pitch = shape[2]
    layers = network[0]
    z, z_sizes = riding[1], units[3]
    width = panel_width(z)
    last = layers.shape[0] - 1
    outputs = layers[last, OUTPUTS]
    all_units = z_sizes.size // (pitch // width)
    first = layers[last, UNITS_OUT] - layers[0, INPUTS]
    for q in range(panel, panel + panels):
        at = last % 2 * (z.size // 2) + q * panels_apart(z, pitch // width)
        for i in range(outputs):
            total, largest = 0.0, 0.0
            for lane in range(width):
                noise = z[at + i * width + lane]
                total += noise * noise
                largest = max(largest, abs(noise))
            z_sizes[q * all_units + first + i] = safe_norm(total, largest, width)


@kernel
def reverse_step(
    k, block, panel, panels, shape, network, levels, riding, norms, units, keys, scratch
):
    """Compute a block of rows of U = W[k]^T s, of s' = mask U, and of their noise."""
    transposed, pitch, vectors = shape[0], shape[2], shape[3]
    layers, blocks, parameters = network
    h, s, doubt, _live, before = levels
    z = riding[1]
    s_norms, z_norms = norms[2], norms[3]
    column_norms, z_sizes = units[1], units[3]
    strips, signs, row_sizes, _lanes = scratch
    width = panel_width(h)
    layer = layers[k]
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    inputs_of_net = layers[0, INPUTS]
    row = block * blocks[k, REVERSE_ROWS]
    rows = min(blocks[k, REVERSE_ROWS], inputs - row)
    unit_stride, input_stride = weight_strides(transposed, layer)
    w_at = layer[WEIGHTS] + row * input_stride
    sizes = row_sizes[:rows]
    row_norms(rows, outputs, parameters, w_at, input_stride, unit_stride, sizes)
    if panel == 0:
        column_norms[layer[UNITS_IN] + row : layer[UNITS_IN] + row + rows] = sizes
    source = (layer[UNITS_OUT] - inputs_of_net) * pitch + panel * outputs * width
    target = (layer[UNITS_IN] - inputs_of_net) * pitch + (panel * inputs + row) * width
    multiply_block(
        rows, panels, vectors, outputs, parameters, w_at, input_stride, unit_stride,
        s, source, width, outputs * width, strips, before, target, width, inputs * width,
    )  # fmt: skip
    half = z.size // 2
    apart = panels_apart(z, pitch // width)
    noise = (k + 1) % 2 * half + panel * apart + row * width
    multiply_block(
        rows, panels, vectors, outputs, parameters, w_at, input_stride, unit_stride,
        z, k % 2 * half + panel * apart, width, apart, strips,
        z, noise, width, apart,
    )  # fmt: skip
    root, share = growth_root(outputs), 1.0 / math.sqrt(float(outputs))
    all_units = z_sizes.size // (pitch // width)
    for q in range(panels):
        start = target + q * inputs * width
        noise_at = noise + q * apart
        level_at = layer[UNITS_IN] * pitch + ((panel + q) * inputs + row) * width
        fill_signs(keys[REVERSE_NOISE], start // width, signs[:rows])
        at = k * pitch + (panel + q) * width
        first_unit = (panel + q) * all_units + layer[UNITS_IN] - inputs_of_net + row
        mask_block(
            sizes, root, share, s_norms[at : at + width], z_norms[at : at + width], signs,
            h[level_at : level_at + rows * width], doubt[level_at : level_at + rows * width],
            before[start : start + rows * width], s[start : start + rows * width],
            z[noise_at : noise_at + rows * width], z_sizes[first_unit : first_unit + rows],
        )  # fmt: skip


@kernel
def sensitivity_step(k, panel, panels, shape, network, levels, riding, norms, units, steps):
    """Norms of s, z and |W_i| s of layer k, and what the pairs' samples need of them."""
    pitch, pair_half = shape[2], shape[7]
    layers = network[0]
    s, z = levels[1], riding[1]
    s_norms, z_norms, sigmas = norms[2], norms[3], norms[4]
    weight_norms = units[0]
    chosen, along, offsets, dots = steps[0], steps[1], steps[3], steps[4]
    width = panel_width(s)
    outputs = layers[k, OUTPUTS]
    first = layers[k, UNITS_OUT] - layers[0, INPUTS]
    half, apart = z.size // 2, panels_apart(z, pitch // width)
    for q in range(panel, panel + panels):
        at = k * pitch + q * width
        place = q * outputs * width
        panel_norms(outputs, s, first * pitch + place, s_norms[at : at + width])
        panel_norms(outputs, z, k % 2 * half + q * apart, z_norms[at : at + width])
        weighted_norms(
            outputs, weight_norms[first : first + outputs], 1, s, first * pitch + place,
            sigmas[at : at + width],
        )  # fmt: skip
    for pair in range(chosen.size):
        own_panel, lane = samples_of_pair(pair, chosen, pair_half, width)
        if panel <= own_panel < panel + panels:
            place = own_panel * outputs * width + lane
            for kind in range(A_S, PAIR_DOTS):
                factors = along if kind in (A_S, A_Z) else offsets
                known = ((k * PAIR_DOTS + kind) * chosen.size + pair) * width
                total = dots[known : known + pair_half]
                if kind < A_Z:
                    add_projection(
                        outputs, factors[first : first + outputs], s, first * pitch + place,
                        pair_half, width, total,
                    )  # fmt: skip
                else:
                    add_projection(
                        outputs, factors[first : first + outputs],
                        z, k % 2 * half + own_panel * apart + lane,
                        pair_half, width, total,
                    )  # fmt: skip
