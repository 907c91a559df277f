"""workers= takes any executor of concurrent.futures, and anything that maps as map does."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
import pytest
from support.sent_functions import gradient, plain

import fastbp
from fastbp.errors import EvaluationError, OptionError

pytest.importorskip("joblib")

AT = np.linspace(-1.0, 2.0, 60)
SPAWN = multiprocessing.get_context("spawn")


def require_the_bits_of_one_process(workers: Any) -> None:
    reference = fastbp.numerical_gradient(plain, AT)
    found = fastbp.numerical_gradient(plain, AT, workers=workers)
    assert found.value.tobytes() == reference.value.tobytes()
    assert found.error_bar.tobytes() == reference.error_bar.tobytes()
    assert found.evaluations == reference.evaluations
    for method in ("every", "probe"):
        alone = fastbp.check_gradient(plain, gradient, AT, method=method, seed=1)
        report = fastbp.check_gradient(plain, gradient, AT, method=method, seed=1, workers=workers)
        assert report.arrays == alone.arrays
        assert report.evaluations == alone.evaluations


def test_threads_of_the_standard_library() -> None:
    with ThreadPoolExecutor(3) as pool:
        require_the_bits_of_one_process(pool)


def test_processes_of_the_standard_library() -> None:
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        require_the_bits_of_one_process(pool)


def test_an_executor_of_loky() -> None:
    from joblib.externals.loky.process_executor import ProcessPoolExecutor as Loky

    with Loky(2) as pool:
        require_the_bits_of_one_process(pool)


@pytest.mark.long
def test_the_executor_of_a_dask_client() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=":0", silence_logs=60
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as pool,
    ):
        require_the_bits_of_one_process(pool)


def test_what_maps_as_map_does() -> None:
    require_the_bits_of_one_process(map)
    with ThreadPool(3) as threads:
        require_the_bits_of_one_process(threads.map)
    with SPAWN.Pool(2) as processes:
        require_the_bits_of_one_process(processes.map)


def test_a_map_may_give_its_results_in_any_order() -> None:
    def backwards(function: Any, tasks: Any) -> Any:
        return [function(task) for task in tasks][::-1]

    require_the_bits_of_one_process(backwards)


def test_threads_share_a_function_that_cannot_be_pickled() -> None:
    lock, seen = threading.Lock(), set()

    def locked(x: np.ndarray) -> float:
        with lock:
            seen.add(threading.get_ident())
        return float(np.sum(x**2))

    with ThreadPoolExecutor(2) as pool:
        report = fastbp.check_gradient(locked, 2 * AT, AT, workers=pool)
    assert report.verdict == "passed"
    assert len(seen) >= 2  # this thread, and those of the pool


def test_products_are_evaluated_by_an_executor_too() -> None:
    with ThreadPoolExecutor(2) as pool:
        for method in ("every", "probe"):
            options = {"method": method, "seed": 1}
            report = fastbp.check_vjp(np.sin, lambda x, w: np.cos(x) * w, AT[:5], **options)
            pooled = fastbp.check_vjp(
                np.sin, lambda x, w: np.cos(x) * w, AT[:5], workers=pool, **options
            )
            assert pooled.arrays == report.arrays
            tangents = fastbp.check_jvp(
                np.sin, lambda x, v: np.cos(x) * v, AT[:5], workers=pool, **options
            )
            assert tangents.verdict == "passed"


def test_what_f_raises_names_the_entry() -> None:
    def picky(x: np.ndarray) -> float:
        if x[7] != 1.0:
            raise ValueError("not one")
        return float(x.sum())

    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(EvaluationError, match=r"when x\[7\] was .*not one"),
    ):
        fastbp.numerical_gradient(picky, np.ones(20), workers=pool)


def test_an_executor_that_loses_its_worker_is_an_error_of_ours() -> None:
    parent = os.getpid()

    def deadly(x: np.ndarray) -> float:
        if os.getpid() != parent:
            os._exit(1)
        return float(np.sum(x))

    with (
        ProcessPoolExecutor(1, mp_context=SPAWN) as pool,
        pytest.raises(EvaluationError, match=r"^f lost its worker with x\[0\] and others changed"),
    ):
        fastbp.numerical_gradient(deadly, np.ones(4), workers=pool)


def test_an_executor_that_is_shut_down_is_an_error_of_ours() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(OptionError, match=r"^workers: the executor takes no tasks: cannot sched"):
        fastbp.numerical_gradient(plain, AT, workers=pool)


def test_an_executor_without_futures_is_an_error_of_ours() -> None:
    class Immediate(Executor):
        def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Any:
            return function(*arguments, **keywords)

    with pytest.raises(OptionError, match=r"^workers: submit .* return a Future .*not TaskResult"):
        fastbp.numerical_gradient(plain, AT, workers=Immediate())


def test_a_callable_that_does_not_map_is_an_error_of_ours() -> None:
    with pytest.raises(OptionError, match=r"^workers must map as map does: for \d+ tasks it gave "):
        fastbp.numerical_gradient(plain, AT, workers=lambda *_: [])

    def more(function: Any, tasks: Any) -> Any:
        yield from map(function, tasks)
        yield function(tasks[0])

    with pytest.raises(OptionError, match=r"for \d+ tasks it gave more results\.$"):
        fastbp.numerical_gradient(plain, AT, workers=more)

    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(OptionError, match=r"for \d+ tasks it gave a Future in place of a result"),
    ):
        fastbp.numerical_gradient(
            plain, AT, workers=lambda function, tasks: [pool.submit(function, one) for one in tasks]
        )

    def broken(*_: Any) -> Any:
        raise OSError("no network")

    with pytest.raises(OptionError, match=r"the map that was given raised OSError: no network"):
        fastbp.numerical_gradient(plain, AT, workers=broken)


@pytest.mark.parametrize("workers", [0, -2, True, 2.0, "four"])
def test_anything_else_is_refused(workers: Any) -> None:
    with pytest.raises(OptionError) as caught:
        fastbp.numerical_gradient(plain, AT, workers=workers)
    assert str(caught.value) == (
        "workers must be None, a number of processes, or -1 for one per processor; or an executor "
        f"of concurrent.futures, or a callable that maps as map does; not {workers!r}."
    )


def test_an_executor_and_a_vectorized_function_exclude_each_other() -> None:
    class Own(Executor):
        pass

    with pytest.raises(OptionError, match="workers and vectorized exclude each other"):
        fastbp.numerical_gradient(lambda x: x.sum(-1), AT, workers=Own(), vectorized=True)
