"""Packing: operands copied into the order in which the tile reads them."""

from __future__ import annotations

from ..machine.compile import kernel
from ..simd.moves import copy_run, transpose_square, transpose_strip
from ..simd.vectors import MR, panel_width, panels_of, square_width


@kernel
def pack_transposed(first, last, batch, level_units, level, level_at, packed):
    """Copy units first..last of a level to panels of units: packed[unit panel, sample, unit].

    ``first`` is a multiple of NR; units past the last are zero.
    """
    width = panel_width(level)
    for unit in range(first, last, width):
        units = min(width, last - unit)
        for panel in range(panels_of(batch, width)):
            source = level_at + (panel * level_units + unit) * width
            target = (unit // width * batch + panel * width) * width
            samples = min(width, batch - panel * width)
            pack_columns_of_panel(0, samples, units, level, source, 1, width, packed, target)
            for sample in range(samples):
                for u in range(units, width):
                    packed[target + sample * width + u] = 0


@kernel
def pack_rows(first, last, pitch, level_units, level, level_at, rows):
    """Copy units first..last of a level to rows of all their samples: rows[unit, sample]."""
    width = panel_width(level)
    for unit in range(first, last):
        for panel in range(pitch // width):
            source = level_at + (panel * level_units + unit) * width
            target = unit * pitch + panel * width
            copy_run(width, level, source, rows, target)


PACK_DEPTH = 16  # rows of B that are packed together


@kernel
def pack_strips(count, depth, a, a_at, a_row, a_column, strips):
    """Copy ``count`` strips of MR rows of A (any strides) to strips[strip, p, row]."""
    side = square_width(strips)
    for strip in range(count):
        source, target = a_at + strip * MR * a_row, strip * MR * depth
        if a_row == 1:
            for p in range(depth):
                copy_run(MR, a, source + p * a_column, strips, target + p * MR)
            continue
        turned = depth // side * side if a_column == 1 else 0
        for p in range(0, turned, side):
            transpose_strip(a, source + p, a_row, strips, target + p * MR)
        for p in range(turned, depth):
            for r in range(MR):
                strips[target + p * MR + r] = a[source + r * a_row + p * a_column]


@kernel
def pack_rows_of_panels(first, last, lanes, b, b_at, b_row, packed, packed_at):
    """Copy ``lanes`` neighbours of rows first..last of B to the rows of one panel."""
    width = panel_width(packed)
    if lanes == width:
        for p in range(first, last):
            copy_run(width, b, b_at + p * b_row, packed, packed_at + p * width)
    else:
        for p in range(first, last):
            copy_run(lanes, b, b_at + p * b_row, packed, packed_at + p * width)


@kernel
def pack_columns_of_panel(first, last, lanes, b, b_at, b_row, b_column, packed, packed_at):
    """Copy columns of B to the lanes of one panel: by squares where rows are neighbours."""
    width = panel_width(packed)
    square = square_width(packed)
    squares = 0
    if b_row == 1:
        squares = (last - first) // square
        for lane in range(0, lanes // square * square, square):
            for s in range(squares):
                p = first + s * square
                transpose_square(
                    b, b_at + p + lane * b_column, b_column,
                    packed, packed_at + p * width + lane, width,
                )  # fmt: skip
    for lane in range(lanes):
        begin = first
        if lane < lanes // square * square:
            begin += squares * square
        for p in range(begin, last):
            packed[packed_at + p * width + lane] = b[b_at + p * b_row + lane * b_column]


@kernel
def pack_panels(first, last, columns, b, b_at, b_row, b_column, packed, packed_at, packed_panel):
    """Copy rows first..last of B (any strides) into panels, the last one padded with zeros.

    A few rows at a time: their columns are neighbours in memory, those of a panel are not.
    """
    width = panel_width(packed)
    for start in range(first, last, PACK_DEPTH):
        end = min(last, start + PACK_DEPTH)
        for panel in range(panels_of(columns, width)):
            lanes = min(width, columns - panel * width)
            source = b_at + panel * width * b_column
            target = packed_at + panel * packed_panel
            if b_column == 1:
                pack_rows_of_panels(start, end, lanes, b, source, b_row, packed, target)
            else:
                pack_columns_of_panel(start, end, lanes, b, source, b_row, b_column, packed, target)
            for p in range(start, end):
                for lane in range(lanes, width):
                    packed[target + p * width + lane] = 0
