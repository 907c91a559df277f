"""Classes that are containers: dataclasses, and what is registered with JAX.

They are made known to optree in a namespace of ours, so that nobody else sees it. What is
registered with optree itself is known there.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
import optree

__all__ = ["NAMESPACE", "make_known"]

NAMESPACE = "fastbp"
# Types that have been looked at, and need not be again; others may be registered one day.
_seen: set[type] = {np.ndarray, float, int, bool, complex, str, type(None), list, tuple, dict}
LEAVES_OF = ("numpy", "torch", "jaxlib", "scipy")


def make_known(value: Any) -> None:
    """Make the types of all containers in a nesting known to optree."""
    new = True

    def is_leaf(node: Any) -> bool:
        nonlocal new
        if type(node) not in _seen and not isinstance(node, type):
            new |= _make_known(node)
        return False

    while new:  # what is inside such a container shows once that is known
        new = False
        optree.tree_leaves(value, is_leaf=is_leaf, namespace=NAMESPACE)


def _make_known(node: Any) -> bool:
    """Make one type known; tell whether it was not before."""
    cls = type(node)
    registered = optree.register_pytree_node.get(cls, namespace=NAMESPACE) is not None
    if registered or optree.is_namedtuple_class(cls) or optree.is_structseq_class(cls):
        _seen.add(cls)
        return False
    # First JAX: a dataclass that is registered there may have fields that are no parameters.
    if _is_container_of_jax(node):
        optree.register_pytree_node(
            cls, _flatten_by_jax, _unflatten_by_jax, path_entry_type=JaxEntry, namespace=NAMESPACE
        )
    elif dataclasses.is_dataclass(cls):
        _register_dataclass(cls)
    else:
        if cls.__module__.split(".")[0] in LEAVES_OF:
            _seen.add(cls)
        return False
    _seen.add(cls)
    return True


def _is_container_of_jax(node: Any) -> bool:
    jax: Any = sys.modules.get("jax")
    return hasattr(jax, "Array") and not jax.tree_util.all_leaves([node])


class JaxEntry(optree.PyTreeEntry):
    """A step into a container of JAX, by what JAX calls it."""

    def __call__(self, container: Any) -> Any:
        """Return the child."""
        children, _, entries = _flatten_by_jax(container)
        return children[entries.index(self.entry)]

    def codify(self, node: str = "") -> str:
        """Return the child as one writes it in Python."""
        return f"{node}{self.entry}"


def _flatten_by_jax(node: Any) -> tuple[list[Any], Any, list[str]]:
    jax: Any = sys.modules["jax"]
    found, structure = jax.tree_util.tree_flatten_with_path(
        node, is_leaf=lambda part: part is not node
    )
    children = [child for _, child in found]
    entries = [_entry(node, path[0], child) for path, child in found]
    if len(set(entries)) < len(entries):  # one child that is there twice
        entries = [f"[{place}]" for place in range(len(children))]
    return children, structure, entries


def _entry(node: Any, key: Any, child: Any) -> str:
    """Return what follows the name of a container; by its attribute where JAX only counts."""
    if hasattr(key, "name"):
        return f".{key.name}"
    if not type(key).__name__.startswith("Flattened"):
        return str(key)
    for name, value in getattr(node, "__dict__", {}).items():
        if value is child:
            return f".{name}"
    return f"[{key.key}]"


def _unflatten_by_jax(structure: Any, children: Any) -> Any:
    return structure.unflatten(children)


def _register_dataclass(cls: type) -> None:
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
