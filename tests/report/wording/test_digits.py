"""Numbers as text: enough digits to tell two of them apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.report.wording.digits import told_apart

pytestmark = pytest.mark.small


@pytest.mark.parametrize("relative", [1e-3, 1e-9, 1e-11, 3e-14, 2.0**-52])
@pytest.mark.parametrize("value", [2.2, -7.3e-200, 1e300, 0.1])
def test_numbers_that_differ_are_written_differently(value: float, relative: float) -> None:
    other = value * (1 + relative)
    assert other != value
    first, second = told_apart(other, value)
    assert first != second
    assert float(first) - float(second) == pytest.approx(other - value, rel=0.1, abs=0)


def test_no_more_digits_than_it_takes() -> None:
    assert told_apart(1 / 3, 2 / 3) == ("0.333333333", "0.666666667")
    assert told_apart(1 / 3, 1 / 3, 6) == ("0.333333", "0.333333")
    assert told_apart(1.0, 1.0 + 1e-11) == ("1", "1.00000000001")


def test_numbers_that_are_not_finite_are_written_too() -> None:
    assert told_apart(math.nan, 1.0) == ("nan", "1")
    assert told_apart(math.inf, -math.inf) == ("inf", "-inf")
    assert told_apart(float(np.finfo(float).max), -1e308) == ("1.79769313e+308", "-1e+308")
