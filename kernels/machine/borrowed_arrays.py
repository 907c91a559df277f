"""Arrays that a kernel only borrows: without a reference count, groups of them by address.

A compiled function counts references to each array that it is given, unless numba can prove that
it need not; in a kernel of many blocks it cannot. Each count is an atomic operation on a line that
all threads share: a sixth of the time of a comparison on two threads. What calls an entry holds
its arrays until it returns, so a kernel may forget who owns them.

numba passes a named tuple by value, field by field: a group of 60 arrays is 400 numbers that every
call takes apart and puts together, a third of all that there was to compile. A group that is
borrowed lies once, in the frame of the entry, and kernels among themselves pass its address.
"""

from __future__ import annotations

import hashlib
from typing import Any, get_type_hints

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    lower_builtin,
    lower_getattr_generic,
    models,
    register_model,
    type_callable,
)


def borrowed(arrays: Any) -> Any:
    """Return an array, or a tuple of arrays and numbers, without its reference count.

    Whoever calls keeps the owner until the last use: pass it to `keep` after that. Named tuples,
    also those in plain ones, keep their fields, which can be read by name alone; they are gone
    when the function returns.
    """
    return arrays


def borrowed_as(group: Any, arrays: Any) -> Any:
    """Borrow arrays that `without_names` has handed over, with the names of a named tuple."""
    kinds = get_type_hints(group)
    return group(
        *(
            borrowed_as(kinds[name], part) if _is_group(kinds[name]) else part
            for name, part in zip(group._fields, arrays, strict=True)
        )
    )


def keep(owner: Any) -> None:
    """Use an owner once more: it is not freed before."""


def without_names(groups: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn a named tuple, and those in it, into plain ones, for a call from Python.

    To find out the type of a named tuple takes numba about 1 us, of a plain one 0.1 us, in every
    call; kernels among themselves pass named ones for nothing.
    """
    return tuple([tuple(part) if isinstance(part, tuple) else part for part in groups])


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


class Lent(types.Type):  # type: ignore[misc]
    """The address of a group: the types of its fields, by name."""

    def __init__(self, group: Any, kinds: tuple[Any, ...]) -> None:
        self.group, self.kinds = group, kinds
        digest = hashlib.sha256(repr(kinds).encode()).hexdigest()[:16]  # it names many functions
        super().__init__(name=f"{group.__module__}.{group.__qualname__}.{digest}")

    @property
    def key(self) -> Any:
        """What tells it from other types."""
        return self.group, self.kinds

    def place(self, name: str) -> int:
        """Return the place of a field."""
        return int(self.group._fields.index(name))


@register_model(Lent)
class _LentModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Lent) -> None:
        super().__init__(manager, kind, _structure(manager, kind).as_pointer())


def _structure(manager: Any, kind: Lent) -> Any:
    """Layout of a group in memory, groups within it included."""
    return ir.LiteralStructType(
        [
            _structure(manager, part) if isinstance(part, Lent) else manager[part].get_value_type()
            for part in kind.kinds
        ]
    )


def _kind_of_loan(kind: Any, group: Any = None) -> Any:
    """Type of what is borrowed; ``group`` names a tuple, and by its annotations those in it."""
    if isinstance(kind, types.BaseNamedTuple):
        return Lent(kind.instance_class, tuple(map(_kind_of_loan, kind.types)))
    if isinstance(kind, types.BaseTuple) and _is_group(group):
        hints = get_type_hints(group)
        groups = [hints[name] for name in group._fields]
        return Lent(group, tuple(map(_kind_of_loan, kind.types, groups)))
    if isinstance(kind, types.BaseTuple):
        return types.BaseTuple.from_types(tuple(map(_kind_of_loan, kind.types)))
    return types.unliteral(kind)


def _lend(context: Any, builder: Any, own: Any, value: Any, kind: Any) -> Any:
    """Return a value of type ``own`` as a loan; groups are written to the frame."""
    if isinstance(kind, Lent):
        place = cgutils.alloca_once(builder, _structure(context.data_model_manager, kind))
        _write_group(context, builder, own, value, kind, place)
        return place
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value, len(own))
        loans = [_lend(context, builder, *part) for part in zip(own, parts, kind, strict=True)]
        return context.make_tuple(builder, kind, loans)
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    return context.cast(builder, value, own, kind)


def _write_group(context: Any, builder: Any, own: Any, value: Any, kind: Lent, place: Any) -> None:
    parts = cgutils.unpack_tuple(builder, value, len(own))
    for k, (part_kind, part, loan) in enumerate(zip(own, parts, kind.kinds, strict=True)):
        field = cgutils.gep_inbounds(builder, place, 0, k)
        if isinstance(loan, Lent):
            _write_group(context, builder, part_kind, part, loan, field)
        else:
            builder.store(_lend(context, builder, part_kind, part, loan), field)


@infer_getattr
class _FieldsOfLent(AttributeTemplate):  # type: ignore[misc]
    key = Lent

    def generic_resolve(self, kind: Lent, name: str) -> Any:
        return kind.kinds[kind.place(name)] if name in kind.group._fields else None


@lower_getattr_generic(Lent)
def _read_field(context: Any, builder: Any, kind: Lent, value: Any, name: str) -> Any:
    field = cgutils.gep_inbounds(builder, value, 0, kind.place(name))
    return field if isinstance(kind.kinds[kind.place(name)], Lent) else builder.load(field)


@type_callable(borrowed)
def _type_borrowed(_: Any) -> Any:
    return lambda arrays: _kind_of_loan(arrays)


@lower_builtin(borrowed, types.Any)
def _lower_borrowed(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _lend(context, builder, signature.args[0], arguments[0], signature.return_type)


@type_callable(borrowed_as)
def _type_borrowed_as(_: Any) -> Any:
    return lambda group, arrays: _kind_of_loan(arrays, group.instance_class)


@lower_builtin(borrowed_as, types.Any, types.Any)
def _lower_borrowed_as(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return _lend(context, builder, signature.args[1], arguments[1], signature.return_type)


@type_callable(keep)
def _type_keep(_: Any) -> Any:
    return lambda owner: types.none


@lower_builtin(keep, types.Any)
def _lower_keep(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return context.get_dummy_value()
