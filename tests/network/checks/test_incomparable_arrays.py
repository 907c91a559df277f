"""Arrays of a gradient that cannot be compared are failed rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.small_networks import rows

from fastbp.network.checks.check_network import check_network

pytestmark = pytest.mark.small


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.T, "must have shape (5, 3), not (3, 5)"),
        (lambda a: a[:, :1], "must have shape (5, 3), not (5, 1)"),
        (lambda _: 1.0, "must have shape (5, 3), not ()"),
        (lambda a: a.astype(np.int64), "must have dtype float64 or float32, not int64"),
        (lambda a: a.astype(np.float16), "must have dtype float64 or float32, not float16"),
        (lambda a: a + 0j, "must have dtype float64 or float32, not complex128"),
        (lambda a: a > 0, "must have dtype float64 or float32, not bool"),
    ],
)
def test_an_array_that_cannot_be_compared_is_a_failed_row(problem, change, reason):
    net, x, y, own = problem
    weights = list(own.weights)
    weights[0] = change(weights[0])
    report = check_network(net, x, y, (weights, own.biases))
    row = rows(report)["weights[0]"]
    assert (row.verdict, row.reason) == ("failed", reason)
    assert (row.entries, row.wrong, row.worst, row.factor) == (15, 15, None, None)
    assert math.isfinite(row.detectable)
    assert [row.verdict for row in report.arrays[1:]] == ["passed"] * 5
    assert report.verdict == "failed"
    assert report.failures == ()
    assert f"weights[0]: {reason}" in str(report)


def test_a_flat_vector_of_integers_fails_everywhere(problem):
    net, x, y, own = problem
    report = check_network(net, x, y, np.zeros(own.flat.size, dtype=np.int32))
    assert {row.reason for row in report.arrays} == {
        "must have dtype float64 or float32, not int32"
    }


def test_a_nan_is_the_worst_of_its_array(problem):
    net, x, y, own = problem
    own.weights[0][1, 2] = np.nan
    own.weights[0][4, 0] += 1e9
    report = check_network(net, x, y, own)
    assert [failure.where for failure in report.failures] == [
        "weights[0][1, 2]",
        "weights[0][4, 0]",
    ]
    assert report.failures[0].error == math.inf
    assert rows(report)["weights[0]"].reason == "2 of 15 entries are wrong, 1 of them not finite"
