"""The error bar of an entry: one formula, and every margin.

With norms over the batch of s, of h and of their noise ds and dh in units of u, the bar of a weight
W[i, j] is ::

    MARGIN u ((ds_i + g s_i) (h_j + MARGIN u dh_j) + s_i dh_j)
    + DECAY_ROUNDINGS u decay |W_ij| + what underflow loses

with g = `sum_growth`; the product of two errors counts where both sides are nothing but rounding.
A bias is a weight whose h is 1 in every sample, without noise or decay. Where masks are in doubt,
the norm of s is the largest that a convention gives: that of the middle of the hull and that of its
radius.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.network.gradients import Shapes
from fastbp.network.sensitivities.number_range import smallest_of
from fastbp.typing import Floats, Indices, Vector

__all__ = [
    "MARGIN",
    "UNIT_ROUNDOFF",
    "LayerNorms",
    "bars",
    "flat_terms",
    "growth",
    "norms",
    "sum_growth",
]

# From the noise that a few random columns show to what no correct computation exceeds
# (benchmarks/calibration.py).
MARGIN = 32.0
# Roundings of decay * W and of its sum with the rest.
DECAY_ROUNDINGS = 8.0
# Of numbers too small for their digits, what an entry may lose.
UNDERFLOWS = 64.0


def unit_roundoff(dtype: npt.DTypeLike) -> float:
    """Return u = eps / 2, the largest relative error of one rounding."""
    return float(np.finfo(dtype).eps) / 2


UNIT_ROUNDOFF = unit_roundoff(np.float64)


def sum_growth(batch: int) -> float:
    """How much more than its norm a sum over the batch may be off by, beyond the margin.

    Of n equal numbers, added one after the other, every rounding may go the same way: n / 2.
    """
    return max(1.0, batch / 64.0)


def growth(depth: int) -> float:
    """sqrt(n) / 4 or n / 64: how many u of itself a plain sum of n numbers is off by."""
    return max(0.25 * math.sqrt(depth), depth / 64.0)


def norms(parts: Floats) -> Vector:
    """Norms of columns, whatever their size."""
    largest = parts.max(axis=0)
    with np.errstate(invalid="ignore"):
        scaled = parts / np.where(largest > 0, largest, 1.0)
        return np.asarray(largest * np.sqrt(np.square(scaled).sum(axis=0)))


class LayerNorms(NamedTuple):
    """Norms over the batch for a layer: of its s and h, and of their noise in units of u.

    `roundoff` is u; `radius` that of the hull of s: what masks in doubt can add to its size.
    """

    s: Vector
    s_noise: Vector
    h: Vector
    h_noise: Vector
    batch: int
    roundoff: float
    radius: Vector | float = 0.0

    def terms(
        self, units: slice | Indices = slice(None), inputs: slice | Indices = slice(None)
    ) -> Floats:
        """What is multiplied by MARGIN u in the bars of some weights, units by inputs."""
        grown = self._grown()[units]
        h = self.h[inputs] + MARGIN * self.roundoff * self.h_noise[inputs]
        terms = np.multiply.outer(grown, h)
        terms += np.multiply.outer(self._largest()[units], self.h_noise[inputs])
        return terms

    def bias_terms(self) -> Vector:
        """The same for all biases."""
        terms: Vector = np.sqrt(self.batch) * self._grown()
        return terms

    def _grown(self) -> Vector:
        return self.s_noise + sum_growth(self.batch) * self._largest()

    def _largest(self) -> Vector:
        return self.s + self.radius


def flat_terms(shapes: Shapes, layers: Sequence[LayerNorms]) -> Vector:
    """Write the terms of all weights and biases into one vector."""
    flat = np.empty(shapes.size)
    for array in shapes.arrays:
        view, layer = array.view(flat), layers[array.layer]
        if array.kind == "weights":
            shapes.by_unit(view)[...] = layer.terms()
        else:
            view.reshape(-1)[:] = layer.bias_terms()
    return flat


def bars(terms: Floats, roundoff: float, decayed: Floats | float = 0.0) -> Floats:
    """Return error bars from the terms of some entries.

    Parameters
    ----------
    terms : float64
        Of `LayerNorms` or `flat_terms`.
    roundoff : float
        u of the coarser of the two computations that are compared.
    decayed : float64, in the shape of ``terms``
        decay * |W|, or a bound for it.
    """
    result: Floats = MARGIN * roundoff * terms
    result += DECAY_ROUNDINGS * roundoff * decayed
    result += UNDERFLOWS * smallest_of(roundoff)
    return result
