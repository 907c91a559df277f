"""``fastbp show REPORT.json``: a report that was written as JSON, printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.cli.exit_codes import EPILOG, EXIT_CODES, complain
from fastbp.cli.terminal import print_report
from fastbp.errors import FastbpError, printable

if TYPE_CHECKING:
    import argparse

__all__ = ["add_show"]


def add_show(commands: Any) -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "show",
        help="print a report that was written as JSON",
        description="Print a report that was written by --json or Report.to_json.",
        epilog=EPILOG,
    )
    parser.add_argument("report", metavar="REPORT.json", help="the file")
    parser.set_defaults(run=run_show)


def run_show(options: argparse.Namespace) -> int:
    """Print a report from a file."""
    from fastbp.report.deserialise import read_json

    try:
        report = read_json(options.report)
    except FastbpError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"{printable(options.report)} cannot be read: {error.strerror}.")
    print_report(report)
    return EXIT_CODES[report.verdict]
