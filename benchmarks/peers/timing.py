"""Interleaved rounds: every candidate once per round, so that a slow minute hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..clock import repeats_to_fill, seconds_of

ROUNDS = 11
FEWEST_ROUNDS = 3
SAMPLE_SECONDS = 0.03
MOST_SECONDS = 20.0  # for all rounds of one comparison; slow candidates get fewer of them
# The threads of OpenBLAS and of OpenMP spin for up to 25 ms after a call, and would take the
# cores of the next candidate.
REST_SECONDS = 0.03
STEADY = 1.3  # upper over lower quartile


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the median over the rounds, and whether they agree on it."""

    median: float
    steady: bool

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        """Summarise the samples of one candidate."""
        if len(samples) == 1:
            return cls(samples[0], steady=False)
        lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, steady=upper <= STEADY * lower)


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, Timing]:
    """Time the calls of each candidate.

    A sample is as many calls in a row as fill ``SAMPLE_SECONDS``, after a rest and a call that
    is not counted. The order rotates from round to round.
    """
    repeats = {name: repeats_to_fill(call, SAMPLE_SECONDS) for name, call in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    started = time.perf_counter()
    for done in range(rounds):
        for name in names:
            samples[name].append(sample(candidates[name], repeats[name]))
        names.append(names.pop(0))
        if done + 1 >= FEWEST_ROUNDS and time.perf_counter() - started > MOST_SECONDS:
            break
    return {name: Timing.of(seconds) for name, seconds in samples.items()}


def sample(call: Callable[[], object], repeats: int) -> float:
    """Return the seconds of a call, one of several in a row, after a rest."""
    time.sleep(REST_SECONDS)
    call()
    return seconds_of(call, repeats)
