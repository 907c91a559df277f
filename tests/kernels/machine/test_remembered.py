"""What numba finds out while an entry compiles is remembered, and numba is left as it was."""

from __future__ import annotations

import inspect
from typing import Any

import llvmlite.ir
import numba
import numpy as np
import pytest
from fastbp.kernels.machine import remembered
from fastbp.kernels.machine.compile import JIT_DISABLED, kernel
from fastbp.kernels.machine.remembered import REPLACED, remembering
from numba.core import ir
from numba.core.registry import cpu_target

pytestmark = pytest.mark.small
LINE = ir.Loc("file.py", 1)


def variable(name: str) -> Any:
    return ir.Var(None, name, LINE)


@pytest.mark.parametrize(("owner", "name", "parameters", "_"), REPLACED)
def test_numba_has_what_is_replaced_and_gets_it_back(owner, name, parameters, _):
    before = vars(owner)[name]
    assert tuple(inspect.signature(before).parameters) == parameters
    with remembering():
        assert vars(owner)[name] is not before
    assert vars(owner)[name] is before


def fail_to_compile():
    with remembering():
        raise numba.TypingError("no such operation")


def test_numba_gets_all_back_where_compiling_fails():
    before = [vars(owner)[name] for owner, name, _, _ in REPLACED]
    with pytest.raises(numba.TypingError):
        fail_to_compile()
    assert [vars(owner)[name] for owner, name, _, _ in REPLACED] == before


def test_what_takes_other_arguments_is_left_alone():
    class Owner:
        def measure(self, value, more): ...

    before = Owner.measure
    with remembered._replaced(Owner, "measure", ("self", "value"), str):
        assert Owner.measure is before
    with remembered._replaced(Owner, "gone", ("self",), str):
        assert not hasattr(Owner, "gone")


STATEMENTS = [
    ir.Assign(ir.Expr.binop(max, variable("a"), variable("b"), LINE), variable("c"), LINE),
    ir.Assign(
        ir.Expr.call(
            variable("f"), [variable("a")], [("key", variable("b"))], LINE, vararg=variable("rest")
        ),
        variable("c"),
        LINE,
    ),
    ir.Assign(ir.Expr.build_tuple([variable("a"), variable("b")], LINE), variable("c"), LINE),
    ir.Assign(ir.Const(1.5, LINE), variable("c"), LINE),
    ir.Branch(variable("a"), 1, 2, LINE),
    ir.Return(variable("a"), LINE),
    ir.Jump(3, LINE),
]


@pytest.mark.parametrize("statement", STATEMENTS, ids=str)
def test_the_variables_of_a_statement_are_those_that_numba_lists(statement):
    expected = [found.name for found in statement.list_vars()]
    with remembering():
        for _ in range(2):
            assert [found.name for found in statement.list_vars()] == expected


def test_sizes_are_those_that_llvm_gives():
    data = cpu_target.target_context.target_data
    number, byte = llvmlite.ir.DoubleType(), llvmlite.ir.IntType(8)
    kinds = [number, byte, llvmlite.ir.LiteralStructType([byte, number]), byte.as_pointer()]
    sizes = [kind.get_abi_size(data) for kind in kinds]
    assert sizes == [8, 1, 16, 8]
    with remembering():
        assert [kind.get_abi_size(data) for kind in kinds * 2] == sizes * 2


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_one_signature_for_each_combination_of_types():
    """The same operation on integers, floats and both, in one entry and in what it calls."""

    @kernel
    def mixed(count, value):
        return count + count, value + value, count + value, count / count

    def entry(count, value):
        one = mixed(count, value)
        return (*one, *mixed(value, count), value + count, count + count)

    found = kernel(entry, entry=True)(np.int64(3), 0.5)
    assert found == (6, 1.0, 3.5, 1.0, 1.0, 6, 3.5, 1.0, 3.5, 6)
    assert found == numba.njit(entry)(np.int64(3), 0.5)
