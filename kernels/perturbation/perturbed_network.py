"""The perturbation loop: for every parameter the loss of the network with it changed.

Changing one weight or bias of unit i in layer l changes one pre-activation, f[l][i].  So the
layers below are reused, the next layer is a rank-1 update of its pre-activations, only samples
in which the unit's activation moves take part, and the *columns* (one for each entry, sign and
sample) of many perturbations go through the remaining layers in one product.  What is returned
are whole losses of real, perturbed networks; nothing is linearised.

Columns are ordered by entry, sign, and moving sample.  Panels of NR columns begin anywhere in
that cycle of samples, so what belongs to a sample is laid out cyclically: the moving samples,
then the first NR again.

Everything is float64.  ``levels`` holds rows: level 0 is the input, level k + 1 the
pre-activations f[k], each unit's samples contiguous.
"""

from __future__ import annotations

import numpy as np

from ..backprop.sample_losses import CUSTOM, LEAST_SQUARES, sample_loss
from ..layer_table import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, report_done, stopped, wait_until_done
from ..products.matmul import BLOCK_ROWS, multiply_block, strips_size
from ..simd.relu_update import LINEAR, OFF_AT_ZERO, ON_AT_ZERO, PARTLY_AT_ZERO, update_panel
from ..simd.vectors import VECTORS, panel_width, panels_of

# Samples whose columns go together.  A constant: losses are summed block by block, and the bits
# must not depend on how much memory there is.
SAMPLE_BLOCK = 64


@kernel(inline=True)
def feeding(levels, at, is_input):
    """What a level passes on to the next layer: the input itself, or its ReLU."""
    value = levels[at]
    return value if is_input or not value <= 0 else 0.0


@kernel(inline=True)
def mask(f, at_zero):
    """Derivative of the ReLU under the network's convention at exactly 0."""
    return 1.0 if f > 0 else (at_zero if f == 0 else 0.0)


@kernel
def find_moving_samples(
    first, last, batch, f_at, h_at, is_input, relu, entry, end, inputs, columns, steps, levels,
    reach, cycle,
):  # fmt: skip
    """List the samples first..last in which what the unit passes on can move, NR of them twice.

    Returns how many there are.
    """
    for n in range(last - first):
        reach[n] = 0.0
    if relu:
        for e in range(entry, end):
            step = 0.0
            for s in range(steps.shape[0]):
                step = max(step, abs(steps[s, e]))
            if columns[e] == inputs:
                for n in range(last - first):
                    reach[n] = max(reach[n], step)
            else:
                row = h_at + columns[e] * batch
                source = levels[row + first : row + last]
                for n in range(last - first):
                    h = source[n] if is_input or not source[n] <= 0 else 0.0
                    reach[n] = max(reach[n], step * abs(h))
    count = 0
    for n in range(first, last):
        if not relu or not levels[f_at + n] + reach[n - first] <= 0:
            cycle[count] = n
            count += 1
    if count > 0:
        for extra in range(panel_width(levels)):
            cycle[count + extra] = cycle[extra % count]
    return count


@kernel
def lay_out_cyclically(units, batch, at, cycle, pitch, levels, front, front_at):
    """Copy rows of a level in the order of the cycle of samples: front (units, pitch)."""
    for p in range(units):
        row = at + p * batch
        target = front_at + p * pitch
        if pitch == panel_width(front) + 1:  # one sample, again and again
            value = levels[row + cycle[0]]
            for c in range(pitch):
                front[target + c] = value
        else:
            for c in range(pitch):
                front[target + c] = levels[row + cycle[c]]


@kernel
def perturb_columns(
    start, count, cycle, movers, batch, f_at, h_at, is_input, relu, at_zero, entry, inputs,
    columns, steps, levels, delta, flagged,
):  # fmt: skip
    """Fill in for ``count`` columns from ``start`` how far what the unit passes on moves.

    Behind a ReLU that is its activation, else its output.  Flags entries that cross its kink.
    """
    signs = steps.shape[0]
    q = start // movers
    position = start - q * movers
    c = 0
    while c < count:
        e, s = entry + q // signs, q % signs
        step = steps[s, e]
        is_bias = columns[e] == inputs
        row = h_at + columns[e] * batch
        crossed = False
        for place in range(position, min(movers, position + count - c)):
            n = cycle[place]
            before = levels[f_at + n]
            after = before + step * (1.0 if is_bias else feeding(levels, row + n, is_input))
            if relu:
                crossed |= mask(after, at_zero) != mask(before, at_zero)
                delta[c] = (0.0 if after <= 0 else after) - (0.0 if before <= 0 else before)
            else:
                delta[c] = after - before
            c += 1
        if crossed:
            flagged[e] = True
        position = 0
        q += 1


@kernel
def flag_entries(bits, column, count, movers, signs, entry, flagged):
    """Flag the entries of those lanes of one panel whose masks differ."""
    lane = 0
    while bits != 0 and lane < count:
        if bits & 1:
            flagged[entry + (column + lane) // movers // signs] = True
        bits >>= 1
        lane += 1


@kernel
def losses_of_columns(
    loss, outputs, count, shift, cycle, pitch, result, at, own, own_at, wanted, targets,
    target_row, target_column, labels,
):  # fmt: skip
    """Losses of the columns of one panel; ``wanted`` (outputs, pitch) is the targets' cycle."""
    width = panel_width(result)
    if loss == LEAST_SQUARES:
        squares = own[own_at : own_at + width]
        for lane in range(width):
            squares[lane] = 0.0
        for o in range(outputs):
            line = result[at + o * width : at + (o + 1) * width]
            goal = wanted[o * pitch + shift : o * pitch + shift + width]
            for lane in range(width):
                residual = line[lane] - goal[lane]
                squares[lane] += residual * residual
        return
    for lane in range(count):
        n = cycle[shift + lane]
        own[own_at + lane] = sample_loss(
            loss, outputs, result, at + lane, width, targets, n * target_column, target_row,
            labels, n,
        )  # fmt: skip


@kernel
def add_columns(start, count, movers, signs, entry, own, totals):
    """Add the columns' losses to their entries, in the order of the samples."""
    q = start // movers
    position = start - q * movers
    c = 0
    while c < count:
        e, s = entry + q // signs, q % signs
        length = min(movers - position, count - c)
        total = totals[s, e]
        for k in range(c, c + length):
            total += own[k]
        totals[s, e] = total
        c += length
        position = 0
        q += 1


@kernel
def copy_outputs(
    start, count, cycle, movers, signs, entry, outputs, result, perturbed
):  # fmt: skip
    """Copy the outputs of the columns to perturbed[sign, entry, output, sample]."""
    width = panel_width(result)
    for c in range(count):
        q = (start + c) // movers
        n = cycle[start + c - q * movers]
        at = c // width * outputs * width + c % width
        for o in range(outputs):
            perturbed[q % signs, entry + q // signs, o, n] = result[at + o * width]


@kernel
def replay_unit(
    control, task, units, starts, transposed, at_zero, loss, batch, target_row, target_column,
    chunk_panels, network, problem, scratch, results,
):  # fmt: skip
    """Replay all asked entries of one unit; the tuples are as ``replay`` groups them."""
    layers, parameters, levels, base, targets, labels = network
    columns, steps = problem
    cycle, reach, fronts, wanted, column, bias, ones, delta, own, strips, here, there = scratch
    perturbed, totals, unmoved, flagged = results
    k, unit, entry, end = units[task, 0], units[task, 1], starts[task], starts[task + 1]
    width = panel_width(here)
    last_layer = layers.shape[0] - 1
    signs = steps.shape[0]
    inputs = layers[k, INPUTS]
    h_at = layers[k, UNITS_IN] * batch
    f_at = (layers[k, UNITS_OUT] + unit) * batch
    relu = k < last_layer
    rectified = OFF_AT_ZERO if at_zero == 0 else (ON_AT_ZERO if at_zero == 1 else PARTLY_AT_ZERO)
    m = k + 1 if relu else k  # the layer whose pre-activations are updated
    outputs = layers[last_layer, OUTPUTS]
    for p in range(layers[m, OUTPUTS]):
        if not relu:
            column[p] = 1.0 if p == unit else 0.0
        elif transposed:
            column[p] = parameters[layers[m, WEIGHTS] + unit * layers[m, OUTPUTS] + p]
        else:
            column[p] = parameters[layers[m, WEIGHTS] + p * layers[m, INPUTS] + unit]
    for first in range(0, batch, SAMPLE_BLOCK):
        last = min(batch, first + SAMPLE_BLOCK)
        movers = find_moving_samples(
            first, last, batch, f_at, h_at, k == 0, relu, entry, end, inputs, columns, steps,
            levels, reach, cycle,
        )  # fmt: skip
        still, position = 0.0, 0
        for n in range(first, last):
            if position < movers and cycle[position] == n:
                position += 1
            else:
                still += base[n]
        unmoved[task] += still
        for position in range(movers):
            unmoved[task] += base[cycle[position]]
        for s in range(signs):
            for e in range(entry, end):
                totals[s, e] += still
        if movers == 0:
            continue
        pitch = movers + width
        front_at = 0
        for layer in range(m, last_layer + 1):
            if layer == m or layer < last_layer:
                lay_out_cyclically(
                    layers[layer, OUTPUTS], batch, layers[layer, UNITS_OUT] * batch, cycle, pitch,
                    levels, fronts, front_at,
                )  # fmt: skip
                front_at += layers[layer, OUTPUTS] * pitch
        if loss == LEAST_SQUARES:
            for o in range(outputs):
                for c in range(pitch):
                    wanted[o * pitch + c] = targets[o * target_row + cycle[c] * target_column]
        total = (end - entry) * signs * movers
        for start in range(0, total, chunk_panels * width):
            if stopped(control):
                return
            count = min(chunk_panels * width, total - start)
            panels = panels_of(count, width)
            perturb_columns(
                start, count, cycle, movers, batch, f_at, h_at, k == 0, relu, at_zero, entry,
                inputs, columns, steps, levels, delta, flagged,
            )  # fmt: skip
            for c in range(count, panels * width):
                delta[c] = 0.0
            units = layers[m, OUTPUTS]
            for panel in range(panels):
                shift = (start + panel * width) % movers
                bits = update_panel(
                    LINEAR if m == last_layer else rectified, units, fronts, shift, pitch,
                    column, 0, delta, panel * width, fronts, shift, pitch,
                    here, panel * units * width,
                )  # fmt: skip
                if bits != 0:
                    flag_entries(
                        bits, start + panel * width, count - panel * width, movers, signs, entry,
                        flagged,
                    )  # fmt: skip
            now, then = here, there
            front_at = units * pitch
            for layer in range(m + 1, last_layer + 1):
                units, depth = layers[layer, OUTPUTS], layers[layer, INPUTS]
                row, step = (1, units) if transposed else (depth, 1)
                for r in range(0, units, BLOCK_ROWS):
                    multiply_block(
                        min(BLOCK_ROWS, units - r), panels, VECTORS, depth,
                        parameters, layers[layer, WEIGHTS] + r * row, row, step,
                        now, 0, width, depth * width, strips,
                        then, r * width, width, units * width,
                    )  # fmt: skip
                for p in range(units):
                    bias_at = layers[layer, BIASES]
                    bias[p] = parameters[bias_at + p] if bias_at >= 0 else 0.0
                for panel in range(panels):
                    at = panel * units * width
                    shift = (start + panel * width) % movers
                    bits = update_panel(
                        LINEAR if layer == last_layer else rectified, units, then, at, width,
                        bias, 0, ones, 0, fronts, front_at + shift, pitch, then, at,
                    )  # fmt: skip
                    if bits != 0:
                        flag_entries(
                            bits, start + panel * width, count - panel * width, movers, signs,
                            entry, flagged,
                        )  # fmt: skip
                front_at += units * pitch
                now, then = then, now
            if loss == CUSTOM:
                copy_outputs(start, count, cycle, movers, signs, entry, outputs, now, perturbed)
                continue
            for panel in range(panels):
                losses_of_columns(
                    loss, outputs, min(width, count - panel * width),
                    (start + panel * width) % movers, cycle, pitch, now, panel * outputs * width,
                    own, panel * width, wanted, targets, target_row, target_column, labels,
                )  # fmt: skip
            add_columns(start, count, movers, signs, entry, own, totals)


@kernel(entry=True)
def replay(
    control, layers, transposed, at_zero, loss, batch, parameters, levels, base,
    targets, target_row, target_column, labels, units, starts, columns, steps,
    chunk_panels, perturbed, totals, unmoved, flagged,
):  # fmt: skip
    """Compute the summed loss for every asked entry and step, as one of a team of threads.

    Shapes: levels (units of all levels, batch), flat; base (batch,), the samples' losses;
    units (U, 2) of layer and unit, the entries of unit u from starts[u] to starts[u + 1];
    columns (E,): which input of the unit, or n_in for its bias; steps (S, E): the realised
    steps; perturbed (S, E, n_out, batch) holding the unperturbed outputs for a custom loss,
    else empty; totals (S, E) and unmoved (U,), zero: the summed losses, and those of the
    unperturbed network added in the same order; flagged (E,), False: whether a mask differs
    from that of the unperturbed network.  About S E batch times the weights above the layer.
    """
    width = panel_width(levels)
    largest, above = 0, 0
    for k in range(layers.shape[0]):
        largest = max(largest, layers[k, OUTPUTS])
        above += layers[k, OUTPUTS]
    outputs = layers[layers.shape[0] - 1, OUTPUTS]
    chunk = chunk_panels * width
    pitch = min(SAMPLE_BLOCK, batch) + width
    cycle = np.empty(pitch, np.int64)
    reach = np.empty(pitch, np.float64)
    fronts = np.empty(above * pitch, np.float64)
    wanted = np.empty(outputs * pitch, np.float64)
    column = np.empty(largest, np.float64)
    bias = np.empty(largest, np.float64)
    ones = np.ones(width, np.float64)
    delta = np.empty(chunk, np.float64)
    own = np.empty(chunk, np.float64)
    strips = np.empty(strips_size(largest, largest), np.float64)
    here = np.empty(largest * chunk, np.float64)
    there = np.empty(largest * chunk, np.float64)
    network = (layers, parameters, levels, base, targets, labels)
    problem = (columns, steps)
    scratch = (
        cycle, reach, fronts, wanted, column, bias, ones, delta, own, strips, here, there
    )  # fmt: skip
    results = (perturbed, totals, unmoved, flagged)
    ticket = draw_ticket(control)
    while ticket < units.shape[0]:
        if wait_until_done(control, 0):
            replay_unit(
                control, ticket, units, starts, transposed, at_zero, loss, batch, target_row,
                target_column, chunk_panels, network, problem, scratch, results,
            )  # fmt: skip
        report_done(control)
        ticket = draw_ticket(control)
    wait_until_done(control, units.shape[0])
