"""Copies, transposed squares and streaming stores."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .emitter import Emitter, number
from .vectors import MR, VECTOR_BYTES, square_width


@intrinsic
def _copy_memory(typingctx, count, source, source_at, target, target_at):
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = Emitter(context, builder, signature, arguments, signature.args[1].dtype)
        count, _, source_at, _, target_at = arguments
        start, goal = emit.address(1, source_at), emit.address(3, target_at)
        cgutils.raw_memcpy(builder, goal, start, count, number(emit.bits // 8))
        return context.get_dummy_value()

    return types.void(n, source, n, target, n), codegen


def copy_run(count, source, source_at, target, target_at):
    """Copy ``count`` neighbours; a constant count of a few vectors becomes a few moves.

    A plain loop over two arrays that might overlap costs seven times as much (measured on rows
    of 256), since the compiler asks before each row whether they do.
    """
    target[target_at : target_at + count] = source[source_at : source_at + count]


@overload(copy_run)
def _copy_run(count, source, source_at, target, target_at):
    return lambda count, source, source_at, target, target_at: _copy_memory(
        count, source, source_at, target, target_at
    )


def _emit_transposed(emit: Emitter, rows: list[Any]) -> list[Any]:
    """Exchange halves, quarters, ... of pairs of rows: log2(side) rounds of shuffles."""
    side = emit.lanes
    mask = ir.VectorType(ir.IntType(32), side)
    half = side // 2
    while half >= 1:
        upper = [k // half % 2 == 0 for k in range(side)]
        first = [k if upper[k] else side + k - half for k in range(side)]
        second = [k + half if upper[k] else side + k for k in range(side)]
        exchanged = list(rows)
        for r in range(side):
            if upper[r]:
                a, b = rows[r], rows[r + half]
                exchanged[r] = emit.builder.shuffle_vector(a, b, ir.Constant(mask, first))
                exchanged[r + half] = emit.builder.shuffle_vector(a, b, ir.Constant(mask, second))
        rows = exchanged
        half //= 2
    return rows


@intrinsic
def _transpose(typingctx, source, source_at, source_row, target, target_at, target_row):
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = Emitter(context, builder, signature, arguments, signature.args[0].dtype)
        _, source_at, source_row, _, target_at, target_row = arguments
        side = emit.lanes
        rows = [emit.load(emit.row(0, source_at, source_row, number(r))) for r in range(side)]
        for r, row in enumerate(_emit_transposed(emit, rows)):
            emit.store(row, emit.row(3, target_at, target_row, number(r)))
        return context.get_dummy_value()

    return types.void(source, n, n, target, n, n), codegen


def transpose_square(source, source_at, source_row, target, target_at, target_row):
    """Transpose a square of ``square_width`` rows and columns, in registers.

    A loop over single numbers takes over 1 ns for each, twenty times as much.
    """
    side = square_width(source)
    rows = np.arange(side)[:, None]
    columns = np.arange(side)
    square = source[source_at + rows * source_row + columns]
    target[target_at + rows * target_row + columns] = square.T


@overload(transpose_square)
def _transpose_square(source, source_at, source_row, target, target_at, target_row):
    return lambda source, source_at, source_row, target, target_at, target_row: _transpose(
        source, source_at, source_row, target, target_at, target_row
    )


@intrinsic
def _transpose_strip(typingctx, source, source_at, source_row, target, target_at):
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Transpose squares of as many rows as a vector has lanes; rows beyond MR are 0."""
        emit = Emitter(context, builder, signature, arguments, signature.args[0].dtype)
        _, source_at, source_row, _, target_at = arguments
        for first in range(0, MR, emit.lanes):
            count = min(emit.lanes, MR - first)
            rows = [
                emit.load(emit.row(0, source_at, source_row, number(first + r)))
                if r < count
                else emit.zero
                for r in range(emit.lanes)
            ]
            start = builder.add(target_at, number(first))
            for p, column in enumerate(_emit_transposed(emit, rows)):
                emit.store_lanes(count, column, emit.row(3, start, number(MR), number(p)))
        return context.get_dummy_value()

    return types.void(source, n, n, target, n), codegen


def transpose_strip(source, source_at, source_row, target, target_at):
    """Copy a vector of each of MR rows to a vector's lanes of columns: target[lane, row]."""
    rows = np.arange(MR)[:, None]
    columns = np.arange(square_width(source))
    target[target_at + rows + columns * MR] = source[source_at + rows * source_row + columns]


@overload(transpose_strip)
def _overload_transpose_strip(source, source_at, source_row, target, target_at):
    return lambda source, source_at, source_row, target, target_at: _transpose_strip(
        source, source_at, source_row, target, target_at
    )


@intrinsic
def _stream(typingctx, factor, source, source_at, target, target_at):
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = Emitter(context, builder, signature, arguments, signature.args[1].dtype)
        factor, _, source_at, _, target_at = arguments
        value = emit.load(emit.address(1, source_at))
        product = builder.fmul(emit.broadcast(factor), value)
        place = emit.vector_at(emit.address(3, target_at))
        store = builder.store(product, place, align=VECTOR_BYTES)
        once = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        store.set_metadata("nontemporal", once)
        return context.get_dummy_value()

    return types.void(source.dtype, source, n, target, n), codegen


def stream_vector(factor, source, source_at, target, target_at):
    """Write factor * one vector past the caches, to a place aligned to ``VECTOR_BYTES``.

    An ordinary store first reads the line that it overwrites.
    """
    lanes = square_width(source)
    target[target_at : target_at + lanes] = factor * source[source_at : source_at + lanes]


@overload(stream_vector)
def _stream_vector(factor, source, source_at, target, target_at):
    return lambda factor, source, source_at, target, target_at: _stream(
        factor, source, source_at, target, target_at
    )
