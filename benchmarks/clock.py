"""A clock for what asv does not time itself: calls that are divided by a number of entries."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Method = TypeVar("Method", bound=Callable[..., object])


def measured_in(unit: str, name: str) -> Callable[[Method], Method]:
    """Give a ``track_`` benchmark its unit and the name that asv's pages show."""

    def mark(method: Method) -> Method:
        method.unit = unit  # type: ignore[attr-defined]
        method.pretty_name = name  # type: ignore[attr-defined]
        return method

    return mark


def seconds_of(call: Callable[[], object], repeats: int = 1) -> float:
    """Return the mean wall time of one of ``repeats`` calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def repeats_to_fill(call: Callable[[], object], seconds: float) -> int:
    """Return how many calls in a row take about that long; at least one."""
    repeats = 1
    while (elapsed := seconds_of(call, repeats) * repeats) < seconds:
        repeats = max(2 * repeats, int(repeats * seconds / max(elapsed, 1e-9)))
        if elapsed > seconds / 4:
            break
    return repeats


def seconds_per_call(call: Callable[[], object], rounds: int = 5, seconds: float = 0.05) -> float:
    """Return the median over rounds of at least ``seconds`` each, or of one call."""
    repeats = repeats_to_fill(call, seconds)
    return statistics.median(seconds_of(call, repeats) for _ in range(rounds))
