"""Gradients that can only be had by accumulation, as those of re-entrant checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

__all__ = ["accumulated_gradients", "needs_accumulation", "nodes_behind"]

REENTRANT = "CheckpointFunctionBackward"  # of torch.utils.checkpoint, with use_reentrant=True


def needs_accumulation(outputs: Sequence[torch.Tensor]) -> bool:
    """Tell whether a re-entrant checkpoint is in the graph of some outputs.

    It raises where `torch.autograd.grad` reaches it, and what lies between it and the outputs is
    freed by then: this must be known before.
    """
    return any(type(node).__name__ == REENTRANT for node in nodes_behind(outputs))


def accumulated_gradients(
    outputs: Sequence[torch.Tensor],
    leaves: Sequence[torch.Tensor],
    incoming: Sequence[torch.Tensor],
    **options: Any,
) -> list[torch.Tensor | None]:
    """Return what accumulates in leaves, and leave the gradients of all other tensors as they were.

    Those of the leaves are left at None.
    """
    for leaf in leaves:
        leaf.grad = None
    with _OthersGradients(leaves) as others:
        for node in nodes_behind(outputs):
            if type(node).__name__ == "AccumulateGrad":
                others.keep(node.variable)
        torch.autograd.backward(outputs, incoming, **options)
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found


class _OthersGradients(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Put the gradients of what is used beside the leaves back, as the weights of a module.

    A checkpoint computes again in the backward pass: only then is it seen what it uses.
    """

    def __init__(self, leaves: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.leaves = {id(leaf) for leaf in leaves}
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Remember the gradients of arguments before anything is added to them."""
        for value in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(value, torch.Tensor) and value.requires_grad and value.is_leaf:
                self.keep(value)
        return func(*args, **(kwargs or {}))

    def keep(self, tensor: torch.Tensor) -> None:
        """Remember the gradient of a tensor, if it is no leaf of ours, and take it away."""
        if id(tensor) not in self.leaves and id(tensor) not in self.kept:
            self.kept[id(tensor)] = tensor, tensor.grad
            tensor.grad = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Put them back."""
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        for tensor, gradient in self.kept.values():
            tensor.grad = gradient


def nodes_behind(outputs: Sequence[torch.Tensor]) -> Iterator[Any]:
    """Go through the graph of some outputs, each node once."""
    left: list[Any] = [output.grad_fn for output in outputs]
    seen = set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [before for before, _ in node.next_functions]
            yield node
