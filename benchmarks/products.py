"""One product of two matrices, by the kernel and by np.matmul, each into an array of its own."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .common import Array

# asv runs this file against old commits too: where each name is today, then where it was before.
PLACES = {
    "product": ("fastbp.kernels.products.matmul", "fastbp.kernels.matmul"),
    "panel_width": ("fastbp.kernels.simd.vectors", "fastbp.kernels.simd"),
    "new_control": ("fastbp.kernels.machine.tickets", "fastbp.kernels.team"),
    "run_team": ("fastbp.runtime.threads", "fastbp.threads"),
}


def find(name: str) -> Any:
    """Import an internal name from the first of its places that has it."""
    for place in PLACES[name]:
        try:
            return getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"{name} is in none of {', '.join(PLACES[name])}.")


product, panel_width, new_control, run_team = map(find, PLACES)

LINE_BYTES = 64
FORMS = ("A B", "A^T B", "A B^T")


def aligned(size: int, dtype: str) -> Array:
    """Return an array that begins at a line of the cache, as scratch memory of the library does.

    Without it, chance decides in each process: vectors that lie across two lines cost a product
    of 1024 x 1024 up to 6 %, one of 256 x 256 a third.
    """
    whole = np.empty(size + LINE_BYTES, dtype)
    shift = -whole.ctypes.data % LINE_BYTES // whole.itemsize
    return whole[shift : shift + size]


class Product:
    """C (m, n) = A (m, depth) B (depth, n), where A^T or B^T may be what lies in memory."""

    def __init__(self, form: str, m: int, n: int, depth: int, dtype: str) -> None:
        rng = np.random.default_rng(0)
        self.operations = 2.0 * m * n * depth
        a = rng.standard_normal((depth, m) if form == "A^T B" else (m, depth)).astype(dtype)
        b = rng.standard_normal((n, depth) if form == "A B^T" else (depth, n)).astype(dtype)
        self.a = a.T if form == "A^T B" else a
        self.b = b.T if form == "A B^T" else b
        self.c = aligned(m * n, dtype).reshape(m, n)
        width = panel_width(a)
        packed = aligned(-(-n // width) * width * depth, dtype)  # whole panels
        strides = [
            stride // a.itemsize for operand in (self.a, self.b) for stride in operand.strides
        ]
        self.arguments = (
            m, n, depth, a.ravel(), *strides[:2], b.ravel(), *strides[2:], packed, self.c.ravel(),
        )  # fmt: skip
        self.control = new_control()

    def on_one_core(self) -> Array:
        """Compute C in the calling thread."""
        self.control[:] = 0
        product(self.control, *self.arguments)
        return self.c

    def on_all_threads(self) -> Array:
        """Compute C on as many threads as the library would give it."""
        run_team(product, self.arguments, self.operations)
        return self.c

    def in_numpy(self) -> Array:
        """Compute C by np.matmul."""
        return np.matmul(self.a, self.b, out=self.c)
