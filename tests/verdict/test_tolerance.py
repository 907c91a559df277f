"""The default tolerance of each dtype."""

from __future__ import annotations

import numpy as np
import pytest
from support.judging import gradient, judge

from fastbp.verdict.tolerance import (
    Tolerance,
    agreement_of_sums,
    allowed_difference,
    default_tolerance,
)

pytestmark = pytest.mark.small


def test_float64_gets_a_relative_tolerance_only():
    tolerance = default_tolerance(np.dtype(np.float64), gradient())
    assert tolerance == Tolerance(1e-6, 0.0)


def test_float32_gets_an_absolute_part_from_the_largest_finite_entry():
    numerical = np.array([0.5, -4.0, np.inf, np.nan])
    tolerance = default_tolerance(np.dtype(np.float32), numerical)
    assert tolerance.rtol == 1e-4
    assert tolerance.atol == pytest.approx(4 * 64 * 2.0**-23)


def test_a_correctly_rounded_float32_gradient_passes():
    numerical = gradient() * np.geomspace(1e-12, 1, 40)
    tolerance = default_tolerance(np.dtype(np.float32), numerical)
    assert judge(numerical.astype(np.float32), numerical, tolerance=tolerance).verdict == "passed"


def test_an_entry_may_be_off_by_its_bar_its_hull_and_the_tolerance():
    """1 + 2 + 4 + 0.5 * 16 = 15."""
    tolerance = Tolerance(rtol=0.5, atol=4.0)
    assert allowed_difference(-16.0, 1.0, tolerance, 2.0) == 15.0
    assert allowed_difference(-16.0, 1.0, tolerance) == 13.0
    numerical = np.array([-16.0, 16.0, 0.0])
    assert allowed_difference(numerical, np.ones(3), tolerance, 2.0).tolist() == [15, 15, 7]


def test_sums_of_the_same_terms_agree_to_36_bits_in_float64_and_to_12_in_float32():
    assert [agreement_of_sums(single) for single in (False, True)] == [2.0**-36, 2.0**-12]
