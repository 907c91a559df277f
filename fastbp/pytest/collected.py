"""All reports of a run in a folder: a page for people, and JSON for machines."""

from __future__ import annotations

import html
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from fastbp.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from fastbp.report import Report, TaylorTest

__all__ = ["CollectedReports", "as_entry", "summary_of"]

PAGE, FILE = "index.html", "reports.json"
WORST_FIRST = ("failed", "inconclusive", "vacuous", "passed")

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Gradient checks</title>
<style>
:root { color-scheme: light dark; }
body { background: light-dark(#fff, #15171a); color: light-dark(#1d1f23, #e4e5e7); }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem; }
pre { overflow-x: auto; font-size: .85rem; }
.check { margin-bottom: 1rem; }
.check > summary { overflow-wrap: anywhere; cursor: pointer; }
.check > .fastbp, .check > pre { overflow-x: auto; padding: .25rem 0 0 1rem; margin: 0; }
.check .fastbp-report :is(th, td) { overflow-wrap: normal; white-space: nowrap; }
.failed, .inconclusive, .vacuous { font-weight: bold; }
</style>
</head>
<body>
<main>
<h1>Gradient checks</h1>
"""
FOOT = "</main>\n</body>\n</html>\n"


class CollectedReports:
    """What the checks of a run found; with pytest-xdist, in whichever process.

    Parameters
    ----------
    folder : Path
        Where to write; it is made, and both files are opened, before the first test.

    Raises
    ------
    OSError
        If a file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (PAGE, FILE):
            with (folder / name).open("a", encoding="utf-8"):
                pass
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        self.problem = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a phase of a test has found."""
        self.entries += getattr(report, "gradient_checks", [])

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write both files, in the order of the names of the tests: workers finish in any."""
        self.entries.sort(key=lambda entry: str(entry["test"]))
        try:
            (self.folder / PAGE).write_text(page_of(self.entries), encoding="utf-8")
            (self.folder / FILE).write_text(json_of_run(self.entries), encoding="utf-8")
        except OSError as error:
            self.problem = f"{error.filename} cannot be written: {error.strerror}."
            session.exitstatus = 4  # as pytest ends where an option cannot be obeyed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the files are."""
        if self.problem:
            terminalreporter.write_line(f"--gradient-report: {printable(self.problem)}", red=True)
            return
        path = printable(str(self.folder / PAGE))
        terminalreporter.write_line(f"{counts_of(self.entries)}: {path}")


def as_entry(test: str, check: str, found: Report | TaylorTest) -> dict[str, Any]:
    """Return what is kept of a check, in strings alone: processes send it to each other."""
    from fastbp.report import Report
    from fastbp.report.serialise import as_json, json_text

    return {
        "test": test,
        "check": check,
        "verdict": found.verdict,
        "shown": shown(found),
        "report": as_json(found) if isinstance(found, Report) else None,
        "taylor": None if isinstance(found, Report) else json_text(found.to_dict()),
    }


def shown(found: Report | TaylorTest) -> str:
    """Return what the page has of a check: what a notebook would show, or plain text."""
    page = found._repr_html_()
    return page or f'<pre tabindex="0">{html.escape(printable(str(found), lines=True))}</pre>'


def summary_of(found: Report | TaylorTest) -> str:
    """Say the verdict of a check in a line, and what it takes to repeat it."""
    from fastbp.report import Report

    parts = [found.verdict, printable(found.function)]
    if isinstance(found, Report):
        parts.append(f"{found.wrong} of {found.entries} entries wrong")
    parts.append(f"seed {found.seed}")
    return "; ".join(part for part in parts if part)


def counts_of(entries: list[dict[str, Any]]) -> str:
    """Say how many checks there were, by verdict."""
    from fastbp.report.outline import counted

    counts = Counter(entry["verdict"] for entry in entries)
    each = ", ".join(f"{counts[one]} {one}" for one in WORST_FIRST if counts[one])
    checks = counted(len(entries), "gradient check", "gradient checks")
    return f"{checks} ({each})" if each else checks


def json_of_run(entries: list[dict[str, Any]]) -> str:
    """Return the checks of a run as JSON: for each its test, check, verdict and report.

    A report has the form of ``fastbp/report/report.schema.json``; a Taylor test has none, but is
    itself there, in the form of ``fastbp/report/taylor.schema.json``.
    """
    from fastbp.report.serialise import RUN_VERSION, json_text

    checks = [
        {
            **{name: entry[name] for name in ("test", "check", "verdict")},
            **{name: json.loads(entry[name] or "null") for name in ("report", "taylor")},
        }
        for entry in entries
    ]
    return json_text({"schema_version": RUN_VERSION, "checks": checks})


def page_of(entries: list[dict[str, Any]]) -> str:
    """Return a page of all checks, the worst first, each folded unless it did not pass."""
    parts = [HEAD, f"<p>{counts_of(entries)}.</p>\n"]
    parts += map(section_of, sorted(entries, key=lambda one: WORST_FIRST.index(one["verdict"])))
    return "".join([*parts, FOOT])


def section_of(entry: dict[str, Any]) -> str:
    """Return the part of the page for one check; no name of a user's is taken for markup."""
    verdict = entry["verdict"]
    unfolded = "" if verdict == "passed" else " open"
    test, check = (html.escape(printable(entry[name])) for name in ("test", "check"))
    return (
        f'<details class="check"{unfolded}>\n'
        f'<summary><span class="{verdict}">{verdict}</span> {test} ({check})</summary>\n'
        f"{entry['shown']}\n"
        "</details>\n"
    )
