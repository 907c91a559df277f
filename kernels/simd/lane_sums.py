"""Sums over the rows, or along the lanes, of one panel, in explicit vectors, and their twins.

A plain loop keeps its sums in memory, since they might overlap what it reads: 0.39 ns a number,
0.08 so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .emitter import Emitter, number
from .vectors import LANES, VECTORS, panel_width


@intrinsic
def _squares_of_lanes(typingctx, units, factors, step, values, at, totals):
    n = types.intp

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit = Emitter(context, builder, signature, arguments)
        units, _, step, _, at, _ = arguments

        def add_unit(unit: Any, sums: list[Any]) -> list[Any]:
            line = emit.row(3, at, number(VECTORS * LANES), unit)
            factor = emit.load_to_all(emit.address(1, builder.mul(unit, step)))
            values = [builder.fmul(emit.load(line, v), factor) for v in range(VECTORS)]
            return [
                emit.fma(value, value, total) for value, total in zip(values, sums, strict=True)
            ]

        sums = emit.loop(units, [emit.zero] * VECTORS, add_unit)
        for v, total in enumerate(sums):
            emit.store(total, emit.address(5, number(v * LANES)))
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
        emit = Emitter(context, builder, signature, arguments)
        rows, _, at, _, other_at, other_row, add, _ = arguments

        def write_total(row: Any, _: list[Any]) -> list[Any]:
            line = emit.row(1, at, number(VECTORS * LANES), row)
            beside = emit.row(3, other_at, other_row, row)
            total = emit.zero
            for v in range(VECTORS):
                total = emit.fma(emit.load(line, v), emit.load(beside, v), total)
            place = emit.address(7, row)
            adds = builder.icmp_signed("!=", add, number(0))
            before = builder.select(adds, builder.load(place), emit.scalar(0.0))
            builder.store(builder.fadd(before, emit.sum_of_lanes(total)), place)
            return []

        emit.loop(rows, [], write_total)
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
