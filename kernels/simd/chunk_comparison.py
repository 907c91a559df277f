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
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .vectors import LANES, MR, broadcast

# Rows of the scratch ``lanes``, each one vector: the proof of each row of the strip, and these.
PRODUCT, SQUARE, WIDEST, TOP, TOP_COLUMN = range(MR, MR + 5)
LANE_ROWS = MR + 5
# What is found: whether anything is out of order, whether any value is above its bar,
# whether a given number is not 0, and how many are 0 on both sides.
WRONG, ABOVE, NOT_ZERO, ZERO = range(4)


def _emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit the loop over vectors of columns; the rows of each are unrolled."""
    columns, given_at, given_row, strip_row = (arguments[k] for k in (0, 2, 3, 5))
    element = signature.args[1].dtype
    double, integer, byte = ir.DoubleType(), ir.IntType(64), ir.IntType(LANES)
    vector = ir.VectorType(double, LANES)
    mask = ir.VectorType(ir.IntType(1), LANES)
    single = double if element == types.float64 else ir.FloatType()
    narrow = ir.VectorType(single, LANES)

    def constant(value: int) -> Any:
        return ir.Constant(integer, value)

    def start(position: int) -> Any:
        array = arguments[position]
        return context.make_array(signature.args[position])(context, builder, array).data

    def at(base: Any, offset: Any) -> Any:
        return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

    def load(base: Any, offset: Any) -> Any:
        return builder.load(at(base, offset), align=8)

    def number(base: Any, offset: int) -> Any:
        return broadcast(builder, builder.load(builder.gep(base, [constant(offset)])), vector)

    def function(name: str, kind: Any, *kinds: Any) -> Any:
        return cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, list(kinds)), name
        )

    fma = function(f"llvm.fma.v{LANES}f64", vector, vector, vector, vector)
    fabs = function(f"llvm.fabs.v{LANES}f64", vector, vector)
    count_ones = function(f"llvm.ctpop.i{LANES}", byte, byte)
    masked = function(
        f"llvm.masked.load.v{LANES}f{element.bitwidth}.p0",
        narrow, narrow.as_pointer(), ir.IntType(32), mask, narrow,
    )  # fmt: skip

    def larger(one: Any, other: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", one, other), one, other)

    given_start, strip_start = start(1), start(4)
    sizes_start, noise_start, factors_start = start(6), start(7), start(8)
    row_noise_start, row_size_start, bounds_start = start(9), start(10), start(11)
    maxima_start, lanes_start, found_start = start(12), start(13), start(14)
    zero = ir.Constant(vector, [0.0] * LANES)
    numbers = ir.Constant(ir.VectorType(integer, LANES), list(range(LANES)))
    least, atol, scale = (number(bounds_start, k) for k in range(3))
    given_rows = [
        builder.gep(given_start, [builder.add(given_at, builder.mul(given_row, constant(r)))])
        for r in range(MR)
    ]
    strip_rows = [
        builder.gep(strip_start, [builder.mul(strip_row, constant(r))]) for r in range(MR)
    ]
    entry = builder.block
    loop = builder.append_basic_block("compare.loop")
    done = builder.append_basic_block("compare.done")
    builder.branch(loop)

    builder.position_at_end(loop)
    column = builder.phi(integer)
    column.add_incoming(constant(0), entry)
    sums = [builder.phi(vector) for _ in range(LANE_ROWS)]
    flags = [builder.phi(byte) for _ in range(3)]
    zeros = builder.phi(integer)
    for phi in sums:
        phi.add_incoming(zero, entry)
    for phi in flags:
        phi.add_incoming(ir.Constant(byte, 0), entry)
    zeros.add_incoming(constant(0), entry)
    proofs, (product, square, widest, top, top_column) = list(sums[:MR]), sums[MR:]
    wrong, above, not_zero = flags
    some = zeros

    left = builder.sub(columns, column)
    inside = builder.icmp_signed(
        ">", broadcast(builder, left, ir.VectorType(integer, LANES)), numbers
    )
    size, noise, factor = (load(base, column) for base in (sizes_start, noise_start, factors_start))
    highest = zero
    for r in range(MR):
        value = load(strip_rows[r], column)
        address = builder.bitcast(builder.gep(given_rows[r], [column]), narrow.as_pointer())
        own = builder.call(
            masked,
            [address, ir.Constant(ir.IntType(32), element.bitwidth // 8), inside,
             ir.Constant(narrow, [0.0] * LANES)],
        )  # fmt: skip
        if element != types.float64:
            own = builder.fpext(own, vector)
        bar = builder.call(fma, [number(row_noise_start, r), size, least])
        bar = builder.call(fma, [number(row_size_start, r), noise, bar])
        allowed = builder.fadd(bar, atol)
        error = builder.call(fabs, [builder.fsub(own, value)])
        off = builder.fcmp_unordered(">", error, allowed)
        wrong = builder.or_(wrong, builder.bitcast(off, byte))
        highest = larger(builder.fdiv(error, allowed), highest)
        widest = larger(allowed, widest)
        proofs[r] = builder.call(fma, [value, factor, proofs[r]])
        scaled = builder.fmul(value, scale)
        product = builder.call(fma, [builder.fmul(own, scale), scaled, product])
        square = builder.call(fma, [scaled, scaled, square])
        value_above = builder.fcmp_ordered(">", builder.call(fabs, [value]), bar)
        value_above = builder.bitcast(value_above, byte)
        above = builder.or_(above, value_above)
        empty = builder.bitcast(builder.fcmp_ordered("==", own, zero), byte)
        not_zero = builder.or_(not_zero, builder.not_(empty))
        empty = builder.and_(empty, builder.not_(value_above))
        empty = builder.and_(empty, builder.bitcast(inside, byte))
        ones = builder.call(count_ones, [empty])
        some = builder.add(some, builder.zext(ones, integer))
    builder.store(larger(highest, load(maxima_start, column)), at(maxima_start, column), align=8)
    beyond = builder.fcmp_ordered(">", highest, top)
    top = builder.select(beyond, highest, top)
    here = builder.uitofp(broadcast(builder, column, ir.VectorType(integer, LANES)), vector)
    top_column = builder.select(beyond, here, top_column)
    following = builder.add(column, constant(LANES))
    new = [*proofs, product, square, widest, top, top_column]
    column.add_incoming(following, loop)
    for phi, value in zip(sums, new, strict=True):
        phi.add_incoming(value, loop)
    for phi, value in zip(flags, (wrong, above, not_zero), strict=True):
        phi.add_incoming(value, loop)
    zeros.add_incoming(some, loop)
    builder.cbranch(builder.icmp_signed("<", following, columns), loop, done)

    builder.position_at_end(done)
    for k, value in enumerate(new):
        builder.store(value, at(lanes_start, constant(k * LANES)), align=8)
    for k, value in enumerate((wrong, above, not_zero)):
        builder.store(builder.zext(value, integer), builder.gep(found_start, [constant(k)]))
    builder.store(some, builder.gep(found_start, [constant(ZERO)]))
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
