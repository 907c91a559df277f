"""Compiled evaluation: the same bits as one call after the other."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from support.sent_functions import gradient

import fastbp
from fastbp.errors import EvaluationError

AT = np.linspace(-1.0, 2.0, 200)


@numba.njit
def compiled(x: np.ndarray) -> float:
    total = 0.0
    for i in range(x.size):
        total += math.sin(x[i]) * x[0]
    return total


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


class Layer(NamedTuple):
    weight: Any
    bias: Any


@numba.njit
def of_nesting(params: Any) -> float:
    layer, (scale, shift) = params
    total = 0.0
    for i in range(layer.weight.shape[0]):
        row = layer.bias[i] + shift
        for j in range(layer.weight.shape[1]):
            row += layer.weight[i, j] * (j + 1)
        total += math.tanh(row) * scale[0]
    return total


def nesting() -> Any:
    rng = np.random.default_rng(3)
    return Layer(rng.normal(size=(20, 6)), rng.normal(size=20)), (np.array([1.5]), 0.25)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_compiled_function_of_a_nesting_has_a_compiled_loop(dtype: Any) -> None:
    (weight, bias), rest = nesting()
    at = (Layer(weight.astype(dtype), bias), rest)
    reference = fastbp.numerical_gradient(getattr(of_nesting, "py_func", of_nesting), at)
    before = fastbp.get_num_threads()
    for threads in (1, 3):
        fastbp.set_num_threads(threads)
        found = fastbp.numerical_gradient(of_nesting, at)
        assert found.value[0].weight.tobytes() == reference.value[0].weight.tobytes()
        assert found.value[0].bias.tobytes() == reference.value[0].bias.tobytes()
        assert found.value[1][0].tobytes() == reference.value[1][0].tobytes()
        assert found.value[1][1] == reference.value[1][1]
        assert found.evaluations == reference.evaluations
    fastbp.set_num_threads(before)
    report = fastbp.check_gradient(of_nesting, found.value, at, method="every")
    assert report.verdict == "passed"
    if not numba.config.DISABLE_JIT:
        assert "runs on all threads" in report.notes[-1]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize(
    ("f", "at", "note"),
    [
        (lambda pair: pair[0] * pair[1], (2.0, 3.0), "Python's: its argument has no arrays"),
        (lambda x: x[:1] * x[0], np.ones(4), "Python's: numba cannot compile it for this"),
    ],
)
def test_where_the_loop_is_pythons_the_report_says_so(f: Any, at: Any, note: str) -> None:
    compiled = numba.njit(f)
    found = fastbp.numerical_gradient(f, at)
    report = fastbp.check_gradient(compiled, found.value, at)
    assert report.verdict == "passed"
    assert note in report.notes[-1]


@pytest.mark.long
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_a_function_with_threads_of_its_own_is_called_by_one() -> None:
    """numba's workqueue aborts the process when two threads call such a function at once."""

    @numba.njit(parallel=True)
    def inner(x: np.ndarray) -> float:
        total = 0.0
        for i in numba.prange(x.size):
            total += x[i] ** 2
        return total

    @numba.njit
    def outer(x: np.ndarray) -> float:
        return 2 * inner(x)

    for f, factor in ((inner, 2), (outer, 4)):
        report = fastbp.check_gradient(f, factor * AT, AT, method="every")
        assert report.verdict == "passed"
        assert "runs on one thread, since f has its own" in report.notes[-1]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="plain Python takes a dict")
def test_an_argument_that_numba_does_not_take_is_an_error() -> None:
    compiled = numba.njit(lambda p: p["a"].sum())
    with pytest.raises(EvaluationError, match=r"f raised TypingError at the point[\s\S]*dict"):
        fastbp.numerical_gradient(compiled, {"a": np.ones(2)})


def test_a_result_that_is_a_view_of_the_argument() -> None:
    for f in (lambda x: x[1:2], lambda x: x[1, ...]):
        assert fastbp.numerical_gradient(f, np.ones(3)).value.tolist() == [0, 1, 0]


def test_bits_do_not_depend_on_how_many_evaluate_or_how_long_it_takes() -> None:
    """Kinks next to many entries, of sizes that differ: most of them are in doubt."""
    rng = np.random.default_rng(0)
    at = 0.3 + rng.normal(size=2000) * 10.0 ** rng.uniform(-9, 0, 2000)

    def kinked(x: np.ndarray) -> float:
        return float(np.sum(np.abs(x - 0.3)) * 1.1)

    def slower(x: np.ndarray) -> float:
        ends = time.perf_counter() + 1e-4
        while time.perf_counter() < ends:
            pass
        return kinked(x)

    assert same(fastbp.numerical_gradient(slower, at), fastbp.numerical_gradient(kinked, at))
