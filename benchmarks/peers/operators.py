"""Torch's own operators: what fastbp and gradcheck say of them, and in what time."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..torch_operators import differentiable_operators, of_tensors
from .available import installed
from .report import Section, duration, ratio
from .timing import FEWEST_ROUNDS, ROUNDS, Timing, interleaved

# Of the eight parts one without `ctc_loss`, for which gradcheck takes minutes.
PART, PARTS = 4, 8
QUICK_PARTS = 200
WORST = 10
OURS, SLOW, FAST = "fastbp.torch.check_function", "gradcheck, slow", "gradcheck, fast"
# What a check that raises anything but a mismatch says.
REFUSED = "refused"
SAID = ("passed", "failed", "inconclusive", "vacuous", REFUSED)


@dataclass(frozen=True)
class Measured:
    """One operator: how many entries it has, and what each check says of it, and takes."""

    name: str
    entries: int
    said: dict[str, str]
    times: dict[str, Timing]

    @property
    def is_comparable(self) -> bool:
        """Tell whether the slow gradcheck passes it, and fastbp judges it."""
        return self.said[SLOW] == "passed" and self.said[OURS] != REFUSED

    def relative(self, check: str) -> float:
        """Return the time of a check over that of the slow gradcheck."""
        return self.times[check].median / self.times[SLOW].median


def compare_operators(rounds: int = ROUNDS, *, quick: bool = False) -> list[Section]:
    """Check the first sample of some operators in float64: verdicts, times, the slowest ones."""
    if not installed("torch"):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of what is deprecated or in beta
        part, parts = (1, QUICK_PARTS) if quick else (PART, PARTS)
        found = [
            _measured(name, function, sample, min(rounds, FEWEST_ROUNDS))
            for name, function, sample in differentiable_operators(part, parts)
        ]
    return [_verdicts_and_times(found), _slowest(found)]


def _measured(name: str, function: Any, sample: Any, rounds: int) -> Measured:
    checks = _checks(function, sample)
    said = {check: verdict() for check, verdict in checks.items()}
    entries = sum(tensor.numel() for tensor in of_tensors(function, sample)[1])
    measured = Measured(name, entries, said, {})
    if measured.is_comparable:
        measured.times.update(interleaved(checks, rounds))
    return measured


def _checks(function: Any, sample: Any) -> dict[str, Callable[[], str]]:
    import torch
    from torch.autograd.gradcheck import GradcheckError

    import fastbp.torch

    f, tensors = of_tensors(function, sample)

    def ours() -> str:
        try:
            report = fastbp.torch.check_function(
                function, sample.input, *sample.args, kwargs=sample.kwargs, seed=0
            )
        except fastbp.FastbpError:
            return REFUSED
        return report.verdict

    def gradcheck(*, fast: bool) -> str:
        try:
            torch.autograd.gradcheck(f, tensors, fast_mode=fast)
        except GradcheckError:
            return "failed"
        except Exception:  # arguments without a gradient, a derivative that is not there
            return REFUSED
        return "passed"

    return {OURS: ours, SLOW: lambda: gradcheck(fast=False), FAST: lambda: gradcheck(fast=True)}


def _verdicts_and_times(found: list[Measured]) -> Section:
    section = Section(
        f"{len(found)} operators of torch, the first sample of each, in float64",
        ["check", *SAID, "time: median", "lower quartile", "upper quartile", "largest"],
    )
    timed = [one for one in found if one.is_comparable]
    for check in (OURS, SLOW, FAST):
        counts = [sum(one.said[check] == said for one in found) for said in SAID]
        relative = [one.relative(check) for one in timed]
        lower, median, upper = statistics.quantiles(relative, n=4, method="inclusive")
        shown = [ratio(value) for value in (median, lower, upper, max(relative))]
        section.rows.append([check, *map(str, counts), *shown])
    section.notes.append(
        f"Times: over that of the slow gradcheck, for the {len(timed)} operators that this passes "
        "and fastbp judges. Vacuous: every derivative is 0, which gradcheck passes."
    )
    return section


def _slowest(found: list[Measured]) -> Section:
    section = Section(
        "The operators that take longest beside the slow gradcheck",
        ["operator", "entries", "verdict", OURS, SLOW, FAST, "ratio"],
    )
    timed = [one for one in found if one.is_comparable]
    for one in sorted(timed, key=lambda one: -one.relative(OURS))[:WORST]:
        times = [duration(one.times[check]) for check in (OURS, SLOW, FAST)]
        shown = ratio(one.relative(OURS))
        section.rows.append([one.name, str(one.entries), one.said[OURS], *times, shown])
    return section
