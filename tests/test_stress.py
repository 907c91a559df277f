"""Large networks, whole: a correct gradient passes, one changed entry is found and named."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.long

GIGABYTE = 10**9
# Parameters and a given gradient, 8 bytes each, of four square layers; the rest is for the work.
LARGEST, FOR_THE_WORK = 16 * GIGABYTE, 2 * GIGABYTE


def available_bytes() -> float:
    """What the system can still give, as Linux tells it."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return 0.0
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return 1024.0 * int(fields["MemAvailable"].split()[0])


def require_enough_memory(needed: float) -> None:
    if available_bytes() < needed:
        pytest.skip(
            f"needs {needed / GIGABYTE:.1f} GB of memory, but only "
            f"{available_bytes() / GIGABYTE:.1f} GB are available"
        )


def assert_checked(
    sizes: list[int], batch: int, loss: str = "least_squares", *, entry: float = 0.37
) -> fastbp.Report:
    """Check the backward pass, then the same with one entry off by a thousandth of the largest."""
    parameters = sum((i + 1) * o for i, o in pairwise(sizes))
    activations = sum(sizes) * max(batch, 16)
    require_enough_memory(2 * 8 * parameters + 64 * activations + FOR_THE_WORK)
    net = fastbp.Network.random(sizes, seed=0, loss=loss)
    assert net.parameters.size == parameters
    rng = np.random.default_rng(1)
    x = rng.standard_normal((sizes[0], batch))
    if loss == "softmax_cross_entropy":
        y = rng.integers(0, sizes[-1], batch)
    else:
        y = rng.standard_normal((sizes[-1], batch))
    _, given = net.loss_and_gradients(x, y, inputs=False)
    report = fastbp.check_network(net, x, y, given, progress=False)
    assert report.verdict == "passed", str(report)
    wrong = int(entry * parameters)
    size = max(float(np.abs(part).max()) for part in given.weights)
    given.flat[wrong] += 1e-3 * size
    report = fastbp.check_network(net, x, y, given, progress=False)
    assert report.verdict == "failed"
    assert sum(row.wrong for row in report.arrays) == 1
    found = report.failures[0]
    names, arrays = net.parameter_names(), net.arrays()
    ends = np.cumsum([array.size for array in arrays])
    array = int(np.searchsorted(ends, wrong, side="right"))
    assert found.array == names[array]
    inside = wrong - (ends[array] - arrays[array].size)
    assert found.index == tuple(int(i) for i in np.unravel_index(inside, arrays[array].shape))
    return report


def test_67_million_entries():
    report = assert_checked([*[4096] * 5, 10], 16)
    assert sum(row.entries for row in report.arrays) == 67_166_218


def test_65_536_inputs():
    assert_checked([65_536, 256, 128, 10], 32)


def test_200_layers():
    assert_checked([*[64] * 201, 10], 64)


@pytest.mark.parametrize("batch", [1, 4096])
def test_a_batch_of(batch):
    assert_checked([784, 512, 512, 10], batch)


def test_10_000_classes():
    assert_checked([64, 256, 10_000], 48, "softmax_cross_entropy")


@pytest.mark.skipif(
    "FASTBP_TEST_LARGEST" not in os.environ,
    reason="five minutes: FASTBP_TEST_LARGEST=1 asks for it",
)
def test_the_largest_network_in_16_gigabytes():
    require_enough_memory(LARGEST)
    width = math.isqrt(int((LARGEST - FOR_THE_WORK) / 16 / 4))
    assert_checked([*[width] * 5, 10], 2, entry=0.9)
