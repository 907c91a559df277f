"""dL/dW = s h^T, and the sums over the batch for the biases."""

from __future__ import annotations

import numpy as np

from fastbp.kernels.products.matmul import product
from fastbp.kernels.simd.vectors import panel_width
from fastbp.network.gradients import Shapes
from fastbp.network.network import Network
from fastbp.runtime.panels import aligned_zeros, block_count, flat_view
from fastbp.runtime.threads import run_team
from fastbp.typing import Floats

__all__ = ["PANEL_WIDTH", "add_decay", "write_products"]

PANEL_WIDTH = int(panel_width(np.empty(0)))
DECAY_ENTRIES = 2**18  # of the weights at a time


def write_products(
    shapes: Shapes, k: int, s: Floats, h: Floats, flat: Floats, *, biases: bool = True
) -> None:
    """Write s h^T into the weights of layer k, and the sums of s over the batch into its biases.

    Parameters
    ----------
    shapes : Shapes
    k : int
    s : float64, shape (n_out, batch)
    h : float64, shape (n_in, batch)
    flat : float64, shape (parameters,)
    biases : bool
        Whether the biases are written too, if there are any.
    """
    left, right = (h, s) if shapes.transposed else (s, h)
    _outer_product(left, right, shapes.weight_views(flat)[k].reshape(-1))
    views = shapes.bias_views(flat)
    if views is not None and biases:
        views[k].reshape(-1)[:] = s.sum(axis=1)


def _outer_product(left: Floats, right: Floats, result: Floats) -> None:
    """Compute left right^T, a sum over samples, into a flat array."""
    m, batch = left.shape
    n = right.shape[0]
    a, a_row, a_column = flat_view(left)
    b, b_column, b_row = flat_view(right)
    [packed] = aligned_zeros([block_count(n, PANEL_WIDTH) * PANEL_WIDTH * batch])
    arguments = (m, n, batch, a, a_row, a_column, b, b_row, b_column, packed, result)
    run_team(product, arguments, 2.0 * m * n * batch)


def add_decay(net: Network, flat: Floats) -> None:
    """Add the derivative of decay / 2 * W^2 to the weights, some at a time."""
    decay = net.objective.weight_decay
    if decay == 0.0:
        return
    for view, weight in zip(net.shapes.weight_views(flat), net.weights, strict=True):
        result, values = view.reshape(-1), weight.reshape(-1)
        for first in range(0, result.size, DECAY_ENTRIES):
            part = slice(first, first + DECAY_ENTRIES)
            result[part] += decay * values[part]
