"""How good exact differences are: their rounding, and what happens at kinks, entry by entry.

Held as vectors over units and, for the samples with a mask in doubt, as s and h of these alone.
They are expanded to all entries when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastbp.network.batch import Batch
from fastbp.network.network import Network
from fastbp.network.sensitivities.error_bars import (
    UNIT_ROUNDOFF,
    LayerNorms,
    bars,
    flat_terms,
    norms,
)
from fastbp.network.sensitivities.exact import Sensitivities
from fastbp.network.sensitivities.hull import hull_of
from fastbp.network.sensitivities.sweeps import Sweeps, noise_of_levels
from fastbp.network.sensitivities.weight_gradients import write_products
from fastbp.typing import Floats, Indices, Mask

SEED = 0  # of the noise: the same call gives the same bars


@dataclass(slots=True, eq=False)
class Doubts:
    """The samples in which rounding, or an exact zero, leaves a mask open.

    Attributes
    ----------
    samples : int64, shape (A,)
    masks : list of bool, shape (units, A)
        Of each hidden layer.
    radii : list of float64, shape (units, A)
        How far s may lie from the middle of what the conventions give (see ``hull``).
    """

    samples: Indices
    masks: list[Mask]
    radii: list[Floats]


@dataclass(slots=True, eq=False)
class Noise:
    """What rounding makes of every unit, over the batch.

    Attributes
    ----------
    s, h : list of float64, shape (units,)
        Norms of the noise of s[k] and of h[k], in units of the roundoff.
    doubts : Doubts or None
    """

    s: list[Floats]
    h: list[Floats]
    doubts: Doubts | None


def measure_noise(network: Network, batch: Batch, *, max_memory: int) -> Noise:
    """Let noise of the size of the rounding ride through the network, forward and back.

    Parameters
    ----------
    network : Network
        In float64.
    batch : Batch
        In float64.
    max_memory : int
        Bytes for the noise, beside 16 for each unit and sample.
    """
    sweeps = Sweeps(
        network, batch, roundoff=UNIT_ROUNDOFF, directions=0, seed=SEED, max_memory=max_memory
    )
    sweeps.forward()
    sweeps.reverse()
    hull = hull_of(sweeps)
    doubts = Doubts(hull.samples, hull.doubts, hull.radii) if hull.affected else None
    sizes = network.sizes
    return Noise(
        np.split(norms(sweeps.z_sizes), np.cumsum(sizes[1:-1])),
        np.split(noise_of_levels(sweeps), np.cumsum(sizes[:-1]))[:-1],
        doubts,
    )


class ExactQuality:
    """Error bars, kinks and one-sided slopes of exact differences.

    Parameters
    ----------
    sensitivities : Sensitivities
    noise : Noise
    flat : float64, shape (parameters,)
        The differences themselves.
    max_memory : int
    """

    def __init__(
        self, sensitivities: Sensitivities, noise: Noise, flat: Floats, max_memory: int
    ) -> None:
        net = sensitivities.network
        self._shapes, self._decay = net.shapes, net.objective.weight_decay
        self._noise, self._flat = noise, flat
        self._layers: list[LayerNorms] = []
        self._h: list[Floats] = []
        self._centres: list[Floats] = []
        doubts = noise.doubts
        for k in range(len(net.weights)):
            s, h = sensitivities.of_layer(k), sensitivities.into_layer(k)
            with np.errstate(over="ignore", invalid="ignore"):
                s_norms, h_norms = np.linalg.norm(s, axis=1), np.linalg.norm(h, axis=1)
            radius = 0.0 if doubts is None else norms(doubts.radii[k].T)
            self._layers.append(
                LayerNorms(
                    s_norms,
                    noise.s[k],
                    h_norms,
                    noise.h[k],
                    sensitivities.batch,
                    UNIT_ROUNDOFF,
                    radius,
                )
            )
            if doubts is not None:
                self._centres.append(s[:, doubts.samples])
                self._h.append(h[:, doubts.samples])
        self._up: list[Floats] = []
        self._down: list[Floats] = []
        if doubts is not None:
            samples, masks = doubts.samples, doubts.masks
            self._up = sensitivities.at_kinks(samples, masks, 1.0, 0.0, max_memory)
            self._down = sensitivities.at_kinks(samples, masks, 0.0, 1.0, max_memory)

    def error_bar(self) -> Floats:
        """Bars of all entries."""
        with np.errstate(over="ignore", invalid="ignore"):
            terms = flat_terms(self._shapes, self._layers)
            if self._decay == 0.0:
                return bars(terms, UNIT_ROUNDOFF)
            # decay W is the entry less s h^T: at most |entry| + |s| |h|
            return bars(terms, UNIT_ROUNDOFF, np.abs(self._flat) + terms)

    def kinks(self) -> Mask | None:
        """Where conventions move an entry by more than its rounding; None: nowhere."""
        doubts = self._noise.doubts
        if doubts is None:
            return None
        radii = self._expand(doubts.radii, [np.abs(h) for h in self._h])
        found: Mask = radii > self.error_bar()
        return found if found.any() else None

    def sides(self) -> tuple[Floats, Floats] | None:
        """Slopes for a step of each parameter down and up, or None without kinks.

        A step up in W[i, j] moves f[i] up where h[j] > 0 and down where h[j] < 0.
        """
        kinks = self.kinks()
        if kinks is None:
            return None
        left, right = self._flat.copy(), self._flat.copy()
        for k_up, k_down, result in (
            (self._up, self._down, right),
            (self._down, self._up, left),
        ):
            pairs = list(zip(k_up, k_down, self._centres, strict=True))
            above = self._expand(
                [up - c for up, _, c in pairs], [np.maximum(h, 0) for h in self._h]
            )
            below = self._expand(
                [down - c for _, down, c in pairs],
                [np.minimum(h, 0) for h in self._h],
                biases=False,
            )
            result[kinks] += (above + below)[kinks]
        return left, right

    def _expand(self, s: list[Floats], h: list[Floats], *, biases: bool = True) -> Floats:
        """Multiply out s[k] h[k]^T over the samples in doubt, and the sums for the biases."""
        flat = np.zeros(self._flat.size)
        for k in range(len(s)):
            write_products(self._shapes, k, s[k], h[k], flat, biases=biases)
        return flat
