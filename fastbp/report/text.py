"""Reports as plain text: 80 columns that any terminal, log and code page can show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastbp.report.causes import listed
from fastbp.report.outline import (
    FAILURE_HEADINGS,
    FAILURES_SHOWN,
    SENTENCES_SHOWN,
    about,
    factor,
    failure_cells,
    folded_line,
    printable_report,
    reasons,
    shown_arrays,
    shown_failures,
    subject,
    worst_cells,
    worst_first,
)
from fastbp.report.wording.columns import table, wrapped

if TYPE_CHECKING:
    from fastbp.report.model import ArrayReport, Failure, Report

__all__ = ["render"]

# A report of more lines says its verdict again at the end, where a terminal stands.
LONG = 40
COLOURS = {"failed": "31;1", "passed": "32;1", "inconclusive": "33;1", "untested": "33",
           "vacuous": "33;1"}  # fmt: skip


def render(report: Report, *, colour: bool = False) -> str:
    """Return the report as text, at most 80 columns wide, without a newline at the end.

    Parameters
    ----------
    report : Report
    colour : bool
        Whether verdicts are coloured, for a terminal.
    """
    report = printable_report(report)
    arrays = sorted(report.arrays, key=worst_first)
    shown, folded = shown_arrays(arrays)
    parts = [_header(report), _diagnosis(report.diagnosis), _arrays_table(shown, folded)]
    parts += ["\n".join(map(wrapped, reasons(shown))), _factors(report), _failures(report.failures)]
    text = "\n\n".join(part for part in parts if part)
    if text.count("\n") >= LONG:
        text += f"\n\n{_again(report, arrays)}"
    return _coloured(text) if colour else text


def _coloured(text: str) -> str:
    """Colour the verdicts, at the beginnings and the ends of lines."""
    for verdict, code in COLOURS.items():
        pattern = rf"^{verdict.upper()}\b|(?<=  ){verdict}$"
        text = re.sub(pattern, f"\x1b[{code}m\\g<0>\x1b[0m", text, flags=re.MULTILINE)
    return re.sub(r"^diagnosis:", "\x1b[1m\\g<0>\x1b[0m", text, flags=re.MULTILINE)


def _again(report: Report, arrays: list[ArrayReport]) -> str:
    """Say the verdict once more, with the arrays that have it."""
    if report.verdict in ("passed", "vacuous"):
        return report.verdict.upper()
    names = [row.name for row in arrays if row.verdict == report.verdict]
    return wrapped(f"{report.verdict.upper()}: {listed(names)}")


def _header(report: Report) -> str:
    return "\n".join(map(wrapped, [f"{report.verdict.upper()}: {subject(report)}", *about(report)]))


def _diagnosis(sentences: tuple[str, ...]) -> str:
    lines = [f"diagnosis: {sentence}" for sentence in sentences[:SENTENCES_SHOWN]]
    more = len(sentences) - SENTENCES_SHOWN
    if more > 0:
        lines.append(f"({more} more in report.diagnosis)")
    return "\n".join(map(wrapped, lines))


def _arrays_table(arrays: list[ArrayReport], folded: list[tuple[str, list[ArrayReport]]]) -> str:
    kinks = any(row.kinks for row in arrays)
    headings = ["array", "shape", "entries", "wrong", "zero", "kinks", "error", "relative"]
    rows = [
        [
            row.name,
            str(row.shape),
            f"{row.entries}",
            f"{row.wrong}",
            f"{row.zero}",
            f"{row.kinks}" if kinks else "",
            *worst_cells(row),
            row.verdict,
        ]
        for row in arrays
    ]
    parts = [table([*headings, "verdict"], rows, left=2)] if rows else []
    return "\n".join([*parts, *(wrapped(folded_line(what, those)) for what, those in folded)])


def _factors(report: Report) -> str:
    """Return the lines of factors, where no diagnosis tells more."""
    if report.diagnosis:
        return ""
    lines = [line for line in map(factor, report.arrays) if line]
    more = len(lines) - FAILURES_SHOWN
    if more > 0:
        lines = [*lines[:FAILURES_SHOWN], f"({more} more arrays are multiples)"]
    return "\n".join(lines)


def _failures(failures: tuple[Failure, ...]) -> str:
    if not failures:
        return ""
    rows = [failure_cells(failure) for failure in shown_failures(failures)]
    more = len(failures) - FAILURES_SHOWN
    note = f"\n({more} more in report.failures)" if more > 0 else ""
    return table(FAILURE_HEADINGS, rows, left=1) + note
