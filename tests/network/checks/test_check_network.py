"""check_network: the report of a correct gradient, and that it holds copies."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_networks import BATCH, SIZES, example

import fastbp
from fastbp.network.checks.check_network import check_network

pytestmark = pytest.mark.small

NAMES = ["weights[0]", "biases[0]", "weights[1]", "biases[1]", "weights[2]", "biases[2]"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_our_own_backward_pass_passes(dtype, layout):
    net, x, y = example(dtype, layout)
    report = check_network(net, x, y)
    assert report.verdict == "passed", str(report)
    assert [row.name for row in report.arrays] == NAMES
    assert report.failures == ()
    arrays = [array for pair in zip(net.weights, net.biases, strict=True) for array in pair]
    assert [row.shape for row in report.arrays] == [array.shape for array in arrays]
    assert [row.entries for row in report.arrays] == [array.size for array in arrays]
    assert (report.sizes, report.batch, report.layout) == (SIZES, BATCH, layout)
    assert (report.dtype, report.method, report.scheme) == (
        np.dtype(dtype).name,
        "certified",
        None,
    )
    assert (report.delta, report.rtol, report.atol) == (None, None, None)
    assert report.evaluations >= 2 * BATCH + 2
    assert 0 < report.seconds < 600
    proof = report.certificate
    assert (proof.directions, proof.samples, proof.problem) == (2, BATCH, "")
    assert 0 < proof.resolution < 1e-10
    assert proof.differenced >= 1
    assert report.doubtful == (0,) * (len(net.weights) - 1)


def test_our_own_backward_pass_passes_a_replay():
    net, x, y = example()
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    assert (report.method, report.scheme, report.delta) == ("replay", "central", 1e-6)
    assert report.evaluations == 4 * net.parameters.size
    assert report.certificate is None


def test_a_network_without_biases():
    full, x, y = example()
    net = fastbp.Network(full.weights)
    _, own = net.loss_and_gradients(x, y)
    for given in (None, own, (own.weights, None), (own.weights, []), own.flat):
        report = check_network(net, x, y, given)
        assert report.verdict == "passed"
        assert [row.name for row in report.arrays] == NAMES[::2]


def test_what_is_said_to_be_detectable_is_detected(problem):
    net, x, y, own = problem
    report = check_network(net, x, y, seed=0)
    assert report.detectable == max(row.detectable for row in report.arrays)
    assert report.detectable < 1e-4
    for place in range(own.flat.size):
        given = own.flat.copy()
        given[place] += 1.01 * report.detectable
        assert check_network(net, x, y, given, seed=0).wrong == 1


def test_a_report_holds_copies(problem):
    net, x, y, own = problem
    own.weights[1][2, 3] += 1
    report = check_network(net, x, y, own)
    before = report.to_dict()
    for array in (own.flat, net.parameters, x, y):
        array[...] = 7
    assert report.to_dict() == before


def test_nothing_of_the_callers_changes(problem):
    net, x, y, own = problem
    arrays = (net.parameters, x, y, own.flat)
    kept = [array.copy() for array in arrays]
    for given in (None, own, lambda *_: (own.weights, own.biases)):
        check_network(net, x, y, given)
    for array, copy in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.small
def test_exact_has_no_certificate_even_where_numbers_leave_their_range():
    net = fastbp.Network([np.array([[1e200]]), np.array([[1e200]])])
    report = check_network(net, np.ones((1, 1)), np.ones((1, 1)), np.ones(2), method="exact")
    assert report.verdict == "inconclusive"
    assert "overflow" in report.arrays[0].reason
    assert report.certificate is None
    assert "proof" not in str(report)
