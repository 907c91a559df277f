"""Propagation of differences: how the loss answers to every single unit, with nothing cancelled.

Replay subtracts two losses, and so loses the digits that they share.  Here the *differences*
themselves are carried forward by the network's own rule.  From a difference df of one
pre-activation in one sample follows, layer by layer,

    dh = max(df, -f) where f > 0, max(f + df, 0) elsewhere;    df' = W dh.

Nothing is subtracted from anything, so the step may be far smaller than every kink.  Then dh is
df where f > 0 and 0 where f < 0: the differences of all units of a sample are the columns of
products with the rows and columns of W whose units are active, about a quarter of it.  A step of
2^-q multiplies every number here by 2^-q exactly, so it is divided out from the start: what is
carried are the quotients, beginning with 1.

Where f is exactly 0 the two sides differ: dh = max(df, 0).  ``at_zero`` has a weight for each
direction in which f goes when the unit below moves up: dh = up max(df, 0) + down min(df, 0).
(1, 0) gives the slopes for steps upwards, (0, 1) those for steps downwards, and a network's own
convention c is (c, c).  With (0, 0) such a unit cannot change.

No line is shared with the backward pass: nothing runs from the outputs down.  The columns of a
sample (all its active units, from the lowest layer up) are cut into blocks.  A block begins at
the layer of its first unit, and takes up its other columns as it passes their layers, so that
what is gathered of W serves all columns begun below.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..layer_table import INPUTS, OUTPUTS, UNITS_OUT, WEIGHTS
from ..machine.aligned_arrays import aligned_empty
from ..machine.borrowed_arrays import borrowed, keep
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, next_ticket, stopped, wait_until_done
from ..products.matmul import BLOCK_ROWS, DEPTH, strip_height
from ..simd.moves import copy_run
from ..simd.tile import multiply_rows
from ..simd.vectors import MR, VECTORS, panel_width, panels_of

ROW_PITCH = DEPTH + 8  # of gathered rows: a power of two would share cache lines


class Network(NamedTuple):
    """The network, and what passes a ReLU whose pre-activation is 0."""

    layers: Any  # (layers, COLUMNS), as ``layer_table`` says
    transposed: Any  # whether W[k] lies as (n_in, n_out)
    up: Any  # weight of changes upwards where f is exactly 0
    down: Any
    parameters: Any  # (P,)


class Levels(NamedTuple):
    """What belongs to the batch, in panels of ``width`` samples."""

    width: Any
    pitch: Any  # samples, to a whole number of panels
    activations: Any  # (units of all levels * pitch,)
    sensitivities: Any  # likewise, without the inputs


class Scratch(NamedTuple):
    """Memory of one thread, for blocks of ``size`` columns.

    Active units of layer k are units[starts[k]:starts[k + 1]], n those of the largest layer.
    """

    starts: Any  # (layers + 1,)
    units: Any  # (units of all layers,), uint32: a signed index would be tested for its sign
    shares: Any  # likewise: how much of a change of f by 1 passes the ReLU
    at_kink: Any  # likewise: whether f is exactly 0
    strips: Any  # (BLOCK_ROWS, DEPTH + 1): gathered weights
    lines: Any  # (size + NR,) or (NR, n + MR), the larger: columns that begin
    totals: Any  # (size,)
    here: Any  # (size / NR, n, NR): differences of a level
    there: Any  # the same, of the next level


@kernel
def find_active(sample, network, levels, scratch):
    """List the units of a sample that can change, layer by layer, and all outputs after them.

    Returns how many hidden ones there are.
    """
    layers, up, down = network.layers, network.up, network.down
    width, pitch, activations = levels.width, levels.pitch, levels.activations
    starts, units, shares, at_kink = (
        scratch.starts, scratch.units, scratch.shares, scratch.at_kink
    )  # fmt: skip
    count = 0
    last = layers.shape[0] - 1
    zeros_change = up != 0 or down != 0
    for k in range(last):
        starts[k] = count
        outputs = layers[k, OUTPUTS]
        at = layers[k, UNITS_OUT] * pitch + sample // width * outputs * width + sample % width
        for i in range(outputs):
            h = activations[at + i * width]
            kink = zeros_change and h == 0 and math.copysign(1.0, h) > 0
            if kink or not h <= 0:  # NaN can change too
                units[count], shares[count], at_kink[count] = i, up if kink else 1.0, kink
                count += 1
    starts[last] = count
    for o in range(layers[last, OUTPUTS]):
        units[count + o], shares[count + o], at_kink[count + o] = o, 1.0, False
    starts[last + 1] = count + layers[last, OUTPUTS]
    return count


@kernel
def gather_rows(rows, depth, matrix, at, row_length, units, inputs, strip):
    """strip[r, p] = matrix[units[r], inputs[p]], rows ROW_PITCH apart."""
    for r in range(rows):
        start = at + units[r] * row_length
        line = matrix[start : start + row_length]
        target = strip[r * ROW_PITCH : r * ROW_PITCH + depth]
        for p in range(depth):
            target[p] = line[inputs[p]]


@kernel
def gather_columns(rows, depth, matrix, at, row_length, units, inputs, strips):
    """strips[strip, p, r] = matrix[inputs[p], units[strip MR + r]]: a strip of MR rows is packed.

    Up to BLOCK_ROWS units at a time, since they share the lines that are read.  Strips are one
    line of MR further apart than they are long: at a power of two they would share their places in
    the cache.
    """
    for p in range(depth):
        start = at + inputs[p] * row_length
        line = matrix[start : start + row_length]
        for first in range(0, rows, MR):
            begin = first * (depth + 1) + p * MR
            target = strips[begin : begin + MR]
            chosen = units[first : min(first + MR, rows)]
            if chosen.size == MR:  # a count that the compiler knows: no loop
                for r in range(MR):
                    target[r] = line[chosen[r]]
            else:
                for r in range(chosen.size):
                    target[r] = line[chosen[r]]


@kernel
def multiply_gathered(
    control, panels, matrix, at, transposed, row_length, units, inputs, here, strips, there
):  # fmt: skip
    """there = W[units, inputs] here, for whole panels of columns.

    Shapes: here (panels, inputs, NR), there (panels, units, NR).  A strip of MR rows is gathered
    once for all panels.
    """
    width = panel_width(here)
    rows, depth = units.size, inputs.size
    for first in range(0, max(depth, 1), DEPTH):  # without inputs: zeros
        count = min(DEPTH, depth - first)
        chosen = inputs[first : first + count]
        r = 0
        while r < rows and not stopped(control):
            height = strip_height(r, rows)
            if transposed:
                inside = r % BLOCK_ROWS
                if inside == 0:
                    last = min(rows, r + BLOCK_ROWS)
                    gather_columns(
                        last - r, count, matrix, at, row_length, units[r:last], chosen, strips
                    )
                strip = inside // MR * MR
                strip_at = strip * (count + 1) + inside - strip
                strip_row, strip_column = 1, MR
            else:
                gather_rows(
                    height, count, matrix, at, row_length, units[r : r + height], chosen, strips
                )
                strip_at, strip_row, strip_column = 0, ROW_PITCH, 1
            for panel in range(panels):
                multiply_rows(
                    height, VECTORS, count, strips, strip_at, strip_row, strip_column,
                    here, (panel * depth + first) * width, width,
                    there, (panel * rows + r) * width, width, first,
                )  # fmt: skip
            r += height


@kernel
def begin_by_rows(before, matrix, at, row_length, units, inputs, shares, lines, there):
    """Begin columns where W lies by units; ``before`` lanes of the first panel are taken."""
    width = panel_width(there)
    rows, count = units.size, inputs.size
    panels = panels_of(before + count, width)
    lines[: panels * width] = 0.0
    new = lines[before : before + count]
    for r in range(rows):
        start = at + units[r] * row_length
        row = matrix[start : start + row_length]
        for j in range(count):
            new[j] = shares[j] * row[inputs[j]]
        first = r * width
        if before == 0:
            copy_run(width, lines, 0, there, first)
        else:
            for lane in range(before, width):
                there[first + lane] = lines[lane]
        for panel in range(1, panels):
            copy_run(width, lines, panel * width, there, first + panel * rows * width)


@kernel
def begin_by_columns(before, matrix, at, row_length, units, inputs, shares, lines, there):
    """Begin columns where W lies by inputs: gather a panel of them, then transpose it."""
    width = panel_width(there)
    rows, count = units.size, inputs.size
    pitch = rows + MR  # not a power of two, which would put all lines in one set of the cache
    for panel in range(panels_of(before + count, width)):
        begin = before if panel == 0 else 0
        end = min(width, before + count - panel * width)
        for lane in range(begin, width):
            line = lines[lane * pitch : lane * pitch + rows]
            if lane < end:
                j = panel * width + lane - before
                start = at + inputs[j] * row_length
                row = matrix[start : start + row_length]
                for r in range(rows):
                    line[r] = shares[j] * row[units[r]]
            else:
                line[:] = 0.0
        target = there[panel * rows * width : (panel + 1) * rows * width]
        if begin == 0:
            for r in range(rows):
                for lane in range(width):
                    target[r * width + lane] = lines[lane * pitch + r]
        else:
            for r in range(rows):
                for lane in range(begin, width):
                    target[r * width + lane] = lines[lane * pitch + r]


@kernel
def begin_columns(
    begun, matrix, at, transposed, row_length, units, inputs, shares, lines, there
):  # fmt: skip
    """Begin a column for each of ``inputs``: its unit has moved by 1, so f' moves by W's column.

    The columns stand behind the ``begun`` first ones; the lanes that stay free are zero.
    """
    width = panel_width(there)
    new = there[begun // width * units.size * width :]
    if transposed:
        begin_by_columns(begun % width, matrix, at, row_length, units, inputs, shares, lines, new)
    else:
        begin_by_rows(begun % width, matrix, at, row_length, units, inputs, shares, lines, new)


@kernel
def weigh_rows(panels, up, down, at_kink, values):
    """Let pass what the ReLU lets pass where f is exactly 0: values (panels, units, NR)."""
    width = panel_width(values)
    rows = at_kink.size
    for r in range(rows):
        if at_kink[r]:
            for panel in range(panels):
                start = (panel * rows + r) * width
                line = values[start : start + width]
                for lane in range(width):
                    line[lane] *= down if line[lane] < 0 else up


@kernel
def add_loss_differences(
    panels, rows, slopes, slopes_at, slope_stride, differences, totals
):  # fmt: skip
    """totals[column] += sum over outputs of slope * difference, in the order of the outputs."""
    width = panel_width(differences)
    for panel in range(panels):
        total = totals[panel * width : (panel + 1) * width]
        for o in range(rows):
            slope = slopes[slopes_at + o * slope_stride]
            start = (panel * rows + o) * width
            line = differences[start : start + width]
            for lane in range(width):
                total[lane] += slope * line[lane]


@kernel(inline=True)
def place_of_layer(layer, sample, network, levels):
    """Where the sample's sensitivities of a layer begin; its units are ``width`` apart."""
    layers, width = network.layers, levels.width
    at = (layers[layer, UNITS_OUT] - layers[0, UNITS_OUT]) * levels.pitch
    return at + sample // width * layers[layer, OUTPUTS] * width + sample % width


@kernel(inline=True)
def pass_layer(
    control, k, sample, begin, until, begun, here, there, largest, network, levels, scratch
):  # fmt: skip
    """Take the columns begun through layer k, and begin those of the units begin..until below it.

    ``largest`` units at a time, so that ``there`` holds the outputs too.
    """
    starts, units = scratch.starts, scratch.units
    lanes = panel_width(here)
    layer, parameters, transposed = network.layers[k], network.parameters, network.transposed
    at, row_length = layer[WEIGHTS], layer[OUTPUTS] if transposed else layer[INPUTS]
    after = begun + until - begin
    for r in range(starts[k], starts[k + 1], largest):
        rows = units[r : min(r + largest, starts[k + 1])]
        multiply_gathered(
            control, panels_of(begun, lanes), parameters, at, transposed, row_length, rows,
            units[starts[k - 1] : starts[k]], here, scratch.strips, there,
        )  # fmt: skip
        if after > begun:
            begin_columns(
                begun, parameters, at, transposed, row_length, rows, units[begin:until],
                scratch.shares[begin:until], scratch.lines, there,
            )  # fmt: skip
        if k == network.layers.shape[0] - 1:
            slopes_at = place_of_layer(k, sample, network, levels) + (r - starts[k]) * levels.width
            add_loss_differences(
                panels_of(after, lanes), rows.size, levels.sensitivities, slopes_at, levels.width,
                there, scratch.totals,
            )  # fmt: skip
        else:
            at_kink = scratch.at_kink[r : r + rows.size]
            weigh_rows(panels_of(after, lanes), network.up, network.down, at_kink, there)


@kernel
def write_sensitivities(sample, first, end, lowest, network, levels, scratch):
    """Write the totals of columns first..end of a sample; the first belongs to layer ``lowest``."""
    k = lowest
    for column in range(first, end):
        while scratch.starts[k + 1] <= column:
            k += 1
        at = place_of_layer(k, sample, network, levels) + scratch.units[column] * levels.width
        levels.sensitivities[at] = scratch.totals[column - first]


@kernel
def propagate_block(control, sample, first, size, largest, network, levels, scratch):
    """Carry the columns first..first + size of a sample up to the loss; write their s."""
    starts = scratch.starts
    hidden = find_active(sample, network, levels, scratch)
    end = min(first + size, hidden)
    lowest = 0
    while starts[lowest + 1] <= first:
        lowest += 1
    scratch.totals[:size] = 0.0
    here, there = scratch.here, scratch.there
    begun = 0
    for k in range(lowest + 1, network.layers.shape[0]):
        if stopped(control):
            return
        begin = max(first, starts[k - 1])
        until = max(begin, min(end, starts[k]))
        pass_layer(
            control, k, sample, begin, until, begun, here, there, largest, network, levels, scratch
        )
        begun += until - begin
        here, there = there, here
    write_sensitivities(sample, first, end, lowest, network, levels, scratch)


@kernel(entry=True)
def exact(
    control, blocks, size, largest, layers, transposed, at_zero, width, pitch, parameters,
    activations, sensitivities,
):  # fmt: skip
    """Compute s[k] = dL / df[k] of all hidden layers by differences, as one of a team of threads.

    Shapes, all float64 but the integers: blocks (B, 2): a sample and the first of its columns;
    size, a multiple of NR: columns of a block; largest: the most active units of a hidden layer
    in any sample; activations (units of all levels * pitch,) in panels of ``width`` samples, an
    inactive unit -0.0, one with f exactly 0 +0.0; at_zero (2,): the weights of up and down
    there; sensitivities like activations, without the inputs, zero but for the slopes of the
    loss by the outputs.  About L^2 a^3 operations for each sample with a active units in each of
    L hidden layers.
    """
    lanes = panel_width(activations)
    units = 0
    for k in range(layers.shape[0]):
        units += layers[k, OUTPUTS]
    scratch = Scratch(
        starts=np.empty(layers.shape[0] + 1, np.int64),
        units=np.empty(units, np.uint32),
        shares=np.empty(units, np.float64),
        at_kink=np.empty(units, np.bool_),
        strips=np.empty(BLOCK_ROWS * (DEPTH + 1), np.float64),
        lines=np.empty(max(size + lanes, lanes * (largest + MR)), np.float64),
        totals=np.empty(size, np.float64),
        here=aligned_empty(largest * size),
        there=aligned_empty(largest * size),
    )
    network = Network(
        layers=layers, transposed=transposed, up=at_zero[0], down=at_zero[1], parameters=parameters
    )
    levels = Levels(width=width, pitch=pitch, activations=activations, sensitivities=sensitivities)
    lent = borrowed((network, levels, scratch))
    ticket = draw_ticket(control)
    while ticket < blocks.shape[0]:
        if wait_until_done(control, 0):
            sample, first = blocks[ticket, 0], blocks[ticket, 1]
            propagate_block(control, sample, first, size, largest, *lent)
        ticket = next_ticket(control)
    wait_until_done(control, blocks.shape[0])
    keep(scratch)
