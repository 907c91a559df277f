"""Kinds of tensors, and their numbers as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = [
    "HALF_UNITS",
    "IN_DOUBLE",
    "array_of",
    "dense",
    "is_differentiable",
    "real_numbers",
]


FLOATS = frozenset(
    (torch.float64, torch.float32, torch.float16, torch.bfloat16,
     torch.complex128, torch.complex64, torch.complex32)
)  # fmt: skip
# Half the distance from 1 to the next number, of dtypes in which differences see nothing.
HALF_UNITS = {
    dtype: torch.finfo(dtype).eps / 2 for dtype in (torch.float16, torch.bfloat16, torch.complex32)
}
# What the numbers of a dtype become where all are computed in float64.
IN_DOUBLE = {
    torch.float32: torch.float64, torch.float16: torch.float64, torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128, torch.complex32: torch.complex128,
}  # fmt: skip
# What the numbers of a dtype are read as where NumPy has none like it.
READABLE = {torch.bfloat16: torch.float32, torch.float16: torch.float32,
            torch.complex32: torch.complex64}  # fmt: skip


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
    return isinstance(value, torch.Tensor) and value.dtype in FLOATS


def array_of(tensor: torch.Tensor) -> Any:
    """Return the numbers of a tensor as an array; half precision in float32, which holds it."""
    plain = dense(tensor.detach())
    if plain.dtype in READABLE:
        plain = plain.to(READABLE[plain.dtype])
    return plain.numpy(force=True)


def real_numbers(array: Any) -> Any:
    """Return a flat view of the real numbers of an array in double precision, real or complex."""
    return array.ravel().view(np.float64)
