"""Blocked products over flat arrays, and how their operands are packed.

The right operand B comes as panels of NR lanes: ``b[panel, p, lane]``, packed, or a matrix whose
rows are contiguous, read where it stands.
The left operand A is addressed by two strides.  Strips of MR rows of it are copied first, unless
they are used once or twice only, so that the tile never walks down a column, or along rows that
share their places in the cache.  A block of C is computed by one thread, over p in blocks of
``DEPTH`` in a fixed order, so that the bits do not depend on who computes it.
"""

from __future__ import annotations

import numpy as np

from .compile import kernel
from .simd import MR, VECTORS, copy_run, multiply_rows, panel_width
from .team import draw_ticket, report_done, wait_until_done

DEPTH = 256  # rows of B in one pass: a panel of 256 x 128 bytes streams from the L2 cache
BLOCK_ROWS = 8 * MR  # rows of C in one block: 8 strips of A share each panel
# Rows of A are copied to this pitch first: where they lie a power of two apart, eight of them
# fall on the same lines of an L1 cache, and the tile reaches half of its speed.
ROW_PITCH = DEPTH + 8
PANELS_WORTH_COPYING = 3
ROWS_WITHOUT_PACKING = 2 * MR  # packing a panel costs as much as three strips of a product
GROUP = 8  # panels of one block: 8 x 32 KB of B stay in the L2 cache


@kernel(inline=True)
def panels_of(columns, width):
    """Count the panels that hold so many columns."""
    return (columns + width - 1) // width


@kernel(inline=True)
def strip_rows(remaining):
    """Rows of the next strip: MR, or the largest smaller tile that fits."""
    if remaining >= MR:
        return MR
    if remaining >= 2:
        return 2
    return 1


@kernel
def copy_columns(rows, depth, a, a_at, a_column, strips):
    """Copy A (rows, depth), whose columns are contiguous, to strips[strip, p, row].

    Strips are one line of MR further apart than they are long: at a power of two they would
    share their places in the cache.
    """
    for p in range(depth):
        source = a_at + p * a_column
        for first in range(0, rows, MR):
            target = first * (depth + 1) + p * MR
            height = min(MR, rows - first)
            if height == MR:
                copy_run(MR, a, source + first, strips, target)
            else:
                for r in range(height):
                    strips[target + r] = a[source + first + r]


@kernel
def copy_rows(rows, depth, a, a_at, a_row, strip):
    """Copy ``rows`` contiguous rows of A to rows of one strip, ROW_PITCH apart."""
    for r in range(rows):
        copy_run(depth, a, a_at + r * a_row, strip, r * ROW_PITCH)


@kernel(inline=True)
def strips_size(rows, depth):
    """Scratch for the copies that a block of so many rows may need."""
    height = panels_of(min(rows, BLOCK_ROWS), MR) * MR
    return max(height * (min(depth, DEPTH) + 1), MR * ROW_PITCH)


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
                for lane in range(width):
                    c[c_at + r * c_row + panel * c_panel + lane] = 0
    by_columns = a_row == 1 and a_column != 1
    by_rows = a_column == 1 and panels >= PANELS_WORTH_COPYING and depth >= MR
    for first in range(0, depth, DEPTH):
        count = min(DEPTH, depth - first)
        if by_columns:
            copy_columns(rows, count, a, a_at + first * a_column, a_column, strips)
        r = 0
        while r < rows:
            height = strip_rows(rows - r)
            source, source_at = a, a_at + r * a_row + first * a_column
            source_row, source_column = a_row, a_column
            if by_columns:
                strip = r // MR * MR
                source, source_at = strips, strip * (count + 1) + (r - strip)
                source_row, source_column = 1, MR
            elif by_rows:
                copy_rows(height, count, a, source_at, a_row, strips)
                source, source_at, source_row = strips, 0, ROW_PITCH
            for panel in range(panels):
                b_from = b_at + panel * b_panel + first * b_row
                c_from = c_at + r * c_row + panel * c_panel
                multiply_rows(
                    height, vectors, count, source, source_at, source_row, source_column,
                    b, b_from, b_row, c, c_from, c_row, first,
                )  # fmt: skip
            r += height


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


@kernel
def pack_panels(first, last, columns, b, b_at, b_row, b_column, packed, packed_at, packed_panel):
    """Copy rows first..last of B (any strides) into panels, the last one padded with zeros."""
    width = panel_width(packed)
    for panel in range(panels_of(columns, width)):
        lanes = min(width, columns - panel * width)
        source = b_at + panel * width * b_column
        target = packed_at + panel * packed_panel
        if b_column == 1 and lanes == width:
            for p in range(first, last):
                copy_run(width, b, source + p * b_row, packed, target + p * width)
        elif b_column == 1:
            for p in range(first, last):
                copy_run(lanes, b, source + p * b_row, packed, target + p * width)
        else:
            for lane in range(lanes):
                for p in range(first, last):
                    packed[target + p * width + lane] = b[source + p * b_row + lane * b_column]
        if lanes < width:
            for p in range(first, last):
                for lane in range(lanes, width):
                    packed[target + p * width + lane] = 0


@kernel(entry=True)
def product(control, m, n, depth, a, a_row, a_column, b, b_row, b_column, packed, c):
    """C = A B by a team of threads; a transposed operand is one with its strides exchanged.

    Shapes: A (m, depth), B (depth, n), by strides in flat arrays; C (m, n), contiguous rows;
    packed (panels of n, depth, NR), scratch.  2 m n depth operations.  For few rows whole
    panels of a B with contiguous rows are read where they stand.
    """
    width = panel_width(packed)
    panels = panels_of(n, width)
    strips = np.empty(strips_size(m, depth), c.dtype)
    edge = np.empty(min(BLOCK_ROWS, panels_of(m, MR) * MR) * width, c.dtype)
    in_place = n // width if b_column == 1 and m <= ROWS_WITHOUT_PACKING else 0
    ticket = draw_ticket(control)
    end = panels_of(depth, DEPTH)
    while ticket < end:
        first = ticket * DEPTH
        pack_panels(
            first, min(depth, first + DEPTH), n - in_place * width,
            b, in_place * width * b_column, b_row, b_column,
            packed, in_place * depth * width, depth * width,
        )  # fmt: skip
        report_done(control)
        ticket = draw_ticket(control)
    packed_blocks = end
    if in_place > 0:
        end += 1
        while ticket < end:
            multiply_block(
                m, in_place, VECTORS, depth, a, 0, a_row, a_column, b, 0, b_row, width,
                strips, c, 0, n, width,
            )  # fmt: skip
            report_done(control)
            ticket = draw_ticket(control)
    start = end
    row_blocks = panels_of(m, BLOCK_ROWS)
    end += row_blocks * panels_of(panels - in_place, GROUP)
    while ticket < end:
        if wait_until_done(control, packed_blocks):
            block = ticket - start
            row = block % row_blocks * BLOCK_ROWS
            panel = in_place + block // row_blocks * GROUP
            rows = min(BLOCK_ROWS, m - row)
            columns = min(GROUP * width, n - panel * width)
            multiply_into_matrix(
                rows, columns, depth, a, row * a_row, a_row, a_column,
                packed, panel * depth * width, width, depth * width,
                strips, edge, c, row * n + panel * width, n,
            )  # fmt: skip
        report_done(control)
        ticket = draw_ticket(control)
    wait_until_done(control, end)


@kernel(reassociate=True)
def long_dot(a, b):
    """Sum of a[k] b[k], reordered into vectors."""
    total = a.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@kernel
def dot(a, b):
    """Sum of a[k] b[k]: in order if it is short, where vectors gain nothing."""
    if a.size > 16:
        return long_dot(a, b)
    total = a.dtype.type(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total
