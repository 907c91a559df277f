"""The time below which a step cannot go on this machine: its flops, or its bytes."""

from __future__ import annotations

from dataclasses import dataclass

from .machine import Machine
from .problem import Problem


@dataclass(frozen=True)
class Limit:
    """What limits a piece of work, and the time that it must take."""

    by: str
    seconds: float

    def share(self, seconds: float) -> str:
        """Say how close a measured time comes to it."""
        return f"{100 * self.seconds / seconds:.0f} % of {self.by}"


def limit_of_step(problem: Problem, machine: Machine) -> Limit:
    """Return the larger of the two bounds; bytes count where the caches cannot hold it all.

    The triad is the yardstick for bytes: like a step on a batch of one, it reads two numbers
    for each one that it writes.
    """
    flops = Limit("FMA peak", problem.flops / machine.peak[problem.dtype])
    if problem.resident_bytes <= machine.cache_bytes:
        return flops
    memory = Limit("memory", problem.weight_bytes_moved / machine.triad)
    return max(flops, memory, key=lambda limit: limit.seconds)


def limit_of_product(n: int, dtype: str, threads: int, machine: Machine) -> Limit:
    """Return the bound of an n x n x n product."""
    peak = machine.peak_of_one_core if threads == 1 else machine.peak
    return Limit("FMA peak", 2 * n**3 / peak[dtype])
