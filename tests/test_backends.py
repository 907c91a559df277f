"""Compiled and vectorized evaluation: the same bits as one call after the other."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from sent_functions import gradient

import fastbp
from fastbp.errors import EvaluationError, ShapeError

AT = np.linspace(-1.0, 2.0, 200)


@numba.njit
def compiled(x: np.ndarray) -> float:
    total = 0.0
    for i in range(x.size):
        total += math.sin(x[i]) * x[0]
    return total


def vectorized(x: np.ndarray) -> np.ndarray:
    return np.sum(np.sin(x), axis=1) * x[:, 0]


def same(first: Any, second: Any) -> bool:
    return bool(
        first.value.tobytes() == second.value.tobytes()
        and first.error_bar.tobytes() == second.error_bar.tobytes()
        and first.evaluations == second.evaluations
    )


def test_a_compiled_function_gives_the_same_bits_on_all_threads() -> None:
    reference = fastbp.numerical_gradient(getattr(compiled, "py_func", compiled), AT)
    before = fastbp.get_num_threads()
    for threads in (1, 2, 5):
        fastbp.set_num_threads(threads)
        assert same(fastbp.numerical_gradient(compiled, AT), reference)
    fastbp.set_num_threads(before)
    assert np.all(np.abs(reference.value - gradient(AT)) <= reference.error_bar)


def test_the_loop_over_a_compiled_function_is_compiled() -> None:
    report = fastbp.check_gradient(compiled, gradient, AT)
    assert report.verdict == "passed"
    if not numba.config.DISABLE_JIT:
        assert any("was compiled in" in note for note in report.notes)


def test_a_compiled_function_that_raises_is_named() -> None:
    @numba.njit
    def picky(x: np.ndarray) -> float:
        if x[150] != 1.0:
            raise ValueError("not one")
        return x.sum()

    with pytest.raises(EvaluationError, match=r"when x\[150\] was .*not one") as info:
        fastbp.numerical_gradient(picky, np.ones(200))
    assert isinstance(info.value.__cause__, ValueError)


def test_a_compiled_function_that_changes_its_argument_fails() -> None:
    @numba.njit
    def spoiling(x: np.ndarray) -> float:
        total = x.sum()
        x[0] += 1.0
        return total

    report = fastbp.check_gradient(spoiling, np.ones(5), np.ones(5))
    assert report.arrays[-1].reason == "f changed its argument: x"
    assert report.arrays[0].verdict == "passed"


def test_a_compiled_function_of_a_nesting_runs_in_python() -> None:
    @numba.njit
    def of_pair(pair: Any) -> float:
        return pair[0].sum() * pair[1][0]

    at = (np.ones(3), np.array([2.0]))
    assert fastbp.check_gradient(of_pair, (np.full(3, 2.0), np.array([3.0])), at)


def test_a_vectorized_function_takes_many_points_in_a_call() -> None:
    calls = []

    def counted(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        return vectorized(x)

    report = fastbp.check_gradient(counted, gradient, AT, vectorized=True)
    assert report.verdict == "passed"
    assert report.evaluations == sum(calls)
    assert len(calls) < 60
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
