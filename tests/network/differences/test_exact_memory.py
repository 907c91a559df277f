"""Exact differences: memory, threads, and the arrays of the caller."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.exact_differences import exact
from support.strategies import LAYOUTS, LOSSES, Problem, make_problem
from support.traced_memory import traced_memory

import fastbp
from fastbp.errors import FastbpError, OptionError


def least_memory(problem: Problem) -> int:
    """What the library says that it needs when it gets one byte."""
    with pytest.raises(OptionError, match=r"max_memory must be at least \d+ bytes") as caught:
        exact(problem, max_memory=1)
    return int(re.search(r"at least (\d+)", str(caught.value)).group(1))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 45])
def test_little_memory_and_every_number_of_threads_give_the_same_bits(batch, layout, loss):
    problem = make_problem([17, 65, 61, 70, 9], batch, layout=layout, loss=loss)
    plenty = exact(problem)
    before = fastbp.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastbp.set_num_threads(threads)
            least = least_memory(problem)
            for max_memory in (least, 2 * least, 2**30):
                result = exact(problem, max_memory=max_memory)
                np.testing.assert_array_equal(result.flat, plenty.flat)
    finally:
        fastbp.set_num_threads(before)


@pytest.mark.parametrize(("sizes", "batch"), [([30, 400, 300, 10], 40), ([30, 2000, 3], 200)])
def test_the_work_stays_within_the_memory(sizes, batch):
    """Beyond network, results, and 16 bytes for each unit and sample."""
    problem = make_problem(sizes, batch)
    net = problem.network()
    least = max(least_memory(problem), 2**20)
    fastbp.finite_differences(net, problem.x, problem.y)
    held = []
    for max_memory in (least, 2**25):
        with traced_memory() as peak:
            fastbp.finite_differences(net, problem.x, problem.y, max_memory=max_memory)
            held.append(peak() - max_memory)
    pitch = -(-batch // 16) * 16
    activations = 16 * sum(sizes) * pitch
    # Scratch of the backward pass is set aside with the forward pass and never touched.
    untouched = 8 * (4 * max(sizes) * pitch + 16 * batch)
    assert max(held) <= activations + untouched + 8 * net.parameters.size + 2**17


@pytest.mark.parametrize("max_memory", [0, -1, 1.5, "1GB", None, np.nan])
def test_senseless_memory(max_memory):
    problem = make_problem([2, 2], 1)
    with pytest.raises(FastbpError, match="max_memory"):
        exact(problem, max_memory=max_memory)


@pytest.mark.small
def test_nothing_of_the_callers_changes():
    problem = make_problem([3, 4, 2], 3, order="strided")
    net = problem.network()
    kept = [array.copy() for array in [*problem.arrays, net.parameters]]
    fastbp.finite_differences(net, problem.x, problem.y)
    for array, copy in zip([*problem.arrays, net.parameters], kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.small
def test_read_only_parameters():
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    expected = fastbp.finite_differences(net, problem.x, problem.y).flat
    net.parameters.flags.writeable = False
    result = fastbp.finite_differences(net, problem.x, problem.y)
    np.testing.assert_array_equal(result.flat, expected)
