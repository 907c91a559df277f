"""``fastbp check``: the gradients in problem files, or of functions, against differences."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastbp.cli.exit_codes import EPILOG, EXIT_CODES, complain, worst_code
from fastbp.cli.outputs.formats import as_json, as_junit, as_page, require_page
from fastbp.cli.outputs.github import annotation, as_summary, commands_stopped, summary_file
from fastbp.cli.outputs.output_file import OutputFile, all_opened
from fastbp.cli.problems import check_problem
from fastbp.cli.terminal import print_report
from fastbp.errors import FastbpError, printable

if TYPE_CHECKING:
    import argparse

    from fastbp.cli.outputs.checked import Checked

__all__ = ["add_check"]


def add_check(commands: Any) -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "check",
        help="check the gradients in problem files, or of functions",
        description="Check the gradient in a problem file against finite differences; "
        "without one in the file, fastbp's own backward pass. Or call a function, MODULE:FUNCTION, "
        "that returns f, gradient and at, or a network, x, y and gradients.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "problems",
        metavar="PROBLEM",
        nargs="+",
        help="a problem file (.npz), or MODULE:FUNCTION, found from where the program runs",
    )
    parser.add_argument(
        "--method", help="how to differentiate (default: certified for networks, else auto)"
    )
    parser.add_argument("--rtol", type=float, metavar="R", help="allowed relative difference")
    parser.add_argument("--atol", type=float, metavar="A", help="allowed absolute difference")
    parser.add_argument("--seed", type=int, metavar="N", help="of the random numbers")
    outputs = parser.add_argument_group(
        "outputs", "each beside the printed reports; - writes it to standard output in their place"
    )
    outputs.add_argument(
        "--json",
        metavar="FILE",
        help="the report as JSON; of several problems an object of reports, by their names",
    )
    outputs.add_argument("--html", metavar="FILE", help="the report of one problem as a page")
    outputs.add_argument("--markdown", metavar="FILE", help="all reports as Markdown")
    outputs.add_argument("--junit", metavar="FILE", help="JUnit XML, a test case for each problem")
    outputs.add_argument(
        "--github",
        action="store_true",
        help="in GitHub Actions: annotations, and the reports in the summary of the job",
    )
    parser.set_defaults(run=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Check the problems that the options name, print the reports, and write the files."""
    try:
        outputs = outputs_of(options)
        quiet = any(output.is_standard_output for output in outputs)
        with all_opened(outputs, options.problems) as write:
            checked = check_all(options, quiet=quiet)
            write(checked)
    except FastbpError as error:
        return complain(str(error))
    if options.github:
        stream = sys.stderr if quiet else sys.stdout
        stream.write("".join(map(annotation, checked)))
    return worst_code({EXIT_CODES[one.verdict] for one in checked})


def outputs_of(options: argparse.Namespace) -> list[OutputFile]:
    """Return the files that the options ask for.

    Raises
    ------
    OptionError
        If GitHub has not said where summaries go, or a page cannot be made.
    """
    several = len(set(options.problems)) > 1
    if options.html is not None:
        require_page(several=several)
    outputs = [
        OutputFile("--json", options.json, lambda found: as_json(found, several=several)),
        OutputFile("--html", options.html, as_page),
        OutputFile("--markdown", options.markdown, as_summary),
        OutputFile("--junit", options.junit, as_junit),
    ]
    outputs = [output for output in outputs if output.target is not None]
    if options.github:
        outputs.append(OutputFile("--github", summary_file(), as_summary, appends=True))
    return outputs


def check_all(options: argparse.Namespace, *, quiet: bool) -> list[Checked]:
    """Check one problem after the other, whatever is wrong with those before."""
    before, after = commands_stopped() if options.github and not quiet else ("", "")
    names = dict.fromkeys(options.problems)
    several = len(names) > 1
    print(before, end="")
    checked = []
    for name in names:
        found = check_problem(name, options)
        checked.append(found)
        if found.report is None:
            complain(found.complaint)
        elif not quiet:
            print(introduction(found, several=several), end="")
            print_report(found.report)
            print("\n" if several else "", end="")
    print(after, end="")
    return checked


def introduction(found: Checked, *, several: bool) -> str:
    """Say what the report that follows is about, where that is not clear."""
    if found.own:
        return (
            f"{printable(found.name)} holds no gradient: fastbp's own backward pass is checked.\n\n"
        )
    return f"{printable(found.name)}:\n\n" if several else ""
