"""The rounding of a quotient of two losses, beside its formula written out number by number."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastbp
from fastbp.network.differences.quotient_noise import noise_of_long_steps, quotient_noise
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import require_batch

pytestmark = pytest.mark.small

UNIT = 2.0**-53
STEPS = np.array([1e-6, 1e-4, 0.5])
MOVED = np.array([0.0, 0.125, 1e8])


def twice_the_sum(output, targets):
    return 2.0 * float(np.sum(output * targets))


def its_gradient(output, targets):
    return 2.0 * targets + 0.0 * output


def network(loss, *, biases=True, weight_decay=0.25):
    rng = np.random.default_rng(3)
    sizes = [(4, 3), (5, 4), (2, 5)]
    return fastbp.Network(
        [rng.normal(size=size) for size in sizes],
        [rng.normal(size=(size[0], 1)) for size in sizes] if biases else None,
        loss=loss, reduction="mean", scale=-3.0, weight_decay=weight_decay,
    )  # fmt: skip


def unperturbed(loss, **options):
    """Six samples, four of which are the same."""
    rng = np.random.default_rng(4)
    net, x, y = network(loss, **options), rng.normal(size=(3, 6)), rng.normal(size=(2, 6))
    x[:, 2:5] = x[:, :1]
    y = np.arange(6) % 2 if loss == "softmax_cross_entropy" else y
    return evaluate(net, require_batch(net, x, y)), x, y


def variances(net, x):
    """Of every output by rounding, in units of u squared, and the outputs."""
    variance, output = np.zeros((net.sizes[-1], x.shape[1])), np.zeros((net.sizes[-1], x.shape[1]))
    for n in range(x.shape[1]):
        h, own = list(x[:, n]), [0.0] * x.shape[0]
        for k, weight in enumerate(net.weights):
            bias = net.biases[k].reshape(-1) if net.biases is not None else np.zeros(len(weight))
            f = [math.fsum([*(row * h), b]) for row, b in zip(weight, bias, strict=True)]
            own = [
                math.fsum(w**2 * (v + t**2) for w, v, t in zip(row, own, h, strict=True))
                + f[i] ** 2 + bias[i] ** 2
                for i, row in enumerate(weight)
            ]  # fmt: skip
            if k < len(net.weights) - 1:
                own = [v if t > 0 else 0.0 for v, t in zip(own, f, strict=True)]
                h = [max(t, 0.0) for t in f]
        variance[:, n], output[:, n] = own, f
    return variance, output


LOSSES = ["least_squares", "softmax_cross_entropy", (twice_the_sum, its_gradient)]
NAMES = ["squares", "softmax", "custom"]


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("largest", [0.0, 9.0, 1e6])
@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_a_quotient_rounds_by_its_outputs_and_its_losses(loss, largest, biases):
    base, x, y = unperturbed(loss, biases=biases)
    variance, output = variances(base.network, x)
    if loss == "least_squares":
        slope = 2 * (np.abs(output - y) + math.sqrt(largest))
    elif loss == "softmax_cross_entropy":
        slope = np.ones(output.shape)
    else:
        slope = np.abs(2 * y)
    # Of these the roundings add up: the four that are the same, and all without an active unit.
    alike = [sum(np.array_equal(own, other) for other in output.T) for own in output.T]
    assert alike.count(4) + alike.count(5) >= 4
    spread = math.sqrt(np.sum(slope**2 * variance * alike))
    decay = 0.25 / 2 * sum(float(np.sum(w**2)) for w in base.network.weights)
    assert abs(base.decay_term) == pytest.approx(decay, rel=1e-14)
    size = 0.5 * (spread + max(abs(base.total), largest))  # a scale of -3, over six samples
    expected = 16 * UNIT * (size + decay) / 1e-3
    assert quotient_noise(base, "forward", 1e-3, largest) == pytest.approx(
        expected, rel=1e-13, abs=0
    )
    assert quotient_noise(base, "central", 1e-3, largest) == pytest.approx(
        expected / 2, rel=1e-13, abs=0
    )


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_long_steps_round_by_what_they_move(loss):
    base, x, _ = unperturbed(loss)
    variance = float(np.sum(variances(base.network, x)[0]))
    size = MOVED + (2 * np.sqrt(MOVED * variance) if loss == "least_squares" else 0.0)
    np.testing.assert_allclose(
        noise_of_long_steps(base, MOVED, STEPS), 16 * UNIT * 0.5 * size / (2 * STEPS), rtol=1e-13
    )


@pytest.mark.parametrize("loss", ["least_squares", "sigmoid_cross_entropy"])
@pytest.mark.parametrize(("batch", "grown"), [(16, 1.0), (24, 1.5), (100, 6.25)])
def test_equal_losses_are_rounded_alike_as_they_are_added(loss, batch, grown):
    """Beside as many samples of other losses, and as many whose loss the sum does not notice."""
    net = fastbp.Network([np.array([[1.0]])], loss=loss)
    x = np.concatenate(
        [np.full(batch, 2.0), np.linspace(3.0, 4.0, batch), np.full(2 * batch, 90.0)]
    )
    y = np.where(x == 90.0, 90.0 if loss == "least_squares" else 1.0, 0.0)
    base = evaluate(net, require_batch(net, x[None], y[None]))
    slope = 2 * np.abs(x - y) if loss == "least_squares" else np.ones(x.shape)
    alike = np.select([x == 2.0, x == 90.0], [batch, 2 * batch], 1)
    spread = math.sqrt(np.sum(slope**2 * 2 * x**2 * alike))
    assert quotient_noise(base, "forward", 1.0) == pytest.approx(
        16 * UNIT * (spread + grown * base.total), rel=1e-12, abs=0
    )
    moved = np.array([1.0])
    size = grown * 1.0
    if loss == "least_squares":
        size += 2 * math.sqrt(np.sum(2 * x**2))
    np.testing.assert_allclose(
        noise_of_long_steps(base, moved, np.array([0.5])), 16 * UNIT * size, rtol=1e-13
    )


@pytest.mark.parametrize("size", [1.0, 1e6, 0.0])
def test_outputs_that_differ_in_their_last_digits_round_alike(size):
    """As those of samples that are small beside a bias."""
    net = fastbp.Network([np.array([[1.0]])], loss=(twice_the_sum, its_gradient))
    x = size * (1.0 + 2.0**-50 * np.arange(6.0))
    base = evaluate(net, require_batch(net, x[None], np.full((1, 6), 0.25)))
    expected = 16 * UNIT * (math.sqrt(0.5**2 * 2 * size**2 * 6 * 6) + base.total)
    assert quotient_noise(base, "forward", 1.0) == pytest.approx(expected, rel=1e-9, abs=0)
