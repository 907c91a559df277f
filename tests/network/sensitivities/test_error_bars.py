"""Error bars of certified checks, against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support.swept_networks import swept

import fastbp
from fastbp.network.sensitivities.error_bars import unit_roundoff


def exact_gradient(weights, biases, x, y):
    """dL/dW of least squares in rational arithmetic."""
    exact = np.vectorize(Fraction, otypes=[object])
    weights, biases, x, y = (
        [exact(w) for w in weights],
        [exact(b) for b in biases],
        exact(x),
        exact(y),
    )
    f, h = [], [x]
    for w, b in zip(weights, biases, strict=True):
        f.append(w.dot(h[-1]) + b)
        h.append(np.where(f[-1] > 0, f[-1], 0))
    s, result = 2 * (f[-1] - y), []
    for k in range(len(weights) - 1, -1, -1):
        result.insert(0, s.dot(h[k].T))
        s = weights[k].T.dot(s) * (f[k - 1] > 0) if k else s
    return result


@pytest.mark.small
def test_one_rounding_is_off_by_half_a_unit_in_the_last_place():
    assert unit_roundoff(np.float64) == 2.0**-53
    assert unit_roundoff(np.float32) == 2.0**-24


@pytest.mark.parametrize("distance", [1.0, 1e-6, 1e-12])
def test_bars_are_above_the_true_error_and_not_far_above(distance):
    over = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        sizes = [int(n) for n in rng.integers(2, 9, int(rng.integers(3, 6)))]
        net = fastbp.Network.random(sizes, seed=seed)
        x = rng.standard_normal((sizes[0], 6))
        y = net.forward(x).output + distance * rng.standard_normal((sizes[-1], 6))
        sweeps, tiles = swept(net, x, y)
        for k, exact in enumerate(exact_gradient(net.weights, net.biases, x, y)):
            value, _ = tiles.expand(k, slice(0, sizes[k + 1]))
            bar = tiles.bar_rows(k, slice(0, sizes[k + 1]))
            difference = np.vectorize(Fraction, otypes=[object])(value) - exact
            error = np.abs(difference.astype(np.float64))
            assert np.all(error <= bar)
            size = np.outer(tiles.bars.s_sizes[sum(sizes[1 : k + 1]) :][: sizes[k + 1]],
                            tiles.bars.h_sizes[sum(sizes[:k]) :][: sizes[k]])  # fmt: skip
            assert distance < 1 or np.all(bar <= 1e-10 * size + 100 * tiles.smallest)
            over += list(bar[error > 0] / error[error > 0])
        assert sweeps.batch == 6
    assert np.percentile(over, 90) < 1e4
