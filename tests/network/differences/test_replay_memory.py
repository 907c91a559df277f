"""Replay: memory, threads, chosen entries, and the arrays of the caller."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.replays import replay, some_entries
from support.strategies import Problem, make_problem
from support.traced_memory import traced_memory

import fastbp
from fastbp.errors import FastbpError, OptionError
from fastbp.network.differences.replay import replay as replay_of
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import require_batch

SCHEMES = ("central", "forward")


def least_memory(problem: Problem) -> int:
    """What the library says that it needs when it gets one byte."""
    with pytest.raises(OptionError, match=r"max_memory must be at least \d+ bytes") as caught:
        replay(problem.network(), problem.x, problem.y, max_memory=1)
    return int(re.search(r"at least (\d+)", str(caught.value)).group(1))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "custom"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_little_memory_gives_the_same_bits(scheme, loss):
    problem = make_problem([17, 33, 31, 9], 45, layout="torch", loss=loss)
    net = problem.network()
    plenty = replay(net, problem.x, problem.y, scheme=scheme)
    least = least_memory(problem)
    assert least < 2**17 * fastbp.get_num_threads()
    for max_memory in (least, 2 * least, 2**20):
        little = replay(net, problem.x, problem.y, scheme=scheme, max_memory=max_memory)
        np.testing.assert_array_equal(little.flat, plenty.flat)
        assert (little.kinks is None) == (plenty.kinks is None)


def peak_of_replay(problem: Problem, entries: int, max_memory: int) -> int:
    """The bytes that NumPy holds at the worst moment."""
    net = problem.network()
    with traced_memory() as peak:
        replay_of(
            evaluate(net, require_batch(net, problem.x, problem.y)),
            np.arange(entries),
            scheme="central", delta=1e-6, max_memory=max_memory, progress=None,
        )  # fmt: skip
        return peak()


@pytest.mark.parametrize("sizes", [[30, 10], [300, 4]], ids=str)
def test_a_custom_loss_keeps_within_the_memory_too(sizes):
    """It is called from Python with whole outputs: those of all entries would be many."""
    problem = make_problem(sizes, 2000, loss="custom")
    peak_of_replay(problem, 1, 2**22)  # whatever is made once is made now
    least = peak_of_replay(problem, 1, 2**22)
    assert peak_of_replay(problem, 200, 2**22) <= least + 2**22


@pytest.mark.small
def test_an_overflow_is_silent_and_undecided():
    net = fastbp.Network([np.full((2, 3), 1e90), np.full((1, 2), 1e90)])
    x, y = np.ones((3, 2)), np.ones((1, 2))
    assert net.loss(x, y) == np.inf
    report = fastbp.check_network(net, x, y)
    assert report.verdict == "inconclusive", str(report)


@pytest.mark.parametrize("max_memory", [0, -1, 1.5, "1GB", None, np.nan])
def test_senseless_memory(max_memory):
    problem = make_problem([2, 2], 1)
    with pytest.raises(FastbpError, match="max_memory"):
        replay(problem.network(), problem.x, problem.y, max_memory=max_memory)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_number_of_threads_gives_the_same_bits(threads):
    problem = make_problem([65, 33, 31, 9], 33)
    net = problem.network()
    differences = replay(net, problem.x, problem.y)
    loss, gradients = net.loss_and_gradients(problem.x, problem.y)
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(threads)
    try:
        assert fastbp.get_num_threads() == threads
        again = replay(net, problem.x, problem.y)
        loss_again, gradients_again = net.loss_and_gradients(problem.x, problem.y)
    finally:
        fastbp.set_num_threads(before)
    np.testing.assert_array_equal(again.flat, differences.flat)
    assert loss_again == loss
    np.testing.assert_array_equal(gradients_again.flat, gradients.flat)


@pytest.mark.small
@pytest.mark.parametrize("scheme", SCHEMES)
def test_chosen_entries_give_the_bits_of_the_whole(scheme):
    problem = make_problem([3, 5, 4, 2], 3)
    net = problem.network()
    whole = replay(net, problem.x, problem.y, scheme=scheme)
    entries = some_entries(problem, 17).astype(np.int64)
    quotients, kinks, _ = replay_of(
        evaluate(net, require_batch(net, problem.x, problem.y)),
        entries,
        scheme=scheme, delta=1e-6, max_memory=2**30, progress=None,
    )  # fmt: skip
    np.testing.assert_array_equal(quotients, whole.flat[entries])
    assert kinks.shape == quotients.shape
    assert kinks.dtype == bool


@pytest.mark.small
def test_nothing_of_the_callers_changes():
    problem = make_problem([3, 4, 2], 3, order="strided")
    net = problem.network()
    kept = [array.copy() for array in [*problem.arrays, net.parameters]]
    replay(net, problem.x, problem.y)
    for array, copy in zip([*problem.arrays, net.parameters], kept, strict=True):
        np.testing.assert_array_equal(array, copy)
