"""The certificate: what is corrupted is caught, what is correct is proved."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.certificate import judge_sweeps
from fastbp.network.sensitivities.sweeps import Sweeps

UNIT = 2.0**-53


# ---- proofs ----


def corrupted_is_caught(seed: int, kind: str) -> None:
    """Change one sensitivity after the way back: the proof must object, and say where.

    As if its product had come out wrong, as if it had been changed after that, or its mask flipped.
    """
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(2, 33, int(rng.integers(3, 8)))]
    batch = int(rng.integers(1, 20))
    net = fastbp.Network.random(sizes, seed=seed)
    x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
    batch = require_batch(net, x, y)
    sweeps = Sweeps(net, batch, roundoff=UNIT, directions=2, seed=seed, max_memory=2**30)
    sweeps.forward()
    sweeps.reverse()
    last = len(sizes) - 2
    k = int(rng.integers(last if kind == "mask" else last + 1))
    s = sweeps.sensitivity(k)
    before = sweeps._rows(sweeps.unmasked, sum(sizes[1 : k + 1]), sizes[k + 1])
    places = np.argwhere((before if kind == "mask" else s) != 0)
    if not len(places):
        return
    unit, sample = places[rng.integers(len(places))]
    column = s[:, [sample]]
    if kind == "mask":
        column[unit] = 0.0 if column[unit] else before[unit, sample]
    else:
        column[unit] += 1e-8 * np.linalg.norm(column)
    sweeps.replace_samples(k, np.array([sample]), column)
    if kind == "product":
        panels = sweeps._panels(sweeps.unmasked, sum(sizes[1 : k + 1]), sizes[k + 1])
        panels[sample // sweeps.width, unit, sample % sweeps.width] = column[unit, 0]
    sweeps.prove()
    problem = judge_sweeps(sweeps).problem
    assert "a defect of fastbp" in problem, (seed, k, unit, sample)
    assert f"sample {sample} " in problem
    assert k == last or f"layer {k} " in problem


KINDS_OF_CORRUPTION = ["product", "later", "mask"]


@pytest.mark.parametrize("kind", KINDS_OF_CORRUPTION)
def test_corrupted_sensitivities_are_caught(kind):
    for seed in range(60):
        corrupted_is_caught(seed, kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS_OF_CORRUPTION)
def test_thousands_of_corrupted_sensitivities_are_caught(kind):
    for seed in range(100, 3600):
        corrupted_is_caught(seed, kind)


def test_a_defect_makes_the_check_inconclusive(monkeypatch):
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([6, 8, 5, 2], seed=0)
    x, y = rng.standard_normal((6, 9)), rng.standard_normal((2, 9))
    whole = Sweeps.prove

    def prove(self):
        hidden = self.s[: 8 * self.pitch]
        hidden[np.argmax(np.abs(hidden))] *= 1 + 1e-6
        whole(self)

    monkeypatch.setattr(Sweeps, "prove", prove)
    report = fastbp.check_network(net, x, y, seed=3)
    assert report.verdict == "inconclusive"
    assert "seed 3" in report.arrays[0].reason
    assert "no proof" in str(report)


# ---- what a review found ----


@pytest.mark.parametrize("width", [128, 256, 1000, 2000])
def test_sums_of_equal_terms_are_proved(width):
    """Every rounding of such a sum may go the same way."""
    rng = np.random.default_rng(width)
    for sizes in ([5, 1, width, 1], [3, width, width, 2], [3, width, 2, 2]):
        for _ in range(4):
            weights = [np.full((o, i), rng.uniform(0.3, 3) / i) for i, o in pairwise(sizes)]
            net = fastbp.Network(weights)
            x, y = rng.uniform(0.1, 1, (sizes[0], 3)), rng.standard_normal((sizes[-1], 3))
            report = fastbp.check_network(net, x, y)
            assert report.verdict == "passed", str(report)


@pytest.mark.parametrize("method", ["certified", "exact"])
def test_a_softmax_that_is_wrong_and_sure_is_no_defect(method):
    for apart in np.linspace(690, 760, 15):
        net = fastbp.Network(
            [np.array([[0.3, 0.1], [-apart, 0.2], [5.0, 1.0]])], loss="softmax_cross_entropy"
        )
        for seed in range(4):
            report = fastbp.check_network(
                net, np.array([[1.0], [0.5]]), np.array([0]), seed=seed, method=method
            )
            assert report.verdict == "passed", str(report)


def test_a_faint_sample_is_proved_all_the_same():
    net = fastbp.Network(
        [np.eye(2), np.array([[690.0, 0.0], [0.0, 1.0]])], loss="softmax_cross_entropy"
    )
    x, y = np.array([[1.0, 0.001], [0.5, 1.0]]), np.array([0, 0])
    batch = require_batch(net, x, y)
    sweeps = Sweeps(net, batch, roundoff=UNIT, directions=2, seed=0, max_memory=2**30)
    sweeps.forward()
    sweeps.reverse()
    s = sweeps.sensitivity(0)
    assert 0 < np.abs(s[:, 0]).max() < 1e-290
    sweeps.prove()
    assert judge_sweeps(sweeps).problem == ""
    assert judge_sweeps(sweeps).samples == 1
    shown = " ".join(str(fastbp.check_network(net, x, y)).split())
    assert "1 sample is too faint to prove" in shown
    sweeps.replace_samples(0, np.array([0]), s[:, :1] + 0.5)
    sweeps.prove()
    assert "layer 0 fail their certificate in sample 0" in judge_sweeps(sweeps).problem


def test_rows_of_many_sizes_make_no_pair_a_defect():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        sizes = [int(n) for n in rng.integers(2, 20, 4)]
        weights = [
            rng.standard_normal((o, i)) * 10.0 ** rng.integers(-6, 7, (o, 1))
            for i, o in pairwise(sizes)
        ]
        net = fastbp.Network(weights)
        x, y = rng.standard_normal((sizes[0], 5)), rng.standard_normal((sizes[-1], 5))
        report = fastbp.check_network(net, x, y, seed=seed)
        assert "defect" not in str(report), str(report)
        assert report.verdict in ("passed", "vacuous"), str(report)


def test_a_pair_that_moves_saturated_logits_far_is_no_defect():
    """No unit is active, so the logits are biases, and the step is 1e-6 of far larger weights."""
    net = fastbp.Network(
        [np.array([[1.0]]), np.array([[1e6], [-1e6], [2e6]])],
        [np.array([[-2.0]]), np.array([[40.0], [18.0], [5.0]])],
        loss="softmax_cross_entropy",
    )
    for seed in range(20):
        report = fastbp.check_network(net, np.ones((1, 1)), np.array([0]), seed=seed)
        assert report.certificate.differenced == 1
        assert report.verdict == "passed", str(report)


@pytest.mark.parametrize("method", ["certified", "exact", "replay"])
def test_long_sums_one_after_the_other_pass(method):
    """A batch of thousands of the same sample, added up in a plain loop in float32."""
    net = fastbp.Network(
        [np.full((3, 2), 0.3), np.full((2, 3), 0.7)], [np.full((3, 1), 0.1), np.full((2, 1), 0.1)]
    )
    x, y = np.full((2, 4096), 0.37), np.full((2, 4096), 7.1)
    forward = net.forward(x)
    f, h = forward.preactivations, forward.activations
    s = [None, (2 * (f[1] - y)).astype(np.float32)]
    s[0] = (net.weights[1].T @ s[1] * (f[0] > 0)).astype(np.float32)
    dweights, dbiases = [], []
    for k in range(2):
        weight = np.zeros(net.weights[k].shape, np.float32)
        bias = np.zeros((len(weight), 1), np.float32)
        for n in range(4096):
            weight += np.outer(s[k][:, n], h[k][:, n].astype(np.float32))
            bias += s[k][:, n : n + 1]
        dweights.append(weight)
        dbiases.append(bias)
    report = fastbp.check_network(net, x, y, (dweights, dbiases), method=method)
    assert report.verdict == "passed", str(report)
