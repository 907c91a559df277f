"""torch, eager: rows are examples; autograd for the parameters only."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import Array
from .problem import Problem, flatten

NAME = "torch"


def prepare(threads: int) -> str:
    """Use that many threads; return name and version."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    return f"torch {torch.__version__}"


class _Model:
    """Parameters and batch as tensors, and the loss."""

    def __init__(self, problem: Problem, *, requires_grad: bool) -> None:
        self.torch = importlib.import_module("torch")
        self.weights = [self._tensor(weight, requires_grad) for weight in problem.weights]
        self.biases = [self._tensor(bias.ravel(), requires_grad) for bias in problem.biases]
        self.x, self.y = self._tensor(problem.x.T), self._tensor(problem.y.T)

    def _tensor(self, array: Array, requires_grad: bool = False) -> Any:
        return self.torch.tensor(np.ascontiguousarray(array), requires_grad=requires_grad)

    def loss(self) -> Any:
        linear, relu = self.torch.nn.functional.linear, self.torch.relu
        h = self.x
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = relu(linear(h, weight, bias))
        output = linear(h, self.weights[-1], self.biases[-1])
        return self.torch.nn.functional.mse_loss(output, self.y, reduction="sum")


class Step:
    """One forward and backward pass."""

    def __init__(self, problem: Problem) -> None:
        self.model = _Model(problem, requires_grad=True)
        self.parameters = self.model.weights + self.model.biases
        self()

    def __call__(self) -> None:
        loss = self.model.loss()
        self.gradients = self.model.torch.autograd.grad(loss, self.parameters)
        self.loss = float(loss.detach())

    def gradient(self) -> Array:
        """Return the gradient of the last step: W0, b0, W1, b1, ..."""
        arrays = [gradient.numpy() for gradient in self.gradients]
        count = len(self.model.weights)
        return flatten(arrays[:count], arrays[count:])


class Replay:
    """A loop over the entries, each changed in place; no graph is kept."""

    def __init__(self, problem: Problem, entries: NDArray[np.int64], delta: float) -> None:
        self.model = _Model(problem, requires_grad=False)
        self.delta = delta
        pairs = zip(self.model.weights, self.model.biases, strict=True)
        flat = [tensor.view(-1) for pair in pairs for tensor in pair]
        ends = np.cumsum([tensor.numel() for tensor in flat])
        arrays = np.searchsorted(ends, entries, side="right")
        self.places = [
            (flat[array], int(entry - (ends[array] - flat[array].numel())))
            for array, entry in zip(arrays, entries, strict=True)
        ]

    def __call__(self) -> NDArray[np.float64]:
        with self.model.torch.inference_mode():
            return np.array([self.quotient(vector, index) for vector, index in self.places])

    def quotient(self, vector: Any, index: int) -> float:
        """Return the central difference for one entry, and put the entry back."""
        value = vector[index].item()
        plus, minus = value + self.delta, value - self.delta
        vector[index] = plus
        loss_plus = self.model.loss().item()
        vector[index] = minus
        loss_minus = self.model.loss().item()
        vector[index] = value
        return float((loss_plus - loss_minus) / (plus - minus))
