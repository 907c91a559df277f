"""Sums over the rows, or along the lanes, of one panel, in explicit vectors, and their twins.

A plain loop keeps its sums in memory, since they might overlap what it reads: 0.39 ns a number,
0.08 so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .vectors import LANES, VECTORS, _Emitter, broadcast, panel_width


@intrinsic
def _squares_of_lanes(typingctx, units, factors, step, values, at, totals):
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = _Emitter(context, builder, signature, arguments)
        units, step, at = arguments[0], arguments[2], arguments[4]
        entry = builder.block
        loop, done = builder.append_basic_block("lanes.loop"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", units, emit.number(0)), loop, done)
        builder.position_at_end(loop)
        unit = builder.phi(ir.IntType(64))
        unit.add_incoming(emit.number(0), entry)
        sums = [builder.phi(emit.vector) for _ in range(VECTORS)]
        line = builder.add(at, builder.mul(unit, emit.number(VECTORS * LANES)))
        factor = builder.load(emit.address(1, builder.mul(unit, step)))
        factor = broadcast(builder, factor, emit.vector)
        new = []
        for v, total in enumerate(sums):
            value = emit.load(3, builder.add(line, emit.number(v * LANES)))
            value = builder.fmul(value, factor)
            new.append(builder.call(emit.fma, [value, value, total]))
        following = builder.add(unit, emit.number(1))
        unit.add_incoming(following, loop)
        for total, value in zip(sums, new, strict=True):
            total.add_incoming(emit.zero, entry)
            total.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, units), loop, done)
        builder.position_at_end(done)
        totals = [builder.phi(emit.vector) for _ in new]
        for v, (total, value) in enumerate(zip(totals, new, strict=True)):
            total.add_incoming(emit.zero, entry)
            total.add_incoming(value, loop)
            emit.store(total, 5, emit.number(v * LANES))
        return context.get_dummy_value()

    return types.void(n, factors, n, values, n, totals), codegen


def squares_of_lanes(units, factors, step, values, at, totals):
    """totals[lane] = sum over units of (factors[unit] values[unit, lane])^2, for one panel.

    Shapes: factors (units,), ``step`` apart (0: the same for all), values (units, NR) from ``at``
    on, totals (NR,); float64.
    """
    width = panel_width(values)
    panel = values[at : at + units * width].reshape(units, width)
    totals[:width] = np.sum((panel * factors[np.arange(units) * step, None]) ** 2, axis=0)


@overload(squares_of_lanes)
def _overload_squares(units, factors, step, values, at, totals):
    return lambda units, factors, step, values, at, totals: _squares_of_lanes(
        units, factors, step, values, at, totals
    )


@intrinsic
def _sums_along_lanes(typingctx, rows, values, at, other, other_at, other_row, add, totals):
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = _Emitter(context, builder, signature, arguments)
        rows, _, at, _, other_at, other_row, add, _ = arguments
        reduce = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.DoubleType(), [ir.DoubleType(), emit.vector]),
            f"llvm.vector.reduce.fadd.v{LANES}f64",
        )
        with cgutils.for_range(builder, rows) as loop:
            line = builder.add(at, builder.mul(loop.index, emit.number(VECTORS * LANES)))
            beside = builder.add(other_at, builder.mul(loop.index, other_row))
            total = emit.zero
            for v in range(VECTORS):
                skip = emit.number(v * LANES)
                own, weight = (
                    emit.load(1, builder.add(line, skip)),
                    emit.load(3, builder.add(beside, skip)),
                )
                total = builder.call(emit.fma, [own, weight, total])
            start = ir.Constant(ir.DoubleType(), 0.0)
            single = builder.call(reduce, [start, total], fastmath=("reassoc",))
            place = emit.address(7, loop.index)
            before = builder.select(
                builder.icmp_signed("!=", add, emit.number(0)), builder.load(place), start
            )
            builder.store(builder.fadd(before, single), place)
        return context.get_dummy_value()

    return types.void(n, values, n, other, n, n, n, totals), codegen


def sums_along_lanes(rows, values, at, other, other_at, other_row, add, totals):
    """totals[r] = sum over lanes of values[r, lane] other[r, lane], added to it where ``add``.

    Shapes: values (rows, NR) from ``at`` on; other likewise, rows ``other_row`` apart (0: the same
    for all); totals (rows,); float64.
    """
    width = panel_width(values)
    panel = values[at : at + rows * width].reshape(rows, width)
    beside = other[other_at + np.arange(rows)[:, None] * other_row + np.arange(width)]
    totals[:rows] = np.sum(panel * beside, axis=1) + (totals[:rows] if add else 0.0)


@overload(sums_along_lanes)
def _overload_sums(rows, values, at, other, other_at, other_row, add, totals):
    return lambda rows, values, at, other, other_at, other_row, add, totals: _sums_along_lanes(
        rows, values, at, other, other_at, other_row, add, totals
    )
