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

from typing import Any, NamedTuple

import numpy as np

from ..backprop.sample_losses import CUSTOM, LEAST_SQUARES, sample_loss
from ..layer_table import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS, weight_strides
from ..machine.aligned_arrays import aligned_empty
from ..machine.borrowed_arrays import borrowed, keep
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, next_ticket, stopped, wait_until_done
from ..products.matmul import BLOCK_ROWS, multiply_block, strips_size
from ..simd.relu_update import LINEAR, OFF_AT_ZERO, ON_AT_ZERO, PARTLY_AT_ZERO, update_panel
from ..simd.vectors import LANES, VECTORS, panel_width, panels_of

# Samples whose columns go together.  A constant: losses are summed block by block, and the bits
# must not depend on how much memory there is.
SAMPLE_BLOCK = 64


class Network(NamedTuple):
    """The network, at whose parameters every perturbation begins."""

    layers: Any  # (layers, COLUMNS), as ``layer_table`` says
    transposed: Any  # whether W[k] lies as (n_in, n_out)
    at_zero: Any  # derivative of the ReLU at 0
    parameters: Any  # (P,)


class Unperturbed(NamedTuple):
    """What is known of the network without a perturbation."""

    batch: Any
    levels: Any  # (units of all levels, batch), flat: the input and all pre-activations
    losses: Any  # (batch,)


class Loss(NamedTuple):
    """What is done with the outputs."""

    kind: Any  # one of ``sample_losses``
    targets: Any  # (n_out, batch) by the strides, or empty
    target_row: Any
    target_column: Any
    labels: Any  # (batch,), or empty


class Entries(NamedTuple):
    """Parameters to perturb, by the units that they feed."""

    units: Any  # (U, 2): layer and unit
    starts: Any  # (U + 1,): the entries of unit u run from starts[u] to starts[u + 1]
    columns: Any  # (E,): which input of the unit, or n_in for its bias
    steps: Any  # (S, E): realised, for each sign


class Results(NamedTuple):
    """What is written."""

    perturbed: Any  # (S, E, n_out, batch) for a custom loss, else empty: outputs
    totals: Any  # (S, E): summed losses
    unmoved: Any  # (U,): those of the unperturbed network, added in the same order
    flagged: Any  # (E,): whether a mask differs from that of the unperturbed network


class Scratch(NamedTuple):
    """Memory of one thread.

    ``pitch`` is the moving samples of a block and NR more, a chunk ``chunk_panels`` panels, n the
    units of the largest layer.
    """

    cycle: Any  # (pitch,): the moving samples, then the first NR again
    reach: Any  # (SAMPLE_BLOCK,): how far the unit's pre-activation moves at most
    fronts: Any  # (units of the layers from the updated one up, pitch): their f, cyclically
    wanted: Any  # (n_out, pitch): targets of least squares, cyclically
    column: Any  # (n,): what the updated layer's pre-activations change by, for a change of 1
    bias: Any  # (n,)
    ones: Any  # (NR,)
    delta: Any  # (chunk,): change of what the unit passes on
    own: Any  # (chunk,): losses
    strips: Any  # of a product
    here: Any  # (panels, n, NR): a level of all columns
    there: Any  # the same, of the next level


class Unit(NamedTuple):
    """The unit whose entries are perturbed."""

    layer: Any
    entry: Any  # its entries are entry..end
    end: Any
    below: Any  # where the level that it reads stands in ``levels``
    own: Any  # where its own pre-activations stand
    relu: Any  # whether a ReLU is behind it
    updated: Any  # the layer whose pre-activations change by a rank of 1


class Chunk(NamedTuple):
    """Columns that go through the layers together."""

    start: Any  # among the columns of a block of samples
    count: Any
    panels: Any
    moving: Any  # samples that take part


@kernel(inline=True)
def feeding(levels, at, is_input):
    """What a level passes on to the next layer: the input itself, or its ReLU."""
    value = levels[at]
    return value if is_input or not value <= 0 else 0.0


@kernel(inline=True)
def mask(f, at_zero):
    """Derivative of the ReLU under the network's convention at exactly 0."""
    return 1.0 if f > 0 else (at_zero if f == 0 else 0.0)


@kernel(inline=True)
def describe_unit(task, network, unperturbed, entries):
    """Look up a unit and where it stands."""
    layers, batch = network.layers, unperturbed.batch
    k, unit = entries.units[task, 0], entries.units[task, 1]
    relu = k < layers.shape[0] - 1
    return Unit(
        layer=k,
        entry=entries.starts[task],
        end=entries.starts[task + 1],
        below=layers[k, UNITS_IN] * batch,
        own=(layers[k, UNITS_OUT] + unit) * batch,
        relu=relu,
        updated=k + 1 if relu else k,
    )


@kernel
def copy_column(task, unit, network, entries, column):
    """Fill in how the updated layer's pre-activations answer to what the unit passes on."""
    layer, own = network.layers[unit.updated], entries.units[task, 1]
    row, step = weight_strides(network.transposed, layer)
    for p in range(layer[OUTPUTS]):
        if unit.relu:
            column[p] = network.parameters[layer[WEIGHTS] + p * row + own * step]
        else:
            column[p] = 1.0 if p == own else 0.0


@kernel
def find_moving_samples(first, last, unit, network, unperturbed, entries, reach, cycle):
    """List the samples first..last in which what the unit passes on can move, NR of them twice.

    Returns how many there are.
    """
    batch, levels, steps = unperturbed.batch, unperturbed.levels, entries.steps
    inputs, is_input = network.layers[unit.layer, INPUTS], unit.layer == 0
    for n in range(last - first):
        reach[n] = 0.0
    if unit.relu:
        for e in range(unit.entry, unit.end):
            step = 0.0
            for s in range(steps.shape[0]):
                step = max(step, abs(steps[s, e]))
            if entries.columns[e] == inputs:
                for n in range(last - first):
                    reach[n] = max(reach[n], step)
            else:
                row = unit.below + entries.columns[e] * batch
                source = levels[row + first : row + last]
                for n in range(last - first):
                    h = source[n] if is_input or not source[n] <= 0 else 0.0
                    reach[n] = max(reach[n], step * abs(h))
    count = 0
    for n in range(first, last):
        if not unit.relu or not levels[unit.own + n] + reach[n - first] <= 0:
            cycle[count] = n
            count += 1
    if count > 0:
        for extra in range(panel_width(levels)):
            cycle[count + extra] = cycle[extra % count]
    return count


@kernel
def add_unmoved_losses(task, first, last, moving, unit, losses, cycle, results):
    """Add the unperturbed losses: of still samples to every total, of all to the unit's own.

    In the order in which losses of columns are added: the still ones, then the moving ones.
    """
    still, position = 0.0, 0
    for n in range(first, last):
        if position < moving and cycle[position] == n:
            position += 1
        else:
            still += losses[n]
    results.unmoved[task] += still
    for position in range(moving):
        results.unmoved[task] += losses[cycle[position]]
    totals = results.totals
    for s in range(totals.shape[0]):
        for e in range(unit.entry, unit.end):
            totals[s, e] += still


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


@kernel(inline=True)
def lay_out_block(moving, unit, network, unperturbed, loss, scratch):
    """Lay out what belongs to the moving samples: f of the layers that change, and targets."""
    layers, batch, cycle = network.layers, unperturbed.batch, scratch.cycle
    last = layers.shape[0] - 1
    pitch = moving + panel_width(scratch.fronts)
    front_at = 0
    for layer in range(unit.updated, last + 1):
        if layer == unit.updated or layer < last:
            lay_out_cyclically(
                layers[layer, OUTPUTS], batch, layers[layer, UNITS_OUT] * batch, cycle, pitch,
                unperturbed.levels, scratch.fronts, front_at,
            )  # fmt: skip
            front_at += layers[layer, OUTPUTS] * pitch
    if loss.kind == LEAST_SQUARES:
        targets, wanted = loss.targets, scratch.wanted
        for o in range(layers[last, OUTPUTS]):
            for c in range(pitch):
                place = o * loss.target_row + cycle[c] * loss.target_column
                wanted[o * pitch + c] = targets[place]


@kernel
def perturb_columns(chunk, unit, network, unperturbed, entries, cycle, delta, flagged):
    """Fill in for a chunk of columns how far what the unit passes on moves; zeros behind them.

    Behind a ReLU that is its activation, else its output.  Flags entries that cross its kink.
    """
    batch, levels, steps, columns = (
        unperturbed.batch, unperturbed.levels, entries.steps, entries.columns
    )  # fmt: skip
    inputs, is_input = network.layers[unit.layer, INPUTS], unit.layer == 0
    relu, at_zero, f_at = unit.relu, network.at_zero, unit.own
    count, moving = chunk.count, chunk.moving
    signs = steps.shape[0]
    q = chunk.start // moving
    position = chunk.start - q * moving
    c = 0
    while c < count:
        e, s = unit.entry + q // signs, q % signs
        step = steps[s, e]
        is_bias = columns[e] == inputs
        row = unit.below + columns[e] * batch
        crossed = False
        for place in range(position, min(moving, position + count - c)):
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
    for c in range(count, chunk.panels * panel_width(delta)):
        delta[c] = 0.0


@kernel
def flag_entries(bits, panel, chunk, unit, signs, flagged):
    """Flag the entries of those lanes of one panel (of float64) whose masks differ."""
    column = panel * VECTORS * LANES
    lane = 0
    while bits != 0 and column + lane < chunk.count:
        if bits & 1:
            flagged[unit.entry + (chunk.start + column + lane) // chunk.moving // signs] = True
        bits >>= 1
        lane += 1


@kernel(inline=True)
def update_of_level(layer, network):
    """How a panel of a layer's pre-activations is updated."""
    if layer == network.layers.shape[0] - 1:
        return LINEAR
    if network.at_zero == 0:
        return OFF_AT_ZERO
    return ON_AT_ZERO if network.at_zero == 1 else PARTLY_AT_ZERO


@kernel(inline=True)
def update_first_level(chunk, unit, network, signs, scratch, flagged):
    """Change the pre-activations of the updated layer by a rank of 1; ``here`` holds the level."""
    width = panel_width(scratch.here)
    pitch = chunk.moving + width
    units = network.layers[unit.updated, OUTPUTS]
    mode = update_of_level(unit.updated, network)
    fronts, column, delta, here = scratch.fronts, scratch.column, scratch.delta, scratch.here
    for panel in range(chunk.panels):
        shift = (chunk.start + panel * width) % chunk.moving
        bits = update_panel(
            mode, units, fronts, shift, pitch, column, 0, delta, panel * width,
            fronts, shift, pitch, here, panel * units * width,
        )  # fmt: skip
        if bits != 0:
            flag_entries(bits, panel, chunk, unit, signs, flagged)


@kernel(inline=True)
def pass_layer(layer, front_at, now, then, chunk, unit, network, signs, scratch, flagged):
    """Take a chunk through one layer, from ``now`` to ``then``, and compare its masks."""
    layers, parameters, bias = network.layers, network.parameters, scratch.bias
    width = panel_width(now)
    units, depth = layers[layer, OUTPUTS], layers[layer, INPUTS]
    row, step = weight_strides(network.transposed, layers[layer])
    for r in range(0, units, BLOCK_ROWS):
        multiply_block(
            min(BLOCK_ROWS, units - r), chunk.panels, VECTORS, depth,
            parameters, layers[layer, WEIGHTS] + r * row, row, step,
            now, 0, width, depth * width, scratch.strips,
            then, r * width, width, units * width,
        )  # fmt: skip
    bias_at = layers[layer, BIASES]
    for p in range(units):
        bias[p] = parameters[bias_at + p] if bias_at >= 0 else 0.0
    mode = update_of_level(layer, network)
    fronts, ones = scratch.fronts, scratch.ones
    for panel in range(chunk.panels):
        at = panel * units * width
        shift = (chunk.start + panel * width) % chunk.moving
        bits = update_panel(
            mode, units, then, at, width, bias, 0, ones, 0,
            fronts, front_at + shift, chunk.moving + width, then, at,
        )  # fmt: skip
        if bits != 0:
            flag_entries(bits, panel, chunk, unit, signs, flagged)


@kernel(inline=True)
def pass_layers_above(chunk, unit, network, signs, scratch, flagged):
    """Take a chunk from the updated layer to the outputs; return where they stand."""
    layers = network.layers
    pitch = chunk.moving + panel_width(scratch.here)
    now, then = scratch.here, scratch.there
    front_at = layers[unit.updated, OUTPUTS] * pitch
    for layer in range(unit.updated + 1, layers.shape[0]):
        pass_layer(layer, front_at, now, then, chunk, unit, network, signs, scratch, flagged)
        front_at += layers[layer, OUTPUTS] * pitch
        now, then = then, now
    return now


@kernel
def losses_of_panel(
    kind, outputs, count, shift, cycle, pitch, result, at, own, own_at, wanted, targets,
    target_row, target_column, labels,
):  # fmt: skip
    """Losses of the columns of one panel; ``wanted`` (outputs, pitch) is the targets' cycle."""
    width = panel_width(result)
    if kind == LEAST_SQUARES:
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
            kind, outputs, result, at + lane, width, targets, n * target_column, target_row,
            labels, n,
        )  # fmt: skip


@kernel
def add_columns(chunk, entry, own, totals):
    """Add the columns' losses to their entries, in the order of the samples."""
    moving, signs = chunk.moving, totals.shape[0]
    q = chunk.start // moving
    position = chunk.start - q * moving
    c = 0
    while c < chunk.count:
        e, s = entry + q // signs, q % signs
        length = min(moving - position, chunk.count - c)
        total = totals[s, e]
        for k in range(c, c + length):
            total += own[k]
        totals[s, e] = total
        c += length
        position = 0
        q += 1


@kernel
def copy_outputs(chunk, entry, outputs, cycle, result, perturbed):
    """Copy the outputs of the columns to perturbed[sign, entry, output, sample]."""
    width, signs = panel_width(result), perturbed.shape[0]
    for c in range(chunk.count):
        q = (chunk.start + c) // chunk.moving
        n = cycle[chunk.start + c - q * chunk.moving]
        at = c // width * outputs * width + c % width
        for o in range(outputs):
            perturbed[q % signs, entry + q // signs, o, n] = result[at + o * width]


@kernel(inline=True)
def add_losses_of_chunk(chunk, entry, outputs, loss, result, scratch, totals):
    """Compute the losses of a chunk's columns and add them to their entries."""
    width = panel_width(result)
    for panel in range(chunk.panels):
        losses_of_panel(
            loss.kind, outputs, min(width, chunk.count - panel * width),
            (chunk.start + panel * width) % chunk.moving, scratch.cycle, chunk.moving + width,
            result, panel * outputs * width, scratch.own, panel * width, scratch.wanted,
            loss.targets, loss.target_row, loss.target_column, loss.labels,
        )  # fmt: skip
    add_columns(chunk, entry, scratch.own, totals)


@kernel
def replay_unit(
    control, task, chunk_panels, network, unperturbed, loss, entries, results, scratch
):  # fmt: skip
    """Replay all asked entries of one unit."""
    unit = describe_unit(task, network, unperturbed, entries)
    copy_column(task, unit, network, entries, scratch.column)
    cycle, flagged = scratch.cycle, results.flagged
    batch, signs = unperturbed.batch, entries.steps.shape[0]
    outputs = network.layers[network.layers.shape[0] - 1, OUTPUTS]
    size = chunk_panels * panel_width(scratch.here)
    for first in range(0, batch, SAMPLE_BLOCK):
        last = min(batch, first + SAMPLE_BLOCK)
        moving = find_moving_samples(
            first, last, unit, network, unperturbed, entries, scratch.reach, cycle
        )
        add_unmoved_losses(task, first, last, moving, unit, unperturbed.losses, cycle, results)
        if moving == 0:
            continue
        lay_out_block(moving, unit, network, unperturbed, loss, scratch)
        total = (unit.end - unit.entry) * signs * moving
        for start in range(0, total, size):
            if stopped(control):
                return
            count = min(size, total - start)
            panels = panels_of(count, panel_width(scratch.here))
            chunk = Chunk(start=start, count=count, panels=panels, moving=moving)
            perturb_columns(
                chunk, unit, network, unperturbed, entries, cycle, scratch.delta, flagged
            )
            update_first_level(chunk, unit, network, signs, scratch, flagged)
            result = pass_layers_above(chunk, unit, network, signs, scratch, flagged)
            if loss.kind == CUSTOM:
                copy_outputs(chunk, unit.entry, outputs, cycle, result, results.perturbed)
            else:
                add_losses_of_chunk(
                    chunk, unit.entry, outputs, loss, result, scratch, results.totals
                )


@kernel(allocates=True)
def scratch_of_thread(network, batch, chunk_panels):
    """Allocate the memory of one thread."""
    layers = network.layers
    width = VECTORS * LANES
    largest, above = 0, 0
    for k in range(layers.shape[0]):
        largest = max(largest, layers[k, OUTPUTS])
        above += layers[k, OUTPUTS]
    outputs = layers[layers.shape[0] - 1, OUTPUTS]
    chunk = chunk_panels * width
    pitch = min(SAMPLE_BLOCK, batch) + width
    return Scratch(
        cycle=np.empty(pitch, np.int64),
        reach=np.empty(pitch, np.float64),
        fronts=np.empty(above * pitch, np.float64),
        wanted=np.empty(outputs * pitch, np.float64),
        column=np.empty(largest, np.float64),
        bias=np.empty(largest, np.float64),
        ones=np.ones(width, np.float64),
        delta=np.empty(chunk, np.float64),
        own=np.empty(chunk, np.float64),
        strips=np.empty(strips_size(largest, largest), np.float64),
        here=aligned_empty(largest * chunk),
        there=aligned_empty(largest * chunk),
    )


@kernel(entry=True)
def replay(
    control, layers, transposed, at_zero, loss, batch, parameters, levels, base,
    targets, target_row, target_column, labels, units, starts, columns, steps,
    chunk_panels, perturbed, totals, unmoved, flagged,
):  # fmt: skip
    """Compute the summed loss for every asked entry and step, as one of a team of threads.

    Shapes and meanings of the arguments: see the groups that they are put in here.  Python passes
    them one by one, since numba unpacks named tuples in Python: 14 us a call for 25 fields, where
    a replay of 187 parameters takes 94 us.  ``perturbed`` holds the unperturbed outputs at first;
    ``totals`` and ``unmoved`` are zero, ``flagged`` False.
    About S E batch times the weights above the layer.
    """
    network = Network(layers=layers, transposed=transposed, at_zero=at_zero, parameters=parameters)
    unperturbed = Unperturbed(batch=batch, levels=levels, losses=base)
    objective = Loss(
        kind=loss, targets=targets, target_row=target_row, target_column=target_column,
        labels=labels,
    )  # fmt: skip
    entries = Entries(units=units, starts=starts, columns=columns, steps=steps)
    results = Results(perturbed=perturbed, totals=totals, unmoved=unmoved, flagged=flagged)
    scratch = scratch_of_thread(network, batch, chunk_panels)
    lent = borrowed((network, unperturbed, objective, entries, results, scratch))
    ticket = draw_ticket(control)
    while ticket < units.shape[0]:
        if wait_until_done(control, 0):
            replay_unit(control, ticket, chunk_panels, *lent)
        ticket = next_ticket(control)
    wait_until_done(control, units.shape[0])
    keep(scratch)
