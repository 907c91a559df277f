"""``fastbp show REPORT.json``: reports that were written as JSON, printed or as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.cli.exit_codes import EPILOG, EXIT_CODES, complain, worst_code
from fastbp.cli.outputs.checked import Checked
from fastbp.cli.outputs.formats import as_page, require_page
from fastbp.cli.outputs.output_file import OutputFile, all_opened
from fastbp.cli.terminal import print_report
from fastbp.errors import FastbpError, ReportFileError, printable

if TYPE_CHECKING:
    import argparse

    from fastbp.report import Report

__all__ = ["add_show", "read_stored"]


def add_show(commands: Any) -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "show",
        help="print a report that was written as JSON",
        description="Print a report that was written by --json or Report.to_json.",
        epilog=EPILOG,
    )
    parser.add_argument("report", metavar="REPORT.json", help="the file, of one report or several")
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="also write a page; - writes it to standard output, and nothing else",
    )
    parser.set_defaults(run=run_show)


def run_show(options: argparse.Namespace) -> int:
    """Print what a file holds, and write it as a page."""
    outputs = []
    try:
        reports = read_stored(options.report)
        if options.html is not None:
            require_page(several=len(reports) > 1)
            outputs.append(OutputFile("--html", options.html, as_page))
        with all_opened(outputs, [options.report]) as write:
            if options.html != "-":
                print_all(reports)
            write([Checked(name, report) for name, report in reports.items()])
    except FastbpError as error:
        return complain(str(error))
    return worst_code({EXIT_CODES[report.verdict] for report in reports.values()})


def print_all(reports: dict[str, Report]) -> None:
    """Print a report, or several ones under the names of their problems."""
    for name, report in reports.items():
        if name:
            print(f"{printable(name)}:\n")
        print_report(report)
        if name:
            print()


def read_stored(path: str) -> dict[str, Report]:
    """Read the reports of a file, by the names of their problems; of a single one, "".

    Raises
    ------
    ReportFileError
        If the file cannot be read, or holds no report.
    """
    from fastbp.report.deserialise import read_reports

    try:
        return read_reports(path)
    except OSError as error:
        raise ReportFileError(f"{path} cannot be read: {error.strerror}.") from error
