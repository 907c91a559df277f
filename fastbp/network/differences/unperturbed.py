"""The network as it stands, in float64: what every perturbed network is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from fastbp.network.batch import Batch, Targets
from fastbp.network.network import Network, in_float64
from fastbp.network.passes import Passes
from fastbp.network.schedule import FORWARD, LOSS
from fastbp.runtime.validation import require_finite
from fastbp.typing import Floats, Vector

__all__ = ["Unperturbed", "evaluate"]


@dataclass(slots=True, eq=False)
class Unperturbed:
    """All levels of the network and its losses.

    Attributes
    ----------
    network : Network
        In float64.
    parameters : float64, shape (P,)
        A copy, for what is computed when the network may have been edited.
    levels : float64, shape (units of all levels * batch,)
        Rows of samples: the inputs, then the pre-activations of every layer.
    losses : float64, shape (batch + 1,)
        Of each sample, and their sum; zero for a custom loss.
    total : float
        The sum of the losses before reduction and scale.
    targets : tuple
        As kernels take them; none for a custom loss.
    data : Batch
        In float64; the targets are copies.
    factor, decay_term : float
        What the sum of the losses is multiplied by, and what weight decay adds then.
    """

    network: Network
    parameters: Vector
    levels: Vector
    losses: Vector
    total: float
    targets: Targets
    data: Batch
    factor: float
    decay_term: float

    @property
    def batch(self) -> int:
        """How many samples there are."""
        return self.data.size

    def by_level(self) -> list[Floats]:
        """The inputs and the pre-activations of every layer, shape (units, batch) each."""
        rows, sizes = self.levels.reshape(-1, self.batch), self.network.sizes
        ends = accumulate(sizes)
        return [rows[end - size : end] for size, end in zip(sizes, ends, strict=True)]

    @property
    def output(self) -> Floats:
        """The outputs, shape (n_out, batch)."""
        rows = self.levels.reshape(-1, self.batch)
        return rows[len(rows) - self.network.sizes[-1] :]


def evaluate(network: Network, batch: Batch) -> Unperturbed:
    """Run a network on a validated batch and keep all of it.

    Raises
    ------
    NonFiniteError
        If a parameter, x or y holds NaN or infinity.
    """
    net, batch = in_float64(network), batch.in_float64()
    batch = Batch(batch.x, batch.y.copy(), batch.unit_axis)
    work = Passes(net.shapes, net.objective, net.relu_at_zero, batch)
    kept = np.empty_like(work.activations)
    custom = net.objective.custom
    if custom is None:
        work.run(FORWARD | LOSS, net.parameters, batch, kept=kept)
        total = float(work.losses[-1])
    else:
        require_finite(batch.y, "y")
        work.forward(net.parameters, batch, kept)
        work.losses[:] = 0.0
        total = batch.custom_value(custom, work.output())
    targets = (batch.inputs_alone() if custom else batch).kernel_targets(work.empty)
    levels: Vector = np.concatenate([batch.by_unit(batch.x), work.levels(kept)]).reshape(-1)
    return Unperturbed(
        net, net.parameters.copy(), levels, work.losses, total, targets, batch, work.factor,
        net.decay_term(),
    )  # fmt: skip
