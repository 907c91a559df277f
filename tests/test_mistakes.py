"""Every mistake that people really make in a backward pass, planted: the check must find it.

Each mistake is a small function of the correct backward pass, with a number to know it by. A
mistake that an objective or a shape hides (a missing 1/N in a batch of one) cannot be found there,
by anyone; so each is planted at several points, and at each the check must name exactly the arrays
that differ from the truth. At one point at least they must differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import reference
from support.mistake_points import POINTS, Lists, interleaved
from support.strategies import (
    CUSTOM_LOSS,
    Problem,
    d_smooth_distance,
    make_problem,
    smooth_distance,
)

import fastbp
from fastbp.errors import GradientMismatchError


@dataclass
class Pass:
    """A backward pass in the book's layout, with its parts open to mistakes."""

    net: reference.Reference
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        self.f, self.h = reference.forward(self.net, self.x)
        self.output = self.f[-1]
        self.last = len(self.f) - 1
        self.batch, self.n_out = self.output.shape[1], self.output.shape[0]
        self.factor = reference.factor(self.net, self.output)
        self.weights = list(self.net.weights)  # those that the errors go back through

    def d_output(self) -> np.ndarray:
        return self.factor * reference.d_summed_loss(self.net, self.output, self.y)

    def mask(self, k: int) -> np.ndarray:
        return (self.f[k] > 0).astype(np.float64)

    def fed(self, k: int) -> np.ndarray:
        return self.h[k]

    def decay(self, k: int) -> np.ndarray:
        return self.net.weight_decay * self.net.weights[k]

    def run(self) -> Lists:
        d_weights: list[Any] = [None] * (self.last + 1)
        d_biases: list[Any] = [None] * (self.last + 1)
        df = self.d_output()
        for k in range(self.last, -1, -1):
            d_weights[k] = df @ self.fed(k).T
            if d_weights[k].shape == self.net.weights[k].shape:
                d_weights[k] = d_weights[k] + self.decay(k)
            d_biases[k] = df.sum(axis=1, keepdims=True)
            if k > 0:
                df = self.mask(k - 1) * (self.weights[k].T @ df)
        return d_weights, d_biases


MISTAKES: dict[str, Callable[[Pass], Lists]] = {}


def mistake(number: int, what: str) -> Callable[[Callable[[Pass], Lists]], Callable]:
    """Register a planted mistake under its number."""

    def register(function: Callable[[Pass], Lists]) -> Callable[[Pass], Lists]:
        MISTAKES[f"{number:02d} {what}"] = function
        return function

    return register


def times(lists: Lists, c: float) -> Lists:
    return [c * w for w in lists[0]], [c * b for b in lists[1]]


@mistake(1, "a factor of 2")
def _(bp):
    return times(bp.run(), 2.0)


@mistake(1, "a factor of 4 in one array")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[1] = 4 * d_weights[1]
    return d_weights, d_biases


@mistake(2, "1/N missing")
def _(bp):
    return times(bp.run(), bp.batch)


@mistake(2, "1/N applied twice")
def _(bp):
    return times(bp.run(), 1 / bp.batch)


@mistake(2, "1/N inside each layer")
def _(bp):
    bp.weights = [w / bp.batch for w in bp.weights]
    return bp.run()


@mistake(3, "mean over the outputs in the loss only")
def _(bp):
    return times(bp.run(), bp.n_out)


@mistake(3, "mean over samples and outputs in the gradient only")
def _(bp):
    return times(bp.run(), 1 / (bp.n_out * bp.batch))


@mistake(4, "bias gradient not summed over the batch")
def _(bp):
    d_weights, d_biases = bp.run()
    d_biases[bp.last] = bp.d_output()
    return d_weights, d_biases


@mistake(4, "bias gradient of the first sample")
def _(bp):
    d_weights, d_biases = bp.run()
    d_biases[bp.last] = bp.d_output()[:, :1]
    return d_weights, d_biases


@mistake(5, "bias gradient averaged over the batch")
def _(bp):
    d_weights, d_biases = bp.run()
    return d_weights, [b / bp.batch for b in d_biases]


@mistake(6, "no ReLU mask")
def _(bp):
    bp.mask = lambda k: np.ones_like(bp.f[k])
    return bp.run()


@mistake(7, "the derivative of tanh")
def _(bp):
    bp.mask = lambda k: 1 - np.tanh(bp.f[k]) ** 2
    return bp.run()


@mistake(7, "the derivative of the sigmoid at the activation")
def _(bp):
    bp.mask = lambda k: bp.h[k + 1] * (1 - bp.h[k + 1])
    return bp.run()


@mistake(8, "mask from the activation with >=")
def _(bp):
    bp.mask = lambda k: (bp.h[k + 1] >= 0).astype(np.float64)
    return bp.run()


@mistake(10, "activations of one layer off")
def _(bp):
    bp.fed = lambda k: bp.h[max(k - 1, 0)]
    return bp.run()


@mistake(10, "activations of the layer above")
def _(bp):
    bp.fed = lambda k: bp.h[min(k + 1, bp.last)]
    return bp.run()


@mistake(11, "weight gradients transposed")
def _(bp):
    d_weights, d_biases = bp.run()
    return [w.T for w in d_weights], d_biases


@mistake(11, "inner in place of outer product")
def _(bp):
    d_weights, d_biases = bp.run()
    df = bp.d_output()
    d_weights[bp.last] = np.array([[float((df * df).sum())]])
    return d_weights, d_biases


@mistake(12, "the weight in place of the activation")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[1] = d_biases[1] * bp.net.weights[1]
    return d_weights, d_biases


@mistake(12, "dW in place of W going back")
def _(bp):
    d_weights, _ = bp.run()
    bp.weights[2] = d_weights[2]
    return bp.run()


@mistake(12, "W not transposed going back")
def _(bp):
    bp.weights[1] = bp.weights[1].T.copy() if _square(bp.weights[1]) else 0 * bp.weights[1]
    return bp.run()


@mistake(13, "updated weights going back")
def _(bp):
    d_weights, _ = bp.run()
    bp.weights = [w - 0.01 * d for w, d in zip(bp.weights, d_weights, strict=True)]
    return bp.run()


@mistake(14, "mask left out at one layer")
def _(bp):
    mask = bp.mask
    bp.mask = lambda k: np.ones_like(bp.f[k]) if k == 0 else mask(k)
    return bp.run()


@mistake(14, "mask left out at one bias")
def _(bp):
    d_weights, d_biases = bp.run()
    mask = bp.mask
    bp.mask = lambda k: np.ones_like(bp.f[k]) if k == 1 else mask(k)
    d_biases[1] = bp.run()[1][1]
    return d_weights, d_biases


@mistake(15, "wrong sign")
def _(bp):
    return times(bp.run(), -1.0)


@mistake(15, "wrong sign of the biases")
def _(bp):
    d_weights, d_biases = bp.run()
    return d_weights, [-b for b in d_biases]


@mistake(16, "derivative at the activation that was fed, not at the pre-activation")
def _(bp):
    mask = bp.mask
    fits = all(bp.h[k].shape == bp.f[k].shape for k in range(bp.last))
    bp.mask = (lambda k: (bp.h[k] > 0).astype(np.float64)) if fits else (lambda k: 0.5 * mask(k))
    return bp.run()


@mistake(17, "the raw error carried back in place of the delta")
def _(bp):
    d_weights, d_biases = bp.run()
    error = bp.d_output()
    for k in range(bp.last, -1, -1):
        delta = error if k == bp.last else bp.mask(k) * error
        d_weights[k] = delta @ bp.h[k].T + bp.decay(k)
        d_biases[k] = delta.sum(axis=1, keepdims=True)
        error = bp.net.weights[k].T @ error
    return d_weights, d_biases


@mistake(18, "diagonal of the softmax Jacobian")
def _(bp):
    p = np.exp(bp.output - reference.log_sum_exp(bp.output))
    d_output = bp.d_output()
    bp.d_output = lambda: d_output * p * (1 - p)
    return bp.run()


@mistake(19, "weight decay left out")
def _(bp):
    bp.decay = lambda k: 0.0 * bp.net.weights[k]
    return bp.run()


@mistake(19, "weight decay without its half")
def _(bp):
    bp.decay = lambda k: 2 * bp.net.weight_decay * bp.net.weights[k]
    return bp.run()


@mistake(19, "weight decay averaged with the loss")
def _(bp):
    bp.decay = lambda k: bp.net.weight_decay / bp.batch * bp.net.weights[k]
    return bp.run()


@mistake(19, "weight decay on the biases")
def _(bp):
    d_weights, d_biases = bp.run()
    pairs = zip(d_biases, bp.net.biases, strict=True)
    return d_weights, [d + bp.net.weight_decay * b for d, b in pairs]


@mistake(20, "scale of the loss forgotten")
def _(bp):
    return times(bp.run(), 1 / bp.net.scale)


@mistake(23, "one weight gradient left at zero")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[bp.last] = 0 * d_weights[bp.last]
    return d_weights, d_biases


@mistake(23, "one bias gradient left at zero")
def _(bp):
    d_weights, d_biases = bp.run()
    d_biases[bp.last] = 0 * d_biases[bp.last]
    return d_weights, d_biases


@mistake(23, "everything left at zero")
def _(bp):
    return times(bp.run(), 0.0)


@mistake(24, "softmax without its axis")
def _(bp):
    if bp.net.loss == "softmax_cross_entropy":
        p = np.exp(bp.output) / np.exp(bp.output).sum()
        bp.d_output = lambda: bp.factor * (p - reference.targets(bp.y, bp.output))
    return bp.run()


@mistake(25, "computed in half precision")
def _(bp):
    d_weights, d_biases = bp.run()
    return [w.astype(np.float16).astype(np.float64) for w in d_weights], d_biases


@mistake(22, "mask applied in place to a bias gradient that is an alias")
def _(bp):
    d_weights, d_biases = bp.run()
    for k in range(1, bp.last + 1):
        same = d_biases[k].shape == d_biases[k - 1].shape
        d_biases[k] = d_biases[k - 1] if same else d_biases[k] * bp.mask(k - 1).mean()
    return d_weights, d_biases


@mistake(0, "gradients in reverse order of the units")
def _(bp):
    d_weights, d_biases = bp.run()
    return d_weights, [b[::-1] for b in d_biases]


@mistake(0, "the last layer alone is off")
def _(bp):
    d_weights, d_biases = bp.run()
    d_weights[bp.last] = 1.001 * d_weights[bp.last]
    return d_weights, d_biases


def _square(array: np.ndarray) -> bool:
    return array.shape[0] == array.shape[1]


# ---- the points ----


@pytest.mark.small
@pytest.mark.parametrize("point", POINTS)
def test_no_mistake_can_hide_at_these_points(point):
    """Outputs of both signs, biases that are not zero, units on and off in every layer."""
    problem = POINTS[point]
    f, _ = reference.forward(problem.reference(), problem.x)
    assert f[-1].min() < 0 < f[-1].max()
    assert all(np.all(bias != 0) for bias in problem.biases)
    for hidden in f[:-1]:
        assert hidden.min() < -1e-3
        assert hidden.max() > 1e-3
    assert fastbp.check_network(problem.network(), problem.x, problem.y).verdict == "passed"


def planted(problem: Problem, name: str) -> Callable[..., Lists]:
    """The mistake as a user's function (weights, biases, x, y)."""

    def gradients(weights, biases, x, y):
        net = reference.Reference(weights, biases, **problem.options)
        d_weights, d_biases = MISTAKES[name](Pass(net, x.astype(np.float64), y))
        dtype = problem.dtype
        return [w.astype(dtype) for w in d_weights], [b.astype(dtype) for b in d_biases]

    return gradients


def wrong_arrays(problem: Problem, given: Lists) -> set[str]:
    """The arrays that differ from the truth; a difference is either plain or none at all."""
    _, truth = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    names = problem.reference().names
    pairs = zip(names, interleaved(*given), interleaved(truth.weights, truth.biases), strict=True)
    wrong = set()
    for name, array, true in pairs:
        if array.shape != true.shape:
            wrong.add(name)
            continue
        off = float(np.abs(array - true).max()) / max(float(np.abs(true).max()), 1e-3)
        assert off < 1e-6 or off > 1e-5, "this point cannot tell"
        if off > 1e-5:
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("name", MISTAKES)
def test_the_mistake_is_found_in_exactly_the_arrays_that_have_it(name):
    seen = False
    for problem in POINTS.values():
        if problem.dtype == np.float32 and name.startswith(("13", "25", "00")):
            continue  # as small as what float32 may be off by
        function = planted(problem, name)
        given = function(problem.weights, problem.biases, problem.x, problem.y)
        wrong = wrong_arrays(problem, given)
        seen = seen or bool(wrong)
        for form, method in (
            (function, "certified"), (given, "certified"), (given, "exact"), (given, "replay"),
        ):  # fmt: skip
            report = fastbp.check_network(
                problem.network(), problem.x, problem.y, form, method=method
            )
            failed = {row.name for row in report.arrays if row.verdict == "failed"}
            assert failed == wrong, str(report)
            assert (report.verdict == "failed") == bool(wrong)
            assert bool(report) == (not wrong)
    assert seen, "no point shows this mistake"


@pytest.mark.small
def test_a_failed_report_raises():
    problem = POINTS["distinct sizes"]
    report = fastbp.check_network(
        problem.network(), problem.x, problem.y, planted(problem, "15 wrong sign")
    )
    with pytest.raises(GradientMismatchError, match=r"weights\[0\]") as caught:
        report.raise_unless_passed()
    assert caught.value.report is report


# ---- one wrong entry ----


@pytest.mark.parametrize("point", ["distinct sizes", "one sample", "softmax"])
def test_each_single_wrong_entry_is_found_where_it_is(point):
    problem = POINTS[point]
    net = problem.network()
    _, own = net.loss_and_gradients(problem.x, problem.y)
    truth, names = own.flat.copy(), net.parameter_names()
    largest = float(np.abs(truth).max())
    for entry in range(truth.size):
        given = truth.copy()
        given[entry] += 1e-4 * largest
        report = fastbp.check_network(net, problem.x, problem.y, given)
        assert report.verdict == "failed"
        assert len(report.failures) == 1
        failure = report.failures[0]
        assert failure.array in names
        arrays = net.unflatten(np.arange(truth.size))
        in_order = interleaved(arrays.weights, arrays.biases)
        where = dict(zip(names, in_order, strict=True))[failure.array]
        assert where[failure.index] == entry
        assert failure.given == given[entry]


@pytest.mark.small
def test_what_is_detectable_is_detected():
    problem = POINTS["distinct sizes"]
    net = problem.network()
    clean = fastbp.check_network(net, problem.x, problem.y)
    _, own = net.loss_and_gradients(problem.x, problem.y)
    for entry in range(0, own.flat.size, 7):
        given = own.flat.copy()
        given[entry] += 1.01 * clean.detectable
        assert fastbp.check_network(net, problem.x, problem.y, given).verdict == "failed"


# ---- 9 and 26: zeros ----


@pytest.mark.small
@pytest.mark.parametrize("convention", [0.0, 0.5, 1.0])
def test_09_either_convention_at_exactly_zero_is_no_mistake(convention):
    """Inputs and biases of 0, as a fresh network has them: every pre-activation is exactly 0."""
    rng = np.random.default_rng(9)
    weights = [rng.standard_normal((4, 3)), rng.standard_normal((2, 4))]
    biases = [np.zeros((4, 1)), np.zeros((2, 1))]
    x, y = np.zeros((3, 5)), rng.standard_normal((2, 5))
    given = reference.loss_and_gradients(
        reference.Reference(weights, biases, relu_at_zero=convention), x, y
    )[1]
    report = fastbp.check_network(fastbp.Network(weights, biases), x, y, given.flat)
    rows = {row.name: row for row in report.arrays}
    assert report.verdict != "failed", str(report)
    assert rows["biases[1]"].verdict == "passed"
    assert rows["biases[0]"].kinks == 4
    assert rows["biases[0]"].verdict == "passed"
    assert report.convention == {0.0: "0", 0.5: "1/2", 1.0: "1"}[convention]


@pytest.mark.small
def test_nan_on_a_kink_is_a_finding():
    """No convention produces a NaN."""
    one = np.ones((1, 1))
    net = fastbp.Network([one, one], [-one, 0 * one])
    _, own = net.loss_and_gradients(one, 2 * one)
    given = own.flat.copy()
    given[net.parameter_names().index("biases[0]")] = np.nan
    report = fastbp.check_network(net, one, 2 * one, given)
    assert report.verdict == "failed", str(report)


@pytest.mark.small
def test_26_zero_on_both_sides_is_vacuous():
    weights = [-np.ones((4, 3)), np.ones((1, 4))]
    biases = [-np.ones((4, 1)), np.ones((1, 1))]
    x, y = np.ones((3, 5)), np.ones((1, 5))
    report = fastbp.check_network(fastbp.Network(weights, biases), x, y)
    assert report.verdict == "vacuous"
    assert not report
    assert all(row.verdict == "untested" for row in report.arrays)
    assert all(row.zero == row.entries for row in report.arrays)


@pytest.mark.small
def test_26_the_untouched_notebook_is_no_success(golden):
    """Nothing implemented, all gradients zero: the notebook's own check compares 0 with 0."""
    weights, biases, x, y = golden
    zeros = ([0 * w for w in weights], [0 * b for b in biases])
    report = fastbp.check_network(fastbp.Network(weights, biases), x, y, zeros)
    assert report.verdict == "failed"
    assert all(row.verdict == "failed" for row in report.arrays)


@pytest.mark.small
def test_26_a_dead_layer_is_counted_as_untested():
    """The units of layer 0 are off: nothing is known of its gradient, and it says so."""
    weights = [-np.ones((4, 3)), np.ones((1, 4))]
    biases = [-np.ones((4, 1)), np.ones((1, 1))]
    x, y = np.ones((3, 5)), np.zeros((1, 5))
    report = fastbp.check_network(fastbp.Network(weights, biases), x, y)
    verdicts = {row.name: row.verdict for row in report.arrays}
    assert verdicts == {
        "weights[0]": "untested",
        "biases[0]": "untested",
        "weights[1]": "untested",
        "biases[1]": "passed",
    }
    assert report.verdict == "passed"


# ---- a custom loss whose own gradient is wrong ----


@pytest.mark.small
@pytest.mark.parametrize(
    "wrong",
    [
        lambda o, y: 2 * d_smooth_distance(o, y),
        lambda o, y: -d_smooth_distance(o, y),
        lambda o, y: o - y,
        lambda o, y: d_smooth_distance(o, y) / o.shape[1],
        lambda o, y: np.where(np.arange(o.shape[1]) == 2, 0.0, d_smooth_distance(o, y)),
        lambda o, y: 0 * o + d_smooth_distance(o, y).sum(axis=1, keepdims=True),
    ],
    ids=["doubled", "sign", "squares", "averaged", "one sample", "summed"],
)
def test_20_a_wrong_gradient_of_the_loss_itself_has_its_own_row(wrong):
    problem = make_problem([3, 7, 6, 2], 4, seed=11, loss="custom")
    good = fastbp.check_network(problem.network(), problem.x, problem.y)
    assert good.verdict == "passed", str(good)
    assert good.arrays[-1].name == "loss"
    net = problem.with_options(loss=(smooth_distance, wrong)).network()
    report = fastbp.check_network(net, problem.x, problem.y)
    rows = {row.name: row for row in report.arrays}
    assert report.verdict == "failed"
    assert rows["loss"].verdict == "failed"


@pytest.mark.small
def test_24_a_loss_that_mixes_the_samples_is_told():
    """Softmax without its axis: the value of a batch is not the sum of its samples' values."""

    def mixed(output, _):
        return float(np.log(np.exp(output).sum()))

    def d_mixed(output, _):
        return np.exp(output) / np.exp(output).sum()

    problem = make_problem([3, 7, 6, 2], 4, seed=11, loss="custom")
    report = fastbp.check_network(
        problem.with_options(loss=(mixed, d_mixed)).network(), problem.x, problem.y
    )
    assert report.verdict != "passed", str(report)


def test_custom_losses_of_the_suite_are_what_they_claim():
    output, y = np.array([[3.0], [-4.0]]), np.zeros((2, 1))
    assert CUSTOM_LOSS[0](output, y) == pytest.approx(np.sqrt(10) + np.sqrt(17) - 2, rel=1e-15)
