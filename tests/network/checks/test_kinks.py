"""Kinks: what a convention can produce passes; a step that crosses one is made smaller."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_networks import rows
from support.strategies import make_problem

import fastbp
from fastbp.network.checks.check_network import check_network

pytestmark = pytest.mark.small


def one_unit(bias: float):
    """1-1-1 with the pre-activation `bias` in its hidden unit, beside a sample far from it."""
    weights = [np.ones((1, 1)), np.full((1, 1), 3.0)]
    net = fastbp.Network(weights, [np.full((1, 1), bias), np.ones((1, 1))])
    return net, np.array([[0.0, 2.0]]), np.array([[5.0, -1.0]])


def test_a_step_that_crosses_a_kink_is_made_smaller():
    net, x, y = one_unit(3e-7)
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    assert report.kinks == 0
    assert report.evaluations > 4 * net.parameters.size - 2


def test_a_wrong_entry_whose_step_was_made_smaller_is_found():
    net, x, y = one_unit(3e-7)
    _, own = net.loss_and_gradients(x, y)
    own.biases[0][...] += 1e-3
    report = check_network(net, x, y, own, method="replay")
    assert [failure.where for failure in report.failures] == ["biases[0][0, 0]"]
    errors = {name: row.worst.error_bar for name, row in rows(report).items()}
    assert errors["biases[0]"] > errors["biases[1]"]


METHODS = ("certified", "exact", "replay")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_what_a_convention_can_produce_passes_and_no_more(share, method):
    """The ReLU's derivative at exactly 0 is anything from 0 to 1, for one entry of a bias."""
    net, x, y = one_unit(0.0)
    _, off = net.loss_and_gradients(x, y)
    on = fastbp.Network(net.weights, net.biases, relu_at_zero=1.0)
    _, active = on.loss_and_gradients(x, y)
    assert off.biases[0] != active.biases[0]
    between = (1 - share) * off.flat + share * active.flat
    report = check_network(net, x, y, between, method=method)
    assert report.verdict == "passed", str(report)
    assert rows(report)["biases[0]"].kinks == 1
    assert report.doubtful == (1,)
    assert report.convention == {0.0: "0", 0.25: "none", 1.0: "1"}[share]
    kink = report.kink
    assert (kink.where, kink.given) == ("biases[0][0, 0]", between[1])
    assert (kink.left, kink.right) == pytest.approx((off.flat[1], active.flat[1]))
    assert (
        kink.remark
        == {
            0.0: "which is the slope to the left",
            0.25: "which lies between them",
            1.0: "which is the slope to the right",
        }[share]
    )
    assert f"{kink.where} is on a kink: slopes 48 to the left, 24 to the right" in str(report)
    assert report.to_dict()["kink"]["right"] == kink.right
    beyond = off.flat + 1.001 * (active.flat - off.flat)
    report = check_network(net, x, y, beyond, method=method)
    assert report.verdict == "failed"
    assert rows(report)["biases[0]"].wrong == 1
    assert report.kink.remark == "which no convention gives"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_a_convention_may_miss_a_derivative_that_exists(layout, method):
    """relu(b) - relu(-b) is b: there is a derivative at 0, but 0 and 1 as masks give other ones."""
    weights = [np.ones((1, 1)), np.array([[1.0], [-1.0]]), np.array([[1.0, -1.0]])]
    biases = [np.ones((1, 1)), np.array([[-1.0], [1.0]]), np.zeros((1, 1))]
    if layout == "keras":
        weights = [weight.T for weight in weights]
    x, y = np.zeros((1, 1)), np.full((1, 1), 5.0)
    for convention in (0.0, 0.5, 1.0):
        net = fastbp.Network(weights, biases, layout=layout, relu_at_zero=convention)
        report = check_network(net, x, y, method=method)
        assert report.verdict == "passed", str(report)
        assert (report.kink.left, report.kink.right) == pytest.approx((-10, -10))
        assert report.kink.given == -20 * convention
        assert report.kink.remark == (
            "which is the derivative"
            if convention == 0.5
            else "which follows a convention, but is not the derivative here"
        )
        assert report.kink.remark in " ".join(str(report).split())


@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_the_slopes_of_a_kink_are_those_of_the_exact_differences(layout):
    """And of two real losses, where the loss is a parabola on each side."""
    seen = 0
    for seed in range(12):
        problem = make_problem([4, 6, 5, 3], 5, seed=seed, values="integers", layout=layout)
        net = problem.network()
        report = check_network(net, problem.x, problem.y, seed=0)
        if report.kink is None:
            assert report.kinks == 0
            continue
        differences = fastbp.finite_differences(net, problem.x, problem.y)
        place = next(
            place for place in range(net.parameters.size)
            if net.shapes.entry_name(place) == report.kink.where
        )  # fmt: skip
        beside = differences.left.flat[place], differences.right.flat[place]
        assert (report.kink.left, report.kink.right) == pytest.approx(beside, rel=1e-12)
        for side, slope in zip((-1, 1), beside, strict=True):
            losses = [net.loss(problem.x, problem.y)]
            for step in (2.0**-20, 2.0**-19):
                moved = problem.network()
                moved.parameters[place] += side * step
                losses.append(moved.loss(problem.x, problem.y))
            # Exact for a parabola; what is left is rounding of losses divided by the step.
            literal = side * (4 * losses[1] - 3 * losses[0] - losses[2]) / 2.0**-19
            assert slope == pytest.approx(literal, rel=1e-5, abs=1e-5 * losses[0])
        seen += 1
    assert seen >= 6


@pytest.mark.parametrize("bias", [10.0**-n for n in range(5, 17)])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_replay_near_a_kink_takes_the_right_side_or_the_hull(bias, side):
    """The step shrinks until masks agree; where rounding forbids that, both sides are accepted."""
    net, x, y = one_unit(side * bias)
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    _, own = net.loss_and_gradients(x, y)
    other = own.flat.copy()
    other[1] = check_network(*one_unit(-side * 1e-3)).arrays[1].worst.given
    judged = check_network(net, x, y, other, method="replay")
    assert judged.verdict == ("passed" if report.kinks else "failed")
    assert report.kinks == 0 or bias < 1e-12
    other[1] += np.sign(other[1] - own.flat[1])
    assert check_network(net, x, y, other, method="replay").verdict == "failed"


def test_a_replay_believes_two_losses_more_than_the_recursion():
    """The user's derivative of the loss is wrong, and with it everything that comes from it."""
    net, x, y = one_unit(0.0)
    loss = (lambda output, y: float(np.sum((output - y) ** 2)), lambda output, y: output - y)
    custom = fastbp.Network(net.weights, net.biases, loss=loss)
    assert check_network(custom, x, y, method="replay").arrays[1].verdict == "failed"


def test_parameters_so_large_that_the_usual_step_would_not_move_them():
    weights = [np.array([[1e12], [0.5]]), np.array([[1e-12, 1.0]])]
    net = fastbp.Network(weights, [np.ones((2, 1)), np.ones((1, 1))])
    x, y = np.array([[1.0, 2.0]]), np.array([[0.5, 0.25]])
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    _, own = net.loss_and_gradients(x, y)
    own.weights[0][1, 0] *= 1.01
    report = check_network(net, x, y, own, method="replay")
    assert [failure.where for failure in report.failures] == ["weights[0][1, 0]"]


def test_a_large_parameter_stops_the_shrinking_and_stays_a_kink():
    weights = [np.array([[1e9]]), np.array([[1e-9]])]
    net = fastbp.Network(weights, [np.zeros((1, 1)), np.ones((1, 1))])
    x, y = np.array([[0.0, 1e-16]]), np.array([[0.5, 0.25]])
    report = check_network(net, x, y, method="replay")
    assert report.verdict != "failed", str(report)
