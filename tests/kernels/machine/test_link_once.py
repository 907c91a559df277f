"""Entries are compiled with all that they call; what they call has no machine code of its own."""

from __future__ import annotations

import gc

import numba
import numpy as np
import pytest
from fastbp.kernels.machine import link_once
from fastbp.kernels.machine.compile import JIT_DISABLED, kernel
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")


def make_kernels():
    """An entry and what it calls, compiled anew."""

    @kernel
    def weigh(values, k):
        return 10.0 * max(values[k], 2.0)

    def total(values):
        result = 1.0
        for k in range(values.size):
            result += weigh(values, k)
        return result

    return weigh, total


def library_of(dispatcher):
    return next(iter(dispatcher.overloads.values())).library


def test_only_the_entry_is_emitted():
    weigh, total = make_kernels()
    entry = kernel(total, entry=True)
    assert entry(np.array([1.0, 3.0])) == 51.0
    assert isinstance(library_of(entry), link_once.EntryLibrary)
    assert isinstance(library_of(weigh), link_once.DeferredLibrary)
    assert not library_of(weigh).emitted


def test_other_functions_of_numba_call_what_was_deferred():
    """A kernel, and an overload of numba's own (max), first compiled for an entry of ours."""
    weigh, total = make_kernels()
    kernel(total, entry=True)(np.array([1.0, 3.0]))
    assert numba.njit(total)(np.array([1.0, 3.0])) == 51.0
    assert numba.njit(lambda a, b: max(a, b))(1.0, 2.0) == 2.0
    assert library_of(weigh).emitted
    assert kernel(make_kernels()[1], entry=True)(np.array([1.0])) == 21.0


def test_numba_is_left_as_it_was():
    codegen = cpu_target.target_context.codegen()
    assert gc.isenabled()
    _, total = make_kernels()
    kernel(total, entry=True)(np.array([1.0]))
    with pytest.raises(numba.TypingError):
        kernel(total, entry=True)("no array")
    assert gc.isenabled()
    assert codegen._library_class is type(codegen)._library_class


@pytest.mark.parametrize("name", [*link_once.OF_A_LIBRARY, *link_once.OF_A_CODEGEN])
def test_numba_has_every_name_that_is_used(name):
    codegen = cpu_target.target_context.codegen()
    owner = JITCodeLibrary(codegen, "probe") if name in link_once.OF_A_LIBRARY else codegen
    assert hasattr(owner, name)


def test_where_a_name_is_missing_numba_compiles_in_its_own_way(monkeypatch):
    monkeypatch.setattr(link_once, "OF_A_LIBRARY", ("gone",))
    weigh, total = make_kernels()
    entry = kernel(total, entry=True)
    assert entry(np.array([1.0, 3.0])) == 51.0
    assert type(library_of(entry)) is type(library_of(weigh)) is JITCodeLibrary


def test_a_kernel_that_returns_arrays_must_say_so():
    """Without reference counts its caller would free memory that is still in use."""

    @kernel
    def half(values):
        return values[: values.size // 2], 1.0

    def first_of_half(values):
        return half(values)[1]

    with pytest.raises(TypeError, match="half returns arrays: say allocates=True"):
        kernel(first_of_half, entry=True)(np.ones(4))
