"""From numbers to verdicts: planted errors, kinks, noise, zeros, overflow."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from fastbp.verdict import entries as verdict
from fastbp.verdict.arrays import TOO_ROUGH, judge_array
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small

TIGHT = Tolerance(rtol=1e-6, atol=0.0)
BAR = 1e-9


def gradient(size: int = 40, seed: int = 0) -> np.ndarray:
    """Numbers from 1 to 2 of either sign: none is near the noise."""
    rng = np.random.default_rng(seed)
    return rng.uniform(1, 2, size) * rng.choice([-1.0, 1.0], size)


def judge(given, numerical, error_bar=BAR, tolerance=TIGHT, **options):
    return judge_array(given, numerical, error_bar, tolerance, **options)


def test_equal_arrays_pass():
    found = judge(gradient(), gradient())
    assert (found.verdict, found.reason, found.wrong, found.zero, found.kinks) == (
        "passed", "", 0, 0, 0,
    )  # fmt: skip
    assert found.failures.size == 0
    assert found.worst.size == 1
    assert found.factor == pytest.approx(1, abs=1e-15)
    assert found.residual < 1e-15


@hypothesis_given(
    size=st.integers(1, 60),
    place=st.integers(0, 59),
    error=st.floats(1e-3, 1e3),
    sign=st.sampled_from([-1.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_a_single_wrong_entry_is_found_where_it_is(size, place, error, sign, seed):
    numerical = gradient(size, seed)
    given = numerical.copy()
    given[place % size] += sign * error
    found = judge(given, numerical)
    assert found.verdict == "failed"
    assert found.wrong == 1
    np.testing.assert_array_equal(found.failures, [place % size])
    np.testing.assert_array_equal(found.worst, [place % size])


@hypothesis_given(
    seed=st.integers(0, 1000),
    bar=st.floats(0, 1e-3),
    rtol=st.floats(0, 1e-3),
    atol=st.floats(0, 1e-3),
    hull=st.floats(0, 1e-3),
    share=st.floats(-0.999, 0.999),
)
def test_whatever_is_allowed_passes_and_a_little_more_fails(seed, bar, rtol, atol, hull, share):
    numerical = gradient(seed=seed)
    tolerance = Tolerance(rtol, atol)
    allowed = bar + atol + rtol * np.abs(numerical) + hull
    inside = numerical + share * np.maximum(allowed - 1e-15, 0)
    outside = numerical + np.copysign(1.001 * allowed + 1e-14, share)
    assert not verdict.wrong_entries(inside, numerical, bar, tolerance, hull=hull).any()
    assert verdict.wrong_entries(outside, numerical, bar, tolerance, hull=hull).all()


def test_an_error_above_detectable_cannot_hide():
    numerical = gradient() * np.geomspace(1e-6, 1, 40)
    bars = np.geomspace(1e-9, 1e-3, 40)
    detectable = judge(numerical, numerical, bars).detectable
    largest = np.max(bars + TIGHT.rtol * np.abs(numerical))
    assert detectable == pytest.approx(2 * largest, rel=1e-15)
    # The worst case: a correct given value, as far off as is allowed, and an error against that.
    for place in range(40):
        given = numerical.copy()
        given[place] += -largest + 1.0001 * detectable
        assert judge(given, numerical, bars).verdict == "failed"


def test_the_bar_and_the_hull_may_differ_by_entry():
    numerical = gradient(4)
    bars, hull = np.array([0.1, 0.0, 0.0, 0.1]), np.array([0.0, 0.1, 0.0, 0.1])
    wrong = verdict.wrong_entries(numerical + 0.15, numerical, bars, TIGHT, hull=hull)
    np.testing.assert_array_equal(wrong, [True, True, True, False])


def test_failures_come_largest_first_and_no_more_than_asked_for():
    numerical = gradient(1000)
    errors = np.linspace(1, 2, 1000)
    order = np.random.default_rng(1).permutation(1000)
    found = judge(numerical + errors[order], numerical, keep=7)
    assert found.wrong == 1000
    np.testing.assert_array_equal(errors[order][found.failures], errors[::-1][:7])


def test_equal_errors_come_in_the_order_of_their_places():
    found = judge(np.full(20, 3.0), np.full(20, 1.0), keep=5)
    np.testing.assert_array_equal(found.failures, range(5))


def test_many_blocks_give_what_one_gives(monkeypatch):
    numerical = gradient(1000)
    given = numerical.copy()
    given[::37] += 0.5
    kinks = np.arange(1000) % 41 == 0
    bars = np.full(1000, BAR)
    whole = judge(given, numerical, bars, kinks=kinks)
    monkeypatch.setattr(verdict, "BLOCK", 17)
    parts = judge(given, numerical, bars, kinks=kinks)
    assert (parts.verdict, parts.reason, parts.wrong) == (whole.verdict, whole.reason, whole.wrong)
    np.testing.assert_array_equal(parts.failures, whole.failures)
    assert parts.factor == pytest.approx(whole.factor, rel=1e-13)
    assert parts.residual == pytest.approx(whole.residual, rel=1e-13)
    assert parts.detectable == whole.detectable


# ---- NaN, infinity, overflow ----


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_wrong_and_the_worst(value):
    given = gradient()
    given[3] += 1e6
    given[17] = value
    found = judge(given, gradient())
    assert found.verdict == "failed"
    assert found.reason == "2 of 40 entries are wrong, 1 of them not finite"
    np.testing.assert_array_equal(found.failures, [17, 3])
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
    assert found.worst.size == 0
    assert found.detectable == math.inf
    assert found.factor is None


def test_a_wrong_entry_fails_whatever_overflows_elsewhere():
    numerical, given = gradient(), gradient()
    numerical[5] = np.inf
    given[6] += 1
    assert judge(given, numerical).verdict == "failed"


# ---- kinks ----


def test_entries_on_a_kink_are_counted_and_not_judged():
    given = gradient()
    given[[3, 8]] += 1
    kinks = np.isin(np.arange(40), [3, 8])
    found = judge(given, gradient(), kinks=kinks)
    assert (found.verdict, found.kinks, found.wrong) == ("passed", 2, 0)
    assert found.factor == pytest.approx(1, abs=1e-12)
    assert found.worst[0] not in (3, 8)


def test_an_array_of_kinks_is_inconclusive():
    found = judge(gradient() + 1, gradient(), kinks=np.ones(40, dtype=bool))
    assert found.verdict == "inconclusive"
    assert found.reason == "each of the entries that are not zero (40) is on a kink"
    assert found.worst.size == 0
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
    ("size", "factor", "verdict"),
    [
        (0.5, 1.0, "passed"),
        (0.5, 0.9, "passed"),
        (0.5, 0.5, "inconclusive"),
        (0.5, -1.0, "inconclusive"),
        (0.01, -1.0, "untested"),
        (0.01, 1.0, "passed"),
    ],
)
def test_an_array_below_its_bars_is_judged_as_a_whole(size, factor, verdict):
    """Where the bars are known to be 32 times the noise."""
    numerical = size * BAR * gradient() / np.abs(gradient()).max()
    found = judge(factor * numerical, numerical, margin=32.0)
    assert (found.verdict, found.wrong) == (verdict, 0)
    assert found.reason


def test_an_array_below_its_bars_but_on_kinks_passes():
    """Some convention's derivative is above the bar: that is no rounding."""
    numerical = 0.5 * BAR * gradient() / np.abs(gradient()).max()
    hull = np.where(np.arange(numerical.size) == 3, 5 * BAR, 0.0)
    assert judge(0.2 * numerical, numerical, hull=hull, margin=32.0).verdict == "passed"
    assert judge(0.2 * numerical, numerical, margin=32.0).verdict == "inconclusive"


def test_one_derivative_above_the_noise_is_enough():
    numerical = gradient() * 1e-12
    numerical[7] = 1e-6
    assert judge(numerical, numerical).verdict == "passed"


def test_one_entry_reads_like_one_entry():
    assert judge(np.array([2.0]), np.array([1.0])).reason == "1 of 1 entry is wrong"


# ---- factor ----


@hypothesis_given(
    factor=st.floats(1e-6, 1e6), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 99)
)
def test_a_constant_factor_is_measured(factor, sign, seed):
    numerical = gradient(seed=seed)
    every = np.ones(40, dtype=bool)
    k, residual = verdict.fit_factor(sign * factor * numerical, numerical, every)
    assert k == pytest.approx(sign * factor, rel=1e-13)
    assert residual < 1e-14


def test_what_is_no_multiple_leaves_a_residual():
    numerical = gradient()
    _, residual = verdict.fit_factor(numerical[::-1].copy(), numerical, np.ones(40, dtype=bool))
    assert residual > 0.5


# ---- tolerance by dtype ----


def test_float64_gets_a_relative_tolerance_only():
    tolerance = verdict.default_tolerance(np.dtype(np.float64), gradient())
    assert tolerance == Tolerance(1e-6, 0.0)


def test_float32_gets_an_absolute_part_from_the_largest_finite_entry():
    numerical = np.array([0.5, -4.0, np.inf, np.nan])
    tolerance = verdict.default_tolerance(np.dtype(np.float32), numerical)
    assert tolerance.rtol == 1e-4
    assert tolerance.atol == pytest.approx(4 * 64 * 2.0**-23)


def test_a_correctly_rounded_float32_gradient_passes():
    numerical = gradient() * np.geomspace(1e-12, 1, 40)
    tolerance = verdict.default_tolerance(np.dtype(np.float32), numerical)
    assert judge(numerical.astype(np.float32), numerical, tolerance=tolerance).verdict == "passed"


# ---- the verdict of a check ----


@pytest.mark.parametrize(
    ("arrays", "others", "expected"),
    [
        (["passed", "passed"], [], "passed"),
        (["passed", "untested"], [], "passed"),
        (["untested", "untested"], [], "vacuous"),
        (["untested"], ["passed"], "vacuous"),
        (["passed", "inconclusive"], [], "inconclusive"),
        (["untested", "inconclusive"], [], "inconclusive"),
        (["passed"], ["inconclusive"], "inconclusive"),
        (["inconclusive", "failed", "untested"], [], "failed"),
        (["passed"], ["failed"], "failed"),
        (["untested"], ["failed"], "failed"),
    ],
)
def test_the_worst_array_decides(arrays, others, expected):
    assert verdict.check_verdict(arrays, others) == expected


# ---- cost ----


def test_temporaries_are_a_few_bytes_for_each_entry():
    numerical = gradient(1 << 20)
    given = numerical.copy()
    given[::2] += 1
    kinks = np.zeros(numerical.size, dtype=bool)
    tracemalloc.start()
    judge(given, numerical, kinks=kinks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * numerical.size
