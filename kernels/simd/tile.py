"""The inner tile of every product, in explicit vectors, and its plain-Python twin.

One tile is ``C[r, :] (+)= sum_p A[r, p] * B[p, :]`` for up to ``MR`` rows and one panel of
``NR`` columns.  All sums stay in registers: on AVX-512 8 x 2 accumulators of 64 bytes, two
vectors of B and broadcasts of A straight from memory.  LLVM's own vectoriser does not find
this form (it reaches a third of the speed).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .vectors import MR, ROW_COUNTS, VECTOR_BYTES, VECTORS, broadcast, panel_width


def _emit_prefetch(builder: Any, address: Any) -> None:
    """Ask for the line at an address; one that is not ours does no harm."""
    byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
    fetch = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]),
        "llvm.prefetch.p0i8",
    )
    builder.call(fetch, [builder.bitcast(address, byte), flag(0), flag(3), flag(1)])


def _emit_tile(context: Any, builder: Any, signature: Any, arguments: Any, shape: Any) -> Any:
    """Emit the loop over p with rows x vectors accumulators as phi nodes."""
    rows, vectors = shape
    depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, accumulate = arguments
    element = signature.args[1].dtype
    scalar = ir.DoubleType() if element == types.float64 else ir.FloatType()
    lanes = VECTOR_BYTES * 8 // element.bitwidth
    vector = ir.VectorType(scalar, lanes)
    integer = ir.IntType(64)
    align = element.bitwidth // 8
    name = f"llvm.fma.v{lanes}f{element.bitwidth}"
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), name
    )

    def constant(value: int) -> Any:
        return ir.Constant(integer, value)

    def pointer(position: int, array: Any, offset: Any) -> Any:
        data = context.make_array(signature.args[position])(context, builder, array).data
        return builder.gep(data, [offset])

    def as_vector(address: Any) -> Any:
        return builder.bitcast(address, vector.as_pointer())

    a_rows = [
        pointer(1, a, builder.add(a_at, builder.mul(a_row, constant(r)))) for r in range(rows)
    ]
    b_start, c_start = pointer(5, b, b_at), pointer(8, c, c_at)
    entry = builder.block
    loop = builder.append_basic_block("tile.loop")
    done = builder.append_basic_block("tile.done")
    zero = ir.Constant(vector, [0.0] * lanes)
    empty = builder.icmp_signed("<=", depth, constant(0))
    builder.cbranch(empty, done, loop)

    builder.position_at_end(loop)
    p = builder.phi(integer)
    p.add_incoming(constant(0), entry)
    sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(rows)]
    b_line = builder.gep(b_start, [builder.mul(p, b_row)])
    b_vectors = [
        builder.load(as_vector(builder.gep(b_line, [constant(v * lanes)])), align=align)
        for v in range(vectors)
    ]
    offset = builder.mul(p, a_column)
    if rows == MR:
        # Where A is read down its columns no hardware prefetcher follows: ask for the last
        # line of the strip below, which is at work 256 steps from now.
        below = builder.add(offset, builder.mul(a_row, constant(MR)))
        _emit_prefetch(builder, builder.gep(a_rows[-1], [below]))
    new = []
    for r in range(rows):
        factor = broadcast(builder, builder.load(builder.gep(a_rows[r], [offset])), vector)
        new.append([builder.call(fma, [factor, b_vectors[v], sums[r][v]]) for v in range(vectors)])
    following = builder.add(p, constant(1))
    p.add_incoming(following, loop)
    for r in range(rows):
        for v in range(vectors):
            sums[r][v].add_incoming(zero, entry)
            sums[r][v].add_incoming(new[r][v], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

    builder.position_at_end(done)
    totals = []
    for r in range(rows):
        for v in range(vectors):
            total = builder.phi(vector)
            total.add_incoming(zero, entry)
            total.add_incoming(new[r][v], loop)
            totals.append(total)
    with builder.if_else(builder.icmp_signed("!=", accumulate, constant(0))) as (
        add,
        store,
    ):
        for branch, adds in ((add, True), (store, False)):
            with branch:
                for r in range(rows):
                    c_line = builder.gep(c_start, [builder.mul(c_row, constant(r))])
                    for v in range(vectors):
                        target = as_vector(builder.gep(c_line, [constant(v * lanes)]))
                        value = totals[r * vectors + v]
                        if adds:
                            value = builder.fadd(builder.load(target, align=align), value)
                        builder.store(value, target, align=align)
    return context.get_dummy_value()


def _make_tile(rows: int, vectors: int) -> Any:
    @intrinsic
    def tile(
        typingctx,
        depth,
        a,
        a_at,
        a_row,
        a_column,
        b,
        b_at,
        b_row,
        c,
        c_at,
        c_row,
        accumulate,
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
        rows,
        vectors,
        depth,
        a,
        a_at,
        a_row,
        a_column,
        b,
        b_at,
        b_row,
        c,
        c_at,
        c_row,
        add,
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
