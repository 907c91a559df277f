"""The arrays of the sweeps: one named group for each purpose, and where a panel begins in them.

In the shapes below L is the number of layers, P the number of parameters, ``pitch`` the batch
rounded up to whole panels of NR lanes.  *Levels* are the inputs and what leaves each layer
(L + 1 of them); *layers* have no inputs.  Values by level or layer lie in panels,
``[level][panel][unit][lane]``, flat.  Noise is in units of u, the roundoff of the coarser
computation; everything is float64 unless it says otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..machine.compile import kernel

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

# Columns of ``row_blocks``: rows of W[k] in a block forward, and of its transpose in one back.
FORWARD_ROWS, REVERSE_ROWS = range(2)

# Rows of ``facts``, what is known of the outputs of each sample.  A step along random d in the
# outputs: <s, 2 step d>, the two losses' difference, and the sizes |s| |2 step d| and |2 step d|
# that rounding is measured by.  Then the largest output or target, <|s|, |xi|>, and the sum of
# the two losses' sizes.
(
    ALONG_OUTPUT, ALONG_LOSS, ALONG_SIZE, ALONG_STEP, LARGEST_OUTPUT, RESIDUAL_NOISE,
    LOSSES_BESIDE,
) = range(7)  # fmt: skip
SAMPLE_FACTS = 7


class Network(NamedTuple):
    """A network, read only."""

    layers: Integers  # (L, COLUMNS), as in ``layer_table.py``
    row_blocks: Integers  # (L, 2): FORWARD_ROWS, REVERSE_ROWS
    parameters: Floats  # (P,)
    transposed: bool  # W[k] lies as (inputs, outputs)


class Batch(NamedTuple):
    """The samples, read only; x[i, n] is ``x[i * x_row + n * x_column]``."""

    samples: int
    pitch: int
    vectors: int  # of each panel that are multiplied: 1 where the batch fills no more
    live: Floats  # (pitch,): 1 for a sample, 0 for a lane that none fills
    x: Floats  # (inputs * samples,)
    x_row: int
    x_column: int


class Loss(NamedTuple):
    """The loss of a sample, ``factor`` times what it is without reduction and scale.

    The target of output i of sample n is ``targets[i * target_row + n * target_column]``.
    """

    code: int  # as in ``sample_losses.py``
    factor: float
    targets: Floats  # (outputs * samples,), or (0,) where there are labels
    target_row: int
    target_column: int
    labels: Integers  # (samples,), or (0,)


class Levels(NamedTuple):
    """Values of every unit and sample, written; ``units`` are those of all levels."""

    h: Floats  # (units * pitch,): activations; of the last level, the outputs
    doubt: Bytes  # (units * pitch,): 1 where the mask of a hidden unit is in doubt
    s: Floats  # ((units - inputs) * pitch,): dL/df
    unmasked: Floats  # as s: U = W^T s, from which s is masked; s itself where nothing is proved


class Noise(NamedTuple):
    """Noise of h and s, of two levels at a time: of level l in half l % 2."""

    xi: Floats  # (2 * largest level * pitch,): of h
    z: Floats  # (2 * largest level * pitch,): of s, of layer k in half k % 2
    margin: float  # u times what noise is multiplied by: nearer to 0 than that is in doubt
    least: float  # of the derivative by an output: where numbers lose digits, in units of u


class Pairs(NamedTuple):
    """Pairs of real networks, theta + and - step, each following some neighbouring samples.

    The step of layer k is the rank-one a b^T for its weights and c for its biases.
    """

    samples: int  # of each pair
    chosen: Integers  # (pairs,): which group of so many samples, in increasing order
    a: Floats  # (units - inputs,)
    b: Floats  # (units - outputs,)
    c: Floats  # (units - inputs,)
    h: Floats  # (2 * largest level * pairs * NR,): activations, of two levels at a time
    dots: Floats  # (L * PAIR_DOTS * pairs * NR,): b.h, a.s, ... as in ``network_pairs.py``
    crossed: Bytes  # (pairs * samples,): 1 where a unit is active in one network and not in h
    losses: Floats  # (pairs * NR,): without factor; theta + step in the first lanes


class Norms(NamedTuple):
    """Norms over the units of a level or layer, for each sample."""

    h: Floats  # ((L + 1) * pitch,)
    xi: Floats  # ((L + 1) * pitch,)
    s: Floats  # (L * pitch,)
    z: Floats  # (L * pitch,)
    weighted_s: Floats  # (L * pitch,): of |W_i| s_i
    unmasked: Floats  # (L * pitch,): of U, the first layer's left at 0


class UnitNorms(NamedTuple):
    """Norms that belong to a unit."""

    weight_rows: Floats  # (units - inputs,): of row i of W
    weight_columns: Floats  # (units - outputs,): of column j of W, the first layer's left at 0
    xi: Floats  # (panels * units,): over the samples of a panel
    z: Floats  # (panels * (units - inputs),): over the samples of a panel


class Proof(NamedTuple):
    """<W^T s, v> against <s, W v> for random v."""

    directions: int
    v: Floats  # (directions * (units - inputs),)
    w_v: Floats  # (directions * (units - inputs),): W v, the first layer's left at 0
    gaps: Floats  # (L * directions * pitch,): |<W^T s, v> - <s, W v>|
    flipped: Integers  # (L * pitch,): units whose s is not mask U


class Results(NamedTuple):
    """What is known of the losses."""

    losses: Floats  # (samples + 1,): without factor
    facts: Floats  # (SAMPLE_FACTS, samples)


class Sweep(NamedTuple):
    """Everything that the sweeps read and write; no field is ever another array."""

    network: Network
    batch: Batch
    loss: Loss
    levels: Levels
    noise: Noise
    pairs: Pairs
    norms: Norms
    unit_norms: UnitNorms
    proof: Proof
    results: Results
    keys: npt.NDArray[np.uint64]  # (STREAMS,), of the random numbers


class Scratch(NamedTuple):
    """Memory of one thread."""

    strips: Floats  # packed rows of W
    signs: Integers  # (BLOCK_ROWS,): 64 random bits for each row
    row_norms: Floats  # (BLOCK_ROWS,)
    biases: Floats  # (BLOCK_ROWS,)
    projections: Floats  # (4 * NR,)
    outputs: Floats  # (3 * outputs,): a random direction, outputs plus and minus a step along it


@kernel
def panel_start(before: Any, units: Any, panel: Any, pitch: Any, width: Any) -> Any:
    """Where a panel of a level begins, which so many units stand before."""
    return before * pitch + panel * units * width


@kernel
def panels_apart(halves: Any, panels: Any) -> Any:
    """Distance of panels of which two levels are kept: that of the largest level."""
    return halves.size // 2 // panels


@kernel
def kept_start(halves: Any, level: Any, panel: Any, panels: Any) -> Any:
    """Where a panel of a level begins in an array that keeps two levels."""
    return level % 2 * (halves.size // 2) + panel * panels_apart(halves, panels)
