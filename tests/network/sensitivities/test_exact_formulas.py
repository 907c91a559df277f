"""Error bars, hulls and the range of numbers, beside their formulas written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import fastbp
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.error_bars import (
    LayerNorms,
    bars,
    flat_terms,
    growth,
    norms,
    sum_growth,
)
from fastbp.network.sensitivities.hull import hull_of, hull_of_levels
from fastbp.network.sensitivities.number_range import faint_samples, out_of_range, smallest_of
from fastbp.network.sensitivities.sweeps import Sweeps

pytestmark = [pytest.mark.small, pytest.mark.processor]

UNIT, SINGLE = 2.0**-53, 2.0**-24


# ---- error bars ----


def test_growth_is_the_larger_of_two_laws():
    assert [growth(n) for n in (1, 16, 256, 1024)] == [0.25, 1.0, 4.0, 16.0]
    assert [sum_growth(n) for n in (1, 64, 128, 6400)] == [1.0, 1.0, 2.0, 100.0]


def test_norms_of_columns_of_any_size():
    parts = np.array([[3e200, 0.0, 3e-200], [4e200, 0.0, 4e-200]])
    np.testing.assert_allclose(norms(parts), [5e200, 0.0, 5e-200], rtol=1e-15)


@pytest.mark.parametrize("roundoff", [UNIT, SINGLE])
@pytest.mark.parametrize("batch", [1, 640])
def test_a_bar_has_every_term(roundoff, batch):
    s, ds, radius = np.array([2.0, 3.0]), np.array([5.0, 1e5]), np.array([0.0, 7.0])
    h, dh = np.array([11.0, 1e-3, 0.0]), np.array([13.0, 1e6, 1e4])
    layer = LayerNorms(s, ds, h, dh, batch, roundoff, radius)
    decayed = np.array([[0.0, 1e7, 0.0], [1e9, 0.0, 1e9]])
    smallest = 64 * (1e-290 if roundoff == UNIT else 2.0**-126)
    grow = max(1.0, batch / 64)
    found = bars(layer.terms(), roundoff, decayed)
    for i, j in itertools.product(range(2), range(3)):
        size = s[i] + radius[i]
        noise = (ds[i] + grow * size) * (h[j] + 32 * roundoff * dh[j]) + size * dh[j]
        expected = 32 * roundoff * noise + 8 * roundoff * decayed[i, j] + smallest
        assert found[i, j] == pytest.approx(expected, rel=1e-14)
    some = layer.terms(np.array([1]), slice(1, 3))
    assert some.tolist() == layer.terms()[1:, 1:].tolist()
    expected = math.sqrt(batch) * (ds + grow * (s + radius))
    np.testing.assert_allclose(layer.bias_terms(), expected, rtol=1e-15)
    without_hull = LayerNorms(s, ds, h, dh, batch, roundoff).bias_terms()
    np.testing.assert_allclose(without_hull, math.sqrt(batch) * (ds + grow * s), rtol=1e-15)
    assert bars(np.zeros(1), roundoff).tolist() == [smallest]


def test_terms_of_all_parameters_stand_where_these_do():
    net = fastbp.Network.random([2, 3, 1], seed=0)
    layers = [
        LayerNorms(np.arange(1.0, o + 1), np.ones(o), np.arange(2.0, i + 2), np.ones(i), 4, UNIT)
        for i, o in ((2, 3), (3, 1))
    ]
    flat = flat_terms(net.shapes, layers)
    for array in net.shapes.arrays:
        layer, view = layers[array.layer], array.view(flat)
        expected = layer.terms() if array.kind == "weights" else layer.bias_terms()
        assert view.reshape(-1).tolist() == expected.reshape(-1).tolist()


def test_numbers_below_the_range_are_those_of_the_precision():
    assert smallest_of(UNIT) == 1e-290
    assert smallest_of(SINGLE) == 2.0**-126


# ---- masks in doubt ----


@pytest.mark.parametrize(("roundings", "doubtful"), [(20, True), (60, True), (70, False)])
def test_a_mask_is_in_doubt_within_32_times_its_noise(roundings, doubtful):
    """f = x - 1 + d, rounded by u (|W| |h| + |b|) = 2 u; in doubt within 64 u."""
    net = fastbp.Network(
        [np.ones((1, 1)), np.full((1, 1), 2.0)],
        [np.full((1, 1), -1.0 + roundings * UNIT), np.zeros((1, 1))],
    )
    batch = require_batch(net, np.ones((1, 1)), np.zeros((1, 1)))
    sweeps = Sweeps(net, batch, roundoff=UNIT, directions=0, seed=0, max_memory=2**30)
    sweeps.forward()
    sweeps.reverse()
    hull = hull_of(sweeps)
    assert hull.affected == doubtful
    assert hull.doubtful == (int(doubtful),)
    if doubtful:
        slope = 4 * roundings * UNIT  # of the output, which is twice f
        assert hull.centres[1].tolist() == [[slope]]
        assert hull.centres[0].tolist() == [[slope]]
        assert hull.radii[0].tolist() == [[slope]]
        assert not hull.active(0).any()


def hull_by_hand(weights, doubts, active, slopes):
    """The smallest and largest s of every layer, all masks in doubt being 0, 1/2 or 1."""
    low, high = {}, {}
    masks = [np.flatnonzero(doubt) for doubt in doubts]
    count = sum(len(units) for units in masks)
    for choice in itertools.product((0.0, 0.5, 1.0), repeat=count):
        values, s = iter(choice), slopes
        for k in range(len(doubts), 0, -1):
            mask = active[k - 1].astype(float)
            for unit in masks[k - 1]:
                mask[unit] = next(values)
            s = mask * (weights[k].T @ s)
            low[k] = np.minimum(low.get(k, s), s)
            high[k] = np.maximum(high.get(k, s), s)
    return [low[k + 1] for k in range(len(doubts))], [high[k + 1] for k in range(len(doubts))]


def test_a_hull_holds_what_all_masks_can_make():
    rng = np.random.default_rng(5)
    sizes = [3, 4, 4, 2]
    net = fastbp.Network([rng.normal(size=(o, i)) for i, o in itertools.pairwise(sizes)])
    active = [np.array([True, False, True, True]), np.array([False, True, True, True])]
    # Sample 1 has no doubt; in sample 2 only the first hidden layer has one.
    doubts = [np.zeros((4, 3), bool), np.zeros((4, 3), bool)]
    doubts[0][[0, 1], 0] = doubts[1][[0, 1], 0] = doubts[0][2, 2] = True
    levels = [np.ones((3, 3))] + [np.repeat(on[:, None] * 1.5, 3, axis=1) for on in active]
    slopes = rng.normal(size=(2, 3))
    hull = hull_of_levels(net, levels, slopes, doubts, UNIT)
    assert hull.samples.tolist() == [0, 2]
    assert hull.affected == 2
    assert hull.doubtful == (3, 2)
    for place, sample in enumerate((0, 2)):
        low, high = hull_by_hand(
            net.weights, [doubt[:, sample] for doubt in doubts], active, slopes[:, sample]
        )
        # Of one product of the masks all is reached; of two, the radius is as large or larger.
        for k, exact in ((1, True), (0, sample == 2)):
            centre, radius = hull.centres[k][:, place], hull.radii[k][:, place]
            assert np.all(centre - radius <= low[k] + 1e-14)
            assert np.all(centre + radius >= high[k] - 1e-14)
            if exact:
                np.testing.assert_allclose(centre - radius, low[k], rtol=0, atol=1e-14)
                np.testing.assert_allclose(centre + radius, high[k], rtol=0, atol=1e-14)
    assert hull.centres[2].tolist() == slopes[:, [0, 2]].tolist()
    assert not hull.radii[2].any()


def test_a_radius_grows_by_its_own_rounding():
    """Of 1024 terms by 32 u n / 64, and by nothing where the masks do not matter."""
    net = fastbp.Network([np.ones((1, 1)), np.ones((1024, 1)), np.ones((1, 1024))])
    levels = [np.ones((1, 1)), np.ones((1, 1)), np.zeros((1024, 1))]
    doubts = [np.zeros((1, 1), bool), np.ones((1024, 1), bool)]
    hull = hull_of_levels(net, levels, np.full((1, 1), 2.0), doubts, SINGLE)
    assert hull.radii[1].tolist() == [[1.0]] * 1024
    assert hull.centres[0].tolist() == [[1024.0]]
    assert hull.radii[0].tolist() == [[1024.0 * (1 + 32 * SINGLE * 16)]]


def test_no_doubt_is_no_hull():
    net = fastbp.Network.random([2, 3, 1], seed=0)
    doubts = [np.zeros((3, 2), bool)]
    hull = hull_of_levels(net, [np.ones((2, 2)), np.ones((3, 2))], np.ones((1, 2)), doubts, UNIT)
    assert (hull.affected, hull.doubtful, hull.centres, hull.radii) == (0, (0,), [], [])
    net = fastbp.Network.random([2, 3, 4, 1], seed=0)
    doubts.append(np.zeros((4, 2), bool))
    levels = [np.ones((size, 2)) for size in (2, 3, 4)]
    assert hull_of_levels(net, levels, np.ones((1, 2)), doubts, UNIT).doubtful == (0, 0)


def test_large_weights_are_taken_in_parts(monkeypatch):
    middle = np.arange(-6.0, 6.0).reshape(4, 3)
    net = fastbp.Network([np.ones((3, 2)), middle, np.ones((1, 4))])
    doubts = [np.ones((3, 1), bool), np.ones((4, 1), bool)]
    levels = [np.ones((2, 1)), np.zeros((3, 1)), np.zeros((4, 1))]
    whole = hull_of_levels(net, levels, np.ones((1, 1)), doubts, UNIT)
    monkeypatch.setattr("fastbp.network.sensitivities.hull.ABSOLUTE_ENTRIES", 4)
    parts = hull_of_levels(net, levels, np.ones((1, 1)), doubts, UNIT)
    assert [r.tolist() for r in parts.radii] == [r.tolist() for r in whole.radii]
    # W^T (1/2) and |W|^T (1/2), each cut at 0.
    centre, half = middle.sum(axis=0) / 2, np.abs(middle).sum(axis=0) / 2
    low, high = np.minimum(centre - half, 0), np.maximum(centre + half, 0)
    np.testing.assert_allclose(whole.centres[0][:, 0], (low + high) / 2, rtol=1e-14)
    np.testing.assert_allclose(whole.radii[0][:, 0], (high - low) / 2, rtol=1e-13)


# ---- the range of numbers ----


def test_what_a_product_may_lose_is_faint():
    s_norms = np.array([[1.0, 1e-291, 0.0], [1e-200, 1.0, 0.0], [1.0, 1e-289, 0.0]])
    found = faint_samples(s_norms, np.array([1e-91, 1e-5]))
    # Layer 0: |W| |s| = 1e-291 in sample 0; layer 1: 1e-294 in sample 1.
    assert found.tolist() == [[True, True, False], [False, True, False], [False, False, False]]
    assert not faint_samples(np.array([[1e-289], [1e-200]]), np.array([1e-89])).any()
    assert not faint_samples(np.array([[1.0], [1.0]]), np.array([0.0])).any()


def in_range(h=(), xi=(), s=(), z=(), faint=(), smallest=1e-290):
    """The message for three levels, two layers, two samples; changes as (row, sample, number)."""
    arrays = [np.ones((3, 2)), np.ones((3, 2)), np.ones((2, 2)), np.ones((2, 2))]
    for array, changes in zip(arrays, (h, xi, s, z), strict=True):
        for row, sample, number in changes:
            array[row, sample] = number
    lost = np.zeros((2, 2), bool)
    for row, sample in faint:
        lost[row, sample] = True
    return out_of_range(*arrays, lost, smallest=smallest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"h": [(0, 1, 1e289), (1, 0, 1e-291), (2, 1, 0.0)]}, ""),
        ({"h": [(0, 1, 1e291)]},
         "overflow: the pre-activations of the inputs leave the range of numbers"),
        ({"h": [(1, 1, 1e291)]},
         "overflow: the pre-activations of layer 0 leave the range of numbers"),
        ({"xi": [(2, 0, math.nan)]},
         "overflow: the pre-activations of layer 1 leave the range of numbers"),
        ({"h": [(1, 0, 1e-291), (1, 1, 1e-300)]},
         "underflow: the activations of layer 0 are below 1e-290"),
        ({"h": [(1, 0, 0.0), (1, 1, 1e-300)]}, ""),
        ({"h": [(1, 0, 0.0), (1, 1, 0.0)]}, ""),
        ({"h": [(2, 0, 1e291), (1, 0, 1e-291), (1, 1, 1e-291)]},
         "underflow: the activations of layer 0 are below 1e-290"),
        ({"s": [(0, 1, 1e291)]},
         "overflow: the sensitivities of layer 0 leave the range of numbers"),
        ({"z": [(1, 1, math.inf)], "s": [(0, 0, 1e291)]},
         "overflow: the sensitivities of layer 1 leave the range of numbers"),
        ({"faint": [(0, 0)]}, ""),
        ({"faint": [(0, 0), (0, 1)]},
         "underflow: the sensitivities of layer 0 are below 1e-290"),
        ({"faint": [(1, 0), (0, 1)]},
         "underflow: the sensitivities of layer 0 are below 1e-290"),
        ({"faint": [(1, 0), (1, 1)]},
         "underflow: the sensitivities of layer 1 are below 1e-290"),
        ({"faint": [(1, 0)], "s": [(1, 1, 0.0)]},
         "underflow: the sensitivities of layer 1 are below 1e-290"),
        ({"s": [(1, 0, 0.0), (1, 1, 0.0)]}, ""),
    ],
)  # fmt: skip
def test_what_leaves_the_range_is_named(changes, message):
    assert in_range(**changes) == message


@pytest.mark.parametrize("what", ["h", "faint"])
def test_what_float32_calls_0_anyway_may_be_as_small_as_it_likes(what):
    changes = [(1, 0, 1e-291), (1, 1, 1e-300)] if what == "h" else [(1, 0), (1, 1)]
    assert in_range(**{what: changes}, smallest=1e-38) == ""
    assert "underflow" in in_range(**{what: changes})
    changes = {what: changes, "s": [(0, 1, 1e291)]}
    assert "the sensitivities of layer 0" in in_range(**changes, smallest=1e-38)
