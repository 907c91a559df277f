"""``fastbp check PROBLEM.npz``: the gradients in problem files, against finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.cli.exit_codes import EPILOG, EXIT_CODES, complain, worst_code
from fastbp.cli.output_file import written_to
from fastbp.cli.terminal import print_report
from fastbp.errors import FastbpError, printable

if TYPE_CHECKING:
    import argparse

    from fastbp.report import Report

__all__ = ["add_check"]


def add_check(commands: Any) -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "check",
        help="check the gradients in problem files",
        description="Check the gradient in a problem file against finite differences; "
        "without one in the file, fastbp's own backward pass.",
        epilog=EPILOG,
    )
    parser.add_argument("problems", metavar="PROBLEM.npz", nargs="+", help="the problem files")
    parser.add_argument(
        "--method", default="certified", help="how to differentiate (default: certified)"
    )
    parser.add_argument("--rtol", type=float, metavar="R", help="allowed relative difference")
    parser.add_argument("--atol", type=float, metavar="A", help="allowed absolute difference")
    parser.add_argument("--seed", type=int, metavar="N", help="of the random numbers")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="also write the report to FILE, as JSON (of several problems an object of reports, "
        "by the names of their files); - writes it to standard output, and nothing else",
    )
    parser.set_defaults(run=run_check)


def run_check(options: argparse.Namespace) -> int:
    """Check the problem files that the options name, and print the reports."""
    target = options.json
    try:
        with written_to(target) as write:
            reports, codes = check_all(options, quiet=target == "-")
            if reports:
                write(json_of(reports, several=len(options.problems) > 1))
    except BrokenPipeError:
        raise
    except OSError as error:  # of a file that is open already it does not know the name
        name = error.filename or target or "the output"
        return complain(f"{printable(str(name))} cannot be written: {error.strerror}.")
    return worst_code(codes)


def check_all(options: argparse.Namespace, *, quiet: bool) -> tuple[dict[str, Report], set[int]]:
    """Check one problem after the other, whatever is wrong with those before."""
    reports: dict[str, Report] = {}
    codes = set()
    for problem in dict.fromkeys(options.problems):
        try:
            report, own = check_problem(problem, options)
        except FastbpError as error:
            codes.add(complain(str(error)))
            continue
        reports[problem] = report
        codes.add(EXIT_CODES[report.verdict])
        if quiet:
            continue
        if own:
            print(
                f"{printable(problem)} holds no gradient: fastbp's own backward pass is checked.\n"
            )
        elif len(options.problems) > 1:
            print(f"{printable(problem)}:\n")
        print_report(report)
        if len(options.problems) > 1:
            print()
    return reports, codes


def check_problem(path: str, options: argparse.Namespace) -> tuple[Report, bool]:
    """Load and check; whether it is our own gradient that is checked."""
    from fastbp.network.checks.check_network import check_network
    from fastbp.network.problem_file import load_problem

    problem = load_problem(path)
    report = check_network(
        problem.net,
        problem.x,
        problem.y,
        problem.gradients,
        method=options.method,
        rtol=options.rtol,
        atol=options.atol,
        seed=options.seed,
    )
    return report, problem.gradients is None


def json_of(reports: dict[str, Report], *, several: bool) -> str:
    """Return one report as JSON, or several ones by the names of their files."""
    import json

    from fastbp.report.serialise import as_dict, as_json

    if not several:
        return as_json(next(iter(reports.values())))
    by_name = {name: as_dict(report) for name, report in reports.items()}
    return json.dumps(by_name, indent=2, allow_nan=False) + "\n"
