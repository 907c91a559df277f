"""What is said of a wrong gradient that agrees to many digits."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.verdict.agreement import Agreement

pytestmark = pytest.mark.small

AT = np.array([0.3, -0.7, 1.1, 2.0])


def check(gradient: np.ndarray, **options: object) -> fastbp.Report:
    return fastbp.check_gradient(lambda x: float(np.sum(x**2)), gradient, AT, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize(
    ("relative", "said"),
    [
        (3e-10, "they agree to 10 digits; an rtol of 4e-10 would pass"),
        (3e-8, "they agree to 8 digits; an rtol of 4e-08 would pass"),
        (9e-6, "they agree to 5 digits; an rtol of 1e-05 would pass"),
    ],
)
def test_a_gradient_that_is_right_to_some_digits_is_told_so(
    relative: float, said: str, method: str
) -> None:
    wrong = 2 * AT * (1 + relative * np.array([1, -1, 1, -1]))
    report = check(wrong, method=method, seed=0)
    assert report.arrays[0].reason == f"4 of 4 entries are wrong; {said}"
    rtol = float(said.split()[-3])
    assert check(wrong, method=method, seed=0, rtol=rtol).verdict == "passed"
    assert check(wrong, method=method, seed=0, rtol=relative / 2).verdict == "failed"


def test_a_single_entry_agrees_in_the_singular() -> None:
    wrong = 2 * AT
    wrong[2] *= 1 + 1e-9
    reason = "1 of 4 entries is wrong; it agrees to 9 digits; an rtol of 2e-09 would pass"
    assert check(wrong).arrays[0].reason == reason


def test_errors_of_the_size_of_the_largest_entry_need_an_atol() -> None:
    at, near = np.array([1e-9, 1.0]), np.array([2e-9, 2.0]) + 1.2e-8
    f = lambda x: float(np.sum(x**2))  # noqa: E731
    reason = fastbp.check_gradient(f, near, at).arrays[0].reason
    said = "they agree to 8 digits of the largest entry; an atol of 2e-08 would pass"
    assert reason == f"2 of 2 entries are wrong; {said}"
    assert fastbp.check_gradient(f, near, at, atol=2e-8).verdict == "passed"


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0, 1.001])
def test_a_gradient_that_is_wrong_is_told_nothing_of_the_kind(factor: float) -> None:
    assert "agree" not in check(factor * 2 * AT).arrays[0].reason


def test_a_gradient_with_a_nan_is_told_nothing_of_the_kind() -> None:
    wrong = 2 * AT * (1 + 1e-9)
    wrong[1] = np.nan
    assert check(wrong).arrays[0].reason == "4 of 4 entries are wrong, 1 of them not finite"


def test_no_wrong_entry_is_shown_as_two_equal_numbers() -> None:
    for relative in (1e-10, 1e-11, 4e-12):
        text = str(check(2 * AT * (1 + relative)))
        rows = [line.split()[1:3] for line in text.splitlines() if line.startswith("x[")]
        assert len(rows) == 4
        assert all(given != numerical for given, numerical in rows)


def test_an_error_below_the_range_of_numbers_is_told_too() -> None:
    agreement = Agreement()
    agreement.add(np.array([1e-320, 1.0]), np.array([0.0, 1.0]), 0.0, 0.0)
    assert agreement.sentence(1).startswith("it agrees to 300 digits of the largest entry; an atol")
