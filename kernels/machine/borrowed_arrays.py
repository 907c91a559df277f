"""Arrays that a kernel only borrows: without a reference count.

A compiled function counts references to each array that it is given, unless numba can prove that
it need not; in a kernel of many blocks it cannot. Each count is an atomic operation on a line that
all threads share: a sixth of the time of a comparison on two threads. What calls an entry holds
its arrays until it returns, so a kernel may forget who owns them.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload


def borrowed(arrays: Any) -> Any:
    """Return an array, or a tuple of arrays and numbers, without its reference count.

    Whoever calls keeps the owner until the last use: pass it to `keep` after that.
    """
    return arrays


def keep(owner: Any) -> None:
    """Use an owner once more: it is not freed before."""


def without_names(groups: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn a named tuple, and those in it, into plain ones, for a call from Python.

    To find out the type of a named tuple takes numba about 1 us, of a plain one 0.1 us, in every
    call; kernels among themselves pass named ones for nothing.
    """
    return tuple(without_names(part) if isinstance(part, tuple) else part for part in groups)


def _without_owner(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value, len(kind))
        new = [
            _without_owner(context, builder, own, part)
            for own, part in zip(kind, parts, strict=True)
        ]
        return context.make_tuple(builder, kind, new)
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    return value


@intrinsic
def _borrow(typingctx, arrays):
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _without_owner(context, builder, signature.args[0], arguments[0])

    return arrays(arrays), codegen


@intrinsic
def _use(typingctx, owner):
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_dummy_value()

    return types.void(owner), codegen


@overload(borrowed)
def _overload_borrowed(arrays):
    return lambda arrays: _borrow(arrays)


@overload(keep)
def _overload_keep(owner):
    return lambda owner: _use(owner)
