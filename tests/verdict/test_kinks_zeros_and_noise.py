"""Verdicts on kinks, zeros and derivatives below the noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.judging import BAR, gradient, judge

from fastbp.verdict.arrays import TOO_ROUGH
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small


# ---- kinks ----


def test_entries_on_a_kink_are_counted_and_not_judged():
    given = gradient()
    given[[3, 8]] += 1
    kinks = np.isin(np.arange(40), [3, 8])
    found = judge(given, gradient(), kinks=kinks)
    assert (found.verdict, found.kinks, found.wrong) == ("passed", 2, 0)
    assert found.factor == pytest.approx(1, abs=1e-12)
    assert found.worst not in (3, 8)


def test_an_array_of_kinks_is_inconclusive():
    found = judge(gradient() + 1, gradient(), kinks=np.ones(40, dtype=bool))
    assert found.verdict == "inconclusive"
    assert found.reason == "each of the entries that are not zero (40) is on a kink"
    assert found.worst is None
    assert found.detectable == math.inf


def test_zeros_beside_kinks_do_not_make_a_pass():
    numerical = np.where(np.arange(40) < 5, gradient(), 0.0)
    found = judge(numerical, numerical, kinks=np.arange(40) < 5)
    assert (found.verdict, found.zero) == ("inconclusive", 35)


# ---- zeros and noise ----


def test_zero_on_both_sides_is_untested():
    found = judge(np.zeros(40), np.zeros(40))
    assert (found.verdict, found.zero) == ("untested", 40)
    assert found.reason == "zero on both sides in every entry"
    assert (found.factor, found.residual) == (None, None)


def test_numerical_noise_around_an_exact_zero_is_untested():
    found = judge(np.zeros(40), gradient() * BAR / 2)
    assert (found.verdict, found.zero) == ("untested", 40)


def test_minus_zero_is_zero():
    assert judge(np.full(3, -0.0), np.zeros(3)).verdict == "untested"


def test_an_array_left_at_zero_fails():
    found = judge(np.zeros(40), gradient())
    assert found.verdict == "failed"
    assert found.reason == "40 of 40 entries are wrong: every given entry is 0"
    assert (found.factor, found.residual) == (0.0, None)


def test_derivatives_below_the_noise_are_inconclusive():
    found = judge(gradient() * 1e-12, gradient() * 1e-12)
    assert found.verdict == "inconclusive"
    assert found.reason == TOO_ROUGH


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, "passed"), (0.9, "passed"), (0.0, "failed"), (0.5, "failed"), (-1.0, "failed")],
)
def test_an_array_below_its_bars_is_judged_as_a_whole(factor, verdict):
    """20 times as large as its noise is as a whole."""
    numerical = 0.5 * BAR * gradient() / np.abs(gradient()).max()
    found = judge(factor * numerical, numerical, noise=np.linalg.norm(numerical) / 20)
    assert (found.verdict, found.wrong, found.failures) == (verdict, 0, [])
    assert found.reason.startswith("no derivative is above its error bar")


@pytest.mark.parametrize(
    ("size", "factor", "verdict"),
    [
        (0.2, -1.0, "untested"), (0.2, 1.0, "passed"), (0.2, 0.9, "untested"),
        (0.2, 0.97, "untested"), (0.2, 0.995, "passed"),
        (1.9, 0.7, "untested"), (2.1, 0.7, "untested"), (2.1, 0.8, "passed"),
        (2.4, -1.0, "untested"), (2.6, -1.0, "failed"),
        (4.9, 0.0, "untested"), (5.1, 0.0, "failed"),
        (9.9, 0.5, "untested"), (10.1, 0.5, "failed"),
    ],
)  # fmt: skip
def test_what_rounding_explains_is_no_mistake(size, factor, verdict):
    """An array so many times as large as its noise."""
    numerical = 0.5 * BAR * gradient() / np.abs(gradient()).max()
    found = judge(factor * numerical, numerical, noise=np.linalg.norm(numerical) / size)
    assert (found.verdict, found.wrong) == (verdict, 0)
    assert found.reason


def test_a_tolerance_is_allowed_to_an_array_as_a_whole_too():
    numerical = 0.5 * BAR * gradient() / np.abs(gradient()).max()
    noise = np.linalg.norm(numerical) / 20
    for tolerance in (Tolerance(2.0, 0.0), Tolerance(0.0, 2 * BAR)):
        assert judge(-numerical, numerical, BAR, tolerance, noise=noise).verdict == "passed"


def test_an_array_below_its_bars_but_on_kinks_passes():
    """Some convention's derivative is above the bar: that is no rounding."""
    numerical = 0.5 * BAR * gradient() / np.abs(gradient()).max()
    noise = np.linalg.norm(numerical) / 20
    hull = np.where(np.arange(numerical.size) == 3, 5 * BAR, 0.0)
    assert judge(0.2 * numerical, numerical, hull=hull, noise=noise).verdict == "passed"
    assert judge(0.2 * numerical, numerical, noise=noise).verdict == "failed"


def test_one_derivative_above_the_noise_is_enough():
    numerical = gradient() * 1e-12
    numerical[7] = 1e-6
    assert judge(numerical, numerical).verdict == "passed"


def test_one_entry_reads_like_one_entry():
    assert judge(np.array([2.0]), np.array([1.0])).reason == "1 of 1 entry is wrong"
