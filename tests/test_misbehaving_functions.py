"""Points 21 and 22 of the catalogue: functions that remember or change, and errors of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.mistake_points import POINTS, correct_lists, interleaved
from support.strategies import (
    Problem,
)

import fastbp


def failed_reasons(problem: Problem, function: Callable[..., Any]) -> str:
    report = fastbp.check_network(problem.network(), problem.x, problem.y, function)
    assert report.verdict == "failed", str(report)
    return "; ".join(row.reason for row in report.arrays if row.verdict == "failed")


@pytest.mark.small
def test_21_accumulation_is_told_apart():
    problem = POINTS["distinct sizes"]
    d_weights = [np.zeros_like(w) for w in problem.weights]
    d_biases = [np.zeros_like(b) for b in problem.biases]

    def accumulating(*_):
        terms = interleaved(*correct_lists(problem))
        for total, term in zip(interleaved(d_weights, d_biases), terms, strict=True):
            total += term
        return d_weights, d_biases

    reason = failed_reasons(problem, accumulating)
    assert "twice" in reason
    assert "accumulat" in reason


@pytest.mark.small
def test_21_a_random_gradient_is_two_different_results(rng):
    problem = POINTS["distinct sizes"]

    def dropped_out(*_):
        d_weights, d_biases = correct_lists(problem)
        return [w * (rng.random(w.shape) < 0.5) for w in d_weights], d_biases

    assert "two different results" in failed_reasons(problem, dropped_out)


@pytest.mark.small
@pytest.mark.parametrize("argument", range(4))
def test_22_a_function_that_changes_its_arguments(argument):
    problem = POINTS["distinct sizes"]

    def changing(*arguments):
        result = correct_lists(problem)
        target = arguments[argument]
        if isinstance(target, list):
            target = target[1]
        target[0] += 1.0
        return result

    name = ["weights[1]", "biases[1]", "x", "y"][argument]
    kept = [array.copy() for array in problem.arrays]
    assert f"arguments: {name}" in failed_reasons(problem, changing)
    for array, copy in zip(problem.arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.small
def test_22_a_function_that_rebinds_the_items_of_a_list():
    problem = POINTS["distinct sizes"]

    def updating(weights, *_):
        result = correct_lists(problem)
        weights[2] = weights[2] - 0.1 * result[0][2]
        return result

    assert "weights[2]" in failed_reasons(problem, updating)


@pytest.mark.small
def test_22_results_that_share_memory_are_wrong_arrays():
    """One buffer for all biases of a size: what was written last shows in each."""
    problem = POINTS["square"]
    buffer = np.zeros((5, 1))

    def aliasing(*_):
        d_weights, d_biases = correct_lists(problem)
        for d_bias in d_biases:
            buffer[...] = d_bias
        return d_weights, [buffer] * len(d_biases)

    report = fastbp.check_network(problem.network(), problem.x, problem.y, aliasing)
    failed = [row.name for row in report.arrays if row.verdict == "failed"]
    assert failed == ["biases[0]", "biases[1]"]


@pytest.mark.small
def test_22_a_function_that_reuses_its_buffers_correctly_passes():
    problem = POINTS["square"]
    held = correct_lists(problem)
    report = fastbp.check_network(problem.network(), problem.x, problem.y, lambda *_: held)
    assert report.verdict == "passed", str(report)


@pytest.mark.small
def test_an_error_of_the_users_function_is_the_cause_of_ours():
    problem = POINTS["square"]

    def broken(*_):
        raise ZeroDivisionError("mine")

    with pytest.raises(
        fastbp.EvaluationError, match="gradients raised ZeroDivisionError at the point: mine"
    ) as caught:
        fastbp.check_network(problem.network(), problem.x, problem.y, broken)
    assert type(caught.value.__cause__) is ZeroDivisionError
