"""Noise of the values of a function from tables of differences that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.function.derivatives.noise.evaluation_noise import evaluation_noise, rounding_of_values

pytestmark = pytest.mark.small

NAN = math.nan
# A third difference of independent noise is sqrt(20) times as large; the lower median of six is
# 0.73 of what is typical.
ESTIMATE = 1 / (0.73 * math.sqrt(20.0))


def table(third, spoiled=()):
    """Nine values with these six third differences, some of them NaN."""
    values = np.zeros(9)
    for place, difference in enumerate(third):
        a, b, c = values[place : place + 3]
        values[place + 3] = difference + 3 * c - 3 * b + a
    values[list(spoiled)] = NAN
    return values[:, np.newaxis]


@pytest.mark.parametrize(
    ("spoiled", "middle"),
    [
        ((), 3.0),
        ((0,), 3.0),
        ((8,), 4.0),
        ((0, 8), 3.0),
        ((0, 1, 2, 8), 2.0),
        ((0, 1, 2, 3, 8), 4.0),
    ],
)
def test_noise_is_the_lower_median_of_what_is_finite(spoiled, middle):
    found = evaluation_noise(table([5.0, -3.0, 6.0, 2.0, -4.0, 1.0], spoiled), 0.0)
    assert found[0] == pytest.approx(middle * ESTIMATE, rel=1e-14)


def test_noise_is_no_less_than_the_rounding_of_the_largest_value():
    values = np.array([[1.0, NAN, NAN], [-8.0, 3.0, NAN], [2.0, np.inf, NAN]])
    assert rounding_of_values(values, 0.5).tolist() == [0.6 * 0.5 * 8, 0.6 * 0.5 * 3, 5e-324]
    columns = np.hstack(
        [np.full((9, 1), -8.0), np.where(np.arange(9) % 3, NAN, 2.0)[:, np.newaxis]]
    )
    assert evaluation_noise(columns, 0.5).tolist() == [0.6 * 0.5 * 8, 0.6 * 0.5 * 2]
