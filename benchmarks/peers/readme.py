"""The paragraph of the README with times: a first and a later run, and the loop over entries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import NamedTuple

from ..clock import seconds_of
from ..common import spread_entries
from . import peer_numpy
from .machine import processor_name
from .problem import Problem

NETWORK, BATCH = "64-128-128-10", 64
DELTA = 1e-6
LOOPED = 300  # entries that are looped over, of all

COMMAND = "python -m benchmarks.peers"
BEGIN = "<!-- peers: begin. Written by `python -m benchmarks.peers --readme README.md`. -->"
END = "<!-- peers: end -->"
BLOCK = re.compile(r"<!-- peers: begin\b.*?-->.*?<!-- peers: end -->", re.DOTALL)

# A process of its own, since what it takes to start counts: import, check, and check again.
TIMED = """
import json, statistics, sys, time
start = time.perf_counter()
import numpy as np
import fastbp

random = np.random.default_rng(0)
net = fastbp.Network.random([64, 128, 128, 10], seed=0)
batch = int(sys.argv[1])
x, y = random.standard_normal((64, batch)), random.standard_normal((10, batch))
assert fastbp.check_network(net, x, y, progress=False)
started = time.perf_counter() - start
times = []
for _ in range(11):
    start = time.perf_counter()
    fastbp.check_network(net, x, y, progress=False)
    times.append(time.perf_counter() - start)
print(json.dumps([started, statistics.median(times)]))
"""


class Times(NamedTuple):
    """Seconds: of a first and a later process up to its first check, of a check, of the loop."""

    first: float
    later: float
    check: float
    loop: float


def measure() -> Times:
    """Measure on this machine: under a minute, most of which the first process compiles."""
    with tempfile.TemporaryDirectory() as cache:
        first, _ = _in_a_process(cache)
        later, check = _in_a_process(cache)
    problem = Problem(NETWORK, BATCH)
    loop = peer_numpy.Replay(problem, spread_entries(problem.entries, LOOPED), DELTA)
    loop()
    return Times(first, later, check, seconds_of(loop) / LOOPED * problem.entries)


def _in_a_process(cache: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", TIMED, str(BATCH)],
        env=os.environ | {"NUMBA_CACHE_DIR": cache},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    started, check = json.loads(done.stdout)
    return started, check


def paragraph(times: Times, processor: str, threads: int) -> str:
    """Return the block, marks included.

    Examples
    --------
    >>> print(paragraph(Times(21.3, 0.512, 0.0123, 7.04), "a processor", 2))  # doctest: +ELLIPSIS
    <!-- peers: begin. ...
    On 2 cores of a processor, the check of 26 122 parameters with a batch of 64 takes 0.012 s, the
    loop of two losses for each parameter in NumPy 7.0 s. The first process on a machine, which
    compiles, is ready with it after 21 s; every later one after 0.51 s, imports included.
    `python -m benchmarks.peers` measures more, on your machine.
    <!-- peers: end -->
    """
    cores = "one core" if threads == 1 else f"{threads} cores"
    said = (
        f"On {cores} of {processor}, the check of 26 122 parameters with a batch of {BATCH} takes "
        f"{_two_digits(times.check)} s, the loop of two losses for each parameter in NumPy "
        f"{_two_digits(times.loop)} s. The first process on a machine, which compiles, is ready "
        f"with it after {_two_digits(times.first)} s; every later one after "
        f"{_two_digits(times.later)} s, imports included. `{COMMAND}` measures "
        "more, on your machine."
    )
    whole = said.replace(COMMAND, COMMAND.replace(" ", "\xa0"))  # no line ends within the command
    lines = [line.replace("\xa0", " ") for line in textwrap.wrap(whole, 96)]
    return "\n".join([BEGIN, *lines, END])


def write_block(path: Path, threads: int) -> str:
    """Measure, and put the block into a file in place of the one there; return it.

    Raises
    ------
    ValueError
        If the file has no such block, before anything is measured.
    """
    text = path.read_text(encoding="utf-8")
    if len(BLOCK.findall(text)) != 1:
        raise ValueError(f"{path} has no block between <!-- peers: begin --> and {END}.")
    block = paragraph(measure(), processor_name(), threads)
    path.write_text(BLOCK.sub(lambda _: block, text), encoding="utf-8")
    return block


def _two_digits(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 9.95 else f"{float(f'{seconds:.2g}'):#.2g}"
