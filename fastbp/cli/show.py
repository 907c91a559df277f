"""``fastbp show REPORT.json``: a report that was written as JSON, printed or as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.cli.exit_codes import EPILOG, EXIT_CODES, complain
from fastbp.cli.outputs.checked import Checked
from fastbp.cli.outputs.formats import as_page, require_jinja
from fastbp.cli.outputs.output_file import OutputFile, all_opened
from fastbp.cli.terminal import print_report
from fastbp.errors import FastbpError, ReportFileError

if TYPE_CHECKING:
    import argparse

    from fastbp.report import Report

__all__ = ["add_show", "read_report"]


def add_show(commands: Any) -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "show",
        help="print a report that was written as JSON",
        description="Print a report that was written by --json or Report.to_json.",
        epilog=EPILOG,
    )
    parser.add_argument("report", metavar="REPORT.json", help="the file")
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="also write a page; - writes it to standard output, and nothing else",
    )
    parser.set_defaults(run=run_show)


def run_show(options: argparse.Namespace) -> int:
    """Print a report from a file, and write it as a page."""
    outputs = []
    try:
        report = read_report(options.report)
        if options.html is not None:
            require_jinja()
            outputs.append(OutputFile("--html", options.html, as_page))
        if options.html != "-":
            print_report(report)
        with all_opened(outputs) as write:
            write([Checked(options.report, report)])
    except FastbpError as error:
        return complain(str(error))
    return EXIT_CODES[report.verdict]


def read_report(path: str) -> Report:
    """Read a report from a file.

    Raises
    ------
    ReportFileError
        If the file cannot be read, or holds no report.
    """
    from fastbp.report.deserialise import read_json

    try:
        return read_json(path)
    except OSError as error:
        raise ReportFileError(f"{path} cannot be read: {error.strerror}.") from error
