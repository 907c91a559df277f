"""Proof of the way back: every product W^T s of a layer against a product with W itself.

``U = W^T s`` is made by the reverse sweep and ``s' = mask U`` goes on.  For a random v ::

    <U_n, v> = <s_n, W v>

in every sample n, up to rounding (Freivalds, "Probabilistic machines can use less running time",
1977): the right side is a product forward through W, and costs one column for a whole layer,
whatever the batch.  The masks are compared entry by entry.
"""

from __future__ import annotations

from ..layer_table import INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT
from ..machine.compile import kernel
from ..products.matvec import long_dot
from ..products.norms import panel_norms
from ..simd.tile import multiply_rows
from ..simd.vectors import VECTORS, panel_width

SHORT = 32  # terms of one sum


@kernel
def project_rows(rows, depth, a, a_at, a_row, a_column, factors, results):
    """results[r] = sum over p of A[r, p] factors[p], for a matrix one of whose strides is 1."""
    if a_column == 1:
        for r in range(rows):
            start = a_at + r * a_row
            results[r] = long_dot(a[start : start + depth], factors)
    else:
        total = results[:rows]
        total[:] = 0.0
        for p in range(depth):
            line = a[a_at + p * a_column : a_at + p * a_column + rows]
            factor = factors[p]
            for r in range(rows):
                total[r] += line[r] * factor


@kernel
def wrong_masks(h, before, s):
    """Count the entries in which s is not (h > 0) U, to the bit; both shapes (entries,)."""
    wrong = 0
    for k in range(s.size):
        expected = before[k] if h[k] > 0 else 0.0
        wrong += 1 if s[k] != expected else 0
    return wrong


@kernel
def note_wrong_masks(units, h, before, s, flipped):
    """Count the wrong masks of a panel, by lane."""
    width = panel_width(s)
    for r in range(units):
        for lane in range(width):
            place = r * width + lane
            expected = before[place] if h[place] > 0 else 0.0
            flipped[lane] += 1 if s[place] != expected else 0


@kernel
def project_in_blocks(rows, depth, factors, factors_at, factors_row, values, at, results):
    """results[d, lane] = sum over units of factors[d, unit] values[unit, lane], in short sums.

    Of equal terms every rounding may go the same way: blocks of SHORT keep that small.
    """
    width = panel_width(values)
    for p in range(0, depth, SHORT):
        multiply_rows(
            rows, VECTORS, min(SHORT, depth - p), factors, factors_at + p, factors_row, 1,
            values, at + p * width, width, results, 0, width, p,
        )  # fmt: skip


@kernel
def proof_step(k, panel, panels, shape, network, levels, norms, proof, scratch):
    """Compare <W[k]^T s, v> with <s, W[k] v> for some panels of samples, and s with mask U.

    Writes the gap for each direction and sample, the norms of U, and the samples whose masks are
    wrong.
    """
    pitch, directions = shape[2], shape[4]
    layers = network[0]
    h, s, before = levels[0], levels[1], levels[4]
    u_norms = norms[5]
    factors, projected, gaps, flipped = proof
    width = panel_width(s)
    layer = layers[k]
    inputs, outputs = layer[INPUTS], layer[OUTPUTS]
    inputs_of_net = layers[0, INPUTS]
    below, above = layer[UNITS_IN] - inputs_of_net, layer[UNITS_OUT] - inputs_of_net
    units = factors.size // directions
    left, right = scratch[: 2 * width], scratch[2 * width :]
    for q in range(panel, panel + panels):
        own, from_above = below * pitch + q * inputs * width, above * pitch + q * outputs * width
        level = layer[UNITS_IN] * pitch + q * inputs * width
        entries = inputs * width
        active = h[level : level + entries]
        unmasked, masked = before[own : own + entries], s[own : own + entries]
        at = k * pitch + q * width
        panel_norms(inputs, before, own, u_norms[at : at + width])
        if wrong_masks(active, unmasked, masked) > 0:
            note_wrong_masks(inputs, active, unmasked, masked, flipped[at : at + width])
        first = 0
        while first < directions:
            rows = min(2, directions - first)
            project_in_blocks(
                rows, inputs, factors, first * units + below, units, before, own, left
            )
            project_in_blocks(
                rows, outputs, projected, first * units + above, units, s, from_above, right
            )
            for d in range(rows):
                there = (k * directions + first + d) * pitch + q * width
                for lane in range(width):
                    gaps[there + lane] = abs(left[d * width + lane] - right[d * width + lane])
            first += rows
