"""The oracle of the tests: everything that fastbp computes, in plain NumPy loops, in the clear.

It shares no line with the kernels and imports nothing of fastbp. All of it is float64: what is
given in float32 is converted first, which is exact. Inside, columns are examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

LossPair = tuple[Callable[..., float], Callable[..., np.ndarray]]


@dataclass
class Reference:
    """A ReLU network and its objective; arrays in the user's shapes, converted to float64."""

    weights: list[np.ndarray]
    biases: list[np.ndarray] | None = None
    loss: str | LossPair = "least_squares"
    reduction: str = "sum"
    scale: float = 1.0
    weight_decay: float = 0.0
    relu_at_zero: float = 0.0
    layout: str = "book"
    shapes: list[tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = [np.array(w, dtype=np.float64) for w in self.weights]
        if self.biases is not None:
            self.biases = [np.array(b, dtype=np.float64) for b in self.biases]
        self.shapes = [array.shape for array in self.arrays]

    @property
    def arrays(self) -> list[np.ndarray]:
        """All parameters in flat order: W0, b0, W1, b1, ..."""
        if self.biases is None:
            return list(self.weights)
        pairs = zip(self.weights, self.biases, strict=True)
        return [array for pair in pairs for array in pair]

    @property
    def names(self) -> list[str]:
        kinds = ["weights"] if self.biases is None else ["weights", "biases"]
        return [f"{kind}[{k}]" for k in range(len(self.weights)) for kind in kinds]

    @property
    def flat(self) -> np.ndarray:
        return np.concatenate([array.ravel() for array in self.arrays])

    def with_flat(self, vector: np.ndarray) -> Reference:
        """The same network with its parameters taken from a flat vector."""
        weights, biases = split_flat(self, vector)
        return Reference(
            weights, biases, self.loss, self.reduction, self.scale,
            self.weight_decay, self.relu_at_zero, self.layout,
        )  # fmt: skip

    def book_weight(self, k: int) -> np.ndarray:
        return self.weights[k].T if self.layout == "keras" else self.weights[k]

    def book_bias(self, k: int) -> np.ndarray:
        if self.biases is None:
            return np.zeros((self.book_weight(k).shape[0], 1))
        return self.biases[k].reshape(-1, 1)


class ReferenceGradients(NamedTuple):
    weights: list[np.ndarray]
    biases: list[np.ndarray] | None
    inputs: np.ndarray
    flat: np.ndarray


class ReferenceDifferences(NamedTuple):
    quotients: np.ndarray
    kinks: np.ndarray


def split_flat(
    net: Reference, vector: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Cut a flat vector into arrays of the network's shapes."""
    ends = np.cumsum([int(np.prod(shape)) for shape in net.shapes])
    parts = [
        part.reshape(shape)
        for part, shape in zip(np.split(vector, ends[:-1]), net.shapes, strict=True)
    ]
    if net.biases is None:
        return parts, None
    return parts[0::2], parts[1::2]


def as_columns(layout: str, array: np.ndarray) -> np.ndarray:
    """Examples as columns, float64; class indices (one axis) stay as they are."""
    if array.ndim == 1:
        return array
    array = np.asarray(array, dtype=np.float64)
    return array if layout == "book" else array.T


def as_user(layout: str, array: np.ndarray) -> np.ndarray:
    return array if layout == "book" else array.T


def mask_of(preactivation: np.ndarray, relu_at_zero: float) -> np.ndarray:
    return np.where(preactivation > 0, 1.0, np.where(preactivation == 0, relu_at_zero, 0.0))


def forward(net: Reference, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pre-activations f[0..K] and activations h[0..K], h[0] = x; columns are examples."""
    h = [as_columns(net.layout, x)]
    f = []
    for k in range(len(net.weights)):
        f.append(net.book_bias(k) + net.book_weight(k) @ h[k])
        if k + 1 < len(net.weights):
            h.append(np.maximum(f[k], 0.0))
    return f, h


def targets(y: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Class indices as probabilities: a 1 in each column."""
    if y.ndim == 2:
        return y
    one_hot = np.zeros_like(output)
    for n, label in enumerate(y):
        one_hot[label, n] = 1.0
    return one_hot


def log_sum_exp(output: np.ndarray) -> np.ndarray:
    top = output.max(axis=0)
    return top + np.log(np.exp(output - top).sum(axis=0))


def summed_loss(net: Reference, output: np.ndarray, y: np.ndarray) -> float:
    """The loss of all samples, before reduction and scale; columns are examples."""
    if net.loss == "least_squares":
        return float(((output - y) ** 2).sum())
    if net.loss == "softmax_cross_entropy":
        p = targets(y, output)
        return float((p * (log_sum_exp(output) - output)).sum())
    if net.loss == "sigmoid_cross_entropy":
        softplus = np.maximum(output, 0.0) + np.log1p(np.exp(-np.abs(output)))
        return float((softplus - y * output).sum())
    value, _ = net.loss
    return float(value(as_user(net.layout, output), y if y.ndim == 1 else as_user(net.layout, y)))


def d_summed_loss(net: Reference, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The derivative of ``summed_loss`` by the output."""
    if net.loss == "least_squares":
        return 2.0 * (output - y)
    if net.loss == "softmax_cross_entropy":
        return np.exp(output - log_sum_exp(output)) - targets(y, output)
    if net.loss == "sigmoid_cross_entropy":
        e = np.exp(-np.abs(output))  # at most 1: nothing overflows
        return np.where(output >= 0, 1.0, e) / (1.0 + e) - y
    _, gradient = net.loss
    user_y = y if y.ndim == 1 else as_user(net.layout, y)
    return as_columns(net.layout, gradient(as_user(net.layout, output), user_y))


def factor(net: Reference, output: np.ndarray) -> float:
    """What multiplies the summed loss: the scale and the reduction."""
    divisor = {"sum": 1, "mean": output.shape[1], "mean_entries": output.size}[net.reduction]
    return net.scale / divisor


def objective(net: Reference, output: np.ndarray, y: np.ndarray) -> float:
    decay = 0.5 * net.weight_decay * sum(float((w**2).sum()) for w in net.weights)
    return factor(net, output) * summed_loss(net, output, y) + decay


def loss(net: Reference, x: np.ndarray, y: np.ndarray) -> float:
    f, _ = forward(net, x)
    return objective(net, f[-1], as_columns(net.layout, y))


def backward(
    net: Reference, f: list[np.ndarray], h: list[np.ndarray], y: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Equations 7.22 to 7.25 of the book, for a batch of columns; gradients as in the book."""
    last = len(net.weights) - 1
    d_weights: list[Any] = [None] * (last + 1)
    d_biases: list[Any] = [None] * (last + 1)
    df = factor(net, f[-1]) * d_summed_loss(net, f[-1], y)
    for k in range(last, -1, -1):
        d_biases[k] = df.sum(axis=1, keepdims=True)
        d_weights[k] = df @ h[k].T + net.weight_decay * net.book_weight(k)
        dh = net.book_weight(k).T @ df
        if k > 0:
            df = mask_of(f[k - 1], net.relu_at_zero) * dh
    return d_weights, d_biases, dh


def loss_and_gradients(
    net: Reference, x: np.ndarray, y: np.ndarray
) -> tuple[float, ReferenceGradients]:
    """Loss and gradients, in the user's shapes."""
    f, h = forward(net, x)
    book_y = as_columns(net.layout, y)
    d_weights, d_biases, d_inputs = backward(net, f, h, book_y)
    if net.layout == "keras":
        d_weights = [dw.T for dw in d_weights]
    biases = None
    if net.biases is not None:
        biases = [db.reshape(b.shape) for db, b in zip(d_biases, net.biases, strict=True)]
    arrays = [
        array
        for k in range(len(d_weights))
        for array in ([d_weights[k]] if biases is None else [d_weights[k], biases[k]])
    ]
    flat = np.concatenate([array.ravel() for array in arrays])
    gradients = ReferenceGradients(d_weights, biases, as_user(net.layout, d_inputs), flat)
    return objective(net, f[-1], book_y), gradients


def perturbations(
    net: Reference, *, scheme: str, delta: float, entries: Sequence[int] | None = None
) -> Iterator[tuple[Reference, Reference, float]]:
    """For each entry the network above, the network below, and the step between the two.

    The step is the one that floating point really makes: theta_plus - theta_minus with
    theta_plus = theta + delta, and theta_minus = theta - delta, or theta for forward differences.
    """
    theta = net.flat
    for entry in range(theta.size) if entries is None else entries:
        plus, minus = theta.copy(), theta.copy()
        plus[entry] += delta
        if scheme == "central":
            minus[entry] -= delta
        yield net.with_flat(plus), net.with_flat(minus), plus[entry] - minus[entry]


def finite_differences(
    net: Reference,
    x: np.ndarray,
    y: np.ndarray,
    *,
    scheme: str = "central",
    delta: float = 1e-6,
    entries: Sequence[int] | None = None,
) -> ReferenceDifferences:
    """The notebook's loop: each parameter is moved, and the whole network evaluated again."""
    quotients, kinks = [], []
    for plus, minus, step in perturbations(net, scheme=scheme, delta=delta, entries=entries):
        quotients.append((loss(plus, x, y) - loss(minus, x, y)) / step)
        kinks.append(masks_differ(net, plus, x) or masks_differ(net, minus, x))
    return ReferenceDifferences(np.array(quotients), np.array(kinks, dtype=bool))


def masks_differ(net: Reference, moved: Reference, x: np.ndarray) -> bool:
    """Whether any hidden unit, in any sample, has another mask in the moved network."""
    base, _ = forward(net, x)
    perturbed, _ = forward(moved, x)
    return any(
        np.any(mask_of(f, net.relu_at_zero) != mask_of(f_base, net.relu_at_zero))
        for f, f_base in zip(perturbed[:-1], base[:-1], strict=True)
    )
