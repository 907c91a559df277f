"""Parameters in a memory-mapped file: nothing is copied, nothing is written."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import environment, run_program

import fastbp

SIZES = [5, 7, 6, 3]


def mapped(file: Path, net: fastbp.Network, mode: str = "r") -> tuple[Any, list[Any], list[Any]]:
    """Write the parameters of a network to a file and map it: the vector, weights and biases."""
    net.parameters.tofile(file)
    vector = np.memmap(file, dtype=net.dtype, mode=mode)
    views = net.unflatten(vector)
    return vector, list(views.weights), list(views.biases or ())


@pytest.mark.small
@pytest.mark.parametrize("mode", ["r", "c", "r+"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_mapped_vector_is_taken_as_it_is(tmp_path: Path, dtype: type, mode: str) -> None:
    own = fastbp.Network.random(SIZES, dtype=dtype)
    vector, weights, biases = mapped(tmp_path / "parameters", own, mode)
    net = fastbp.Network(weights, biases)
    assert net.parameters.ctypes.data == vector.ctypes.data
    assert not net.parameters.flags.writeable
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 4)).astype(dtype), random.normal(size=(3, 4)).astype(dtype)
    loss, gradients = net.loss_and_gradients(x, y)
    expected, others = own.loss_and_gradients(x, y)
    assert loss == expected
    assert gradients.flat.tobytes() == others.flat.tobytes()
    for method in ("certified", "exact", "replay"):
        reports = [fastbp.check_network(one, x, y, method=method, seed=1) for one in (net, own)]
        assert reports[0].arrays == reports[1].arrays
    assert (tmp_path / "parameters").read_bytes() == own.parameters.tobytes()


@pytest.mark.small
def test_gradients_may_be_mapped_too(tmp_path: Path) -> None:
    net = fastbp.Network.random(SIZES)
    x, y = np.ones((5, 4)), np.ones((3, 4))
    _, gradients = net.loss_and_gradients(x, y)
    gradients.flat[7] += 1.0
    gradients.flat.tofile(tmp_path / "gradients")
    given = np.memmap(tmp_path / "gradients", dtype=np.float64, mode="r")
    report = fastbp.check_network(net, x, y, given, seed=1)
    assert report.failures == fastbp.check_network(net, x, y, gradients.flat, seed=1).failures
    assert [failure.where for failure in report.failures] == ["weights[0][1, 2]"]


@pytest.mark.small
@pytest.mark.parametrize("what", ["another order", "a gap", "columns first", "two files", "odd"])
def test_arrays_that_do_not_lie_one_after_the_other_are_copied(tmp_path: Path, what: str) -> None:
    own = fastbp.Network.random([4, 4, 4])
    _, weights, biases = mapped(tmp_path / "parameters", own)
    if what == "another order":
        weights.reverse()
        biases.reverse()
    elif what == "a gap":
        biases[0] = np.array(biases[0])
    elif what == "columns first":
        weights[1] = weights[1].T
    elif what == "two files":
        _, others, _ = mapped(tmp_path / "others", own)
        weights[1] = others[1]
    else:
        (tmp_path / "odd").write_bytes(b"x" + own.parameters.tobytes())
        vector = np.memmap(tmp_path / "odd", dtype=np.float64, mode="r", offset=1)
        views = own.unflatten(vector)
        weights, biases = list(views.weights), list(views.biases)
    net = fastbp.Network(weights, biases)
    assert net.parameters.flags.writeable
    for found, given in zip(net.weights, weights, strict=True):
        np.testing.assert_array_equal(found, given)


PROGRAM = """
import resource, sys
import numpy as np
import fastbp

fastbp.set_num_threads(1)
few = fastbp.Network.random([3, 4, 2])
x, y = np.ones((3, 4)), np.ones((2, 4))
fastbp.check_network(few, x, y, few.loss_and_gradients(x, y)[1], seed=1)  # compiles
folder, rooms = sys.argv[1], int(sys.argv[2])
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line[:6] == "VmData")
resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + rooms, resource.RLIM_INFINITY))
sizes = [2000, 4000, 3000, 20]
shapes = [(o, i) for i, o in zip(sizes, sizes[1:])]
vector = np.memmap(f"{folder}/parameters", dtype=np.float64, mode="r")
try:
    vector.copy()
    print("there is room for a copy")
except MemoryError:
    pass
weights, at = [], 0
for shape in shapes:
    weights.append(vector[at : at + shape[0] * shape[1]].reshape(shape))
    at += shape[0] * shape[1]
net = fastbp.Network(weights)
given = np.memmap(f"{folder}/gradients", dtype=np.float64, mode="r")
x, y = np.load(f"{folder}/x.npy"), np.load(f"{folder}/y.npy")
report = fastbp.check_network(net, x, y, given, seed=1, max_memory=2**24)
print(report.verdict, [failure.where for failure in report.failures])
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on private memory is Linux's")
def test_a_network_larger_than_private_memory_is_checked(tmp_path: Path) -> None:
    """160 MB of parameters and as many of gradients, with 96 MB for all that is not mapped."""
    random = np.random.default_rng(0)
    sizes = [2000, 4000, 3000, 20]
    weights = [random.normal(size=(o, i)) / np.sqrt(i) for i, o in pairwise(sizes)]
    net = fastbp.Network(weights)
    x, y = random.normal(size=(2000, 8)), random.normal(size=(20, 8))
    _, gradients = net.loss_and_gradients(x, y)
    gradients.weights[1][17, 23] += 1.0
    net.parameters.tofile(tmp_path / "parameters")
    gradients.flat.tofile(tmp_path / "gradients")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    printed = run_program(PROGRAM, str(tmp_path), str(96 * 2**20), env=environment())
    assert printed.strip() == "failed ['weights[1][17, 23]']"
