"""The default tolerance of each dtype."""

from __future__ import annotations

import numpy as np
import pytest
from support.judging import gradient, judge

from fastbp.verdict.tolerance import Tolerance, default_tolerance

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
