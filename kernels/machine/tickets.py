"""How several threads share one kernel call: tickets, no threading layer.

A kernel is a sequence of phases, each a number of independent blocks.  Every thread that runs
it draws tickets from one atomic counter; a ticket names a block of a phase, and its holder
waits until all blocks of the phases before are done.  Tickets are drawn in order by running
threads only, so whoever is waited for is at work: a thread that comes late, or never, blocks
nobody, and one thread alone does everything.  A block computes the same bits whoever runs it.

``control`` is int64, shape (4,): stop flag, tickets drawn, blocks done, non-finite flag.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .compile import kernel

STOP, DRAWN, DONE, NON_FINITE = range(4)
CONTROL_SIZE = 4
SPINS_BEFORE_YIELDING = 2000  # about 20 us: a barrier between running threads takes under one
LOOKS_BEFORE_SLEEPING = 3000  # each after the first 2000 gives way to others: 0.2 ms in all


def _add_and_fetch(control: Any, index: int, amount: int) -> int:
    before = int(control[index])
    control[index] += amount
    return before


@intrinsic
def _atomic_add(typingctx, control, index, amount):
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, position, value = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.atomic_rmw("add", builder.gep(data, [position]), value, "seq_cst")

    return types.int64(control, types.intp, types.int64), codegen


@intrinsic
def _atomic_load(typingctx, control, index):
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, position = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        return builder.load_atomic(builder.gep(data, [position]), "seq_cst", 8)

    return types.int64(control, types.intp), codegen


@intrinsic
def _give_way(typingctx):
    """Let another thread have the core (nothing on Windows, where libc has no such call)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if sys.platform != "win32":
            signature = ir.FunctionType(ir.IntType(32), [])
            builder.call(
                cgutils.get_or_insert_function(builder.module, signature, "sched_yield"),
                [],
            )
        return context.get_dummy_value()

    return types.void(), codegen


@overload(_add_and_fetch)
def _overload_add(control, index, amount):
    return lambda control, index, amount: _atomic_add(control, index, amount)


def _load(control: Any, index: int) -> int:
    return int(control[index])


@overload(_load)
def _overload_load(control, index):
    return lambda control, index: _atomic_load(control, index)


def _yield_core() -> None:
    """Do nothing: a single thread never waits."""


@overload(_yield_core)
def _overload_yield():
    return lambda: _give_way()


@kernel(inline=True)
def draw_ticket(control):
    """Number of the next block that nobody has begun."""
    return _add_and_fetch(control, DRAWN, 1)


@kernel(inline=True)
def report_done(control):
    """Count one block as done; what it wrote is visible to whoever sees the count."""
    _add_and_fetch(control, DONE, 1)


@kernel(inline=True)
def next_ticket(control):
    """Count one's block as done and draw the next: every loop over tickets ends with it.

    A generator of tickets would say more in one word, but takes 0.1 us a block, and a step of a
    small network has 14 of them in 50 us.
    """
    report_done(control)
    return draw_ticket(control)


@kernel(inline=True)
def wait_until_done(control, blocks):
    """Wait until that many blocks are done, then tell whether to go on (False: stopped)."""
    spins = 0
    while _load(control, DONE) < blocks:
        spins += 1
        if spins > SPINS_BEFORE_YIELDING:
            _yield_core()
    return _load(control, STOP) == 0


@kernel(entry=True)
def wait_for_first_ticket(control):
    """Watch a call that nobody has begun; False: nobody has for some 0.2 ms."""
    for look in range(LOOKS_BEFORE_SLEEPING):
        if _load(control, DRAWN) != 0:
            return True
        if look > SPINS_BEFORE_YIELDING:
            _yield_core()
    return False


@kernel(inline=True)
def stopped(control):
    """Tell whether the call is to end early: long blocks look between their parts."""
    return _load(control, STOP) != 0


@kernel(inline=True)
def stop_for_non_finite(control):
    """Note that a number was not finite, and stop all that is not yet begun."""
    _add_and_fetch(control, NON_FINITE, 1)
    _add_and_fetch(control, STOP, 1)


def new_control() -> Any:
    """Fresh counters for one call of a kernel by any number of threads."""
    return np.zeros(CONTROL_SIZE, np.int64)


def spent_control() -> Any:
    """Counters of a call that is over: a kernel compiles, finds no work and returns."""
    control = new_control()
    control[DRAWN] = control[DONE] = np.iinfo(np.int64).max // 2
    return control
