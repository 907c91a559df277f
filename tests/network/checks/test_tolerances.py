"""What is allowed: tolerances, rounding, overflow."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_networks import example
from support.strategies import LOSSES, make_problem

import fastbp
from fastbp.errors import NonFiniteError
from fastbp.network.checks.check_network import check_network
from fastbp.network.differences.propagated_noise import rounding_of
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import in_float64, require_batch

pytestmark = pytest.mark.small


# ---- tolerances ----


def test_rtol_and_atol_replace_the_default_and_not_the_error_bar(problem):
    net, x, y, own = problem
    given = own.flat * (1 + 1e-4)
    assert check_network(net, x, y, given).verdict == "failed"
    assert check_network(net, x, y, given, rtol=2e-4).verdict == "passed"
    assert check_network(net, x, y, given, atol=1e3).verdict == "passed"
    assert check_network(net, x, y, given, atol=1e-12).verdict == "failed"
    report = check_network(net, x, y, own, rtol=0.0, atol=0.0)
    assert report.verdict == "passed", str(report)
    assert (report.rtol, report.atol) == (0.0, 0.0)


def test_a_float32_gradient_of_a_float64_network_is_judged_as_float32(problem):
    net, x, y, own = problem
    rounded = own.flat.astype(np.float32)
    report = check_network(net, x, y, rounded)
    assert report.verdict == "passed"
    note = "the given gradient is float32: it is judged with the rounding of float32"
    assert report.notes[0] == note
    assert note in str(report).split("\n\n")[0]
    again = check_network(net, x, y, rounded.astype(np.float64))
    assert again.detectable < 1e-4
    assert note not in again.notes
    assert note not in check_network(net, x, y, rounded, rtol=1e-4).notes
    assert check_network(net, x, y, rounded * np.float32(1.001)).verdict == "failed"


@pytest.mark.parametrize("method", ["certified", "exact", "replay"])
def test_a_tolerance_of_the_user_is_not_widened_by_the_rounding_of_float32(problem, method):
    """Every entry is off by up to 6e-8 of itself, some by more than half of that."""
    net, x, y, own = problem
    rounded = own.flat.astype(np.float32)
    assert np.any(np.abs(rounded - own.flat) > 2e-8 * np.abs(own.flat))
    assert check_network(net, x, y, rounded, rtol=1e-8, method=method).verdict == "failed"
    assert check_network(net, x, y, rounded, rtol=1e-6, method=method).verdict == "passed"


# ---- rounding ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-7, 1e-4])
def test_a_nearly_fitted_network_raises_no_false_alarm(dtype, distance):
    """The residual, and so the gradient, is mostly rounding."""
    for seed in range(5):
        net, x, _ = example(dtype, seed=seed)
        y = (net.forward(x).output * (1 + distance)).astype(dtype)
        report = check_network(net, x, y)
        assert report.verdict != "failed", str(report)


def test_a_wrong_gradient_of_a_nearly_fitted_network_is_found():
    net, x, _ = example()
    y = net.forward(x).output * (1 + 1e-7)
    _, own = net.loss_and_gradients(x, y)
    assert check_network(net, x, y, 1.01 * own.flat).verdict == "failed"
    assert check_network(net, x, y, 0 * own.flat).verdict == "failed"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_the_bars_of_a_replay_are_those_of_the_noise_columns(loss, layout):
    """The same noise in NumPy as in the kernels, but for the random numbers."""
    ratios = []
    for seed in range(20):
        problem = make_problem(
            [7, 9, 8, 4], 12, seed=seed, loss=loss, layout=layout, weight_decay=0.1 * (seed % 2)
        )
        net = problem.network()
        found = rounding_of(evaluate(net, require_batch(net, problem.x, problem.y)), 2.0**-53)
        expected = fastbp.finite_differences(net, problem.x, problem.y).error_bar.flat
        bars = found.error_bars(2.0**-53, found.hull(found.doubts))
        ratios.append(bars / expected)
    logarithms = np.log(np.concatenate(ratios))
    assert abs(np.mean(logarithms)) < 0.25
    assert np.max(np.abs(logarithms)) < np.log(32)


def test_float32_gradients_are_within_the_bars_of_a_replay():
    net, x, y = example(np.float32)
    _, single = net.loss_and_gradients(x, y)
    exact = in_float64(net)
    _, double = exact.loss_and_gradients(x.astype(np.float64), y.astype(np.float64))
    error = np.abs(single.flat - double.flat)
    found = rounding_of(evaluate(net, require_batch(net, x, y)), 2.0**-24)
    bars = found.error_bars(2.0**-24, found.hull(found.doubts))
    assert np.all(error <= bars)
    assert np.max(bars) < 1e4 * np.max(error)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_what_a_difference_cuts_off_is_in_its_error_bar(loss):
    """A step of 1e-6 moves the outputs by a tenth where inputs are 1e5: a smaller one is taken."""
    rng = np.random.default_rng(0)
    net = fastbp.Network([1e-5 * rng.standard_normal((2, 3))], loss=loss)
    x, y = 1e5 * rng.standard_normal((3, 6)), np.array([[0.25], [0.75]]) * np.ones(6)
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    assert report.arrays[0].worst.error < report.arrays[0].worst.allowed < 1
    assert report.evaluations > 4 * 6


# ---- overflow ----


def test_a_loss_that_overflows_is_never_a_pass():
    net = fastbp.Network([np.full((1, 1), 1e200)], [np.zeros((1, 1))])
    try:
        report = check_network(net, np.full((1, 2), 1e3), np.zeros((1, 2)))
    except NonFiniteError as error:
        assert "overflow" in str(error)  # noqa: PT017
    else:
        assert report.verdict == "inconclusive", str(report)
