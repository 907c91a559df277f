"""Finite differences: fastbp on all entries, the others on a sample of the same ones."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from .. import common
from ..clock import seconds_of
from .problem import Problem
from .report import Section, duration, ratio
from .timing import ROUNDS, interleaved

NETWORKS = (
    ("1-6^5-1", 1),
    ("10-32-32-10", 16),
    ("64-128-128-10", 64),
    ("784-512-512-10", 64),
)
DELTA = 1e-6
SAMPLE_SECONDS = 0.25  # of the loop, which gives the number of entries in the sample
MOST_ENTRIES = 2000


def compare_replay(
    problems: Iterable[Problem], peers: dict[str, ModuleType], rounds: int = ROUNDS
) -> Section:
    """Time the differences of every peer on every problem, in time per entry."""
    section = Section(
        "Finite differences of every entry, central",
        ["network", "entries", "fastbp, all entries", *_columns(peers), "loop / fastbp"],
    )
    for problem in problems:
        entries = _sample(problem, peers["NumPy"])
        calls = {
            name: peer.Replay(problem, entries, DELTA)
            for name, peer in peers.items()
            if name != "fastbp"
        }
        ours = peers["fastbp"].Replay(problem, DELTA)
        _require_agreement(problem, entries, ours(), {name: run() for name, run in calls.items()})
        timings = interleaved({"fastbp": ours, **calls}, rounds)
        counts = dict.fromkeys(calls, entries.size) | {"fastbp": problem.entries}
        loop, replay = (timings[name].median / counts[name] for name in ("NumPy", "fastbp"))
        section.rows.append(
            [
                problem.label,
                f"{problem.entries}",
                duration(timings["fastbp"]),
                *(duration(timings[name], counts[name]) for name in peers),
                ratio(loop / replay),
            ]
        )
    section.notes.append(
        "The loop is the notebook's, in NumPy: a copy of all parameters and two forward passes "
        "for each entry. torch changes entries in place, JAX loops in one compiled function. "
        "These three are timed on entries spread over the whole network, fastbp on all."
    )
    return section


def _columns(peers: dict[str, ModuleType]) -> list[str]:
    names = {"NumPy": "the loop"}
    return [f"{names.get(name, name)}, per entry" for name in peers]


def _sample(problem: Problem, numpy_peer: ModuleType) -> NDArray[np.int64]:
    """Choose as many entries as the loop does in the time of a sample."""
    few = common.spread_entries(problem.entries, 10)
    loop = numpy_peer.Replay(problem, few, DELTA)
    loop()
    count = int(SAMPLE_SECONDS / seconds_of(loop) * few.size)
    return common.spread_entries(problem.entries, min(max(count, 10), MOST_ENTRIES))


def _require_agreement(
    problem: Problem,
    entries: NDArray[np.int64],
    ours: NDArray[np.float64],
    theirs: dict[str, NDArray[np.float64]],
) -> None:
    """Raise where a quotient differs from ours by more than two losses' rounding explains."""
    expected = ours[entries]
    loss = problem.batch * common.layer_sizes(problem.name)[-1]  # its order of magnitude
    rounding = 1000 * np.finfo(np.float64).eps * loss / DELTA
    for name, quotients in theirs.items():
        worst = float(np.max(np.abs(quotients - expected)))
        if not worst <= rounding + 1e-6 * float(np.max(np.abs(expected))):
            raise RuntimeError(
                f"{problem.label}: a difference by {name} and one by fastbp are {worst:.1e} apart."
            )
