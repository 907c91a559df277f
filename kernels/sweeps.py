"""Three sweeps through all layers: values and noise forward, and back, and a proof forward.

Forward, W[k] meets three groups of columns: the activations h of every sample; the noise xi that
rounding makes (``noise.py``); and, for a few samples, the activations of two real networks with
parameters theta + step and theta - step along a random direction of rank one in each layer, ::

    (W +- step a b^T) h = W h +- step a (b^T h)

Back, W[k]^T meets the sensitivities s and their noise z.  Forward again, it meets tangents T, which
take up a fresh random direction v_k / |s_k,n| at each layer: T <- mask (W T + v / |s|).  At the
end r^T T must be the sum of all <s_k, v_k> / |s_k|.  So weights are read from memory three times.

All columns lie in panels of NR lanes, ``[panel][unit][lane]``.  h of level l starts at its units
times the pitch, s of layer k at (UNITS_OUT[k] - UNITS_OUT[0]) * pitch.  Noise, tangents and pairs
are kept for two levels only.  A pair of panels' halves: + in the first half of the lanes, - in the
second, of the samples of half a panel.
"""

from __future__ import annotations

import math

import numpy as np

from .backprop import weight_strides
from .compile import kernel
from .layers import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from .loss import LEAST_SQUARES, SOFTMAX, sample_loss
from .matmul import BLOCK_ROWS, multiply_block, pack_panels, panels_of, strips_size
from .noise import (
    activate_block,
    add_direction_block,
    mask_block,
    panel_norms,
    row_norms,
    safe_norm,
    weighted_norms,
)
from .normal import (
    FORWARD_NOISE,
    OUTPUT_DIRECTION,
    REVERSE_NOISE,
    TANGENT_DIRECTION,
    fill_normals,
)
from .phases import PACK_ROWS, losses_of_panel
from .simd import VECTORS, copy_run, panel_width
from .team import draw_ticket, report_done, wait_until_done

# Kinds of steps.
(
    PACK, FORWARD, LEVEL, LOSS, OUTPUT_NOISE, REVERSE, SENSITIVITY, TANGENT, TANGENT_LEVEL, CLOSE,
) = range(10)  # fmt: skip

# Columns of ``blocks``, one row for each layer: rows of a block forward and back, and how many
# blocks of rows the layers before have forward.
FORWARD_ROWS, REVERSE_ROWS, BLOCKS_BEFORE = range(3)

# What is known of each sample of a pair: b.h, b.h+-, a.s, c.s, a.z, c.z for each layer.
B_H, B_PAIR, A_S, C_S, A_Z, C_Z = range(6)
PAIR_DOTS = 6

# Rows of the table of samples.
(
    ALONG_OUTPUT, ALONG_LOSS, ALONG_SIZE, ALONG_STEP, LARGEST_OUTPUT, RESIDUAL_NOISE,
    LOSSES_BESIDE,
) = range(7)  # fmt: skip
SAMPLE_FACTS = 7

MOST_LIKELY = math.log(0.5)  # and above: of a probability


@kernel(inline=True)
def bias_of(layer, parameters, unit):
    """Bias of a unit, 0 where the layer has none."""
    return parameters[layer[BIASES] + unit] if layer[BIASES] >= 0 else 0.0


@kernel(inline=True)
def growth_root(depth):
    """sqrt(n) / 4: a plain sum of n numbers of one sign is off by so many u of itself."""
    return 0.25 * math.sqrt(float(depth))


@kernel(inline=True)
def panels_apart(riding, panels):
    """Distance of panels that ride along: of the largest level, since they are at any level."""
    return riding.size // 2 // panels


@kernel(inline=True)
def samples_of_pair(pair, chosen, width):
    """Panel and first lane of the half panel of samples that a pair follows."""
    return chosen[pair] // 2, chosen[pair] % 2 * (width // 2)


@kernel
def raw_pairs(rows, h, h_at, lane, pairs, pairs_at):
    """Copy a half panel of W x to both halves of a pair: the first layer needs no product."""
    width = panel_width(h)
    half = width // 2
    for r in range(rows):
        source = h_at + r * width + lane
        copy_run(half, h, source, pairs, pairs_at + r * width)
        copy_run(half, h, source, pairs, pairs_at + r * width + half)


@kernel
def step_pair_row(hidden, bias, along, offset, projections, h, plus, minus, crossed):
    """Finish one row of a pair: bias +- (along b.h + offset), the ReLU, and who crosses it."""
    half = plus.size
    for lane in range(half):
        above = plus[lane] + (bias + (along * projections[lane] + offset))
        below = minus[lane] + (bias - (along * projections[half + lane] + offset))
        if hidden:
            active = h[lane] > 0
            if (above > 0) != active or (below > 0) != active:
                crossed[lane] = 1
            above, below = max(above, 0.0), max(below, 0.0)
        plus[lane] = above
        minus[lane] = below


@kernel
def forward_step(
    k, block, panel, panels, shape, network, levels, riding, norms, units, steps, keys, scratch
):
    """Compute a block of rows of layer k for some panels: h, noise, doubt, pairs."""
    transposed, _batch, pitch, vectors, _directions, margin, _least = shape
    layers, blocks, parameters = network
    h, _s, doubt, live = levels
    xi, _z, _tangents, pairs = riding
    h_norms, x_norms = norms[0], norms[1]
    weight_norms, _column_norms, x_sizes, _z_sizes = units
    chosen, along, _along_in, offsets, dots, crossed = steps
    strips, normals, row_sizes, _lanes = scratch
    width = panel_width(h)
    layer = layers[k]
    hidden = k < layers.shape[0] - 1
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    inputs_of_net = layers[0, INPUTS]
    row = block * blocks[k, FORWARD_ROWS]
    rows = min(blocks[k, FORWARD_ROWS], outputs - row)
    a_row, a_column = weight_strides(transposed, layer)
    w_at = layer[WEIGHTS] + row * a_row
    sizes, own_biases = row_sizes[:rows], row_sizes[BLOCK_ROWS : BLOCK_ROWS + rows]
    row_norms(rows, inputs, parameters, w_at, a_row, a_column, sizes)
    unit = layer[UNITS_OUT] - inputs_of_net + row
    weight_norms[unit : unit + rows] = sizes  # the same from every group of panels
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
    pairs_half = pairs.size // 2
    pairs_apart = panels_apart(pairs, max(1, chosen.size))
    for pair in range(chosen.size):
        own, lane = samples_of_pair(pair, chosen, width)
        if panel <= own < panel + panels:
            to = (k + 1) % 2 * pairs_half + pair * pairs_apart + row * width
            if k == 0:
                raw_pairs(rows, h, target + (own - panel) * outputs * width, lane, pairs, to)
            else:
                multiply_block(
                    rows, 1, VECTORS, inputs, parameters, w_at, a_row, a_column,
                    pairs, k % 2 * pairs_half + pair * pairs_apart, width, 0, strips,
                    pairs, to, width, 0,
                )  # fmt: skip
    root, share = growth_root(inputs), 1.0 / math.sqrt(float(inputs))
    all_units = x_sizes.size // (pitch // width)
    on_top = 1.0 if k > 0 else 0.0
    for r in range(rows):
        own_biases[r] = bias_of(layer, parameters, row + r)
    for q in range(panels):
        start = target + q * outputs * width
        noise_at = noise + q * apart
        fill_normals(keys[FORWARD_NOISE], start, normals[: rows * width])
        at = k * pitch + (panel + q) * width
        own_h_norms, own_x_norms = h_norms[at : at + width], x_norms[at : at + width]
        own_live = live[(panel + q) * width : (panel + q + 1) * width]
        first_unit = (panel + q) * all_units + layer[UNITS_OUT] + row
        activate_block(
            rows, on_top, sizes, own_biases, root, share, margin, hidden, own_live,
            own_h_norms, own_x_norms, normals, h[start : start + rows * width],
            xi[noise_at : noise_at + rows * width], doubt[start : start + rows * width],
            x_sizes[first_unit : first_unit + rows],
        )  # fmt: skip
    for pair in range(chosen.size):
        own, lane = samples_of_pair(pair, chosen, width)
        if panel <= own < panel + panels:
            to = (k + 1) % 2 * pairs_half + pair * pairs_apart + row * width
            base = target + (own - panel) * outputs * width + lane
            known = ((k * PAIR_DOTS + B_PAIR) * chosen.size + pair) * width
            for r in range(rows):
                unit = layer[UNITS_OUT] - inputs_of_net + row + r
                line = to + r * width
                step_pair_row(
                    hidden, bias_of(layer, parameters, row + r), along[unit], offsets[unit],
                    dots[known : known + width],
                    h[base + r * width : base + r * width + width // 2],
                    pairs[line : line + width // 2], pairs[line + width // 2 : line + width],
                    crossed[pair * (width // 2) : (pair + 1) * (width // 2)],
                )  # fmt: skip


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
def level_step(level, panel, panels, shape, network, levels, riding, norms, steps):
    """Norms of h and xi of a level, and what the pairs need of it for the next layer."""
    pitch = shape[2]
    layers = network[0]
    h, xi, pairs = levels[0], riding[0], riding[3]
    h_norms, x_norms = norms[0], norms[1]
    chosen, _along, along_in, _offsets, dots, _crossed = steps
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
        own, lane = samples_of_pair(pair, chosen, width)
        if panel <= own < panel + panels:
            known = ((level * PAIR_DOTS + B_H) * chosen.size + pair) * width
            base = dots[known : known + width // 2]
            source = before * pitch + own * units * width + lane
            add_projection(units, factors, h, source, width // 2, width, base)
            known = ((level * PAIR_DOTS + B_PAIR) * chosen.size + pair) * width
            both = dots[known : known + width]
            if level == 0:
                both[: width // 2] = base
                both[width // 2 :] = base
            else:
                source = level % 2 * (pairs.size // 2) + pair * panels_apart(pairs, chosen.size)
                add_projection(units, factors, pairs, source, width, width, both)


@kernel(inline=True)
def target_of(targets, labels, i, sample, t_row, t_column):
    """Target of an output: a number, or 1 for the sample's own class."""
    if labels.size > 0:
        return 1.0 if labels[sample] == i else 0.0
    return targets[i * t_row + sample * t_column]


@kernel(inline=True)
def moved_share(logarithm, reach):
    """How far a probability can move whose logit moves by ``reach``: p expm1(reach), at most 1.

    From log p, since p itself may be 0 where exp(reach) is infinite.
    """
    if reach < 1.0:
        return math.exp(logarithm) * math.expm1(reach)
    return math.exp(min(0.0, logarithm + reach))


@kernel
def softmax_noise(
    lane, factor, margin, least, outputs, sample, targets, t_row, t_column, labels, o_at, h,
    xi_at, xi, z,
):  # fmt: skip
    """Noise of p - y of one sample.

    Logits move by their noise and by the rounding of exp and log, u of the largest. What is
    likelier than all others together moves by as much as these do, and by the rounding of 1 - p.
    """
    width = panel_width(h)
    top, largest = h[o_at + lane], 0.0
    for i in range(outputs):
        top = max(top, h[o_at + i * width + lane])
        largest = max(largest, abs(h[o_at + i * width + lane]))
    total, mean = 0.0, 0.0
    for i in range(outputs):
        share = math.exp(h[o_at + i * width + lane] - top)
        total += share
        mean += share * abs(xi[xi_at + i * width + lane])
    everywhere, shift = mean / total + 1.0 + largest, top + math.log(total)
    rest, rest_moved = 0.0, 0.0
    for i in range(outputs):
        logarithm = h[o_at + i * width + lane] - shift
        if logarithm < MOST_LIKELY:
            rest += math.exp(logarithm)
            reach = margin * (abs(xi[xi_at + i * width + lane]) + everywhere)
            rest_moved += moved_share(logarithm, reach)
    for i in range(outputs):
        moved = xi[xi_at + i * width + lane]
        logarithm = h[o_at + i * width + lane] - shift
        step = rest_moved + min(rest, margin * largest)
        if logarithm < MOST_LIKELY:
            step = moved_share(logarithm, margin * (abs(moved) + everywhere))
        own = math.exp(logarithm) + target_of(targets, labels, i, sample, t_row, t_column)
        size = abs(factor) * (min(1.0, step) / margin + own) + least
        z[i * width + lane] = math.copysign(size, moved)


@kernel
def output_noise(
    loss, factor, margin, least, outputs, at, panel, targets, t_row, t_column, labels, batch,
    o_at, h, s, xi, xi_at, z,
):  # fmt: skip
    """Noise of the derivative by the outputs: what their noise makes of it, and its own rounding.

    The usual formulas lose what p - y does, and numbers below ``least`` lose their digits.
    """
    width = panel_width(h)
    for lane in range(width):
        sample = panel * width + lane
        if sample >= batch:
            continue
        if loss == SOFTMAX and factor != 0:
            softmax_noise(
                lane, factor, margin, least, outputs, sample, targets, t_row, t_column, labels,
                o_at, h, xi_at, xi, z,
            )  # fmt: skip
            continue
        for i in range(outputs):
            r = s[at + i * width + lane]
            moved = xi[xi_at + i * width + lane]
            if loss == LEAST_SQUARES:
                size = abs(2.0 * factor * moved) + abs(r) + least
            elif factor == 0:
                size = 0.0
            else:
                target = target_of(targets, labels, i, sample, t_row, t_column)
                # The less likely of the two outcomes moves as much as the other.
                away = abs(h[o_at + i * width + lane])
                step = moved_share(-away - math.log1p(math.exp(-away)), margin * abs(moved))
                own = abs(r / factor + target) + target
                size = abs(factor) * (min(1.0, step) / margin + own) + least
            z[i * width + lane] = math.copysign(size, moved)


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
def loss_step(
    panel, panels, shape, network, data, levels, riding, units, steps, results, keys, moved
):
    """Losses, their derivative by the outputs, its noise and its proof; losses of the pairs."""
    _transposed, batch, pitch, _vectors, _directions, margin, least = shape
    layers, _blocks, _parameters = network
    _x, _x_row, _x_column, targets, t_row, t_column, labels, loss, factor = data
    h, s, _doubt, _live = levels
    xi, z, _tangents, pairs = riding
    _weight_norms, _column_norms, _x_sizes, _z_sizes = units
    chosen, _along, _along_in, _offsets, _dots, _crossed = steps
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
        own, first = samples_of_pair(pair, chosen, width)
        if panel <= own < panel + panels:
            for lane in range(width):
                sample = own * width + first + lane % (width // 2)
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
    """Compute a block of rows of mask (W[k]^T s) and of its noise for some panels."""
    transposed, _batch, pitch, vectors, _directions, _margin, _least = shape
    layers, blocks, parameters = network
    h, s, doubt, _live = levels
    z = riding[1]
    s_norms, z_norms = norms[2], norms[3]
    column_norms, z_sizes = units[1], units[3]
    strips, normals, row_sizes, _lanes = scratch
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
    column_norms[layer[UNITS_IN] + row : layer[UNITS_IN] + row + rows] = sizes
    source = (layer[UNITS_OUT] - inputs_of_net) * pitch + panel * outputs * width
    target = (layer[UNITS_IN] - inputs_of_net) * pitch + (panel * inputs + row) * width
    multiply_block(
        rows, panels, vectors, outputs, parameters, w_at, input_stride, unit_stride,
        s, source, width, outputs * width, strips, s, target, width, inputs * width,
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
        fill_normals(keys[REVERSE_NOISE], start, normals[: rows * width])
        at = k * pitch + (panel + q) * width
        own_s_norms, own_z_norms = s_norms[at : at + width], z_norms[at : at + width]
        first_unit = (panel + q) * all_units + layer[UNITS_IN] - inputs_of_net + row
        mask_block(
            rows, sizes, root, share, own_s_norms, own_z_norms, normals,
            h[level_at : level_at + rows * width], doubt[level_at : level_at + rows * width],
            s[start : start + rows * width], z[noise_at : noise_at + rows * width],
            z_sizes[first_unit : first_unit + rows],
        )  # fmt: skip


@kernel
def sensitivity_step(k, panel, panels, shape, network, levels, riding, norms, units, steps):
    """Norms of s, z and |W_i| s of layer k, and what the pairs' samples need of them."""
    pitch = shape[2]
    layers = network[0]
    s, z = levels[1], riding[1]
    s_norms, z_norms, sigmas = norms[2], norms[3], norms[4]
    weight_norms = units[0]
    chosen, along, _along_in, offsets, dots, _crossed = steps
    width = panel_width(s)
    outputs = layers[k, OUTPUTS]
    first = layers[k, UNITS_OUT] - layers[0, INPUTS]
    half, apart = z.size // 2, panels_apart(z, pitch // width)
    for q in range(panel, panel + panels):
        at = k * pitch + q * width
        place = q * outputs * width
        own = s_norms[at : at + width]
        panel_norms(outputs, s, first * pitch + place, own)
        panel_norms(outputs, z, k % 2 * half + q * apart, z_norms[at : at + width])
        weighted_norms(
            outputs, weight_norms[first : first + outputs], s, first * pitch + place, own,
            sigmas[at : at + width],
        )  # fmt: skip
    for pair in range(chosen.size):
        own_panel, lane = samples_of_pair(pair, chosen, width)
        if panel <= own_panel < panel + panels:
            place = own_panel * outputs * width + lane
            for kind in range(A_S, PAIR_DOTS):
                factors = along if kind in (A_S, A_Z) else offsets
                known = ((k * PAIR_DOTS + kind) * chosen.size + pair) * width
                total = dots[known : known + width // 2]
                if kind < A_Z:
                    add_projection(
                        outputs, factors[first : first + outputs], s, first * pitch + place,
                        width // 2, width, total,
                    )  # fmt: skip
                else:
                    add_projection(
                        outputs, factors[first : first + outputs],
                        z, k % 2 * half + own_panel * apart + lane,
                        width // 2, width, total,
                    )  # fmt: skip


@kernel
def tangent_step(
    k, block, panel, panels, shape, network, levels, riding, norms, results, keys, scratch
):
    """Carry a block of rows of the tangents through layer k, and add a fresh direction."""
    transposed, _batch, pitch, vectors, directions, _margin, _least = shape
    layers, blocks, parameters = network
    h, s, _doubt, _live = levels
    tangents = riding[2]
    s_norms = norms[2]
    taken_up = results[3]
    strips, normals, _row_sizes, lanes = scratch
    width = panel_width(h)
    layer = layers[k]
    hidden = k < layers.shape[0] - 1
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    row = block * blocks[k, FORWARD_ROWS]
    rows = min(blocks[k, FORWARD_ROWS], outputs - row)
    a_row, a_column = weight_strides(transposed, layer)
    half = tangents.size // 2
    apart = panels_apart(tangents, directions * pitch // width)
    inverse = lanes[:width]
    for d in range(directions):
        column = d * pitch // width + panel
        target = (k + 1) % 2 * half + column * apart + row * width
        if k > 0:
            multiply_block(
                rows, panels, vectors, inputs, parameters, layer[WEIGHTS] + row * a_row,
                a_row, a_column, tangents, k % 2 * half + column * apart, width,
                apart, strips, tangents, target, width, apart,
            )  # fmt: skip
        if not hidden:
            continue
        for q in range(panels):
            start = target + q * apart
            if k == 0:
                tangents[start : start + rows * width] = 0.0
            place = ((panel + q) * outputs + row) * width
            s_at = (layer[UNITS_OUT] - layers[0, INPUTS]) * pitch + place
            h_at = layer[UNITS_OUT] * pitch + place
            fill_normals(keys[TANGENT_DIRECTION + d], s_at, normals[: rows * width])
            at = k * pitch + (panel + q) * width
            for lane in range(width):
                size = s_norms[at + lane]
                if size == 0:  # a sample that is cut off must be so: a direction of some size
                    size = s_norms[(layers.shape[0] - 1) * pitch + (panel + q) * width + lane]
                inverse[lane] = 1.0 / size if size > 0 else 0.0
            known = ((blocks[k, BLOCKS_BEFORE] + block) * directions + d) * pitch
            known += (panel + q) * width
            add_direction_block(
                rows, inverse, normals, h[h_at : h_at + rows * width],
                s[s_at : s_at + rows * width], tangents[start : start + rows * width],
                taken_up[known : known + width],
            )  # fmt: skip


@kernel
def tangent_level_step(level, panel, panels, shape, network, riding, norms, units):
    """Norms of the tangents of a level, and of the same times the norms of W's columns."""
    pitch, directions = shape[2], shape[4]
    layers = network[0]
    tangents = riding[2]
    t_norms, taus = norms[5], norms[6]
    column_norms = units[1]
    width = panel_width(tangents)
    half, apart = tangents.size // 2, panels_apart(tangents, directions * pitch // width)
    inputs, before = layers[level, INPUTS], layers[level, UNITS_IN]
    for d in range(directions):
        for q in range(panel, panel + panels):
            source = level % 2 * half + (d * (pitch // width) + q) * apart
            at = (level * directions + d) * pitch + q * width
            own = t_norms[at : at + width]
            panel_norms(inputs, tangents, source, own)
            weighted_norms(
                inputs, column_norms[before : before + inputs], tangents, source, own,
                taus[at : at + width],
            )  # fmt: skip


@kernel
def close_step(panel, panels, shape, network, levels, riding, results):
    """r^T T of every sample, and the sum of all <s_k, v_k> / |s_k|."""
    pitch, directions = shape[2], shape[4]
    layers, blocks = network[0], network[1]
    s, tangents = levels[1], riding[2]
    taken_up, arrived, expected = results[3], results[4], results[5]
    width = panel_width(s)
    last = layers.shape[0] - 1
    outputs = layers[last, OUTPUTS]
    half, apart = tangents.size // 2, panels_apart(tangents, directions * pitch // width)
    for d in range(directions):
        for q in range(panel, panel + panels):
            r_at = (layers[last, UNITS_OUT] - layers[0, INPUTS]) * pitch + q * outputs * width
            t_at = (last + 1) % 2 * half + (d * (pitch // width) + q) * apart
            at = d * pitch + q * width
            total, wanted = arrived[at : at + width], expected[at : at + width]
            total[:] = 0.0
            wanted[:] = 0.0
            for i in range(outputs):
                for lane in range(width):
                    total[lane] += s[r_at + i * width + lane] * tangents[t_at + i * width + lane]
            for block in range(blocks[last, BLOCKS_BEFORE]):
                known = (block * directions + d) * pitch + q * width
                for lane in range(width):
                    wanted[lane] += taken_up[known + lane]


@kernel
def run_step(
    kind, k, block, panel, panels, shape, network, data, levels, riding, norms, units, steps,
    results, keys, scratch, moved,
):  # fmt: skip
    """Do one block of one step for some panels of samples."""
    if kind == PACK:
        width = panel_width(levels[0])
        inputs = network[0][0, INPUTS]
        x, x_row, x_column = data[0], data[1], data[2]
        first = block * PACK_ROWS
        pack_panels(
            first, min(inputs, first + PACK_ROWS), min(panels * width, shape[1] - panel * width),
            x, panel * width * x_column, x_row, x_column,
            levels[0], panel * inputs * width, inputs * width,
        )  # fmt: skip
    elif kind == FORWARD:
        forward_step(
            k, block, panel, panels, shape, network, levels, riding, norms, units, steps, keys,
            scratch,
        )  # fmt: skip
    elif kind == LEVEL:
        level_step(k, panel, panels, shape, network, levels, riding, norms, steps)
    elif kind == LOSS:
        loss_step(
            panel, panels, shape, network, data, levels, riding, units, steps, results, keys, moved
        )
    elif kind == OUTPUT_NOISE:
        output_noise_sizes(panel, panels, shape, network, riding, units)
    elif kind == REVERSE:
        reverse_step(
            k, block, panel, panels, shape, network, levels, riding, norms, units, keys, scratch
        )
    elif kind == SENSITIVITY:
        sensitivity_step(k, panel, panels, shape, network, levels, riding, norms, units, steps)
    elif kind == TANGENT:
        tangent_step(
            k, block, panel, panels, shape, network, levels, riding, norms, results, keys, scratch
        )
    elif kind == TANGENT_LEVEL:
        tangent_level_step(k, panel, panels, shape, network, riding, norms, units)
    else:
        close_step(panel, panels, shape, network, levels, riding, results)


@kernel(entry=True)
def sweeps(
    control, schedule, by_panels, group, shape, network, data, levels, riding, norms, units,
    steps, results, keys,
):  # fmt: skip
    """Run the steps of a schedule, as one of a team of threads.

    Shapes: schedule (steps, 3): kind, layer or level, blocks of rows. ``group`` panels of
    samples make one block. With ``by_panels`` a block goes through all steps, and nothing waits;
    else every step waits for the one before. Both give the same bits. For the rest see
    ``fastbp/sweeps.py``, which allocates it.
    """
    layers, _blocks, parameters = network
    width = panel_width(parameters)
    panels = shape[2] // width
    largest = 0
    for k in range(layers.shape[0]):
        largest = max(largest, layers[k, INPUTS], layers[k, OUTPUTS])
    scratch = (
        np.empty(strips_size(largest, largest), parameters.dtype),
        np.empty(BLOCK_ROWS * width), np.empty(2 * BLOCK_ROWS), np.empty(width),
    )  # fmt: skip
    moved = np.empty(3 * layers[layers.shape[0] - 1, OUTPUTS])
    groups = panels_of(panels, group)
    start = 0
    ticket = draw_ticket(control)
    stages = 1 if by_panels else schedule.shape[0]
    for stage in range(stages):
        blocks_here = groups * (1 if by_panels else schedule[stage, 2])
        end = start + blocks_here
        while ticket < end:
            if wait_until_done(control, start):
                panel = (ticket - start) % groups * group
                count = min(group, panels - panel)
                first = 0 if by_panels else stage
                last = schedule.shape[0] if by_panels else stage + 1
                for step in range(first, last):
                    low = 0 if by_panels else (ticket - start) // groups
                    high = schedule[step, 2] if by_panels else low + 1
                    for block in range(low, high):
                        run_step(
                            schedule[step, 0], schedule[step, 1], block, panel, count, shape,
                            network, data, levels, riding, norms, units, steps, results, keys,
                            scratch, moved,
                        )  # fmt: skip
            report_done(control)
            ticket = draw_ticket(control)
        start = end
    wait_until_done(control, start)
