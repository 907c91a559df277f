"""Two sweeps through all layers and a proof: values and noise forward, and back.

Forward, W[k] meets three groups of columns: the activations h of every sample; the noise xi that
rounding makes (``rounding_noise.py``); and, for a few samples, the activations of two real
networks (``network_pairs.py``).  It also meets a few random vectors, once for a whole layer, by
which the way back is proved (``proof.py``).  Back, W[k]^T meets the sensitivities s and their
noise z.  So weights are read from memory twice.

Every array, with its shape, is a field of `Sweep` (``sweep_arrays.py``).
"""

from __future__ import annotations

import numpy as np

from ..backprop.phases import PACK_ROWS
from ..layer_table import INPUTS, OUTPUTS
from ..machine.borrowed_arrays import borrowed, borrowed_as, keep
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, report_done, wait_until_done
from ..products.matmul import BLOCK_ROWS, strips_size
from ..products.packing import pack_panels
from ..simd.vectors import panel_width, panels_of
from .forward import forward_step, level_step
from .proof import proof_step
from .reverse import loss_step, output_noise_sizes, reverse_step, sensitivity_step
from .sweep_arrays import Scratch, Sweep

# Kinds of steps.
PACK, FORWARD, LEVEL, LOSS, OUTPUT_NOISE, REVERSE, SENSITIVITY, PROOF = range(8)


@kernel(inline=True)
def pack_step(block, panel, panels, sweep):
    """Copy some units of x of some panels' samples to level 0."""
    batch, h, inputs = sweep.batch, sweep.levels.h, sweep.network.layers[0, INPUTS]
    width = panel_width(h)
    first = block * PACK_ROWS
    pack_panels(
        first, min(inputs, first + PACK_ROWS), min(panels * width, batch.samples - panel * width),
        batch.x, panel * width * batch.x_column, batch.x_row, batch.x_column,
        h, panel * inputs * width, inputs * width,
    )  # fmt: skip


@kernel
def run_step(kind, k, block, panel, panels, sweep, scratch):
    """Do one block of one step for some panels of samples.

    A block is one of rows, in PACK, FORWARD and REVERSE; one of the panels, in LEVEL and
    SENSITIVITY; one layer, from k on, in PROOF.
    """
    if kind == PACK:
        pack_step(block, panel, panels, sweep)
    elif kind == FORWARD:
        forward_step(k, block, panel, panels, sweep, scratch)
    elif kind == LEVEL:
        if block < panels:
            level_step(k, panel + block, sweep)
    elif kind == LOSS:
        loss_step(panel, panels, sweep, scratch)
    elif kind == OUTPUT_NOISE:
        output_noise_sizes(panel, panels, sweep)
    elif kind == REVERSE:
        reverse_step(k, block, panel, panels, sweep, scratch)
    elif kind == SENSITIVITY:
        if block < panels:
            sensitivity_step(k, panel + block, sweep)
    else:
        proof_step(k + block, panel, panels, sweep, scratch)


@kernel(allocates=True)
def allocate_scratch(network):
    """Memory of one thread, for blocks of any layer."""
    layers, parameters = network.layers, network.parameters
    width = panel_width(parameters)
    largest = 0
    for k in range(layers.shape[0]):
        largest = max(largest, layers[k, INPUTS], layers[k, OUTPUTS])
    return Scratch(
        strips=np.empty(strips_size(largest, largest), parameters.dtype),
        signs=np.empty(BLOCK_ROWS, np.int64),
        row_norms=np.empty(BLOCK_ROWS),
        biases=np.empty(BLOCK_ROWS),
        projections=np.empty(4 * width),
        outputs=np.empty(3 * layers[layers.shape[0] - 1, OUTPUTS]),
    )


@kernel(entry=True)
def sweeps(control, schedule, by_panels, group, arrays):
    """Run the steps of a schedule, as one of a team of threads.

    Shapes: control as in ``tickets.py``; schedule int64, (steps, 3): kind, layer or level, blocks;
    arrays are those of a `Sweep`, without names.
    ``group`` panels of samples make one block. With ``by_panels`` a block goes through all steps,
    and nothing waits; else every step waits for the one before. Both give the same bits.
    """
    sweep = borrowed_as(Sweep, arrays)
    owned_scratch = allocate_scratch(sweep.network)
    scratch = borrowed(owned_scratch)
    panels = sweep.batch.pitch // panel_width(sweep.levels.h)
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
                            schedule[step, 0], schedule[step, 1], block, panel, count, sweep,
                            scratch,
                        )  # fmt: skip
            report_done(control)
            ticket = draw_ticket(control)
        start = end
    wait_until_done(control, start)
    keep(owned_scratch)
