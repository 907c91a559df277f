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


@pytest.fixture
def watch(monkeypatch) -> compilation._Watch:
    watch = compilation._Watch()
    monkeypatch.setattr(compilation, "_WATCH", watch)
    return watch


def test_the_seconds_of_a_check_are_without_those_of_compilation(watch, clock):
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


def test_what_another_thread_compiles_counts_while_the_check_runs(watch, clock):
    watch.begin()
    clock.now += 1000
    check = Stopwatch()
    clock.now += 10
    watch.end()
    clock.now += 1
    assert (check.seconds, check.compile_seconds) == (1.0, 10.0)
    watch.begin()
    clock.now += 100
    assert (check.seconds, check.compile_seconds) == (101.0, 10.0)
    assert Stopwatch().compile_seconds == 0


def test_a_line_that_cannot_be_shown_ends_with_its_compilation(watch, monkeypatch):
    """numba tells of the end of what began with an exception too."""

    class Line:
        def __enter__(self) -> None:
            raise RuntimeError("can't start new thread")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(compilation, "compilation_line", Line)
    with pytest.raises(RuntimeError):
        watch.begin()
    watch.end()
    monkeypatch.undo()
    before = watch.entries
    watch.begin()
    watch.end()
    assert watch.entries == before + 1
