"""Forward and backward pass: all peers on the same network, after they agree on its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from .machine import Machine
from .problem import Problem, relative_distance
from .report import Section, duration, ratio, summary_of_ratios
from .roofline import limit_of_step
from .timing import ROUNDS, interleaved

# Of the norm of the gradient. In float32 a unit near 0 may be on for one peer, off for another.
TOLERANCES = {"float64": 1e-10, "float32": 2e-3}


def compare_backprop(
    problems: Iterable[Problem],
    peers: dict[str, ModuleType],
    machine: Machine,
    rounds: int = ROUNDS,
) -> Section:
    """Time one step of every peer on every problem."""
    section = Section(
        "Forward and backward pass",
        ["network", *peers, "fastest other / fastbp", "fastbp reaches"],
    )
    ratios = []
    for problem in problems:
        steps = {name: peer.Step(problem) for name, peer in peers.items()}
        require_agreement(problem, steps)
        timings = interleaved(steps, rounds)
        ours = timings["fastbp"].median
        others = [timing.median for name, timing in timings.items() if name != "fastbp"]
        ratios.append(min(others, default=math.nan) / ours)
        section.rows.append(
            [
                problem.label,
                *map(duration, timings.values()),
                ratio(ratios[-1]),
                limit_of_step(problem, machine).share(ours),
            ]
        )
    section.notes.append(
        "Loss and gradients of all parameters, not of the inputs; medians of interleaved rounds. "
        + summary_of_ratios(ratios)
    )
    return section


def require_agreement(problem: Problem, steps: dict[str, Any]) -> None:
    """Raise where a peer's gradient is not that of the first one."""
    tolerance = TOLERANCES[problem.dtype]
    (first, step), *others = steps.items()
    expected = step.gradient()
    if not expected.any():
        raise RuntimeError(f"{problem.label}: the gradient is zero, which compares nothing.")
    for name, other in others:
        distance = relative_distance(other.gradient(), expected)
        if not distance <= tolerance:
            raise RuntimeError(
                f"{problem.label}: the gradients of {first} and {name} differ by {distance:.1e} "
                f"of their norm, more than {tolerance:.0e}."
            )
