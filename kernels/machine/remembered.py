"""What numba finds out again and again, found out once while an entry compiles.

An entry calls a hundred kernels with the same operations on the same types, and numba looks each
operation up anew: of 13 400 searches for the signature of an operation 96 in 100 had been made
before. That, the variables of each statement of its intermediate representation, which it lists by
looking at every attribute's abstract base classes, and the sizes of types, for each of which it
parses a module, are a seventh of the time of a cold check.

This rests on names of numba and llvmlite that are not public. Where one is missing, or does not
take the arguments that are expected here, numba works in its own way: slower, with the same
results.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import llvmlite.ir
from numba.core import ir, types


def _signatures_once(search: Callable[..., Any]) -> Callable[..., Any]:
    """Search for the signature of an operation once for each combination of types."""
    found: dict[Any, tuple[Any, Any]] = {}

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        key = (self, args)
        if not kws and key in found:
            signature, implementation = found[key]
            self._impl_keys[signature.args] = implementation
            return signature
        signature = search(self, context, args, kws)
        if not kws and signature is not None:
            found[key] = signature, self._impl_keys[signature.args]
        return signature

    return get_call_type


def _variables_by_type(_: Callable[..., Any]) -> Callable[..., Any]:
    """List the variables of a value by its very type, of which most hold none."""
    none, itself, listed, members, values = range(5)
    kinds = {type(None): none, str: none, int: none, ir.Loc: none, ir.Var: itself}

    def kind_of(value: Any) -> int:
        if isinstance(value, ir.Var):
            return itself
        if isinstance(value, ir.Inst):
            return listed
        if isinstance(value, (list, tuple)):
            return members
        return values if isinstance(value, dict) else none

    def list_variables(self: Any, value: Any) -> list[Any]:
        kind = kinds.get(type(value))
        if kind is None:
            kind = kinds[type(value)] = kind_of(value)
        if kind == none:
            return []
        if kind == itself:
            return [value]
        if kind == listed:
            return list(value.list_vars())
        found: list[Any] = []
        for part in value.values() if kind == values else value:
            known = kinds.get(type(part))
            if known == itself:
                found.append(part)
            elif known != none:
                found += list_variables(self, part)
        return found

    return list_variables


def _sizes_once(measure: Callable[..., Any]) -> Callable[..., Any]:
    """Measure a type once: identified ones alone may change."""
    sizes: dict[Any, int] = {}

    def get_abi_size(self: Any, target_data: Any, context: Any = None) -> int:
        if isinstance(self, llvmlite.ir.IdentifiedStructType):
            return int(measure(self, target_data, context))
        key = (target_data, str(self))
        if key not in sizes:
            sizes[key] = int(measure(self, target_data, context))
        return sizes[key]

    return get_abi_size


# Class, name and parameters of what is replaced, and by what.
REPLACED: tuple[tuple[Any, str, tuple[str, ...], Callable[..., Any]], ...] = (
    (types.BaseFunction, "get_call_type", ("self", "context", "args", "kws"), _signatures_once),
    (ir.Inst, "_rec_list_vars", ("self", "val"), _variables_by_type),
    (llvmlite.ir.Type, "get_abi_size", ("self", "target_data", "context"), _sizes_once),
)


@contextmanager
def _replaced(
    owner: Any, name: str, parameters: tuple[str, ...], quicker: Callable[..., Any]
) -> Iterator[None]:
    own = vars(owner).get(name)
    if own is None or tuple(inspect.signature(own).parameters) != parameters:
        yield
        return
    setattr(owner, name, quicker(own))
    try:
        yield
    finally:
        setattr(owner, name, own)


@contextmanager
def remembering() -> Iterator[None]:
    """Let numba remember within; its compiler lock is held, so no other thread compiles."""
    with ExitStack() as stack:
        for replacement in REPLACED:
            stack.enter_context(_replaced(*replacement))
        yield
