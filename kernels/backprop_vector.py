"""Forward and backward pass for a batch of one: matrix-vector products at the speed of memory.

The same phases as in ``backprop.py``, without panels and packing, and a kernel of its own, since
whoever needs the one seldom needs the other and need not wait for it to compile.
"""

from __future__ import annotations

from .compile import kernel
from .layers import BIASES, INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from .phases import (
    AFTER,
    BACKWARD,
    BLOCKS,
    FORWARD,
    KIND,
    LAYER,
    LOSSES,
    PACK_INPUTS,
    PACK_ROWS,
    S_BELOW,
    S_HERE,
    SUM_OF_LOSSES,
    VECTOR_BLOCK,
    apply_mask,
    losses_of_panel,
    sum_losses,
    unpack_inputs,
)
from .team import draw_ticket, report_done, stop_for_non_finite, wait_until_done
from .vector import outer_product, times_vector, transposed_times_vector


@kernel
def forward_layer_vector(block, layer, transposed, relu, parameters, keep, kept, activations):
    """Compute one block of units of f[k] and its activation for a batch of one."""
    zero = activations.dtype.type(0)
    first = block * VECTOR_BLOCK
    last = min(layer[OUTPUTS], first + VECTOR_BLOCK)
    at = layer[UNITS_OUT]
    alarm = zero
    if transposed:
        transposed_times_vector(
            first, last, layer[INPUTS], layer[OUTPUTS], parameters, layer[WEIGHTS],
            activations, layer[UNITS_IN], activations, at,
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
    block, layer, transposed, wanted, masked, relu_at_zero, decay, parameters, activations,
    s_at, target_at, sensitivities, gradient,
):  # fmt: skip
    """Compute for a batch of one, over one block of inputs: dW[k], and s[k - 1] if wanted."""
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    h_at, w_at = layer[UNITS_IN], layer[WEIGHTS]
    factor = gradient.dtype.type(decay)
    first = block * VECTOR_BLOCK
    last = min(inputs, first + VECTOR_BLOCK)
    if transposed:
        outer_product(
            first, last, 0, outputs, outputs, activations, h_at, sensitivities, s_at,
            factor, parameters, w_at, gradient,
        )  # fmt: skip
        if wanted:
            times_vector(
                first, last, outputs, parameters, w_at, sensitivities, s_at,
                sensitivities, target_at,
            )  # fmt: skip
    else:
        outer_product(
            0, outputs, first, last, inputs, sensitivities, s_at, activations, h_at,
            factor, parameters, w_at, gradient,
        )  # fmt: skip
        if wanted:
            transposed_times_vector(
                first, last, outputs, inputs, parameters, w_at, sensitivities, s_at,
                sensitivities, target_at,
            )  # fmt: skip
    if wanted and masked:
        apply_mask(
            relu_at_zero,
            activations[h_at + first : h_at + last],
            sensitivities[target_at + first : target_at + last],
        )
    if block == 0 and layer[BIASES] >= 0:
        for unit in range(outputs):
            gradient[layer[BIASES] + unit] = sensitivities[s_at + unit]


@kernel(inline=True)
def run_vector_block(
    kind, k, block, layers, places, transposed, relu_at_zero, loss, factor, decay, inputs_wanted,
    sensitive, keep, parameters, x, targets, labels, strides,
    activations, kept, sensitivities, losses, gradient, input_gradient,
):  # fmt: skip
    """Compute one block of one phase; return 0, or NaN where a number is not finite."""
    count = layers.shape[0]
    layer = layers[k]
    s_at, target_at = places[k, S_HERE], places[k, S_BELOW]
    x_row, _, target_row, target_column, g_row, g_column = strides
    alarm = 0.0
    if kind == PACK_INPUTS:
        first = block * PACK_ROWS
        for j in range(first, min(layer[INPUTS], first + PACK_ROWS)):
            activations[j] = x[j * x_row]
    elif kind == FORWARD:
        alarm += forward_layer_vector(
            block, layer, transposed, k < count - 1, parameters, keep, kept, activations
        )
    elif kind == LOSSES:
        alarm += losses_of_panel(
            1, block, loss, factor, 1, layer[OUTPUTS], layer[UNITS_OUT], activations,
            targets, target_row, target_column, labels, sensitive, s_at, losses, sensitivities,
        )  # fmt: skip
    elif kind == SUM_OF_LOSSES:
        sum_losses(1, losses)
    elif kind == BACKWARD:
        backward_layer_vector(
            block, layer, transposed, k > 0 or inputs_wanted, k > 0, relu_at_zero, decay,
            parameters, activations, s_at, target_at, sensitivities, gradient,
        )  # fmt: skip
    else:
        unpack_inputs(
            1, 1, layer[INPUTS], sensitivities, target_at, input_gradient, g_row, g_column
        )
    return alarm


@kernel(entry=True)
def vector_passes(
    control, schedule, tolerate, layers, places, transposed, relu_at_zero, loss, factor, decay,
    batch, inputs_wanted, sensitive, keep, parameters, x, targets, labels, strides,
    activations, kept, sensitivities, left, right, losses, gradient, input_gradient,
):  # fmt: skip
    """Run the phases of a schedule for one sample; arguments as of ``backprop.passes``."""
    start = 0
    ticket = draw_ticket(control)
    for phase in range(schedule.shape[0]):
        end = start + schedule[phase, BLOCKS]
        while ticket < end:
            if wait_until_done(control, schedule[phase, AFTER]):
                alarm = run_vector_block(
                    schedule[phase, KIND], schedule[phase, LAYER], ticket - start, layers, places,
                    transposed, relu_at_zero, loss, factor, decay, inputs_wanted, sensitive, keep,
                    parameters, x, targets, labels, strides,
                    activations, kept, sensitivities, losses, gradient, input_gradient,
                )  # fmt: skip
                if alarm != 0 and not tolerate:
                    stop_for_non_finite(control)
            report_done(control)
            ticket = draw_ticket(control)
        start = end
    wait_until_done(control, start)
