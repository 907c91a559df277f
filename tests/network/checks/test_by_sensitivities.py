"""Certified checks: right and wrong gradients of random networks are told apart."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import numpy as np
import pytest
import reference

import fastbp
from fastbp.errors import NonFiniteError
from fastbp.network.checks import by_sensitivities

LOSSES = ("least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy")
KINDS = ("plain", "zero biases", "zero inputs", "integers", "duplicates", "zero rows")


def random_network(seed: int, largest: int = 64) -> tuple[fastbp.Network, np.ndarray, np.ndarray]:
    """A network of issue 4: everything is drawn by itself, so that every pair of traits occurs."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, largest + 1, int(rng.integers(2, 10)))]
    batch, kind = int(rng.integers(1, largest + 1)), str(rng.choice(KINDS))
    dtype = (np.float64, np.float32)[int(rng.integers(3)) == 2]
    weights = [rng.standard_normal((o, i)) * np.sqrt(2 / i) for i, o in pairwise(sizes)]
    biases = [0.3 * rng.standard_normal((o, 1)) for o in sizes[1:]]
    x = rng.standard_normal((sizes[0], batch))
    if kind == "zero biases":
        biases = [0 * b for b in biases]
    if kind in ("zero biases", "zero inputs"):
        x[:, ::2] = 0
    elif kind == "integers":
        weights, biases = [np.round(w) for w in weights], [np.round(b) for b in biases]
        x = np.round(x)
    elif kind == "duplicates":
        weights[0][:] = weights[0][:1]
    elif kind == "zero rows":
        weights[0][::2] = 0
        biases[0][::2] = 0
    loss, confident = str(rng.choice(LOSSES)), bool(rng.integers(2))
    if loss != "least_squares" and confident:
        weights[-1] *= 20
    net = fastbp.Network(
        [w.astype(dtype) for w in weights], [b.astype(dtype) for b in biases], loss=loss,
        reduction=str(rng.choice(["sum", "mean"])),
        weight_decay=0.01 * (int(rng.integers(3)) == 0),
    )  # fmt: skip
    x = x.astype(dtype)
    output = net.forward(x).output
    if loss == "softmax_cross_entropy":
        return net, x, output.argmax(axis=0) if confident else rng.integers(0, sizes[-1], batch)
    if loss == "sigmoid_cross_entropy":
        targets = output > 0 if confident else rng.integers(0, 9, output.shape) / 8
        return net, x, targets.astype(dtype)
    distance = float(rng.choice([1.0, 1e-4, 1e-8])) * rng.standard_normal(output.shape)
    return net, x, (output + distance * (1 + np.abs(output))).astype(dtype)


def reference_gradient(net, x, y, relu_at_zero=0.0) -> np.ndarray:
    objective = net.objective
    other = reference.Reference(
        list(net.weights), list(net.biases), objective.loss, objective.reduction,
        objective.scale, objective.weight_decay, relu_at_zero, net.layout,
    )  # fmt: skip
    return reference.loss_and_gradients(other, x, y)[1].flat


def permuted_gradient(net, x, y, rng) -> np.ndarray:
    """The gradient of the network with its hidden units and samples in another order."""
    orders = [np.arange(net.sizes[0])]
    orders += [rng.permutation(n) for n in net.sizes[1:-1]]
    orders.append(np.arange(net.sizes[-1]))
    samples, objective = rng.permutation(x.shape[1]), net.objective
    other = fastbp.Network(
        [w[np.ix_(orders[k + 1], orders[k])] for k, w in enumerate(net.weights)],
        [b[orders[k + 1]] for k, b in enumerate(net.biases)],
        loss=objective.loss, reduction=objective.reduction, weight_decay=objective.weight_decay,
    )  # fmt: skip
    _, own = other.loss_and_gradients(x[:, samples], y[..., samples])
    result = net.loss_and_gradients(x, y)[1]
    for k, (weight, bias) in enumerate(zip(own.weights, own.biases, strict=True)):
        result.weights[k][np.ix_(orders[k + 1], orders[k])] = weight
        result.biases[k][orders[k + 1]] = bias
    return result.flat


def assert_right_and_wrong_are_told_apart(seed: int, method: str = "certified") -> int:
    """Check gradients from three places, and one with a wrong entry; return how many kinks."""
    net, x, y = random_network(seed)
    rng = np.random.default_rng(seed)
    kinks = 0
    convention = (0.0, 0.5, 1.0)[seed % 3]
    for given in (
        reference_gradient(net, x, y, convention), None, permuted_gradient(net, x, y, rng),
    ):  # fmt: skip
        report = fastbp.check_network(net, x, y, given, method=method, seed=seed)
        assert report.wrong == 0, (seed, str(report))
        assert report.verdict in ("passed", "vacuous"), (seed, str(report))
        zero = [row.verdict == "untested" for row in report.arrays]
        assert report.verdict == "passed" or all(zero)
        kinks = max(kinks, report.kinks)
    own = net.loss_and_gradients(x, y)[1].flat
    place = int(rng.integers(own.size))
    changed = own.astype(np.float64)
    changed[place] += 10 * report.detectable
    found = only_failure(net, x, y, changed, method, seed)
    # What is allowed at that entry is its bar and the width of its hull, whatever is given there.
    changed[place] = own[place] + 10 * found.allowed
    again = only_failure(net, x, y, changed, method, seed)
    assert (again.array, again.index) == (found.array, found.index)
    assert net.shapes.entry_name(place) == found.where
    return kinks


def only_failure(net, x, y, changed, method, seed):
    report = fastbp.check_network(net, x, y, changed.astype(net.dtype), method=method, seed=seed)
    assert (report.verdict, report.wrong, len(report.failures)) == ("failed", 1, 1), seed
    return report.failures[0]


@pytest.mark.parametrize(
    "block", [0, *(pytest.param(block, marks=pytest.mark.long) for block in range(1, 4))]
)
def test_random_networks(block):
    for seed in range(25 * block, 25 * block + 25):
        assert_right_and_wrong_are_told_apart(seed)


def small_enough(seed: int, operations: int) -> bool:
    """Whether a replay of the network takes about as long as certified checks do."""
    net, x, _ = random_network(seed)
    return net.parameters.size * x.shape[1] * net.parameters.size < operations


@pytest.mark.long
@pytest.mark.parametrize("method", ["exact", "replay"])
def test_random_networks_by_the_other_methods(method):
    for seed in range(100):
        if method == "exact" or small_enough(seed, 10**8):
            assert_right_and_wrong_are_told_apart(seed, method)


@pytest.mark.long
@pytest.mark.parametrize("method", ["certified", "exact", "replay"])
def test_a_thousand_random_networks(method):
    for seed in range(100, 1100):
        if method != "replay" or small_enough(seed, 10**8):
            assert_right_and_wrong_are_told_apart(seed, method)


def test_continuous_data_have_no_kinks():
    """At most 1 of 1e6 entries, in float64; float32 cannot tell so well where 0 is."""
    entries = kinks = 0
    for seed in range(220):
        rng = np.random.default_rng([1, seed])
        sizes = [int(n) for n in rng.integers(1, 65, int(rng.integers(2, 10)))]
        net = fastbp.Network.random(sizes, seed=seed, loss=LOSSES[seed % 3])
        x = rng.standard_normal((sizes[0], int(rng.integers(1, 65))))
        y = rng.random((sizes[-1], x.shape[1]))
        report = fastbp.check_network(net, x, y / y.sum(axis=0) if seed % 3 == 1 else y, seed=seed)
        entries, kinks = entries + report.entries, kinks + report.kinks
    assert entries > 10**6
    assert kinks <= entries / 10**6


@pytest.mark.parametrize("order", ["<f4", ">f4"])
def test_the_order_of_bytes_makes_no_float32_a_float64(order):
    rng = np.random.default_rng(0)
    net = fastbp.Network([rng.standard_normal((o, i)) for i, o in ((5, 7), (7, 3))])
    x, y = rng.standard_normal((5, 9)), rng.standard_normal((3, 9))
    _, own = net.loss_and_gradients(x, y)
    given = [w.astype(order) for w in own.weights]
    assert fastbp.check_network(net, x, y, (given, None)).verdict == "passed"


@pytest.mark.parametrize("sizes", [[1, 1], [1, 1, 1], [2, 1], [1, 3], [1, 1, 2], [1, 5, 1]])
def test_what_is_no_number_is_an_error_however_small_the_network(sizes):
    for place in range(fastbp.Network.random(sizes, seed=0).parameters.size):
        net = fastbp.Network.random(sizes, seed=0)
        given = net.loss_and_gradients(np.ones((sizes[0], 2)), np.ones((sizes[-1], 2)))[1]
        for value in (np.nan, np.inf, -np.inf):
            net.parameters[place] = value
            with pytest.raises(NonFiniteError):
                fastbp.check_network(net, np.ones((sizes[0], 2)), np.ones((sizes[-1], 2)), given)
    net = fastbp.Network.random(sizes, seed=0)
    for bad in (np.nan, np.inf):
        with pytest.raises(NonFiniteError, match="x must be finite"):
            fastbp.check_network(net, np.full((sizes[0], 2), bad), np.ones((sizes[-1], 2)), given)
        with pytest.raises(NonFiniteError, match="y must be finite"):
            fastbp.check_network(net, np.ones((sizes[0], 2)), np.full((sizes[-1], 2), bad), given)


@pytest.mark.small
@pytest.mark.parametrize("sizes", [[5, 9, 7, 3], [40, 300, 2]])
def test_a_report_that_nobody_has_looked_at_holds_nothing_large(monkeypatch, sizes):
    held = []

    class Noted(by_sensitivities.Sweeps):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            held.append(weakref.ref(self.h.base))

    monkeypatch.setattr(by_sensitivities, "Sweeps", Noted)
    net, rng = fastbp.Network.random(sizes, seed=1), np.random.default_rng(0)
    x, y = rng.standard_normal((sizes[0], 3)), rng.standard_normal((sizes[-1], 3))
    given = net.loss_and_gradients(x, y)[1].flat.copy()
    held.append(weakref.ref(given))
    report = fastbp.check_network(net, x, y, given, seed=1)
    del given
    gc.collect()
    assert [there() for there in held] == [None, None]
    assert [row.verdict for row in report.arrays] == ["passed"] * len(net.arrays())
