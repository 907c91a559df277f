"""The worst entries come by error over what is allowed, in every check of a function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.report import Failure, Report

pytestmark = pytest.mark.small

SLOPES = np.array([10.0, 1.0, 3.0, 1.0, 2.0])
# Of the first entry the error is the larger one, of the second its multiple of what is allowed.
WRONG = SLOPES * [1.5, 1.9, 1.0, 1.0, 1.0]
AT = np.ones(5)


def linear(x: np.ndarray) -> float:
    return float(SLOPES @ x)


def places(failures: tuple[Failure, ...]) -> list[tuple[int, ...]]:
    return [failure.index for failure in failures]


@pytest.mark.parametrize("method", ["every", "probe"])
def test_failures_of_a_gradient_come_by_error_over_allowed(method: str) -> None:
    report = fastbp.check_gradient(linear, WRONG, AT, method=method, rtol=1e-2, seed=1)
    assert places(report.failures) == [(1,), (0,)]
    assert report.failures[0].error < report.failures[1].error
    assert report.arrays[0].worst == report.failures[0]
    assert all(type(failure.allowed) is float for failure in report.failures)


@pytest.mark.parametrize("method", ["every", "probe"])
def test_what_is_not_finite_comes_first(method: str) -> None:
    given = WRONG.copy()
    given[[2, 4]] = np.inf, np.nan
    report = fastbp.check_gradient(linear, given, AT, method=method, rtol=1e-2, seed=1)
    expected = [(2,), (4,), (1,), (0,)]
    assert places(report.failures) == (expected if method == "every" else expected[:2])
    assert report.arrays[0].worst == report.failures[0]


def test_equal_multiples_of_what_is_allowed_come_in_the_order_of_their_places() -> None:
    report = fastbp.check_gradient(
        lambda x: 0.0 * float(x[0]), np.full(3, 2.0), np.ones(3), method="every", atol=0.5
    )
    assert places(report.failures) == [(0,), (1,), (2,)]


def products(kind: str, **options: Any) -> Report:
    def f(x: np.ndarray) -> np.ndarray:
        return SLOPES * x

    def product(_: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return WRONG * direction

    check = fastbp.check_vjp if kind == "vjp" else fastbp.check_jvp
    return check(f, product, AT, rtol=1e-2, seed=1, **options)


@pytest.mark.parametrize("method", ["every", "probe"])
def test_failures_of_a_vjp_come_by_error_over_allowed(method: str) -> None:
    report = products("vjp", method=method)
    assert places(report.failures) == [(1,), (0,)]
    assert report.failures[0].error < report.failures[1].error
    assert "by x[1], output[1] is wrong" in " ".join(report.notes)


@pytest.mark.parametrize("method", ["every", "probe"])
def test_failures_of_a_jvp_come_by_error_over_allowed(method: str) -> None:
    report = products("jvp", method=method)
    assert places(report.failures) == ([(1, 1), (0, 0)] if method == "every" else [(1,), (0,)])
    assert report.failures[0].error < report.failures[1].error
    assert report.arrays[0].worst == report.failures[0]
    if method == "probe":
        assert "output[1] is wrong by x[1]" in " ".join(report.notes)
