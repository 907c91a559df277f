"""One panel of perturbed pre-activations: updated, its masks compared, its ReLU taken.

In explicit vectors, since LLVM does not vectorise a loop that mixes numbers and flags; with a
plain-Python twin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .emitter import INTEGER, Emitter, number
from .vectors import LANES, VECTORS, panel_width

# What a panel goes through, and by what masks are told apart: f > 0 where the derivative at 0 is
# 0, f >= 0 where it is 1, both where it is something between.
LINEAR, OFF_AT_ZERO, ON_AT_ZERO, PARTLY_AT_ZERO = range(4)

COMPARISONS = ((), (">",), (">=",), (">", ">="))


def _make_update(mode: int) -> Any:
    def emit_update(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Emit the loop over units; the lanes whose mask differs are collected in a register."""
        (
            units, _, base_at, base_pitch, _, column_at, _, delta_at,
            _, before_at, before_pitch, _, result_at,
        ) = arguments  # fmt: skip
        emit = Emitter(context, builder, signature, arguments)
        delta = emit.address(6, delta_at)
        steps = [emit.load(delta, v) for v in range(VECTORS)]
        none = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [0] * LANES)

        def masks(value: Any) -> list[Any]:
            """Flags that tell masks apart."""
            return [builder.fcmp_ordered(sign, value, emit.zero) for sign in COMPARISONS[mode]]

        def update_unit(p: Any, differs: list[Any]) -> list[Any]:
            factors = emit.load_to_all(emit.row(4, column_at, number(1), p))
            base = emit.row(1, base_at, base_pitch, p)
            before = emit.row(8, before_at, before_pitch, p)
            result = emit.row(11, result_at, number(VECTORS * LANES), p)
            collected = []
            for v, found in enumerate(differs):
                after = emit.fma(factors, steps[v], emit.load(base, v))
                if mode != LINEAR:
                    old = emit.load(before, v)
                    for new_flag, old_flag in zip(masks(after), masks(old), strict=True):
                        found = builder.or_(found, builder.xor(new_flag, old_flag))
                    off = builder.fcmp_ordered("<=", after, emit.zero)  # NaN stays
                    after = builder.select(off, emit.zero, after)
                emit.store(after, result, v)
                collected.append(found)
            return collected

        differs = emit.loop(units, [none] * VECTORS, update_unit, at_least_once=True)
        bits = number(0)
        for v, flags in enumerate(differs):
            word = builder.zext(emit.bits_of(flags), INTEGER)
            bits = builder.or_(bits, builder.shl(word, number(v * LANES)))
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
        return signature, emit_update

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
