"""Parameters that a program holds by reference: put back whatever happens."""

from __future__ import annotations

import gc
import signal
import sys
import time
from typing import Any

import numpy as np
import pytest
from support.sent_functions import Program

import fastbp
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("workers", [None, 2])
def test_a_program_is_checked_and_left_as_it_was(method: str, workers: int | None) -> None:
    if workers:
        pytest.importorskip("joblib")
    program = Program()
    loss = fastbp.by_reference(program.loss, program.weights)
    gradient = fastbp.by_reference(program.gradient, program.weights)
    report = fastbp.check_gradient(loss, gradient, program.weights, method=method, workers=workers)
    assert report.verdict == "passed"
    assert report.function == "gradient of loss(at)"
    assert [weights.tolist() for weights in program.weights] == [[[1, 2], [3, 4]], [0.5, -0.5]]


def test_an_exception_in_the_middle_leaves_the_parameters_as_they_were() -> None:
    weights = {"w": np.ones(20), "b": np.ones(3)}

    def picky() -> float:
        if weights["b"][1] != 1.0:
            raise ValueError("not one")
        return float(weights["w"].sum() + weights["b"].sum())

    loss = fastbp.by_reference(picky, weights)
    with pytest.raises(EvaluationError, match=r"when at\['b'\]\[1\] was .*: not one") as info:
        fastbp.numerical_gradient(loss, weights)
    assert isinstance(info.value.__cause__, ValueError)
    assert np.all(weights["w"] == 1)
    assert np.all(weights["b"] == 1)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no alarm")
def test_an_interrupt_at_any_moment_leaves_the_parameters_as_they_were() -> None:
    weights = [np.full(2_000, float(place)) for place in range(50)]
    loss = fastbp.by_reference(lambda: float(weights[0][0] * weights[49][0]), weights)
    other = [array + 1 for array in weights]
    began = time.perf_counter()
    for _ in range(50):
        loss(other)
    once = (time.perf_counter() - began) / 50
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for delay in range(200):
            repeat_until_interrupted(loss, other, (1 + delay / 100) * once)
            assert [float(array[2]) for array in weights] == list(range(50)), delay
    finally:
        signal.signal(signal.SIGALRM, handler)


def repeat_until_interrupted(function: Any, argument: Any, seconds: float) -> None:
    # Hypothesis leaves a callback at the garbage collector, and an interrupt in there is lost, with
    # a warning: nothing is collected as long as one may come.
    gc.disable()
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
        while True:
            function(argument)
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        gc.enable()


def test_what_does_not_fit_is_neither_cast_nor_broadcast() -> None:
    weights = [np.ones(3, np.float32), np.ones((2, 1), np.float32)]
    loss = fastbp.by_reference(lambda: float(weights[0].sum() + weights[1].sum()), weights)
    with pytest.raises(ShapeError, match="at must have 2 arrays, not 1"):
        loss([np.ones(3, np.float32)])
    with pytest.raises(ShapeError, match=r"at\[1\] must have shape \(2, 1\), not \(1,\)"):
        loss([np.ones(3, np.float32), np.ones(1, np.float32)])
    with pytest.raises(DTypeError, match=r"at\[0\] must be float32, not float64"):
        loss([np.ones(3), np.ones((2, 1), np.float32)])
    assert weights[0].tolist() == [1, 1, 1]
    # The parameters exist in float32 alone, so that is where they are differenced.
    report = fastbp.check_gradient(loss, [np.ones(3), np.ones((2, 1))], weights)
    assert (report.verdict, report.dtype) == ("passed", "float32")
    with pytest.raises(DTypeError, match=r"parameters\[0\] must be a writable array"):
        fastbp.by_reference(lambda: 0.0, [1.0])


def test_a_result_in_the_memory_of_the_parameters_is_copied() -> None:
    weights = np.array([1.0, 2.0])
    itself: Any = fastbp.by_reference(lambda: weights, weights)
    assert itself(np.array([3.0, 4.0])).tolist() == [3, 4]


def test_arrays_that_do_not_travel_with_the_function_are_refused() -> None:
    pytest.importorskip("joblib")
    flat = np.array([1.0, 2.0, 3.0])
    loss = fastbp.by_reference(lambda: float(flat @ flat), flat[:2])
    with pytest.raises(OptionError, match=r"f cannot be sent .* do not travel with it"):
        fastbp.numerical_gradient(loss, flat[:2], workers=2)
    assert fastbp.numerical_gradient(loss, flat[:2]).value.round(6).tolist() == [2, 4]


def test_what_is_no_function_is_refused_at_once() -> None:
    weights: Any = np.ones(2)
    with pytest.raises(DTypeError, match=r"^function must be callable, not ndarray\.$"):
        fastbp.by_reference(weights, weights)
