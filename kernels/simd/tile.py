"""The inner tile of every product, in explicit vectors, and its plain-Python twin.

One tile is ``C[r, :] (+)= sum_p A[r, p] * B[p, :]`` for up to ``MR`` rows and one panel of
``NR`` columns.  All sums stay in registers: on AVX-512 8 x 2 accumulators of 64 bytes, two
vectors of B and broadcasts of A straight from memory.  LLVM's own vectoriser does not find
this form (it reaches a third of the speed).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from ..machine.cache_sizes import LINE_BYTES
from .emitter import Emitter, number
from .vectors import MR, ROW_COUNTS, VECTORS, panel_width

UNROLLED = 4  # steps of p in one turn of a strip's loop
AHEAD = 32  # steps of p before its use that a line of a strip is asked for


def _row_of_c(emit: Emitter, c_start: Any, c_row: Any, row: int) -> Any:
    return emit.beyond(c_start, emit.builder.mul(c_row, number(row)))


def _add_outer_product(
    emit: Emitter, factors: Iterable[Any], b_line: Any, vectors: int, sums: list[Any]
) -> list[Any]:
    """Add one column of A times one row of B to all sums, row after row."""
    b_vectors = [emit.load(b_line, v) for v in range(vectors)]
    return [
        emit.fma(factor, b_vectors[v], sums[r * vectors + v])
        for r, factor in enumerate(factors)
        for v in range(vectors)
    ]


def _emit_results(
    emit: Emitter, totals: list[Any], c_start: Any, c_row: Any, shape: tuple[int, int], adds: Any
) -> None:
    """Write the sums to C, or add them to it."""
    rows, vectors = shape

    def write(adding: bool) -> None:
        for r in range(rows):
            c_line = _row_of_c(emit, c_start, c_row, r)
            for v in range(vectors):
                value = totals[r * vectors + v]
                if adding:
                    value = emit.builder.fadd(emit.load(c_line, v), value)
                emit.store(value, c_line, v)

    branches = emit.builder.if_else(emit.builder.icmp_signed("!=", adds, number(0)))
    with branches as (add, store):
        with add:
            write(True)
        with store:
            write(False)


def _emit_tile(context: Any, builder: Any, signature: Any, arguments: Any, shape: Any) -> Any:
    """Emit the loop over p, all sums in registers, and what becomes of them."""
    rows, vectors = shape
    depth, _, a_at, a_row, a_column, _, b_at, b_row, _, c_at, c_row, accumulate = arguments
    emit = Emitter(context, builder, signature, arguments, signature.args[1].dtype)
    a_rows = [emit.row(1, a_at, a_row, number(r)) for r in range(rows)]
    b_start, c_start = emit.address(5, b_at), emit.address(8, c_at)

    def add_products(p: Any, sums: list[Any]) -> list[Any]:
        b_line = emit.beyond(b_start, builder.mul(p, b_row))
        offset = builder.mul(p, a_column)
        if rows == MR:
            # Where A is read down its columns no hardware prefetcher follows: ask for the last
            # line of the strip below, which is at work 256 steps from now.
            below = builder.add(offset, builder.mul(a_row, number(MR)))
            emit.prefetch(emit.beyond(a_rows[-1], below))
        factors = (emit.load_to_all(emit.beyond(a_rows[r], offset)) for r in range(rows))
        return _add_outer_product(emit, factors, b_line, vectors, sums)

    totals = emit.loop(depth, [emit.zero] * (rows * vectors), add_products)
    _emit_results(emit, totals, c_start, c_row, (rows, vectors), accumulate)
    return context.get_dummy_value()


def _make_tile(rows: int, vectors: int) -> Any:
    @intrinsic
    def tile(
        typingctx, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, accumulate
    ):
        n = types.intp
        signature = types.void(n, a, n, n, n, b, n, n, c, n, n, n)

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _emit_tile(context, builder, signature, arguments, (rows, vectors))

        return signature, codegen

    return tile


def multiply_rows(
    rows, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add
):
    """Multiply ``rows`` (one of ROW_COUNTS) of A with one panel of B.

    Shapes: A (rows, depth) at ``a_at`` with strides ``a_row``, ``a_column``; B (depth, NR) at
    ``b_at`` with row stride ``b_row``; C (rows, NR) at ``c_at`` with row stride ``c_row``,
    added to where ``add`` is not 0.  With ``vectors`` = 1 only half of the panel is touched.
    """
    width = panel_width(b)
    used = width * vectors // VECTORS
    panel = b[b_at + np.arange(depth)[:, None] * b_row + np.arange(used)]
    for r in range(rows):
        start = a_at + r * a_row
        factors = a[start + np.arange(depth) * a_column]
        target = c[c_at + r * c_row : c_at + r * c_row + used]
        target[:] = factors @ panel + (target if add else 0)


_WIDE = [_make_tile(rows, VECTORS) for rows in ROW_COUNTS]
_NARROW = [_make_tile(rows, 1) for rows in ROW_COUNTS]


@overload(multiply_rows)
def _multiply_rows(
    rows, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add
):
    wide_most, wide_two, wide_one = _WIDE
    narrow_most, narrow_two, narrow_one = _NARROW

    def compiled(
        rows, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add
    ):
        if vectors == 2:
            if rows == MR:
                wide_most(depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add)
            elif rows == 2:
                wide_two(depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add)
            else:
                wide_one(depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add)
        elif rows == MR:
            narrow_most(depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add)
        elif rows == 2:
            narrow_two(depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add)
        else:
            narrow_one(depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add)

    return compiled


def _emit_strip_tile(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the tile of a packed strip, which asks for what comes next while it multiplies.

    The lines of the strip stream from the L2 cache, those of C are touched once the tile is done,
    and the next panel of B comes from further away: one line of it in each turn.
    """
    depth, _, a_at, _, b_at, b_row, next_at, _, c_at, c_row, accumulate = arguments
    emit = Emitter(context, builder, signature, arguments, signature.args[1].dtype)
    a_start, b_start, c_start = emit.address(1, a_at), emit.address(3, b_at), emit.address(7, c_at)
    next_start = emit.address(3, next_at)
    numbers_of_line = LINE_BYTES * 8 // emit.bits
    for r in range(MR):
        for v in range(VECTORS):
            emit.prefetch(emit.beyond(_row_of_c(emit, c_start, c_row, r), number(v * emit.lanes)))

    def add_products(p: Any, sums: list[Any]) -> list[Any]:
        b_line = emit.beyond(b_start, builder.mul(p, b_row))
        a_line = emit.beyond(a_start, builder.mul(p, number(MR)))
        factors = (emit.load_to_all(emit.beyond(a_line, number(r))) for r in range(MR))
        return _add_outer_product(emit, factors, b_line, VECTORS, sums)

    def add_some_products(p: Any, sums: list[Any]) -> list[Any]:
        a_later = emit.beyond(a_start, builder.mul(builder.add(p, number(AHEAD)), number(MR)))
        for place in range(0, UNROLLED * MR, numbers_of_line):
            emit.prefetch(emit.beyond(a_later, number(place)))
        turn = builder.udiv(p, number(UNROLLED))
        emit.prefetch(emit.beyond(next_start, builder.mul(turn, number(numbers_of_line))), level=2)
        for step in range(UNROLLED):
            sums = add_products(builder.add(p, number(step)), sums)
        return sums

    whole = builder.and_(depth, number(-UNROLLED))
    totals = emit.loop(whole, [emit.zero] * (MR * VECTORS), add_some_products, UNROLLED)
    totals = emit.loop(depth, totals, add_products, begin=whole)
    _emit_results(emit, totals, c_start, c_row, (MR, VECTORS), accumulate)
    return context.get_dummy_value()


@intrinsic
def _strip_tile(typingctx, depth, a, a_at, b, b_at, b_row, next_at, c, c_at, c_row, accumulate):
    n = types.intp
    return types.void(n, a, n, b, n, n, n, c, n, n, n), _emit_strip_tile


def multiply_strip(depth, a, a_at, b, b_at, b_row, next_at, c, c_at, c_row, add):
    """Multiply a packed strip of MR rows of A with one panel of B.

    Shapes: A (depth, MR), contiguous from ``a_at`` on; B and C as in `multiply_rows`, and the same
    bits; from ``next_at`` on stands what will be read of B after this panel.
    """
    multiply_rows(MR, VECTORS, depth, a, a_at, 1, MR, b, b_at, b_row, c, c_at, c_row, add)


@overload(multiply_strip)
def _multiply_strip(depth, a, a_at, b, b_at, b_row, next_at, c, c_at, c_row, add):
    return lambda depth, a, a_at, b, b_at, b_row, next_at, c, c_at, c_row, add: _strip_tile(
        depth, a, a_at, b, b_at, b_row, next_at, c, c_at, c_row, add
    )
