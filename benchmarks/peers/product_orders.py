"""The order in which a product walks its operands: the one chosen here, beside the other one.

The order is compiled into the kernels, so each is timed in a process of its own, in turn.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from fastbp.kernels.machine.product_order import ENVIRONMENT, PANEL, STRIP
from fastbp.kernels.products.matmul import PANEL_STAYS

from ..clock import repeats_to_fill, seconds_of
from ..products import Product
from .report import Section, ratio
from .timing_process import TimingProcess, answer_requests

SIZES = (256, 512, 1024)
SAMPLE_SECONDS = 0.1


def compare_orders(sizes: Iterable[int], dtypes: Sequence[str], rounds: int) -> Section:
    """Time A B on one core with a panel of B in the L1 cache, and with a strip of A."""
    chosen = PANEL if PANEL_STAYS else STRIP
    section = Section("Orders of a product, one core", ["product", "panel stays / strip stays"])
    cases = [(n, dtype) for dtype in dtypes for n in sizes]
    workers = {order: TimingProcess(__name__, **{ENVIRONMENT: order}) for order in (PANEL, STRIP)}
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


def _seconds(n: str, dtype: str) -> float:
    call = Product("A B", int(n), int(n), int(n), dtype).on_one_core
    call()
    return seconds_of(call, repeats_to_fill(call, SAMPLE_SECONDS))


if __name__ == "__main__":
    answer_requests(_seconds)
