"""Which phases a call of the passes has, and how many blocks each: the plan of one batch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fastbp.kernels import phases
from fastbp.kernels.matmul import BLOCK_ROWS, GROUP

# Stages of a call, to be added.
FORWARD, LOSS, BACKWARD = 1, 2, 4

Phase = tuple[int, int, int]


def _blocks(count: int, size: int) -> int:
    return -(-count // size)


def _forward(sizes: tuple[int, ...], batch: int, panels: int) -> list[Phase]:
    steps = [(phases.PACK_INPUTS, 0, _blocks(sizes[0], phases.PACK_ROWS))]
    for k, outputs in enumerate(sizes[1:]):
        if batch == 1:
            steps.append((phases.FORWARD, k, _blocks(outputs, phases.VECTOR_BLOCK)))
        else:
            blocks = _blocks(outputs, BLOCK_ROWS) * _blocks(panels, GROUP)
            steps.append((phases.FORWARD, k, blocks))
    return steps


def _backward_of_layer(
    k: int,
    sizes: tuple[int, ...],
    batch: int,
    panels: int,
    width: int,
    wanted: bool,
    keras: bool,
) -> list[Phase]:
    inputs, outputs = sizes[k], sizes[k + 1]
    if batch == 1:
        return [(phases.BACKWARD, k, _blocks(inputs, phases.VECTOR_BLOCK))]
    through = _blocks(inputs, BLOCK_ROWS) * _blocks(panels, GROUP) if wanted else 0
    rows, columns = (inputs, outputs) if keras else (outputs, inputs)
    products = _blocks(rows, BLOCK_ROWS) * _blocks(columns, GROUP * width)
    packing = _blocks(outputs, phases.PACK_ROWS) + _blocks(inputs, phases.PACK_ROWS)
    return [
        (phases.PACK_OPERANDS, k, packing),
        (phases.BACKWARD, k, through + products),
    ]


@lru_cache(maxsize=1024)
def plan(
    stages: int,
    sizes: tuple[int, ...],
    batch: int,
    width: int,
    *,
    inputs: bool,
    keras: bool,
) -> npt.NDArray[np.int64]:
    """List the phases of a call in the order of the data.

    Parameters
    ----------
    stages : int
        FORWARD, LOSS and BACKWARD, added.
    sizes : tuple of int
        Units of every level.
    batch, width : int
        Samples, and lanes of a panel (1 for a batch of one).
    inputs : bool
        Whether dL/dx is wanted.
    keras : bool
        Whether weights are (n_in, n_out).

    Returns
    -------
    int64, shape (phases, 3)
        Kind, layer and number of blocks of each phase.
    """
    panels = _blocks(batch, width)
    last = len(sizes) - 2
    steps: list[Phase] = []
    if stages & FORWARD:
        steps += _forward(sizes, batch, panels)
    if stages & LOSS:
        steps += [(phases.LOSSES, last, panels), (phases.SUM_OF_LOSSES, last, 1)]
    if stages & BACKWARD:
        for k in range(last, -1, -1):
            steps += _backward_of_layer(k, sizes, batch, panels, width, k > 0 or inputs, keras)
        if inputs:
            steps.append((phases.UNPACK_INPUTS, 0, 1))
    return np.array(steps, np.int64)
