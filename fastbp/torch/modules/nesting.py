"""Tensors inside of whatever holds them: containers, dataclasses, batches, distributions."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from fastbp.torch.tensors import is_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["changed_tensors", "is_movable", "movable_tensors", "named_arguments", "named_tensors"]

DEEPEST = 12  # objects that hold each other are not followed any further


def is_movable(value: Any) -> bool:
    """Tell whether something is a dense tensor of real or complex floats: it can be moved."""
    return (
        is_differentiable(value)
        and value.dtype is not torch.complex32  # in which torch computes next to nothing
        and value.layout is torch.strided
        and not value.is_nested
    )


def movable_tensors(nested: Any) -> list[torch.Tensor]:
    """Return the dense tensors of floats in a nesting, in its order."""
    return [tensor for _, tensor in named_tensors(nested, "") if is_movable(tensor)]


def named_tensors(nested: Any, name: str) -> list[tuple[str, torch.Tensor]]:
    """Return all tensors in a nesting, with the way to each as one writes it in Python."""
    found: list[tuple[str, torch.Tensor]] = []

    def keep(where: str, tensor: torch.Tensor) -> torch.Tensor:
        found.append((where, tensor))
        return tensor

    _visited(nested, name, keep, DEEPEST)
    return found


def named_arguments(
    given: tuple[tuple[Any, ...], dict[str, Any]],
) -> list[tuple[str, torch.Tensor]]:
    """Return all tensors among positional arguments and keywords, with the way to each."""
    arguments, keywords = given
    return [*named_tensors(arguments, "input"), *named_tensors(keywords, "input")]


def changed_tensors(change: Callable[[torch.Tensor], torch.Tensor], nested: Any) -> Any:
    """Return a copy of a nesting with every tensor changed; what holds none is not copied."""
    return _visited(nested, "", lambda _, tensor: change(tensor), DEEPEST)


def _visited(
    nested: Any, name: str, visit: Callable[[str, torch.Tensor], torch.Tensor], depth: int
) -> Any:
    if isinstance(nested, torch.Tensor):
        return visit(name, nested)
    if depth == 0 or isinstance(nested, str | bytes | int | float | complex | type(None)):
        return nested
    parts = list(_parts(nested))
    fresh = [_visited(part, f"{name}{step}", visit, depth - 1) for step, _, part in parts]
    if all(new is part for new, (_, _, part) in zip(fresh, parts, strict=True)):
        return nested
    return _with_parts(nested, [key for _, key, _ in parts], fresh)


def _parts(nested: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what a container holds: how one writes the way to it, its key, and itself."""
    if isinstance(nested, Mapping):
        yield from ((f"[{key!r}]", key, nested[key]) for key in nested)
    elif isinstance(nested, tuple) and hasattr(nested, "_fields"):
        yield from ((f".{key}", key, getattr(nested, key)) for key in nested._fields)
    elif isinstance(nested, list | tuple):
        yield from ((f"[{key}]", key, part) for key, part in enumerate(nested))
    elif _is_registered(nested):
        children, _ = torch.utils._pytree.SUPPORTED_NODES[type(nested)].flatten_fn(nested)
        yield from ((f"[{key}]", key, part) for key, part in enumerate(children))
    else:
        yield from ((f".{key}", key, part) for key, part in _attributes(nested))


def _with_parts(nested: Any, keys: list[Any], parts: list[Any]) -> Any:
    """Return a container of the same kind that holds other parts."""
    if isinstance(nested, tuple):
        return type(nested)(*parts) if hasattr(nested, "_fields") else type(nested)(parts)
    if _is_registered(nested) and not isinstance(nested, list | Mapping):
        node = torch.utils._pytree.SUPPORTED_NODES[type(nested)]
        return node.unflatten_fn(parts, node.flatten_fn(nested)[1])
    made = copy.copy(nested)
    for key, part in zip(keys, parts, strict=True):
        if isinstance(made, list | Mapping):
            made[key] = part  # type: ignore[index]
        else:
            object.__setattr__(made, key, part)
    return made


def _is_registered(nested: Any) -> bool:
    return type(nested) in torch.utils._pytree.SUPPORTED_NODES


def _attributes(nested: Any) -> Iterable[tuple[str, Any]]:
    """Return the attributes of an object that carries data, and of nothing else."""
    if isinstance(nested, type | torch.nn.Module) or callable(nested):
        return []
    if dataclasses.is_dataclass(nested):
        return [(each.name, getattr(nested, each.name)) for each in dataclasses.fields(nested)]
    return list(getattr(nested, "__dict__", {}).items())
