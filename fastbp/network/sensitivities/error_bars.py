"""The error bar of an entry: one formula, and every margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.network.gradients import Shapes

__all__ = ["MARGIN", "flat_bars", "smallest_of", "sum_growth"]


UNIT_ROUNDOFF = float(np.finfo(np.float64).eps) / 2

# From the noise that a few random columns show to what no correct computation exceeds
# (benchmarks/calibration.py).
MARGIN = 32.0


def sum_growth(batch: int) -> float:
    """How much more than its norm a sum over the batch may be off by, beyond the margin.

    Of n equal numbers, added one after the other, every rounding may go the same way: n / 2.
    """
    return max(1.0, batch / 64.0)


def smallest_of(roundoff: float) -> float:
    """Return the number below which a computation of that roundoff loses digits."""
    single = np.finfo(np.float32)
    return float(single.tiny) if roundoff == float(single.eps) / 2 else 1e-290


# Roundings of decay * W and of its sum with the rest.
DECAY_ROUNDINGS = 8.0


# Of numbers too small for their digits, what an entry may lose.
UNDERFLOWS = 64.0


def norms(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Norms of columns, whatever their size."""
    largest = parts.max(axis=0)
    with np.errstate(invalid="ignore"):
        scaled = parts / np.where(largest > 0, largest, 1.0)
        return np.asarray(largest * np.sqrt(np.square(scaled).sum(axis=0)))


def flat_bars(
    shapes: Shapes,
    keras: bool,
    batch: int,
    roundoff: float,
    s_sizes: list[Floats],
    s_noise: list[Floats],
    h_sizes: list[Floats],
    h_noise: list[Floats],
) -> Floats:
    """MARGIN u ((ds_i + g s_i) h_j + s_i dh_j) for all parameters, of norms over the batch.

    g is `sum_growth`. Biases have h = 1. The lists hold a vector over the units of each layer, or
    over its inputs.
    """
    bars = np.empty(shapes.size)
    biases = shapes.bias_views(bars)
    for k, weights in enumerate(shapes.weight_views(bars)):
        both = s_noise[k] + sum_growth(batch) * s_sizes[k]
        if biases is not None:
            biases[k].reshape(-1)[:] = np.sqrt(batch) * both
        by_unit = weights.T if keras else weights
        np.multiply.outer(both, h_sizes[k], out=by_unit)
        by_unit += np.multiply.outer(s_sizes[k], h_noise[k])
    bars *= MARGIN * roundoff
    return bars
