"""One panel of perturbed pre-activations: updated, its masks compared, its ReLU taken.

In explicit vectors, since LLVM does not vectorise a loop that mixes numbers and flags; with a
plain-Python twin.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .vectors import VECTOR_BYTES, VECTORS, panel_width

# What a panel goes through, and by what masks are told apart: f > 0 where the derivative at 0 is
# 0, f >= 0 where it is 1, both where it is something between.
LINEAR, OFF_AT_ZERO, ON_AT_ZERO, PARTLY_AT_ZERO = range(4)

COMPARISONS = ((), (">",), (">=",), (">", ">="))


def _make_update(mode):
    lanes = VECTOR_BYTES // 8
    vector = ir.VectorType(ir.DoubleType(), lanes)
    flags = ir.VectorType(ir.IntType(1), lanes)
    integer = ir.IntType(64)

    def emit(context, builder, signature, arguments):
        """Emit the loop over units; the lanes whose mask differs are collected in a register."""
        (
            units, base, base_at, base_pitch, column, column_at, delta, delta_at,
            before, before_at, before_pitch, result, result_at,
        ) = arguments  # fmt: skip
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fma.v{lanes}f64",
        )
        zeros = ir.Constant(vector, [0.0] * lanes)

        def constant(value):
            return ir.Constant(integer, value)

        def pointer(position, array, offset):
            data = context.make_array(signature.args[position])(context, builder, array).data
            return builder.gep(data, [offset])

        def as_vector(address, v):
            moved = builder.gep(address, [constant(v * lanes)])
            return builder.bitcast(moved, vector.as_pointer())

        def mask(value):
            """Flags that tell masks apart."""
            return [builder.fcmp_ordered(sign, value, zeros) for sign in COMPARISONS[mode]]

        starts = [
            pointer(1, base, base_at), pointer(4, column, column_at), pointer(6, delta, delta_at),
            pointer(8, before, before_at), pointer(11, result, result_at),
        ]  # fmt: skip
        base_from, column_from, delta_from, before_from, result_from = starts
        steps = [builder.load(as_vector(delta_from, v), align=8) for v in range(VECTORS)]
        none = ir.Constant(flags, [0] * lanes)
        entry = builder.block
        loop = builder.append_basic_block("update.loop")
        done = builder.append_basic_block("update.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        p = builder.phi(integer)
        p.add_incoming(constant(0), entry)
        differs = [builder.phi(flags) for _ in range(VECTORS)]
        factor = builder.load(builder.gep(column_from, [p]))
        factors = builder.insert_element(
            ir.Constant(vector, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0)
        )
        factors = builder.shuffle_vector(
            factors,
            ir.Constant(vector, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes),
        )
        base_row = builder.gep(base_from, [builder.mul(p, base_pitch)])
        before_row = builder.gep(before_from, [builder.mul(p, before_pitch)])
        result_row = builder.gep(result_from, [builder.mul(p, constant(VECTORS * lanes))])
        collected = []
        for v in range(VECTORS):
            start = builder.load(as_vector(base_row, v), align=8)
            after = builder.call(fma, [factors, steps[v], start])
            found = differs[v]
            if mode != LINEAR:
                old = builder.load(as_vector(before_row, v), align=8)
                for new_flag, old_flag in zip(mask(after), mask(old), strict=True):
                    found = builder.or_(found, builder.xor(new_flag, old_flag))
                off = builder.fcmp_ordered("<=", after, zeros)  # NaN stays
                after = builder.select(off, zeros, after)
            builder.store(after, as_vector(result_row, v), align=8)
            collected.append(found)
        following = builder.add(p, constant(1))
        p.add_incoming(following, loop)
        for v in range(VECTORS):
            differs[v].add_incoming(none, entry)
            differs[v].add_incoming(collected[v], loop)
        builder.cbranch(builder.icmp_signed("<", following, units), loop, done)
        builder.position_at_end(done)
        bits = constant(0)
        for v in range(VECTORS):
            word = builder.zext(builder.bitcast(collected[v], ir.IntType(lanes)), integer)
            bits = builder.or_(bits, builder.shl(word, constant(v * lanes)))
        return bits

    @intrinsic
    def update(
        typingctx, units, base, base_at, base_pitch, column, column_at, delta, delta_at,
        before, before_at, before_pitch, result, result_at,
    ):  # fmt: skip
        n = types.intp
        signature = types.int64(
            n, base, n, n, column, n, delta, n, before, n, n, result, n
        )  # fmt: skip
        return signature, emit

    return update


_linear, _off_at_zero, _on_at_zero, _partly_at_zero = (_make_update(mode) for mode in range(4))


def update_panel(
    mode, units, base, base_at, base_pitch, column, column_at, delta, delta_at,
    before, before_at, before_pitch, result, result_at,
):  # fmt: skip
    """Compute base + column delta for one panel; return a bit for each lane whose mask differs.

    Shapes: base and before (units, NR) with their pitches, column (units,), delta (NR,), result
    (units, NR), which may be base; all float64, units at least 1.  LINEAR compares nothing and
    returns 0; the other modes compare masks with those of ``before`` and take the ReLU.
    """
    width = panel_width(result)
    differs = np.zeros(width, np.bool_)
    for p in range(units):
        row = base[base_at + p * base_pitch : base_at + p * base_pitch + width]
        old = before[before_at + p * before_pitch : before_at + p * before_pitch + width]
        after = row + column[column_at + p] * delta[delta_at : delta_at + width]
        if mode != LINEAR:
            if mode != ON_AT_ZERO:
                differs |= (after > 0) != (old > 0)
            if mode != OFF_AT_ZERO:
                differs |= (after >= 0) != (old >= 0)
            after = np.where(after <= 0, 0.0, after)
        result[result_at + p * width : result_at + (p + 1) * width] = after
    return int(sum(1 << lane for lane in np.flatnonzero(differs).tolist()))


@overload(update_panel)
def _update_panel(
    mode, units, base, base_at, base_pitch, column, column_at, delta, delta_at,
    before, before_at, before_pitch, result, result_at,
):  # fmt: skip
    def compiled(
        mode, units, base, base_at, base_pitch, column, column_at, delta, delta_at,
        before, before_at, before_pitch, result, result_at,
    ):  # fmt: skip
        if mode == LINEAR:
            return _linear(
                units, base, base_at, base_pitch, column, column_at, delta, delta_at,
                before, before_at, before_pitch, result, result_at,
            )  # fmt: skip
        if mode == OFF_AT_ZERO:
            return _off_at_zero(
                units, base, base_at, base_pitch, column, column_at, delta, delta_at,
                before, before_at, before_pitch, result, result_at,
            )  # fmt: skip
        if mode == ON_AT_ZERO:
            return _on_at_zero(
                units, base, base_at, base_pitch, column, column_at, delta, delta_at,
                before, before_at, before_pitch, result, result_at,
            )  # fmt: skip
        return _partly_at_zero(
            units, base, base_at, base_pitch, column, column_at, delta, delta_at,
            before, before_at, before_pitch, result, result_at,
        )  # fmt: skip

    return compiled
