"""Numbers at the ends of their range: the right verdict, or none; never a wrong one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fastbp

METHODS = ("certified", "exact", "replay")
LOSSES = ("least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy")
CHANGES = ("a weight", "all weights", "denormal", "targets", "inputs", "a bias", "an entry", "two")

Problem = tuple[fastbp.Network, np.ndarray, np.ndarray]

pytestmark = pytest.mark.skipif(
    np.finfo(np.longdouble).maxexp <= np.finfo(np.float64).maxexp,
    reason="no floats with a wider range to compare with",
)


def extreme_problem(seed: int) -> Problem | None:
    """A small network of which something is far too large or far too small; None if infinite."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 8, int(rng.integers(2, 7)))]
    batch, dtype = int(rng.integers(1, 6)), (np.float64, np.float32)[int(rng.integers(2))]
    loss, change = str(rng.choice(LOSSES)), str(rng.choice(CHANGES))
    weights = [rng.standard_normal((o, i)) * np.sqrt(2 / i) for i, o in pairwise(sizes)]
    biases = [0.3 * rng.standard_normal((o, 1)) for o in sizes[1:]]
    x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
    most = 300 if dtype == np.float64 else 37
    exponent, k = float(rng.integers(-most - 20, most)), int(rng.integers(len(weights)))
    with np.errstate(over="ignore"):  # what is infinite is left out below
        size, inverse = np.power(10.0, exponent), np.power(10.0, -exponent)
    if change == "a weight":
        weights[k] *= size
    elif change == "all weights":
        weights = [weight * 10.0 ** (exponent / len(weights)) for weight in weights]
    elif change == "denormal":
        weights[k] *= 1e-310 if dtype == np.float64 else 1e-41
    elif change == "targets":
        y *= size
    elif change == "inputs":
        x *= size
    elif change == "a bias":
        biases[k] *= size
    elif change == "an entry":
        weights[k].flat[int(rng.integers(weights[k].size))] *= size
    else:  # what one layer makes large another makes small again
        weights[k] *= size
        with np.errstate(over="ignore", invalid="ignore"):
            weights[-1] *= inverse
    if loss == "softmax_cross_entropy":
        y = rng.integers(0, sizes[-1], batch)
    elif loss == "sigmoid_cross_entropy":
        y = rng.random(y.shape)
    with np.errstate(over="ignore"):
        weights, biases = [w.astype(dtype) for w in weights], [b.astype(dtype) for b in biases]
        x, y = x.astype(dtype), y if y.dtype.kind == "i" else y.astype(dtype)
    if not all(np.isfinite(array).all() for array in (*weights, *biases, x, y)):
        return None
    decay = float(rng.choice([0.0, 0.0, 0.01]))
    return fastbp.Network(weights, biases, loss=loss, weight_decay=decay), x, y


def wide_gradient(net: fastbp.Network, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient in floats that go up to 1e4932, rounded."""
    wide = np.longdouble
    weights, biases = [w.astype(wide) for w in net.weights], [b.astype(wide) for b in net.biases]
    h, f = [x.astype(wide)], []
    for weight, bias in zip(weights, biases, strict=True):
        f.append(weight @ h[-1] + bias)
        h.append(np.maximum(f[-1], 0))
    if net.objective.loss == "least_squares":
        s = 2 * (f[-1] - y)
    elif net.objective.loss == "sigmoid_cross_entropy":
        s = 1 / (1 + np.exp(-f[-1])) - y
    else:
        s = np.exp(f[-1] - f[-1].max(axis=0))
        s /= s.sum(axis=0)
        labels = (y, np.arange(y.size))
        s[labels] = 0
        s[labels] = -s.sum(axis=0)
    parts: list[np.ndarray] = []
    for k in range(len(weights) - 1, -1, -1):
        own = s @ h[k].T + net.objective.weight_decay * weights[k]
        parts = [own.ravel(), s.sum(axis=1), *parts]
        if k:
            s = (weights[k].T @ s) * (f[k - 1] > 0)
    return np.concatenate(parts)


def assert_never_wrong(seed: int, method: str) -> str:
    """Check a right gradient and three wrong ones; return the verdict of the right one."""
    problem = extreme_problem(seed)
    if problem is None:
        return "infinite"
    net, x, y = problem
    with np.errstate(all="ignore"):
        right = wide_gradient(net, x, y).astype(net.dtype)
        wrong = {"times -3": -3 * right, "zero": np.zeros_like(right), "nan": right.copy()}
    place = int(np.random.default_rng(seed).integers(right.size))
    wrong["nan"][place] = np.nan
    verdict = fastbp.check_network(net, x, y, right, method=method, seed=seed).verdict
    assert verdict != "failed" or not np.isfinite(right).all(), (seed, method)
    for name, given in wrong.items():
        report = fastbp.check_network(net, x, y, given, method=method, seed=seed)
        assert report.verdict != "passed", (seed, method, name, str(report))
        assert name != "nan" or report.verdict != "vacuous"
        for row in report.arrays:
            assert row.verdict != "inconclusive" or row.reason
    return verdict


@pytest.mark.parametrize(
    "method", ["certified", "exact", pytest.param("replay", marks=pytest.mark.long)]
)
def test_extreme_numbers_never_get_a_wrong_verdict(method):
    verdicts = [assert_never_wrong(seed, method) for seed in range(24)]
    assert verdicts.count("passed") > 0.5 * len(verdicts)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_a_thousand_networks_of_extreme_numbers(method):
    for seed in (*range(24, 80), *range(100, 1100)):
        assert_never_wrong(seed, method)


# ---- one by one ----


def example(loss: str = "least_squares", dtype: type = np.float64) -> Problem:
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([4, 5, 6, 2], seed=0, loss=loss, dtype=dtype)
    x, y = rng.standard_normal((4, 3)).astype(dtype), rng.standard_normal((2, 3)).astype(dtype)
    return net, x, y


def huge_weights(net: fastbp.Network, _: np.ndarray) -> None:
    net.weights[0][...] *= 1e200


def denormal_weights(net: fastbp.Network, _: np.ndarray) -> None:
    net.weights[1][...] *= 1e-300


def huge_targets(_: fastbp.Network, y: np.ndarray) -> None:
    y *= 1e300


def tiny_activations(net: fastbp.Network, _: np.ndarray) -> None:
    net.weights[0][...] = 0
    net.biases[0][...] = 1e-300


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (huge_weights, "overflow"),
        (denormal_weights, "underflow: the sensitivities of layer 0"),
        (huge_targets, "overflow"),
        (tiny_activations, "underflow: the activations of layer 0"),
    ],
)
def test_out_of_range_is_inconclusive_with_its_layer(change, reason, method):
    net, x, y = example()
    change(net, y)
    _, own = net.loss_and_gradients(x, y)
    finite = np.where(np.isfinite(own.flat), own.flat, 1.0)
    for given in (finite, 0 * finite, 0.5 * finite):
        report = fastbp.check_network(net, x, y, given, method=method)
        assert report.verdict == "inconclusive", str(report)
        assert reason in report.arrays[0].reason
    wrong_shape = ([w.T for w in own.weights], own.biases)
    report = fastbp.check_network(net, x, y, wrong_shape, method=method)
    assert report.verdict == "failed"
    assert "must have shape" in report.arrays[0].reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e1, 1e3, 1e6, 1e12])
def test_a_saturated_softmax_is_judged(size, dtype, method):
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([4, 5, 3], seed=0, loss="softmax_cross_entropy", dtype=dtype)
    net.weights[1][...] *= size
    x = rng.standard_normal((4, 6)).astype(dtype)
    y = net.forward(x).output.argmin(axis=0)
    _, own = net.loss_and_gradients(x, y)
    report = fastbp.check_network(net, x, y, own, method=method)
    assert report.verdict == "passed", str(report)
    for wrong in (1.1 * own.flat, -own.flat, 0 * own.flat):
        given = wrong.astype(dtype)
        assert fastbp.check_network(net, x, y, given, method=method).verdict == "failed"


@pytest.mark.parametrize("method", METHODS)
def test_a_confident_softmax_that_is_right_is_zero_on_both_sides(method):
    net, x, _ = example("softmax_cross_entropy")
    net.weights[2][...] *= 1e6
    y = net.forward(x).output.argmax(axis=0)
    _, own = net.loss_and_gradients(x, y)
    report = fastbp.check_network(net, x, y, own, method=method)
    assert report.verdict == "vacuous", str(report)
    report = fastbp.check_network(net, x, y, own.flat + 0.1, method=method)
    assert report.verdict == "failed"
