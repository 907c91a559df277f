"""Functions and gradients that change their argument, remember, or are not deterministic."""

from __future__ import annotations

import numpy as np
import pytest
from support.gradient_checks import square

import fastbp

pytestmark = pytest.mark.small

METHODS = ("every", "probe")


def test_f_that_changes_its_argument_fails() -> None:
    def f(x: np.ndarray) -> float:
        x *= 2
        return float(np.sum(x))

    at = np.ones(4)
    for method in METHODS:
        report = fastbp.check_gradient(f, np.full(4, 2.0), at, method=method)
        assert report.verdict == "failed"
        assert report.wrong == 0
        assert report.arrays[-1].reason == "f changed its argument: x"
    assert at.tolist() == [1, 1, 1, 1]


def test_f_that_changes_its_argument_only_beside_the_point_fails() -> None:
    def f(x: np.ndarray) -> float:
        value = float(np.sum(x))
        if x[2] != 1:
            x[0] = 5
        return value

    report = fastbp.check_gradient(f, np.ones(4), np.ones(4), method="every")
    assert report.verdict == "failed"
    assert "f changed its argument: x" in [row.reason for row in report.arrays]


def test_f_that_is_not_deterministic_fails() -> None:
    rng = np.random.default_rng(0)
    report = fastbp.check_gradient(
        lambda x: float(np.sum(x)) + 1e-6 * rng.random(), np.ones(3), np.ones(3)
    )
    assert report.verdict == "failed"
    assert "called twice at the same point, gave two different results" in report.arrays[-1].reason


def test_a_gradient_function_that_accumulates_fails() -> None:
    buffer = np.zeros(3)

    def gradient(x: np.ndarray) -> np.ndarray:
        nonlocal buffer
        buffer += x
        return buffer

    report = fastbp.check_gradient(square, gradient, np.array([1.0, 2, 3]))
    assert report.verdict == "failed"
    assert "an accumulation" in report.arrays[-1].reason
    assert report.arrays[0].verdict == "passed"


def test_a_gradient_function_that_changes_its_argument_fails() -> None:
    def gradient(x: np.ndarray) -> np.ndarray:
        x += 1
        return x - 1

    report = fastbp.check_gradient(square, gradient, np.ones(3))
    assert report.arrays[-1].reason == "gradient changed its argument: x"
    assert report.verdict == "failed"
