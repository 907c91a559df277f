"""One product of two matrices, by the kernel and by np.matmul, each into an array of its own."""

from __future__ import annotations

import numpy as np
from fastbp.kernels.matmul import product
from fastbp.kernels.simd import panel_width
from fastbp.kernels.team import new_control

from fastbp.threads import run_team

from .common import Array

FORMS = ("A B", "A^T B", "A B^T")


class Product:
    """C (m, n) = A (m, depth) B (depth, n), where A^T or B^T may be what lies in memory."""

    def __init__(self, form: str, m: int, n: int, depth: int, dtype: str) -> None:
        rng = np.random.default_rng(0)
        self.m, self.n, self.depth = m, n, depth
        a = rng.standard_normal((depth, m) if form == "A^T B" else (m, depth)).astype(dtype)
        b = rng.standard_normal((n, depth) if form == "A B^T" else (depth, n)).astype(dtype)
        self.a = a.T if form == "A^T B" else a
        self.b = b.T if form == "A B^T" else b
        self.c = np.empty((m, n), dtype)
        self.flat_a, self.flat_b = a.ravel(), b.ravel()
        width = panel_width(a)
        self.packed = np.empty(-(-n // width) * width * depth, dtype)  # whole panels
        self.strides = [
            stride // a.itemsize for operand in (self.a, self.b) for stride in operand.strides
        ]
        self.control = new_control()

    def on_one_core(self) -> Array:
        """Compute C in the calling thread."""
        self.control[:] = 0
        self._run(self.control)
        return self.c

    def on_all_threads(self) -> Array:
        """Compute C on as many threads as the library would give it."""
        run_team(self._run, 2.0 * self.m * self.n * self.depth)
        return self.c

    def in_numpy(self) -> Array:
        """Compute C by np.matmul."""
        return np.matmul(self.a, self.b, out=self.c)

    def _run(self, control: np.ndarray) -> None:
        a_row, a_column, b_row, b_column = self.strides
        product(
            self.m, self.n, self.depth, self.flat_a, a_row, a_column, self.flat_b, b_row, b_column,
            control, self.packed, self.c.reshape(-1),
        )  # fmt: skip
