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
what is gathered of W serves all columns born below.
"""

from __future__ import annotations

import math

import numpy as np

from ..layer_table import INPUTS, OUTPUTS, UNITS_OUT, WEIGHTS
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, next_ticket, stopped, wait_until_done
from ..products.matmul import BLOCK_ROWS, DEPTH, PITCH_MARGIN, strip_height
from ..simd.moves import copy_run
from ..simd.tile import multiply_rows
from ..simd.vectors import MR, VECTORS, panel_width, panels_of

ROW_PITCH = DEPTH + PITCH_MARGIN  # of gathered rows: a power of two would share cache lines


@kernel
def find_active(
    layers, up, down, width, pitch, sample, activations, starts, units, shares, at_kink
):  # fmt: skip
    """List the units of a sample that can change, layer by layer, and all outputs after them.

    Shapes: those of layer k are units[starts[k]:starts[k + 1]] (uint32: a signed index would be
    tested for its sign each time); shares, how much of a change of f by 1 passes the ReLU;
    at_kink, whether f is exactly 0.  Returns how many hidden ones there are.
    """
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
    line of MR further apart than they are long, as in ``copy_columns``.
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
    born, matrix, at, transposed, row_length, units, inputs, shares, lines, there
):  # fmt: skip
    """Begin a column for each of ``inputs``: its unit has moved by 1, so f' moves by W's column.

    The columns stand behind the ``born`` first ones; the lanes that stay free are zero.
    """
    width = panel_width(there)
    new = there[born // width * units.size * width :]
    if transposed:
        begin_by_columns(born % width, matrix, at, row_length, units, inputs, shares, lines, new)
    else:
        begin_by_rows(born % width, matrix, at, row_length, units, inputs, shares, lines, new)


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


@kernel
def propagate_block(
    control, sample, first, size, largest, network, pitch, width, activations, scratch,
    sensitivities,
):  # fmt: skip
    """Carry the columns first..first + size of a sample up to the loss; write their s."""
    layers, transposed, up, down, parameters = network
    starts, units, shares, at_kink, strips, lines, totals, here, there = scratch
    lanes = panel_width(here)
    hidden = find_active(
        layers, up, down, width, pitch, sample, activations, starts, units, shares, at_kink
    )  # fmt: skip
    end = min(first + size, hidden)
    top = layers.shape[0] - 1
    lowest = 0
    while starts[lowest + 1] <= first:
        lowest += 1
    born = 0
    totals[:size] = 0.0
    for k in range(lowest + 1, top + 1):
        if stopped(control):
            return
        layer = layers[k]
        at, row_length = layer[WEIGHTS], layer[OUTPUTS] if transposed else layer[INPUTS]
        inputs = units[starts[k - 1] : starts[k]]
        begin, until = max(first, starts[k - 1]), min(end, starts[k])
        after = born + max(0, until - begin)
        for r in range(starts[k], starts[k + 1], largest):
            rows = units[r : min(r + largest, starts[k + 1])]
            multiply_gathered(
                control, panels_of(born, lanes), parameters, at, transposed, row_length, rows,
                inputs, here, strips, there,
            )  # fmt: skip
            if after > born:
                begin_columns(
                    born, parameters, at, transposed, row_length, rows, units[begin:until],
                    shares[begin:until], lines, there,
                )  # fmt: skip
            if k == top:
                slopes_at = (layer[UNITS_OUT] - layers[0, UNITS_OUT]) * pitch + sample % width
                slopes_at += (sample // width * layer[OUTPUTS] + r - starts[k]) * width
                add_loss_differences(
                    panels_of(after, lanes), rows.size, sensitivities, slopes_at, width, there,
                    totals,
                )  # fmt: skip
            else:
                weigh_rows(panels_of(after, lanes), up, down, at_kink[r : r + rows.size], there)
        born = after
        here, there = there, here
    k = lowest
    for column in range(first, end):
        while starts[k + 1] <= column:
            k += 1
        at = (layers[k, UNITS_OUT] - layers[0, UNITS_OUT]) * pitch + sample % width
        place = at + (sample // width * layers[k, OUTPUTS] + units[column]) * width
        sensitivities[place] = totals[column - first]


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
    scratch = (
        np.empty(layers.shape[0] + 1, np.int64), np.empty(units, np.uint32),
        np.empty(units, np.float64), np.empty(units, np.bool_),
        np.empty(BLOCK_ROWS * (DEPTH + 1), np.float64),
        np.empty(max(size + lanes, lanes * (largest + MR)), np.float64),
        np.empty(size, np.float64),
        np.empty(largest * size, np.float64), np.empty(largest * size, np.float64),
    )  # fmt: skip
    network = (layers, transposed, at_zero[0], at_zero[1], parameters)
    ticket = draw_ticket(control)
    while ticket < blocks.shape[0]:
        if wait_until_done(control, 0):
            propagate_block(
                control, blocks[ticket, 0], blocks[ticket, 1], size, largest, network, pitch,
                width, activations, scratch, sensitivities,
            )  # fmt: skip
        ticket = next_ticket(control)
    wait_until_done(control, blocks.shape[0])
