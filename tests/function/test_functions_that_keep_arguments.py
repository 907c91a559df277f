"""Functions that keep a reference to their argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small

AT = np.array([1.0, -2.0, 3.0])
METHODS = ("every", "probe")


class RemembersLast:
    """A function that keeps its last argument and result, without a copy."""

    def __init__(self, function: Any) -> None:
        self.function, self.argument, self.result = function, None, None

    def key(self, argument: Any) -> Any:
        return argument["w"][0] if isinstance(argument, dict) else argument

    def __call__(self, argument: Any) -> Any:
        if self.argument is None or not np.array_equal(self.key(self.argument), self.key(argument)):
            self.argument, self.result = argument, self.function(argument)
        return self.result


def square(x: np.ndarray) -> float:
    return float(np.sum(x**2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seen_before", [False, True])
def test_a_remembered_argument_is_no_wrong_gradient(method: str, seen_before: bool) -> None:
    f = RemembersLast(square)
    if seen_before:
        f(AT)
    assert fastbp.check_gradient(f, 2 * AT, AT, method=method, seed=0).verdict == "passed"
    assert f(AT) == square(AT)
    wrong = 2 * AT + [0, 1e-3, 0]
    report = fastbp.check_gradient(RemembersLast(square), wrong, AT, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["argument[1]"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_remembered_dict_is_no_wrong_gradient(dtype: type) -> None:
    f = RemembersLast(lambda p: square(p["w"][0]))
    at = {"w": [AT.astype(dtype)]}
    report = fastbp.check_gradient(f, {"w": [2 * at["w"][0]]}, at)
    assert report.verdict == "passed", str(report)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seen_before", [False, True])
def test_a_remembered_argument_is_no_wrong_product(method: str, seen_before: bool) -> None:
    f = RemembersLast(np.sin)
    if seen_before:
        f(AT)
    right = fastbp.check_vjp(f, lambda x, w: np.cos(x) * w, AT, method=method, seed=0)
    assert right.verdict == "passed", str(right)
    f = RemembersLast(np.sin)
    if seen_before:
        f(AT)
    right = fastbp.check_jvp(f, lambda x, v: np.cos(x) * v, AT, method=method, seed=0)
    assert right.verdict == "passed", str(right)
    wrong = fastbp.check_vjp(RemembersLast(np.sin), lambda _, w: w, AT, method=method, seed=0)
    assert (wrong.verdict, wrong.wrong) == ("failed", 3)


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_remembered_argument_does_not_fail_a_taylor_test(seen_before: bool) -> None:
    f = RemembersLast(lambda x: float(np.sum(np.sin(x))))
    if seen_before:
        f(AT)
    right = fastbp.taylor_test(f, np.cos, AT, seed=0)
    assert right.verdict == "passed", str(right)
    plain = fastbp.taylor_test(lambda x: float(np.sum(np.sin(x))), np.cos, AT, seed=0)
    np.testing.assert_array_equal(right.remainders, plain.remainders)


def test_a_list_of_all_arguments_stays_what_it_was() -> None:
    seen: list[np.ndarray] = []

    def f(x: np.ndarray) -> float:
        seen.append(x)
        return square(x)

    found = fastbp.numerical_gradient(f, AT)
    assert np.abs(found.value - 2 * AT).max() < 1e-9
    later = seen[-10:]
    assert len({id(x) for x in later}) == 10
    assert len({x.tobytes() for x in later}) > 1


def test_a_function_that_keeps_nothing_sees_one_array() -> None:
    places = set()

    def f(x: np.ndarray) -> float:
        places.add(id(x))
        return square(x)

    fastbp.check_gradient(f, 2 * AT, AT)
    assert len(places) == 1
