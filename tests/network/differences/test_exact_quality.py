"""The quality of exact differences: kinks, one-sided slopes, error bars."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from support.exact_differences import (
    assert_equals_backward_pass,
    exact,
    masks_are_certain,
    reference_sensitivities,
)
from support.strategies import LAYOUTS, Problem, make_problem, problems

import fastbp
from fastbp.network.differences.exact_quality import measure_noise
from fastbp.network.network import require_batch

# ---- kinks ----


@pytest.mark.small
@pytest.mark.parametrize("at_zero", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_at_exactly_zero_the_convention_weighs_both_sides(batch, at_zero):
    """Loss (1 + max(t, 0))^2 at t = 0: slopes 0 and 2."""
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, one], [0 * one, one], relu_at_zero=at_zero)
    x = np.ones((1, batch))
    result = fastbp.finite_differences(net, x, 0 * x)
    assert result.weights[0][0, 0] == 2.0 * at_zero * batch
    assert result.biases[0][0, 0] == 2.0 * at_zero * batch
    assert result.weights[1][0, 0] == 0.0
    assert result.biases[1][0, 0] == 2.0 * batch


@pytest.mark.small
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_zero_biases_and_zero_inputs(at_zero):
    problem = make_problem([3, 5, 6, 2], 4, bias="none", relu_at_zero=at_zero)
    still = Problem(problem.weights, None, 0 * problem.x, problem.y, problem.options)
    assert_equals_backward_pass(still)


@pytest.mark.small
def test_a_dead_layer_answers_to_nothing():
    problem = make_problem([3, 5, 6, 2], 4)
    problem.biases[1][...] = -100.0
    result = exact(problem)
    for k in (0, 1):
        np.testing.assert_array_equal(result.weights[k], 0.0)
        np.testing.assert_array_equal(result.biases[k], 0.0)
    np.testing.assert_array_equal(result.weights[2], 0.0)
    assert result.biases[2].all()


@given(problems(values=("integers", "normal", "sparse"), max_size=17, max_batch=9))
def test_kinks_are_where_conventions_differ_and_sides_are_one_sided_slopes(problem: Problem):
    """Against forward and backward differences of real losses, along each flagged entry."""
    result = exact(problem)
    if result.kinks is None:
        assert result.left is None
        assert result.right is None
        return
    kinks = result.kinks.flat
    assert kinks.dtype == bool
    np.testing.assert_array_equal(result.left.flat[~kinks], result.flat[~kinks])
    np.testing.assert_array_equal(result.right.flat[~kinks], result.flat[~kinks])
    if problem.dtype == np.float32:  # its zeros are exact, but a step of it is not small
        return
    oracle = problem.reference()
    entries = np.flatnonzero(kinks)[:20]
    step = 1e-7
    base = reference.loss(oracle, problem.x, problem.y)
    steps = reference.perturbations(oracle, scheme="central", delta=step, entries=entries)
    for entry, (plus, minus, _) in zip(entries, steps, strict=True):
        theta = oracle.flat[entry]
        above, below = plus.flat[entry] - theta, theta - minus.flat[entry]
        right = (reference.loss(plus, problem.x, problem.y) - base) / above
        left = (base - reference.loss(minus, problem.x, problem.y)) / below
        curved = 1e-3 * (1.0 + np.abs(result.flat).max() + abs(base)) ** 2
        assert abs(result.right.flat[entry] - right) <= curved
        assert abs(result.left.flat[entry] - left) <= curved


@pytest.mark.small
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_one_sided_slopes_at_a_known_kink(layout, at_zero):
    """Loss (1 + max(w x + b, 0))^2 at w = b = 0, for x = 3 and for x = -3."""
    one = np.ones((1, 1))
    for x in (3.0, -3.0):
        net = fastbp.Network(
            [0 * one, one], [np.zeros(1), np.ones(1)], relu_at_zero=at_zero, layout=layout
        )
        result = fastbp.finite_differences(net, x * one, 0 * one)
        np.testing.assert_array_equal(result.kinks.flat, [True, True, False, False])
        slope = 2.0 * x
        assert result.right.weights[0][0, 0] == max(slope, 0.0)
        assert result.left.weights[0][0, 0] == min(slope, 0.0)
        assert (result.left.biases[0][0], result.right.biases[0][0]) == (0.0, 2.0)
        assert result.weights[0][0, 0] == at_zero * slope
        assert result.right.biases[1][0] == result.left.biases[1][0] == 2.0


@pytest.mark.small
@pytest.mark.parametrize("x", [3.0, -3.0])
@pytest.mark.parametrize("between", [1.0, -1.0])
def test_one_sided_slopes_through_two_kinks(x, between):
    """Loss (1 + max(v max(w x + b, 0) + c, 0))^2 at w = b = c = 0, for v of either sign."""
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, between * one, one], [np.zeros(1), np.zeros(1), np.ones(1)])
    result = fastbp.finite_differences(net, x * one, 0 * one)
    above = 2.0 if between > 0 else 0.0  # of b, which moves what is behind it up or down
    for sides, slope in ((result.left, min(x, 0.0)), (result.right, max(x, 0.0))):
        assert sides.weights[0][0, 0] == slope * above
        assert sides.weights[1][0, 0] == 0.0
    assert [sides.biases[0][0] for sides in (result.left, result.right)] == [0.0, above]
    assert [sides.biases[1][0] for sides in (result.left, result.right)] == [0.0, 2.0]


@pytest.mark.small
@pytest.mark.parametrize("x", [3.0, -3.0])
@pytest.mark.parametrize("between", [1.0, -1.0])
def test_one_sided_slopes_of_what_is_before_a_kink(x, between):
    """Loss (1 + max(v max(w x + b, 0) - v, 0))^2 at w = 0, b = 1, for v of either sign."""
    one = np.ones((1, 1))
    net = fastbp.Network(
        [0 * one, between * one, one], [np.ones(1), np.full(1, -between), np.ones(1)]
    )
    result = fastbp.finite_differences(net, x * one, 0 * one)
    above, below = max(2.0 * between, 0.0), min(2.0 * between, 0.0)  # of b
    sides = (result.left, result.right)
    assert [side.biases[0][0] for side in sides] == [below, above]
    assert [side.weights[0][0, 0] for side in sides] == sorted([x * below + x * above, 0.0])
    assert [side.weights[1][0, 0] for side in sides] == [0.0, 2.0]
    assert [side.biases[1][0] for side in sides] == [0.0, 2.0]


@pytest.mark.small
def test_a_doubt_that_moves_nothing_is_no_kink():
    """A pre-activation of 0 whose unit the next layer does not read."""
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, 0 * one], [np.zeros(1), np.ones(1)])
    result = fastbp.finite_differences(net, one, 0 * one)
    assert result.kinks is None
    assert result.left is None


@pytest.mark.small
def test_continuous_data_has_no_kinks():
    result = exact(make_problem([6, 9, 8, 3], 7))
    assert result.kinks is None
    assert result.left is None
    assert result.right is None


# ---- error bars ----


@given(problems(values=("normal", "sparse"), max_size=33))
def test_the_error_bar_covers_another_correct_computation(problem: Problem):
    assume(masks_are_certain(problem))
    result = exact(problem)
    bars = result.error_bar.flat
    assert np.all(bars >= 0)
    _, expected = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    assert np.all(np.abs(result.flat - expected.flat) <= bars)


@pytest.mark.small
def test_decay_is_in_the_error_bar():
    """Eight roundings of decay W: the entry less s h^T, which is at most the terms of the bar."""
    problem = make_problem([3, 4, 2], 5)
    plain, decayed = (
        fastbp.finite_differences(
            fastbp.Network(problem.weights, problem.biases, weight_decay=decay),
            problem.x,
            problem.y,
        )
        for decay in (0.0, 0.5)
    )
    unit, bars = 2.0**-53, plain.error_bar.flat
    expected = bars + 8 * unit * (np.abs(decayed.flat) + bars / (32 * unit))
    np.testing.assert_allclose(decayed.error_bar.flat, expected, rtol=1e-12, atol=1e-288)


@pytest.mark.small
@pytest.mark.parametrize("bias", [0.0, 1.0], ids=["on a kink", "on none"])
def test_the_error_bar_of_a_bias_is_that_of_the_largest_sensitivity_of_any_convention(bias):
    """32 u sqrt(batch) (noise of s + |s| + radius of its hull), where s is 0 by convention."""
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, one], [np.full(1, bias), np.ones(1)])
    x, batch = np.ones((1, 4)), 4
    result = fastbp.finite_differences(net, x, 0 * x)
    noise = measure_noise(net, require_batch(net, x, 0 * x), max_memory=2**20)
    assert (noise.doubts is None) == (bias != 0.0)
    radius = 0.0 if noise.doubts is None else np.linalg.norm(noise.doubts.radii[0])
    assert radius == (0.0 if bias else np.sqrt(batch))  # 1 either way of the middle, 1
    size = 2.0 * (1.0 + bias) * np.sqrt(batch) * (bias > 0)
    expected = 32 * 2.0**-53 * np.sqrt(batch) * (noise.s[0][0] + size + radius)
    assert result.error_bar.biases[0][0] == pytest.approx(expected, rel=1e-12, abs=0)


def test_the_error_bar_is_not_absurd():
    problem = make_problem([20, 40, 30, 5], 16)
    result = exact(problem)
    s, h = reference_sensitivities(problem.reference(), problem.x, problem.y)
    for k, bars in enumerate(result.error_bar.weights):
        size = np.linalg.norm(s[k], axis=1)[:, None] * np.linalg.norm(h[k], axis=1)
        assert np.all(bars <= 1e-10 * size + 1e-280)


@pytest.mark.small
def test_what_is_known_stays_as_it_was_when_the_network_is_edited():
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, one], [0 * one, one], weight_decay=0.5)
    x = 3 * one
    result = fastbp.finite_differences(net, x, 0 * one)
    before = [part.flat.copy() for part in (result.error_bar, result.left, result.right)]
    net.parameters[...] = 17.0
    x[...] = -5.0
    for part, copy in zip((result.error_bar, result.left, result.right), before, strict=True):
        np.testing.assert_array_equal(part.flat, copy)
