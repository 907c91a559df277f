"""Tensors to arrays and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastbp.errors import DTypeError
from fastbp.torch.layout import copied_in_layout

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "array_of",
    "detached",
    "float_tensors",
    "in_double",
    "is_float",
    "mapped",
    "required_tensors",
    "requiring_grad",
]


def required_tensors(output: Any) -> list[torch.Tensor]:
    """Return the tensors of floats in an output; raise if there are none."""
    leaves = torch.utils._pytree.tree_leaves(output)
    found = [leaf for leaf in leaves if is_float(leaf)]
    if not found:
        raise DTypeError("module must return at least one tensor of floats.")
    return found


def in_double(value: Any) -> Any:
    """Return a copy of a tensor in its layout, or a module itself, in float64."""
    if isinstance(value, torch.Tensor):
        return copied_in_layout(value, torch.float64)
    return value.double()


def is_float(value: Any) -> bool:
    """Tell whether something is a tensor of real floats."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def array_of(tensor: torch.Tensor) -> Any:
    """Return the numbers of a tensor as an array."""
    return tensor.detach().resolve_conj().resolve_neg().cpu().numpy()


def mapped(function: Callable[[torch.Tensor], torch.Tensor], nested: Any) -> Any:
    """Apply a function to every tensor of a nesting."""
    return torch.utils._pytree.tree_map(
        lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, nested
    )


def detached(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy of a tensor that has no history, in its layout."""
    return copied_in_layout(tensor)


def requiring_grad(value: Any) -> Any:
    """Return a copy of a tensor of floats that a gradient is wanted of; it may be moved."""
    return value.detach().clone().requires_grad_() if is_float(value) else value


def float_tensors(nested: Any) -> list[torch.Tensor]:
    """Return the tensors of floats in a nesting."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(nested) if is_float(leaf)]
