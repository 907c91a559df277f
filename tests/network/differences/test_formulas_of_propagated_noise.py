"""Rounding noise of a network for checks by replay, beside its formulas written out by sample."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

import fastbp
from fastbp.network.differences.propagated_noise import rounding_of
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.error_bars import LayerNorms, bars, flat_terms

pytestmark = pytest.mark.small

DOUBLE, SINGLE, COARSE, COARSEST = 2.0**-53, 2.0**-24, 2.0**-9, 2.0**-5
SMALLEST = {DOUBLE: 1e-290, SINGLE: 2.0**-126, COARSE: 1e-290, COARSEST: 1e-290}
SIZES, BATCH = (3, 5, 4, 2), 6
FACTOR = -0.5  # a scale of -3 over six samples


def bent(output, targets):
    return float(np.sum(output * targets))


def its_gradient(output, targets):
    return 3.0 * output + targets  # no gradient of `bent`: only this is called


LOSSES = {
    "squares": "least_squares",
    "labels": "softmax_cross_entropy",
    "shares": "softmax_cross_entropy",
    "sigmoid": "sigmoid_cross_entropy",
    "custom": (bent, its_gradient),
}


def example(kind, *, size=1.0, biases=True, scale=-3.0, roundoff=SINGLE):
    """A network with masks in doubt in sample 0, where the inputs are of that size."""
    rng = np.random.default_rng(11)
    weights = [rng.normal(size=(o, i)) for i, o in pairwise(SIZES)]
    # Two units of which one is on, with weights as small as what underflows, in and out.
    weights[1][2:] = 1e-30 * weights[1][2] * np.array([[1.0], [-1.0]])
    weights[2][:, 2:] *= 1e-30
    x = size * rng.normal(size=(SIZES[0], BATCH))
    offsets = [size * rng.normal(size=(o, 1)) for o in SIZES[1:]]
    offsets[0][:2, 0] = -(weights[0] @ x)[:2, 0] + size * roundoff * np.array([3.0, -3.0])
    y = rng.uniform(size=(SIZES[-1], BATCH)) * (size if kind in ("custom", "squares") else 1.0)
    if kind == "labels":
        y = np.arange(BATCH) % 2
    elif kind == "shares":
        y = y / y.sum(axis=0)
    net = fastbp.Network(
        weights, offsets if biases else None, loss=LOSSES[kind], reduction="mean", scale=scale,
        weight_decay=0.25,
    )  # fmt: skip
    return net, evaluate(net, require_batch(net, x, y)), y


def grown(depth):
    return max(0.25 * math.sqrt(depth), depth / 64)


def noisy(carried, own, independent, e):
    moved = carried + own * e
    return math.copysign(max(abs(moved), own / 2, independent / 2), moved)


def by_hand(net, rows, roundoff, slopes, output_noise):
    """Noise of h and s of every layer and the masks in doubt, number by number."""
    random, norm = np.random.default_rng(0), np.linalg.norm
    small = SMALLEST[roundoff] / roundoff
    levels, noise, doubts = [rows[0]], [np.full(rows[0].shape, small)], []
    for k, (weight, f) in enumerate(zip(net.weights, rows[1:], strict=True)):
        depth, last = weight.shape[1], k == len(net.weights) - 1
        least = small * (1 + grown(depth))
        e, moved, doubt = (
            random.standard_normal(f.shape),
            np.zeros(f.shape),
            np.zeros(f.shape, bool),
        )
        for i, n in np.ndindex(f.shape):
            bias = 0.0 if net.biases is None else abs(net.biases[k][i, 0])
            own = (norm(weight[i]) + least) * (norm(levels[k][:, n]) + least)
            own += bias + least + grown(depth) * abs(f[i, n])
            independent = norm(weight[i]) * norm(noise[k][:, n]) / math.sqrt(depth)
            moved[i, n] = noisy(weight[i] @ noise[k][:, n], own, independent, e[i, n])
            doubt[i, n] = abs(f[i, n]) <= 32 * roundoff * abs(moved[i, n])
            if not last and f[i, n] <= 0 and not doubt[i, n]:
                moved[i, n] = 0.0
        levels.append(f if last else np.maximum(f, 0))
        noise.append(moved)
        if not last:
            doubts.append(doubt)
    s, z = [slopes], [output_noise(noise[-1], small)]
    for k in range(len(net.weights) - 1, 0, -1):
        weight = net.weights[k]
        depth = weight.shape[0]
        least = small * (1 + grown(depth))
        below, e = weight.T @ s[0], random.standard_normal(levels[k].shape)
        moved = np.zeros(below.shape)
        for j, n in np.ndindex(below.shape):
            size = norm(weight[:, j])
            own = (size + least) * norm(s[0][:, n]) + grown(depth) * abs(below[j, n]) + least
            independent = size * norm(z[0][:, n]) / math.sqrt(depth)
            if levels[k][j, n] > 0 or doubts[k - 1][j, n]:
                moved[j, n] = noisy(weight[:, j] @ z[0][:, n], own, independent, e[j, n])
            if levels[k][j, n] <= 0:
                below[j, n] = 0.0
        s.insert(0, below)
        z.insert(0, moved)
    return levels[:-1], noise[:-1], doubts, s, z


def moved_share(share, reach):
    if reach < 1:
        return share * math.expm1(reach)
    return 4 * min(1.0, share * math.exp(reach))  # no margin is left in what moves by all of itself


def moved_softmax(o, away, margin):
    """How far the probabilities of one sample move, and the probabilities."""
    share = np.exp(o - o.max()) / np.exp(o - o.max()).sum()
    largest = np.abs(o).max()
    reach = margin * (away + share @ away + 1 + largest)
    step = np.array([moved_share(p, r) for p, r in zip(share, reach, strict=True)])
    for k in np.flatnonzero(share > 0.6):
        others = np.arange(len(o)) != k
        step[k] = step[others].sum() + min(share[others].sum(), margin * largest)
    return step, share


def noise_of_outputs(kind, base, y, roundoff, slopes):
    """The rounding of the loss's derivative, and what noise of the outputs makes of it."""
    factor, output, margin = base.factor, base.output, 32 * roundoff

    def noise(moved, small):
        size = np.zeros(moved.shape)
        for k, n in np.ndindex(moved.shape):
            away, o = abs(moved[k, n]), output[k, n]
            if kind == "custom":
                size[k, n] = abs(3 * factor * away) + abs(slopes[k, n])
                size[k, n] += small * (abs(factor) + 1)
                continue
            if kind == "squares":
                part = 2 * (away + abs(o - y[k, n]))
            elif kind == "sigmoid":
                p = 1 / (1 + math.exp(-o))
                step = min(4.0, moved_share(min(p, 1 - p), margin * away))
                part = step / margin + p + y[k, n]
            else:
                steps, p = moved_softmax(output[:, n], np.abs(moved[:, n]), margin)
                target = y[k, n] if kind == "shares" else float(y[n] == k)
                part = min(4.0, steps[k]) / margin + p[k] + target
            size[k, n] = abs(factor) * (part + small) + part * small + small
        return np.copysign(size, moved)

    return noise


def slopes_of(kind, base, y):
    output = base.output
    if kind == "custom":
        return base.factor * its_gradient(output, y)
    if kind == "squares":
        return base.factor * 2 * (output - y)
    if kind == "sigmoid":
        return base.factor * (1 / (1 + np.exp(-output)) - y)
    share = np.exp(output - output.max(axis=0))
    share /= share.sum(axis=0)
    if kind == "labels":  # of two classes, where p - 1 has no digits left
        samples = np.arange(BATCH)
        share[y, samples] = -share[1 - y, samples]
        return base.factor * share
    return base.factor * (share - y)


CASES = [
    *((kind, 1.0, roundoff, True) for kind in LOSSES for roundoff in (DOUBLE, SINGLE)),
    *((kind, 1e-30, SINGLE, True) for kind in ("squares", "labels", "sigmoid", "custom")),
    *((kind, 30.0, SINGLE, False) for kind in ("squares", "labels", "sigmoid")),
    *((kind, size, COARSE, True) for kind in ("labels", "sigmoid") for size in (1.0, 30.0)),
    ("labels", 1e4, SINGLE, True),  # logits whose exponentials overflow
    ("labels", 1.0, COARSEST, True),  # probabilities that may be anything
]


@pytest.mark.parametrize(("kind", "size", "roundoff", "biases"), CASES)
def test_every_number_has_its_noise(kind, size, roundoff, biases):
    net, base, y = example(kind, size=size, biases=biases, roundoff=roundoff)
    found = rounding_of(base, roundoff)
    slopes = slopes_of(kind, base, y)
    expected = by_hand(
        net, base.by_level(), roundoff, slopes, noise_of_outputs(kind, base, y, roundoff, slopes)
    )
    names = ("levels", "level_noise", "doubts", "sensitivities", "sensitivity_noise")
    for name, values in zip(names, expected, strict=True):
        for own, by_formula in zip(getattr(found, name), values, strict=True):
            close = 1e-6 if kind == "custom" else 1e-9
            np.testing.assert_allclose(own, by_formula, rtol=close, err_msg=name)
    for own, f in zip(found.distances, base.by_level()[1:-1], strict=True):
        assert own.tolist() == np.abs(f).tolist()
    assert found.doubts[0][:2, 0].all() or not biases
    assert (found.network, found.roundoff) == (base.network, roundoff)


def test_a_loss_times_0_has_no_noise_but_what_underflows():
    _, base, _ = example("labels", scale=0.0)
    assert not rounding_of(base, SINGLE).sensitivity_noise[-1].any()
    _, base, y = example("squares", scale=0.0)
    expected = noise_of_outputs("squares", base, y, SINGLE, None)
    found = rounding_of(base, SINGLE)
    moved = expected(
        by_hand(base.network, base.by_level(), SINGLE, 0 * y, lambda z, _: z)[4][-1],
        SMALLEST[SINGLE] / SINGLE,
    )
    np.testing.assert_allclose(found.sensitivity_noise[-1], moved, rtol=1e-9)


def test_probabilities_of_any_logits_have_noise():
    _, base, _ = example("labels", size=1e4)
    assert np.isfinite(rounding_of(base, SINGLE).sensitivity_noise[-1]).all()


@pytest.mark.parametrize("size", [1e3, 1.0, 0.0])
def test_noise_moves_the_outputs_of_a_custom_loss_by_half_their_digits(size):
    seen = []

    def gradient(output, targets):
        seen.append(output.copy())
        return output - targets

    one = np.ones((1, 2))
    net = fastbp.Network([size * np.ones((1, 1))], loss=(bent, gradient))
    base = evaluate(net, require_batch(net, one, one))
    seen.clear()
    rounding_of(base, DOUBLE)
    steps = [np.max(np.abs(output - size)) for output in seen]
    assert max(steps) == pytest.approx(1e-8 * max(size, 1e-8), rel=1e-6, abs=0)


@pytest.mark.parametrize("roundoff", [DOUBLE, SINGLE])
def test_bars_are_those_of_the_norms_and_twice_the_hull(roundoff):
    net, base, _ = example("squares", roundoff=roundoff)
    found = rounding_of(base, roundoff)
    decayed = np.concatenate(
        [np.concatenate([0.25 * w.reshape(-1), np.zeros(len(w))]) for w in net.weights]
    )
    for hull in (found.hull(found.doubts), found.hull([0 * doubt for doubt in found.doubts])):
        radii = hull.radii if hull.affected else [np.zeros((len(w), 1)) for w in net.weights]
        values = zip(
            found.sensitivities, found.sensitivity_noise, found.levels, found.level_noise, radii,
            strict=True,
        )  # fmt: skip
        norms = [[np.linalg.norm(part, axis=1) for part in parts] for parts in values]
        layers = [
            LayerNorms(s, z, h, xi, BATCH, roundoff, 2 * radius) for s, z, h, xi, radius in norms
        ]
        expected = bars(flat_terms(net.shapes, layers), roundoff, np.abs(decayed))
        np.testing.assert_allclose(found.error_bars(roundoff, hull), expected, rtol=1e-13)


@pytest.mark.parametrize(("weight", "faint"), [(1e-150, True), (1e-130, False)])
def test_sensitivities_that_fall_below_the_range_are_named(weight, faint):
    one = np.ones((1, 1))
    net = fastbp.Network([one, weight * one], scale=1e-150)
    problem = rounding_of(evaluate(net, require_batch(net, one, one)), DOUBLE).problem
    assert problem == ("underflow: the sensitivities of layer 0 are below 1e-290" if faint else "")
