"""The inner tile of every product, in explicit vectors, and its plain-Python twin.

One tile is ``C[r, :] (+)= sum_p A[r, p] * B[p, :]`` for up to ``MR`` rows and one panel of
``NR`` columns.  All sums stay in registers: on AVX-512 8 x 2 accumulators of 64 bytes, two
vectors of B and broadcasts of A straight from memory.  LLVM's own vectoriser does not find
this form (it reaches a third of the speed).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .emitter import Emitter, number
from .vectors import MR, ROW_COUNTS, VECTORS, panel_width


def _emit_tile(context: Any, builder: Any, signature: Any, arguments: Any, shape: Any) -> Any:
    """Emit the loop over p, all sums in registers, and what becomes of them."""
    rows, vectors = shape
    depth, _, a_at, a_row, a_column, _, b_at, b_row, _, c_at, c_row, accumulate = arguments
    emit = Emitter(context, builder, signature, arguments, signature.args[1].dtype)
    a_rows = [emit.row(1, a_at, a_row, number(r)) for r in range(rows)]
    b_start, c_start = emit.address(5, b_at), emit.address(8, c_at)

    def add_products(p: Any, sums: list[Any]) -> list[Any]:
        b_line = emit.beyond(b_start, builder.mul(p, b_row))
        b_vectors = [emit.load(b_line, v) for v in range(vectors)]
        offset = builder.mul(p, a_column)
        if rows == MR:
            # Where A is read down its columns no hardware prefetcher follows: ask for the last
            # line of the strip below, which is at work 256 steps from now.
            below = builder.add(offset, builder.mul(a_row, number(MR)))
            emit.prefetch(emit.beyond(a_rows[-1], below))
        new = []
        for r in range(rows):
            factor = emit.load_to_all(emit.beyond(a_rows[r], offset))
            new += [emit.fma(factor, b_vectors[v], sums[r * vectors + v]) for v in range(vectors)]
        return new

    totals = emit.loop(depth, [emit.zero] * (rows * vectors), add_products)

    def write(adds: bool) -> None:
        for r in range(rows):
            c_line = emit.beyond(c_start, builder.mul(c_row, number(r)))
            for v in range(vectors):
                value = totals[r * vectors + v]
                if adds:
                    value = builder.fadd(emit.load(c_line, v), value)
                emit.store(value, c_line, v)

    with builder.if_else(builder.icmp_signed("!=", accumulate, number(0))) as (add, store):
        with add:
            write(True)
        with store:
            write(False)
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
