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
from .sweep_arrays import panel_start

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
def wrong_masks(h, unmasked, s):
    """Count the entries in which s is not (h > 0) U, to the bit; both shapes (entries,)."""
    wrong = 0
    for k in range(s.size):
        expected = unmasked[k] if h[k] > 0 else 0.0
        wrong += 1 if s[k] != expected else 0
    return wrong


@kernel
def note_wrong_masks(units, h, unmasked, s, flipped):
    """Count the wrong masks of a panel, by lane: flipped (NR,), the rest (units, NR)."""
    width = panel_width(s)
    for r in range(units):
        for lane in range(width):
            place = r * width + lane
            expected = unmasked[place] if h[place] > 0 else 0.0
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
def proof_step(k, panel, panels, sweep, scratch):
    """Compare <W[k]^T s, v> with <s, W[k] v> for some panels of samples, and s with mask U."""
    layers, width = sweep.network.layers, panel_width(sweep.levels.s)
    pitch, levels, norms = sweep.batch.pitch, sweep.levels, sweep.norms
    inputs, before = layers[k, INPUTS], layers[k, UNITS_IN]
    size = inputs * width
    for q in range(panel, panel + panels):
        h_at = panel_start(before, inputs, q, pitch, width)
        s_at = panel_start(before - layers[0, INPUTS], inputs, q, pitch, width)
        at = k * pitch + q * width
        panel_norms(inputs, levels.unmasked, s_at, norms.unmasked[at : at + width])
        h = levels.h[h_at : h_at + size]
        unmasked, s = levels.unmasked[s_at : s_at + size], levels.s[s_at : s_at + size]
        if wrong_masks(h, unmasked, s) > 0:
            note_wrong_masks(inputs, h, unmasked, s, sweep.proof.flipped[at : at + width])
        write_gaps(k, q, s_at, sweep, scratch)


@kernel
def write_gaps(k, panel, below_at, sweep, scratch):
    """Write |<U, v> - <s, W v>| of the samples of a panel, two directions v at a time."""
    layers, pitch, proof = sweep.network.layers, sweep.batch.pitch, sweep.proof
    s, unmasked = sweep.levels.s, sweep.levels.unmasked
    width, first_output = panel_width(s), layers[0, INPUTS]
    inputs, outputs = layers[k, INPUTS], layers[k, OUTPUTS]
    below, above = layers[k, UNITS_IN] - first_output, layers[k, UNITS_OUT] - first_output
    above_at = panel_start(above, outputs, panel, pitch, width)
    units = proof.v.size // proof.directions
    left, right = scratch.projections[: 2 * width], scratch.projections[2 * width :]
    for first in range(0, proof.directions, 2):
        rows, at = min(2, proof.directions - first), first * units
        project_in_blocks(rows, inputs, proof.v, at + below, units, unmasked, below_at, left)
        project_in_blocks(rows, outputs, proof.w_v, at + above, units, s, above_at, right)
        for d in range(rows):
            there = (k * proof.directions + first + d) * pitch + panel * width
            for lane in range(width):
                proof.gaps[there + lane] = abs(left[d * width + lane] - right[d * width + lane])
