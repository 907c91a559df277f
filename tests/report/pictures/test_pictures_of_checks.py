"""Every check that looks at entries one by one leaves a picture of each array."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small


def assert_pictures_tell_what_is_wrong(report):
    """Cells of one entry each: as many above 1 as are wrong, and the worst is the worst."""
    for row in report.arrays:
        picture = row.picture
        assert picture.cell == (1, 1)
        assert picture.ratios.size == np.prod(row.shape)
        assert np.count_nonzero(picture.ratios > 1) == row.wrong
        assert (0 if picture.kinks is None else np.count_nonzero(picture.kinks)) == row.kinks
        if row.wrong:
            place = int(np.argmax(picture.ratios))
            assert np.unravel_index(place, row.shape) == row.worst.index
            expected = row.worst.error / row.worst.allowed
            assert picture.ratios.reshape(-1)[place] == pytest.approx(expected)


def network_with_kinks():
    """A network whose first hidden unit is at 0 in one example, and a gradient with mistakes."""
    net = fastbp.Network.random([3, 4, 2], seed=1)
    x, y = np.random.default_rng(2).standard_normal((3, 5)), np.ones((2, 5))
    net.weights[0][0], net.biases[0][0], x[:, 0] = [1.0, -1.0, 0.0], 0.0, [2.0, 2.0, 0.0]
    _, gradients = net.loss_and_gradients(x, y)
    gradients.weights[1][1, 2] += 0.1
    gradients.biases[1][0] = 2.0
    return net, x, y, gradients


@pytest.mark.parametrize("method", ["replay", "exact", "certified"])
def test_checks_of_networks(method):
    net, x, y, gradients = network_with_kinks()
    report = fastbp.check_network(net, x, y, gradients, method=method)
    assert [row.wrong for row in report.arrays] == [0, 0, 1, 1]
    assert [row.kinks for row in report.arrays] == [2, 1, 0, 0]
    assert_pictures_tell_what_is_wrong(report)
    arrays = [one for pair in zip(gradients.weights, gradients.biases, strict=True) for one in pair]
    for row, given in zip(report.arrays, arrays, strict=True):
        places, own = row.picture.samples[:, 0].astype(int), row.picture.samples[:, 1]
        np.testing.assert_array_equal(own, given.reshape(-1)[places])


def test_checks_of_functions():
    at = {"a": np.array([[1.0, 0.0, 3.0], [2.0, -1.0, 0.5]]), "b": np.array([1.0, 2.0])}
    wrong = {"a": np.array([[1.0, 0.5, 1.0], [1.0, 1.0, 7.0]]), "b": np.array([2.0, np.nan])}
    report = fastbp.check_gradient(
        lambda p: np.sum(np.abs(p["a"])) + np.sum(p["b"] ** 2), wrong, at, method="every"
    )
    assert [(row.wrong, row.kinks) for row in report.arrays] == [(2, 1), (1, 0)]
    assert_pictures_tell_what_is_wrong(report)
    kinks = report.arrays[0].picture.kinks
    assert np.argwhere(kinks).tolist() == [[0, 1]]
    assert report.arrays[1].picture.ratios[0, 1] == np.inf


def test_entries_that_were_not_chosen_have_no_verdict():
    at = np.arange(1.0, 7.0).reshape(2, 3)
    report = fastbp.check_gradient(
        lambda x: np.sum(x**2), 2 * at + [[0, 0, 0], [0, 1, 1]], at, entries=at % 2 == 1
    )
    ratios = report.arrays[0].picture.ratios
    assert (ratios >= 0).tolist() == [[True, False, True], [False, True, False]]
    assert ratios[1, 1] > 1
    assert report.arrays[0].picture.samples[:, 0].tolist() == [0, 2, 4]


def test_products_and_matrices():
    at = np.array([1.0, 2.0, 3.0])

    def jacobian(x):
        matrix = np.stack([2 * x, np.ones(3)])
        matrix[1, 2] = 0.5
        return matrix

    report = fastbp.check_jacobian(lambda x: np.array([x @ x, x.sum()]), jacobian, at)
    assert_pictures_tell_what_is_wrong(report)
    assert np.argwhere(report.arrays[0].picture.ratios > 1).tolist() == [[1, 2]]
    report = fastbp.check_vjp(lambda x: x**3, lambda x, w: 3 * x**2 * w + [0, 1, 0], at)
    assert report.verdict == "failed"
    for row in report.arrays:
        assert (row.picture.ratios[0] > 1).tolist() == [False, True, False]


def test_what_was_not_judged_one_by_one_has_no_picture():
    at = np.ones(300)
    report = fastbp.check_gradient(lambda x: np.sum(x**2), 2 * at, at, method="probe")
    assert [row.picture for row in report.arrays] == [None]
    report = fastbp.check_gradient(lambda x: np.sum(x**2), np.ones((300, 1)), at)
    assert [row.picture for row in report.arrays] == [None]
    assert (report.maps, report.samples) == ({}, {})
