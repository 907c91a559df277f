"""The network as it stands, in float64: what every perturbed network is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.network.differences.quotient_noise import NOISE_MARGIN
from fastbp.network.losses import Targets, custom_gradient, custom_value, kernel_targets
from fastbp.network.network import Network, float64_copy
from fastbp.network.passes import Passes
from fastbp.network.schedule import FORWARD, LOSS
from fastbp.runtime.validation import FloatArray, require_finite


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
    """

    network: Network
    parameters: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    total: float
    targets: Targets
    y: npt.NDArray[Any]
    batch: int
    factor: float
    decay_term: float

    @property
    def output(self) -> npt.NDArray[np.float64]:
        """The outputs in the user's layout."""
        by_unit = self.levels[-self.network.sizes[-1] * self.batch :].reshape(-1, self.batch)
        return by_unit if self.network.samples_axis == 1 else np.ascontiguousarray(by_unit.T)

    def quotient_noise(self, scheme: str, delta: float, largest: float = 0.0) -> float:
        """Estimate the error of one quotient of two losses by rounding.

        Parameters
        ----------
        scheme : {"central", "forward"}
        delta : float
        largest : float
            The largest loss of a perturbed network: where outputs nearly equal targets, it is
            the step that makes the residual, and so its rounding.

        Returns
        -------
        float
            NOISE_MARGIN times the spread of a loss over the step (twice delta for central
            differences): an estimate, not a bound.
        """
        unit_roundoff = float(np.finfo(np.float64).eps) / 2
        with np.errstate(over="ignore", invalid="ignore"):  # infinity, as the loss
            variance = self._output_variance()
            spread = float(np.sqrt(np.sum(np.square(self._slope(largest)) * variance)))
            magnitude = abs(self.factor) * (spread + max(abs(self.total), largest))
        magnitude += abs(self.decay_term)
        span = 2.0 * delta if scheme == "central" else delta
        return NOISE_MARGIN * unit_roundoff * magnitude / span

    def noise_of_long_steps(
        self, moved: npt.NDArray[np.float64], steps: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Estimate what `quotient_noise` lacks where a step moves the losses far.

        Parameters
        ----------
        moved, steps : float64, shape (n,)
            How far single central steps move the sum of the losses, and how long they are.

        Returns
        -------
        float64, shape (n,)
            Losses that are larger by so much round by more, and residuals of least squares that
            grow to the root of it pass on more of the outputs' rounding.
        """
        unit_roundoff = float(np.finfo(np.float64).eps) / 2
        with np.errstate(over="ignore", invalid="ignore"):  # infinity, as the loss
            size = moved
            if self.network.objective.loss == "least_squares":
                size = moved + 2.0 * np.sqrt(moved * float(np.sum(self._output_variance())))
            noise: npt.NDArray[np.float64] = size * (abs(self.factor) / (2.0 * steps))
        return NOISE_MARGIN * unit_roundoff * noise

    def _output_variance(self) -> npt.NDArray[np.float64]:
        """Variance of the outputs (n_out, batch) by rounding, in units of u squared.

        Every layer adds that of its own terms, and passes on what came in through its weights:
        values that are large inside and cancel at the output count.
        """
        net, batch = self.network, self.batch
        level = self.levels[: net.sizes[0] * batch].reshape(-1, batch)
        end, variance = level.size, np.zeros(level.shape)
        biases = net.shapes.bias_views(self.parameters)
        for k, weight in enumerate(net.shapes.weight_views(self.parameters)):
            squares = np.square(weight.T if net.layout == "keras" else weight)
            f = self.levels[end : end + net.sizes[k + 1] * batch].reshape(-1, batch)
            end += f.size
            variance = squares @ (variance + np.square(level)) + np.square(f)
            if biases is not None:
                variance += np.square(biases[k]).reshape(-1, 1)
            level = np.maximum(f, 0.0)
            if k < len(net.weights) - 1:
                variance *= f > 0
        return variance

    def _slope(self, largest: float) -> npt.NDArray[np.float64]:
        """Size of the loss's derivative by the outputs (n_out, batch), before the reduction."""
        by_unit = self.output if self.network.samples_axis == 1 else self.output.T
        objective = self.network.objective
        if objective.custom is not None:
            slope: npt.NDArray[np.float64] = np.abs(
                custom_gradient(objective.custom[1], self.output, self.y)
            )
            return slope if self.network.samples_axis == 1 else slope.T
        if objective.loss == "least_squares":
            targets = self.y if self.network.samples_axis == 1 else self.y.T
            residual: npt.NDArray[np.float64] = np.abs(by_unit - targets)
            residual += np.sqrt(largest)
            return 2.0 * residual
        return np.ones(by_unit.shape)


def _rows(work: Passes, kept: npt.NDArray[Any], x: FloatArray, layers: int) -> npt.NDArray[Any]:
    """Turn the pre-activations of a forward pass from panels into rows, the inputs first."""
    inputs = x if work.features_axis == 0 else x.T
    if work.batch == 1:  # a panel of one sample is a row
        kept[: inputs.size] = inputs[:, 0]
        return kept
    rows = [inputs, *(work.level(kept, k, 0) for k in range(layers))]
    return np.concatenate([part.reshape(-1) for part in rows])


def evaluate(network: Network, x: FloatArray, y: npt.NDArray[Any]) -> Unperturbed:
    """Run a network on checked arguments and keep all of it.

    Raises
    ------
    NonFiniteError
        If a parameter, x or y holds NaN or infinity.
    """
    net = network if network.dtype == np.float64 else float64_copy(network)
    x = x.astype(np.float64, copy=False)
    y = y.astype(np.float64 if y.dtype.kind == "f" else y.dtype)  # a copy, as of the parameters
    work = Passes(net, net.batch_of(x))
    kept = np.empty_like(work.activations)
    custom = net.objective.custom
    if custom is None:
        work.run(FORWARD | LOSS, x, y, kept=kept)
        total = float(work.losses[-1])
    else:
        require_finite(y, "y")
        work.forward(x, kept)
        work.losses[:] = 0.0
        total = custom_value(custom[0], work.output(), y)
    targets = kernel_targets(None if custom else y, work.features_axis, work.empty)
    levels: npt.NDArray[np.float64] = _rows(work, kept, x, len(net.layers))
    return Unperturbed(
        net, net.parameters.copy(), levels, work.losses, total, targets, y, work.batch,
        work.factor, net.decay_term(),
    )  # fmt: skip
