"""The same bits for every number of threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from support.thread_problems import everything, one_problem

import fastbp


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_bits_for_every_number_of_threads(dtype, threads):
    problem = one_problem(dtype)
    threads(1)
    expected = everything(*problem)
    for count in (2, 3, 4, 7):
        threads(count)
        for _ in range(3):
            np.testing.assert_array_equal(everything(*problem), expected)


def test_the_number_may_change_while_another_thread_computes(threads):
    problem = one_problem()
    threads(1)
    expected = everything(*problem)
    failures = []

    def compute() -> None:
        try:
            for _ in range(8):
                np.testing.assert_array_equal(everything(*problem), expected)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=compute) for _ in range(2)]
    for worker in workers:
        worker.start()
    count = 0
    while any(worker.is_alive() for worker in workers):
        count += 1
        threads(1 + count % 4)
        workers[0].join(0.002)
    for worker in workers:
        worker.join()
    assert not failures, failures
    assert count > 3


@pytest.mark.parametrize("layout", ["book", "keras"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_sample_has_the_same_bits_for_every_number_of_threads(dtype, layout, threads):
    """Partial sums are those of blocks of rows, whoever sums them."""
    net = fastbp.Network.random([700, 900, 500, 10], dtype=dtype, layout=layout)
    random = np.random.default_rng(2)
    x, y = random.standard_normal((700, 1)).astype(dtype), np.ones((10, 1), dtype)
    if layout == "keras":
        x, y = x.T, y.T
    threads(1)
    loss, expected = net.loss_and_gradients(x, y)
    for count in (2, 3):
        threads(count)
        for _ in range(5):
            again, found = net.loss_and_gradients(x, y)
            assert again == loss
            np.testing.assert_array_equal(found.flat, expected.flat)
            np.testing.assert_array_equal(found.inputs, expected.inputs)


def test_a_replay_has_the_same_bits_whatever_units_share_a_call(threads):
    """More threads take more units to one call, and share them otherwise."""
    net, x, y = one_problem()
    threads(1)
    expected = fastbp.finite_differences(net, x, y, progress=False)
    for count in (2, 3):
        threads(count)
        found = fastbp.finite_differences(net, x, y, progress=False)
        np.testing.assert_array_equal(found.flat, expected.flat)
        assert (found.kinks is None) == (expected.kinks is None)
