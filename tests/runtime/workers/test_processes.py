"""Processes of this machine: what is given up leaves no trace."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.errors import OptionError

pytest.importorskip("joblib")


def sleeper() -> Any:
    """Make contents of which some tasks take long; a local class travels by value."""

    class Sleeper:
        def nap(self, seconds: float) -> float:
            import time

            time.sleep(seconds)
            return seconds

        def of_a_thread(self) -> Sleeper:
            return self

    return Sleeper()


@pytest.mark.parametrize("done", [1, pytest.param(7, marks=pytest.mark.long)])
def test_tasks_that_are_given_up_end_without_a_word(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """Some are done, some run, some wait for their worker, and most for a place in the queue."""
    from fastbp.runtime.workers.processes import Processes
    from fastbp.runtime.workers.task import PickledJob

    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    crew, job = Processes(2), PickledJob(sleeper(), {})
    tasks = [("nap", (0.001 * (place % 4),)) for place in range(50)] + [("nap", (30.0,))] * 200
    with contextlib.closing(crew.run(job.token, job.data, None, tasks)) as results:
        for _ in range(done):
            next(results)
    assert raised == []
    assert capfd.readouterr() == ("", "")
    # There are new ones for the next run.
    again = list(crew.run(job.token, job.data, None, tasks[:3]))
    assert sorted((place, result.result()) for place, result in again) == [
        (0, 0.0), (1, 0.001), (2, 0.002),
    ]  # fmt: skip
    crew._abandon([])


def test_a_file_that_cannot_be_written_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fastbp.runtime.workers import processes

    crew, array = processes.Processes(2), np.ones(processes.LARGE_BYTES)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    raised: BaseException = OSError(28, "No space left on device")

    class Full:
        def __init__(self, descriptor: int, mode: str) -> None:
            assert mode == "wb"
            self.descriptor = descriptor

        def __enter__(self) -> Full:
            return self

        def write(self, _: Any) -> None:
            raise raised

        def __exit__(self, *_: object) -> None:
            os.close(self.descriptor)

    monkeypatch.setattr(processes.os, "fdopen", Full)
    with pytest.raises(OptionError, match=r"^workers: 2,097,152 bytes .*No space left on device"):
        crew.put(array)
    raised = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        crew.put(array)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(OptionError, match=r"^workers: .* cannot be written to a temporary file"):
        crew.put(array)
