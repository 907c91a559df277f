"""Networks that round, underflow, cancel or saturate, and their gradients by several programs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp.runtime.validation import require_finite

LOSSES = ("least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy")
KINDS = (
    "layers that undo each other", "ill-scaled layers", "ill-scaled layers and biases",
    "ill-scaled rows", "denormals", "exact cancellation", "saturated", "small integers",
    "features nobody normalised", "ordinary",
)  # fmt: skip
BATCHES_AND_UNITS = (
    "equal samples", "sparse features", "a unit of a - a", "equal logits", "a tiny column",
    "features of any size", "", "",
)  # fmt: skip

Arrays = list[np.ndarray]


class Case(NamedTuple):
    """A network, its batch, and what is special about it."""

    net: fastbp.Network
    x: np.ndarray
    y: np.ndarray
    kind: str


def ill_scaled(seed: int) -> Case:
    """Draw a network: float64 for even seeds, float32 for odd ones."""
    rng = np.random.default_rng(seed)
    dtype = (np.float64, np.float32)[seed % 2]
    loss = LOSSES[rng.integers(3)]
    sizes = [int(n) for n in rng.choice([1, 2, 3, 5, 8, 13], rng.integers(2, 6))]
    if loss == "softmax_cross_entropy":
        sizes[-1] = max(2, sizes[-1])
    kind = KINDS[rng.integers(len(KINDS))]
    weights, biases = _layers(sizes, rng)
    x = rng.standard_normal((sizes[0], int(rng.choice([1, 2, 5, 9, 17]))))
    weights, biases, x = _distorted(kind, rng, weights, biases, x)
    weights, biases = ([a.astype(dtype) for a in arrays] for arrays in (weights, biases))
    x = x.astype(dtype)
    net = fastbp.Network(
        weights,
        biases if rng.random() < 0.8 else None,
        loss=loss,
        scale=float(10.0 ** rng.choice([0, 0, 0, -12, 12, -6, 6])),
        weight_decay=float(rng.choice([0, 0, 0, 1e-4, 1.0])),
        reduction=("sum", "mean", "mean_entries")[rng.integers(3)],
    )
    y = _targets(loss, rng, net.forward(x).output.astype(np.float64))
    return Case(net, x, y.astype(dtype), kind)


def distorted_at_once(seed: int) -> Case:
    """Draw a network with up to four distortions at once: float64 for even seeds, else float32.

    One to three of `KINDS`, and for five seeds of eight one of `BATCHES_AND_UNITS`.

    Raises
    ------
    NonFiniteError
        If x, y, a parameter or an output overflows.
    """
    rng = np.random.default_rng([seed, 77])
    dtype = (np.float64, np.float32)[seed % 2]
    loss = LOSSES[rng.integers(3)]
    depth = int(rng.integers(1, 8))
    sizes = [int(n) for n in rng.choice([1, 2, 3, 4, 7, 16, 33, 64], depth + 1)]
    if loss == "softmax_cross_entropy":
        sizes[-1] = max(2, sizes[-1])
    weights, biases = _layers(sizes, rng)
    x = rng.standard_normal((sizes[0], int(rng.choice([1, 2, 8, 33, 100]))))
    kinds = [str(kind) for kind in rng.choice(KINDS, int(rng.integers(1, 4)), replace=False)]
    for kind in kinds:
        weights, biases, x = _distorted(kind, rng, weights, biases, x)
    also = BATCHES_AND_UNITS[rng.integers(8)]
    weights, biases, x = _distorted_batch_or_unit(also, rng, weights, biases, x)
    with np.errstate(over="ignore"):
        weights, biases = ([a.astype(dtype) for a in arrays] for arrays in (weights, biases))
        x = x.astype(dtype)
    net = fastbp.Network(
        weights,
        biases if rng.random() < 0.8 else None,
        loss=loss,
        scale=float(rng.choice([1, -1]) * 10.0 ** rng.choice([0, 0, -12, 12, -9, 9])),
        weight_decay=float(rng.choice([0, 0, 0, 1e-12, 1.0, 1e3])),
        relu_at_zero=float(rng.choice([0, 0, 0.5, 1])),
        reduction=("sum", "mean", "mean_entries")[rng.integers(3)],
    )
    output = net.forward(x).output.astype(np.float64)
    require_finite(output, "the output")
    y = _many_targets(loss, rng, output)
    with np.errstate(over="ignore"):
        y = y.astype(dtype)
    require_finite(y, "y")
    return Case(net, x, y, ", ".join([*kinds, also] if also else kinds))


def _layers(sizes: list[int], rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    weights = [rng.standard_normal((o, i)) * np.sqrt(2 / i) for i, o in pairwise(sizes)]
    return weights, [0.3 * rng.standard_normal((o, 1)) for o in sizes[1:]]


def _distorted(
    kind: str, rng: np.random.Generator, weights: Arrays, biases: Arrays, x: np.ndarray
) -> tuple[Arrays, Arrays, np.ndarray]:
    if kind in KINDS[:3]:
        powers = rng.integers(-8, 9, len(weights)).astype(float)
        if kind == KINDS[0]:
            powers -= powers.mean()
        own = rng.integers(-8, 9, len(weights)) if kind == KINDS[2] else np.cumsum(powers)
        weights = [w * 10.0**p for w, p in zip(weights, powers, strict=True)]
        biases = [b * 10.0**p for b, p in zip(biases, own, strict=True)]
    elif kind == "ill-scaled rows":
        weights = [w * 10.0 ** rng.integers(-8, 9, (len(w), 1)) for w in weights]
    elif kind == "denormals":
        x = x * 10.0 ** rng.integers(-45, -30)
        biases = [0.0 * b for b in biases]
        weights[-1] = weights[-1] * 10.0 ** rng.integers(0, 9)
    elif kind == "exact cancellation":
        weights[0][:] = weights[0][:, :1]
        x = x - x.mean(axis=0)
        biases = [0.0 * b for b in biases]
    elif kind == "saturated":
        weights[-1] = weights[-1] * 10.0 ** rng.integers(1, 4)
    elif kind == "small integers":
        weights = [np.round(2 * w) / 2 for w in weights]
        biases, x = [np.round(4 * b) / 4 for b in biases], np.round(2 * x) / 2
    elif kind == "features nobody normalised":
        x = x * 10.0 ** rng.integers(0, 7, (len(x), 1))
        weights[0] = weights[0] / 10.0 ** rng.integers(0, 7)
    return weights, biases, x


def _distorted_batch_or_unit(
    kind: str, rng: np.random.Generator, weights: Arrays, biases: Arrays, x: np.ndarray
) -> tuple[Arrays, Arrays, np.ndarray]:
    if kind == "equal samples":
        x = np.repeat(x[:, :1], x.shape[1], axis=1)
    elif kind == "sparse features":
        x[rng.random(x.shape) < 0.7] = 0.0
    elif kind == "a unit of a - a":
        if len(x) > 1:
            weights[0][:, 1], x[1] = -weights[0][:, 0], x[0]
        biases = [0.0 * b for b in biases]
    elif kind == "equal logits":
        weights[-1][:] = weights[-1][:1]
    elif kind == "a tiny column":
        weights[int(rng.integers(len(weights)))][:, 0] *= 1e-20
    elif kind == "features of any size":
        x = x * 10.0 ** rng.integers(-20, 20)
    return weights, biases, x


def _targets(loss: str, rng: np.random.Generator, output: np.ndarray) -> np.ndarray:
    if loss == "least_squares":
        near = 10.0 ** rng.uniform(-9, 1) * np.abs(output).max()
        return output + near * rng.standard_normal(output.shape)
    if loss == "softmax_cross_entropy":
        fitted = output.argmax(axis=0) if rng.random() < 0.5 else rng.integers(0, len(output), 1)
        return np.eye(len(output))[np.broadcast_to(fitted, output.shape[1])].T.copy()
    return (output > 0).astype(float) if rng.random() < 0.5 else rng.random(output.shape)


def _many_targets(loss: str, rng: np.random.Generator, output: np.ndarray) -> np.ndarray:
    """Targets of which one class need not be certain, and that may be 0."""
    if loss == "least_squares":
        near = 10.0 ** rng.uniform(-9, 1) * np.abs(output).max()
        y = output + near * rng.standard_normal(output.shape)
        return np.zeros_like(output) if rng.random() < 0.1 else y
    if loss == "softmax_cross_entropy":
        classes, fitted = len(output), rng.random() < 0.5
        chosen = output.argmax(axis=0) if fitted else rng.integers(0, classes, output.shape[1])
        y = np.eye(classes)[chosen].T.copy()
        if rng.random() < 0.3:
            y = rng.random(output.shape)
            y /= y.sum(axis=0)
        return y
    return (output > 0).astype(float) if rng.random() < 0.5 else rng.random(output.shape)


def programs(case: Case) -> dict[str, Callable[[], Arrays]]:
    """Right programs, by name: each returns the gradient by all parameters."""
    dtype = case.net.dtype.type
    found: dict[str, Callable[[], Arrays]] = {
        "fastbp": lambda: _interleaved(case.net.loss_and_gradients(case.x, case.y)[1]),
        "NumPy": lambda: backpropagated(case, dtype, np.matmul),
        "plain sums": lambda: backpropagated(case, dtype, _plain_product),
        "sums from the end": lambda: backpropagated(case, dtype, _from_the_end),
        "extended": lambda: _cast(backpropagated(case, np.longdouble, np.matmul), np.float64),
        "cast": lambda: _cast(backpropagated(case, np.float64, np.matmul), np.float32),
    }
    if dtype == np.float64:
        found["float32"] = lambda: backpropagated(case, np.float32, np.matmul)
    return found


def plain_gradients(case: Case, dtype: Any) -> list[Arrays]:
    """Return the gradient in one dtype, its products summed in several orders."""
    return [backpropagated(case, dtype, p) for p in (np.matmul, _plain_product, _from_the_end)]


def as_given(case: Case, arrays: Arrays) -> tuple[Arrays, Arrays | None]:
    """As `check_network` takes a gradient."""
    return (arrays, None) if case.net.biases is None else (arrays[::2], arrays[1::2])


@np.errstate(all="ignore")
def backpropagated(case: Case, dtype: Any, product: Any, residual: Any = None) -> Arrays:
    """As anybody would write it, in any type."""
    net, y = case.net, case.y.astype(dtype)
    weights = [w.astype(dtype) for w in net.weights]
    h, f = [case.x.astype(dtype)], []
    for k, w in enumerate(weights):
        bias = dtype(0) if net.biases is None else net.biases[k].astype(dtype)
        f.append((product(w, h[-1]) + bias).astype(dtype))
        h.append(np.maximum(f[-1], dtype(0)))
    output = f[-1]
    s = (residual or _residual)(case, output, y)
    if not np.isfinite(output).all():  # nor is the loss, whatever the gradient looks like
        s = np.full(s.shape, np.nan, s.dtype)
    s = (s * dtype(net.objective.factor(output.shape[1], len(output)))).astype(dtype)
    found: Arrays = []
    for k in range(len(weights) - 1, -1, -1):
        if net.biases is not None:
            found.insert(0, s.sum(axis=1, keepdims=True).astype(dtype))
        own = product(s, np.ascontiguousarray(h[k].T))
        found.insert(0, (own + dtype(net.objective.weight_decay) * weights[k]).astype(dtype))
        if k:
            back = product(np.ascontiguousarray(weights[k].T), s)
            s = (back * (f[k - 1] > 0)).astype(dtype)
    return found


def _residual(case: Case, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    one = output.dtype.type(1)
    if case.net.objective.loss == "least_squares":
        return 2 * one * (output - y)
    if case.net.objective.loss == "softmax_cross_entropy":
        p = np.exp(output - output.max(axis=0))
        return p / p.sum(axis=0) - y
    return one / (one + np.exp(-output)) - y


def _residual_that_cancels_nothing(case: Case, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return p - 1 as minus the probability of all else; where p rounds to 1, `_residual` is 0."""
    s = _residual(case, output, y)
    if case.net.objective.loss == "softmax_cross_entropy":
        others = np.where(y == 1, 0, s)  # targets are 0 or 1
        s = np.where(y == 1, -others.sum(axis=0), s)
    elif case.net.objective.loss == "sigmoid_cross_entropy":
        s = np.where(y == 1, -1 / (1 + np.exp(output)), s)
    return s


def true_gradient(case: Case) -> Arrays:
    """Return the gradient in long double, without cancellation in p - y."""
    return backpropagated(case, np.longdouble, np.matmul, _residual_that_cancels_nothing)


def _plain_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.add.accumulate(a[:, :, None] * b[None], axis=1, dtype=a.dtype)[:, -1]


def _from_the_end(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a[:, ::-1]) @ np.ascontiguousarray(b[::-1])


@np.errstate(all="ignore")
def _cast(arrays: Arrays, dtype: Any) -> Arrays:
    return [array.astype(dtype) for array in arrays]


def _interleaved(gradients: fastbp.Gradients) -> Arrays:
    if gradients.biases is None:
        return list(gradients.weights)
    pairs = zip(gradients.weights, gradients.biases, strict=True)
    return [array for pair in pairs for array in pair]
