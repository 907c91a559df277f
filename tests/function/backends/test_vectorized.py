"""Vectorized evaluation: many points in a call."""

from __future__ import annotations

import numpy as np
import pytest
from support.sent_functions import gradient

import fastbp
from fastbp.errors import EvaluationError, ShapeError

AT = np.linspace(-1.0, 2.0, 200)


def vectorized(x: np.ndarray) -> np.ndarray:
    return np.sum(np.sin(x), axis=1) * x[:, 0]


def test_a_vectorized_function_takes_many_points_in_a_call() -> None:
    calls = []

    def counted(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        return vectorized(x)

    report = fastbp.check_gradient(counted, gradient, AT, vectorized=True)
    assert report.verdict == "passed"
    assert report.evaluations == sum(calls)
    assert len(calls) < sum(calls) / 2  # how many in a call depends on the time of the first
    report = fastbp.check_gradient(counted, gradient, AT, vectorized=True, method="probe")
    assert report.verdict == "passed"


def test_a_vectorized_function_of_a_nesting() -> None:
    at = {"w": np.ones((2, 3)), "b": 0.5}
    found = fastbp.numerical_gradient(
        lambda p: np.sum(p["w"] ** 2, axis=(1, 2)) * p["b"], at, vectorized=True
    )
    np.testing.assert_allclose(found.value["w"], 1.0, atol=1e-8)
    assert found.value["b"] == pytest.approx(6)


def test_vectorized_functions_must_return_one_number_for_each_point() -> None:
    with pytest.raises(ShapeError, match=r"floats of shape \(1,\) for 1 points, not float64 of"):
        fastbp.numerical_gradient(lambda x: x.sum(), AT, vectorized=True)
    with pytest.raises(EvaluationError, match="f raised IndexError at the point"):
        fastbp.numerical_gradient(lambda x: x[:, 500], AT, vectorized=True)

    def spoiling(x: np.ndarray) -> np.ndarray:
        values = x.sum(axis=1)
        x *= 2
        return values

    report = fastbp.check_gradient(spoiling, np.ones(3), np.ones(3), vectorized=True)
    assert report.arrays[-1].reason == "f changed its argument: x"


def test_points_outside_the_domain_are_no_values() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        if np.any((x < 0) | (x > 1)):
            raise ValueError("outside [0, 1]")
        return np.sum(x**3, axis=-1)

    at = np.array([0.0, 0.4, 1.0])
    report = fastbp.check_gradient(f, 3 * at**2, at, vectorized=True)
    assert report.verdict == "passed"


def test_what_f_raises_on_both_sides_is_told() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        if np.any(x[:, 1] != 1):
            raise RuntimeError("diverged")
        return np.sum(x, axis=-1)

    with pytest.raises(EvaluationError, match=r"f raised RuntimeError .*diverged"):
        fastbp.numerical_gradient(f, np.ones(2), vectorized=True)


@pytest.mark.parametrize("method", ["every", "probe"])
def test_what_a_function_with_array_results_raises_on_both_sides_is_told(method: str) -> None:
    def f(x: np.ndarray) -> np.ndarray:
        if np.any(x[:, 1] != 1):
            raise RuntimeError("diverged")
        return x * x[:, :1]

    with pytest.raises(EvaluationError, match=r"f raised RuntimeError .*diverged"):
        fastbp.check_jacobian(f, np.eye(2), np.ones(2), vectorized=True, method=method)
