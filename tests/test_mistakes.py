"""Every mistake that people really make in a backward pass, planted: the check must find it.

Each mistake is a small function of the correct backward pass, with a number to know it by. A
mistake that an objective or a shape hides (a missing 1/N in a batch of one) cannot be found there,
by anyone; so each is planted at several points, and at each the check must name exactly the arrays
that differ from the truth. At one point at least they must differ.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from support.mistake_points import POINTS, Lists, interleaved
from support.planted_mistakes import MISTAKES, planted
from support.strategies import (
    CUSTOM_LOSS,
    Problem,
    d_smooth_distance,
    make_problem,
    smooth_distance,
)

import fastbp
from fastbp.errors import GradientMismatchError

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


# The pass is what is checked, or the gradient that it returns.
@pytest.mark.parametrize(
    ("of_the_pass", "method"),
    [
        (True, "certified"), (False, "exact"),
        *(pytest.param(False, m, marks=pytest.mark.long) for m in ("certified", "replay")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", MISTAKES)
def test_the_mistake_is_found_in_exactly_the_arrays_that_have_it(name, of_the_pass, method):
    seen = False
    for problem in POINTS.values():
        if problem.dtype == np.float32 and name.startswith(("13", "25", "00")):
            continue  # as small as what float32 may be off by
        function = planted(problem, name)
        given = function(problem.weights, problem.biases, problem.x, problem.y)
        wrong = wrong_arrays(problem, given)
        seen = seen or bool(wrong)
        form = function if of_the_pass else given
        report = fastbp.check_network(problem.network(), problem.x, problem.y, form, method=method)
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
