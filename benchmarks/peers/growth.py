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
from numpy.typing import NDArray

import fastbp
from fastbp.network.differences.replay import replay
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import require_batch

from .. import common, reference
from ..clock import seconds_of
from .available import find_peers
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
LEAST_BYTES = 2.0**20  # of every value of an axis, or its power would be that of noise
LEGEND = (
    "(n): timed on n entries and multiplied up to all, since all would take over a minute. "
    "certified: check_network as it is, of all entries. exact, replay: finite_differences of all. "
    "the loop: the notebook's, in NumPy. A step: loss and gradients. gradcheck (fast) compares one "
    "number, not every entry. MB: by how much the resident memory grew at most. The last row fits "
    "the power with which time (and memory) grow. Everybody uses as many threads."
)


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


def compare_growth(
    threads: int,
    rounds: int = ROUNDS,
    *,
    names: Sequence[str] | None = None,
    quick: bool = False,
) -> Iterator[Section]:
    """Time every candidate along the axes of these names, or all, and fit the exponents."""
    axes = QUICK_AXES if quick else AXES
    chosen = [axis for axis in axes if names is None or axis.name in names]
    sections = (_along(axis, rounds, 0.0 if quick else FULL_RUN_SECONDS) for axis in chosen)
    legend = [LEGEND]
    for section in sections:
        section.notes += legend
        legend = []  # once
        yield section
    if names is None or "threads" in names:
        name, batch = QUICK_THREADS if quick else THREADS
        section = _along_threads(Problem(name, batch), threads, rounds)
        section.notes += legend
        yield section


def _along(axis: Axis, rounds: int, full: float) -> Section:
    """Let one quantity grow for everybody."""
    batch = "" if axis.name == "batch" else f", batch {axis.batch}"
    section = Section(f"Growth with {axis.name}: {axis.network.format('n')}{batch}", [])
    measured: dict[str, Series] = {}
    for value, problem in axis.cases():
        costs = _costs(problem, rounds, full)
        _add_row(section, f"{axis.name} {value}", problem, costs)
        _collect(measured, costs)
    _add_exponents(section, axis.name, axis.values, measured)
    return section


def _costs(problem: Problem, rounds: int, full: float) -> dict[str, Cost]:
    """Measure all candidates on one problem."""
    costs = _whole_costs(_calls(problem), rounds)
    costs["replay"] = _cost_of_replay(problem, full)
    costs["the loop"] = _cost_of_loop(problem, full)
    if importlib.util.find_spec("torch") is not None:
        torch = GradCheck(problem)
        costs["gradcheck, slow"] = _cost_of_slow(torch, problem.entries, full)
        costs |= _whole_costs({"gradcheck, fast": torch.fast}, rounds)
    return costs


def _calls(problem: Problem) -> dict[str, Callable[[], object]]:
    """What is timed on all entries: a step, torch's if it is there, and the checks."""
    net, x, y = fastbp.Network(problem.weights, problem.biases), problem.x, problem.y
    _, given = net.loss_and_gradients(x, y, inputs=False)
    report = fastbp.check_network(net, x, y, given, progress=False)
    if not report:
        raise RuntimeError(f"A correct gradient did not pass:\n{report}")
    calls: dict[str, Callable[[], object]] = {
        "a step": lambda: net.loss_and_gradients(x, y, out=given, inputs=False)
    }
    if importlib.util.find_spec("torch") is not None:
        from .peer_torch import Step

        calls["torch's step"] = Step(problem)
    calls[report.method] = lambda: fastbp.check_network(net, x, y, given, progress=False)
    calls["exact"] = lambda: fastbp.finite_differences(net, x, y, method="exact", progress=False)
    return calls


def _whole_costs(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, Cost]:
    timings = interleaved(calls, rounds)
    return {name: Cost(timings[name], None, peak_bytes(call)) for name, call in calls.items()}


def _cost_of_replay(problem: Problem, full: float) -> Cost:
    """Time two losses for every entry, on whole units: their entries share their work."""
    net = fastbp.Network(problem.weights, problem.biases)
    ends = np.cumsum(net.sizes[1:])
    lengths = np.repeat(np.array(net.sizes[:-1]), net.sizes[1:])
    starts = np.concatenate(
        [
            first + np.arange(n_out) * n_in
            for first, n_in, n_out in zip(
                net.shapes.weight_offsets, net.sizes, net.sizes[1:], strict=False
            )
        ]
    )

    def entries_of(count: int) -> NDArray[np.int64]:
        units = common.spread_entries(int(ends[-1]), count)
        return np.concatenate([starts[u] + np.arange(lengths[u]) for u in units])

    def replay_some(count: int) -> object:
        entries = entries_of(count) if count < ends[-1] else None
        base = evaluate(net, require_batch(net, problem.x, problem.y))
        return replay(
            base, entries, scheme="central", delta=1e-6,
            max_memory=2**30, progress=False,
        )  # fmt: skip

    replay_some(1)
    cost = _sampled(replay_some, int(ends[-1]), int(ends[-1]), full)
    if cost.sampled is None:
        return cost
    return Cost(cost.timing, int(entries_of(cost.sampled).size))


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
        section.header = ["", "entries", *costs]
    cells = [str(costs[name]) for name in section.header[2:]]
    section.rows.append([case, f"{problem.entries:,}", *cells])


def _collect(measured: dict[str, Series], costs: dict[str, Cost]) -> None:
    for name, cost in costs.items():
        series = measured.setdefault(name, Series())
        series.seconds.append(cost.timing.median)
        series.memory.append(cost.memory)


def _along_threads(problem: Problem, threads: int, rounds: int) -> Section:
    """Let our own calls, and torch's step, use more and more threads."""
    section = Section(f"Growth with threads: {problem.name}, batch {problem.batch}", [])
    counts = sorted({2**k for k in range(threads.bit_length())} | {threads})
    measured: dict[str, Series] = {}
    try:
        for count in counts:
            find_peers(count)
            costs = _whole_costs(_calls(problem), rounds)
            _add_row(section, f"threads {count}", problem, costs)
            _collect(measured, costs)
    finally:
        find_peers(threads)
    if len(counts) > 1:
        _add_exponents(section, "threads", counts, measured)
    return section


def _add_exponents(
    section: Section, name: str, values: Sequence[int], measured: dict[str, Series]
) -> None:
    """Say with which power of the values time and memory grow."""
    cells = []
    for candidate in section.header[2:]:
        series = measured.get(candidate, Series())
        text = f"^{exponent(values, series.seconds):.2f}" if series.seconds else "-"
        if series.memory and min(series.memory) >= LEAST_BYTES:
            text += f", MB ^{exponent(values, series.memory):.2f}"
        cells.append(text)
    section.rows.append([f"power of {name}", "", *cells])


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Return the slope of the costs over the values, both by their logarithms."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def _long_duration(timing: Timing) -> str:
    """Write minutes and hours where there are that many."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if timing.median >= 2 * size:
            return f"{'' if timing.steady else '~'}{timing.median / size:.0f} {unit}"
    return duration(timing)
