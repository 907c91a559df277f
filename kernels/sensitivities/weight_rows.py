"""A block of rows of W[k], or of its transpose: where it lies, and its products with panels."""

from __future__ import annotations

from typing import NamedTuple

from ..layer_table import INPUTS, OUTPUTS, WEIGHTS, weight_strides
from ..machine.compile import kernel
from ..products.matmul import multiply_block
from ..simd.vectors import panel_width
from .sweep_arrays import FORWARD_ROWS, REVERSE_ROWS


class WeightRows(NamedTuple):
    """Rows of W[k] or of its transpose, ``first`` to ``first + height``.

    Entry p of row r among them is ``parameters[at + r * row_stride + p * column_stride]``.
    """

    first: int
    height: int
    depth: int  # entries of a row
    at: int
    row_stride: int
    column_stride: int


@kernel(inline=True)
def rows_of_weights(k, block, network):
    """Block of rows of W[k]."""
    layer = network.layers[k]
    first = block * network.row_blocks[k, FORWARD_ROWS]
    unit_stride, input_stride = weight_strides(network.transposed, layer)
    return WeightRows(
        first=first,
        height=min(network.row_blocks[k, FORWARD_ROWS], layer[OUTPUTS] - first),
        depth=layer[INPUTS],
        at=layer[WEIGHTS] + first * unit_stride,
        row_stride=unit_stride,
        column_stride=input_stride,
    )


@kernel(inline=True)
def rows_of_transpose(k, block, network):
    """Block of rows of W[k]^T."""
    layer = network.layers[k]
    first = block * network.row_blocks[k, REVERSE_ROWS]
    unit_stride, input_stride = weight_strides(network.transposed, layer)
    return WeightRows(
        first=first,
        height=min(network.row_blocks[k, REVERSE_ROWS], layer[INPUTS] - first),
        depth=layer[OUTPUTS],
        at=layer[WEIGHTS] + first * input_stride,
        row_stride=input_stride,
        column_stride=unit_stride,
    )


@kernel
def multiply_panels(
    rows, parameters, panels, vectors, values, values_at, values_apart, strips,
    products, products_at, products_apart,
):  # fmt: skip
    """Multiply a block of rows with panels of columns, so far apart, into panels of products.

    Shapes of one panel: values (rows.depth, NR), products (rows.height, NR).
    """
    width = panel_width(values)
    multiply_block(
        rows.height, panels, vectors, rows.depth, parameters, rows.at, rows.row_stride,
        rows.column_stride, values, values_at, width, values_apart, strips,
        products, products_at, width, products_apart,
    )  # fmt: skip
