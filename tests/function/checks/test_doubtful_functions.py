"""Checks of functions in few digits, noisy, beside edges, of many scales: each judged rightly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.doubtful_functions import KINDS, doubtful_case
from support.random_functions import Case

import fastbp

pytestmark = pytest.mark.small

EVERYDAY, LONG = range(len(KINDS)), [*range(len(KINDS), 5 * len(KINDS)), *range(1000, 3000)]


def require_right_judgement(case: Case) -> bool:
    """The right gradient does not fail, and one entry that is wrong by ten bars does.

    Returns whether it is found. An entry about to fail is measured again, and its bar may then be
    more than ten times as wide; what the report claims to see is found in any case.
    """
    right = case.gradient(case.at)
    report = fastbp.check_gradient(case.f, right, case.at, method="every")
    assert report.verdict != "failed", f"{case.name}\n{report}"
    found = fastbp.numerical_gradient(case.f, case.at)
    judged = np.flatnonzero(np.isfinite(found.error_bar))
    if judged.size == 0:
        return True
    entry = judged[len(case.name) % judged.size]
    rounding = 2.0**-40 * abs(right[entry]) + 2.0**-44 * np.max(np.abs(right))
    bar = found.error_bar[entry] + abs(found.right[entry] - found.left[entry]) / 2
    wrong = right.copy()
    error = 10 * max(bar, rounding)
    wrong[entry] += error
    report = fastbp.check_gradient(case.f, wrong, case.at, method="every")
    # Measured again, noise may turn out to be larger than every derivative: then it is named.
    named = f"x[{entry}] could not be judged" in report.arrays[0].reason
    found_out = report.verdict == "failed" or named
    assert found_out or error < report.detectable, f"{case.name}: entry {entry}\n{report}"
    return found_out


@pytest.mark.parametrize("seed", EVERYDAY)
def test_doubtful_functions_are_judged_rightly(seed: int) -> None:
    assert require_right_judgement(doubtful_case(seed))


def test_steps_that_one_entry_shows_are_noise_for_all_others() -> None:
    case = doubtful_case(1588)  # constant as far as the steps of most entries reach
    right = case.gradient(case.at)
    report = fastbp.check_gradient(case.f, right, case.at, method="every")
    assert report.verdict == "inconclusive"
    assert any("f takes steps of about" in note for note in report.notes)


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_two_thousand_doubtful_functions_are_judged_rightly(part: int) -> None:
    missed = [seed for seed in LONG[part::4] if not require_right_judgement(doubtful_case(seed))]
    assert len(missed) <= 1


def test_a_bend_between_two_steps_is_no_kink_at_the_point() -> None:
    # A logarithm in half precision, whose kink is 2.2e-3 away: where the longer steps see one, the
    # shorter ones see that f goes on falling to the right.
    assert require_right_judgement(doubtful_case(2872))


def bisection(x: np.ndarray) -> float:
    """The root of y² = x[0], to 4 / 2^20."""
    low, high = 0.0, 4.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if middle**2 < x[0] else (low, middle)
    return (low + high) / 2


def newton(x: np.ndarray) -> float:
    """The cube root of the sum, by steps that are damped, until they are shorter than 1e-6."""
    y, step = 1.0, 1.0
    while abs(step) > 1e-6:
        step = (np.sum(x) / y**2 - y) / 4
        y += step
    return float(y)


X = np.array([0.9, -0.4, 1.7, 0.2, -1.1, 0.6])
POSITIVE = np.array([1.3, 0.9, 2.2])
FEW_DIGITS: dict[str, tuple[Any, Any, np.ndarray]] = {
    "text of 4 digits": (lambda x: float(f"{np.sum(np.sin(x)):.4g}"), np.cos(X), X),
    "text of 6 decimals": (lambda x: float(f"{np.sum(np.sin(x)):.6f}"), np.cos(X), X),
    "text of 12 digits": (lambda x: float(f"{np.sum(np.sin(x)):.12g}"), np.cos(X), X),
    "bisection": (bisection, np.array([0.5 / math.sqrt(3.0)]), np.array([3.0])),
    "damped Newton steps": (newton, np.full(3, np.sum(POSITIVE) ** (-2 / 3) / 3), POSITIVE),
    "logarithm of a tail": (
        lambda x: math.log(0.5 * (1 + math.erf(x[0] / math.sqrt(2)))),
        np.array([7.37888646]),
        np.array([-7.25]),
    ),
    "inner offset": (lambda x: float(np.sum(((x + 1e8) - 1e8) ** 2)), 2 * X, X),
    "float16": (lambda x: np.float16(np.sum(x**2)), 2 * X, X),
    "float32": (lambda x: float(np.sum(x.astype(np.float32) ** 3)), 3 * X**2, X),
}


@pytest.mark.parametrize("name", FEW_DIGITS)
def test_results_of_few_digits_are_no_mistake(name: str) -> None:
    f, gradient, at = FEW_DIGITS[name]
    assert fastbp.check_gradient(f, gradient, at).verdict == "passed"
    wrong = gradient.copy()
    wrong[-1] *= 2
    assert fastbp.check_gradient(f, wrong, at).verdict == "failed"


@pytest.mark.parametrize("name", FEW_DIGITS)
def test_probe_bears_results_of_few_digits(name: str) -> None:
    f, gradient, at = FEW_DIGITS[name]
    report = fastbp.check_gradient(f, gradient, at, method="probe", seed=1)
    assert report.verdict in ("passed", "inconclusive")


JUMPING: dict[str, Any] = {
    "fractional parts": lambda x: np.sum(WEIGHTS * (x - np.floor(x))),
    "angles": lambda x: np.sum(WEIGHTS * np.sin(np.mod(x, 1.3)) * np.mod(x, 1.3)),
    "a wrapped phase": lambda x: np.sum(WEIGHTS * np.angle(np.exp(1j * x * 5)) ** 3),
}
WEIGHTS = np.array([0.7, -0.9, 0.6, 0.8, -0.55, 1.0])


@pytest.mark.parametrize("name", JUMPING)
def test_high_jumps_far_apart_are_a_part_of_f(name: str) -> None:
    f, at = JUMPING[name], 7 * X
    # Each entry has its own term, and none of them has a jump within 1e-3.
    steps = 1e-3 * np.eye(at.size)
    right = (
        np.array([8 * (f(at + s) - f(at - s)) - (f(at + 2 * s) - f(at - 2 * s)) for s in steps])
        / 12e-3
    )
    report = fastbp.check_gradient(f, right, at, rtol=1e-6)
    assert report.verdict == "passed"
    assert report.detectable < 1e-3
    wrong = right.copy()
    wrong[2] *= 1.001
    assert fastbp.check_gradient(f, wrong, at).verdict == "failed"


def test_the_report_says_that_f_seems_to_compute_in_float32() -> None:
    x = np.random.default_rng(3).normal(size=50)
    report = fastbp.check_gradient(
        lambda x: float(np.sum(np.tanh(x.astype(np.float32)) ** 2)),
        lambda x: 2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
        x,
    )
    assert report.verdict == "passed"
    assert any("f takes steps of about" in note and "float32" in note for note in report.notes)


def test_a_right_gradient_of_an_exact_function_has_no_such_note() -> None:
    report = fastbp.check_gradient(lambda x: float(np.sum(np.sin(x))), np.cos, X)
    assert report.verdict == "passed"
    assert report.notes == ()


@pytest.mark.parametrize("seed", range(12))
def test_a_smooth_function_in_float32_has_no_kinks(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=6)
    report = fastbp.check_gradient(lambda x: np.sum(x.astype(np.float32) ** 2), 2 * x, x)
    assert not any("kink" in note for note in report.notes)


def test_a_single_jump_beside_the_point_is_not_noise() -> None:
    at = np.array([1.0 - 1e-3, 0.3])
    found = fastbp.numerical_gradient(lambda x: float(np.sum(x + (x >= 1))), at)
    assert np.all(np.abs(found.value - 1) <= found.error_bar)
    assert np.all(found.error_bar < 1e-9)


def test_steps_of_one_height_are_noise_where_f_rises_by_as_many_each_time() -> None:
    # To cents: along the first tangent all third differences of values are 0.
    at = np.array([0.8, -1.3, 0.4, 2.1, -0.6])

    def f(x: np.ndarray) -> np.ndarray:
        value = round(100 * float(x @ x)) / 100
        return np.array([value, -value / 2])

    jacobian = np.stack([2 * at, -at])
    assert fastbp.check_jacobian(f, jacobian, at, method="probe", seed=3).verdict == "passed"


@pytest.mark.parametrize("check", ["gradient", "jacobian"])
def test_a_gradient_is_not_right_because_its_double_could_be(check: str) -> None:
    at = np.array([0.8, -1.3, 0.4, 2.1, -0.6])

    def f(x: np.ndarray) -> float:
        return float(np.sum(np.sin(x.astype(np.float16)).astype(np.float64)))

    for factor in (2.0, -1.0):
        given = factor * np.cos(at)
        report = (
            fastbp.check_gradient(f, given, at, method="probe", seed=3)
            if check == "gradient"
            else fastbp.check_jacobian(
                lambda x: np.array([f(x)]), given[np.newaxis], at, method="probe", seed=3
            )
        )
        assert report.verdict in ("failed", "inconclusive")


@pytest.mark.parametrize("method", ["every", "probe"])
def test_many_outputs_that_are_rounded_to_digits_or_to_half_precision(method: str) -> None:
    # More of them than are looked at closely, in steps of different heights.
    rng = np.random.default_rng(0)
    matrix, at, sizes = rng.normal(size=(20, 3)), rng.normal(size=3), 10.0 ** (np.arange(20) % 7)

    def f(x: np.ndarray) -> np.ndarray:
        rounded = np.round(np.sin(matrix @ x), 3) * sizes
        return np.append(rounded, np.sin(matrix @ x).astype(np.float16))

    slopes = np.cos(matrix @ at)[:, np.newaxis] * matrix
    jacobian = np.concatenate([slopes * sizes[:, np.newaxis], slopes])
    assert fastbp.check_jacobian(f, jacobian, at, method=method, seed=0).verdict == "passed"
    for factor in (1.5, -1.0):
        report = fastbp.check_jacobian(f, factor * jacobian, at, method=method, seed=0)
        assert report.verdict == "failed"
