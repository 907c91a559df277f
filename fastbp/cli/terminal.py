"""Text on standard output: reports in colour, whatever the terminal can show."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastbp.report import Report

__all__ = [
    "forget_the_output",
    "print_report",
    "write_whatever_the_terminal_knows",
]


def print_report(report: Report) -> None:
    """Print a report, in colour on a terminal."""
    from fastbp.report.text import render

    print(render(report, colour=wants_colour()))


def wants_colour() -> bool:
    """Tell whether to colour: on a terminal, unless the environment says otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def write_whatever_the_terminal_knows() -> None:
    """Replace what the output cannot encode: the name of a file is no reason to crash."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def forget_the_output() -> None:
    """Point stdout elsewhere, lest Python complains at exit that its reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
