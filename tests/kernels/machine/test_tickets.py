"""Tickets: every one is drawn and done once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fastbp.kernels.machine.tickets import DONE, DRAWN, NON_FINITE, STOP, new_control
from fastbp.kernels.products.matmul import (
    BLOCK_ROWS,
    DEPTH,
    GROUP,
    product,
)
from fastbp.kernels.simd.vectors import panel_width
from support.kernel_arrays import DTYPES, GUARD

# ---- products ----

WIDTHS = sorted({panel_width(np.empty(0, dtype)) for dtype in DTYPES})


# ---- tickets ----


class TeamWork:
    """One product whose control block we hold: A (m, depth) of ones, B (depth, n) of twos."""

    def __init__(self, m: int, n: int, depth: int) -> None:
        self.control = new_control()
        width = panel_width(np.empty(0))
        self.c = np.full(m * n, GUARD)
        packed = np.empty(-(-n // width) * depth * width)
        a, b = np.ones(m * depth), np.full(depth * n, 2.0)
        self.arguments = (m, n, depth, a, depth, 1, b, n, 1, packed, self.c)
        row_blocks, column_blocks = -(-m // BLOCK_ROWS), -(-n // (GROUP * width))
        self.blocks = -(-depth // DEPTH) + row_blocks * column_blocks
        self.expected = 2.0 * depth

    def join(self) -> None:
        """What each thread of the team does."""
        product(self.control, *self.arguments)


@pytest.mark.parametrize("members", [1, 2, 8])
def test_every_ticket_is_drawn_and_done_once(members):
    for _ in range(30):
        work = TeamWork(3 * BLOCK_ROWS + 1, 2 * GROUP * max(WIDTHS) + 1, 2 * DEPTH + 1)
        together = threading.Barrier(members)

        def join(work=work, together=together):
            together.wait()
            work.join()
            assert np.all(work.c == work.expected)  # whoever leaves finds all of it done

        with ThreadPoolExecutor(members) as pool:
            for future in [pool.submit(join) for _ in range(members)]:
                future.result()
        assert work.control[DONE] == work.blocks
        assert work.control[DRAWN] >= work.blocks + members  # each draws one that is no block
        assert work.control[STOP] == work.control[NON_FINITE] == 0


@pytest.mark.small
def test_one_thread_alone_does_everything():
    work = TeamWork(BLOCK_ROWS + 1, 5, 7)
    work.join()
    assert np.all(work.c == work.expected)
    assert work.control[DONE] == work.blocks


@pytest.mark.small
def test_a_late_thread_does_nothing():
    work = TeamWork(BLOCK_ROWS + 1, 5, 7)
    work.join()
    work.c[:] = GUARD
    work.join()
    assert np.all(work.c == GUARD)
    assert work.control[DONE] == work.blocks


@pytest.mark.small
def test_a_stopped_team_computes_nothing_and_ends():
    work = TeamWork(BLOCK_ROWS + 1, 5, 7)
    work.control[STOP] = 1
    work.join()
    assert np.all(work.c == GUARD)
    assert work.control[DONE] == work.blocks
