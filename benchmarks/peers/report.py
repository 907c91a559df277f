"""Tables in Markdown, which read well in a terminal too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .timing import STEADY, Timing

UNSTEADY = "~"


@dataclass
class Section:
    """A heading, a table, and what is to be said below it."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_markdown(self) -> str:
        """Return the section with its columns aligned."""
        table = [list(self.header), *map(list, self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [f"## {self.title}", ""]
        lines += [_line(cells, widths) for cells in (self.header, rule, *self.rows)]
        for note in (*self.notes, *self._warning()):
            lines += ["", note]
        return "\n".join(lines) + "\n"

    def _warning(self) -> list[str]:
        if not any(cell.startswith(UNSTEADY) for row in self.rows for cell in row):
            return []
        return [
            f"{UNSTEADY}: the quartiles of the rounds are more than {STEADY} apart: "
            "something else was using the machine."
        ]


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if k == 0 else cell.rjust(width)
        for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def duration(timing: Timing, divided_by: float = 1) -> str:
    """Return the median, or a part of it, with three digits and its unit."""
    seconds = timing.median / divided_by
    unit, size = next(
        (pair for pair in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)) if seconds >= pair[1]),
        ("ns", 1e-9),
    )
    return f"{'' if timing.steady else UNSTEADY}{_three_digits(seconds / size)} {unit}"


def ratio(value: float) -> str:
    """Return a factor with three digits, or "-" where there is none."""
    return "-" if math.isnan(value) else f"{_three_digits(value)} x"


def summary_of_ratios(values: Sequence[float]) -> str:
    """Say their geometric mean and the least of them."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "There is no other to compare with."
    mean = math.exp(math.fsum(map(math.log, known)) / len(known))
    return f"Geometric mean of the ratios: {ratio(mean)}, least: {ratio(min(known))}."


def _three_digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
