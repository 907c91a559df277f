"""GitHub Actions: an annotation for each problem, and reports in the summary of the job."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from fastbp.errors import OptionError, printable

if TYPE_CHECKING:
    from fastbp.cli.outputs.checked import Checked

__all__ = ["annotation", "as_summary", "commands_stopped", "summary_file"]

SUMMARY = "GITHUB_STEP_SUMMARY"
LONGEST = 2000  # signs of a message
MOST = 900_000  # bytes; a summary of more than 1 MiB is not shown at all


def summary_file() -> str:
    """Return the file that GitHub shows as the summary of a job.

    Raises
    ------
    OptionError
        If GitHub has not said which.
    """
    path = os.environ.get(SUMMARY)
    if not path:
        raise OptionError(
            f"--github needs {SUMMARY}, which GitHub Actions sets, and it is not set."
        )
    return path


def as_summary(checked: list[Checked]) -> str:
    """Return all reports as Markdown; what is too much for a summary is left out, and said."""
    from fastbp.report.markdown import as_prose

    parts: list[str] = []
    size = 0
    for place, one in enumerate(checked):
        name = as_prose(printable(one.name))
        part = f"## {name}\n\n{as_prose(one.complaint) if one.report is None else ''}"
        if one.report is not None:
            part += one.report.to_markdown()
        size += len(part.encode())
        if size > MOST:
            parts.append(f"{len(checked) - place} more reports are too long for this summary.")
            break
        parts.append(part)
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n\n"


def annotation(checked: Checked) -> str:
    """Return the command that annotates a run with what is wrong; empty for what has passed."""
    report = checked.report
    if report is None:
        return command("error", "fastbp: bad input", checked.complaint, checked)
    if report:
        return ""
    level = "error" if report.verdict == "failed" else "warning"
    rows = [row for row in report.arrays if row.verdict != "passed"]
    said = report.diagnosis or [f"{row.name}: {row.reason or row.verdict}" for row in rows]
    title = f"fastbp: {report.verdict.upper()} {checked.name}"
    return command(level, title, "\n".join(printable(one) for one in said), checked)


def command(level: str, title: str, message: str, checked: Checked) -> str:
    """Return a workflow command; see "Workflow commands for GitHub Actions"."""
    properties = {"title": title[:200]}
    if checked.source is not None:
        path, line = checked.source
        properties = {"file": path, "line": str(line), **properties}
    listed = ",".join(f"{name}={of_property(value)}" for name, value in properties.items())
    return f"::{level} {listed}::{of_message(message[:LONGEST])}\n"


def of_message(text: str) -> str:
    """Escape a message, as the runner of GitHub Actions undoes it."""
    text = printable(text, lines=True)
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def of_property(text: str) -> str:
    """Escape a property of a command."""
    return of_message(text).replace(":", "%3A").replace(",", "%2C")


def commands_stopped() -> tuple[str, str]:
    """Return the lines between which no line of a report is taken for a command."""
    token = secrets.token_hex(16)
    return f"::stop-commands::{token}\n", f"::{token}::\n"
