"""Copies of tensors that lie in memory as the originals do: strides, gaps, expanded dimensions.

A backward pass may be wrong for one layout alone, so it is asked with the one that is given.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["as_given", "copied_in_layout", "overlaps"]

BEFORE = 64  # elements that are kept before a tensor which does not begin where its storage does


def copied_in_layout(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return a copy without history, of the same layout, perhaps of another dtype."""
    bare = tensor.detach().resolve_neg()
    if bare.is_conj():
        return copied_in_layout(bare.conj(), dtype).conj()
    wanted = bare.dtype if dtype is None else dtype
    plain = bare.layout is torch.strided and not bare.is_nested and not bare.is_quantized
    if not plain or not bare.numel() or (bare.is_contiguous() and not bare.storage_offset()):
        return bare.to(wanted, copy=True)
    before = min(bare.storage_offset(), BEFORE)
    span = before + 1 + sum(_extents(bare))
    memory = bare.as_strided((span,), (1,), bare.storage_offset() - before)
    return memory.to(wanted, copy=True).as_strided(bare.shape, bare.stride(), before)


def overlaps(tensor: torch.Tensor) -> bool:
    """Tell whether several entries of a tensor may share memory, as in an expanded one."""
    reached = 0
    pairs = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, length in sorted(pair for pair in pairs if pair[1] > 1):
        if stride <= reached:
            return True
        reached += stride * (length - 1)
    return False


def _extents(tensor: torch.Tensor) -> list[int]:
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return [(length - 1) * stride for length, stride in pairs]


class _AsGiven(torch.autograd.Function):
    """The identity, to a copy in the layout of another tensor of the same values."""

    @staticmethod
    def forward(context: Any, _tensor: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        context.set_materialize_grads(False)  # no gradient is not a gradient of 0
        return copied_in_layout(template)

    @staticmethod
    def backward(_: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


def as_given(tensor: Any, template: Any) -> Any:
    """Return a tensor in the layout of another of the same values; anything else as it is."""
    if not isinstance(tensor, torch.Tensor):
        return tensor
    if not tensor.requires_grad:
        return copied_in_layout(template)
    made: Any = _AsGiven.apply
    return made(tensor, template)
