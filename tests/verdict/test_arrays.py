"""From the numbers of an array to its verdict: planted errors, factors, cost."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from support.judging import BAR, TIGHT, gradient, judge

from fastbp.verdict import blocks
from fastbp.verdict.arrays import check_verdict
from fastbp.verdict.entries import fit_factor, wrong_entries
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small


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
    assert not wrong_entries(inside, numerical, bar, tolerance, hull=hull).any()
    assert wrong_entries(outside, numerical, bar, tolerance, hull=hull).all()


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
    wrong = wrong_entries(numerical + 0.15, numerical, bars, TIGHT, hull=hull)
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
    monkeypatch.setattr(blocks, "BLOCK", 17)
    parts = judge(given, numerical, bars, kinks=kinks)
    assert (parts.verdict, parts.reason, parts.wrong) == (whole.verdict, whole.reason, whole.wrong)
    np.testing.assert_array_equal(parts.failures, whole.failures)
    assert parts.factor == pytest.approx(whole.factor, rel=1e-13)
    assert parts.residual == pytest.approx(whole.residual, rel=1e-13)
    assert parts.detectable == whole.detectable


# ---- factor ----


@hypothesis_given(
    factor=st.floats(1e-6, 1e6), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 99)
)
def test_a_constant_factor_is_measured(factor, sign, seed):
    numerical = gradient(seed=seed)
    every = np.ones(40, dtype=bool)
    k, residual = fit_factor(sign * factor * numerical, numerical, every)
    assert k == pytest.approx(sign * factor, rel=1e-13)
    assert residual < 1e-14


def test_what_is_no_multiple_leaves_a_residual():
    numerical = gradient()
    _, residual = fit_factor(numerical[::-1].copy(), numerical, np.ones(40, dtype=bool))
    assert residual > 0.5


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
    assert check_verdict(arrays, others) == expected


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
