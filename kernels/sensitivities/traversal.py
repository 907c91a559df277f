"""Two sweeps through all layers and a proof: values and noise forward, and back.

Forward, W[k] meets three groups of columns: the activations h of every sample; the noise xi that
rounding makes (``noise.py``); and, for a few samples, the activations of two real networks
(``pairs.py``).  It also meets a few random vectors, once for a whole layer, by which the way back
is proved (``proof.py``).  Back, W[k]^T meets the sensitivities s and their noise z.  So weights are
read from memory twice.

All columns lie in panels of NR lanes, ``[panel][unit][lane]``.  h of level l starts at its units
times the pitch, s of layer k, and U = W^T s from which it is masked, at (UNITS_OUT[k] -
UNITS_OUT[0]) * pitch.  Noise and pairs are kept for two levels only.
"""

from __future__ import annotations

import numpy as np

from ..backprop.phases import PACK_ROWS
from ..layer_table import INPUTS, OUTPUTS
from ..machine.borrowed_arrays import borrowed, keep
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, report_done, wait_until_done
from ..products.matmul import BLOCK_ROWS, strips_size
from ..products.packing import pack_panels
from ..simd.vectors import panel_width, panels_of
from .forward import forward_step, level_step
from .proof import proof_step
from .reverse import loss_step, output_noise_sizes, reverse_step, sensitivity_step

# Kinds of steps.
PACK, FORWARD, LEVEL, LOSS, OUTPUT_NOISE, REVERSE, SENSITIVITY, PROOF = range(8)


@kernel
def run_step(
    kind, k, block, panel, panels, shape, network, data, levels, riding, norms, units, steps,
    proof, results, keys, scratch, moved,
):  # fmt: skip
    """Do one block of one step for some panels of samples.

    A block is one of rows, in PACK, FORWARD and REVERSE; one of the panels, in LEVEL and
    SENSITIVITY; one layer, in PROOF.
    """
    if kind == PACK:
        width = panel_width(levels[0])
        inputs = network[0][0, INPUTS]
        x, x_row, x_column = data[0], data[1], data[2]
        first = block * PACK_ROWS
        pack_panels(
            first, min(inputs, first + PACK_ROWS), min(panels * width, shape[1] - panel * width),
            x, panel * width * x_column, x_row, x_column,
            levels[0], panel * inputs * width, inputs * width,
        )  # fmt: skip
    elif kind == FORWARD:
        forward_step(
            k, block, panel, panels, shape, network, levels, riding, norms, units, steps, proof,
            keys, scratch,
        )  # fmt: skip
    elif kind == LEVEL:
        if block < panels:
            level_step(k, panel + block, 1, shape, network, levels, riding, norms, steps)
    elif kind == LOSS:
        loss_step(panel, panels, shape, network, data, levels, riding, steps, results, keys, moved)
    elif kind == OUTPUT_NOISE:
        output_noise_sizes(panel, panels, shape, network, riding, units)
    elif kind == REVERSE:
        reverse_step(
            k, block, panel, panels, shape, network, levels, riding, norms, units, keys, scratch
        )
    elif kind == SENSITIVITY:
        if block < panels:
            sensitivity_step(
                k, panel + block, 1, shape, network, levels, riding, norms, units, steps
            )
    else:
        proof_step(block + 1, panel, panels, shape, network, levels, norms, proof, scratch[3])


@kernel(entry=True)
def sweeps(
    control, schedule, by_panels, group, shape, network, data, levels, riding, norms, units,
    steps, proof, results, keys,
):  # fmt: skip
    """Run the steps of a schedule, as one of a team of threads.

    Shapes: schedule (steps, 3): kind, layer or level, blocks. ``group`` panels of
    samples make one block. With ``by_panels`` a block goes through all steps, and nothing waits;
    else every step waits for the one before. Both give the same bits. For the rest see
    ``fastbp/network/sensitivities/sweeps.py``, which allocates it.
    """
    layers, _blocks, parameters = network
    width = panel_width(parameters)
    panels = shape[2] // width
    largest = 0
    for k in range(layers.shape[0]):
        largest = max(largest, layers[k, INPUTS], layers[k, OUTPUTS])
    owned = (
        np.empty(strips_size(largest, largest), parameters.dtype),
        np.empty(BLOCK_ROWS, np.int64), np.empty(2 * BLOCK_ROWS), np.empty(4 * width),
    )  # fmt: skip
    owned_moved = np.empty(3 * layers[layers.shape[0] - 1, OUTPUTS])
    scratch, moved, network, data, levels, riding = borrowed(
        (owned, owned_moved, network, data, levels, riding)
    )
    norms, units, steps, proof, results, keys = borrowed(
        (norms, units, steps, proof, results, keys)
    )
    groups = panels_of(panels, group)
    start = 0
    ticket = draw_ticket(control)
    stages = 1 if by_panels else schedule.shape[0]
    for stage in range(stages):
        blocks_here = groups * (1 if by_panels else schedule[stage, 2])
        end = start + blocks_here
        while ticket < end:
            if wait_until_done(control, start):
                panel = (ticket - start) % groups * group
                count = min(group, panels - panel)
                first = 0 if by_panels else stage
                last = schedule.shape[0] if by_panels else stage + 1
                for step in range(first, last):
                    low = 0 if by_panels else (ticket - start) // groups
                    high = schedule[step, 2] if by_panels else low + 1
                    for block in range(low, high):
                        run_step(
                            schedule[step, 0], schedule[step, 1], block, panel, count, shape,
                            network, data, levels, riding, norms, units, steps, proof, results,
                            keys, scratch, moved,
                        )  # fmt: skip
            report_done(control)
            ticket = draw_ticket(control)
        start = end
    wait_until_done(control, start)
    keep((owned, owned_moved))
