"""The same work in plain NumPy, one line per equation: what the benchmarks stand beside.

Columns are examples, the loss is the sum of squares. The loop is our own statement of the check
in the notebook: a copy of all parameters and two forward passes for each single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .common import Array


def forward(
    weights: Sequence[Array], biases: Sequence[Array], x: Array
) -> tuple[list[Array], list[Array]]:
    """Return the pre-activations f[0..K] and what feeds each layer, h[0..K] with h[0] = x."""
    preactivations: list[Array] = []
    activations = [x]
    for weight, bias in zip(weights, biases, strict=True):
        if preactivations:
            activations.append(np.maximum(preactivations[-1], 0))
        preactivations.append(bias + weight @ activations[-1])
    return preactivations, activations


def loss(weights: Sequence[Array], biases: Sequence[Array], x: Array, y: Array) -> float:
    """Return the sum of squares of output - y."""
    return float(np.sum((forward(weights, biases, x)[0][-1] - y) ** 2))


def loss_and_gradients(
    weights: Sequence[Array], biases: Sequence[Array], x: Array, y: Array
) -> tuple[float, list[Array], list[Array]]:
    """Return the loss, dL/dW and dL/db (eqs. 7.22 to 7.25)."""
    preactivations, activations = forward(weights, biases, x)
    residual = preactivations[-1] - y
    df = 2 * residual
    dweights: list[Array] = []
    dbiases: list[Array] = []
    for layer in reversed(range(len(weights))):
        dbiases.insert(0, df.sum(axis=1, keepdims=True))
        dweights.insert(0, df @ activations[layer].T)
        if layer:
            df = (weights[layer].T @ df) * (preactivations[layer - 1] > 0)
    return float(np.sum(residual**2)), dweights, dbiases


def loop_quotients(
    weights: Sequence[Array],
    biases: Sequence[Array],
    x: Array,
    y: Array,
    entries: Iterable[int],
    delta: float = 1e-6,
) -> list[float]:
    """Return central differences of the loss for the given entries of W0, b0, W1, b1, ..."""
    quotients = []
    for entry in entries:
        copied_weights = [weight.copy() for weight in weights]
        copied_biases = [bias.copy() for bias in biases]
        array, index = _locate(copied_weights, copied_biases, int(entry))
        value = float(array.flat[index])
        array.flat[index] = plus = value + delta
        loss_plus = loss(copied_weights, copied_biases, x, y)
        array.flat[index] = minus = value - delta
        loss_minus = loss(copied_weights, copied_biases, x, y)
        quotients.append((loss_plus - loss_minus) / (plus - minus))
    return quotients


def _locate(weights: list[Array], biases: list[Array], entry: int) -> tuple[Array, int]:
    for pair in zip(weights, biases, strict=True):
        for array in pair:
            if entry < array.size:
                return array, entry
            entry -= array.size
    raise IndexError(f"The network has no entry {entry} beyond its last one.")
