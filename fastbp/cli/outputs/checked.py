"""What became of a problem: what all outputs are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastbp.report import Report

__all__ = ["Checked"]


@dataclass(frozen=True)
class Checked:
    """What became of a problem.

    Attributes
    ----------
    name : str
        The path of its file, or module:function.
    report : Report or None
        What was found; None where the input was bad.
    complaint : str
        What is wrong with the input.
    own : bool
        Whether it is fastbp's own backward pass that was checked.
    source : (str, int) or None
        File and line of the function.
    """

    name: str
    report: Report | None
    complaint: str = ""
    own: bool = False
    source: tuple[str, int] | None = None

    @property
    def verdict(self) -> str:
        """The verdict of the report, or "bad input"."""
        return "bad input" if self.report is None else self.report.verdict
