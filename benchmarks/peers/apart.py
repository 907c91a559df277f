"""One step of each peer in a process of its own, where no other library's threads are awake.

In one process the threads of OpenBLAS and of OpenMP watch for work for a while after each call, and
take a core from whoever comes next. That the gradients agree is seen where they are timed together.
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterable, Sequence

from ..clock import repeats_to_fill
from .available import PEERS, installed
from .problem import Problem
from .report import Section, duration, ratio, summary_of_ratios
from .timing import SAMPLE_SECONDS, Timing, sample
from .timing_process import TimingProcess, answer_requests


def compare_apart(problems: Iterable[Problem], threads: int, rounds: int) -> Section:
    """Time one step of every installed peer on every problem, the processes in turn."""
    packages = [package for package in PEERS if installed(package)]
    section = Section(
        "Forward and backward pass, each in a process of its own",
        ["network", *packages, "fastest other / fastbp"],
    )
    processes = {package: TimingProcess(__name__, [package, str(threads)]) for package in packages}
    try:
        ratios = []
        for problem in problems:
            timings = _timings(problem, processes, rounds)
            others = [timing.median for name, timing in timings.items() if name != "fastbp"]
            ratios.append(min(others, default=math.nan) / timings["fastbp"].median)
            section.rows.append(
                [problem.label, *map(duration, timings.values()), ratio(ratios[-1])]
            )
    finally:
        for process in processes.values():
            process.close()
    section.notes.append(summary_of_ratios(ratios))
    return section


def _timings(
    problem: Problem, processes: dict[str, TimingProcess], rounds: int
) -> dict[str, Timing]:
    request = problem.name, problem.batch, problem.dtype
    for process in processes.values():
        process.seconds(*request)  # makes the network, and is not counted
    samples: dict[str, list[float]] = {package: [] for package in processes}
    for _ in range(rounds):
        for package, process in processes.items():
            samples[package].append(process.seconds(*request))
    return {package: Timing.of(seconds) for package, seconds in samples.items()}


class _Steps:
    """The steps of one peer, in its process."""

    def __init__(self, package: str, threads: int) -> None:
        self.peer = importlib.import_module(f".{PEERS[package]}", __package__)
        self.peer.prepare(threads)
        self.problem: Problem | None = None

    def seconds(self, name: str, batch: str, dtype: str) -> float:
        """Time the step of a problem, made when it is asked for first."""
        problem = Problem(name, int(batch), dtype)
        if problem != self.problem:
            self.step = self.peer.Step(problem)
            self.repeats = repeats_to_fill(self.step, SAMPLE_SECONDS)
            self.problem = problem
        return sample(self.step, self.repeats)


def main(arguments: Sequence[str]) -> None:
    """Answer requests for the peer of a package, with so many threads."""
    package, threads = arguments
    answer_requests(_Steps(package, int(threads)).seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
