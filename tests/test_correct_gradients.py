"""A correct gradient must pass, wherever it comes from."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from support.strategies import LAYOUTS, LOSSES, Problem, make_problem, problems

import fastbp


def random_problem(seed: int, **options) -> Problem:
    """Any shape and objective; normal values."""
    rng = np.random.default_rng([7, seed])
    choices = {
        "layout": str(rng.choice(LAYOUTS)),
        "bias": str(rng.choice(["none", "flat", "column"])),
        "loss": LOSSES[rng.integers(4)],
        "reduction": str(rng.choice(["sum", "mean", "mean_entries"])),
        "scale": float(rng.choice([1.0, 0.5])),
        "weight_decay": float(rng.choice([0.0, 0.0, 0.01])),
        "class_indices": bool(rng.integers(2)),
    }
    sizes = [int(n) for n in rng.integers(1, 20, size=rng.integers(2, 6))]
    batch = int(rng.integers(1, 12))
    return make_problem(sizes, batch, seed=seed, **{**choices, **options})


def assert_nearly_all_pass(reports: list[fastbp.Report]) -> None:
    """No false alarm at all, and hardly a net on which the check cannot make up its mind."""
    alarms = [str(report) for report in reports if report.verdict == "failed"]
    assert not alarms, alarms[0]
    assert all(report.diagnosis == () for report in reports)
    passed = sum(report.verdict == "passed" for report in reports)
    assert passed >= 0.95 * len(reports)


def of_reference(problem: Problem) -> reference.ReferenceGradients:
    return reference.loss_and_gradients(problem.reference(), problem.x, problem.y)[1]


# ---- the reference ----


def test_gradients_of_the_reference_pass():
    reports = []
    for seed in range(200):
        problem = random_problem(seed)
        flat = of_reference(problem).flat
        reports.append(fastbp.check_network(problem.network(), problem.x, problem.y, flat))
    assert_nearly_all_pass(reports)


@pytest.mark.long
def test_gradients_of_the_reference_in_float32_pass():
    reports = []
    for seed in range(200):
        problem = random_problem(seed, dtype=np.float32)
        flat = of_reference(problem).flat.astype(np.float32)
        reports.append(fastbp.check_network(problem.network(), problem.x, problem.y, flat))
    assert_nearly_all_pass(reports)


@pytest.mark.parametrize("dtype", [pytest.param(np.float64, marks=pytest.mark.long), np.float32])
def test_our_own_gradients_pass(dtype):
    reports = []
    for seed in range(200):
        problem = random_problem(seed, dtype=dtype)
        reports.append(fastbp.check_network(problem.network(), problem.x, problem.y))
    assert_nearly_all_pass(reports)


@given(problems(max_size=17, max_batch=9))
def test_no_correct_gradient_is_called_wrong(problem: Problem):
    """Exact zeros, integers, dead units, any convention at 0: perhaps undecided, never wrong."""
    report = fastbp.check_network(problem.network(), problem.x, problem.y)
    assert report.verdict != "failed", str(report)


@pytest.mark.parametrize("convention", [0.0, 0.5, 1.0])
def test_every_convention_at_zero_is_accepted(convention):
    for seed in range(30):
        problem = make_problem([4, 6, 5, 3], 4, seed=seed, values="integers")
        given_by = of_reference(problem.with_options(relu_at_zero=convention))
        report = fastbp.check_network(problem.network(), problem.x, problem.y, given_by.flat)
        assert report.verdict != "failed", str(report)


@pytest.mark.small
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_form_of_a_gradient_is_understood(layout, loss):
    problem = make_problem([3, 5, 2], 4, layout=layout, loss=loss, bias="flat")
    net = problem.network()
    _, own = net.loss_and_gradients(problem.x, problem.y)
    expected = of_reference(problem)
    forms = [
        None,
        own,
        expected.flat,
        (expected.weights, expected.biases),
        (tuple(expected.weights), tuple(expected.biases)),
        lambda weights, biases, x, y: _by_reference(problem, weights, biases, x, y),
    ]
    for form in forms:
        report = fastbp.check_network(net, problem.x, problem.y, form)
        assert report.verdict == "passed", str(report)
        assert bool(report)


def _by_reference(problem, weights, biases, x, y):
    net = reference.Reference(weights, biases, **problem.options)
    _, gradients = reference.loss_and_gradients(net, x, y)
    return gradients.weights, gradients.biases


@pytest.mark.small
def test_a_network_without_biases_needs_no_bias_gradients():
    problem = make_problem([3, 5, 2], 4, bias="none")
    net, expected = problem.network(), of_reference(problem)
    for form in (
        (expected.weights, None),
        expected.flat,
        lambda weights, biases, x, y: _by_reference(problem, weights, biases, x, y),
    ):
        assert fastbp.check_network(net, problem.x, problem.y, form).verdict == "passed"


@pytest.mark.parametrize(("sizes", "batch"), [([64, 128, 128, 10], 64), ([1, 200, 1], 3)], ids=str)
def test_large_networks_pass(sizes, batch):
    problem = make_problem(
        sizes, batch, loss="softmax_cross_entropy" if sizes[-1] > 1 else "custom"
    )
    report = fastbp.check_network(problem.network(), problem.x, problem.y)
    assert report.verdict == "passed", str(report)


@pytest.mark.small
def test_the_notebooks_network_passes(golden):
    weights, biases, x, y = golden
    report = fastbp.check_network(fastbp.Network(weights, biases), x, y)
    assert report.verdict == "passed", str(report)
    assert [row.name for row in report.arrays] == [
        f"{kind}[{k}]" for k in range(6) for kind in ("weights", "biases")
    ]


# ---- torch ----


def torch_loss(problem: Problem, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The same objective in torch's words; examples are rows."""
    loss = problem.options["loss"]
    if loss == "least_squares":
        return ((output - y) ** 2).sum()
    if loss == "softmax_cross_entropy":
        return torch.nn.functional.cross_entropy(output, y, reduction="sum")
    if loss == "sigmoid_cross_entropy":
        return torch.nn.functional.binary_cross_entropy_with_logits(output, y, reduction="sum")
    return (torch.sqrt(1 + (output - y) ** 2) - 1).sum()


def torch_gradients(problem: Problem) -> np.ndarray:
    """The flat gradient of a problem in torch's layout, by torch's autograd."""
    weights = [torch.tensor(w, requires_grad=True) for w in problem.weights]
    biases = [torch.tensor(b, requires_grad=True) for b in problem.biases]
    h = torch.tensor(problem.x)
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        f = torch.nn.functional.linear(h, weight, bias)
        h = torch.relu(f) if k + 1 < len(weights) else f
    batch, n_out = h.shape
    divisor = {"sum": 1, "mean": batch, "mean_entries": batch * n_out}[problem.options["reduction"]]
    loss = problem.options["scale"] / divisor * torch_loss(problem, h, torch.tensor(problem.y))
    loss = loss + 0.5 * problem.options["weight_decay"] * sum((w**2).sum() for w in weights)
    loss.backward()
    pairs = zip(weights, biases, strict=True)
    return np.concatenate([array.grad.numpy().ravel() for pair in pairs for array in pair])


@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.long)])
def test_gradients_of_torch_pass(dtype):
    reports = []
    for seed in range(100):
        problem = random_problem(seed, layout="torch", bias="flat", dtype=dtype)
        gradients = torch_gradients(problem)
        assert gradients.dtype == dtype
        reports.append(fastbp.check_network(problem.network(), problem.x, problem.y, gradients))
    assert_nearly_all_pass(reports)


# ---- permutations ----


def permuted_units(problem: Problem, orders: list[np.ndarray]) -> Problem:
    """The same function with the hidden units of each layer in another order (book layout)."""
    weights, biases = [], []
    last = len(problem.weights) - 1
    for k in range(last + 1):
        rows = orders[k] if k < last else np.arange(problem.weights[k].shape[0])
        columns = orders[k - 1] if k > 0 else np.arange(problem.weights[k].shape[1])
        weights.append(problem.weights[k][np.ix_(rows, columns)])
        biases.append(problem.biases[k][rows])
    return Problem(weights, biases, problem.x, problem.y, problem.options)


def test_gradients_computed_with_the_units_permuted_pass():
    """Another order of the sums: a correct gradient with other rounding."""
    reports = []
    for seed in range(100):
        problem = random_problem(seed, layout="book", bias="column")
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(w.shape[0]) for w in problem.weights[:-1]]
        other = permuted_units(problem, orders)
        _, moved = other.network().loss_and_gradients(other.x, other.y)
        in_order = Problem(moved.weights, moved.biases, other.x, other.y)
        back = permuted_units(in_order, [np.argsort(order) for order in orders])
        gradients = (back.weights, back.biases)
        reports.append(fastbp.check_network(problem.network(), problem.x, problem.y, gradients))
    assert_nearly_all_pass(reports)


@pytest.mark.parametrize("dtype", [pytest.param(np.float64, marks=pytest.mark.long), np.float32])
def test_gradients_computed_with_the_samples_permuted_pass(dtype):
    reports = []
    for seed in range(100):
        problem = random_problem(seed, layout="book", dtype=dtype)
        order = np.random.default_rng(seed).permutation(problem.x.shape[1])
        net = problem.network()
        _, gradients = net.loss_and_gradients(problem.x[:, order], problem.y[..., order])
        reports.append(fastbp.check_network(net, problem.x, problem.y, gradients))
    assert_nearly_all_pass(reports)


# ---- inconvenient magnitudes ----


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [1e-6, 255.0, 1e4])
def test_inputs_of_any_magnitude_raise_no_false_alarm(loss, size):
    """Bytes as inputs, or units nobody scaled: a step of a weight is then a large one."""
    for seed in range(20):
        problem = random_problem(seed, loss=loss)
        x = size * problem.x
        report = fastbp.check_network(problem.network(), x, problem.y)
        assert report.verdict != "failed", str(report)


def test_a_nearly_fitted_network_raises_no_false_alarm():
    """The gradient is small against the terms that it is the sum of."""
    for seed in range(50):
        problem = random_problem(seed, loss="least_squares", weight_decay=0.0)
        net = problem.network()
        output = net.forward(problem.x).output
        for distance in (0.0, 1e-9, 1e-5):
            report = fastbp.check_network(net, problem.x, output + distance)
            assert report.verdict != "failed", str(report)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "custom"])
@pytest.mark.parametrize("size", [1e2, 1e3, 1e4, 1e5])
def test_large_inputs_with_small_weights_raise_no_false_alarm(loss, size):
    """The outputs are as usual, but a step of a first weight is ``size`` times as long."""
    for seed in range(10):
        problem = random_problem(seed, loss=loss, bias="column")
        problem.weights[0][...] /= size
        report = fastbp.check_network(problem.network(), size * problem.x, problem.y)
        assert report.verdict != "failed", str(report)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_cancellation_inside_the_network_raises_no_false_alarm(size):
    """Two equal units with large biases and opposite weights: their rounding stays."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        half, last = rng.standard_normal((4, 3)), rng.standard_normal((2, 4))
        weights = [np.concatenate([half, 0.5 * half]), np.concatenate([last, -last], axis=1)]
        biases = [np.full((8, 1), size), rng.standard_normal((2, 1))]
        x, y = rng.standard_normal((3, 5)), rng.standard_normal((2, 5))
        report = fastbp.check_network(fastbp.Network(weights, biases), x, y)
        assert report.verdict != "failed", str(report)
