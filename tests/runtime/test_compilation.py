"""How long kernels compile is counted apart, and said on a terminal."""

from __future__ import annotations

import pytest

from fastbp.runtime import compilation
from fastbp.runtime.compilation import Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(compilation, "time", clock)
    return clock


def test_the_seconds_of_a_check_are_without_those_of_compilation(monkeypatch, clock):
    watch = compilation._Watch()
    monkeypatch.setattr(compilation, "_WATCH", watch)
    check = Stopwatch()
    clock.now += 1
    watch.begin()
    clock.now += 10
    watch.begin()  # what the kernel calls
    clock.now += 100
    watch.end()
    watch.end()
    clock.now += 1000
    assert (check.seconds, check.compile_seconds) == (1001.0, 110.0)
    assert watch.entries == 1
    assert Stopwatch().compile_seconds == 0
