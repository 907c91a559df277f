"""Exact differences of a problem."""

from __future__ import annotations

import numpy as np
import reference
from support.rounding import gradient_bounds
from support.strategies import Problem

import fastbp

CLOSE = 1e-13  # of the largest entry of |s| |h|^T
UNIT = 2.0**-53


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


def rounding_of_cross_entropy(
    oracle: reference.Reference, x: np.ndarray, y: np.ndarray
) -> list[np.ndarray]:
    """How far off s[k] of the reference is where p - y cancels: some u (p + y) at the output."""
    f, _ = reference.forward(oracle, x)
    lost = np.zeros_like(f[-1])
    if oracle.loss in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        book_y = reference.as_columns(oracle.layout, y)
        wanted = reference.targets(book_y, f[-1])
        p = reference.d_summed_loss(oracle, f[-1], book_y) + wanted
        lost = 4 * UNIT * abs(reference.factor(oracle, f[-1])) * (np.abs(p) + np.abs(wanted))
    found = [lost]
    for k in range(len(f) - 1, 0, -1):
        mask = reference.mask_of(f[k - 1], oracle.relu_at_zero)
        found.insert(0, mask * (np.abs(oracle.book_weight(k)).T @ found[0]))
    return found


def assert_equals_backward_pass(problem: Problem) -> None:
    """Within 1e-13 of what cancels at most in each array."""
    oracle = problem.reference()
    _, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
    s, h = reference_sensitivities(oracle, problem.x, problem.y)
    cancelled = rounding_of_cross_entropy(oracle, problem.x, problem.y)
    s = [np.abs(part) + lost / CLOSE for part, lost in zip(s, cancelled, strict=True)]
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
