"""Rows of a report that are made when somebody looks at them.

Of hundreds of small arrays the objects of a report took as long as a third of the check. A table of
numbers says which arrays passed; rows of the others are made at once, since they have more to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastbp.report.pictures.picture import CELLS_IN_ALL, with_few_cells
from fastbp.verdict.rows import passed_row, with_picture
from fastbp.verdict.summary import read_summaries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastbp.report import ArrayReport
    from fastbp.report.model import ArrayVerdict
    from fastbp.report.pictures.picture import Picture
    from fastbp.typing import Floats
    from fastbp.verdict.tolerance import Tolerance

__all__ = ["PassedArrays", "Rows"]


@dataclass(frozen=True, slots=True, eq=False)
class PassedArrays:
    """What the rows of arrays that passed are made from.

    Attributes
    ----------
    names : callable
        Returns the names of all arrays, also of those that did not pass.
    shapes : sequence of tuple of int
    merged : float64, shape (arrays, SUMMARY_COLUMNS)
        What was found in each (``kernels/comparison/summary_columns.py``).
    entries : sequence of int
    tolerance : Tolerance
    pictures : callable
        Returns the picture of every array.
    cells : int
        How many cells the pictures have together.
    """

    names: Callable[[], list[str]]
    shapes: Sequence[tuple[int, ...]]
    merged: Floats
    entries: Sequence[int]
    tolerance: Tolerance
    pictures: Callable[[], list[Picture | None]]
    cells: int


class Rows:
    """The rows of a check.

    Parameters
    ----------
    judged : dict of int to ArrayReport
        Rows that are made already, by the places of their arrays.
    passed : PassedArrays, optional
        For all other rows.
    """

    def __init__(self, judged: dict[int, ArrayReport], passed: PassedArrays | None = None) -> None:
        self._judged, self._passed = judged, passed
        self._count = len(judged) if passed is None else len(passed.shapes)

    @classmethod
    def of(cls, rows: Sequence[ArrayReport]) -> Rows:
        """Return rows all of which are made."""
        return cls(dict(enumerate(rows)))

    @property
    def verdicts(self) -> list[ArrayVerdict]:
        """The verdict of every array."""
        found: list[ArrayVerdict] = ["passed"] * self._count
        for place, row in self._judged.items():
            found[place] = row.verdict
        return found

    @property
    def worth_waiting(self) -> bool:
        """Whether there is something to make, of numbers no larger than a report may hold."""
        passed = self._passed
        return (
            passed is not None and len(self._judged) < self._count and passed.cells <= CELLS_IN_ALL
        )

    def with_others(self, others: Sequence[ArrayReport]) -> tuple[ArrayReport, ...]:
        """Make all rows, and put others behind them; their pictures are not too large together."""
        pictures: list[Picture | None] = [None] * self._count
        if self._passed is not None and len(self._judged) < self._count:
            pictures = self._passed.pictures()
        for place, row in self._judged.items():
            pictures[place] = row.picture
        pictures = with_few_cells([*pictures, *(row.picture for row in others)])
        rows = self._made(pictures[: self._count])
        return (*rows, *map(with_picture, others, pictures[self._count :]))

    def _made(self, pictures: Sequence[Picture | None]) -> list[ArrayReport]:
        judged, passed = self._judged, self._passed
        if passed is None:
            return [with_picture(judged[place], own) for place, own in enumerate(pictures)]
        found = read_summaries(passed.merged, passed.entries)
        return [
            with_picture(judged[place], pictures[place])
            if place in judged
            else passed_row(name, shape, found[place], passed.tolerance, pictures[place])
            for place, (name, shape) in enumerate(zip(passed.names(), passed.shapes, strict=True))
        ]
