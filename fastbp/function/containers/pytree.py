"""Nested containers of floats: taken apart into arrays with names, and put together again.

An argument may be an array, a scalar, or any nesting of lists, tuples, dicts, named tuples and
dataclasses of these. Names read like Python: ``params['layer1'].weight``.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from fastbp.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["Container", "take_apart"]

# Dataclasses are registered with optree in a namespace of ours, so that nobody else sees it.
NAMESPACE = "fastbp"
REAL = (np.dtype(np.float64), np.dtype(np.float32))
COMPLEX = (np.dtype(np.complex128), np.dtype(np.complex64))
_registered: set[type] = set()


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """What a nesting of floats is made of, in the order in which Python would walk it.

    Attributes
    ----------
    names : list of str
        One for each leaf, as ``params['layer1'].weight``.
    leaves : list
        Arrays and scalars, as they were given.
    structure : PyTreeSpec
        How they are nested.
    """

    names: list[str]
    leaves: list[Any]
    structure: Any

    def rebuilt(self, leaves: Sequence[Any]) -> Any:
        """Return the same nesting with other leaves."""
        return optree.tree_unflatten(self.structure, leaves)

    def copied(self) -> Container:
        """Return the same with copies of the leaves."""
        return Container(self.names, [copy.copy(leaf) for leaf in self.leaves], self.structure)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each leaf; that of a scalar is ()."""
        return [np.shape(leaf) for leaf in self.leaves]


def take_apart(value: Any, name: str) -> Container:
    """Take a nesting apart, whatever its leaves are.

    Parameters
    ----------
    value : object
        An array, a scalar, or a nesting of lists, tuples, dicts, named tuples and dataclasses.
    name : str
        What the whole is called.

    Examples
    --------
    >>> parts = take_apart({"b": [0.5, np.ones(3)]}, "params")
    >>> parts.names, parts.shapes
    (["params['b'][0]", "params['b'][1]"], [(), (3,)])
    >>> parts.rebuilt([1.0, 2.0])
    {'b': [1.0, 2.0]}
    """
    try:
        _register_dataclasses(value)
        accessors, leaves, structure = optree.tree_flatten_with_accessor(value, namespace=NAMESPACE)
    except RecursionError as error:
        raise DTypeError(f"{name} is nested too deeply, or holds itself.") from error
    return Container([accessor.codify(name) for accessor in accessors], leaves, structure)


def require_leaves(container: Container, name: str, *, complex_too: bool = False) -> None:
    """Raise unless there is an entry at all and every leaf holds floats."""
    allowed = REAL + COMPLEX if complex_too else REAL
    for leaf_name, leaf in zip(container.names, container.leaves, strict=True):
        _require_float_leaf(leaf, leaf_name, allowed)
    if sum(np.size(leaf) for leaf in container.leaves) == 0:
        raise ShapeError(f"{name} must hold at least one float, but it is empty.")


def _require_float_leaf(leaf: Any, name: str, allowed: tuple[np.dtype[Any], ...]) -> None:
    kinds = (
        "float64, float32, complex128 or complex64" if len(allowed) > 2 else ("float64 or float32")
    )
    if not isinstance(leaf, np.ndarray | np.generic | float | complex | int):
        raise DTypeError(f"{name} must be an array or a float, not {type(leaf).__name__}.")
    dtype = np.asarray(leaf).dtype
    if dtype not in allowed or not dtype.isnative:
        came = type(leaf).__name__ if isinstance(leaf, bool | int) else str(dtype)
        hint = ""
        if dtype.kind in "iub":
            hint = " What is no float has no derivative: bind it to the function."
        if dtype.kind == "c":
            hint = " Complex arguments are for check_vjp and check_jvp."
        raise DTypeError(f"{name} must be {kinds}, not {came}.{hint}")


def _register_dataclasses(value: Any) -> None:
    """Make the types of all dataclasses in a nesting known to optree."""

    def is_leaf(node: Any) -> bool:
        if dataclasses.is_dataclass(node) and not isinstance(node, type):
            _register(type(node))
        return False

    seen = -1
    while seen != len(_registered):  # what is inside a dataclass shows once that is registered
        seen = len(_registered)
        optree.tree_leaves(value, is_leaf=is_leaf, namespace=NAMESPACE)


def _register(cls: type) -> None:
    if cls in _registered or optree.register_pytree_node.get(cls, namespace=NAMESPACE) is not None:
        return
    fields = [field.name for field in dataclasses.fields(cls)]

    def flatten(instance: Any) -> tuple[list[Any], None, list[str]]:
        return [getattr(instance, field) for field in fields], None, fields

    def unflatten(_: Any, children: Any) -> Any:
        # Neither __init__ nor __post_init__ may change, refuse or compute anything here.
        instance: Any = object.__new__(cls)
        for field, child in zip(fields, children, strict=True):
            object.__setattr__(instance, field, child)
        return instance

    optree.register_pytree_node(
        cls, flatten, unflatten, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE
    )
    _registered.add(cls)
