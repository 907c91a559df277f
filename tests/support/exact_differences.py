"""Exact differences of a problem."""

from __future__ import annotations

import numpy as np
import reference
from support.rounding import gradient_bounds
from support.strategies import Problem

import fastbp

CLOSE = 1e-13  # of the largest entry of |s| |h|^T


def exact(problem: Problem, **options) -> fastbp.Differences:
    return fastbp.finite_differences(problem.network(), problem.x, problem.y, **options)


def reference_sensitivities(
    oracle: reference.Reference, x: np.ndarray, y: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """s[k] = dL/df[k] by the book's recursion, and h[k]; columns are examples."""
    f, h = reference.forward(oracle, x)
    book_y = reference.as_columns(oracle.layout, y)
    s = [reference.factor(oracle, f[-1]) * reference.d_summed_loss(oracle, f[-1], book_y)]
    for k in range(len(f) - 1, 0, -1):
        mask = reference.mask_of(f[k - 1], oracle.relu_at_zero)
        s.insert(0, mask * (oracle.book_weight(k).T @ s[0]))
    return s, h


def assert_equals_backward_pass(problem: Problem) -> None:
    """Within 1e-13 of what cancels at most in each array."""
    oracle = problem.reference()
    _, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
    s, h = reference_sensitivities(oracle, problem.x, problem.y)
    # p - y of the reference is right to 1e-16 or so, however small it is: 1e-13 of 0.01.
    cancelled = 0.01 if "cross_entropy" in str(oracle.loss) else 0.0
    s = [np.abs(part) + cancelled for part in s]
    result = exact(problem)
    assert result.flat.dtype == np.float64
    assert result.flat.shape == expected.flat.shape
    for k, (own, wanted) in enumerate(zip(result.weights, expected.weights, strict=True)):
        assert own.shape == wanted.shape
        size = (np.abs(s[k]) @ np.abs(h[k]).T).max()
        decay = oracle.weight_decay * np.abs(oracle.weights[k]).max()
        assert np.abs(own - wanted).max() <= CLOSE * (size + decay)
        if oracle.biases is not None:
            difference = result.biases[k] - expected.biases[k]
            assert np.abs(difference).max() <= CLOSE * np.abs(s[k]).sum(axis=1).max()


def masks_are_certain(problem: Problem) -> bool:
    """Whether no rounding decides a mask; small integers are computed without any."""
    oracle = problem.reference()
    return not gradient_bounds(oracle, problem.x, problem.y, 2.0**-53).masks_in_doubt
