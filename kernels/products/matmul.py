"""Blocked products over flat arrays, and how their operands are packed.

The right operand B comes as panels of NR lanes: ``b[panel, p, lane]``, packed, or a matrix whose
rows are contiguous, read where it stands.
The left operand A is addressed by two strides.  Strips of MR rows of it are packed first, unless
they are used once or twice only, so that the tile reads one contiguous run.  A block of C is
computed by one thread, over p in blocks of ``DEPTH`` in a fixed order, so that the bits do not
depend on who computes it, nor on which operand stays in the nearest cache (``product_order.py``).
"""

from __future__ import annotations

import numpy as np

from ..machine.cache_sizes import L1_BYTES
from ..machine.compile import kernel
from ..machine.product_order import panel_stays
from ..machine.tickets import draw_ticket, next_ticket, wait_until_done
from ..simd.moves import copy_run
from ..simd.tile import multiply_rows, multiply_strip
from ..simd.vectors import MR, VECTOR_BYTES, VECTORS, panel_width, panels_of, square_width
from .packing import pack_panels, pack_strips

DEPTH = 256  # rows of B in one pass
PANEL_STAYS = panel_stays(DEPTH * VECTORS * VECTOR_BYTES)
BLOCK_ROWS = 8 * MR  # rows of C in one block: 8 strips of A share each panel
PANELS_WORTH_PACKING = 4
ROWS_WITHOUT_PACKING = 2 * MR  # packing a panel costs as much as three strips of a product
GROUP = 32  # panels of one block: they share the packed strips of A


@kernel(inline=True)
def strips_of(rows):
    """Count the strips of so many rows: of MR, then of two, then of one."""
    rest = rows % MR
    return rows // MR + rest // 2 + rest % 2


@kernel(inline=True)
def strip_start(strip, rows):
    """First row of a strip."""
    whole = rows // MR
    if strip <= whole:
        return strip * MR
    return whole * MR + (strip - whole) * 2


@kernel(inline=True)
def strip_height(start, rows):
    """Rows of the strip that starts there."""
    if rows - start >= MR:
        return MR
    return min(2, rows - start)


@kernel(inline=True)
def strips_size(rows, depth):
    """Scratch for the strips that a block of so many rows may need."""
    return panels_of(min(rows, BLOCK_ROWS), MR) * MR * min(depth, DEPTH)


@kernel
def multiply_block(
    rows, panels, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, b_panel,
    strips, c, c_at, c_row, c_panel,
):  # fmt: skip
    """Compute C = A B for ``rows`` rows and ``panels`` whole panels.

    Shapes: A (rows, depth) with strides a_row, a_column; B panels b_panel apart, each
    (depth, NR) with rows b_row apart; C row r of panel q at c_at + r c_row + q c_panel,
    overwritten; ``strips`` scratch of ``strips_size``.
    """
    width = panel_width(b)
    if depth == 0:
        for panel in range(panels):
            for r in range(rows):
                for lane in range(width * vectors // VECTORS):
                    c[c_at + r * c_row + panel * c_panel + lane] = 0
    packs = vectors == VECTORS and rows >= MR and panels >= PANELS_WORTH_PACKING
    for first in range(0, depth, DEPTH):
        depth_now = min(DEPTH, depth - first)
        a_first = a_at + first * a_column
        if packs:
            pack_strips(rows // MR, depth_now, a, a_first, a_row, a_column, strips)
        add_products(
            packs, rows, panels, vectors, first, depth_now, a, a_first, a_row, a_column,
            b, b_at, b_row, b_panel, strips, c, c_at, c_row, c_panel,
        )  # fmt: skip


@kernel
def add_products(
    packed, rows, panels, vectors, first, depth, a, a_at, a_row, a_column,
    b, b_at, b_row, b_panel, strips, c, c_at, c_row, c_panel,
):  # fmt: skip
    """Add the products of ``depth`` columns of A, from column ``first`` on, to C.

    Shapes as in `multiply_block`, with A from that column on. C is overwritten by the first
    columns; where ``packed``, whole strips of A are read from ``strips``.
    """
    width = panel_width(b)
    count = strips_of(rows)
    share = depth * width // count  # of the next panel, asked for beside each strip
    for turn in range(count * panels):
        strip = turn % count if PANEL_STAYS else turn // panels
        panel = turn // count if PANEL_STAYS else turn % panels
        r = strip_start(strip, rows)
        b_here = b_at + panel * b_panel + first * b_row
        to = c_at + r * c_row + panel * c_panel
        if packed and r + MR <= rows:
            multiply_strip(
                depth, strips, r * depth,
                b, b_here, b_row, b_here + b_panel + strip * share, c, to, c_row, first,
            )  # fmt: skip
        else:
            multiply_rows(
                strip_height(r, rows), vectors, depth,
                a, a_at + r * a_row, a_row, a_column, b, b_here, b_row, c, to, c_row, first,
            )  # fmt: skip


@kernel
def multiply_twice(
    rows, panels, vectors, depth, a, a_at, a_row, a_column, strips, b, b_at, b_panel, c, c_at,
    c_panel, other, other_at, result, result_at, apart,
):  # fmt: skip
    """Compute C = A B and R = A O for the same rows of A, which are packed once.

    Shapes as in `multiply_block`, the rows of all panels NR apart; panels of O and of R are
    ``apart`` from each other. The same bits as by `multiply_block`, without whose packing the
    columns of A, where they are not contiguous, would be fetched from afar for each operand.
    """
    width = panel_width(b)
    packs = vectors == VECTORS and rows >= MR
    packs = packs and (panels >= PANELS_WORTH_PACKING or a_column > DEPTH)
    for first in range(0, depth, DEPTH):
        depth_now = min(DEPTH, depth - first)
        a_first = a_at + first * a_column
        if packs:
            pack_strips(rows // MR, depth_now, a, a_first, a_row, a_column, strips)
        add_products(
            packs, rows, panels, vectors, first, depth_now, a, a_first, a_row, a_column,
            b, b_at, width, b_panel, strips, c, c_at, width, c_panel,
        )  # fmt: skip
        add_products(
            packs, rows, panels, vectors, first, depth_now, a, a_first, a_row, a_column,
            other, other_at, width, apart, strips, result, result_at, width, apart,
        )  # fmt: skip


@kernel
def multiply_into_matrix(
    rows, columns, depth, a, a_at, a_row, a_column, b, b_at, b_row, b_panel,
    strips, edge, c, c_at, c_row,
):  # fmt: skip
    """Compute C = A B into an ordinary matrix, whose last panel need not be whole.

    ``edge`` is scratch of rows * NR for that last panel.
    """
    width = panel_width(b)
    whole = columns // width
    multiply_block(
        rows, whole, VECTORS, depth, a, a_at, a_row, a_column, b, b_at, b_row, b_panel,
        strips, c, c_at, c_row, width,
    )  # fmt: skip
    rest = columns - whole * width
    if rest > 0:
        vectors = 1 if rest * VECTORS <= width else VECTORS
        multiply_block(
            rows, 1, vectors, depth, a, a_at, a_row, a_column,
            b, b_at + whole * b_panel, b_row, b_panel, strips, edge, 0, width, 0,
        )  # fmt: skip
        for r in range(rows):
            copy_run(rest, edge, r * width, c, c_at + r * c_row + whole * width)


@kernel(inline=True)
def columns_in_place(m, n, depth, b_column, b):
    """Count the columns of B that are read where they stand: whole vectors of contiguous rows.

    Packing pays neither for few rows of C nor for a B that stays in the L1 cache.
    """
    if b_column == 1 and (m <= ROWS_WITHOUT_PACKING or n * depth * b.itemsize <= L1_BYTES):
        return n // square_width(b) * square_width(b)
    return 0


@kernel
def multiply_in_place(m, n, columns, depth, a, a_row, a_column, b, b_row, strips, c):
    """Compute the first columns of C (m, n), whole vectors of them, from an unpacked B."""
    width = panel_width(b)
    whole = columns // width
    multiply_block(
        m, whole, VECTORS, depth, a, 0, a_row, a_column, b, 0, b_row, width, strips, c, 0, n, width
    )
    if columns > whole * width:
        multiply_block(
            m, 1, 1, depth, a, 0, a_row, a_column, b, whole * width, b_row, width, strips,
            c, whole * width, n, width,
        )  # fmt: skip


@kernel(entry=True)
def product(control, m, n, depth, a, a_row, a_column, b, b_row, b_column, packed, c):
    """C = A B by a team of threads; a transposed operand is one with its strides exchanged.

    Shapes: A (m, depth), B (depth, n), by strides in flat arrays; C (m, n), contiguous rows;
    packed (panels of n, depth, NR), scratch.  2 m n depth operations.
    """
    width = panel_width(packed)
    in_place = columns_in_place(m, n, depth, b_column, b)
    columns = n - in_place
    strips = np.empty(strips_size(m, depth), c.dtype)
    edge = np.empty(min(BLOCK_ROWS, m) * width if columns % width > 0 else 0, c.dtype)
    ticket = draw_ticket(control)
    end = 0
    if in_place > 0:
        end += 1
        while ticket < end:
            for row in range(0, m, BLOCK_ROWS):
                multiply_in_place(
                    min(BLOCK_ROWS, m - row), n, in_place, depth, a[row * a_row :], a_row,
                    a_column, b, b_row, strips, c[row * n :],
                )  # fmt: skip
            ticket = next_ticket(control)
    start = end
    end += panels_of(depth, DEPTH) if columns > 0 else 0
    while ticket < end:
        first = (ticket - start) * DEPTH
        pack_panels(
            first, min(depth, first + DEPTH), columns, b, in_place * b_column, b_row, b_column,
            packed, 0, depth * width,
        )  # fmt: skip
        ticket = next_ticket(control)
    packed_blocks = start = end
    row_blocks = panels_of(m, BLOCK_ROWS)
    end += row_blocks * panels_of(columns, GROUP * width)
    while ticket < end:
        if wait_until_done(control, packed_blocks):
            block = ticket - start
            row = block % row_blocks * BLOCK_ROWS
            column = block // row_blocks * GROUP * width
            multiply_into_matrix(
                min(BLOCK_ROWS, m - row), min(GROUP * width, columns - column), depth,
                a, row * a_row, a_row, a_column, packed, column * depth, width, depth * width,
                strips, edge, c, row * n + in_place + column, n,
            )  # fmt: skip
        ticket = next_ticket(control)
    wait_until_done(control, end)
