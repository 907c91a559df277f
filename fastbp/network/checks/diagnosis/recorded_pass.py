"""One forward and one backward pass in plain NumPy, all parts kept: what mistakes are planted in.

Arrays are by unit, whatever the layout: weights (n_out, n_in), activations and errors
(units, batch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.network import book_weight, in_float64
from fastbp.network.sensitivities.loss_slopes import loss_slopes

if TYPE_CHECKING:
    from fastbp.network.batch import Batch
    from fastbp.network.losses import Objective
    from fastbp.network.network import Network
    from fastbp.typing import Floats, Indices

__all__ = ["EVERY", "RecordedPass", "probabilities", "recorded_pass", "sigmoid"]


EVERY = slice(None)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedPass:
    """All parts of a backward pass, in float64.

    Attributes
    ----------
    objective : Objective
    factor : float
        What the summed loss is multiplied by.
    weights : list of float64, shape (n_out, n_in)
    biases : list of float64, shape (n_out,), or None
    f, h : list of float64, shape (units, batch)
        Pre-activations of every layer; what feeds every layer, h[0] the inputs.
    masks : list of float64
        The derivative of the ReLU at every hidden f.
    targets : float64, shape (n_out, batch)
        Probabilities where they are class indices.
    s : list of float64
        The errors dL/df of every layer.
    """

    objective: Objective
    factor: float
    weights: list[Floats]
    biases: list[Floats] | None
    f: list[Floats]
    h: list[Floats]
    masks: list[Floats]
    targets: Floats
    s: list[Floats]

    @property
    def last(self) -> int:
        """The index of the output layer."""
        return len(self.weights) - 1

    @property
    def batch(self) -> int:
        """How many examples there are."""
        return int(self.f[-1].shape[1])

    def weight_gradient(self, k: int, columns: slice | Indices = EVERY) -> Floats:
        """Return dL/dW[k], or some of its columns."""
        product: Floats = self.s[k] @ self.h[k][columns].T
        if self.objective.weight_decay:
            product += self.objective.weight_decay * self.weights[k][:, columns]
        return product


def recorded_pass(network: Network, batch: Batch, relu_at_zero: float) -> RecordedPass | None:
    """Run a network forward and back; None where a number leaves the range."""
    net, batch = in_float64(network), batch.in_float64()
    weights = [np.ascontiguousarray(book_weight(net, k)) for k in range(len(net.weights))]
    biases = None if net.biases is None else [bias.reshape(-1) for bias in net.biases]
    f, h = [], [np.ascontiguousarray(batch.by_unit(batch.x))]
    with np.errstate(all="ignore"):
        for k, weight in enumerate(weights):
            f.append(weight @ h[k])
            if biases is not None:
                f[k] += biases[k][:, None]
            if k + 1 < len(weights):
                h.append(np.maximum(f[k], 0.0))
        masks = [(one > 0) + relu_at_zero * (one == 0) for one in f[:-1]]
        targets = np.ascontiguousarray(batch.targets_by_unit(f[-1]))
        objective = net.objective
        factor = objective.factor(batch.size, len(weights[-1]))
        s = [factor * loss_slopes(objective, f[-1], batch)]
        for k in range(len(weights) - 1, 0, -1):
            s.insert(0, masks[k - 1] * (weights[k].T @ s[0]))
    if not all(np.isfinite(part).all() for part in (*f, *s)):
        return None
    return RecordedPass(objective, factor, weights, biases, f, h, masks, targets, s)


def probabilities(output: Floats, axis: int | None = 0) -> Floats:
    """Return the softmax of outputs, over the units by default."""
    shifted = np.exp(output - output.max(axis=axis, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=axis, keepdims=True)
    return result


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-values))."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * values))
    return result
