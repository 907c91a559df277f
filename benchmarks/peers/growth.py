"""How cost and memory grow with width, depth, batch and threads, beside what others do instead.

A full run of the loop or of torch's slow gradcheck would take hours: where it would take over a
minute it is timed on a sample of entries and multiplied up, and the table says so.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

import fastbp

from .. import common, reference
from ..clock import seconds_of
from .gradcheck import GradCheck
from .peak import peak_bytes
from .problem import Problem
from .report import Section, duration
from .timing import ROUNDS, Timing, interleaved


@dataclass(frozen=True)
class Axis:
    """One quantity that grows, and what it is set to; ``{}`` in the network stands for it."""

    name: str
    network: str
    batch: int
    values: Sequence[int]

    def cases(self) -> Iterator[tuple[int, Problem]]:
        """Yield each value and its problem."""
        for value in self.values:
            batch = value if self.name == "batch" else self.batch
            yield value, Problem(self.network.format(value), batch)


AXES = (
    Axis("width", "64-{}^3-10", 32, (128, 256, 512, 1024)),
    Axis("depth", "64-128^{}-10", 32, (2, 4, 8, 16)),
    Axis("batch", "64-256^3-10", 0, (4, 16, 64, 256)),
)
QUICK_AXES = (
    Axis("width", "4-{}^2-3", 4, (6, 12)),
    Axis("depth", "4-6^{}-3", 4, (1, 3)),
    Axis("batch", "4-6^2-3", 0, (2, 8)),
)
THREADS, QUICK_THREADS = ("64-512^3-10", 64), ("4-6^2-3", 4)
FULL_RUN_SECONDS = 60.0
SAMPLE_SECONDS = 0.5
FIRST_SAMPLE = 8


@dataclass
class Series:
    """Seconds and bytes of one candidate for the values of one axis."""

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """What one call takes, and on how many entries that was timed (None: on all)."""

    timing: Timing
    sampled: int | None = None
    memory: float = math.nan

    def __str__(self) -> str:
        """Time, sample and memory as they stand in the table."""
        text = _long_duration(self.timing)
        if self.sampled is not None:
            text += f" ({self.sampled})"
        return text if math.isnan(self.memory) else f"{text}, {self.memory / 2**20:.0f} MB"


def compare_growth(threads: int, rounds: int = ROUNDS, *, quick: bool = False) -> Section:
    """Time every candidate along every axis and fit the exponents."""
    section = Section("Growth", [])
    full = 0.0 if quick else FULL_RUN_SECONDS
    for axis in QUICK_AXES if quick else AXES:
        measured: dict[str, Series] = {}
        for value, problem in axis.cases():
            costs = _costs(problem, rounds, full)
            _add_row(section, f"{axis.name} {value}", problem, costs)
            _collect(measured, costs)
        _add_exponents(section, axis.name, axis.values, measured)
    name, batch = QUICK_THREADS if quick else THREADS
    _along_threads(section, Problem(name, batch), threads, rounds)
    section.notes.append(
        "(n): timed on n entries, and multiplied up to all of them, since all would take over a "
        "minute. MB: by how much the resident memory grew at most. The last row of each group "
        "fits the power with which time (and memory) grow. gradcheck (fast) compares one number, "
        "not every entry."
    )
    return section


def _costs(problem: Problem, rounds: int, full: float) -> dict[str, Cost]:
    """Measure all candidates on one problem."""
    costs = _whole_costs(_own_calls(problem), rounds)
    costs["the loop"] = _cost_of_loop(problem, full)
    if importlib.util.find_spec("torch") is not None:
        torch = GradCheck(problem)
        costs["gradcheck, slow"] = _cost_of_slow(torch, problem.entries, full)
        costs |= _whole_costs({"gradcheck, fast": torch.fast}, rounds)
    return costs


def _own_calls(problem: Problem) -> dict[str, Callable[[], object]]:
    net, x, y = fastbp.Network(problem.weights, problem.biases), problem.x, problem.y
    _, given = net.loss_and_gradients(x, y, inputs=False)
    report = fastbp.check_network(net, x, y, given, progress=False)
    if not report:
        raise RuntimeError(f"A correct gradient did not pass:\n{report}")
    return {
        "a step": lambda: net.loss_and_gradients(x, y, out=given, inputs=False),
        "finite_differences, exact": lambda: fastbp.finite_differences(
            net, x, y, method="exact", progress=False
        ),
        f"check_network, {report.method}": lambda: fastbp.check_network(
            net, x, y, given, progress=False
        ),
    }


def _whole_costs(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, Cost]:
    timings = interleaved(calls, rounds)
    return {name: Cost(timings[name], None, peak_bytes(call)) for name, call in calls.items()}


def _cost_of_loop(problem: Problem, full: float) -> Cost:
    """Time the notebook's loop, in NumPy."""

    def loop(count: int) -> None:
        entries = common.spread_entries(problem.entries, count)
        reference.loop_quotients(problem.weights, problem.biases, problem.x, problem.y, entries)

    return _sampled(loop, problem.entries, problem.entries, full)


def _cost_of_slow(torch: GradCheck, entries: int, full: float) -> Cost:
    """Time gradcheck's comparison of every entry; what it does besides is done once."""
    base = min(seconds_of(lambda: torch.some(1)) for _ in range(2))
    cost = _sampled(torch.some, entries, torch.most, full, base)
    if cost.timing.median > full:
        return cost
    return Cost(Timing.of([seconds_of(torch.slow)]))


def _sampled(
    run: Callable[[int], object], entries: int, most: int, full: float, base: float = 0.0
) -> Cost:
    """Time as many entries as fill a sample, or all if that takes no longer than ``full``.

    The sample is so large that ``base``, what a call takes besides, is the least of it.
    """

    def timed(count: int) -> float:
        return seconds_of(lambda: run(count))

    count = min(FIRST_SAMPLE, most)
    elapsed = timed(count)
    while elapsed < max(SAMPLE_SECONDS, 4 * base) and count < most:
        count = min(most, 2 * count)
        elapsed = timed(count)
    if (elapsed - base) / count * entries <= full and most == entries:
        return Cost(Timing.of([timed(entries)]))
    seconds = [elapsed, timed(count), timed(count)]
    # Where a disturbed base is above the sample, the base is counted in: never less than nothing.
    each = [(one - base if one > base else one) / count for one in seconds]
    return Cost(Timing.of([base + one * entries for one in each]), count)


def _add_row(section: Section, case: str, problem: Problem, costs: dict[str, Cost]) -> None:
    if not section.header:
        section.header = ["", "network", "entries", *costs]
    own = [costs.get(name) for name in section.header[3:]]
    cells = ["-" if cost is None else str(cost) for cost in own]
    section.rows.append(
        [case, f"{problem.name}, batch {problem.batch}", f"{problem.entries}", *cells]
    )


def _collect(measured: dict[str, Series], costs: dict[str, Cost]) -> None:
    for name, cost in costs.items():
        series = measured.setdefault(name, Series())
        series.seconds.append(cost.timing.median)
        series.memory.append(cost.memory)


def _along_threads(section: Section, problem: Problem, threads: int, rounds: int) -> None:
    """Let our own calls use more and more threads."""
    counts = sorted({2**k for k in range(threads.bit_length())} | {threads})
    measured: dict[str, Series] = {}
    for count in counts:
        fastbp.set_num_threads(count)
        try:
            costs = _whole_costs(_own_calls(problem), rounds)
        finally:
            fastbp.set_num_threads(threads)
        _add_row(section, f"threads {count}", problem, costs)
        _collect(measured, costs)
    if len(counts) > 1:
        _add_exponents(section, "threads", counts, measured)


def _add_exponents(
    section: Section, name: str, values: Sequence[int], measured: dict[str, Series]
) -> None:
    """Say with which power of the values time and memory grow."""
    cells = []
    for candidate in section.header[3:]:
        series = measured.get(candidate, Series())
        text = f"^{exponent(values, series.seconds):.2f}" if series.seconds else "-"
        if series.memory and min(series.memory) > 0:
            text += f", MB ^{exponent(values, series.memory):.2f}"
        cells.append(text)
    section.rows.append([f"power of {name}", "", "", *cells])


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of the costs over the values, both by their logarithms."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def _long_duration(timing: Timing) -> str:
    """Write minutes and hours where there are that many."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if timing.median >= 2 * size:
            return f"{'' if timing.steady else '~'}{timing.median / size:.0f} {unit}"
    return duration(timing)
