"""Modules of torch, right and wrong."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")


class WrongProduct(torch.autograd.Function):
    """A linear map whose gradient by the weights is wrong in one row, by a thousandth."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any) -> Any:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        x, weight = ctx.saved_tensors
        by_weight = gradient.T @ x
        by_weight[2] *= 1.001
        return gradient @ weight, by_weight


class Scaled(torch.autograd.Function):
    """The identity, with a gradient that is off by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float) -> Any:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * ctx.factor, None


def identity(x: Any) -> Any:
    """Return the same, with a right gradient of a function written by hand."""
    return Scaled.apply(x, 1.0)


def wrong_identity(x: Any) -> Any:
    """Return the same, with a gradient that is off by a thousandth."""
    return Scaled.apply(x, 1.001)


class Calling(torch.nn.Module):
    """A module with parts, whose forward is a function of itself and its arguments."""

    def __init__(self, forward: Any, *parts: Any, **attributes: Any) -> None:
        super().__init__()
        self.called, self.parts = forward, torch.nn.ModuleList(parts)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.called(self, *arguments, **keywords)


def recurrent_wrapper(layer: Any) -> Any:
    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    return Wrapped()


def state_of(module: Any) -> list[Any]:
    """Everything about a module that a check might change, and the global random numbers."""
    tensors = {name: value.clone() for name, value in module.state_dict().items()}
    grads = {
        name: None if parameter.grad is None else parameter.grad.clone()
        for name, parameter in module.named_parameters()
    }
    parts = [
        (part.training, len(part._forward_hooks), len(part._forward_pre_hooks),
         len(part._backward_hooks), getattr(part, "inplace", None))
        for part in module.modules()
    ]  # fmt: skip
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    numbers = [torch.get_rng_state(), random.getstate(), np.random.get_state()[1]]
    return [tensors, grads, parts, wanted, numbers]


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            equal(first[key], second[key]) for key in first
        )
    if isinstance(first, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)


def as_in_memory(tensor: Any) -> Any:
    """Read a tensor as a kernel does that takes it for contiguous."""
    held = tensor.untyped_storage().nbytes() // tensor.element_size() - tensor.storage_offset()
    count = min(held, tensor.numel())
    flat = torch.zeros(tensor.numel(), dtype=tensor.dtype)
    flat[:count] = torch.as_strided(tensor, (count,), (1,), tensor.storage_offset())
    return flat.view(tensor.shape)


def square(of_input: Any, of_gradient: Any) -> Any:
    """Return x², whose backward pass sees x and the incoming gradient through functions."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.contiguous() ** 2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return 2 * of_input(ctx.saved_tensors[0]) * of_gradient(gradient)

    return Square.apply


def cube(backward: Any) -> Any:
    """Return x³ with a backward pass that is right, but may have a wrong one itself."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, incoming: Any) -> Any:
            return backward(ctx.saved_tensors[0], incoming)

    return Cube.apply
