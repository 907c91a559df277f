"""Functions whose digits are too few for the steps tried."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.function.containers.point import Point
from fastbp.function.derivatives.noise.last_digits import has_few_digits, spacing_of_few_digits
from fastbp.function.evaluation import Function

pytestmark = pytest.mark.small

AT = np.array([0.3, -0.7, 1.1])
RIGHT = np.cos(AT)
OFFSETS = {
    "half": lambda x: float(np.float16(3000 + np.sum(np.sin(x)))),
    "three digits": lambda x: float(f"{500 + np.sum(np.sin(x)):.3g}"),
    "float32": lambda x: float(np.float32(np.sum(np.sin(x))) + np.float32(1e8)),
    "six digits": lambda x: float(f"{1e6 + np.sum(np.sin(x)):.6g}"),
}


@pytest.mark.parametrize(
    ("value", "spacing"),
    [
        (1e8, 1e6),
        (100200304.0, 8.0),
        (123457e3, 1e3),
        (2.0**30 + 2.0**23, 2.0**23),
        (-(2.0**30), 2.0**23),
        (2.0**30 + 2.0**20, 2.0**20),
        (2.0**30 + 2.0**19, 128.0),
        (3.0, 2.0**-6),
        (0.1, 1e-3),
        (-4.16, 1e-2),
        (12.345, 1e-3),
        (0.1234567, 0.0),
        (0.0, 0.0),
        (1e300, 1e298),
        (np.inf, 0.0),
    ],
)
def test_how_far_apart_values_of_few_digits_are(value, spacing):
    assert spacing_of_few_digits(value) == pytest.approx(spacing, rel=1e-12)


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("name", OFFSETS)
def test_a_gradient_that_digits_hide_is_neither_right_nor_wrong(name, method):
    for given in (RIGHT, -RIGHT):
        report = fastbp.check_gradient(OFFSETS[name], given, AT, method=method, seed=0)
        assert report.verdict == "inconclusive"


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("value", [0.0, 3.0, 0.1234567])
def test_a_gradient_beside_a_constant_is_wrong(value, method):
    def constant(_):
        return value

    report = fastbp.check_gradient(constant, RIGHT, AT, method=method, seed=0)
    assert report.verdict == "failed"
    report = fastbp.check_gradient(constant, 0 * AT, AT, method=method, seed=0)
    assert report.verdict == "vacuous"


@pytest.mark.parametrize("method", ["every", "probe"])
def test_what_cancels_to_nothing_may_have_a_tiny_gradient(method):
    """Cross-entropy with a large logit: 0 but for rounding, and its gradient is 1e-43."""
    at = np.array([100.0, 0.0, -3.0])
    right = np.exp(at - 100.0) - [1.0, 0.0, 0.0]

    def loss(z):
        return float(np.log(np.sum(np.exp(z))) - z[0])

    assert loss(at) == 0.0
    assert fastbp.check_gradient(loss, right, at, method=method).verdict == "inconclusive"
    wrong = right + np.array([0.0, 1e-6, 0.0])
    assert fastbp.check_gradient(loss, wrong, at, method=method).verdict == "failed"


def test_entries_that_f_ignores_keep_their_fine_bars_beside_others():
    found = fastbp.numerical_gradient(lambda x: float(x[0] ** 2), np.array([3.0, 1.0]))
    assert found.error_bar[1] < 1e-12


def test_values_of_few_digits_hide_what_is_less_than_one_of_them():
    """A jump or two over the longest step are no slope."""

    def loss(x):
        return float(np.float16(np.log(np.sum(np.exp(np.array([x[0], 0.3, -1.0]))))))

    at = np.array([7e-4])
    right = np.exp(at) / np.sum(np.exp([at[0], 0.3, -1.0]))
    report = fastbp.check_gradient(loss, right, at, method="every")
    assert report.verdict == "inconclusive"


@pytest.mark.parametrize(("value", "few"), [(3.140625, True), (123.45, True), (3.14159, False)])
def test_few_digits_are_those_of_half_precision_or_of_cents(value, few):
    assert has_few_digits(value) == has_few_digits(-value) == few


def test_the_same_values_tell_of_digits_however_they_are_grouped():
    """Of 100 values 64 count."""
    found = []
    for groups in ([100], [1] * 100, [50, 50], [63, 37]):
        function = Function(lambda x: float(x[0]), Point(np.ones(1), "x"), "f")
        start = 0
        for count in groups:
            entries = 1.0 + np.arange(start, start + count)
            function.with_entries(0, np.zeros(count, dtype=np.int64), entries)
            start += count
        found.append(function.first_values)
    assert found == [[1.0 + place for place in range(64)]] * 4
