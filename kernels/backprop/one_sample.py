"""Forward and backward pass for a batch of one: matrix-vector products at the speed of memory.

The same phases as in ``backprop.py``, without panels and packing, and a kernel of its own, since
whoever needs the one seldom needs the other and need not wait for it to compile.
"""

from __future__ import annotations

from ..layer_table import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from ..machine.borrowed_arrays import borrowed
from ..machine.cache_sizes import LAST_LEVEL_BYTES
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, next_ticket, stop_for_non_finite, wait_until_done
from ..products.matvec import outer_product, sum_partials, sum_rows, times_vector
from .phases import (
    AFTER,
    BACKWARD,
    BLOCKS,
    FORWARD,
    GATHER,
    KIND,
    LAYER,
    LOSSES,
    PACK_INPUTS,
    PACK_ROWS,
    PARTIAL_SUMS,
    S_BELOW,
    S_HERE,
    SUM_OF_LOSSES,
    VECTOR_BLOCK,
    VECTOR_ROWS,
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
)


@kernel(inline=True)
def row_blocks(rows):
    """Blocks of a matrix-vector product that sums over so many rows."""
    return (rows + VECTOR_ROWS - 1) // VECTOR_ROWS


@kernel
def forward_layer_vector(
    block, layer, transposed, relu, parameters, partials, keep, kept, activations
):
    """Compute one block of units of f[k] and its activation for a batch of one."""
    zero = activations.dtype.type(0)
    outputs = layer[OUTPUTS]
    first = block * VECTOR_BLOCK
    last = min(outputs, first + VECTOR_BLOCK)
    at = layer[UNITS_OUT]
    alarm = zero
    if transposed:
        sum_partials(
            first, last, row_blocks(layer[INPUTS]), outputs, partials,
            activations[at + first : at + last],
        )  # fmt: skip
    else:
        times_vector(
            first, last, layer[INPUTS], parameters, layer[WEIGHTS],
            activations, layer[UNITS_IN], activations, at,
        )  # fmt: skip
    for i in range(first, last):
        f = activations[at + i] + zero
        if layer[BIASES] >= 0:
            f += parameters[layer[BIASES] + i]
        alarm += zero * f
        if keep:
            kept[at + i] = f
        if relu:
            f = f if f > 0 else (-zero if f < 0 else f)
        activations[at + i] = f
    return alarm


@kernel
def backward_layer_vector(
    block, layer, transposed, wanted, decay, parameters, activations, s_at, target_at,
    sensitivities, partials, gradient,
):  # fmt: skip
    """Compute for a batch of one, over one block of rows of W[k] as it lies in memory: dW[k].

    And, if wanted, W[k]^T s[k]: part of the sum, or some of its entries where rows are inputs.
    """
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    h_at, w_at = layer[UNITS_IN], layer[WEIGHTS]
    factor = gradient.dtype.type(decay)
    stream = gradient.size * gradient.itemsize > LAST_LEVEL_BYTES  # no cache holds it anyway
    first = block * VECTOR_ROWS
    last = min(inputs if transposed else outputs, first + VECTOR_ROWS)
    if transposed:
        outer_product(
            first, last, outputs, activations, h_at, sensitivities, s_at, stream, factor,
            parameters, w_at, gradient,
        )  # fmt: skip
        if wanted:
            times_vector(
                first, last, outputs, parameters, w_at, sensitivities, s_at,
                sensitivities, target_at,
            )  # fmt: skip
    else:
        outer_product(
            first, last, inputs, sensitivities, s_at, activations, h_at, stream, factor,
            parameters, w_at, gradient,
        )  # fmt: skip
        if wanted:
            sum_rows(
                first, last, inputs, parameters, w_at, sensitivities, s_at, True,
                partials[block * inputs : (block + 1) * inputs],
            )  # fmt: skip
    if block == 0 and layer[BIASES] >= 0:
        for unit in range(outputs):
            gradient[layer[BIASES] + unit] = sensitivities[s_at + unit]


@kernel
def gather_block(
    block, layer, transposed, masked, relu_at_zero, activations, target_at, partials, sensitivities
):
    """Finish one block of s[k - 1]: add the partial sums, apply the mask."""
    first = block * VECTOR_BLOCK
    last = min(layer[INPUTS], first + VECTOR_BLOCK)
    h_at = layer[UNITS_IN]
    target = sensitivities[target_at + first : target_at + last]
    if not transposed:
        blocks = row_blocks(layer[OUTPUTS])
        sum_partials(first, last, blocks, layer[INPUTS], partials, target)
    if masked:
        apply_mask(relu_at_zero, activations[h_at + first : h_at + last], target)


@kernel(inline=True)
def run_vector_block(kind, k, block, network, objective, batch, wanted, memory, results):
    """Compute one block of one phase; return 0, or NaN where a number is not finite."""
    activations, sensitivities = memory.activations, memory.sensitivities
    parameters, transposed, partials = network.parameters, network.transposed, memory.left
    count = network.layers.shape[0]
    layer = network.layers[k]
    s_at, target_at = network.places[k, S_HERE], network.places[k, S_BELOW]
    x_row, _, target_row, target_column, g_row, g_column = batch.strides
    alarm = 0.0
    if kind == PACK_INPUTS:
        first = block * PACK_ROWS
        for j in range(first, min(layer[INPUTS], first + PACK_ROWS)):
            activations[j] = batch.x[j * x_row]
    elif kind == FORWARD:
        alarm += forward_layer_vector(
            block, layer, transposed, k < count - 1, parameters, partials, wanted.keep,
            memory.kept, activations,
        )  # fmt: skip
    elif kind == LOSSES:
        alarm += losses_of_panel(
            1, block, objective.loss, objective.factor, 1, layer[OUTPUTS], layer[UNITS_OUT],
            activations, batch.targets, target_row, target_column, batch.labels, wanted.sensitive,
            s_at, results.losses, sensitivities,
        )  # fmt: skip
    elif kind == SUM_OF_LOSSES:
        sum_losses(1, results.losses)
    elif kind == PARTIAL_SUMS:
        first, outputs = block * VECTOR_ROWS, layer[OUTPUTS]
        sum_rows(
            first, min(layer[INPUTS], first + VECTOR_ROWS), outputs, parameters, layer[WEIGHTS],
            activations, layer[UNITS_IN], False,  # a NaN must be noticed, also behind a 0
            partials[block * outputs : (block + 1) * outputs],
        )  # fmt: skip
    elif kind == BACKWARD:
        backward_layer_vector(
            block, layer, transposed, k > 0 or wanted.inputs, objective.decay, parameters,
            activations, s_at, target_at, sensitivities, partials, results.gradient,
        )  # fmt: skip
    elif kind == GATHER:
        gather_block(
            block, layer, transposed, k > 0, network.relu_at_zero, activations, target_at,
            partials, sensitivities,
        )  # fmt: skip
    else:
        unpack_inputs(
            1, 1, layer[INPUTS], sensitivities, target_at, results.input_gradient, g_row, g_column
        )
    return alarm


@kernel(entry=True)
def vector_passes(
    control, schedule, tolerate, layers, places, transposed, relu_at_zero, loss, factor, decay,
    batch, inputs_wanted, sensitive, keep, parameters, x, targets, labels, strides,
    activations, kept, sensitivities, left, right, losses, gradient, input_gradient,
):  # fmt: skip
    """Run the phases of a schedule for one sample; arguments as of ``many_samples.passes``."""
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
                network, objective, sample, wanted, memory, results = lent
                alarm = run_vector_block(
                    schedule[phase, KIND], schedule[phase, LAYER], ticket - start, network,
                    objective, sample, wanted, memory, results,
                )  # fmt: skip
                if alarm != 0 and not tolerate:
                    stop_for_non_finite(control)
            ticket = next_ticket(control)
        start = end
    wait_until_done(control, start)
