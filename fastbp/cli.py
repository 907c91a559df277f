"""The command line: ``fastbp demo``, ``fastbp check PROBLEM.npz`` and ``fastbp show REPORT.json``.

Exit codes: 0 passed, 1 failed, 2 bad input, 3 vacuous or inconclusive, of several problems the
first of 2, 1, 3 that one of them has; 70 a defect of fastbp (Python's own code for that, 1, would
pass for a failed check); 130 after Ctrl-C; 141 if the reader of the output has gone.

NumPy, numba and the rest of fastbp are imported by the command that needs them, so that
``fastbp --help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from fastbp import __version__
from fastbp.errors import FastbpError, printable

if TYPE_CHECKING:
    from fastbp.report import Report

__all__ = ["main"]

BAD_INPUT = 2
DEFECT = 70  # EX_SOFTWARE of sysexits.h
# 128 + the number of the signal, as shells count: SIGINT is 2, SIGPIPE is 13.
INTERRUPTED = 130
READER_GONE = 141

EXIT_CODES = {"passed": 0, "failed": 1, "vacuous": 3, "inconclusive": 3}
# Of several problems: the first that one of them has.
OF_SEVERAL = (BAD_INPUT, 1, 3, 0)

EPILOG = "Exit codes: 0 passed, 1 failed, 2 bad input, 3 vacuous or inconclusive."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version`` (code 0), and for arguments that make no command
        (code 2).
    """
    options = build_parser().parse_args(arguments)
    write_whatever_the_terminal_knows()
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("fastbp: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        forget_the_output()
        return READER_GONE
    except Exception:
        sys.stderr.write(printable(traceback.format_exc(), lines=True))
        return DEFECT
    return code


class Parser(argparse.ArgumentParser):
    """A parser whose complaints quote arguments, file names among them, in printable form."""

    def error(self, message: str) -> NoReturn:
        """End with a message and the code for bad input."""
        super().error(printable(message))


def build_parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    parser = Parser(
        prog="fastbp", description="Check a backward pass, every single derivative.", epilog=EPILOG
    )
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="check the network of the book's notebook, or plant a mistake",
        description="Check the network of the book's notebook: its verdicts, then the report. "
        "With a mistake, plant it in a backward pass, and see whether the report names it.",
        epilog=EPILOG,
    )
    demo.add_argument(
        "mistake", metavar="MISTAKE", nargs="?", help='which one; "list" shows their names'
    )
    demo.set_defaults(run=run_demo)

    check = commands.add_parser(
        "check",
        help="check the gradients in problem files",
        description="Check the gradient in a problem file against finite differences; "
        "without one in the file, fastbp's own backward pass.",
        epilog=EPILOG,
    )
    check.add_argument("problems", metavar="PROBLEM.npz", nargs="+", help="the problem files")
    check.add_argument(
        "--method", default="certified", help="how to differentiate (default: certified)"
    )
    check.add_argument("--rtol", type=float, metavar="R", help="allowed relative difference")
    check.add_argument("--atol", type=float, metavar="A", help="allowed absolute difference")
    check.add_argument("--seed", type=int, metavar="N", help="of the random numbers")
    check.add_argument(
        "--json",
        metavar="FILE",
        help="also write the report to FILE, as JSON (of several problems an object of reports, "
        "by the names of their files); - writes it to standard output, and nothing else",
    )
    check.set_defaults(run=run_check)

    show = commands.add_parser(
        "show",
        help="print a report that was written as JSON",
        description="Print a report that was written by --json or Report.to_json.",
        epilog=EPILOG,
    )
    show.add_argument("report", metavar="REPORT.json", help="the file")
    show.set_defaults(run=run_show)
    return parser


def run_demo(options: argparse.Namespace) -> int:
    """Check the notebook's default network; print its verdict lines, then the report."""
    if options.mistake is not None:
        return run_planted(options.mistake)
    import numpy as np

    from fastbp import notebook
    from fastbp.network.checks.check_network import check_network
    from fastbp.network.network import Network

    weights, biases = notebook.init_params()
    net = Network(weights, biases, relu_at_zero=notebook.RELU_AT_ZERO)
    x, y = np.full((1, 1), notebook.INPUT), np.full((1, 1), notebook.TARGET)
    output = net.forward(x).output.item()
    print("The network of the notebook: 5 hidden layers of 6 units, one input, one output.")
    print(f"Output {output:.3f}, loss {net.loss(x, y):.3f}.\n")
    # Two real losses for each parameter, as in the notebook: and half of the cold start is spared.
    report = check_network(net, x, y, method="replay")
    for title, row in notebook.rows_in_order(report):
        print(f"{title}: {notebook.verdict_line(row)}")
    print()
    print_report(report)
    return EXIT_CODES[report.verdict]


def run_planted(name: str) -> int:
    """Plant a mistake in a backward pass, check it, and print the report."""
    import numpy as np

    from fastbp.network.checks.check_network import check_network
    from fastbp.network.checks.diagnosis.planted_mistakes import MISTAKES, planted_gradients
    from fastbp.network.network import Network

    if name == "list":
        width = max(map(len, MISTAKES))
        print("\n".join(f"{one:{width}}  {mistake.said}" for one, mistake in MISTAKES.items()))
        return 0
    net = Network.random(
        [5, 7, 7, 4], seed=1, loss="softmax_cross_entropy", reduction="mean", weight_decay=0.01
    )
    random = np.random.default_rng(1)
    x, y = random.standard_normal((5, 6)), random.integers(4, size=6)
    try:
        gradients = planted_gradients(name, net, x, y)
    except FastbpError as error:
        return complain(str(error))
    print(f"Planted: {MISTAKES[name].said}.\n")
    report = check_network(net, x, y, gradients, method="replay")
    print_report(report)
    return EXIT_CODES[report.verdict]


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
    return next(code for code in OF_SEVERAL if code in codes)


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


def json_of(reports: dict[str, Report], *, several: bool) -> str:
    """Return one report as JSON, or several ones by the names of their files."""
    import json

    from fastbp.report.serialise import as_dict, as_json

    if not several:
        return as_json(next(iter(reports.values())))
    by_name = {name: as_dict(report) for name, report in reports.items()}
    return json.dumps(by_name, indent=2, allow_nan=False) + "\n"


@contextlib.contextmanager
def written_to(target: str | None) -> Iterator[Callable[[str], object]]:
    """Yield what writes a text to a file; a file that cannot be written is known before.

    A file that is there keeps what it holds until there is something to write, and one that was
    made for nothing is removed.
    """
    if target is None or target == "-":
        yield len if target is None else sys.stdout.write
        return
    is_new = not os.path.exists(target)
    with open(target, "a", encoding="utf-8") as file:
        written = []

        def write(text: str) -> None:
            file.truncate(0)
            file.write(text)
            written.append(text)

        yield write
    if is_new and not written:
        os.remove(target)


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


def complain(message: str) -> int:
    """Say on stderr what is wrong with the input."""
    print(f"fastbp: {message}", file=sys.stderr)
    return BAD_INPUT


def write_whatever_the_terminal_knows() -> None:
    """Replace what the output cannot encode: the name of a file is no reason to crash."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def forget_the_output() -> None:
    """Point stdout elsewhere, lest Python complains at exit that its reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
