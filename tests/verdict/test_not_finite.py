"""Verdicts on NaN, infinity and overflow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.judging import TIGHT, gradient, judge

from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_wrong_and_the_worst(value):
    given = gradient()
    given[3] += 1e6
    given[17] = value
    found = judge(given, gradient())
    assert found.verdict == "failed"
    assert found.reason == "2 of 40 entries are wrong, 1 of them not finite"
    assert found.failures == [17, 3]
    assert found.factor is not None


def test_a_nan_on_a_kink_is_wrong():
    given = gradient()
    given[3] = np.nan
    kinks = np.arange(40) == 3
    assert judge(given, gradient(), kinks=kinks).verdict == "failed"


def test_numbers_near_the_largest_do_not_overflow():
    numerical = gradient() * 1e307
    found = judge(2 * numerical, numerical)
    assert found.verdict == "failed"
    assert found.factor == pytest.approx(2, rel=1e-15)
    assert judge(-numerical * 8, numerical).verdict == "failed"


def test_numbers_near_the_smallest_do_not_underflow():
    numerical = gradient() * 1e-300
    found = judge(numerical / 4, numerical, error_bar=0.0)
    assert found.factor == pytest.approx(0.25, rel=1e-15)
    assert found.residual == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("tolerance", [TIGHT, Tolerance(0.0, 0.0)])
def test_a_numerical_gradient_that_overflows_is_inconclusive(value, tolerance):
    numerical = gradient()
    numerical[5] = value
    given = gradient()
    given[5] = np.nan
    found = judge(given, numerical, tolerance=tolerance)
    assert found.verdict == "inconclusive"
    assert found.reason == (
        "1 of 40 entries without a finite numerical derivative: "
        "the loss overflows, or its noise does"
    )
    assert found.wrong == 0


def test_an_infinite_error_bar_judges_nothing():
    found = judge(gradient() + 7, gradient(), error_bar=np.inf)
    assert found.verdict == "inconclusive"
    assert found.worst is None
    assert found.detectable == math.inf
    assert found.factor is None


def test_a_wrong_entry_fails_whatever_overflows_elsewhere():
    numerical, given = gradient(), gradient()
    numerical[5] = np.inf
    given[6] += 1
    assert judge(given, numerical).verdict == "failed"
