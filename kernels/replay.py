"""The perturbation loop: for every parameter the loss of the network with it changed.

Changing one weight or bias of unit i in layer l changes one pre-activation, f[l][i].  So the
layers below are reused, the next layer is a rank-1 update of its pre-activations, only samples
in which the unit's activation moves take part, and the *columns* (one for each entry, sign and
sample) of many perturbations go through the remaining layers in one product.  What is returned
are whole losses of real, perturbed networks; nothing is linearised.

Everything is float64.  ``levels`` holds rows: level 0 is the input, level k + 1 the
pre-activations f[k], each unit's samples contiguous.
"""

from __future__ import annotations

import numpy as np

from .compile import kernel
from .layers import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from .loss import CUSTOM, sample_loss
from .matmul import BLOCK_ROWS, multiply_block, panels_of, strips_size
from .simd import VECTORS, panel_width
from .team import draw_ticket, report_done, stopped, wait_until_done


@kernel(inline=True)
def feeding(levels, at, is_input):
    """What a level passes on to the next layer: the input itself, or its ReLU."""
    value = levels[at]
    return value if is_input or value > 0 else 0.0


@kernel(inline=True)
def mask(f, at_zero):
    """Derivative of the ReLU under the network's convention at exactly 0."""
    return 1.0 if f > 0 else (at_zero if f == 0 else 0.0)


@kernel
def find_moving_samples(
    first, last, batch, f_at, h_at, is_input, entry, end, inputs, columns, steps, levels,
    reach, moving,
):  # fmt: skip
    """List the samples first..last in which the unit's activation can move; return how many."""
    for n in range(first, last):
        reach[n - first] = 0.0
    for e in range(entry, end):
        step = 0.0
        for s in range(steps.shape[0]):
            step = max(step, abs(steps[s, e]))
        if columns[e] == inputs:
            for n in range(last - first):
                reach[n] = max(reach[n], step)
        else:
            row = h_at + columns[e] * batch
            for n in range(first, last):
                reach[n - first] = max(
                    reach[n - first], step * abs(feeding(levels, row + n, is_input))
                )
    count = 0
    for n in range(first, last):
        if levels[f_at + n] + reach[n - first] > 0:
            moving[count] = n
            count += 1
    return count


@kernel
def perturb_unit(
    start, count, moving, movers, batch, f_at, h_at, is_input, relu, at_zero, entry, inputs,
    columns, steps, levels, delta, flips, sample_of,
):  # fmt: skip
    """Fill in, for ``count`` columns from ``start``, how far the unit moves and in which sample.

    With a ReLU behind it ``delta`` is the change of the activation, else of the output.
    """
    signs = steps.shape[0]
    for c in range(count):
        q = (start + c) // movers
        n = moving[(start + c) - q * movers]
        e = entry + q // signs
        step = steps[q % signs, e]
        column = columns[e]
        h = 1.0 if column == inputs else feeding(levels, h_at + column * batch + n, is_input)
        before = levels[f_at + n]
        after = before + step * h
        sample_of[c] = n
        if relu:
            flips[c] = mask(after, at_zero) != mask(before, at_zero)
            delta[c] = max(after, 0.0) - max(before, 0.0)
        else:
            flips[c] = False
            delta[c] = after - before


@kernel
def gather_front(units, batch, at, moving, movers, levels, pitch, front):
    """Copy the moving samples of a level to rows that go round, any NR neighbours contiguous."""
    for p in range(units):
        row = at + p * batch
        for c in range(pitch):
            front[p * pitch + c] = levels[row + moving[c % movers]]


@kernel
def update_panel(
    units, hidden, at_zero, shift, column, pitch, front, delta, flips, place, panel, at
):
    """Rank-1 update of one panel of pre-activations, its masks compared, its ReLU taken.

    front rows begin at ``shift``; column (units,) is the weight of the moved unit.
    """
    width = panel_width(panel)
    for p in range(units):
        weight = column[p]
        row = p * pitch + shift
        target = at + p * width
        for lane in range(width):
            before = front[row + lane]
            after = before + weight * delta[place + lane]
            if hidden:
                flips[place + lane] |= mask(after, at_zero) != mask(before, at_zero)
                after = max(after, 0.0)
            panel[target + lane] = after


@kernel
def finish_layer(
    units,
    hidden,
    at_zero,
    panels,
    batch,
    level_at,
    bias_at,
    parameters,
    levels,
    sample_of,
    flips,
    result,
):
    """Add the bias to the products of one layer; if hidden compare masks and take the ReLU."""
    width = panel_width(result)
    for panel in range(panels):
        for p in range(units):
            at = (panel * units + p) * width
            bias = parameters[bias_at + p] if bias_at >= 0 else 0.0
            row = level_at + p * batch
            for lane in range(width):
                after = result[at + lane] + bias
                if hidden:
                    place = panel * width + lane
                    before = levels[row + sample_of[place]]
                    flips[place] |= mask(after, at_zero) != mask(before, at_zero)
                    after = max(after, 0.0)
                result[at + lane] = after


@kernel
def add_losses(
    start, count, movers, moving, first, last, signs, entry, loss, outputs, base, targets,
    target_row, target_column, labels, sample_of, flips, result, perturbed, totals, flagged,
):  # fmt: skip
    """Add the columns' losses to their entries, in the order of the samples, and their flags.

    ``base`` are the losses of the samples that do not move.  For a custom loss the outputs are
    copied to ``perturbed`` (signs, entries, outputs, batch) instead.
    """
    width = panel_width(result)
    for c in range(count):
        q = (start + c) // movers
        position = (start + c) - q * movers
        e, s = entry + q // signs, q % signs
        n = sample_of[c]
        at = c // width * outputs * width + c % width
        if flips[c]:
            flagged[e] = True
        if loss == CUSTOM:
            for o in range(outputs):
                perturbed[s, e, o, n] = result[at + o * width]
            continue
        own = sample_loss(
            loss,
            outputs,
            result,
            at,
            width,
            targets,
            n * target_column,
            target_row,
            labels,
            n,
        )
        total = totals[s, e]
        for still in range(moving[position - 1] + 1 if position > 0 else first, n):
            total += base[still]
        total += own
        if position == movers - 1:
            for still in range(n + 1, last):
                total += base[still]
        totals[s, e] = total


@kernel
def replay_unit(
    control, k, unit, entry, end, layers, transposed, at_zero, loss, batch,
    parameters, levels, base,
    targets, target_row, target_column, labels, columns, steps, chunk_panels, sample_block,
    moving, reach, front, column, delta, flips, sample_of, strips, here, there,
    perturbed, totals, flagged,
):  # fmt: skip
    """Replay all asked entries entry..end of one unit."""
    width = panel_width(here)
    last_layer = layers.shape[0] - 1
    signs = steps.shape[0]
    inputs = layers[k, INPUTS]
    h_at = layers[k, UNITS_IN] * batch
    f_at = (layers[k, UNITS_OUT] + unit) * batch
    relu = k < last_layer
    m = k + 1 if relu else k  # the layer whose pre-activations are updated
    units = layers[m, OUTPUTS]
    for p in range(units):
        if not relu:
            column[p] = 1.0 if p == unit else 0.0
        elif transposed:
            column[p] = parameters[layers[m, WEIGHTS] + unit * units + p]
        else:
            column[p] = parameters[layers[m, WEIGHTS] + p * layers[m, INPUTS] + unit]
    for first in range(0, batch, sample_block):
        last = min(batch, first + sample_block)
        if relu:
            movers = find_moving_samples(
                first, last, batch, f_at, h_at, k == 0, entry, end, inputs, columns, steps, levels,
                reach, moving,
            )  # fmt: skip
        else:
            movers = last - first
            for n in range(first, last):
                moving[n - first] = n
        if movers == 0:
            for s in range(signs):
                for e in range(entry, end):
                    for n in range(first, last):
                        totals[s, e] += base[n]
            continue
        pitch = movers + width
        gather_front(
            units,
            batch,
            layers[m, UNITS_OUT] * batch,
            moving,
            movers,
            levels,
            pitch,
            front,
        )
        total = (end - entry) * signs * movers
        for start in range(0, total, chunk_panels * width):
            if stopped(control):
                return
            count = min(chunk_panels * width, total - start)
            panels = panels_of(count, width)
            perturb_unit(
                start, min(panels * width, total - start), moving, movers, batch, f_at, h_at,
                k == 0, relu, at_zero, entry, inputs, columns, steps, levels, delta, flips,
                sample_of,
            )  # fmt: skip
            for c in range(count, panels * width):
                delta[c] = 0.0
                sample_of[c] = moving[0]
            for panel in range(panels):
                update_panel(
                    units, m < last_layer, at_zero, (start + panel * width) % movers, column, pitch,
                    front, delta, flips, panel * width, here, panel * units * width,
                )  # fmt: skip
            now, then = here, there
            for layer in range(m + 1, last_layer + 1):
                outputs, depth = layers[layer, OUTPUTS], layers[layer, INPUTS]
                row, step = (1, outputs) if transposed else (depth, 1)
                for r in range(0, outputs, BLOCK_ROWS):
                    multiply_block(
                        min(BLOCK_ROWS, outputs - r), panels, VECTORS, depth,
                        parameters, layers[layer, WEIGHTS] + r * row, row, step,
                        now, 0, width, depth * width, strips,
                        then, r * width, width, outputs * width,
                    )  # fmt: skip
                finish_layer(
                    outputs, layer < last_layer, at_zero, panels, batch,
                    layers[layer, UNITS_OUT] * batch,
                    layers[layer, BIASES], parameters, levels, sample_of, flips, then,
                )  # fmt: skip
                now, then = then, now
            add_losses(
                start, count, movers, moving, first, last, signs, entry, loss,
                layers[last_layer, OUTPUTS], base, targets, target_row, target_column, labels,
                sample_of, flips, now, perturbed, totals, flagged,
            )  # fmt: skip


@kernel(entry=True)
def replay(
    control, layers, transposed, at_zero, loss, batch, parameters, levels, base,
    targets, target_row, target_column, labels, units, starts, columns, steps,
    chunk_panels, sample_block, perturbed, totals, flagged,
):  # fmt: skip
    """Compute the summed loss for every asked entry and step, as one of a team of threads.

    Shapes: levels (units of all levels, batch), flat; base (batch,), the samples' losses;
    units (U, 2) of layer and unit, the entries of unit u from starts[u] to starts[u + 1];
    columns (E,): which input of the unit, or n_in for its bias; steps (S, E): the realised
    steps; perturbed (S, E, n_out, batch) holding the unperturbed outputs for a custom loss,
    else (S, 0, 0, 0); totals (S, E), zero; flagged (E,), False: whether a mask differs from
    that of the unperturbed network.  About 2 S E batch / 2 times the weights above the layer.
    """
    width = panel_width(levels)
    largest = 0
    for k in range(layers.shape[0]):
        largest = max(largest, layers[k, OUTPUTS])
    chunk = chunk_panels * width
    moving = np.empty(sample_block, np.int64)
    reach = np.empty(sample_block, np.float64)
    front = np.empty(largest * (sample_block + width), np.float64)
    column = np.empty(largest, np.float64)
    delta = np.empty(chunk, np.float64)
    flips = np.empty(chunk, np.bool_)
    sample_of = np.empty(chunk, np.int64)
    strips = np.empty(strips_size(largest, largest), np.float64)
    here = np.empty(largest * chunk, np.float64)
    there = np.empty(largest * chunk, np.float64)
    ticket = draw_ticket(control)
    while ticket < units.shape[0]:
        if wait_until_done(control, 0):
            replay_unit(
                control, units[ticket, 0], units[ticket, 1], starts[ticket], starts[ticket + 1],
                layers, transposed, at_zero, loss, batch, parameters, levels, base,
                targets, target_row, target_column, labels, columns, steps,
                chunk_panels, sample_block, moving, reach, front, column, delta, flips, sample_of,
                strips, here, there, perturbed, totals, flagged,
            )  # fmt: skip
        report_done(control)
        ticket = draw_ticket(control)
    wait_until_done(control, units.shape[0])
