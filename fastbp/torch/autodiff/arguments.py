"""What a function of tensors is called with: tensors whose derivative is checked, and all else.

The checks of functions move arrays; here is what turns these into tensors of the user's device,
structure, sparsity and layout. What no derivative is wanted of is held fixed.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import optree
import torch

from fastbp.errors import DTypeError, ShapeError
from fastbp.function.containers.pytree import NAMESPACE, flattened
from fastbp.torch.autodiff.sparse import SparsePattern, is_sparse
from fastbp.torch.layout import copied_in_layout
from fastbp.torch.tensors import HALF_UNITS, array_of, dense, is_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Arguments", "Leaf"]


class Leaf:
    """A tensor whose derivative is checked.

    Parameters
    ----------
    tensor : Tensor
        The user's: it is only read.
    in_double : bool
        Whether it becomes one in double precision.
    """

    def __init__(self, tensor: torch.Tensor, *, in_double: bool) -> None:
        self.tensor = tensor.detach()
        self.pattern = SparsePattern(self.tensor) if is_sparse(tensor) else None
        self.numbers = self.tensor if self.pattern is None else self.pattern.values
        # In the user's own precision all the same, where float64 has no use.
        self.half = tensor.dtype if tensor.dtype in HALF_UNITS and not in_double else None
        self.array = array_of(self.numbers)
        if tensor.dtype in HALF_UNITS or in_double:
            self.array = self.array.astype(np.result_type(self.array.dtype, np.float64))

    def beside(self, array: Any) -> torch.Tensor:
        """Return a tensor with the numbers of an array, contiguous where it is not sparse."""
        numbers = torch.from_numpy(array if type(array) is np.ndarray else np.asarray(array))
        if self.half is not None:
            numbers = numbers.to(self.half)
        if self.tensor.device.type != "cpu":
            numbers = numbers.to(self.tensor.device)
        return numbers if self.pattern is None else self.pattern.rebuilt(numbers)

    def as_given(self, dtype: Any) -> torch.Tensor:
        """Return a copy in the user's layout, that a gradient is wanted of, in a dtype of NumPy."""
        wanted = self.half or _dtype_of_torch(dtype)
        if self.pattern is not None:
            return self.pattern.rebuilt(self.numbers.to(wanted, copy=True)).requires_grad_()
        return copied_in_layout(self.tensor, wanted).requires_grad_()

    def array_of_derivative(self, derivative: torch.Tensor | None, like: torch.Tensor) -> Any:
        """Return a derivative as an array: of the stored numbers alone where it is sparse."""
        if derivative is None:
            return array_of(torch.zeros_like(like if self.pattern is None else self.numbers))
        if self.pattern is None:
            return array_of(derivative)
        return array_of(self.pattern.stored(dense(derivative.detach())))


class Arguments:
    """All arguments of one call.

    Parameters
    ----------
    inputs : sequence
        Positional ones: tensors, anything else, and nestings.
    keywords : mapping
        Named ones, alike.
    in_double : bool, optional
        Whether all become double precision; None: where one is in half.

    Attributes
    ----------
    leaves : list of Leaf
        The tensors of floats; where some of these require a gradient, those alone.
    at : OrderedDict
        Their arrays in the structure of all arguments, by place or name; None for all else.
    complex : bool
        Whether one of them is complex.
    notes : list of str
        Which tensors of floats are held fixed.
    """

    def __init__(
        self, inputs: Sequence[Any], keywords: Mapping[str, Any],
        *, in_double: bool | None = None,
    ) -> None:  # fmt: skip
        arguments = OrderedDict[Any, Any]([*enumerate(inputs), *keywords.items()])
        self._positional = len(inputs)
        self._container = flattened(arguments, "inputs")
        names, leaves = self._container.names, self._container.leaves
        floats = [place for place, leaf in enumerate(leaves) if is_differentiable(leaf)]
        if not floats:
            raise DTypeError(_no_floats(names, leaves))
        wanted = [place for place in floats if leaves[place].requires_grad] or floats
        for place in wanted:
            _require_plain(leaves[place], names[place])
        if not any(leaves[place].numel() for place in wanted):
            raise ShapeError("inputs must hold at least one float, but all tensors are empty.")
        self.notes = [
            f"{names[place]} requires no gradient: held fixed"
            for place in floats
            if place not in wanted
        ]
        self._places = wanted
        if in_double is None:
            in_double = any(leaves[place].dtype in HALF_UNITS for place in wanted)
        self.leaves = [Leaf(leaves[place], in_double=in_double) for place in wanted]
        self.complex = any(leaf.array.dtype.kind == "c" for leaf in self.leaves)
        self._fixed = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self._fixed = [place for place in self._fixed if place not in wanted]
        self._values = list(leaves)
        # Without nestings there is nothing to take apart or to put together in each call.
        self._keys = list(arguments)
        self._flat = len(leaves) == len(arguments) and all(
            one is two for one, two in zip(arguments.values(), leaves, strict=True)
        )
        self._renew()
        self._changing = False
        self.at = self.rebuilt([leaf.array for leaf in self.leaves])

    @property
    def names(self) -> list[str]:
        """What the report calls the tensors that are checked."""
        return [self._container.names[place] for place in self._places]

    def with_tensors(self, tensors: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and named arguments with other tensors in place of those checked."""
        if self._changing or self._changed():
            self._changing = True
            self._renew()
        values = list(self._values)  # else the last tensors, and their arrays, would be kept
        for place, tensor in zip(self._places, tensors, strict=True):
            values[place] = tensor
        if not self._flat:
            values = list(self._container.rebuilt(values).values())
        count = self._positional
        return values[:count], dict(zip(self._keys[count:], values[count:], strict=True))

    def repeated(self, tensors: Sequence[Any]) -> Callable[[], tuple[list[Any], dict[str, Any]]]:
        """Return what returns the arguments with the same tensors, whenever it is called."""
        if not self._flat:
            return partial(self.with_tensors, tensors)
        same = self.with_tensors(tensors)

        def again() -> tuple[list[Any], dict[str, Any]]:
            changing = self._changing or self._changed()
            return self.with_tensors(tensors) if changing else same

        return again

    def checked_in(self, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> list[torch.Tensor]:
        """Return the tensors that are checked among arguments of the same structure."""
        arguments = OrderedDict[Any, Any]([*enumerate(inputs), *keywords.items()])
        leaves = self.arrays_of(arguments)
        return [leaves[place] for place in self._places]

    def beside(self, at: Any) -> list[torch.Tensor]:
        """Return the tensors with the numbers of arrays in the structure of `at`."""
        arrays = self.arrays_of(at)
        return [leaf.beside(array) for leaf, array in zip(self.leaves, arrays, strict=True)]

    def as_given(self, at: Any) -> list[torch.Tensor]:
        """Return the tensors as the user has them, in the precision of arrays."""
        arrays = self.arrays_of(at)
        return [leaf.as_given(array.dtype) for leaf, array in zip(self.leaves, arrays, strict=True)]

    def derivatives(
        self, found: Sequence[torch.Tensor | None], tensors: Sequence[torch.Tensor]
    ) -> list[Any]:
        """Return derivatives by the tensors as arrays."""
        return [
            leaf.array_of_derivative(derivative, tensor)
            for leaf, derivative, tensor in zip(self.leaves, found, tensors, strict=True)
        ]

    def arrays_of(self, at: Any) -> list[Any]:
        """Return the arrays in a structure as that of `at`."""
        if self._flat:
            return [leaf for leaf in at.values() if leaf is not None]
        return optree.tree_leaves(at, namespace=NAMESPACE)

    def mapped(self, function: Callable[[Any], Any], at: Any) -> Any:
        """Apply a function to every array in a structure as that of `at`."""
        return self.rebuilt([function(array) for array in self.arrays_of(at)])

    def rebuilt(self, arrays: Sequence[Any]) -> Any:
        """Return arrays, one for each tensor that is checked, in the structure of `at`."""
        values: list[Any] = [None] * len(self._container.leaves)
        for place, array in zip(self._places, arrays, strict=True):
            values[place] = array
        return self._container.rebuilt(values)

    def _renew(self) -> None:
        """Make copies of the tensors that are held fixed, so that the user's stay as they are."""
        for place in self._fixed:
            self._values[place] = self._container.leaves[place].detach().clone()
        self._versions = self._versions_now()

    def _versions_now(self) -> list[int]:
        return [self._values[place]._version for place in self._fixed]

    def _changed(self) -> bool:
        return bool(self._fixed) and self._versions_now() != self._versions


@cache
def _dtype_of_torch(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype


def _no_floats(names: list[str], leaves: list[Any]) -> str:
    came = ", ".join(
        f"{name} is {'of ' + str(leaf.dtype) if isinstance(leaf, torch.Tensor) else _kind(leaf)}"
        for name, leaf in zip(names[:5], leaves, strict=False)
    )
    return (
        "inputs must hold at least one tensor of floats, in 16 bits at least: "
        + (came or "there are none")
        + "."
    )


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _require_plain(tensor: torch.Tensor, name: str) -> None:
    if tensor.is_nested or not (tensor.layout is torch.strided or is_sparse(tensor)):
        layout = "nested" if tensor.is_nested else str(tensor.layout)
        raise DTypeError(f"{name} must be strided or sparse, not {layout}.")
    if tensor.device.type == "meta":
        raise DTypeError(f"{name} must hold numbers, but it is on the device meta.")
