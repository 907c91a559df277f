"""What is measured along lines, and how some of them take the place of others."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from fastbp.function.derivatives.lines import Lines

pytestmark = pytest.mark.small

NAN, INF = math.nan, math.inf


def lines(*slopes, bar=0.5, jump=0.0, divergence=0):
    """Lines with those slopes, all of them kinks if there is a jump."""
    slope = np.array(slopes, dtype=np.float64)
    one = np.ones(slope.size)
    return Lines(
        slope, bar * one, slope - jump / 2, slope + jump / 2, 2 * one, 3 * one, 4 * one,
        (jump * one) != 0, 5 * one, np.full(slope.size, divergence, dtype=np.int8), 0 * one > 1,
    )  # fmt: skip


def test_the_hull_is_half_of_the_jump_and_0_without_a_kink():
    found = lines(5.0, 5.0, jump=3.0)
    found.kink[1] = False
    assert found.hull.tolist() == [1.5, 0.0]
    assert lines(5.0, jump=-3.0).hull.tolist() == [1.5]


def test_of_unknown_lines_nothing_is_known():
    found = Lines.unknown(2)
    for field in fields(found):
        assert getattr(found, field.name).shape == (2,)
    for name in ("slope", "left", "right", "noise", "curvature", "third", "shortest"):
        assert np.isnan(getattr(found, name)).all()
    assert found.error_bar.tolist() == [INF, INF]
    for name in ("kink", "divergence", "smooth"):
        assert getattr(found, name).tolist() == [0, 0]


def test_lines_without_kinks_have_their_slope_on_both_sides():
    one = np.ones(2)
    for smooth in (False, True):
        found = Lines.without_kinks(7 * one, one, 2 * one, 3 * one, 4 * one, 5 * one, smooth=smooth)
        assert found.left.tolist() == found.right.tolist() == [7.0, 7.0]
        assert found.smooth.tolist() == [smooth, smooth]
        assert found.kink.tolist() == found.divergence.tolist() == [0, 0]


@pytest.mark.parametrize("divergence", [1, 2])
def test_where_f_diverges_there_is_no_slope_and_no_kink(divergence):
    found = lines(3.0, 3.0, 3.0, jump=2.0)
    found.divergence[1] = divergence
    found.kink[2] = False
    left = found.without_divergent()
    np.testing.assert_array_equal(left.slope, [3.0, NAN, 3.0])
    assert left.error_bar.tolist() == [0.5, INF, 0.5]
    assert left.kink.tolist() == [True, False, False]


def test_a_bar_reaches_twice_as_far_as_a_given_slope():
    found = lines(3.0, 3.0, 3.0, -3.0)
    some = np.array([True, False, True, True])
    reaching = found.reaching(np.array([5.0, 5.0, 3.125, -6.0]), some)
    assert reaching.error_bar.tolist() == [4.0, 0.5, 0.5, 6.0]
    assert found.or_zero(some).error_bar.tolist() == [6.0, 0.5, 6.0, 6.0]
    assert found.error_bar.tolist() == [0.5] * 4  # a copy


def test_lines_are_replaced_in_a_copy():
    found = lines(1.0, 2.0, 3.0)
    mixed = found.replaced(np.array([True, False, True]), lines(7.0, 8.0, bar=0.25))
    assert mixed.slope.tolist() == [7.0, 2.0, 8.0]
    assert mixed.error_bar.tolist() == [0.25, 0.5, 0.25]
    assert found.slope.tolist() == [1.0, 2.0, 3.0]
    assert found.only(slice(1, 3)).slope.tolist() == [2.0, 3.0]
