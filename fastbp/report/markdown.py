"""Reports as Markdown, as GitHub and GitLab render it: for summaries of jobs and comments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastbp.report.outline import (
    FAILURE_HEADINGS,
    FAILURES_SHOWN,
    SENTENCES_SHOWN,
    about,
    counted,
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
from fastbp.report.wording.long_names import ends, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastbp.report.model import ArrayReport, Report

__all__ = ["as_code", "as_markdown", "as_prose"]

MARKUP = re.compile(r"([\\`*_\[\]<>|~&#$@])")
# What begins a list inside of a list.
LIST_MARK = re.compile(r"^([-+]|\d+(?=[.)]))")


def as_markdown(report: Report) -> str:
    """Return a section that begins with a heading of the third level, with a newline at the end.

    Names of a user's are code, or escaped: none of them is taken for markup.
    """
    report = printable_report(report)
    arrays = sorted(report.arrays, key=worst_first)
    shown, folded = shown_arrays(arrays)
    multiples = [] if report.diagnosis else [factor(row) for row in shown]
    parts = [
        f"### {report.verdict.upper()}: {as_prose(subject(report))}",
        _list(f"**{as_prose(one)}**" for one in report.diagnosis[:SENTENCES_SHOWN]),
        _list(as_prose(one) for one in [*reasons(shown), *multiples] if one),
        _arrays(shown),
        _list(as_prose(folded_line(what, rows)) for what, rows in folded),
        _failures(report),
        _list(as_prose(one) for one in _about(report) if one),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_code(text: str) -> str:
    r"""Return a name as code that may stand in a table; a long one loses its middle.

    Examples
    --------
    >>> print(as_code("weights[0]"), as_code("a|b"), as_code("``"))
    `weights[0]` `a\|b` ``` `` ```
    """
    text = ends(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    room = " " if longest or text != text.strip() else ""
    inside = text.replace("|", "\\|")
    return f"{fence}{room}{inside}{room}{fence}"


def as_prose(text: str) -> str:
    r"""Return text on one line in which nothing is markup.

    Examples
    --------
    >>> print(as_prose("weights[0]: <script>"), as_prose("1. of"))
    weights\[0\]: \<script\> 1\. of
    """
    text = MARKUP.sub(r"\\\1", " ".join(shortened(text).split()))
    return LIST_MARK.sub(lambda match: _escaped_mark(match[1]), text)


def _escaped_mark(mark: str) -> str:
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Lay out a table whose first columns are aligned to the left, the others to the right."""
    rule = [":--"] * left + ["--:"] * (len(headings) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (headings, rule, *rows))


def _arrays(arrays: list[ArrayReport]) -> str:
    if not arrays:
        return ""
    headings = ["array", "verdict", "shape", "entries", "wrong", "zero", "kinks", "error",
                "relative"]  # fmt: skip
    rows = [
        [
            as_code(row.name),
            row.verdict if row.verdict == "passed" else f"**{row.verdict}**",
            str(row.shape),
            f"{row.entries:,}",
            f"{row.wrong:,}",
            f"{row.zero:,}",
            f"{row.kinks:,}",
            *worst_cells(row),
        ]
        for row in arrays
    ]
    return _table(headings, rows, left=3)


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    cells = map(failure_cells, shown_failures(report.failures))
    rows = [[as_code(where), *numbers] for where, *numbers in cells]
    more = len(report.failures) - FAILURES_SHOWN
    note = f"\n\n{more:,} more in `report.failures`." if more > 0 else ""
    return _table(FAILURE_HEADINGS, rows, left=1) + note


def _about(report: Report) -> list[str]:
    """Return what there is to know about the check, in sentences."""
    more = len(report.diagnosis) - SENTENCES_SHOWN
    return [
        f"{counted(more, 'sentence', 'sentences')} more in report.diagnosis" if more > 0 else "",
        *about(report),
        "" if report.seed is None else f"seed {report.seed}",
        report.made,
    ]
