"""What f raises and warns of in a worker is told as it is without workers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.sent_functions import careful, divides_by_zero, raises_above_one

import fastbp
from fastbp.runtime.floating_point import callers_geterr, own_errstate
from fastbp.runtime.workers.surroundings import Surroundings

pytest.importorskip("joblib")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

AT = np.array([0.3, 1.0, -0.7])


def cosine(x: np.ndarray, v: Any = 1.0) -> np.ndarray:
    return np.cos(x) * v


@pytest.fixture(params=["processes", "threads"])
def workers(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Two processes, or two threads of an executor."""
    if request.param == "processes":
        yield 2
    else:
        with ThreadPoolExecutor(2) as executor:
            yield executor


@pytest.mark.parametrize("method", ["every", "probe"])
def test_what_f_raises_beside_the_point(workers: Any, method: str) -> None:
    def f(x: np.ndarray) -> float:
        return float(np.sum(raises_above_one(x)))

    alone = fastbp.check_gradient(f, cosine, AT, method=method, seed=1)
    shared = fastbp.check_gradient(f, cosine, AT, method=method, seed=1, workers=workers)
    assert any("f raised" in note and "times" in note for note in alone.notes)
    assert (shared.verdict, shared.notes) == (alone.verdict, alone.notes)


@pytest.mark.parametrize("check", [fastbp.check_vjp, fastbp.check_jvp])
def test_what_a_function_with_array_results_raises(workers: Any, check: Any) -> None:
    alone = check(raises_above_one, cosine, AT, seed=1)
    shared = check(raises_above_one, cosine, AT, seed=1, workers=workers)
    assert alone.verdict == "passed"
    assert any("f raised" in note for note in alone.notes)
    assert (shared.verdict, shared.notes) == (alone.verdict, alone.notes)


def test_what_a_vectorized_function_raises() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.stack([raises_above_one(row) for row in x])

    report = fastbp.check_jvp(f, cosine, AT, vectorized=True, seed=1)
    assert report.verdict == "passed"
    assert report.notes[-1].endswith("first ValueError beside the point: too large")


def test_a_warning_comes_once_from_all_workers() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        fastbp.check_gradient(careful, cosine, AT, workers=2)
    [warning] = [one for one in shown if "careful" in str(one.message)]
    assert warning.category is RuntimeWarning
    assert warning.filename.endswith("sent_functions.py")


def test_a_warning_that_is_an_error_is_raised_in_workers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        alone = fastbp.check_gradient(careful, cosine, AT)
        shared = fastbp.check_gradient(careful, cosine, AT, workers=2)
    assert any("f raised" in note and "RuntimeWarning" in note for note in alone.notes)
    assert (shared.verdict, shared.notes) == (alone.verdict, alone.notes)


def test_workers_obey_the_floating_point_errors_of_the_caller(workers: Any) -> None:
    at = np.array([1.0, 2.0])
    with np.errstate(invalid="raise"):
        alone = fastbp.check_gradient(divides_by_zero, np.zeros(2), at)
        shared = fastbp.check_gradient(divides_by_zero, np.zeros(2), at, workers=workers)
    assert any("FloatingPointError" in note for note in alone.notes)
    assert (shared.verdict, shared.notes) == (alone.verdict, alone.notes)


def test_a_process_that_an_earlier_check_forked_obeys_the_later_caller() -> None:
    # It goes on in the context of the check in which it was forked.
    @own_errstate
    def in_a_fork(later: Surroundings) -> str:
        with later.around():
            return str(own_errstate(callers_geterr)()["invalid"])

    assert in_a_fork(Surroundings({"invalid": "raise"})) == "raise"
    assert in_a_fork(Surroundings({"invalid": "ignore"})) == "ignore"
