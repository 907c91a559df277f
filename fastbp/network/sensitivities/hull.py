"""What conventions for masks in doubt can make of the sensitivities: centre and radius.

A pre-activation within its own rounding of 0 is in doubt: its mask may be anything in [0, 1]. The
reverse recursion with such masks is carried as an interval for each unit, for the affected samples
only ::

    c, r <- W^T c, |W|^T r;   active: kept;   off: 0;   in doubt: [min(c - r, 0), max(c + r, 0)]

A radius is as large as all masks together can make it, and grows by its own rounding: the noise
of s (``rounding_noise.py``) is that of masks as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.network import book_weight
from fastbp.network.sensitivities.error_bars import MARGIN, growth
from fastbp.typing import Floats, Indices, Mask

if TYPE_CHECKING:
    from fastbp.network.network import Network
    from fastbp.network.sensitivities.sweeps import Sweeps


__all__ = ["Hull", "hull_of", "hull_of_levels"]

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
        For each layer; empty lists where no sample is affected, as those that follow.
    doubts : list of bool, shape (units, A)
        Which masks are in doubt, for each hidden layer.
    inputs : list of float64, shape (units, A)
        What feeds each layer.
    """

    samples: Indices
    doubtful: tuple[int, ...]
    centres: list[Floats]
    radii: list[Floats]
    doubts: list[Mask]
    inputs: list[Floats]

    @property
    def affected(self) -> int:
        """How many samples are affected."""
        return int(self.samples.size)

    def active(self, k: int) -> Mask:
        """Tell which units of hidden layer k are on beyond doubt."""
        return (self.inputs[k + 1] > 0) & ~self.doubts[k]


def hull_of(sweeps: Sweeps) -> Hull:
    """Find masks in doubt and carry what they can do back through the layers.

    Two products with the weights for each affected sample; nothing where no mask is in doubt.
    """
    net = sweeps.network
    hidden = range(1, sweeps.count)
    first, last = net.sizes[0], sum(net.sizes[:-1])
    if not sweeps.doubt[first * sweeps.pitch : last * sweeps.pitch].any():
        return _untouched(len(hidden))
    doubts = [sweeps.level(sweeps.doubt, level) != 0 for level in hidden]
    samples = _touched(doubts)
    inputs = [sweeps.level(sweeps.h, level)[:, samples] for level in range(sweeps.count)]
    slopes = sweeps.sensitivity(sweeps.count - 1)[:, samples]
    return _carried_back(net, samples, doubts, inputs, slopes, sweeps.roundoff)


def hull_of_levels(
    net: Network, levels: list[Floats], slopes: Floats, doubts: list[Mask], roundoff: float
) -> Hull:
    """Carry back what masks in doubt can do, as `hull_of` does.

    Parameters
    ----------
    net : Network
        In float64.
    levels : list of float64, shape (units, batch)
        What feeds each layer.
    slopes : float64, shape (outputs, batch)
        dL/df of the last layer.
    doubts : list of bool, shape (units, batch)
        Masks in doubt of each hidden layer.
    roundoff : float
        u of the coarser computation.
    """
    if not any(doubt.any() for doubt in doubts):
        return _untouched(len(doubts))
    samples = _touched(doubts)
    inputs = [level[:, samples] for level in levels]
    return _carried_back(net, samples, doubts, inputs, slopes[:, samples], roundoff)


def _untouched(hidden: int) -> Hull:
    return Hull(np.empty(0, np.int64), (0,) * hidden, [], [], [], [])


def _touched(doubts: list[Mask]) -> Indices:
    return np.flatnonzero(np.any([doubt.any(axis=0) for doubt in doubts], axis=0))


def _carried_back(
    net: Network,
    samples: Indices,
    doubts: list[Mask],
    inputs: list[Floats],
    slopes: Floats,
    roundoff: float,
) -> Hull:
    """Run the recursion; all but ``doubts`` of the affected samples alone."""
    counts = tuple(int(np.count_nonzero(doubt)) for doubt in doubts)
    own = [doubt[:, samples] for doubt in doubts]
    hull = Hull(samples, counts, [slopes], [np.zeros_like(slopes)], own, inputs)
    for k in range(len(doubts), 0, -1):
        weight = book_weight(net, k)
        rounded = 1.0 + MARGIN * roundoff * growth(weight.shape[0])
        centre, radius = _masked(
            weight.T @ hull.centres[0], rounded * _absolute_product(weight, hull.radii[0]),
            hull.active(k - 1), own[k - 1],
        )  # fmt: skip
        hull.centres.insert(0, centre)
        hull.radii.insert(0, radius)
    return hull


def _masked(centre: Floats, radius: Floats, active: Mask, doubt: Mask) -> tuple[Floats, Floats]:
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
