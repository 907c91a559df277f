"""finite_differences and check_network shared out to workers: the bits of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from support.processes import command, environment
from support.strategies import LAYOUTS, LOSSES, Problem, make_problem

import fastbp
from fastbp.errors import EvaluationError, OptionError
from fastbp.network.differences import replay
from fastbp.network.sensitivities import exact

pytest.importorskip("joblib")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

METHODS = ("exact", "replay")


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.fixture
def everything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little it is: these networks are small."""
    for module in (replay, exact):
        monkeypatch.setattr(module, "OPERATIONS_WORTH_SENDING", -1.0)


def require_the_bits_of_one_process(problem: Problem, method: str, workers: Any) -> None:
    net, batch = problem.network(), (problem.x, problem.y)
    alone = fastbp.finite_differences(net, *batch, method=method)
    shared = fastbp.finite_differences(net, *batch, method=method, workers=workers)
    assert shared.flat.tobytes() == alone.flat.tobytes()
    assert shared.error_bar.flat.tobytes() == alone.error_bar.flat.tobytes()
    for kinks in (alone.kinks, shared.kinks):
        assert (kinks is None) == (alone.kinks is None)
    if alone.kinks is not None:
        assert shared.kinks.flat.tobytes() == alone.kinks.flat.tobytes()
    reports = [
        fastbp.check_network(net, *batch, method=method, seed=1, workers=crew)
        for crew in (None, workers)
    ]
    assert reports[0].arrays == reports[1].arrays
    assert reports[0].evaluations == reports[1].evaluations


@pytest.mark.small
@pytest.mark.usefixtures("everything_is_sent")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_bits_of_one_process_by_threads(
    threads: ThreadPoolExecutor, loss: str, method: str
) -> None:
    layout = LAYOUTS[LOSSES.index(loss) % len(LAYOUTS)]
    problem = make_problem([3, 7, 6, 2], 5, layout=layout, loss=loss)
    require_the_bits_of_one_process(problem, method, threads)
    require_the_bits_of_one_process(problem, method, map)


@pytest.mark.usefixtures("everything_is_sent")
def test_forward_differences_and_little_memory(threads: ThreadPoolExecutor) -> None:
    problem = make_problem([17, 33, 31, 9], 45)
    net, options = problem.network(), {"method": "replay", "scheme": "forward", "delta": 1e-4}
    alone = fastbp.finite_differences(net, problem.x, problem.y, **options)
    shared = fastbp.finite_differences(
        net, problem.x, problem.y, max_memory=2**19, workers=threads, **options
    )
    assert shared.flat.tobytes() == alone.flat.tobytes()
    for method in METHODS:
        with pytest.raises(OptionError, match=r"max_memory must be at least \d+ bytes"):
            fastbp.finite_differences(
                net, problem.x, problem.y, method=method, max_memory=1, workers=threads
            )


@pytest.mark.usefixtures("everything_is_sent")
def test_the_bits_of_one_process_by_processes() -> None:
    for method in METHODS:
        require_the_bits_of_one_process(make_problem([30, 40, 20, 5], 40), method, 2)


@pytest.mark.long
def test_the_bits_of_one_process_without_a_change_of_constants() -> None:
    for method in METHODS:
        require_the_bits_of_one_process(make_problem([100, 300, 300, 10], 64), method, 2)


@pytest.mark.long
@pytest.mark.usefixtures("everything_is_sent")
def test_the_bits_of_one_process_by_a_cluster() -> None:
    distributed, joblib = pytest.importorskip("distributed"), pytest.importorskip("joblib")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=":0", silence_logs=60
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        for method in METHODS:
            for loss in LOSSES:
                problem = make_problem([30, 140, 130, 5], 100, loss=loss, layout="torch")
                require_the_bits_of_one_process(problem, method, 2)


class LossError(Exception):
    """What a loss of the user raises."""


@pytest.mark.small
@pytest.mark.usefixtures("everything_is_sent")
def test_what_a_loss_raises_arrives_as_it_is(threads: ThreadPoolExecutor) -> None:
    here = threading.get_ident()

    def value(output: Any, y: Any) -> float:
        if threading.get_ident() != here:
            raise LossError("not here")
        return float(np.sum((output - y) ** 2))

    net = fastbp.Network.random([2, 3, 1], loss=(value, lambda output, y: 2 * (output - y)))
    with pytest.raises(LossError, match=r"^not here"):
        fastbp.finite_differences(
            net, np.ones((2, 2)), np.ones((1, 2)), method="replay", workers=threads
        )


@pytest.mark.small
@pytest.mark.usefixtures("everything_is_sent")
def test_a_step_that_moves_nothing_is_named_as_without_workers(
    threads: ThreadPoolExecutor,
) -> None:
    net = fastbp.Network([np.array([[1.0, 1e12]])])
    with pytest.raises(OptionError, match=r"delta must change every .* weights\[0\]\[0, 1\]"):
        fastbp.finite_differences(
            net, np.ones((2, 2)), np.ones((1, 2)), method="replay", workers=threads
        )


@pytest.mark.small
def test_a_loss_that_cannot_be_sent_is_named() -> None:
    lock = threading.Lock()

    def value(output: Any, y: Any) -> float:
        with lock:
            return float(np.sum((output - y) ** 2))

    net = fastbp.Network.random([2, 3, 1], loss=(value, lambda output, y: 2 * (output - y)))
    with pytest.raises(OptionError, match=r"^workers: the loss cannot be sent to other processes"):
        fastbp.check_network(net, np.ones((2, 2)), np.ones((1, 2)), method="replay", workers=2)


@pytest.mark.small
@pytest.mark.parametrize("workers", [0, -2, True, 2.0, "four"])
def test_senseless_workers_are_refused_as_for_functions(workers: Any) -> None:
    net, batch = fastbp.Network.random([2, 3, 1]), (np.ones((2, 2)), np.ones((1, 2)))
    for check in (fastbp.finite_differences, fastbp.check_network):
        with pytest.raises(OptionError, match=r"^workers must be None, a number of processes, or "):
            check(net, *batch, workers=workers)
    with pytest.raises(OptionError, match=r'^workers must be None with method="certified"'):
        fastbp.check_network(net, *batch, workers=2)


@pytest.mark.long
@pytest.mark.usefixtures("everything_is_sent")
def test_a_worker_that_dies_is_survived_and_one_that_always_does_is_an_error(tmp_path) -> None:
    mark, parent = tmp_path / "died", os.getpid()

    def dies(always: bool) -> Any:
        def value(output: Any, y: Any) -> float:
            if os.getpid() != parent and (always or not mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return float(np.sum((output - y) ** 2))

        loss = (value, lambda output, y: 2 * (output - y))
        return fastbp.Network.random([2, 3, 1], loss=loss)

    batch = np.ones((2, 2)), np.zeros((1, 2))
    net = dies(always=False)
    shared = fastbp.finite_differences(net, *batch, method="replay", workers=2)
    assert mark.exists()
    alone = fastbp.finite_differences(net, *batch, method="replay")
    assert shared.flat.tobytes() == alone.flat.tobytes()
    with pytest.raises(EvaluationError, match=r"^the replay lost its worker 4 times, lately"):
        fastbp.finite_differences(dies(always=True), *batch, method="replay", workers=2)


PROGRAM = """
import fastbp, numpy as np
net = fastbp.Network.random([512, 512, 512, 10])
x, y = np.random.default_rng(0).standard_normal((512, 128)), np.zeros((10, 128))
print("begins", flush=True)
try:
    fastbp.finite_differences(net, x, y, method="replay", workers=2)
except KeyboardInterrupt:
    print("interrupted", flush=True)
few = fastbp.Network.random([9, 16, 4])
print(fastbp.finite_differences(few, x[:9], y[:4], workers=2).flat.size, flush=True)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send Ctrl-C to one child")
def test_an_interrupt_ends_a_long_replay_without_a_word() -> None:
    process = subprocess.Popen(
        command(PROGRAM), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "begins\n", process.communicate()[1]
        time.sleep(8.0)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (printed, errors) == (f"interrupted\n{9 * 16 + 16 + 16 * 4 + 4}\n", "")
