"""Certified checks: no false alarm, no miss, true error bars, proofs that fail when due."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import reference
from fastbp.kernels.comparison.chunks import PROOF, WRONG

import fastbp
from fastbp.errors import NonFiniteError
from fastbp.network.checks.tile_comparison import Tiles
from fastbp.network.differences.replay import entry_name
from fastbp.network.given_gradients import given_gradients
from fastbp.network.sensitivities.certificate import judge_sweeps
from fastbp.network.sensitivities.hull import hull_of
from fastbp.network.sensitivities.sweeps import Sweeps
from fastbp.verdict.tolerance import Tolerance

UNIT = 2.0**-53
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
    assert entry_name(net, place) == found.where
    return kinks


def only_failure(net, x, y, changed, method, seed):
    report = fastbp.check_network(net, x, y, changed.astype(net.dtype), method=method, seed=seed)
    assert (report.verdict, report.wrong, len(report.failures)) == ("failed", 1, 1), seed
    return report.failures[0]


@pytest.mark.parametrize("block", range(4))
def test_random_networks(block):
    for seed in range(25 * block, 25 * block + 25):
        assert_right_and_wrong_are_told_apart(seed)


def small_enough(seed: int, operations: int) -> bool:
    """Whether a replay of the network takes about as long as certified checks do."""
    net, x, _ = random_network(seed)
    return net.parameters.size * x.shape[1] * net.parameters.size < operations


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


# ---- error bars against exact arithmetic ----


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
            assert distance < 1 or np.all(bar <= 1e-10 * size + tiles.smallest)
            over += list(bar[error > 0] / error[error > 0])
        assert sweeps.batch == 6
    assert np.percentile(over, 90) < 1e4


# ---- proofs ----


def swept(net, x, y, seed=0):
    sweeps = Sweeps(net, x, y, roundoff=UNIT, directions=2, seed=seed, max_memory=2**30)
    sweeps.everything()
    assert judge_sweeps(sweeps).problem == ""
    tiles = Tiles(sweeps, hull_of(sweeps), roundoff=UNIT, tolerance=Tolerance(0.0, 0.0))
    return sweeps, tiles


def corrupted_is_caught(seed: int, kind: str) -> None:
    """Change one sensitivity after the way back: the proof must object, and say where.

    As if its product had come out wrong, as if it had been changed after that, or its mask flipped.
    """
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(2, 33, int(rng.integers(3, 8)))]
    batch = int(rng.integers(1, 20))
    net = fastbp.Network.random(sizes, seed=seed)
    x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
    sweeps = Sweeps(net, x, y, roundoff=UNIT, directions=2, seed=seed, max_memory=2**30)
    sweeps.forward()
    sweeps.reverse()
    last = len(sizes) - 2
    k = int(rng.integers(last if kind == "mask" else last + 1))
    s = sweeps.sensitivity(k)
    before = sweeps._rows(sweeps.before, sum(sizes[1 : k + 1]), sizes[k + 1])
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
        panels = sweeps._panels(sweeps.before, sum(sizes[1 : k + 1]), sizes[k + 1])
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


def test_a_corrupted_tile_is_caught():
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([40, 30, 20], seed=0)
    x, y = rng.standard_normal((40, 9)), rng.standard_normal((20, 9))
    own = given_gradients(net, x, y, None)
    for seed in range(50):
        sweeps, tiles = swept(net, x, y, seed)
        run = tiles._run
        wrong = np.random.default_rng(seed).integers([30, 9]) @ [sweeps.pitch, 1]

        def in_two_calls(schedule, table, packed, *others, run=run, place=wrong, **options):
            run(schedule[:2], table, packed, *others, **options)
            left = packed[0]
            left[place] += 1e-8 * (1 + np.abs(left[place]))
            run([(*phase[:4], 0) for phase in schedule[2:]], table, packed, *others, **options)

        tiles._run = in_two_calls
        found = tiles.compare([0, 1], own.flat, list(net.shapes.weight_offsets), [1.0, 1.0])
        assert found.findings[0][:, PROOF].max() > 1, seed
        assert found.findings[1][:, PROOF].max() == 0


# ---- the same whatever the threads; every layout; what a report collects ----


def test_the_bits_do_not_depend_on_the_threads():
    rng = np.random.default_rng(0)
    before = fastbp.get_num_threads()
    for sizes, batch in (([300, 400, 300, 5], 80), ([60, 64, 64, 64, 3], 200)):
        net = fastbp.Network.random(sizes, seed=1)
        x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
        found = []
        for threads in (1, 2, 3):
            fastbp.set_num_threads(threads)
            sweeps, tiles = swept(net, x, y)
            parts = [tiles.expand(k, slice(0, sizes[k + 1]))[0] for k in range(len(sizes) - 1)]
            found.append([sweeps.gaps, sweeps.z_sizes, sweeps.x_sizes, *parts])
        fastbp.set_num_threads(before)
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("by_panels", [False, True])
def test_panels_that_go_through_alone_give_the_same_bits(by_panels):
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([20, 30, 25, 5], seed=1)
    x, y = rng.standard_normal((20, 100)), rng.standard_normal((5, 100))
    expected, _ = swept(net, x, y)
    sweeps = Sweeps(net, x, y, roundoff=UNIT, directions=2, seed=0, max_memory=2**30)
    sweeps.by_panels = by_panels
    sweeps.everything()
    for name in ("h", "s", "gaps", "projected", "x_sizes", "z_sizes", "dots"):
        np.testing.assert_array_equal(getattr(sweeps, name), getattr(expected, name))


@pytest.mark.parametrize("layout", ["torch", "keras"])
@pytest.mark.parametrize("separate", [False, True])
def test_layouts_maps_and_samples(layout, separate):
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([300, 200, 7], seed=0, layout=layout, weight_decay=0.1)
    x, y = rng.standard_normal((33, 300)), rng.standard_normal((33, 7))
    _, own = net.loss_and_gradients(x, y)
    own.weights[0][17, 150] += 1e-3
    given = (own.weights, own.biases) if separate else own
    report = fastbp.check_network(net, x, y, given, seed=0)
    assert [failure.where for failure in report.failures] == ["weights[0][17, 150]"]
    row = report.arrays[0]
    assert row.worst.index == (17, 150)
    assert (row.wrong, row.factor) == (1, pytest.approx(1, abs=1e-6))
    cells = report.maps["weights[0]"]
    assert max(cells.shape) <= 128
    high = np.unravel_index(cells.argmax(), cells.shape)
    rows, columns = np.ceil(np.array(row.shape) / cells.shape)
    assert (17 // rows, 150 // columns) == pytest.approx(high, abs=1)
    assert np.count_nonzero(cells > 1) == 1
    samples = np.concatenate(list(report.samples.values()))
    assert 500 < len(samples) < 2000
    for place, value, numerical, bar, radius in report.samples["weights[1]"]:
        assert value == own.weights[1].reshape(-1)[int(place)]
        assert abs(value - numerical) <= bar
        assert radius == 0


def test_little_memory_gives_the_same_findings():
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([50, 60, 40, 3], seed=0)
    x, y = rng.standard_normal((50, 20)), rng.standard_normal((3, 20))
    own = given_gradients(net, x, y, None)
    _, roomy = swept(net, x, y)
    _, tight = swept(net, x, y)
    tight._together = False
    offsets = list(net.shapes.weight_offsets)
    one, two = (t.compare([0, 1, 2], own.flat, offsets, [1.0] * 3) for t in (roomy, tight))
    for k in range(3):
        np.testing.assert_array_equal(one.findings[k], two.findings[k])
        assert one.findings[k][:, WRONG].sum() == 0


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
    sweeps = Sweeps(net, x, y, roundoff=UNIT, directions=2, seed=0, max_memory=2**30)
    sweeps.forward()
    sweeps.reverse()
    s = sweeps.sensitivity(0)
    assert 0 < np.abs(s[:, 0]).max() < 1e-290
    sweeps.prove()
    assert judge_sweeps(sweeps).problem == ""
    assert judge_sweeps(sweeps).samples == 1
    assert "1 sample is too faint to prove" in str(fastbp.check_network(net, x, y))
    sweeps.replace_samples(0, np.array([0]), s[:, :1] + 0.5)
    sweeps.prove()
    assert "layer 0 fail their certificate in sample 0" in judge_sweeps(sweeps).problem


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
