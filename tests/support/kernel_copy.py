"""A copy of the kernels with a few small ones of our own, whose disk cache can be tried out."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numba
import numpy as np
from support.processes import copy_kernels, environment, run_program

# Beside the real ones: the caller takes a kernel and a constant from a file in another folder.
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
import shutil
import numpy as np
from kernels.caller import total

result = total(np.array([1.0, 2.0]))
print(json.dumps([result, sum(total.stats.cache_hits.values()), len(total.signatures)]))
"""


class Copy:
    """The kernels' machinery and two small kernels in a folder, by default with a cache in it."""

    def __init__(self, folder: Path, cache: Path | None = None, whole: bool = False) -> None:
        self.folder = folder
        self.cache = cache or folder / "cache"
        self.package = copy_kernels(folder)
        if not whole:
            for part in self.package.iterdir():
                if part.is_dir() and part.name != "machine":
                    shutil.rmtree(part)
        self.write("other/callee.py", CALLEE)
        self.write("caller.py", CALLER)
        self.env = environment(NUMBA_CACHE_DIR=str(self.cache), PYTHONPATH=str(folder))

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

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Import the copy anew, in this process, with its own disk cache."""

        def forget() -> None:
            for name in [name for name in sys.modules if name.partition(".")[0] == "kernels"]:
                del sys.modules[name]

        with (
            mock.patch.object(numba.config, "CACHE_DIR", str(self.cache)),
            mock.patch.object(sys, "path", [str(self.folder), *sys.path]),
            mock.patch.object(sys, "dont_write_bytecode", True),  # two edits in one second
        ):
            forget()
            try:
                yield
            finally:
                forget()

    def call_here(self) -> tuple[float, int]:
        """Result and hits of the disk cache with kernels that are imported anew."""
        with self.imported():
            from kernels.caller import total

            return total(np.array([1.0, 2.0])), sum(total.stats.cache_hits.values())

    def cached(self, pattern: str) -> dict[str, bytes]:
        found = sorted(self.cache.rglob(pattern))
        return {path.name: path.read_bytes() for path in found}
