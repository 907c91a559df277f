"""The structure of a network as numbers: one row of ``layers`` (int64) for each affine layer.

Columns: outputs, inputs, offset of the weights and of the biases in the flat parameter vector
(-1: none), units of all levels before the layer's inputs, and before its outputs.  Level 0 is
the input, level k + 1 what leaves layer k; a level starts at its units times the batch pitch
(NR times the panels of the batch, or 1 for a batch of one).
"""

from __future__ import annotations

from .machine.compile import kernel

OUTPUTS, INPUTS, WEIGHTS, BIASES, UNITS_IN, UNITS_OUT = range(6)
COLUMNS = 6


@kernel(inline=True)
def weight_strides(transposed, layer):
    """Strides of W[k] (unit, input) in the parameter vector: (n_out, n_in) or (n_in, n_out)."""
    if transposed:
        return 1, layer[OUTPUTS]
    return layer[INPUTS], 1
