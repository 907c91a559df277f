"""``fastbp compare BEFORE.json AFTER.json``: what became better between two reports, or worse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastbp.cli.exit_codes import complain
from fastbp.cli.show import read_stored
from fastbp.errors import FastbpError, printable

if TYPE_CHECKING:
    import argparse

    from fastbp.report import ArrayReport, Report

__all__ = ["add_compare"]

WORSE = 1
# From good to bad.
VERDICTS = ("passed", "vacuous", "untested", "inconclusive", "failed")


def add_compare(commands: Any) -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "compare",
        help="tell what became better between two reports, or worse",
        description="Compare two reports that were written by --json or Report.to_json, array by "
        "array: their verdicts, and how many entries are wrong. An array, or a problem, that is "
        "no longer there counts as worse.",
        epilog="Exit codes: 0 nothing is worse, 1 something is worse, 2 bad input.",
    )
    parser.add_argument("before", metavar="BEFORE.json", help="the file of the one")
    parser.add_argument("after", metavar="AFTER.json", help="the file of the other")
    parser.set_defaults(run=run_compare)


def run_compare(options: argparse.Namespace) -> int:
    """Print what differs between the reports of two files."""
    try:
        before, after = read_stored(options.before), read_stored(options.after)
    except FastbpError as error:
        return complain(str(error))
    if len(before) == len(after) == 1:  # a single report: of the same problem
        after = dict(zip(before, after.values(), strict=True))
    is_worse = False
    for name in {**before, **after}:
        comparison = Comparison.of(before.get(name), after.get(name))
        print(comparison.said(printable(name)))
        is_worse |= comparison.is_worse
    return WORSE if is_worse else 0


@dataclass(frozen=True)
class Change:
    """One array in both reports; None where it is not."""

    name: str
    before: ArrayReport | None
    after: ArrayReport | None

    @property
    def kind(self) -> str:
        """What became of it: "better", "worse", "gone", "new" or "same"."""
        if self.after is None:
            return "gone"
        if self.before is None:
            return "new"
        before, after = badness(self.before), badness(self.after)
        return "same" if before == after else "better" if after < before else "worse"

    @property
    def is_worse(self) -> bool:
        """Whether less is right than before."""
        new_and_bad = (
            self.before is None and self.after is not None and badness(self.after) > (0, 0)
        )
        return new_and_bad or self.kind in ("worse", "gone")


@dataclass(frozen=True)
class Comparison:
    """Two reports of one problem; None where there is none."""

    before: Report | None
    after: Report | None
    changes: list[Change]

    @classmethod
    def of(cls, before: Report | None, after: Report | None) -> Comparison:
        """Compare array by array, in the order of the arrays."""
        old = {} if before is None else {row.name: row for row in before.arrays}
        new = {} if after is None else {row.name: row for row in after.arrays}
        changes = [Change(name, old.get(name), new.get(name)) for name in {**old, **new}]
        return cls(before, after, changes)

    @property
    def is_worse(self) -> bool:
        """Whether any array is worse, or the verdict."""
        if self.before is not None and self.after is not None:
            verdicts = [VERDICTS.index(one.verdict) for one in (self.before, self.after)]
            if verdicts[1] > verdicts[0]:
                return True
        return any(change.is_worse for change in self.changes)

    def said(self, name: str) -> str:
        """Return all that differs, as text."""
        from fastbp.report.wording.columns import wrapped

        kinds = [change.kind for change in self.changes]
        counts = [
            f"{kinds.count(kind):,} {kind}"
            for kind in ("worse", "gone", "better", "new", "same")
            if kind in kinds
        ]
        better = "better" in kinds or "new" in kinds
        verdict = "WORSE" if self.is_worse else "BETTER" if better else "SAME"
        heading = f"{verdict}: {f'{name}: ' if name else ''}arrays: {', '.join(counts)}"
        parts = [wrapped(heading), *self._descriptions()]
        table = self._table()
        return "\n".join([*parts, *(["", table, ""] if table else [""])])

    def _descriptions(self) -> list[str]:
        """Return a line for each report, and what they do not have in common."""
        from fastbp.report.outline import method, subject, tolerance
        from fastbp.report.wording.columns import wrapped

        lines = []
        told = []
        for when, report in (("before", self.before), ("after", self.after)):
            if report is None:
                lines.append(f"{when}: not there")
                continue
            lines.append(f"{when}: {report.verdict.upper()}, {printable(subject(report))}")
            told.append((method(report), tolerance(report)))
        if len(told) == 2:
            for what, before, after in zip(("method", "tolerance"), *told, strict=True):
                if before != after:
                    lines.append(f"{what}: {printable(before)}; then {printable(after)}")
        return [wrapped(line) for line in lines]

    def _table(self) -> str:
        from fastbp.report.wording.columns import table

        rows = [
            [printable(change.name), *cells(change.before), *cells(change.after), change.kind]
            for change in self.changes
            if change.kind != "same"
        ]
        headings = ["array", "before", "wrong", "error", "after", "wrong", "error", "change"]
        return table(headings, rows, left=2) if rows else ""


def badness(row: ArrayReport) -> tuple[int, int]:
    """Return what is smaller the better an array is: its verdict, then its wrong entries."""
    return VERDICTS.index(row.verdict), row.wrong


def cells(row: ArrayReport | None) -> list[str]:
    """Return the columns of an array in one report."""
    if row is None:
        return ["", "", ""]
    from fastbp.report.outline import worst_cells

    error, _relative = worst_cells(row)
    return [row.verdict, f"{row.wrong}", error]
