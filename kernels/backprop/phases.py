"""What forward and backward pass are made of, for a batch of one and for panels alike.

A call is a list of phases, each of a kind, for a layer, with a number of blocks.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..machine.compile import kernel
from .sample_losses import sample_loss, sample_sensitivity

# Kinds of phases.  THROUGH takes a panel of samples through all layers and back; PARTIAL_SUMS,
# BACKWARD and GATHER are of a batch of one alone.
(
    PACK_INPUTS, FORWARD, LOSSES, SUM_OF_LOSSES, THROUGH, PACK_OPERANDS, SENSITIVITIES,
    WEIGHT_GRADIENTS, PARTIAL_SUMS, BACKWARD, GATHER, UNPACK_INPUTS,
) = range(12)  # fmt: skip
# Columns of a schedule: kind, layer, number of blocks, and how many blocks must be done before.
KIND, LAYER, BLOCKS, AFTER = range(4)
# Columns of the places of a layer in scratch memory: s[k], s[k - 1], and the operands of dW[k].
S_HERE, S_BELOW, LEFT, RIGHT = range(4)
PACK_ROWS = 256  # units of one packing block
VECTOR_BLOCK = 256  # results of one block of a matrix-vector product
VECTOR_ROWS = 128  # of the weights as they lie in memory, that one block of such a product reads


class Network(NamedTuple):
    """The network, and where the scratch of each layer stands."""

    layers: Any  # (layers, COLUMNS), as ``layer_table`` says
    places: Any  # (layers, 4): S_HERE, S_BELOW, LEFT, RIGHT
    transposed: Any  # whether W[k] lies as (n_in, n_out)
    relu_at_zero: Any
    parameters: Any  # (P,)


class Objective(NamedTuple):
    """What is made of the outputs."""

    loss: Any  # one of ``sample_losses``
    factor: Any  # of a sample's loss in that of the batch
    decay: Any  # weight decay


class Batch(NamedTuple):
    """The samples, by the strides of units and samples."""

    size: Any
    x: Any  # (n_in, batch)
    targets: Any  # (n_out, batch), or empty
    labels: Any  # (batch,), or empty
    strides: Any  # six: of x, of targets and of the derivatives by x


class Wanted(NamedTuple):
    """What is computed beside the losses."""

    inputs: Any  # whether the derivatives by x are
    sensitive: Any  # whether s[K] is
    keep: Any  # whether pre-activations are kept


class Memory(NamedTuple):
    """What all threads of a call share."""

    activations: Any  # (units of all levels * pitch,)
    kept: Any  # the same, or empty
    sensitivities: Any  # as ``places`` says, like the operands of dW[k]:
    left: Any  # for a batch of one partial sums: a vector for each block of rows of W[k]
    right: Any


class Results(NamedTuple):
    """What is written for the caller."""

    losses: Any  # (batch + 1,) float64, the last for their sum
    gradient: Any  # (P,)
    input_gradient: Any  # (n_in, batch)


@kernel(reassociate=True)
def zero_times(array):
    """Sum of 0 * array: 0 where all are finite, else NaN."""
    zero = array.dtype.type(0)
    total = zero
    for k in range(array.size):
        total += zero * array[k]
    return total


@kernel
def apply_mask(relu_at_zero, activations, sensitivities):
    """Multiply sensitivities by the ReLU's derivative, read off the stored activations."""
    zero = sensitivities.dtype.type(0)
    if relu_at_zero == 0:
        for k in range(activations.size):
            s = sensitivities[k]
            sensitivities[k] = s if activations[k] > 0 else zero
    else:
        share = sensitivities.dtype.type(relu_at_zero)
        for k in range(activations.size):
            h = activations[k]
            if not h > 0:
                exactly_zero = h == 0 and math.copysign(1.0, h) > 0
                sensitivities[k] = sensitivities[k] * share if exactly_zero else zero


@kernel
def losses_of_panel(
    width, panel, loss, factor, batch, units, at, activations, targets, target_row, target_column,
    labels, sensitive, s_at, losses, sensitivities,
):  # fmt: skip
    """Losses of the samples of one panel (in float64) and, if asked, their s[K].

    Shapes: activations from ``at`` on, and sensitivities from ``s_at``, (panels, units, NR);
    targets (units, batch) by its strides, or labels (batch,); losses (batch + 1,).
    Returns 0, or NaN where a loss is not finite.
    """
    outputs_at = at + panel * units * width
    target_s = s_at + panel * units * width
    for lane in range(width):
        sample = panel * width + lane
        if sample < batch:
            target_at = sample * target_column
            losses[sample] = sample_loss(
                loss, units, activations, outputs_at + lane, width,
                targets, target_at, target_row, labels, sample,
            )  # fmt: skip
    if sensitive:
        for place in range(units * width):
            sensitivities[target_s + place] = activations[outputs_at + place]
        for lane in range(width):
            sample = panel * width + lane
            if sample < batch:
                sample_sensitivity(
                    loss, units, sensitivities, target_s + lane, width,
                    targets, sample * target_column, target_row, labels, sample, factor,
                    sensitivities,
                )  # fmt: skip
            else:
                for k in range(units):
                    sensitivities[target_s + lane + k * width] = 0
    alarm = 0.0
    for sample in range(panel * width, min(batch, (panel + 1) * width)):
        alarm += 0.0 * losses[sample]
    return alarm


@kernel
def sum_losses(batch, losses):
    """Put the sum of losses (batch + 1,), added in the order of the samples, in the last."""
    losses[batch] = 0.0
    for sample in range(batch):
        losses[batch] += losses[sample]


@kernel
def unpack_inputs(width, batch, inputs, sensitivities, at, target, row, column):
    """Copy dL/dx out of its panels, (panels, inputs, NR) from ``at`` on, into (inputs, batch)."""
    for sample in range(batch):
        source = at + sample // width * inputs * width + sample % width
        for j in range(inputs):
            target[sample * column + j * row] = sensitivities[source + j * width]
