"""Gradients that cannot be compared, or of which nothing is known, are findings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.gradient_checks import square

import fastbp

pytestmark = pytest.mark.small

METHODS = ("every", "probe")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.ones((3, 1)), "must have shape (3,), not (3, 1)"),
        (np.float64(1.0), "must have shape (3,), not ()"),
        (np.ones(3, int), "must have dtype float64 or float32, not int64"),
        (np.array([1, np.nan, 1]), "not finite"),
        (np.array([1, np.inf, 1]), "not finite"),
    ],
)
def test_unusable_gradients_are_findings(given: Any, reason: str, method: str) -> None:
    report = fastbp.check_gradient(square, lambda x: given, np.ones(3), method=method)  # noqa: ARG005
    assert report.verdict == "failed"
    assert reason in report.arrays[0].reason


@pytest.mark.parametrize("method", METHODS)
def test_another_structure_is_a_failed_row_by_name(method: str) -> None:
    at = {"w": np.ones(2), "b": 3.0}
    report = fastbp.check_gradient(
        lambda p: square(p["w"]) + p["b"],
        lambda p: {"w": p["w"], "c": 1.0},
        at,
        method=method,
    )
    reasons = {row.name: (row.verdict, row.reason) for row in report.arrays}
    assert reasons["p['b']"] == ("failed", "is not given")
    assert reasons["gradient['c']"] == ("failed", "is not in the argument")
    assert reasons["p['w']"][0] == "passed"


@pytest.mark.parametrize("method", METHODS)
def test_zero_against_zero_is_vacuous(method: str) -> None:
    at = [np.ones(3), np.ones(2)]
    constant = fastbp.check_gradient(
        lambda _: 5.0,
        [np.zeros(3), np.zeros(2)],
        at,
        method=method,
    )
    assert constant.verdict == "vacuous"
    partly = fastbp.check_gradient(
        lambda x: square(x[0]), [np.ones(3), np.zeros(2)], at, method=method
    )
    assert [row.verdict for row in partly.arrays] == ["passed", "untested"]
    assert partly.verdict == "passed"


@pytest.mark.parametrize("method", METHODS)
def test_nan_at_the_point_is_inconclusive(method: str) -> None:
    report = fastbp.check_gradient(
        lambda x: float(np.log(-np.sum(x))), np.ones(3), np.ones(3), method=method
    )
    assert report.verdict == "inconclusive"
    assert report.arrays[0].reason == "f is nan at the point"


def test_a_vertical_tangent_is_inconclusive_or_worse() -> None:
    report = fastbp.check_gradient(lambda x: float(np.sqrt(x[0])), np.array([1.0]), np.zeros(1))
    assert report.verdict != "passed"


def test_a_huge_offset_is_inconclusive_and_not_passed() -> None:
    report = fastbp.check_gradient(lambda x: 1e12 + 1e-9 * float(x[0]), np.zeros(1), np.ones(1))
    assert report.verdict in ("vacuous", "inconclusive")
    report = fastbp.check_gradient(
        lambda x: 1e12 + 1e-9 * float(x[0]), np.full(1, 1e-9), np.ones(1)
    )
    assert report.verdict == "inconclusive"


def test_many_wrong_entries_are_all_counted() -> None:
    at = np.random.default_rng(2).normal(size=2000)
    report = fastbp.check_gradient(square, 2 * at, at, method="every")
    assert report.wrong == 2000
    assert report.arrays[0].factor == pytest.approx(2)
