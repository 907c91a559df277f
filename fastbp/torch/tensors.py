"""Tensors to arrays and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastbp.errors import DTypeError

if TYPE_CHECKING:
    from collections.abc import Callable


def _tensors(output: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(output)
    found = [leaf for leaf in leaves if _is_float(leaf)]
    if not found:
        raise DTypeError("module must return at least one tensor of floats.")
    return found


def _in_double(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().double()
    return value.double()


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _array(tensor: torch.Tensor) -> Any:
    return tensor.detach().resolve_conj().resolve_neg().cpu().numpy()


def _mapped(function: Callable[[torch.Tensor], torch.Tensor], nested: Any) -> Any:
    return torch.utils._pytree.tree_map(
        lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, nested
    )


def _detached(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone()


def _requiring_grad(value: Any) -> Any:
    return value.detach().clone().requires_grad_() if _is_float(value) else value


def _floats(nested: Any) -> list[torch.Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(nested) if _is_float(leaf)]
