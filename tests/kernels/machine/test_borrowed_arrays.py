"""Borrowed arrays: no reference is leaked or lost."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from fastbp.kernels.machine.borrowed_arrays import borrowed, keep
from fastbp.kernels.simd.vectors import panel_width, square_width
from numba.core.runtime import _nrt_python, rtsys

import fastbp

pytestmark = pytest.mark.small


@numba.njit
def sum_of_borrowed(arrays, numbers):
    """Sum up through many blocks, and in a nested tuple."""
    (first, second), third, factor = borrowed((arrays, numbers, 2.0))
    total = 0.0
    for k in range(first.size):
        if third[k] > 0:
            total += factor * first[k] * third[k]
        else:
            total -= second[k]
    return total


class Sums(NamedTuple):
    """Arrays by name."""

    total: Any  # (1,)
    squares: Any  # (1,)


class Work(NamedTuple):
    """Arrays, and a group of them, by name."""

    values: Any  # (n,)
    sums: Sums
    factor: float


@numba.njit
def add_to_fields(work):
    """Add up values, scaled, and their squares; the widths are there to be inlined."""
    total = work.sums.total
    for k in range(work.values.size):
        if panel_width(work.values) > square_width(work.values) and work.values[k] > 0:
            work.sums.squares[0] += work.values[k] * work.values[k]
        total[0] += work.factor * work.values[k]


@numba.njit
def sums_of_named(work):
    """Borrow a named group, and one that is made here, and write through their fields."""
    own = np.zeros(1)
    lent, made = borrowed((work, Sums(squares=own, total=work.sums.total)))
    add_to_fields(lent)
    made.squares[0] += 2.0 * lent.sums.squares[0]
    result = made.squares[0]
    keep(own)
    return result


@numba.njit
def sum_of_scratch(size, rounds):
    """Borrow memory of a kernel's own while more and more is allocated and freed around it."""
    total = 0.0
    for n in range(rounds):
        owned = (np.empty(size), np.empty(size))
        one, two = borrowed(owned)
        one[:] = n
        two[:] = 1.0
        for _ in range(4):
            other = np.full(size, -1e9)
            total += other[0] + 1e9
        for k in range(size):
            total += one[k] * two[k]
        keep(owned)
    return total


def test_no_reference_is_leaked_or_lost():
    arrays = [np.arange(1.0, 9.0) for _ in range(3)]
    counts = [sys.getrefcount(array) for array in arrays]
    for _ in range(10):
        assert sum_of_borrowed((arrays[0], arrays[1]), arrays[2]) == 2 * 204.0
    assert [sys.getrefcount(array) for array in arrays] == counts
    np.testing.assert_array_equal(arrays[1], np.arange(1.0, 9.0))


def test_a_named_tuple_stays_one_and_what_is_written_to_its_fields_arrives():
    sums = Sums(total=np.zeros(1), squares=np.zeros(1))
    work = Work(values=np.arange(1.0, 5.0), sums=sums, factor=3.0)
    counts = [sys.getrefcount(array) for array in (work.values, *sums)]
    assert sums_of_named(work) == 60.0
    assert (sums.total[0], sums.squares[0]) == (30.0, 30.0)
    assert [sys.getrefcount(array) for array in (work.values, *sums)] == counts


def test_a_check_leaves_the_references_of_its_arrays_as_they_were():
    rng = np.random.default_rng(0)
    sizes = [5, 6, 4]
    weights = [rng.standard_normal((o, i)) for i, o in pairwise(sizes)]
    net = fastbp.Network(weights)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    given = net.loss_and_gradients(x, y)[1].flat.copy()
    held = [net.parameters, x, y, given, *weights]
    assert fastbp.check_network(net, x, y, given, seed=0)  # and whatever is made once
    counts = [sys.getrefcount(array) for array in held]
    for _ in range(3):
        assert fastbp.check_network(net, x, y, given, seed=0)
    assert [sys.getrefcount(array) for array in held] == counts


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="numba allocates nothing then")
def test_memory_that_was_borrowed_is_freed():
    _nrt_python.memsys_enable_stats()  # for the process; what it costs is a counter
    sum_of_scratch(10, 1)
    before = rtsys.get_allocation_stats()
    sum_of_scratch(10, 50)
    after = rtsys.get_allocation_stats()
    assert after.alloc - before.alloc >= 2 * 50
    assert after.alloc - before.alloc == after.free - before.free


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_memory_that_is_kept_is_not_freed_before(size):
    rounds = 20 if not numba.config.DISABLE_JIT else 2
    assert sum_of_scratch(size, rounds) == size * rounds * (rounds - 1) / 2
