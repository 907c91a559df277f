"""Exact differences: against the reference's backward pass, replay, and the rule itself."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from support import golden as numbers
from support.exact_differences import (
    assert_equals_backward_pass,
    exact,
    masks_are_certain,
    reference_sensitivities,
)
from support.rounding import replay_bounds
from support.strategies import BIAS_KINDS, LAYOUTS, Problem, make_problem, problems

import fastbp
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.exact import exact_sensitivities

# ---- against the backward pass ----


@given(problems(values=("integers",)))
def test_differences_equal_the_backward_pass_where_zeros_are_exact(problem: Problem):
    assert_equals_backward_pass(problem)


@given(problems(values=("normal", "sparse")))
def test_differences_equal_the_backward_pass(problem: Problem):
    assume(masks_are_certain(problem))
    assert_equals_backward_pass(problem)


@pytest.mark.small
@settings(max_examples=15)
@given(problems(max_size=5, max_batch=3, max_layers=3, values=("integers",)))
def test_tiny_problems_equal_the_backward_pass(problem: Problem):
    assert_equals_backward_pass(problem)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        ([64, 128, 128, 10], 64),
        ([1, 300, 1], 5),
        ([5, 4, 3, 2, 1], 257),
        ([20, 700, 650, 4], 3),  # more active units than one block of the depth
        ([3, 40, 30, 700], 2),  # more outputs than units below: taken in parts
        ([6, *[9] * 60, 2], 4),
    ],
    ids=str,
)
def test_large_and_odd_shapes_equal_the_backward_pass(sizes, batch, layout):
    assert_equals_backward_pass(make_problem(sizes, batch, layout=layout))


@pytest.mark.small
def test_the_notebooks_network(golden):
    weights, biases, x, y = golden
    net = fastbp.Network(weights, biases)
    result = fastbp.finite_differences(net, x, y)
    for own, expected in zip(result.biases, numbers.GOLDEN_D_BIASES, strict=True):
        np.testing.assert_allclose(own.ravel(), expected, rtol=0, atol=1e-11)
    for own, norm in zip(result.weights, numbers.GOLDEN_NORMS, strict=True):
        assert np.linalg.norm(own) == pytest.approx(float(norm), rel=1e-11)


@pytest.mark.small
@pytest.mark.parametrize("bias", BIAS_KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_differences_come_in_the_users_shapes_as_float64(dtype, layout, bias):
    problem = make_problem([3, 4, 2], 3, dtype=dtype, layout=layout, bias=bias)
    result = exact(problem)
    assert [g.shape for g in result.weights] == [w.shape for w in problem.weights]
    assert all(g.dtype == np.float64 for g in result.weights)
    if bias == "none":
        assert result.biases is None
    else:
        assert [g.shape for g in result.biases] == [b.shape for b in problem.biases]
    assert [g.shape for g in result.error_bar.weights] == [w.shape for w in problem.weights]


@pytest.mark.small
@pytest.mark.parametrize("batch", [1, 3])
def test_a_float32_network_is_converted_exactly(batch):
    narrow = make_problem([5, 7, 6, 2], batch, dtype=np.float32)
    wide = Problem(
        [w.astype(np.float64) for w in narrow.weights],
        [b.astype(np.float64) for b in narrow.biases],
        narrow.x.astype(np.float64),
        narrow.y.astype(np.float64),
        narrow.options,
    )
    np.testing.assert_array_equal(exact(narrow).flat, exact(wide).flat)


# ---- against replay, and against the rule taken literally ----


@settings(max_examples=25)
@given(problems(values=("normal",), max_size=17, max_batch=9, dtypes=(np.float64,)))
def test_differences_equal_replay_within_its_error_bar(problem: Problem):
    replayed = exact(problem, method="replay")
    assume(replayed.kinks is None)
    assume(masks_are_certain(problem))
    rounding, _ = replay_bounds(
        problem.reference(), problem.x, problem.y, scheme="central", delta=1e-6
    )
    error = np.abs(exact(problem).flat - replayed.flat)
    assert np.all(error <= np.maximum(replayed.error_bar.flat, rounding))


def literal_difference(
    oracle: reference.Reference, f: list[np.ndarray], layer: int, unit: int, step: float
) -> np.ndarray:
    """How the outputs differ, sample by sample, where one pre-activation has moved by step."""
    df = np.zeros_like(f[layer])
    df[unit] = step
    for k in range(layer, len(f) - 1):
        dh = np.where(f[k] > 0, np.maximum(df, -f[k]), np.maximum(f[k] + df, 0.0))
        df = oracle.book_weight(k + 1) @ dh
    return df


@pytest.mark.small
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_it_is_the_networks_own_rule_for_a_step_below_every_kink(batch, layout):
    problem = make_problem([4, 6, 5, 7, 2], batch, layout=layout)
    oracle = problem.reference()
    f, _ = reference.forward(oracle, problem.x)
    step = 2.0**-300  # no f comes near 0; products and sums of it round as those of 1
    residual = f[-1] - reference.as_columns(layout, problem.y)
    net = problem.network()
    sensitivities = exact_sensitivities(
        net, require_batch(net, problem.x, problem.y), max_memory=2**30, progress=False
    )
    for layer in range(len(f)):
        own = sensitivities.of_layer(layer)
        for unit in range(len(f[layer])):
            moved = literal_difference(oracle, f, layer, unit, step)
            loss = (moved * (2.0 * residual + moved)).sum(axis=0)  # no loss is subtracted
            np.testing.assert_allclose(
                own[unit], loss / step, rtol=1e-12, atol=1e-13 * np.abs(own).max()
            )


@pytest.mark.small
def test_sensitivities_are_zero_where_a_unit_is_off_and_where_no_sample_is():
    problem = make_problem([4, 6, 5, 2], 19)
    net = problem.network()
    result = exact_sensitivities(
        net, require_batch(net, problem.x, problem.y), max_memory=2**30, progress=False
    )
    expected, h = reference_sensitivities(problem.reference(), problem.x, problem.y)
    for k, wanted in enumerate(expected):
        np.testing.assert_allclose(result.of_layer(k), wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(result.into_layer(k), h[k], rtol=1e-12, atol=1e-13)
        if k + 1 < len(expected):
            np.testing.assert_array_equal(result.of_layer(k)[h[k + 1] == 0.0], 0.0)
    lanes = np.arange(result.pitch).reshape(-1, result.width)
    first = 0
    for units in net.sizes[1:]:
        panels = result.flat[first * result.pitch :][: units * result.pitch]
        by_lane = panels.reshape(-1, units, result.width).transpose(1, 0, 2)
        assert not by_lane[:, lanes >= result.batch].any()
        first += units
    assert result.flat.size == first * result.pitch


# ---- in a check ----


@given(problems(values=("normal", "integers")))
def test_a_check_passes_a_correct_gradient_and_finds_a_changed_entry(problem: Problem):
    net = problem.network()
    options = {"method": "exact", "progress": False}
    _, given_gradient = net.loss_and_gradients(problem.x, problem.y)
    report = fastbp.check_network(net, problem.x, problem.y, given_gradient, **options)
    assert report.method == "exact"
    assert report.verdict in ("passed", "vacuous"), str(report)
    report = fastbp.check_network(net, problem.x, problem.y, given_gradient, **options)
    place = given_gradient.flat.size // 2
    wrong = 10.0 * max(row.detectable for row in report.arrays)
    given_gradient.flat[place] += problem.dtype.type(wrong + 1e-6)
    report = fastbp.check_network(net, problem.x, problem.y, given_gradient, **options)
    assert report.verdict == "failed"
    assert "exact" in str(report)
