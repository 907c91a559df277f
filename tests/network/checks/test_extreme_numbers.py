"""Right gradients where numbers cancel exactly, underflow, or are of very different sizes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fastbp

METHODS = ("certified", "exact", "replay")


def of_opposite_features(seed, depth):
    """A float32 network whose pre-activations are 0 but for rounding."""
    rng = np.random.default_rng(seed)
    sizes = [12] + [16] * (depth - 1) + [3]
    weights = [rng.standard_normal((o, i)) * np.sqrt(2 / i) for i, o in pairwise(sizes)]
    weights[0][:, 6:] = weights[0][:, :6]
    half = rng.standard_normal((6, 1))
    net = fastbp.Network([w.astype(np.float32) for w in weights])
    x = np.concatenate([half, -half]).astype(np.float32)
    return net, x, rng.standard_normal((3, 1)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", [3, pytest.param(5, marks=pytest.mark.long)])
def test_preactivations_that_cancel_but_for_rounding_pass(method, depth):
    """Where all masks are in doubt, what s may be meets the rounding of h."""
    for seed in range(20):
        net, x, y = of_opposite_features(seed, depth)
        report = fastbp.check_network(net, x, y, method=method, seed=0)
        assert report.verdict == "passed", (seed, str(report))
        _, own = net.loss_and_gradients(x, y)
        last = own.weights[-1]
        wrong = [-w if w is last else w for w in own.weights]
        wrong[-1] = last + np.float32(10 * report.arrays[-1].detectable)
        assert fastbp.check_network(net, x, y, (wrong, None), method=method, seed=0).failures


@pytest.mark.parametrize("method", METHODS)
def test_activations_that_underflow_in_float32_have_masks_in_doubt(method):
    """1e-37 times a product of 1e-9 is 0 in float32, and so is its mask."""
    weights = [np.full((2, 1), 1e-3), np.full((2, 2), 1e-3), np.full((2, 2), 1e-3), np.ones((1, 2))]
    net = fastbp.Network(
        [w.astype(np.float32) for w in weights],
        [np.zeros((len(w), 1), np.float32) for w in weights],
    )
    x, y = np.array([[1e-37]], np.float32), np.array([[1.0]], np.float32)
    report = fastbp.check_network(net, x, y, method=method, seed=0)
    assert report.verdict == "passed", str(report)
    assert report.doubtful == (2, 2, 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_a_probability_that_underflows_in_float32_is_no_mistake_whatever_the_scale(method, loss):
    """p = 1e-47 is 0 in float32; times a scale of 1e20 it is 1e-27."""
    w = np.array([[1.0], [-107.0], [0.5]], np.float32)
    net = fastbp.Network([w], loss=loss, scale=1e20)
    x, y = np.array([[1.0]], np.float32), np.array([[1.0], [0.0], [0.0]], np.float32)
    _, own = net.loss_and_gradients(x, y)
    given = own.weights[0].copy()
    given[1] = 0.0
    report = fastbp.check_network(net, x, y, ([given], None), method=method, seed=0)
    assert report.verdict == "passed", str(report)
    given[2] *= np.float32(1.001)
    report = fastbp.check_network(net, x, y, ([given], None), method=method, seed=0)
    assert [failure.index for failure in report.failures] == [(2, 0)]


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "custom"])
def test_a_replay_of_features_that_nobody_normalised_shortens_its_steps(loss):
    """A step of 1e-6 moves an output by 1 where an activation is 1e6.

    The sum over the batch may hide that; how much the loss bends does not.
    """
    pair = (
        lambda o, y: float(np.sum(np.logaddexp(0.0, o) - y * o)),
        lambda o, y: 1.0 / (1.0 + np.exp(-o)) - y,
    )
    for seed in range(12):
        rng = np.random.default_rng(seed)
        first = rng.standard_normal((6, 5)) * np.array([[1e6], [1e3], [1], [1e6], [1e4], [1e5]])
        last = rng.standard_normal((3, 6)) / 1e6
        x, y = rng.standard_normal((5, 8)), rng.random((3, 8))
        y = y / y.sum(axis=0) if loss.startswith("softmax") else y
        net = fastbp.Network([first, last], loss=pair if loss == "custom" else loss)
        report = fastbp.check_network(net, x, y, method="replay", seed=0)
        assert report.verdict == "passed", (seed, str(report))
        assert report.arrays[1].detectable < 1e-6 * 1e6, seed


@pytest.mark.parametrize("method", METHODS)
def test_two_classes_that_are_equally_likely_move_with_their_logits(method):
    """One rounding of a pre-activation that is 0 here moves them by a tenth each way."""
    weights = [np.array([[1.0, -1.0]], np.float32), np.array([[1e6], [-1e6]], np.float32)]
    biases = [np.zeros((1, 1), np.float32), np.zeros((2, 1), np.float32)]
    net = fastbp.Network(weights, biases, loss="softmax_cross_entropy")
    x, h = np.ones((2, 1), np.float32), np.float32(1e-7)
    p = np.exp(weights[1] * h) / np.exp(weights[1] * h).sum()
    s = p - np.array([[1.0], [0.0]])
    below = weights[1].T @ s
    given = [[below @ x.T, s * h], [below, s]]
    given = [[array.astype(np.float32) for array in arrays] for arrays in given]
    report = fastbp.check_network(net, x, np.array([0]), tuple(given), method=method, seed=0)
    assert report.verdict == "passed", str(report)


@pytest.mark.parametrize("method", METHODS)
def test_logits_that_are_equal_but_for_lost_digits_may_be_any(method):
    """Of 1e20 + 1 and 1e20 - 1 a program with more digits makes other probabilities."""
    net = fastbp.Network(
        [np.array([[1.0], [-1.0], [-1.0]])], [np.full((3, 1), 1e20)], loss="softmax_cross_entropy"
    )
    p = np.exp([[1.0], [-1.0], [-1.0]]) / np.exp([1.0, -1.0, -1.0]).sum()
    s = p - np.array([[1.0], [0.0], [0.0]])
    report = fastbp.check_network(
        net, np.ones((1, 1)), np.array([0]), ([s], [s]), method=method, seed=0
    )
    assert report.verdict in ("passed", "vacuous"), str(report)


@pytest.mark.parametrize("method", METHODS)
def test_a_preactivation_of_ten_roundings_is_in_doubt_and_one_of_a_thousand_is_not(method):
    unit = 2.0**-24
    net = fastbp.Network([np.array([[1.0, -1.0]], np.float32), np.ones((1, 1), np.float32)])
    for roundings, doubtful in ((10, 1), (1000, 0)):
        x = np.array([[1.0 + 2 * unit * roundings], [1.0]], np.float32)
        report = fastbp.check_network(net, x, np.ones((1, 1), np.float32), method=method, seed=0)
        assert (report.verdict, report.doubtful) == ("passed", (doubtful,)), str(report)
