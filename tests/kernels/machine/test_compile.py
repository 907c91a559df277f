"""The disk cache of the kernels: it hits, and it is never stale."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastbp.kernels.backprop.many_samples import passes
from support.processes import copy_kernels, environment, run_program

import fastbp

# Two kernel files of our own beside the real ones: the caller takes a kernel and a constant
# from the other file, which lies in another folder.
CALLEE = """
from ..machine.compile import kernel

OFFSET = 1.0

@kernel
def weigh(value):
    return 10.0 * value
"""
CALLER = """
from .machine.compile import kernel
from .other.callee import OFFSET, weigh

@kernel(entry=True)
def total(values):
    result = OFFSET
    for k in range(values.size):
        result += weigh(values[k])
    return result
"""
CALL = """
import json
import numpy as np
from kernels.caller import total

result = total(np.array([1.0, 2.0]))
print(json.dumps([result, sum(total.stats.cache_hits.values()), len(total.signatures)]))
"""


class Copy:
    """The kernels and two small ones more in a folder with a disk cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = copy_kernels(folder)
        self.write("other/callee.py", CALLEE)
        self.write("caller.py", CALLER)
        self.env = environment(NUMBA_CACHE_DIR=str(folder / "cache"), PYTHONPATH=str(folder))

    def write(self, name: str, text: str) -> None:
        path = self.package / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.package / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def call(self, program: str = CALL) -> tuple[float, int, int]:
        """Result, hits of the disk cache and number of specialisations in a new process."""
        result, hits, signatures = json.loads(run_program(program, env=self.env, cwd=self.folder))
        return result, hits, signatures

    def cached(self, pattern: str) -> dict[str, bytes]:
        found = sorted((self.folder / "cache").rglob(pattern))
        return {path.name: path.read_bytes() for path in found}


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path)


def test_unchanged_sources_hit_the_disk_cache_and_edits_miss_it(copy):
    assert copy.call() == (31.0, 0, 1)
    written = copy.cached("*.nb?")
    assert any(name.startswith("caller.total") and name.endswith(".nbc") for name in written)
    assert copy.call() == (31.0, 1, 1)
    assert copy.cached("*.nb?") == written  # nothing was compiled, nothing was written

    copy.edit("other/callee.py", "10.0 *", "100.0 *")  # the caller's own file stays as it is
    assert copy.call() == (301.0, 0, 1)
    copy.edit("other/callee.py", "OFFSET = 1.0", "OFFSET = 2.0")
    assert copy.call() == (302.0, 0, 1)
    copy.edit("machine/compile.py", 'error_model="numpy"', 'error_model="python"')
    assert copy.call() == (302.0, 0, 1)
    copy.edit("machine/compile.py", 'error_model="python"', 'error_model="numpy"')
    copy.edit("other/callee.py", "OFFSET = 2.0", "OFFSET = 1.0")
    copy.edit("other/callee.py", "100.0 *", "10.0 *")
    assert copy.call() == (31.0, 1, 1)  # the old sources find their old entry


@pytest.mark.long
def test_edit_of_the_vector_tile_recompiles_the_products(copy):
    """Of the real files: the tile reaches the product only through numba's overloads."""
    program = """
    import json
    import numpy as np
    from kernels.machine.tickets import new_control
    from kernels.products.matmul import product

    a = np.arange(1.0, 7.0)
    c = np.empty(4)
    packed = np.empty(3 * 64)
    product(new_control(), 2, 2, 3, a, 3, 1, a, 2, 1, packed, c)
    expected = a.reshape(2, 3) @ a.reshape(3, 2)
    hits = sum(product.stats.cache_hits.values())
    print(json.dumps([float(np.abs(c - expected.ravel()).max()), hits, len(product.signatures)]))
    """
    assert copy.call(program) == (0.0, 0, 1)
    assert copy.call(program) == (0.0, 1, 1)
    copy.edit("simd/tile.py", "[factor, b_vectors[v], sums[r][v]]", "[factor, factor, sums[r][v]]")
    error, hits, _ = copy.call(program)
    assert error > 0
    assert hits == 0


def test_without_numbas_private_names_there_is_no_disk_cache(copy):
    """Entries of the same sources are not used, none is written, the results are right."""
    assert copy.call() == (31.0, 0, 1)
    written = copy.cached("*.nb?")
    for name in ("Cache._index_key", "FunctionCache"):
        # numba itself has imported before all that it needs.
        program = f"from numba.core import caching, ccallback\ndel caching.{name}\n{CALL}"
        assert copy.call(program) == (31.0, 0, 1)
    copy.edit("other/callee.py", "10.0 *", "100.0 *")
    assert copy.call(program) == (301.0, 0, 1)
    assert copy.cached("*.nb?") == written


@pytest.mark.skipif(os.name == "nt", reason="Windows asks its registry where the home is")
def test_without_a_folder_that_can_be_written_there_is_no_disk_cache(copy):
    """A file stands where numba would make each of its folders."""
    obstacle = copy.package / "__pycache__"
    obstacle.write_text("")
    copy.env |= {"HOME": str(obstacle), "XDG_CACHE_HOME": str(obstacle)}
    del copy.env["NUMBA_CACHE_DIR"]
    assert copy.call() == (31.0, 0, 1)
    assert not list(copy.folder.rglob("*.nb?"))


# ---- specialisations ----


def specialisations(dispatcher: Any, argument: str, element: np.dtype) -> int:
    """How often a kernel has been compiled in this process for one type of an argument."""
    place = list(inspect.signature(dispatcher.py_func).parameters).index(argument)
    return sum(str(s[place].dtype) == str(element) for s in dispatcher.signatures)


def run_a_network(dtype: np.dtype, loss: str, **options: object) -> None:
    net = fastbp.Network.random([3, 4, 2], dtype=dtype, loss=loss, **options)
    columns = net.layout == "book"
    for batch in (1, 2, 5):
        x = np.ones((3, batch) if columns else (batch, 3), dtype)
        y = np.zeros((2, batch) if columns else (batch, 2), dtype)
        if loss == "softmax_cross_entropy":
            y = np.zeros(batch, np.int64)
        frozen = x.copy()
        frozen.flags.writeable = False
        for same in (x, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1], frozen):
            net.forward(same)
            net.loss(same, y)
            net.loss_and_gradients(same, y)
            net.loss_and_gradients(same, y, inputs=False)
        frozen_y = y.copy()
        frozen_y.flags.writeable = False
        net.loss_and_gradients(x, frozen_y)


@pytest.mark.parametrize("name", ["float64", "float32"])
def test_one_specialisation_for_each_type_of_number(name):
    """Constants, flags, batches, layouts, strides and losses run through the same machine code."""
    dtype = np.dtype(name)
    run_a_network(dtype, "least_squares")
    run_a_network(dtype, "softmax_cross_entropy", layout="torch")
    run_a_network(dtype, "sigmoid_cross_entropy", layout="keras", relu_at_zero=0.5)
    run_a_network(dtype, "least_squares", weight_decay=0.1, scale=0.5, reduction="mean")
    run_a_network(dtype, "least_squares", weight_decay=1, scale=2, relu_at_zero=1)
    assert specialisations(passes, "parameters", dtype) == 1


def test_a_new_process_finds_the_librarys_kernels_on_disk():
    run_a_network(np.dtype("float64"), "least_squares")
    program = """
    import numpy as np
    import fastbp
    from fastbp.kernels.backprop.many_samples import passes

    fastbp.Network.random([2, 3, 1]).loss(np.ones((2, 4)), np.ones((1, 4)))
    print(sum(passes.stats.cache_hits.values()), sum(passes.stats.cache_misses.values()))
    """
    assert run_program(program, env=environment()) == "1 0\n"
