"""What rounding makes of an array as a whole, and what is judged by it."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.network.checks.rounded_gradients import noise_of_arrays
from fastbp.network.network import in_float64, require_batch

SIZES = ([10, 16, 16, 3], [20, 30, 4], [4, 1], [6, 5, 5, 5, 2])


def nearly_fitted(seed, distance):
    rng = np.random.default_rng(seed)
    sizes = SIZES[seed % 4]
    net = fastbp.Network.random(sizes, seed=seed, dtype=np.float32)
    x = rng.standard_normal((sizes[0], (1, 4, 16, 64, 200)[seed % 5])).astype(np.float32)
    output = net.forward(x).output.astype(np.float64)
    y = output + distance * np.abs(output).max() * rng.standard_normal(output.shape)
    return net, x, y.astype(np.float32)


def verdicts(distance, factor, method="certified", seeds=range(20)):
    found = []
    for seed in seeds:
        net, x, y = nearly_fitted(seed, distance)
        given = np.float32(factor) * net.loss_and_gradients(x, y)[1].flat
        found.append(fastbp.check_network(net, x, y, given, method=method, seed=0).verdict)
    return found


@pytest.mark.long
@pytest.mark.parametrize("method", ["certified", "exact", "replay"])
@pytest.mark.parametrize("distance", [1e-4, 1e-5, 3e-6])
def test_a_wrong_sign_is_found_where_the_gradient_is_right_to_some_percent(distance, method):
    assert set(verdicts(distance, 1.0, method)) == {"passed"}
    assert set(verdicts(distance, -1.0, method)) == {"failed"}
    assert set(verdicts(distance, 0.0, method)) == {"failed"}


def test_a_gradient_of_noise_is_untested():
    for factor in (1.0, -1.0, 0.0, 2.0):
        found = verdicts(3e-8, factor)
        assert "inconclusive" not in found
        assert found.count("vacuous") >= 18, (factor, found)
    assert "failed" not in verdicts(3e-8, 1.0)


@pytest.mark.parametrize("distance", [1e-5, 1e-6, 1e-7])
def test_the_noise_of_an_array_is_what_two_right_programs_are_apart_by(distance):
    ratios = []
    for seed in range(40):
        net, x, y = nearly_fitted(seed, distance)
        exact, wide = in_float64(net), (x.astype(np.float64), y.astype(np.float64))
        noise = noise_of_arrays(exact, require_batch(exact, *wide), 2.0**-24)
        sides = net.loss_and_gradients(x, y)[1].flat, exact.loss_and_gradients(*wide)[1].flat
        for array, own in zip(net.shapes.arrays, noise, strict=True):
            apart = np.linalg.norm(array.view(sides[0]) - array.view(sides[1]))
            ratios.append(apart / own if apart else 0.0)
    assert np.max(ratios) < 4.0
    assert 0.2 < np.median(ratios) < 1.0


def test_samples_that_a_network_does_not_tell_apart_round_alike():
    """A dead layer: all samples have one output, and their errors add up."""
    rng = np.random.default_rng(0)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        weights = [rng.standard_normal((3, 2)), rng.standard_normal((4, 3)), np.ones((1, 4))]
        biases = [np.full((3, 1), -100.0), rng.random((4, 1)), rng.random((1, 1))]
        net = fastbp.Network(
            [w.astype(np.float32) for w in weights], [b.astype(np.float32) for b in biases]
        )
        x = rng.standard_normal((2, 400)).astype(np.float32)
        output = in_float64(net).forward(x.astype(np.float64)).output
        y = (output + 3e-7 * rng.standard_normal((1, 400))).astype(np.float32)
        for sign in (1, -1):
            given = sign * net.loss_and_gradients(x, y)[1].flat
            report = fastbp.check_network(net, x, y, given, seed=0)
            assert sign < 0 or report.verdict in ("passed", "vacuous"), (seed, str(report))
