"""The default check beside a step: what it costs to have every entry of a gradient judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType

import fastbp

from .backprop import require_agreement
from .problem import Problem
from .report import Section, duration, ratio
from .timing import ROUNDS, interleaved

NETWORKS = (
    ("1-6^5-1", 1),
    ("784-512-512-10", 64),
    ("784-512^5-10", 64),
    ("2048^5-10", 16),
    ("64^201-10", 64),
)


def compare_check(
    problems: Iterable[Problem], peers: dict[str, ModuleType], rounds: int = ROUNDS
) -> Section:
    """Time the check of all entries and one step of fastbp and of torch on every problem."""
    names: list[str] = [name for name in ("fastbp", "torch") if name in peers]
    section = Section(
        "The check of every entry beside one step",
        ["network", "entries", *(f"a step, {name}" for name in names), "certified", "exact",
         *(f"certified / {name}" for name in names), *(f"exact / {name}" for name in names)],
    )  # fmt: skip
    for problem in problems:
        steps = {name: peers[name].Step(problem) for name in names}
        require_agreement(problem, steps)
        calls: dict[str, Callable[[], object]] = dict(steps)
        calls["certified"] = _check(problem, "certified")
        timings = interleaved(calls, rounds)
        timings |= interleaved({"exact": _check(problem, "exact")}, rounds)
        seconds = {name: timing.median for name, timing in timings.items()}
        section.rows.append(
            [
                problem.label,
                f"{problem.entries:,}",
                *(duration(timings[name]) for name in (*names, "certified", "exact")),
                *(ratio(seconds["certified"] / seconds[name]) for name in names),
                *(ratio(seconds["exact"] / seconds[name]) for name in names),
            ]
        )
    section.notes.append(
        "A step: loss and gradients of all parameters, not of the inputs. certified and exact: "
        "check_network of a given gradient, all entries. Steps and certified in interleaved "
        "rounds, everybody with as many threads."
    )
    return section


def _check(problem: Problem, method: str) -> Callable[[], object]:
    """Prepare the check of a correct gradient, and see that it passes."""
    net, x, y = fastbp.Network(problem.weights, problem.biases), problem.x, problem.y
    _, given = net.loss_and_gradients(x, y, inputs=False)

    def check() -> None:
        report = fastbp.check_network(net, x, y, given, method=method, progress=False)
        if not report:
            raise RuntimeError(f"A correct gradient did not pass:\n{report}")

    check()
    return check
