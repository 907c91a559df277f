"""What the templates show of a report: everything is text by then."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from fastbp.report.html.heat_maps import heat_maps
from fastbp.report.outline import (
    FAILURES_SHOWN,
    counted,
    counts,
    detectable,
    doubt,
    factor,
    folded_line,
    kink,
    method,
    printable_report,
    reasons,
    shown_arrays,
    shown_failures,
    slips,
    subject,
    tolerance,
    worst_first,
)
from fastbp.report.taylor import cells
from fastbp.report.wording.digits import told_apart
from fastbp.report.wording.long_names import LONGEST_WORD, ends, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastbp.report.model import ArrayReport, Failure, Report
    from fastbp.report.taylor import TaylorTest

__all__ = ["excerpt", "full_content", "taylor_content"]

TITLE_WIDTH = 80

ROWS_AT_FIRST = 30  # of a table
MAPS_SHOWN = 12  # the others are folded

# Columns: what they are called, how they are sorted, and what they mean.
ARRAY_COLUMNS = [
    ("array", "text", "The array's name"),
    ("verdict", "verdict", "What it came to"),
    ("shape", "text", "Its shape"),
    ("entries", "number", "How many entries it has"),
    ("wrong", "number", "How many of them are wrong"),
    ("zero", "number", "How many are zero on both sides"),
    ("kinks", "number", "How many lie on a kink of a ReLU"),
    ("error", "number", "The largest error"),
    ("relative", "number", "The same over the numerical derivative"),
    ("error / allowed", "number", "The same over the error that is allowed"),
    ("seen above", "number", "A single error above this would have been seen"),
]
FAILURE_COLUMNS = [
    ("entry", "text", "Its place"),
    ("given", "number", "The derivative that was given"),
    ("numerical", "number", "The numerical derivative"),
    ("error", "number", "The difference"),
    ("relative", "number", "The same over the numerical derivative"),
    ("error / allowed", "number", "The same over the error that is allowed"),
    ("error bar", "number", "Of the numerical derivative"),
]
SAID_BY_COUNTS = re.compile(r".*: \d+ of \d+ entr(y|ies) (is|are) wrong", re.DOTALL)


def full_content(report: Report) -> dict[str, Any]:
    """Return what the page shows: all there is."""
    maps = heat_maps(report)
    of_failed = [one for one in maps if one["verdict"] == "failed"]
    report = printable_report(report)
    arrays = sorted(report.arrays, key=worst_first)
    shown, folded = shown_arrays(arrays, most=len(arrays))
    passed = folded[0][1] if folded else []
    return _content(report, shown) | {
        "passed_arrays": _array_table(passed, report),
        "passed_line": folded_line("passed", passed),
        "failures": _failure_table(report.failures),
        "rows_at_first": ROWS_AT_FIRST,
        "maps": sorted(of_failed[:MAPS_SHOWN], key=lambda one: one["line"]),
        "other_maps": of_failed[MAPS_SHOWN:] + [one for one in maps if one["verdict"] != "failed"],
        "map_data": {one["id"]: one.pop("data") for one in maps},
    }


def excerpt(report: Report) -> dict[str, Any]:
    """Return what a notebook shows: no more than the text of the report does."""
    report = printable_report(report)
    arrays = sorted(report.arrays, key=worst_first)
    shown, folded = shown_arrays(arrays)
    more = len(report.failures) - FAILURES_SHOWN
    return _content(report, shown) | {
        "folded": [folded_line(what, rows) for what, rows in folded],
        "failures": _failure_table(shown_failures(report.failures)),
        "more_failures": f"{more:,} more in report.failures" if more > 0 else "",
    }


def taylor_content(result: TaylorTest) -> dict[str, Any]:
    """Return what a notebook shows of a Taylor test."""
    result = printable_report(result)
    heading, *rows = cells(result)
    said = (
        f"<g, v> = {result.slope:.9g}; {counted(result.evaluations, 'value', 'values')} evaluated"
    )
    along = "the given direction" if result.seed is None else f"the direction of seed {result.seed}"
    return {
        "verdict": result.verdict,
        "summary": shortened(result.reason),
        "subject": f"Taylor test of {shortened(result.function)}, {result.dtype}",
        "table_of": {
            "columns": [(name, "number", "") for name in heading],
            "rows": rows,
            "long_names": {},
        },
        "notes": [f"along {along}: {said}", *map(shortened, result.notes)],
    }


def _content(report: Report, shown: list[ArrayReport]) -> dict[str, Any]:
    """Return what page and notebook have in common."""
    return {
        "verdict": report.verdict,
        "title": f"{report.verdict.capitalize()}: {ends(subject(report))}"[:TITLE_WIDTH],
        "summary": _summary(report),
        "subject": shortened(subject(report)),
        "diagnosis": [shortened(sentence) for sentence in report.diagnosis],
        "arrays": _array_table(shown, report),
        "factors": [] if report.diagnosis else _factors(report.arrays),
        "reasons": [
            shortened(reason) for reason in reasons(shown) if not SAID_BY_COUNTS.fullmatch(reason)
        ],
        "missed": [shortened(sentence) for sentence in _missed(report)],
        "again": [(what, shortened(text)) for what, text in _again(report)],
    }


def _summary(report: Report) -> str:
    """Return the verdict as a sentence."""
    arrays = counted(len(report.arrays), "array", "arrays")
    if report.verdict == "passed":
        return f"None of {counted(report.entries, 'entry', 'entries')} in {arrays} is wrong."
    if report.verdict == "vacuous":
        return "Nothing was tested: every array is zero on both sides."
    concerned = sum(row.verdict == report.verdict for row in report.arrays)
    if report.verdict == "inconclusive":
        return f"{concerned:,} of {arrays} could not be judged."
    at_least = "At least " if report.at_least else ""
    wrong = f"{at_least}{report.wrong:,} of {counted(report.entries, 'entry', 'entries')}"
    return f"{wrong} {'is' if report.wrong == 1 else 'are'} wrong, in {concerned:,} of {arrays}."


def _factors(arrays: Iterable[ArrayReport]) -> list[str]:
    lines = [shortened(line) for line in map(factor, arrays) if line]
    more = len(lines) - FAILURES_SHOWN
    return [*lines[:FAILURES_SHOWN], f"({more:,} more arrays are multiples)"] if more > 0 else lines


def _missed(report: Report) -> list[str]:
    """Return what the check could have missed, and what else there is to know of it."""
    untested = sum(row.verdict == "untested" for row in report.arrays)
    unjudged = sum(row.verdict == "inconclusive" for row in report.arrays)
    zero = sum(row.zero for row in report.arrays)
    sentences = [
        detectable(report.arrays),
        f"{counted(unjudged, 'array', 'arrays')} could not be judged." if unjudged else "",
        f"{counted(untested, 'array was', 'arrays were')} not tested: nothing but zeros on both "
        "sides, or within rounding." if untested else "",
        f"{counted(zero, 'entry is', 'entries are')} zero on both sides." if zero else "",
        f"{counted(report.kinks, 'entry lies', 'entries lie')} on a kink, where any convention "
        "passes." if report.kinks else "",
        slips(report),
        doubt(report),
        kink(report),
        *report.notes,
    ]  # fmt: skip
    return [
        f"{one[:1].upper()}{one[1:]}{'' if one.endswith('.') else '.'}" for one in sentences if one
    ]


def _again(report: Report) -> list[tuple[str, str]]:
    """Return what it takes to run the check again, by what it is called."""
    date, *others = report.made.split("; ", 3)
    call = ""
    if not report.function and report.seed is not None:
        call = f'check_network(..., method="{report.method}", seed={report.seed})'
    named = [
        ("Call", call),
        ("Seed", "" if report.seed is None else str(report.seed)),
        ("Method", method(report)),
        ("Tolerance", tolerance(report)),
        ("Counts", counts(report)),
        ("Date", date),
        *zip(("Versions", "Machine", "Command"), others, strict=False),
    ]
    return [(what, text) for what, text in named if text]


def _array_table(rows: list[ArrayReport], report: Report) -> dict[str, Any]:
    kinks = report.kinks > 0
    columns = [column for column in ARRAY_COLUMNS if column[0] != "kinks" or kinks]
    cells = [_array_cells(row, kinks=kinks) for row in rows]
    return _table(columns, cells, [row.name for row in rows])


def _array_cells(row: ArrayReport, *, kinks: bool) -> list[str]:
    worst = row.worst
    return [
        ends(row.name),
        row.verdict,
        str(row.shape),
        f"{row.entries:,}",
        f"{row.wrong:,}",
        f"{row.zero:,}",
        *([f"{row.kinks:,}"] if kinks else []),
        *(["", "", ""] if worst is None else _sizes(worst, worst.beyond_hull)),
        _number(row.detectable) if math.isfinite(row.detectable) else "",
    ]


def _failure_table(failures: Iterable[Failure]) -> dict[str, Any]:
    cells = [
        [
            ends(failure.where),
            *told_apart(failure.given, failure.numerical),
            *_sizes(failure, failure.error),
            _number(failure.error_bar),
        ]
        for failure in failures
    ]
    return _table(FAILURE_COLUMNS, cells, [])


def _table(
    columns: list[tuple[str, str, str]], rows: list[list[str]], names: list[str]
) -> dict[str, Any]:
    """Return a table, without the columns in which every cell is empty."""
    used = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    return {
        "columns": [columns[place] for place in used],
        "rows": [[row[place] for place in used] for row in rows],
        # By the row, from 0: of two long names the ends may be alike.
        "long_names": {
            number: name for number, name in enumerate(names) if len(name) > LONGEST_WORD
        },
        # What cells are called where a row is no line: of the columns counted from 1.
        "labels": [
            (number, columns[place][0])
            for number, place in enumerate(used, 1)
            if number > 1 and columns[place][1] != "verdict"
        ],
    }


def _sizes(failure: Failure, error: float) -> list[str]:
    """Return an error, over the numerical derivative, and over what is allowed."""
    relative = _number(failure.beyond_hull / abs(failure.numerical)) if failure.numerical else ""
    allowed = _number(failure.error / failure.allowed) if failure.allowed else ""
    return [_number(error), relative, allowed]


def _number(value: float) -> str:
    return f"{value:.1e}" if value else "0"
