"""The disk cache of the kernels: it hits, and it is never stale."""

from __future__ import annotations

import ast
import compileall
import inspect
import os
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from fastbp.kernels.backprop.many_samples import passes
from fastbp.kernels.machine import borrowed_arrays
from support.kernel_copy import CALL, Copy
from support.processes import environment, run_program

import fastbp

# A callee that imports in every way there is, each time a zero.
CALLEE = """
from numba.extending import overload

from ..deeper import NOTHING
from ..machine.compile import kernel
from . import DEFAULT

OFFSET = 1.0

def lazy():
    return 0.0

@overload(lazy)
def _lazy():
    from ..later import LATER

    return lambda: LATER

@kernel
def weigh(value):
    "Weigh."
    return 10.0 * value + NOTHING + DEFAULT + lazy()
"""
FILES = {
    "other/callee.py": CALLEE,
    "other/__init__.py": "DEFAULT = 0.0",
    "deeper.py": "from .deepest import NOTHING",
    "deepest.py": "NOTHING = 0.0",
    "later.py": "LATER = 0.0",
    "unrelated.py": "VALUE = 0.0",
}
# File, what stands there, what shall, and the result; it was 31.
CHANGES = {
    "the kernel itself": ("caller.py", "result = OFFSET", "result = OFFSET + 1.0", 32.0),
    "the callee": ("other/callee.py", "10.0 *", "100.0 *", 301.0),
    "a constant": ("other/callee.py", "OFFSET = 1.0", "OFFSET = 2.0", 32.0),
    "an option": ("machine/compile.py", 'error_model="numpy"', 'error_model="python"', 31.0),
    "what the callee's import imports": ("deepest.py", "0.0", "1.0", 33.0),
    "what the callee's package holds": ("other/__init__.py", "0.0", "1.0", 33.0),
    "what an overload imports": ("later.py", "0.0", "1.0", 33.0),
}
HARMLESS = {
    "a comment above": ("caller.py", "@kernel", "# One of\n# two lines.\n\n@kernel"),
    "a comment at the callee": ("other/callee.py", "def weigh", "# A comment.\ndef weigh"),
    "a docstring": ("other/callee.py", '"Weigh."', '"Weigh in tens."'),
    "a new docstring": ("caller.py", "(values):", '(values):\n    """Add up."""'),
    "a docstring of a module": ("caller.py", "\nfrom .machine", '"""A file."""\n\nfrom .machine'),
    "an unrelated file": ("unrelated.py", "0.0", "1.0"),
}


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path)


@pytest.mark.long
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
def test_edit_of_the_vector_tile_recompiles_the_products(tmp_path):
    """Of the real files: the tile reaches the product only through numba's overloads."""
    copy = Copy(tmp_path, whole=True)
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
    copy.edit("simd/tile.py", "fma(factor, b_vectors[v],", "fma(factor, factor,")
    error, hits, _ = copy.call(program)
    assert error > 0
    assert hits == 0


@pytest.fixture
def manifold(copy) -> Copy:
    """Kernels whose callee imports in every way there is."""
    for name, text in FILES.items():
        copy.write(name, text)
    return copy


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_machine_code_misses(manifold, change):
    """Right results after the edit, and the old entry again after its return."""
    name, old, new, result = CHANGES[change]
    assert manifold.call_here() == (31.0, 0)
    manifold.edit(name, old, new)
    assert manifold.call_here() == (result, 0)
    assert manifold.call_here() == (result, 1)
    manifold.edit(name, new, old)
    assert manifold.call_here() == (31.0, 1)


@pytest.mark.parametrize("change", HARMLESS)
def test_what_changes_no_machine_code_hits(manifold, change):
    name, old, new = HARMLESS[change]
    assert manifold.call_here() == (31.0, 0)
    written = manifold.cached("*.total-*.nbc")
    manifold.edit(name, old, new)
    assert manifold.call_here() == (31.0, 1)
    assert manifold.cached("*.total-*.nbc") == written


def test_facts_of_the_machine_belong_to_the_key(copy, monkeypatch):
    """A constant of the callee's file that is not in its text."""
    copy.edit("other/callee.py", "OFFSET = 1.0", 'import os\nOFFSET = float(os.environ["OFFSET"])')
    for offset, expected in ("1", (31.0, 0)), ("2", (32.0, 0)), ("1", (31.0, 1)), ("2", (32.0, 1)):
        monkeypatch.setenv("OFFSET", offset)
        assert copy.call_here() == expected


def test_settings_of_numba_belong_to_the_key(copy, monkeypatch):
    assert copy.call_here() == (31.0, 0)
    monkeypatch.setattr(numba.config, "BOUNDSCHECK", 1)
    assert copy.call_here() == (31.0, 0)
    assert copy.call_here() == (31.0, 1)
    monkeypatch.undo()
    assert copy.call_here() == (31.0, 1)


def test_equal_sources_in_another_folder_use_the_same_entries(copy, tmp_path):
    assert copy.call_here() == (31.0, 0)
    assert Copy(tmp_path / "elsewhere", cache=copy.cache).call_here() == (31.0, 1)


@pytest.mark.long
def test_without_sources_nothing_is_kept(copy):
    """Nobody could tell whether an entry is stale: a folder of bytecode alone, as some ship."""
    compileall.compile_dir(copy.package, quiet=1, legacy=True)
    for source in copy.package.rglob("*.py"):
        source.unlink()
    assert copy.call() == copy.call() == (31.0, 0, 1)
    assert not copy.cached("caller*")


@pytest.mark.long
def test_without_numbas_private_names_there_is_no_disk_cache(copy):
    """Entries of the same sources are not used, none is written, the results are right."""
    assert copy.call() == (31.0, 0, 1)
    written = copy.cached("*.nb?")
    for name in ("_reduce", "_rebuild"):
        program = f"from numba.core import compiler\ndel compiler.CompileResult.{name}\n{CALL}"
        assert copy.call(program) == (31.0, 0, 1)
    copy.edit("other/callee.py", "10.0 *", "100.0 *")
    assert copy.call(program) == (301.0, 0, 1)
    assert copy.cached("*.nb?") == written


@pytest.mark.long
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
        net.parameters.flags.writeable = False  # as in a mapped file
        net.loss_and_gradients(x, y)
        net.parameters.flags.writeable = True


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


def test_no_overload_is_inlined_by_numba():
    """After that it removes as dead some writes to arrays that are fields of a named tuple."""
    for path in Path(borrowed_arrays.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "overload":
                assert not node.keywords, f"{path}:{node.lineno}"


@pytest.mark.long
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
