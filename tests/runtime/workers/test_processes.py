"""Processes of this machine: what is given up leaves no trace."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

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
