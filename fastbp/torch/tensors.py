"""Tensors to arrays and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastbp.errors import DTypeError
from fastbp.torch.layout import copied_in_layout

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "HALF_UNITS",
    "array_of",
    "dense",
    "detached",
    "float_tensors",
    "in_double",
    "is_differentiable",
    "is_float",
    "is_half",
    "mapped",
    "required_tensors",
    "requiring_grad",
]


REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
COMPLEX = (torch.complex128, torch.complex64, torch.complex32)
# Half the distance from 1 to the next number, of dtypes in which differences see nothing.
HALF_UNITS = {
    dtype: torch.finfo(dtype).eps / 2 for dtype in (torch.float16, torch.bfloat16, torch.complex32)
}
# What the numbers of a dtype are read as where NumPy has none like it.
READABLE = {torch.bfloat16: torch.float32, torch.float16: torch.float32,
            torch.complex32: torch.complex64}  # fmt: skip


def required_tensors(output: Any) -> list[torch.Tensor]:
    """Return the tensors of floats in an output, dense; raise if there are none."""
    leaves = torch.utils._pytree.tree_leaves(output)
    found = [dense(leaf) for leaf in leaves if is_float(leaf)]
    if not found:
        raise DTypeError("module must return at least one tensor of floats.")
    return found


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that is strided, by an operation that has a derivative.

    Sparse ones of every layout are filled with zeros; a tensor that torch knows to be 0 without
    memory (a "ZeroTensor") gets some.
    """
    if tensor._is_zerotensor():
        return torch.zeros_like(tensor)
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def is_differentiable(value: Any) -> bool:
    """Tell whether something is a tensor of real or complex floats, in 16 bits at least."""
    return isinstance(value, torch.Tensor) and value.dtype in (*REAL, *COMPLEX)


def is_half(value: Any) -> bool:
    """Tell whether something is a tensor in half precision."""
    return isinstance(value, torch.Tensor) and value.dtype in HALF_UNITS


def in_double(value: Any) -> Any:
    """Return a copy of a tensor in its layout, or a module itself, in float64."""
    if isinstance(value, torch.Tensor):
        return copied_in_layout(value, torch.float64)
    return value.double()


def is_float(value: Any) -> bool:
    """Tell whether something is a tensor of real floats."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def array_of(tensor: torch.Tensor) -> Any:
    """Return the numbers of a tensor as an array; half precision in float32, which holds it."""
    plain = dense(tensor.detach())
    if plain.dtype in READABLE:
        plain = plain.to(READABLE[plain.dtype])
    return plain.resolve_conj().resolve_neg().cpu().numpy()


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
