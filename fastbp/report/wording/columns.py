"""Tables in plain text: aligned columns, whole names, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WIDTH", "table", "wrapped"]

WIDTH = 80
GAP = "  "
LEAST_NAME = 12  # of the first column


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Lay out a table; a first cell that is too long for its column has a line to itself.

    Parameters
    ----------
    headings : sequence of str
        Columns in which every cell is empty are left out.
    rows : sequence of sequences of str
    left : int
        So many columns are aligned to the left, and the last one too; the others to the right.

    Examples
    --------
    >>> print(table(["array", "wrong", "verdict"], [["a", "12", "failed"]], 1))
    array  wrong  verdict
    ---------------------
    a         12  failed
    """
    used = [c for c in range(len(headings)) if c == 0 or any(row[c] for row in rows)]
    cells = [[row[c] for c in used] for row in (headings, *rows)]
    widths = [max(len(row[c]) for row in cells) for c in range(len(used))]
    rest = sum(widths[1:]) + len(GAP) * (len(used) - 1)
    widths[0] = min(widths[0], max(LEAST_NAME, WIDTH - rest))
    last = len(used) - 1
    lines = []
    for row in cells:
        name, others = row[0], row[1:]
        if len(name) > widths[0]:
            lines += textwrap.wrap(name, WIDTH, subsequent_indent="    ")
            name = ""
        justified = [name.ljust(widths[0])]
        for c, cell in enumerate(others, 1):
            to_the_left = used[c] < left or c == last
            justified.append(cell.ljust(widths[c]) if to_the_left else cell.rjust(widths[c]))
        line = GAP.join(justified).rstrip()
        lines += [line] if len(line) <= WIDTH else textwrap.wrap(GAP.join([name, *others]), WIDTH)
    width = min(WIDTH, sum(widths) + len(GAP) * last)
    heading = 1 if lines[0].startswith(headings[0]) else 0
    lines.insert(heading, "-" * width)
    return "\n".join(lines)


def wrapped(line: str) -> str:
    """Break what is too long for one line: the sizes of a deep network, a list of arrays."""
    return textwrap.fill(line, WIDTH, subsequent_indent="  ")
