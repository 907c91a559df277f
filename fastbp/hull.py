"""What conventions for masks in doubt can make of the sensitivities: centre and radius.

A pre-activation within its own rounding of 0 is in doubt: its mask may be anything in [0, 1]. The
reverse recursion with such masks is carried as an interval for each unit, for the affected samples
only ::

    c, r <- W^T c, |W|^T r;   active: kept;   off: 0;   in doubt: [min(c - r, 0), max(c + r, 0)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.sweeps import Sweeps

    Floats = NDArray[np.float64]

__all__ = ["Hull", "hull_of"]

ABSOLUTE_ENTRIES = 1 << 20  # of |W| held at a time


@dataclass(slots=True, eq=False)
class Hull:
    """Samples with a mask in doubt, and what that makes of their sensitivities.

    Attributes
    ----------
    samples : int64, shape (A,)
        The affected samples.
    doubtful : tuple of int
        How many pre-activations are in doubt, for each hidden layer.
    centres, radii : list of float64, shape (units, A)
        For each layer; empty lists where no sample is affected.
    """

    samples: NDArray[np.int64]
    doubtful: tuple[int, ...]
    centres: list[Floats]
    radii: list[Floats]

    @property
    def affected(self) -> int:
        """How many samples are affected."""
        return int(self.samples.size)


def hull_of(sweeps: Sweeps) -> Hull:
    """Find masks in doubt and carry what they can do back through the layers.

    Two products with the weights for each affected sample; nothing where no mask is in doubt.
    """
    net = sweeps.network
    hidden = range(1, sweeps.count)
    first, last = net.sizes[0], sum(net.sizes[:-1])
    if not sweeps.doubt[first * sweeps.pitch : last * sweeps.pitch].any():
        return Hull(np.empty(0, np.int64), (0,) * len(hidden), [], [])
    doubts = [sweeps.level(sweeps.doubt, level) for level in hidden]
    counts = tuple(int(np.count_nonzero(doubt)) for doubt in doubts)
    touched = np.any([doubt.any(axis=0) for doubt in doubts], axis=0)
    samples = np.flatnonzero(touched)
    centre = sweeps.sensitivity(sweeps.count - 1)[:, samples]
    radius = np.zeros_like(centre)
    centres, radii = [centre], [radius]
    for k in range(sweeps.count - 1, 0, -1):
        weight = net.weights[k].T if net.layout == "keras" else net.weights[k]
        doubt = doubts[k - 1][:, samples] != 0
        active = (sweeps.level(sweeps.h, k)[:, samples] > 0) & ~doubt
        centre, radius = _masked(
            weight.T @ centre, _absolute_product(weight, radius), active, doubt
        )
        centres.insert(0, centre)
        radii.insert(0, radius)
    return Hull(samples, counts, centres, radii)


def _masked(
    centre: Floats, radius: Floats, active: NDArray[np.bool_], doubt: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    low, high = np.minimum(centre - radius, 0.0), np.maximum(centre + radius, 0.0)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    return (
        np.where(active, centre, np.where(doubt, middle, 0.0)),
        np.where(active, radius, np.where(doubt, half, 0.0)),
    )


def _absolute_product(weight: Floats, radius: Floats) -> Floats:
    """|W|^T r, without a copy of all of |W|."""
    result = np.zeros((weight.shape[1], radius.shape[1]))
    if radius.any():
        rows = max(1, ABSOLUTE_ENTRIES // weight.shape[1])
        for first in range(0, weight.shape[0], rows):
            part = slice(first, first + rows)
            result += np.abs(weight[part]).T @ radius[part]
    return result
