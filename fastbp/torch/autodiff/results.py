"""What a function of tensors returns: the tensors that are checked, by name, and all else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optree
import torch

from fastbp.errors import DTypeError, ShapeError
from fastbp.function.containers.point import consecutive
from fastbp.function.containers.pytree import NAMESPACE, flattened
from fastbp.torch.tensors import array_of, dense, is_differentiable, real_numbers

if TYPE_CHECKING:
    from fastbp.typing import Vector

__all__ = ["Results"]


class Results:
    """The form of what a function returns.

    Parameters
    ----------
    value : tensor, or nesting of tensors and anything else
        From a call with tensors that require a gradient.
    every : bool
        Check outputs that require none, too: their derivative is 0 then.

    Attributes
    ----------
    names : list of str
        Of the outputs that are checked: tensors of floats that require a gradient, and all of
        floats where none does.
    notes : list of str
        Which outputs are not, and why.
    """

    def __init__(self, value: Any, *, every: bool = False) -> None:
        container = flattened(value, "output")
        leaves = container.leaves
        floats = [place for place, leaf in enumerate(leaves) if is_differentiable(leaf)]
        if not floats:
            raise DTypeError(_no_floats(value, leaves))
        wanted = [place for place in floats if leaves[place].requires_grad]
        if every or not wanted:
            wanted = floats
        self.names = [container.names[place] for place in wanted]
        self.notes = [
            f"{container.names[place]} {_why_ignored(leaf)}: not checked"
            for place, leaf in enumerate(leaves)
            if place not in wanted
        ]
        self._places, self._container = wanted, container.rebuilt
        self._count = len(leaves)
        self._alone = isinstance(value, torch.Tensor)
        first = leaves[wanted[0]]
        self.tensors_at_first = [dense(leaves[place].detach()) for place in wanted]
        # Where the real numbers of each are in a row of all.
        self._parts = consecutive(
            tensor.numel() * (2 if tensor.is_complex() else 1) for tensor in self.tensors_at_first
        )
        # A tuple or a list of all the tensors that are checked, and of nothing else.
        self._is_flat = (
            type(value) in (tuple, list) and len(value) == len(leaves) == len(wanted)
        )  # fmt: skip
        self.scalar = len(wanted) == 1 and first.numel() == 1 and not first.is_complex()

    def tensors(self, value: Any) -> list[torch.Tensor]:
        """Return the outputs that are checked, dense."""
        if self._alone and isinstance(value, torch.Tensor):
            return [dense(value)]
        leaves = optree.tree_leaves(value, namespace=NAMESPACE)
        if len(leaves) != self._count or not all(
            isinstance(leaves[place], torch.Tensor) for place in self._places
        ):
            raise ShapeError(
                f"f must always return the same structure: it gave {len(leaves)} outputs after "
                f"{self._count}, or others than tensors."
            )
        return [dense(leaves[place]) for place in self._places]

    def arrays(self, value: Any) -> Any:
        """Return the outputs that are checked as arrays, in the structure of all."""
        return self.nested([array_of(tensor) for tensor in self.tensors(value)])

    def record(self, value: Any, row: Vector) -> None:
        """Write the real numbers of the outputs that are checked into a row, one after the other.

        All outputs must be in double precision.
        """
        parts = [value] if self._alone else value
        if not (self._alone or (self._is_flat and type(value) in (tuple, list))):
            parts = self.tensors(value)
        for first, tensor, part in zip(self.tensors_at_first, parts, self._parts, strict=True):
            row[part] = _numbers_like(first, tensor)

    def number(self, value: Any) -> Any:
        """Return the only output as a number, in its precision."""
        [tensor] = self.tensors(value)
        if tensor.dtype is torch.float64 and tensor.numel() == 1:
            return tensor.item()
        return array_of(tensor).reshape(-1)[0] if tensor.numel() == 1 else array_of(tensor)

    def nested(self, arrays: list[Any]) -> Any:
        """Return arrays in the structure of all outputs; None stands for those not checked."""
        if self._alone:
            return arrays[0]
        values: list[Any] = [None] * self._count
        for place, array in zip(self._places, arrays, strict=True):
            values[place] = array
        return self._container(values)

    def flat(self, nested: Any) -> list[Any]:
        """Return the arrays in a structure of all outputs."""
        if self._alone:
            return [np.asarray(nested)]
        return [np.asarray(leaf) for leaf in optree.tree_leaves(nested, namespace=NAMESPACE)]


def _numbers_like(first: torch.Tensor, value: Any) -> Vector:
    """Return the real numbers of an output, which must be like the one at the point."""
    if (
        not isinstance(value, torch.Tensor)
        or value.dtype is not first.dtype
        or value.shape != first.shape
    ):
        raise ShapeError("f must always return tensors of the same dtypes and shapes.")
    try:
        array: Any = value.numpy()
    except (RuntimeError, TypeError):  # sparse, on another device, with a history, ...
        array = array_of(value)
    numbers: Vector = real_numbers(array)
    return numbers


def _no_floats(value: Any, leaves: list[Any]) -> str:
    came = type(value).__name__
    if isinstance(value, torch.Tensor):
        came = f"a tensor of {value.dtype}"
    elif leaves and leaves[0] is not value:
        came += " of " + ", ".join(
            str(leaf.dtype) if isinstance(leaf, torch.Tensor) else type(leaf).__name__
            for leaf in leaves[:5]
        )
    hint = ""
    if any(isinstance(leaf, float | np.ndarray | np.generic) for leaf in leaves):
        hint = " Numbers and arrays have lost their history: return the tensor itself."
    return f"f must return a tensor of floats, or a nesting with one, not {came}.{hint}"


def _why_ignored(leaf: Any) -> str:
    if not isinstance(leaf, torch.Tensor):
        return f"is of type {type(leaf).__name__}"
    return "requires no gradient" if is_differentiable(leaf) else f"is of {leaf.dtype}"
