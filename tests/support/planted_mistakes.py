"""Mistakes that people make in a backward pass: each a small function of the right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference
from support.mistake_points import Lists
from support.strategies import Problem


@dataclass
class Pass:
    """A backward pass in the book's layout, with its parts open to mistakes."""

    net: reference.Reference
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        self.f, self.h = reference.forward(self.net, self.x)
        self.output = self.f[-1]
        self.last = len(self.f) - 1
        self.batch, self.n_out = self.output.shape[1], self.output.shape[0]
        self.factor = reference.factor(self.net, self.output)
        self.weights = list(self.net.weights)  # those that the errors go back through

    def d_output(self) -> np.ndarray:
        return self.factor * reference.d_summed_loss(self.net, self.output, self.y)

    def mask(self, k: int) -> np.ndarray:
        return (self.f[k] > 0).astype(np.float64)

    def fed(self, k: int) -> np.ndarray:
        return self.h[k]

    def decay(self, k: int) -> np.ndarray:
        return self.net.weight_decay * self.net.weights[k]

    def run(self) -> Lists:
        d_weights: list[Any] = [None] * (self.last + 1)
        d_biases: list[Any] = [None] * (self.last + 1)
        df = self.d_output()
        for k in range(self.last, -1, -1):
            d_weights[k] = df @ self.fed(k).T
            if d_weights[k].shape == self.net.weights[k].shape:
                d_weights[k] = d_weights[k] + self.decay(k)
            d_biases[k] = df.sum(axis=1, keepdims=True)
            if k > 0:
                df = self.mask(k - 1) * (self.weights[k].T @ df)
        return d_weights, d_biases


MISTAKES: dict[str, Callable[[Pass], Lists]] = {}


def mistake(number: int, what: str) -> Callable[[Callable[[Pass], Lists]], Callable]:
    """Register a planted mistake under its number."""

    def register(function: Callable[[Pass], Lists]) -> Callable[[Pass], Lists]:
        MISTAKES[f"{number:02d} {what}"] = function
        return function

    return register


def times(lists: Lists, c: float) -> Lists:
    return [c * w for w in lists[0]], [c * b for b in lists[1]]


@mistake(1, "a factor of 2")
def _(bp):
    return times(bp.run(), 2.0)


@mistake(1, "a factor of 4 in one array")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[1] = 4 * d_weights[1]
    return d_weights, d_biases


@mistake(2, "1/N missing")
def _(bp):
    return times(bp.run(), bp.batch)


@mistake(2, "1/N applied twice")
def _(bp):
    return times(bp.run(), 1 / bp.batch)


@mistake(2, "1/N inside each layer")
def _(bp):
    bp.weights = [w / bp.batch for w in bp.weights]
    return bp.run()


@mistake(3, "mean over the outputs in the loss only")
def _(bp):
    return times(bp.run(), bp.n_out)


@mistake(3, "mean over samples and outputs in the gradient only")
def _(bp):
    return times(bp.run(), 1 / (bp.n_out * bp.batch))


@mistake(4, "bias gradient not summed over the batch")
def _(bp):
    d_weights, d_biases = bp.run()
    d_biases[bp.last] = bp.d_output()
    return d_weights, d_biases


@mistake(4, "bias gradient of the first sample")
def _(bp):
    d_weights, d_biases = bp.run()
    d_biases[bp.last] = bp.d_output()[:, :1]
    return d_weights, d_biases


@mistake(5, "bias gradient averaged over the batch")
def _(bp):
    d_weights, d_biases = bp.run()
    return d_weights, [b / bp.batch for b in d_biases]


@mistake(6, "no ReLU mask")
def _(bp):
    bp.mask = lambda k: np.ones_like(bp.f[k])
    return bp.run()


@mistake(7, "the derivative of tanh")
def _(bp):
    bp.mask = lambda k: 1 - np.tanh(bp.f[k]) ** 2
    return bp.run()


@mistake(7, "the derivative of the sigmoid at the activation")
def _(bp):
    bp.mask = lambda k: bp.h[k + 1] * (1 - bp.h[k + 1])
    return bp.run()


@mistake(8, "mask from the activation with >=")
def _(bp):
    bp.mask = lambda k: (bp.h[k + 1] >= 0).astype(np.float64)
    return bp.run()


@mistake(10, "activations of one layer off")
def _(bp):
    bp.fed = lambda k: bp.h[max(k - 1, 0)]
    return bp.run()


@mistake(10, "activations of the layer above")
def _(bp):
    bp.fed = lambda k: bp.h[min(k + 1, bp.last)]
    return bp.run()


@mistake(11, "weight gradients transposed")
def _(bp):
    d_weights, d_biases = bp.run()
    return [w.T for w in d_weights], d_biases


@mistake(11, "inner in place of outer product")
def _(bp):
    d_weights, d_biases = bp.run()
    df = bp.d_output()
    d_weights[bp.last] = np.array([[float((df * df).sum())]])
    return d_weights, d_biases


@mistake(12, "the weight in place of the activation")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[1] = d_biases[1] * bp.net.weights[1]
    return d_weights, d_biases


@mistake(12, "dW in place of W going back")
def _(bp):
    d_weights, _ = bp.run()
    bp.weights[2] = d_weights[2]
    return bp.run()


@mistake(12, "W not transposed going back")
def _(bp):
    bp.weights[1] = bp.weights[1].T.copy() if _square(bp.weights[1]) else 0 * bp.weights[1]
    return bp.run()


@mistake(13, "updated weights going back")
def _(bp):
    d_weights, _ = bp.run()
    bp.weights = [w - 0.01 * d for w, d in zip(bp.weights, d_weights, strict=True)]
    return bp.run()


@mistake(14, "mask left out at one layer")
def _(bp):
    mask = bp.mask
    bp.mask = lambda k: np.ones_like(bp.f[k]) if k == 0 else mask(k)
    return bp.run()


@mistake(14, "mask left out at one bias")
def _(bp):
    d_weights, d_biases = bp.run()
    mask = bp.mask
    bp.mask = lambda k: np.ones_like(bp.f[k]) if k == 1 else mask(k)
    d_biases[1] = bp.run()[1][1]
    return d_weights, d_biases


@mistake(15, "wrong sign")
def _(bp):
    return times(bp.run(), -1.0)


@mistake(15, "wrong sign of the biases")
def _(bp):
    d_weights, d_biases = bp.run()
    return d_weights, [-b for b in d_biases]


@mistake(16, "derivative at the activation that was fed, not at the pre-activation")
def _(bp):
    mask = bp.mask
    fits = all(bp.h[k].shape == bp.f[k].shape for k in range(bp.last))
    bp.mask = (lambda k: (bp.h[k] > 0).astype(np.float64)) if fits else (lambda k: 0.5 * mask(k))
    return bp.run()


@mistake(17, "the raw error carried back in place of the delta")
def _(bp):
    d_weights, d_biases = bp.run()
    error = bp.d_output()
    for k in range(bp.last, -1, -1):
        delta = error if k == bp.last else bp.mask(k) * error
        d_weights[k] = delta @ bp.h[k].T + bp.decay(k)
        d_biases[k] = delta.sum(axis=1, keepdims=True)
        error = bp.net.weights[k].T @ error
    return d_weights, d_biases


@mistake(18, "diagonal of the softmax Jacobian")
def _(bp):
    p = np.exp(bp.output - reference.log_sum_exp(bp.output))
    d_output = bp.d_output()
    bp.d_output = lambda: d_output * p * (1 - p)
    return bp.run()


@mistake(19, "weight decay left out")
def _(bp):
    bp.decay = lambda k: 0.0 * bp.net.weights[k]
    return bp.run()


@mistake(19, "weight decay without its half")
def _(bp):
    bp.decay = lambda k: 2 * bp.net.weight_decay * bp.net.weights[k]
    return bp.run()


@mistake(19, "weight decay averaged with the loss")
def _(bp):
    bp.decay = lambda k: bp.net.weight_decay / bp.batch * bp.net.weights[k]
    return bp.run()


@mistake(19, "weight decay on the biases")
def _(bp):
    d_weights, d_biases = bp.run()
    pairs = zip(d_biases, bp.net.biases, strict=True)
    return d_weights, [d + bp.net.weight_decay * b for d, b in pairs]


@mistake(20, "scale of the loss forgotten")
def _(bp):
    return times(bp.run(), 1 / bp.net.scale)


@mistake(23, "one weight gradient left at zero")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[bp.last] = 0 * d_weights[bp.last]
    return d_weights, d_biases


@mistake(23, "one bias gradient left at zero")
def _(bp):
    d_weights, d_biases = bp.run()
    d_biases[bp.last] = 0 * d_biases[bp.last]
    return d_weights, d_biases


@mistake(23, "everything left at zero")
def _(bp):
    return times(bp.run(), 0.0)


@mistake(24, "softmax without its axis")
def _(bp):
    if bp.net.loss == "softmax_cross_entropy":
        p = np.exp(bp.output) / np.exp(bp.output).sum()
        bp.d_output = lambda: bp.factor * (p - reference.targets(bp.y, bp.output))
    return bp.run()


@mistake(25, "computed in half precision")
def _(bp):
    d_weights, d_biases = bp.run()
    return [w.astype(np.float16).astype(np.float64) for w in d_weights], d_biases


@mistake(22, "mask applied in place to a bias gradient that is an alias")
def _(bp):
    d_weights, d_biases = bp.run()
    for k in range(1, bp.last + 1):
        same = d_biases[k].shape == d_biases[k - 1].shape
        d_biases[k] = d_biases[k - 1] if same else d_biases[k] * bp.mask(k - 1).mean()
    return d_weights, d_biases


@mistake(0, "gradients in reverse order of the units")
def _(bp):
    d_weights, d_biases = bp.run()
    return d_weights, [b[::-1] for b in d_biases]


@mistake(0, "the last layer alone is off")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[bp.last] = 1.001 * d_weights[bp.last]
    return d_weights, d_biases


def _square(array: np.ndarray) -> bool:
    return array.shape[0] == array.shape[1]


def planted(problem: Problem, name: str) -> Callable[..., Lists]:
    """The mistake as a user's function (weights, biases, x, y)."""

    def gradients(weights, biases, x, y):
        net = reference.Reference(weights, biases, **problem.options)
        d_weights, d_biases = MISTAKES[name](Pass(net, x.astype(np.float64), y))
        dtype = problem.dtype
        return [w.astype(dtype) for w in d_weights], [b.astype(dtype) for b in d_biases]

    return gradients
