"""Compiled, vectorized and distributed evaluation: the same bits, dead workers survived."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from sent_functions import gradient, plain, slowly

import fastbp
from fastbp.errors import EvaluationError, OptionError, ShapeError

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


# joblib's processes live on for the next call: its own warnings about that are not ours.
distributed = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::UserWarning")


@distributed
def test_workers_give_the_bits_of_one_process() -> None:
    pytest.importorskip("joblib")
    reference = fastbp.numerical_gradient(plain, AT)
    assert same(fastbp.numerical_gradient(plain, AT, workers=2), reference)
    report = fastbp.check_gradient(plain, gradient, AT, workers=2)
    assert report.verdict == "passed"


@distributed
def test_what_f_raises_in_a_worker_keeps_its_cause() -> None:
    pytest.importorskip("joblib")

    def picky(x: np.ndarray) -> float:
        if x[7] != 1.0:
            raise ValueError("not one")
        return float(x.sum())

    with pytest.raises(EvaluationError, match=r"when x\[7\] was .*not one") as info:
        fastbp.numerical_gradient(picky, np.ones(20), workers=2)
    assert isinstance(info.value.__cause__, ValueError)


@distributed
def test_a_worker_that_dies_is_survived(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    mark = tmp_path / "died"

    def deadly(x: np.ndarray) -> float:
        if x[3] != 1.0 and not mark.exists():
            mark.touch()
            os._exit(1)
        return float(np.sum(x**2))

    found = fastbp.numerical_gradient(deadly, np.ones(40), workers=2)
    assert mark.exists()
    mark.touch()
    assert found.value.tobytes() == fastbp.numerical_gradient(deadly, np.ones(40)).value.tobytes()


@distributed
def test_a_function_that_kills_every_worker_is_named() -> None:
    pytest.importorskip("joblib")
    parent = os.getpid()

    def deadly(x: np.ndarray) -> float:
        if os.getpid() != parent:
            os._exit(1)
        return float(np.sum(x))

    with pytest.raises(EvaluationError, match=r"f lost its worker 4 times, lately with x\[0\]"):
        fastbp.numerical_gradient(deadly, np.ones(4), workers=2)


@distributed
def test_what_cannot_be_sent_is_named() -> None:
    pytest.importorskip("joblib")
    lock = threading.Lock()

    def locked(x: np.ndarray) -> float:
        with lock:
            return float(np.sum(x))

    with pytest.raises(OptionError, match="workers: f or its argument cannot be sent"):
        fastbp.numerical_gradient(locked, np.ones(4), workers=2)


@distributed
def test_a_dask_cluster_survives_the_death_of_a_worker() -> None:
    joblib = pytest.importorskip("joblib")
    distributed_module = pytest.importorskip("distributed")
    at = np.linspace(0.0, 1.0, 60)
    reference = fastbp.numerical_gradient(slowly, at)
    with (
        distributed_module.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed_module.Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        pids = list(client.run(os.getpid).values())
        killer = threading.Timer(1.0, os.kill, (pids[0], 9))
        killer.start()
        found = fastbp.numerical_gradient(slowly, at, workers=2)
        killer.join()
        assert pids[0] not in client.run(os.getpid).values()
    assert same(found, reference)
