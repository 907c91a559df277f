"""What is known of the arrays of a gradient so far: the methods add to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastbp.function.methods.unjudged import unjudged_row

if TYPE_CHECKING:
    from fastbp.function.evaluation import Function
    from fastbp.report import ArrayReport, Failure
    from fastbp.report.causes import Finding

__all__ = ["Judged"]


@dataclass(slots=True, eq=False)
class Judged:
    """Rows and wrong entries, by the leaf that they are of.

    Attributes
    ----------
    rows : dict of int to ArrayReport
    failures : dict of int to tuple of Failure
    notes : list of str
        What there is to know about how they were judged.
    findings : list of Finding
        What may be wrong with the gradient.
    at_least : bool
        Whether there may be more wrong entries.
    """

    rows: dict[int, ArrayReport] = field(default_factory=dict)
    failures: dict[int, tuple[Failure, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    at_least: bool = False

    def left(self, function: Function) -> list[int]:
        """Return the leaves that are not judged."""
        return [leaf for leaf in range(len(function.point.base)) if leaf not in self.rows]

    def leave_out(self, function: Function) -> None:
        """Give the leaves that are not judged a row that says so, and why."""
        left, stopped = self.left(function), function.account.stopped
        if not left:
            return
        reason = "" if stopped is None else stopped.reason
        for leaf in left:
            self.rows[leaf] = unjudged_row(function, leaf, reason)
        arrays = len(function.point.base)
        counted = f"{len(left):,} of {arrays:,} {'array' if arrays == 1 else 'arrays'}"
        self.notes.append(f"{counted} not judged: {reason}")
        self.at_least = True
