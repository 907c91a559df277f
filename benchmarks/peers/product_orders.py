"""The order in which a product walks its operands: the one chosen here, beside the other one.

The order is compiled into the kernels, so each is timed in a process of its own, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence

from fastbp.kernels.machine.product_order import ENVIRONMENT, PANEL, STRIP
from fastbp.kernels.products.matmul import PANEL_STAYS

from ..clock import repeats_to_fill, seconds_of
from ..products import Product
from .report import Section, ratio

SIZES = (256, 512, 1024)
SAMPLE_SECONDS = 0.1


def compare_orders(sizes: Iterable[int], dtypes: Sequence[str], rounds: int) -> Section:
    """Time A B on one core with a panel of B in the L1 cache, and with a strip of A."""
    chosen = PANEL if PANEL_STAYS else STRIP
    section = Section("Orders of a product, one core", ["product", "panel stays / strip stays"])
    cases = [(n, dtype) for dtype in dtypes for n in sizes]
    workers = {order: _Worker(order) for order in (PANEL, STRIP)}
    try:
        for n, dtype in cases:
            ratios = [
                workers[PANEL].seconds(n, dtype) / workers[STRIP].seconds(n, dtype)
                for _ in range(rounds)
            ]
            section.rows.append([f"A B, {n}, {dtype}", ratio(statistics.median(ratios))])
    finally:
        for worker in workers.values():
            worker.close()
    section.notes.append(
        f"Chosen from the size of the L1 cache: a {chosen} stays ({ENVIRONMENT} forces it)."
    )
    return section


class _Worker:
    """A process that times products in one order."""

    def __init__(self, order: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env={**os.environ, ENVIRONMENT: order},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, n: int, dtype: str) -> float:
        """Let it time one product."""
        requests, answers = self._process.stdin, self._process.stdout
        print(n, dtype, file=requests, flush=True)
        line = "" if answers is None else answers.readline()
        if not line:
            raise RuntimeError(f"the process that times products of {n}, {dtype}, has ended.")
        return float(line)

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def answer_requests() -> None:
    """Read sizes and types of products from standard input, write the seconds of each."""
    for line in sys.stdin:
        n, dtype = line.split()
        call = Product("A B", int(n), int(n), int(n), dtype).on_one_core
        call()
        print(seconds_of(call, repeats_to_fill(call, SAMPLE_SECONDS)), flush=True)


if __name__ == "__main__":
    answer_requests()
