"""Which phases a call of the passes has, and how many blocks each: the plan of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastbp.kernels.backprop import phases
from fastbp.kernels.products.matmul import BLOCK_ROWS, GROUP
from fastbp.runtime.panels import block_count
from fastbp.typing import Indices

# Stages of a call, to be added.
FORWARD, LOSS, BACKWARD = 1, 2, 4

ALL = FORWARD | LOSS | BACKWARD

Phase = tuple[int, int, int]  # kind, layer, number of blocks


@dataclass(frozen=True)
class Shape:
    """What the plan of a call depends on.

    Attributes
    ----------
    sizes : tuple of int
        Units of every level.
    batch, width : int
        Samples, and lanes of a panel (1 for a batch of one).
    transposed : bool
        Whether weights are (n_in, n_out).
    cached : bool
        Whether all weights stay in a core's cache.
    """

    sizes: tuple[int, ...]
    batch: int
    width: int
    transposed: bool
    cached: bool

    @property
    def panels(self) -> int:
        """Panels of the batch."""
        return block_count(self.batch, self.width)

    @property
    def by_panels(self) -> bool:
        """Whether each panel goes through all layers by itself."""
        return self.cached and self.batch > 1 and self.panels > 1


def _row_blocks(shape: Shape, k: int) -> int:
    """Blocks of rows of the weights as they lie in memory, for a batch of one."""
    return block_count(shape.sizes[k if shape.transposed else k + 1], phases.VECTOR_ROWS)


def _forward(shape: Shape, k: int) -> list[list[Phase]]:
    outputs = shape.sizes[k + 1]
    if shape.batch > 1:
        blocks = block_count(outputs, BLOCK_ROWS) * block_count(shape.panels, GROUP)
        return [[(phases.FORWARD, k, blocks)]]
    products = [[(phases.FORWARD, k, block_count(outputs, phases.VECTOR_BLOCK))]]
    if shape.transposed:
        products.insert(0, [(phases.PARTIAL_SUMS, k, _row_blocks(shape, k))])
    return products


def _sensitivities(shape: Shape, k: int) -> Phase:
    blocks = block_count(shape.sizes[k], BLOCK_ROWS) * block_count(shape.panels, GROUP)
    return phases.SENSITIVITIES, k, blocks


def _packing(shape: Shape, k: int) -> Phase:
    blocks = sum(block_count(units, phases.PACK_ROWS) for units in shape.sizes[k : k + 2])
    return phases.PACK_OPERANDS, k, blocks


def _weight_gradients(shape: Shape, k: int) -> Phase:
    inputs, outputs = shape.sizes[k], shape.sizes[k + 1]
    rows, columns = (inputs, outputs) if shape.transposed else (outputs, inputs)
    blocks = block_count(rows, BLOCK_ROWS) * block_count(columns, GROUP * shape.width)
    return phases.WEIGHT_GRADIENTS, k, blocks


def _backward(shape: Shape, k: int, wanted: bool) -> list[list[Phase]]:
    if shape.batch == 1:
        steps = [[(phases.BACKWARD, k, _row_blocks(shape, k))]]
        if wanted:
            steps.append([(phases.GATHER, k, block_count(shape.sizes[k], phases.VECTOR_BLOCK))])
        return steps
    products = [_weight_gradients(shape, k)]
    if wanted:
        products.insert(0, _sensitivities(shape, k))
    return [[_packing(shape, k)], products]


def _layer_by_layer(stages: int, shape: Shape, inputs: bool) -> list[list[Phase]]:
    last = len(shape.sizes) - 2
    steps: list[list[Phase]] = []
    if stages & FORWARD:
        steps.append([(phases.PACK_INPUTS, 0, block_count(shape.sizes[0], phases.PACK_ROWS))])
        for k in range(last + 1):
            steps += _forward(shape, k)
    if stages & LOSS:
        steps += [[(phases.LOSSES, last, shape.panels)], [(phases.SUM_OF_LOSSES, last, 1)]]
    if stages & BACKWARD:
        for k in range(last, -1, -1):
            steps += _backward(shape, k, k > 0 or inputs)
        if inputs:
            steps.append([(phases.UNPACK_INPUTS, 0, 1)])
    return steps


def _panel_by_panel(shape: Shape, inputs: bool) -> list[list[Phase]]:
    last = len(shape.sizes) - 2
    after = [(phases.SUM_OF_LOSSES, last, 1)]
    if inputs:
        after.append((phases.UNPACK_INPUTS, 0, 1))
    return [
        [(phases.THROUGH, last, shape.panels)],
        [_packing(shape, k) for k in range(last + 1)] + after,
        [_weight_gradients(shape, k) for k in range(last + 1)],
    ]


@lru_cache(maxsize=1024)
def plan(stages: int, shape: Shape, *, inputs: bool) -> Indices:
    """List the phases of a call in the order of the data.

    Parameters
    ----------
    stages : int
        FORWARD, LOSS and BACKWARD, added.
    shape : Shape
    inputs : bool
        Whether dL/dx is wanted.

    Returns
    -------
    int64, shape (phases, 4)
        Kind, layer and number of blocks of each phase, and how many blocks must be done
        before: phases that need the same share one number, and run at once.
    """
    if shape.by_panels and stages == ALL:
        steps = _panel_by_panel(shape, inputs)
    else:
        steps = _layer_by_layer(stages, shape, inputs)
    rows, done = [], 0
    for together in steps:
        rows += [(*phase, done) for phase in together]
        done += sum(blocks for _, _, blocks in together)
    return np.array(rows, np.int64)


@lru_cache(maxsize=1024)
def places(shape: Shape) -> tuple[Indices, int, int, int]:
    """Say where each layer finds its operands of the backward pass in scratch memory.

    Returns
    -------
    table : int64, shape (layers, 4)
        Offsets of s[k], of s[k - 1], and of both operands of dW[k].  Layer by layer they use
        the same memory in turn; panel by panel each layer has its own.
    sensitivities, left, right : int
        Numbers in each of the three buffers.
    """
    pitch = shape.panels * shape.width
    sizes = shape.sizes
    layers = len(sizes) - 1
    table = np.zeros((layers, 4), np.int64)
    if not shape.by_panels:
        half = max(sizes) * pitch
        for k in range(layers):
            table[k, phases.S_HERE] = k % 2 * half
            table[k, phases.S_BELOW] = (k + 1) % 2 * half
        if shape.batch == 1:
            columns = sizes[1:] if shape.transposed else sizes[:-1]
            partial = max(_row_blocks(shape, k) * columns[k] for k in range(layers))
            return table, 2 * half, partial, 0
        return table, 2 * half, half, max(_right_size(shape, k) for k in range(layers))
    s_at = np.cumsum([0, *sizes]) * pitch
    left = np.cumsum([0, *(_left_size(shape, k) for k in range(layers))])
    right = np.cumsum([0, *(_right_size(shape, k) for k in range(layers))])
    table[:, phases.S_BELOW], table[:, phases.S_HERE] = s_at[:layers], s_at[1 : layers + 1]
    table[:, phases.LEFT], table[:, phases.RIGHT] = left[:layers], right[:layers]
    return table, int(s_at[-1]), int(left[-1]), int(right[-1])


def _left_size(shape: Shape, k: int) -> int:
    return shape.sizes[k if shape.transposed else k + 1] * shape.panels * shape.width


def _right_size(shape: Shape, k: int) -> int:
    units = shape.sizes[k + 1 if shape.transposed else k]
    return block_count(units, shape.width) * shape.width * shape.batch
