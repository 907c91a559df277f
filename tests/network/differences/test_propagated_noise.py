"""The error bar of a replay covers its rounding."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from support.replays import replay, some_entries
from support.rounding import gradient_bounds
from support.strategies import Problem, make_problem, problems

SCHEMES = ("central", "forward")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("loss", ["least_squares", "softmax_cross_entropy"])
def test_the_error_bar_covers_the_rounding_and_is_not_absurd(scheme, loss):
    ratios = []
    for seed in range(30):
        problem = make_problem([6, 12, 9, 3], 5, seed=seed, loss=loss)
        net, oracle = problem.network(), problem.reference()
        result = replay(net, problem.x, problem.y, scheme=scheme)
        assert np.all(result.error_bar.flat > 0)
        entries = some_entries(problem, 40, seed)
        exact = _exact_quotients(oracle, problem, scheme, entries)
        error = np.abs(result.flat[entries] - exact)
        ratios.append(error.max() / result.error_bar.flat[entries].min())
    assert max(ratios) <= 1.0
    assert np.median(ratios) > 1e-4


def _exact_quotients(oracle, problem, scheme, entries):
    """The loop in long double, where its rounding is two thousand times smaller."""
    exact = []
    for plus, minus, step in reference.perturbations(
        oracle, scheme=scheme, delta=1e-6, entries=entries
    ):
        losses = [_loss_in_long_double(net, problem) for net in (plus, minus)]
        exact.append(float((losses[0] - losses[1]) / np.longdouble(step)))
    return np.array(exact)


def _loss_in_long_double(net, problem):
    h = problem.x.astype(np.longdouble)
    for k in range(len(net.weights)):
        f = net.book_bias(k) + net.book_weight(k).astype(np.longdouble) @ h
        h = np.maximum(f, 0)
    if problem.options["loss"] == "least_squares":
        return ((f - problem.y) ** 2).sum()
    top = f.max(axis=0)
    chosen = f[problem.y, np.arange(f.shape[1])]
    return (top + np.log(np.exp(f - top).sum(axis=0)) - chosen).sum()


@given(problems(values=("normal",), losses=("least_squares",), max_batch=9))
def test_central_differences_of_squares_are_the_gradient(problem: Problem):
    """Between two kinks least squares are a parabola: a central difference has only rounding."""
    oracle = problem.reference()
    bound, _, doubt = gradient_bounds(oracle, problem.x, problem.y, 2.0**-53)
    assume(not doubt)
    result = replay(problem.network(), problem.x, problem.y)
    _, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
    judged = np.ones(bound.size, bool) if result.kinks is None else ~result.kinks.flat
    error = np.abs(result.flat - expected.flat)
    assert np.all(error[judged] <= (result.error_bar.flat + bound)[judged])
