"""Custom losses: their own gradient is checked, too."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.small_networks import example, rows

from fastbp.errors import ShapeError
from fastbp.network.checks.check_network import check_network

pytestmark = pytest.mark.small


def absolute(output, y):
    return float(np.abs(output - y).sum())


def sign(output, y):
    return np.sign(output - y)


def squares(output, y):
    return float(np.square(output - y).sum())


def slope_of_squares(output, y):
    return 2 * (output - y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["book", "torch"])
@pytest.mark.parametrize(
    "pair", [(absolute, sign), (squares, slope_of_squares)], ids=["absolute", "squares"]
)
def test_a_correct_custom_loss_has_a_passed_row(dtype, layout, pair):
    net, x, y = example(dtype, layout, loss=pair, reduction="mean", scale=3.0)
    report = check_network(net, x, y)
    assert report.verdict == "passed", str(report)
    row = report.arrays[-1]
    assert (row.name, row.shape, row.entries, row.kinks) == ("loss", y.shape, y.size, 0)
    assert row.detectable < 1e-3
    assert report.evaluations > 4 * y.size


def test_a_loss_with_a_name_has_no_row(problem):
    net, x, y, _ = problem
    assert "loss" not in rows(check_network(net, x, y))


@pytest.mark.parametrize("layout", ["book", "torch"])
def test_a_wrong_entry_of_a_loss_gradient_is_found_where_it_is(layout):
    place = (1, 4) if layout == "book" else (4, 1)

    def wrong(output, y):
        slope = slope_of_squares(output, y)
        slope[place] += 0.01
        return slope

    net, x, y = example(layout=layout, loss=(squares, wrong))
    report = check_network(net, x, y)
    found = [failure for failure in report.failures if failure.array == "loss"]
    assert [failure.index for failure in found] == [place]
    assert found[0].error == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("slope_at_zero", [-1.0, 0.0, 1.0])
def test_a_kink_of_a_custom_loss_is_not_judged(slope_at_zero):
    def slope(output, y):
        return np.where(output == y, slope_at_zero, np.sign(output - y))

    net, x, y = example(loss=(absolute, slope))
    y[0, 2] = net.forward(x).output[0, 2]
    row = rows(check_network(net, x, y))["loss"]
    assert (row.verdict, row.kinks) == ("passed", 1)


@pytest.mark.parametrize("distance", np.linspace(-3, 3, 25))
def test_a_kink_near_the_output_raises_no_false_alarm(distance):
    net, x, y = example(loss=(absolute, sign))
    y[0, 2] = net.forward(x).output[0, 2] + distance * 6e-6
    assert rows(check_network(net, x, y))["loss"].verdict == "passed"


def test_a_loss_that_mixes_samples_says_what_does_not_add_up():
    def mixed(output, y):
        return squares(output, y) / output.size

    net, x, y = example(loss=(mixed, slope_of_squares))
    row = rows(check_network(net, x, y))["loss"]
    assert row.verdict == "failed"
    assert re.search(
        r"the value of the batch is \S+, but the values of its samples sum to", row.reason
    )


@pytest.mark.parametrize("given", [True, False])
def test_a_loss_gradient_of_the_wrong_shape_is_refused(given):
    def summed(output, y):
        return slope_of_squares(output, y).sum(axis=1)

    good, x, y = example(loss=(squares, slope_of_squares))
    _, own = good.loss_and_gradients(x, y)
    net, _, _ = example(loss=(squares, summed))
    with pytest.raises(ShapeError, match=r"must have shape \(2, 6\), not \(2,\)"):
        check_network(net, x, y, own if given else None)


def test_a_loss_gradient_that_is_always_float32_is_judged_as_such():
    def single(output, y):
        return slope_of_squares(output, y).astype(np.float32)

    net, x, y = example(np.float32, loss=(squares, single))
    assert check_network(net, x, y).verdict == "passed"
    wrong, _, _ = example(np.float32, loss=(squares, lambda o, y: single(o, y) * np.float32(1.01)))
    assert rows(check_network(wrong, x, y))["loss"].verdict == "failed"
