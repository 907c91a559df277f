"""Comparing a strip of a product with given numbers, in explicit vectors, and its twin in NumPy.

A chunk of a right gradient needs no more than this: 0.6 ns an entry, where the loops of
``compare.py``, which count everything that can be wrong with an entry, take 1.3.  A chunk in which
anything is out of order is left to them.

LLVM's own vectoriser does not find this form: it keeps neither a row's sums nor what belongs to a
column in registers while it goes down the rows of a strip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .emitter import INTEGER, Emitter, number
from .vectors import LANES, MR

# Rows of the scratch ``lanes``, each one vector: the proof of each row of the strip, and these.
PRODUCT, SQUARE, WIDEST, TOP, TOP_COLUMN = range(MR, MR + 5)
LANE_ROWS = MR + 5
# What is found: whether any entry is wrong or not finite, whether any value is above its bar,
# whether a given number is not 0, and how many are 0 on both sides.
WRONG, ABOVE, NOT_ZERO, ZERO = range(4)


class _Comparison(Emitter):
    """The loop over vectors of columns; the rows of each are unrolled.

    Sums over columns stay in registers: as in ``lanes`` and in ``found``, by the same numbers.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        super().__init__(context, builder, signature, arguments)
        self.columns, _, given_at, given_row, _, strip_row = arguments[:6]
        self.least, self.atol, self.scale = (
            self.load_to_all(self.address(11, number(k))) for k in range(3)
        )
        self.given_rows = [self.row(1, given_at, given_row, number(r)) for r in range(MR)]
        self.strip_rows = [self.row(4, number(0), strip_row, number(r)) for r in range(MR)]

    def load_given(self, row: int, column: Any, inside: Any) -> Any:
        """Load given numbers; beyond the columns they are 0 and are not touched."""
        address = self.builder.bitcast(
            self.beyond(self.given_rows[row], column), self.vector.as_pointer()
        )
        return self.call(
            f"llvm.masked.load.v{self.lanes}f{self.bits}.p0",
            self.vector,
            [address, ir.Constant(ir.IntType(32), self.bits // 8), inside, self.zero],
        )

    def compare_row(
        self, row: int, column: Any, inside: Any, of_columns: list[Any], highest: Any,
        sums: list[Any], found: list[Any],
    ) -> Any:  # fmt: skip
        """Compare a vector of one row; change ``sums`` and ``found``, return the highest ratio."""
        builder = self.builder
        size, noise, factor = of_columns
        value = self.load(self.beyond(self.strip_rows[row], column))
        own = self.load_given(row, column, inside)
        row_noise, row_size = (self.load_to_all(self.address(k, number(row))) for k in (9, 10))
        bar = self.fma(row_noise, size, self.least)
        bar = self.fma(row_size, noise, bar)
        allowed = builder.fadd(bar, self.atol)
        error = self.absolute(builder.fsub(own, value))
        scaled = builder.fmul(value, self.scale)
        sums[WIDEST] = self.larger(allowed, sums[WIDEST])
        sums[row] = self.fma(value, factor, sums[row])
        sums[PRODUCT] = self.fma(builder.fmul(own, self.scale), scaled, sums[PRODUCT])
        sums[SQUARE] = self.fma(scaled, scaled, sums[SQUARE])
        off = self.bits_of(builder.fcmp_unordered(">", error, allowed))
        above = self.bits_of(builder.fcmp_ordered(">", self.absolute(value), bar))
        empty = self.bits_of(builder.fcmp_ordered("==", own, self.zero))
        found[WRONG] = builder.or_(found[WRONG], off)
        found[ABOVE] = builder.or_(found[ABOVE], above)
        found[NOT_ZERO] = builder.or_(found[NOT_ZERO], builder.not_(empty))
        zero = builder.and_(builder.and_(empty, builder.not_(above)), self.bits_of(inside))
        ones = self.call(f"llvm.ctpop.i{self.lanes}", zero.type, [zero])
        found[ZERO] = builder.add(found[ZERO], builder.zext(ones, INTEGER))
        return self.larger(builder.fdiv(error, allowed), highest)

    def compare_columns(self, column: Any, values: list[Any]) -> list[Any]:
        """Compare one vector of columns in every row."""
        builder = self.builder
        sums, found = values[:LANE_ROWS], values[LANE_ROWS:]
        numbers = ir.Constant(ir.VectorType(INTEGER, self.lanes), list(range(self.lanes)))
        left = self.broadcast(builder.sub(self.columns, column))
        inside = builder.icmp_signed(">", left, numbers)
        of_columns = [self.load(self.address(k, column)) for k in (6, 7, 8)]
        highest = self.zero
        for row in range(MR):
            highest = self.compare_row(row, column, inside, of_columns, highest, sums, found)
        maxima = self.address(12, column)
        self.store(self.larger(highest, self.load(maxima)), maxima)
        beyond = builder.fcmp_ordered(">", highest, sums[TOP])
        sums[TOP] = builder.select(beyond, highest, sums[TOP])
        here = builder.uitofp(self.broadcast(column), self.vector)
        sums[TOP_COLUMN] = builder.select(beyond, here, sums[TOP_COLUMN])
        return [*sums, *found]

    def emit(self) -> None:
        """Emit the loop, and write what it has collected."""
        flags = [ir.Constant(ir.IntType(self.lanes), 0)] * 3
        starts = [self.zero] * LANE_ROWS + [*flags, number(0)]
        step = self.lanes
        values = self.loop(self.columns, starts, self.compare_columns, step, at_least_once=True)
        for k, value in enumerate(values[:LANE_ROWS]):
            self.store(value, self.address(13, number(k * self.lanes)))
        for k, value in enumerate(values[LANE_ROWS:]):
            word = value if k == ZERO else self.builder.zext(value, INTEGER)
            self.builder.store(word, self.address(14, number(k)))


def _emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    _Comparison(context, builder, signature, arguments).emit()
    return context.get_dummy_value()


@intrinsic
def _compare(
    typingctx, columns, given, given_at, given_row, strip, strip_row, column_sizes, column_noise,
    factors, row_noise, row_size, bounds, maxima, lanes, found,
):  # fmt: skip
    n = types.intp
    signature = types.void(
        n, given, n, n, strip, n, column_sizes, column_noise, factors, row_noise, row_size,
        bounds, maxima, lanes, found,
    )  # fmt: skip
    return signature, _emit


def compare_vectors(
    columns, given, given_at, given_row, strip, strip_row, column_sizes, column_noise,
    factors, row_noise, row_size, bounds, maxima, lanes, found,
):  # fmt: skip
    """Compare MR rows of a chunk with given numbers.

    Shapes: given (MR, columns) from ``given_at`` on, rows ``given_row`` apart; strip likewise,
    from 0 on, its rows filled with zeros to a multiple of LANES, as are column_sizes, column_noise
    and factors; row_noise and row_size (MR,); bounds: what every bar has at least (above 0), what
    is allowed beyond it, and the scale of the sums; maxima (columns, to a multiple of LANES), of
    error over allowed, raised; lanes (LANE_ROWS, LANES) and found (4,), written.
    """
    reach = -(-columns // LANES) * LANES
    place = np.arange(MR)[:, None]
    value = strip[place * strip_row + np.arange(reach)]
    own = np.zeros((MR, reach))
    own[:, :columns] = given[given_at + place * given_row + np.arange(columns)]
    least, atol, scale = bounds[:3]
    bar = row_noise[:MR, None] * column_sizes[:reach] + row_size[:MR, None] * (column_noise[:reach])
    bar += least
    allowed = bar + atol
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(own - value)
        ratio = error / allowed
        highest = np.fmax.reduce(ratio, axis=0)
        table = lanes.reshape(LANE_ROWS, LANES)
        table[:] = 0.0
        table[:MR] = (value * factors[:reach]).reshape(MR, -1, LANES).sum(axis=1)
        table[PRODUCT] = ((own * scale) * (value * scale)).reshape(-1, LANES).sum(axis=0)
        table[SQUARE] = ((value * scale) ** 2).reshape(-1, LANES).sum(axis=0)
    table[WIDEST] = allowed.reshape(-1, LANES).max(axis=0)
    by_vector = highest.reshape(-1, LANES)
    table[TOP] = by_vector.max(axis=0)
    table[TOP_COLUMN] = by_vector.argmax(axis=0) * LANES
    maxima[:reach] = np.maximum(maxima[:reach], highest)
    above = np.abs(value) > bar
    found[WRONG] = np.count_nonzero(~(error <= allowed))
    found[ABOVE] = np.count_nonzero(above)
    found[NOT_ZERO] = np.count_nonzero(own)
    found[ZERO] = np.count_nonzero((own == 0)[:, :columns] & ~above[:, :columns])


@overload(compare_vectors)
def _compare_vectors(
    columns, given, given_at, given_row, strip, strip_row, column_sizes, column_noise, factors,
    row_noise, row_size, bounds, maxima, lanes, found,
):  # fmt: skip
    def compiled(
        columns, given, given_at, given_row, strip, strip_row, column_sizes, column_noise,
        factors, row_noise, row_size, bounds, maxima, lanes, found,
    ):  # fmt: skip
        _compare(
            columns, given, given_at, given_row, strip, strip_row, column_sizes, column_noise,
            factors, row_noise, row_size, bounds, maxima, lanes, found,
        )  # fmt: skip

    return compiled
