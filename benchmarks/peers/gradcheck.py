"""torch.autograd.gradcheck on a network: every entry (slow), or one random direction (fast)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .problem import Problem


class GradCheck:
    """The loss of a network as a function of its parameters, and torch's check of it."""

    def __init__(self, problem: Problem) -> None:
        self.torch = importlib.import_module("torch")
        self.weights = [self._tensor(weight) for weight in problem.weights]
        self.biases = [self._tensor(bias.ravel()) for bias in problem.biases]
        self.x, self.y = self._tensor(problem.x.T), self._tensor(problem.y.T)

    def _tensor(self, array: Any) -> Any:
        return self.torch.tensor(np.ascontiguousarray(array))

    def fast(self) -> bool:
        """Compare one random projection of the gradient by all parameters."""
        return self._check(self._loss_of_all, [*self.weights, *self.biases], fast_mode=True)

    def slow(self) -> bool:
        """Compare every entry."""
        return self._check(self._loss_of_all, [*self.weights, *self.biases], fast_mode=False)

    def some(self, count: int) -> bool:
        """Compare every one of ``count`` entries of the biases, spread over the layers."""
        shares = [part.size for part in np.array_split(np.arange(count), len(self.biases))]
        heads = [bias[:share] for bias, share in zip(self.biases, shares, strict=True)]
        tails = [bias[share:] for bias, share in zip(self.biases, shares, strict=True)]

        def loss(*parts: Any) -> Any:
            pairs = zip(parts, tails, strict=True)
            return self._loss(self.weights, [self.torch.cat(pair) for pair in pairs])

        return self._check(loss, heads, fast_mode=False)

    @property
    def most(self) -> int:
        """How many entries ``some`` can take."""
        return min(bias.numel() for bias in self.biases) * len(self.biases)

    def _check(self, loss: Any, tensors: Sequence[Any], *, fast_mode: bool) -> bool:
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        check = self.torch.autograd.gradcheck
        return bool(check(loss, inputs, raise_exception=False, fast_mode=fast_mode))

    def _loss_of_all(self, *tensors: Any) -> Any:
        count = len(self.weights)
        return self._loss(tensors[:count], tensors[count:])

    def _loss(self, weights: Sequence[Any], biases: Sequence[Any]) -> Any:
        linear, relu = self.torch.nn.functional.linear, self.torch.relu
        h = self.x
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            h = relu(linear(h, weight, bias))
        output = linear(h, weights[-1], biases[-1])
        return self.torch.nn.functional.mse_loss(output, self.y, reduction="sum")
