"""Forward and backward pass over one flat parameter vector, for batches of two and more.

Forward (book eq. 7.17-7.19): f[k] = b[k] + W[k] h[k], h[k + 1] = max(f[k], 0).
Backward (eq. 7.22-7.25): with s[k] = dL/df[k], db[k] = row sums of s[k], dW[k] = s[k] h[k]^T,
s[k - 1] = I(f[k - 1] > 0) * W[k]^T s[k].

``activations`` holds all levels; an inactive unit is stored as -0.0, one with f exactly 0 as
+0.0, so that the mask with its convention at 0 needs no second buffer.
"""

from __future__ import annotations

import numpy as np

from ..layer_table import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS, weight_strides
from ..machine.borrowed_arrays import borrowed
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, next_ticket, stop_for_non_finite, wait_until_done
from ..products.matmul import BLOCK_ROWS, GROUP, multiply_block, multiply_into_matrix, strips_size
from ..products.matvec import add_multiple, sum_of
from ..products.packing import pack_panels, pack_rows, pack_transposed
from ..simd.moves import copy_run
from ..simd.vectors import MR, VECTORS, panel_width, panels_of
from .phases import (
    AFTER,
    BLOCKS,
    FORWARD,
    KIND,
    LAYER,
    LEFT,
    LOSSES,
    PACK_INPUTS,
    PACK_OPERANDS,
    PACK_ROWS,
    RIGHT,
    S_BELOW,
    S_HERE,
    SENSITIVITIES,
    SUM_OF_LOSSES,
    THROUGH,
    WEIGHT_GRADIENTS,
    Batch,
    Memory,
    Network,
    Objective,
    Results,
    Wanted,
    apply_mask,
    losses_of_panel,
    sum_losses,
    unpack_inputs,
    zero_times,
)


@kernel
def add_to_all(value, lanes):
    """lanes += value."""
    for lane in range(lanes.size):
        lanes[lane] += value


@kernel
def rectify(values):
    """Take the ReLU, marking what is off by -0.0 and what is exactly 0 by +0.0; NaN stays."""
    zero = values.dtype.type(0)
    for k in range(values.size):
        f = values[k] + zero  # -0.0 + 0.0 is +0.0
        values[k] = f if f > 0 else (-zero if f < 0 else f)


@kernel
def add_bias(
    rows, panels, vectors, relu, biases, bias_at, keep, kept, level, at, panel_step
):  # fmt: skip
    """Add the bias to a block of pre-activations, keep a copy if asked, apply the ReLU.

    Shapes: rows are NR apart, panels ``panel_step``.  With ``vectors`` = 1 the second half of a
    panel stays zero.  Returns 0 * f summed over the block.
    """
    width = panel_width(level)
    used = width * vectors // VECTORS
    alarm = level.dtype.type(0)
    for panel in range(panels):
        start = at + panel * panel_step
        if bias_at >= 0:
            for r in range(rows):
                place = start + r * width
                add_to_all(biases[bias_at + r], level[place : place + used])
        block = level[start : start + rows * width]
        alarm += zero_times(block)
        if keep:
            copy_run(rows * width, level, start, kept, start)
        if relu:
            rectify(block)
    return alarm


@kernel
def forward_block(
    row,
    panel,
    panels,
    layer,
    transposed,
    relu,
    pitch,
    vectors,
    parameters,
    keep,
    kept,
    strips,
    activations,
):
    """Compute a block of rows, for some panels, of f[k] and its activation."""
    width = panel_width(activations)
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    rows = min(BLOCK_ROWS, outputs - row)
    a_row, a_column = weight_strides(transposed, layer)
    source = layer[UNITS_IN] * pitch + panel * inputs * width
    target = layer[UNITS_OUT] * pitch + (panel * outputs + row) * width
    multiply_block(
        rows, panels, vectors, inputs, parameters, layer[WEIGHTS] + row * a_row, a_row, a_column,
        activations, source, width, inputs * width, strips,
        activations, target, width, outputs * width,
    )  # fmt: skip
    bias_at = layer[BIASES] + row if layer[BIASES] >= 0 else -1
    return add_bias(
        rows, panels, vectors, relu, parameters, bias_at, keep, kept, activations, target,
        outputs * width,
    )  # fmt: skip


@kernel
def add_decay(rows, columns, row_length, decay, parameters, gradient, at):
    """Add the derivative of decay / 2 * W^2 to a block of dW."""
    factor = gradient.dtype.type(decay)
    for r in range(rows):
        first = at + r * row_length
        add_multiple(factor, parameters[first : first + columns], gradient[first : first + columns])


@kernel
def pack_operands_block(
    block, layer, transposed, batch, pitch, activations, sensitivities, s_at,
    left, right, gradient,
):  # fmt: skip
    """Pack a block of s[k] or of h[k] for dW[k], and write that block's bias gradients."""
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    output_blocks = panels_of(outputs, PACK_ROWS)
    h_at = layer[UNITS_IN] * pitch
    if block < output_blocks:
        first = block * PACK_ROWS
        last = min(outputs, first + PACK_ROWS)
        if transposed:
            pack_transposed(first, last, batch, outputs, sensitivities, s_at, right)
        else:
            pack_rows(first, last, pitch, outputs, sensitivities, s_at, left)
        if layer[BIASES] >= 0:
            width = panel_width(sensitivities)
            for unit in range(first, last):
                total = sensitivities.dtype.type(0)
                for panel in range(pitch // width):
                    start = s_at + (panel * outputs + unit) * width
                    total += sum_of(sensitivities[start : start + width])
                gradient[layer[BIASES] + unit] = total
    else:
        first = (block - output_blocks) * PACK_ROWS
        last = min(inputs, first + PACK_ROWS)
        if transposed:
            pack_rows(first, last, pitch, inputs, activations, h_at, left)
        else:
            pack_transposed(first, last, batch, inputs, activations, h_at, right)


@kernel
def weight_gradient_block(
    block,
    layer,
    transposed,
    batch,
    pitch,
    decay,
    parameters,
    left,
    right,
    strips,
    edge,
    gradient,
):
    """Compute one block of dW[k] = s[k] h[k]^T (or its transpose) as it lies in memory."""
    width = panel_width(gradient)
    matrix_rows = layer[INPUTS] if transposed else layer[OUTPUTS]
    matrix_columns = layer[OUTPUTS] if transposed else layer[INPUTS]
    row_blocks = panels_of(matrix_rows, BLOCK_ROWS)
    row = block % row_blocks * BLOCK_ROWS
    column = block // row_blocks * GROUP * width
    rows = min(BLOCK_ROWS, matrix_rows - row)
    columns = min(GROUP * width, matrix_columns - column)
    at = layer[WEIGHTS] + row * matrix_columns + column
    multiply_into_matrix(
        rows, columns, batch, left, row * pitch, pitch, 1,
        right, column * batch, width, width * batch,
        strips, edge, gradient, at, matrix_columns,
    )  # fmt: skip
    if decay != 0:
        add_decay(rows, columns, matrix_columns, decay, parameters, gradient, at)


@kernel
def sensitivity_block(
    row, panel, panels, layer, transposed, masked, pitch, vectors, relu_at_zero, parameters,
    activations, s_at, target_at, strips, sensitivities,
):  # fmt: skip
    """Compute a block of rows of W[k]^T s[k], masked by the activations it enters."""
    width = panel_width(sensitivities)
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    rows = min(BLOCK_ROWS, inputs - row)
    unit_stride, input_stride = weight_strides(transposed, layer)
    target = target_at + (panel * inputs + row) * width
    multiply_block(
        rows, panels, vectors, outputs,
        parameters, layer[WEIGHTS] + row * input_stride, input_stride, unit_stride,
        sensitivities, s_at + panel * outputs * width, width, outputs * width, strips,
        sensitivities, target, width, inputs * width,
    )  # fmt: skip
    if masked:
        h_at = layer[UNITS_IN] * pitch + (panel * inputs + row) * width
        for q in range(panels):
            step = q * inputs * width
            here, there = h_at + step, target + step
            apply_mask(
                relu_at_zero,
                activations[here : here + rows * width],
                sensitivities[there : there + rows * width],
            )


@kernel
def through_panel(panel, network, objective, batch, wanted, memory, losses, strips):
    """Take one panel of samples through all layers and back: it waits for nobody.

    For networks whose weights stay in a core's cache, where waiting at every layer costs more
    than the products.
    """
    layers, places, parameters = network.layers, network.places, network.parameters
    transposed = network.transposed
    activations, sensitivities = memory.activations, memory.sensitivities
    width = panel_width(activations)
    pitch = panels_of(batch.size, width) * width
    last = layers.shape[0] - 1
    x_row, x_column, target_row, target_column = batch.strides[:4]
    inputs = layers[0, INPUTS]
    pack_panels(
        0, inputs, min(width, batch.size - panel * width), batch.x, panel * width * x_column,
        x_row, x_column, activations, panel * inputs * width, 0,
    )  # fmt: skip
    alarm = 0.0
    for k in range(last + 1):
        for row in range(0, layers[k, OUTPUTS], BLOCK_ROWS):
            alarm += forward_block(
                row, panel, 1, layers[k], transposed, k < last, pitch, VECTORS, parameters,
                False, activations, strips, activations,
            )  # fmt: skip
    alarm += losses_of_panel(
        width, panel, objective.loss, objective.factor, batch.size, layers[last, OUTPUTS],
        layers[last, UNITS_OUT] * pitch, activations, batch.targets, target_row, target_column,
        batch.labels, True, places[last, S_HERE], losses, sensitivities,
    )  # fmt: skip
    for k in range(last, -1 if wanted.inputs else 0, -1):
        for row in range(0, layers[k, INPUTS], BLOCK_ROWS):
            sensitivity_block(
                row, panel, 1, layers[k], transposed, k > 0, pitch, VECTORS, network.relu_at_zero,
                parameters, activations, places[k, S_HERE], places[k, S_BELOW], strips,
                sensitivities,
            )  # fmt: skip
    return alarm


@kernel(inline=True)
def run_block(
    kind, k, block, network, objective, batch, wanted, memory, results, strips, edge
):  # fmt: skip
    """Compute one block of one phase; return 0, or NaN where a number is not finite."""
    activations, sensitivities = memory.activations, memory.sensitivities
    parameters, transposed = network.parameters, network.transposed
    gradient = results.gradient
    width = panel_width(activations)
    panels = panels_of(batch.size, width)
    pitch = panels * width
    vectors = 1 if batch.size * VECTORS <= width else VECTORS
    layer = network.layers[k]
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    s_at, s_below = network.places[k, S_HERE], network.places[k, S_BELOW]
    x_row, x_column, target_row, target_column, g_row, g_column = batch.strides
    alarm = 0.0
    if kind == PACK_INPUTS:
        first = block * PACK_ROWS
        last = min(inputs, first + PACK_ROWS)
        pack_panels(
            first, last, batch.size, batch.x, 0, x_row, x_column, activations, 0, inputs * width
        )
    elif kind == FORWARD:
        row_blocks = panels_of(outputs, BLOCK_ROWS)
        panel = block // row_blocks * GROUP
        alarm += forward_block(
            block % row_blocks * BLOCK_ROWS, panel, min(GROUP, panels - panel), layer, transposed,
            k < network.layers.shape[0] - 1, pitch, vectors, parameters, wanted.keep, memory.kept,
            strips, activations,
        )  # fmt: skip
    elif kind == LOSSES:
        alarm += losses_of_panel(
            width, block, objective.loss, objective.factor, batch.size, outputs,
            layer[UNITS_OUT] * pitch, activations, batch.targets, target_row, target_column,
            batch.labels, wanted.sensitive, s_at, results.losses, sensitivities,
        )  # fmt: skip
    elif kind == SUM_OF_LOSSES:
        sum_losses(batch.size, results.losses)
    elif kind == THROUGH:
        alarm += through_panel(
            block, network, objective, batch, wanted, memory, results.losses, strips
        )
    elif kind == PACK_OPERANDS:
        left, right = memory.left[network.places[k, LEFT] :], memory.right
        pack_operands_block(
            block, layer, transposed, batch.size, pitch, activations, sensitivities, s_at,
            left, right[network.places[k, RIGHT] :], gradient,
        )  # fmt: skip
    elif kind == SENSITIVITIES:
        row_blocks = panels_of(inputs, BLOCK_ROWS)
        panel = block // row_blocks * GROUP
        sensitivity_block(
            block % row_blocks * BLOCK_ROWS, panel, min(GROUP, panels - panel), layer, transposed,
            k > 0, pitch, vectors, network.relu_at_zero, parameters, activations, s_at, s_below,
            strips, sensitivities,
        )  # fmt: skip
    elif kind == WEIGHT_GRADIENTS:
        left, right = memory.left[network.places[k, LEFT] :], memory.right
        weight_gradient_block(
            block, layer, transposed, batch.size, pitch, objective.decay, parameters,
            left, right[network.places[k, RIGHT] :], strips, edge, gradient,
        )  # fmt: skip
    else:
        unpack_inputs(
            width, batch.size, inputs, sensitivities, s_below, results.input_gradient, g_row,
            g_column,
        )  # fmt: skip
    return alarm


@kernel(entry=True)
def passes(
    control, schedule, tolerate, layers, places, transposed, relu_at_zero, loss, factor, decay,
    batch, inputs_wanted, sensitive, keep, parameters, x, targets, labels, strides,
    activations, kept, sensitivities, left, right, losses, gradient, input_gradient,
):  # fmt: skip
    """Run the phases of a schedule, as one of a team of threads.

    Shapes: schedule (phases, 4): kind, layer and blocks of each, and the blocks that must be
    done before; of the others, see the groups that they are put in here.  Python passes them one
    by one: numba unpacks named tuples in Python, which takes 14 us a call, half of a step of 187
    parameters.  6 P batch operations forward and backward.

    Without ``tolerate`` a pre-activation or loss that is not finite stops the call before
    anything is written to the gradient: the caller then looks for its cause.
    """
    width = panel_width(activations)
    largest = 0
    for k in range(layers.shape[0]):
        largest = max(largest, layers[k, INPUTS], layers[k, OUTPUTS])
    rows = min(BLOCK_ROWS, panels_of(largest, MR) * MR)
    strips = np.empty(strips_size(largest, max(largest, batch)), activations.dtype)
    edge = np.empty(rows * width, activations.dtype)
    lent = borrowed(
        (
            Network(
                layers=layers, places=places, transposed=transposed, relu_at_zero=relu_at_zero,
                parameters=parameters,
            ),
            Objective(loss=loss, factor=factor, decay=decay),
            Batch(size=batch, x=x, targets=targets, labels=labels, strides=strides),
            Wanted(inputs=inputs_wanted, sensitive=sensitive, keep=keep),
            Memory(
                activations=activations, kept=kept, sensitivities=sensitivities, left=left,
                right=right,
            ),
            Results(losses=losses, gradient=gradient, input_gradient=input_gradient),
        )
    )  # fmt: skip
    start = 0
    ticket = draw_ticket(control)
    for phase in range(schedule.shape[0]):
        end = start + schedule[phase, BLOCKS]
        while ticket < end:
            if wait_until_done(control, schedule[phase, AFTER]):
                network, objective, samples, wanted, memory, results = lent
                alarm = run_block(
                    schedule[phase, KIND], schedule[phase, LAYER], ticket - start, network,
                    objective, samples, wanted, memory, results, strips, edge,
                )  # fmt: skip
                if alarm != 0 and not tolerate:
                    stop_for_non_finite(control)
            ticket = next_ticket(control)
        start = end
    wait_until_done(control, start)
