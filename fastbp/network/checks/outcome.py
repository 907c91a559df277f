"""What a way of checking hands to the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.report import Failure
    from fastbp.verdict.rows_to_come import Rows

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a check found.

    Attributes
    ----------
    rows : Rows
        Of every array, in the order of the parameters.
    failures : list of tuple of Failure
        The worst wrong entries of each array.
    evaluations : int
        How many losses were evaluated.
    details : dict
        What only some methods can say, by the names of the fields of `Report`: the scheme of a
        replay, a certificate, a kink.
    """

    rows: Rows
    failures: list[tuple[Failure, ...]]
    evaluations: int
    details: dict[str, Any] = field(default_factory=dict)
