"""NumPy: every product and every elementwise step into an array that exists already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..common import Array
from .problem import Problem, flatten

NAME = "NumPy"


def prepare(threads: int) -> str:  # noqa: ARG001 - its BLAS has read the environment: __main__
    """Return name and version."""
    return f"NumPy {np.__version__}"


class Step:
    """One forward and backward pass; columns are examples, as in the book."""

    def __init__(self, problem: Problem) -> None:
        self.weights, self.biases = problem.weights, problem.biases
        self.x, self.y = problem.x, problem.y
        shapes = [(bias.size, problem.batch) for bias in self.biases]
        self.f = [np.empty(shape, problem.dtype) for shape in shapes]
        self.h = [self.x] + [np.empty(shape, problem.dtype) for shape in shapes[:-1]]
        self.df = [np.empty(shape, problem.dtype) for shape in shapes]
        self.active = [np.empty(shape, bool) for shape in shapes]
        self.dweights = [np.empty_like(weight) for weight in self.weights]
        self.dbiases = [np.empty_like(bias) for bias in self.biases]
        self()

    def __call__(self) -> None:
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            np.matmul(weight, self.h[k], out=self.f[k])
            np.add(self.f[k], bias, out=self.f[k])
            if k < last:
                np.maximum(self.f[k], 0, out=self.h[k + 1])
        residual = self.f[last]
        np.subtract(residual, self.y, out=residual)
        self.loss = float(np.vdot(residual, residual))
        np.multiply(residual, 2, out=self.df[last])
        for k in range(last, -1, -1):
            np.sum(self.df[k], axis=1, keepdims=True, out=self.dbiases[k])
            np.matmul(self.df[k], self.h[k].T, out=self.dweights[k])
            if k:
                np.matmul(self.weights[k].T, self.df[k], out=self.df[k - 1])
                np.greater(self.f[k - 1], 0, out=self.active[k - 1])
                np.multiply(self.df[k - 1], self.active[k - 1], out=self.df[k - 1])

    def gradient(self) -> Array:
        """Return the gradient of the last step: W0, b0, W1, b1, ..."""
        return flatten(self.dweights, self.dbiases)


class Replay:
    """The notebook's loop: a copy of everything and two forward passes for each entry."""

    def __init__(self, problem: Problem, entries: NDArray[np.int64], delta: float) -> None:
        self.network = problem.weights, problem.biases
        self.batch = problem.x, problem.y
        self.entries, self.delta = entries, delta

    def __call__(self) -> NDArray[np.float64]:
        return np.array(
            reference.loop_quotients(*self.network, *self.batch, self.entries, self.delta)
        )
