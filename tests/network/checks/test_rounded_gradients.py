"""What rounding makes of an array as a whole, and what is judged by it."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp.network.batch import Batch
from fastbp.network.checks.rounded_gradients import no_less_than_bars, noise_of_arrays
from fastbp.network.network import in_float64, require_batch
from fastbp.network.sensitivities.loss_slopes import loss_slopes

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


@pytest.mark.long
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


# ---- beside its formulas written out ----

SINGLE, OTHER = 2.0**-24, 2.0**-30  # any other counts as float64, whose own rounding is far below
SMALLEST = {SINGLE: 2.0**-126, OTHER: 1e-290}
NORMALS, GOLDEN = 4096, 0x9E3779B97F4A7C15


class RoundedByHand:
    """A backward pass with one random rounding in every operation, number by number."""

    def __init__(self, roundoff, random, *, alike=False):
        self.u, self.single, self.random = roundoff, roundoff == SINGLE, random
        self.alike = alike
        self.table = random.standard_normal(NORMALS)

    def kept(self, value):
        return float(np.float32(value)) if self.single else value

    def rounded(self, values, sizes, depth):
        """Sums of so many products: equal values of a unit, or of all, are rounded alike."""
        if not self.u:
            return values
        growth = max(0.25 * math.sqrt(depth), depth / 64)
        keys = self.random.integers(0, 2**63, (1 if self.alike else len(values), 1), np.uint64)
        found = np.empty(values.shape)
        for i, n in np.ndindex(values.shape):
            bits = int(values[i, n : n + 1].view(np.uint64)[0]) >> (25 if self.single else 6)
            place = ((bits + int(keys[i % len(keys), 0])) * GOLDEN) % 2**64 >> 52
            lost = self.u * sizes(i, n, growth) + SMALLEST[self.u] * (1 + growth)
            found[i, n] = values[i, n] + lost * self.table[place]
        return found

    def product(self, left, right, offset):
        values = left @ right

        def sizes(i, n, growth):
            return math.sqrt(sum((left[i] * right[:, n]) ** 2)) + growth * abs(values[i, n])

        found = self.rounded(values, sizes, left.shape[1])
        signs = np.zeros(len(found))
        if self.u and not self.single:
            signs = self.random.standard_normal((len(found), 1))[:, 0]
        for i, n in np.ndindex(found.shape):
            total = self.kept(found[i, n]) + offset[i, n]
            total += min(abs(offset[i, n]), self.u * abs(total)) * signs[i]
            found[i, n] = self.kept(total)
        return found

    def cast(self, array):
        """The numbers of the network and of its batch, as this program holds them."""
        return array.astype(np.float32).astype(np.float64) if self.single else array

    def gradient(self, net, x, slopes):
        levels, last = [self.cast(x)], len(net.weights) - 1
        weights = [self.cast(weight) for weight in net.weights]
        for k, weight in enumerate(weights):
            bias = np.zeros((len(weight), 1)) if net.biases is None else self.cast(net.biases[k])
            f = self.product(weight, levels[-1], bias + np.zeros(x.shape[1]))
            levels.append(np.where(f > 0, f, 0.0) if k < last else f)
        own, sizes, targets = slopes(levels[-1], self.cast)
        s = self.rounded(own, lambda i, n, _: sizes[i, n], 1)
        if self.u and net.objective.loss == "softmax_cross_entropy":
            shares = s + targets
            likeliest = shares.max(axis=0, keepdims=True)
            apart = self.rounded(
                likeliest, lambda *_: 1 + max(0.25 * math.sqrt(len(s)), len(s) / 64), len(s)
            )
            s = s + shares * (apart - likeliest)
        s = -0.25 * s  # of the loss as it is scaled
        found = []
        for k in range(last, -1, -1):
            if net.biases is not None:
                found.append(self.product(s, np.ones((x.shape[1], 1)), np.zeros((len(s), 1))))
            found.append(self.product(s, levels[k].T, net.objective.weight_decay * weights[k]))
            if k:
                s = self.product(weights[k].T, s, np.zeros(levels[k].shape))
                s[levels[k] <= 0] = 0.0
        return found[::-1]


def slopes_of(net, data, output, cast):
    """The derivative of the loss by the outputs, what its rounding is relative to, and targets."""
    y = data.y if data.y.ndim == 1 else cast(data.y)
    own = loss_slopes(net.objective, output, Batch(data.x, y, data.unit_axis))
    if net.objective.loss == "least_squares":
        return own, np.abs(own), None
    targets = np.eye(len(output))[y].T if y.ndim == 1 else y
    return own, np.abs(own) + 2 * targets, targets


@pytest.mark.small
def test_what_float32_cannot_hold_has_noise_too():
    """A sum of two terms of 3e38, of which a program may take the difference first."""
    net = fastbp.Network([np.array([[3e19, 3e19, -3e19]])], scale=1e-38)
    x, y = np.array([[1e19], [1e19], [1e19]]), np.zeros((1, 1))
    (noise,) = noise_of_arrays(net, require_batch(net, x, y), SINGLE)
    assert 0 < noise < 1e-5 * 1e20 * 1e19


@pytest.mark.small
@pytest.mark.parametrize(
    ("kind", "size", "biases", "roundoff"),
    [
        ("least_squares", 1.0, True, SINGLE),
        ("least_squares", 1.0, True, OTHER),
        ("least_squares", 1e-25, False, SINGLE),
        ("least_squares", 1e-283, True, OTHER),
        ("sigmoid_cross_entropy", 1.0, True, SINGLE),
        ("softmax_cross_entropy", 1.0, True, OTHER),
        ("softmax_cross_entropy", 1.0, True, SINGLE),
        ("least_squares", 2.0, False, OTHER),
    ],
)
def test_noise_is_that_of_sixteen_roundings_at_random(kind, size, biases, roundoff):
    rng = np.random.default_rng(5)
    sizes, batch = (2, 3, 2), 3
    net = fastbp.Network(
        [rng.normal(size=(o, i)) for i, o in pairwise(sizes)],
        [size * rng.normal(size=(o, 1)) for o in sizes[1:]] if biases else None,
        loss=kind, reduction="mean_entries", scale=-1.5,
        weight_decay=0.25 if size > 1e-100 else 0.0,
    )  # fmt: skip
    x = size * rng.normal(size=(2, batch))
    if size == 2.0:  # rounding decides on the masks: most runs move little, and a few a lot
        net.weights[0][:, 1] = net.weights[0][:, 0]
        x[1] = -x[0]
    y = size * rng.uniform(size=(2, batch))
    y = np.array([0, 1, 1]) if kind == "softmax_cross_entropy" else y
    data = require_batch(net, x, y)
    found = noise_of_arrays(net, data, roundoff)
    random = np.random.default_rng(0)
    slopes = partial(slopes_of, net, data)
    exact = RoundedByHand(0.0, random).gradient(net, x, slopes)
    runs = [
        RoundedByHand(roundoff, random, alike=run % 2 == 1).gradient(net, x, slopes)
        for run in range(16)
    ]
    apart = np.array(
        [
            [np.linalg.norm((one - other) / size) for one, other in zip(run, exact, strict=True)]
            for run in runs
        ]
    )
    usual, largest = np.sqrt(np.mean(apart**2, axis=0)), apart.max(axis=0)
    np.testing.assert_allclose(found, size * np.maximum(usual, largest / 2), rtol=1e-5)


@pytest.mark.small
def test_noise_is_no_less_than_the_bars_without_their_margin_of_32():
    """The norm of (96, 128) is 160."""
    bars = np.array([96.0, 128.0])
    assert no_less_than_bars(2.0, bars) == 5.0
    assert no_less_than_bars(7.0, bars) == 7.0
    assert no_less_than_bars(2.0, np.array([96.0, math.inf])) == 2.0
