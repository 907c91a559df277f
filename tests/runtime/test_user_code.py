"""Calls of a user's function: what it raises, and what two calls of it may differ by."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from fastbp.errors import EvaluationError, ShapeError
from fastbp.runtime.user_code import agree, called_twice, calling, noise_of_calls

pytestmark = pytest.mark.small


def test_what_a_function_raises_is_the_cause_of_our_error() -> None:
    cause = KeyError("missing")
    message = r"^f raised KeyError at the point: 'missing'$"
    with pytest.raises(EvaluationError, match=message) as info, calling("f"):
        raise cause
    assert info.value.__cause__ is cause


def test_the_place_is_asked_for_only_after_an_exception() -> None:
    asked = []

    def where() -> str:
        asked.append(True)
        return "with x[3] changed"

    with calling("f", where):
        pass
    assert not asked
    message = r"^f raised StopIteration with x\[3\] changed: $"
    with pytest.raises(EvaluationError, match=message), calling("f", where):
        raise StopIteration
    assert asked == [True]


@pytest.mark.parametrize("error", [ShapeError("of ours"), KeyboardInterrupt(), SystemExit()])
def test_errors_of_ours_and_interrupts_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, calling("f"):
        raise error
    assert raised.value is error


def test_floating_point_warnings_of_a_function_are_silenced() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with calling("f"):
            assert np.divide(1.0, np.zeros(1))[0] == np.inf


EPS = float(np.finfo(np.float64).eps)


@pytest.mark.parametrize(
    ("first", "second", "unit", "same"),
    [
        (1.0, 1.0 + 64 * EPS, 0.0, True),
        (1.0, 1.0 + 65 * EPS, 0.0, False),
        (1.0, 1.0 + 65 * EPS, EPS, True),
        ([1.0, 0.0], [1.0, EPS], 0.0, True),
        ([1j, 0], [1j, EPS], 0.0, True),
        (np.float32(1), np.float32(1 + 2**-18), 0.0, True),
        ([np.nan, 1.0], [np.nan, 1.0 + EPS], 0.0, True),
        ([np.nan, 1.0], [1.0, np.nan], 0.0, False),
        ([np.inf], [-np.inf], 0.0, False),
        ([1, 2], [1, 2], 0.0, True),
        ([1, 2], [1, 3], 0.0, False),
        ([1.0, 2.0], [1, 2], 0.0, False),
        ([1.0, 2.0], [[1.0, 2.0]], 0.0, False),
        ([], [], 0.0, True),
    ],
)
def test_two_results_agree_within_the_rounding_of_sums(
    first: Any, second: Any, unit: float, same: bool
) -> None:
    assert agree(first, second, unit) is same


def test_two_calls_of_one_buffer_are_an_accumulation() -> None:
    buffer = np.zeros(3)

    def call() -> tuple[list[str], list[Any], list[str]]:
        buffer[:] += [1.0, 0.0, -2.0]
        return ["a", "b"], [buffer, None], ["x"]

    twice = called_twice(call)
    first, nothing = twice.arrays
    assert first is not None
    assert first.tolist() == [1.0, 0.0, -2.0]
    assert nothing is None
    assert twice.changed == ["x"]
    assert twice.differing == ("gave two different results: a (second = 2 first: an accumulation)")


def test_two_structures_are_said_to_be_different() -> None:
    answers = [(["a"], [1.0], []), (["a", "b"], [1.0, 2.0], [])]
    twice = called_twice(lambda: answers.pop(0))
    assert twice.differing == "gave results of two different structures"


def test_the_first_of_noisy_results_may_be_off_by_twice_their_range() -> None:
    answers = iter([[1.5, None], [0.75, None], [np.full(2, 1.25), None], [1.0, None]])
    first = [np.array(1.0), None]
    assert noise_of_calls(lambda: (["a", "b"], next(answers), []), first) == [1.5, 0.0]
