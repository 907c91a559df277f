"""The worst entries come by error over what is allowed, whatever the method."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_networks import example, rows

import fastbp

METHODS = ("certified", "exact", "replay")


def smallest_and_largest(gradient: np.ndarray) -> tuple[int, int]:
    size = np.abs(gradient)
    return int(np.argmin(np.where(size > 0, size, np.inf))), int(np.argmax(size))


@pytest.mark.small
@pytest.mark.parametrize("layout", ["book", "keras"])
@pytest.mark.parametrize("method", METHODS)
def test_failures_come_by_error_over_allowed_and_what_is_not_finite_first(method, layout):
    net, x, y = example(layout=layout)
    _, gradients = net.loss_and_gradients(x, y)
    weights, biases = gradients.weights[1], gradients.biases[0]
    small, large = smallest_and_largest(weights)
    true = weights.copy()
    weights.flat[large] *= 1.5
    weights.flat[small] *= 1.9
    assert abs(weights.flat[large] - true.flat[large]) > abs(weights.flat[small] - true.flat[small])
    biases.flat[[1, 3]] = np.nan, -np.inf
    report = fastbp.check_network(net, x, y, gradients, method=method, rtol=1e-2)
    found = [
        (failure.array, int(np.ravel_multi_index(failure.index, shape)))
        for failure in report.failures
        for shape in [rows(report)[failure.array].shape]
    ]
    assert found == [
        ("biases[0]", 1),
        ("biases[0]", 3),
        ("weights[1]", small),
        ("weights[1]", large),
    ]
    assert rows(report)["weights[1]"].worst == report.failures[2]
    assert rows(report)["biases[0]"].worst.index == report.failures[0].index
    assert all(type(failure.allowed) is float for failure in report.failures)


@pytest.mark.small
@pytest.mark.parametrize("method", METHODS)
def test_the_worst_of_a_right_array_is_the_nearest_to_failing(method):
    net, x, y = example()
    _, gradients = net.loss_and_gradients(x, y)
    small, large = smallest_and_largest(gradients.weights[1])
    gradients.weights[1].flat[large] *= 1.001
    gradients.weights[1].flat[small] *= 1.005
    report = fastbp.check_network(net, x, y, gradients, method=method, rtol=1e-2)
    worst = rows(report)["weights[1]"].worst
    assert report.verdict == "passed"
    assert np.ravel_multi_index(worst.index, gradients.weights[1].shape) == small
    assert worst.error / worst.allowed == pytest.approx(0.5, rel=1e-2)
