"""dL/dW = s h^T, and the sums over the batch for the biases."""

from __future__ import annotations

import numpy as np

from fastbp.kernels.products.matmul import product
from fastbp.kernels.simd.vectors import panel_width
from fastbp.network.network import Network
from fastbp.runtime.panels import flat_view
from fastbp.runtime.threads import run_team
from fastbp.typing import Floats

LANES = int(panel_width(np.empty(0)))
DECAY_ENTRIES = 2**18  # of the weights at a time


def outer_product(left: Floats, right: Floats, result: Floats) -> None:
    """Compute left right^T, a sum over samples, into a flat array."""
    m, batch = left.shape
    n = right.shape[0]
    a, a_row, a_column = flat_view(left)
    b, b_column, b_row = flat_view(right)
    packed = np.empty(-(-n // LANES) * LANES * batch)
    arguments = (m, n, batch, a, a_row, a_column, b, b_row, b_column, packed, result)
    run_team(product, arguments, 2.0 * m * n * batch)


def _add_decay(network: Network, at: int, result: Floats) -> None:
    """Add the derivative of decay / 2 * W^2, some weights at a time."""
    decay = network.objective.weight_decay
    if decay == 0.0:
        return
    for first in range(0, result.size, DECAY_ENTRIES):
        part = result[first : first + DECAY_ENTRIES]
        part += decay * network.parameters[at + first : at + first + part.size]
