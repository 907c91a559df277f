"""Which entries are wrong, and by how much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from support.judging import TIGHT, gradient

from fastbp.verdict.entries import Entries, compare, wrong_entries
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small


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


def test_the_bar_and_the_hull_may_differ_by_entry():
    numerical = gradient(4)
    bars, hull = np.array([0.1, 0.0, 0.0, 0.1]), np.array([0.0, 0.1, 0.0, 0.1])
    wrong = wrong_entries(numerical + 0.15, numerical, bars, TIGHT, hull=hull)
    np.testing.assert_array_equal(wrong, [True, True, True, False])


def test_the_ratio_is_of_error_and_allowed():
    given = np.array([1.5, 1.0, 1.0, np.nan, -np.inf, 2.0, 3.0, np.nan, 1.0])
    numerical = np.array([1.0, 1.0, 1.0, 1.0, 1.0, np.nan, 1.0, np.inf, 0.5])
    bars = np.array([0.25, 0.25, 0.0, 0.25, np.inf, 0.25, np.nan, 0.25, 0.0])
    found = compare(Entries(0, given, numerical, bars), Tolerance(0.0, 0.0))
    np.testing.assert_array_equal(found.ratio, [2, 0, 0, np.inf, np.inf, -1, -1, -1, np.inf])
    np.testing.assert_array_equal(found.wrong, [1, 0, 0, 1, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.judged, [1, 1, 1, 1, 0, 0, 0, 0, 1])


def test_an_entry_that_is_left_out_is_wrong_only_if_it_is_no_number():
    given, numerical = np.array([5.0, np.nan, 5.0]), np.ones(3)
    left_out = np.array([True, True, False])
    found = compare(Entries(0, given, numerical, 0.1, 0.0, left_out), TIGHT)
    np.testing.assert_array_equal(found.wrong, [False, True, True])
    np.testing.assert_array_equal(found.judged, [False, False, True])
