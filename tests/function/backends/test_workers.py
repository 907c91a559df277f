"""Evaluation in other processes: the same bits, dead workers survived, errors at once."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.sent_functions import Counted, divided, gradient, plain, slowly

import fastbp
from fastbp.errors import EvaluationError, OptionError, ShapeError

joblib = pytest.importorskip("joblib")
distributed = pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")
# joblib's processes live on for the next call: its own warnings about that are not ours.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

AT = np.linspace(-1.0, 2.0, 200)


def same(first: Any, second: Any) -> bool:
    return bool(
        first.value.tobytes() == second.value.tobytes()
        and first.error_bar.tobytes() == second.error_bar.tobytes()
        and first.evaluations == second.evaluations
    )


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A cluster of real processes, of which one has several threads."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=":0", silence_logs=60
        ) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture(params=["processes", pytest.param("cluster", marks=pytest.mark.long)])
def crew(request: pytest.FixtureRequest) -> Iterator[str]:
    """Evaluate with local processes, and on the cluster."""
    if request.param == "processes":
        yield "processes"
    else:
        # The test before may have killed the workers: their nannies start others.
        request.getfixturevalue("client").wait_for_workers(1, timeout=300)
        with joblib.parallel_config("dask"):
            yield "cluster"


@pytest.mark.parametrize("crew", ["processes", "cluster"], indirect=True)
def test_the_bits_of_one_process(crew: str) -> None:  # noqa: ARG001
    reference = fastbp.numerical_gradient(plain, AT)
    for workers in (2, 3):
        assert same(fastbp.numerical_gradient(plain, AT, workers=workers), reference)
    for method in ("every", "probe"):
        alone = fastbp.check_gradient(plain, gradient, AT, method=method, seed=1)
        report = fastbp.check_gradient(plain, gradient, AT, method=method, seed=1, workers=2)
        assert report.verdict == alone.verdict == "passed"
        assert report.evaluations == alone.evaluations


@pytest.mark.usefixtures("crew")
def test_a_wrong_entry_is_found_by_probes() -> None:
    at = np.linspace(-1.0, 2.0, 20_000)
    wrong = gradient(at)
    wrong[12_345] += 0.01
    report = fastbp.check_gradient(plain, wrong, at, method="probe", seed=1, workers=2)
    assert [failure.index for failure in report.failures] == [(12_345,)]
    alone = fastbp.check_gradient(plain, wrong, at, method="probe", seed=1)
    assert report.failures == alone.failures


@pytest.mark.usefixtures("crew")
def test_what_f_raises_keeps_its_cause() -> None:
    def picky(x: np.ndarray) -> float:
        if x[7] != 1.0:
            raise ValueError("not one")
        return float(x.sum())

    with pytest.raises(EvaluationError, match=r"when x\[7\] was .*not one") as info:
        fastbp.numerical_gradient(picky, np.ones(20), workers=2)
    assert isinstance(info.value.__cause__, ValueError)
    assert "in picky" in info.value.__cause__.__notes__[0]
    with pytest.raises(EvaluationError, match=r"with x moved by .* at random: not one"):
        fastbp.check_gradient(picky, np.ones(20), np.ones(20), method="probe", workers=2)


@pytest.mark.usefixtures("crew")
def test_what_f_raises_may_be_impossible_to_send() -> None:
    class LockedError(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(first + second)
            self.lock = threading.Lock()

    def picky(x: np.ndarray) -> float:
        if x[7] != 1.0:
            raise LockedError("not ", "one")
        return float(x.sum())

    with pytest.raises(
        EvaluationError, match=r"f raised LockedError when x\[7\] .*not one"
    ) as info:
        fastbp.numerical_gradient(picky, np.ones(20), workers=2)
    assert "LockedError: not one" in str(info.value.__cause__)


@pytest.mark.usefixtures("crew")
def test_a_result_of_another_form_is_our_error() -> None:
    def growing(x: np.ndarray) -> Any:
        return x if x[3] != 1.0 else float(x.sum())

    with pytest.raises(ShapeError, match="f must return one number"):
        fastbp.numerical_gradient(growing, np.ones(20), workers=2)


@pytest.mark.usefixtures("crew")
def test_what_cannot_be_sent_is_named() -> None:
    lock = threading.Lock()

    def locked(x: np.ndarray) -> float:
        with lock:
            return float(np.sum(x))

    with pytest.raises(OptionError, match=r"workers: f cannot be sent .*cannot pickle '_thread"):
        fastbp.numerical_gradient(locked, np.ones(4), workers=2)
    with pytest.raises(OptionError, match=r"workers: p cannot be sent to other .*: not me"):
        fastbp.numerical_gradient(lambda p: p.x.sum(), Stubborn(np.ones(4)), workers=2)


@dataclass
class Stubborn:
    x: Any

    def __reduce__(self) -> Any:
        raise TypeError("not me")


@pytest.mark.long
@pytest.mark.usefixtures("crew")
def test_a_worker_that_cannot_import_f_ends_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def f(x):\n    return float(x @ x)\n")
    spec = importlib.util.spec_from_file_location("only_here", tmp_path / "only_here.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "only_here", module)
    spec.loader.exec_module(module)
    with pytest.raises(OptionError, match=r"No module named 'only_here'\. They must") as info:
        fastbp.numerical_gradient(module.f, np.ones(40), workers=2)
    assert isinstance(info.value.__cause__, ModuleNotFoundError)
    assert same(
        fastbp.numerical_gradient(plain, AT, workers=2), fastbp.numerical_gradient(plain, AT)
    )


@pytest.mark.usefixtures("crew")
def test_a_worker_that_dies_is_survived(tmp_path: Path) -> None:
    mark = tmp_path / "died"

    def deadly(x: np.ndarray) -> float:
        if x[3] != 1.0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(np.sum(x**2))

    found = fastbp.numerical_gradient(deadly, np.ones(40), workers=2)
    assert mark.exists()
    assert same(found, fastbp.numerical_gradient(deadly, np.ones(40)))


def kill_a_worker(crew: str, killed: list[int]) -> None:
    name = "LokyProcess" if crew == "processes" else "spawn_main"
    for child in psutil.Process().children(recursive=True):
        if name in " ".join(child.cmdline()):
            child.kill()
            killed.append(child.pid)
            break


def test_a_worker_killed_from_outside_is_survived(crew: str) -> None:
    at = np.linspace(0.0, 1.0, 60)
    reference = fastbp.numerical_gradient(slowly, at)
    killed: list[int] = []
    killer = threading.Timer(0.5, kill_a_worker, (crew, killed))
    killer.start()
    found = fastbp.numerical_gradient(slowly, at, workers=2)
    killer.join()
    assert len(killed) == 1
    assert same(found, reference)


@pytest.mark.long
@pytest.mark.usefixtures("crew")
def test_a_function_that_kills_every_worker_is_named() -> None:
    parent = os.getpid()

    def deadly(x: np.ndarray) -> float:
        if os.getpid() != parent:
            os._exit(1)
        return float(np.sum(x))

    with pytest.raises(EvaluationError, match=r"f lost its worker 4 times, lately with x\[0\]"):
        fastbp.numerical_gradient(deadly, np.ones(4), workers=2)


@pytest.mark.usefixtures("crew")
def test_f_and_its_arrays_are_unpacked_once_by_each_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    counted = Counted(np.linspace(0.0, 1.0, 300_000), tmp_path / "unpacked")
    at = np.ones(200)
    report = fastbp.check_gradient(counted, counted.table[:200], at, workers=2)
    assert report.verdict == "passed"
    unpacked = (tmp_path / "unpacked").read_text().split()
    assert 1 <= len(unpacked) == len(set(unpacked)) <= 4  # threads of workers
    assert not list(scratch.glob("fastbp-*"))


@pytest.mark.long
def test_every_thread_of_a_worker_has_its_own_point() -> None:
    """Also with a backend of threads: they must not share the copy that is being changed."""
    with joblib.parallel_config("threading"):
        found = fastbp.numerical_gradient(slowly, AT[:40], workers=4)
    assert same(found, fastbp.numerical_gradient(slowly, AT[:40]))


@pytest.mark.usefixtures("crew")
def test_a_function_that_changes_its_argument_stays_here() -> None:
    def spoiling(x: np.ndarray) -> float:
        x[0] += 1
        return float(x.sum())

    report = fastbp.check_gradient(spoiling, np.ones(4), np.ones(4), workers=2)
    assert [row.reason for row in report.arrays] == ["", "f changed its argument: x"]


@pytest.mark.parametrize("missing", ["joblib", "cloudpickle"])
def test_an_extra_that_is_not_there(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [name for name in sys.modules if name.startswith("fastbp.runtime.workers.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(OptionError, match=r'workers needs joblib: .* "fastbp\[cluster\]"'):
        fastbp.numerical_gradient(plain, AT, workers=2)


@pytest.mark.usefixtures("crew")
def test_a_nesting_travels() -> None:
    at = {"a": (np.ones(3), 2.0), "b": [np.float32(1.5)]}
    found = fastbp.numerical_gradient(divided, at, workers=2)
    alone = fastbp.numerical_gradient(divided, at)
    assert found.value["a"][0].tobytes() == alone.value["a"][0].tobytes()
    assert found.value["b"] == alone.value["b"]
