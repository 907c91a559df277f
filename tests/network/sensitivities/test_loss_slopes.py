"""Slopes of the losses, to their last digits."""

from __future__ import annotations

import decimal

import numpy as np
import pytest

import fastbp
from fastbp.network.batch import Batch
from fastbp.network.losses import Objective
from fastbp.network.sensitivities.loss_slopes import loss_slopes


def loss_in_decimal(
    loss: str, output: list[decimal.Decimal], y: list[decimal.Decimal]
) -> decimal.Decimal:
    if loss == "least_squares":
        return sum((o - t) ** 2 for o, t in zip(output, y, strict=True))
    if loss == "softmax_cross_entropy":
        total = sum(o.exp() for o in output).ln()
        return sum(t * (total - o) for o, t in zip(output, y, strict=True))
    return sum((1 + o.exp()).ln() - t * o for o, t in zip(output, y, strict=True))


def slopes_in_decimal(loss: str, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Central differences of whole losses at 400 digits."""
    with decimal.localcontext(prec=400):
        step = decimal.Decimal(10) ** -60
        columns = []
        for o, t in zip(output.T, y.T, strict=True):
            values, wanted = ([decimal.Decimal(float(v)) for v in part] for part in (o, t))
            column = []
            for k in range(len(values)):
                above, below = values.copy(), values.copy()
                above[k] += step
                below[k] -= step
                change = loss_in_decimal(loss, above, wanted) - loss_in_decimal(loss, below, wanted)
                column.append(float(change / (2 * step)))
            columns.append(column)
    return np.array(columns).T


@pytest.mark.small
def test_logits_beyond_the_range_of_exp_have_slopes():
    output, y = np.array([[1000.0], [-1000.0]]), np.array([1])
    found = loss_slopes(Objective("softmax_cross_entropy"), output, Batch(output, y, 0))
    assert found.tolist() == [[1.0], [-1.0]]


@pytest.mark.small
@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
@pytest.mark.parametrize(
    "loss", ["least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy"]
)
def test_slopes_keep_their_digits_where_the_loss_saturates(loss, scale):
    """Against 400 digits: also where p - y, as a float, has lost them all."""
    rng = np.random.default_rng(0)
    output = scale * rng.standard_normal((4, 6))
    y = np.zeros((4, 6))
    y[output.argmax(axis=0), np.arange(6)] = 1.0  # confident, and right
    expected = slopes_in_decimal(loss, output, y)
    slopes = loss_slopes(Objective(loss), output, Batch(output, y, 0))
    np.testing.assert_allclose(slopes, expected, rtol=1e-13, atol=1e-300)
    if loss == "softmax_cross_entropy":
        labels = output.argmax(axis=0)
        by_label = loss_slopes(Objective(loss), output, Batch(output, labels, 0))
        np.testing.assert_allclose(by_label, expected, rtol=1e-13, atol=1e-300)
    transposed = loss_slopes(Objective(loss), output, Batch(output.T, y.T.copy(), 1))
    np.testing.assert_array_equal(transposed, slopes)


@pytest.mark.small
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_slopes_for_probabilities(outputs):
    rng = np.random.default_rng(1)
    output = rng.standard_normal((outputs, 6))
    y = rng.dirichlet(np.ones(outputs), size=6).T
    expected = slopes_in_decimal("softmax_cross_entropy", output, y)
    slopes = loss_slopes(Objective("softmax_cross_entropy"), output, Batch(output, y, 0))
    np.testing.assert_allclose(slopes, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.small
def test_a_saturated_softmax_keeps_its_tiny_gradient():
    """1 - p is below the roundoff, and so would p - y be."""
    weights = [np.eye(3), 60.0 * np.eye(3)]
    net = fastbp.Network(weights, loss="softmax_cross_entropy")
    x = np.array([[1.0], [0.25], [0.0]])
    result = fastbp.finite_differences(net, x, np.array([0]))
    assert result.weights[1][1, 0] == pytest.approx(np.exp(-45.0), rel=1e-13)
    assert result.weights[1][0, 0] == pytest.approx(-np.exp(-45.0) - np.exp(-60.0), rel=1e-13)


@pytest.mark.small
def test_an_overflow_is_silent_and_no_number():
    net = fastbp.Network([np.full((2, 3), 1e200), np.full((1, 2), 1e200)])
    result = fastbp.finite_differences(net, np.ones((3, 2)), np.ones((1, 2)))
    assert not np.isfinite(result.flat).any()
