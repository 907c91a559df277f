"""The command line: ``fastbp demo`` and ``fastbp check PROBLEM.npz``.

Exit codes: 0 passed, 1 failed, 2 bad input, 3 vacuous or inconclusive; 70 a defect of fastbp
(Python's own code for that, 1, would pass for a failed check); 130 after Ctrl-C.

NumPy, numba and the rest of fastbp are imported by the command that needs them, so that
``fastbp --help`` answers at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
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
        help="check the network of the book's notebook",
        description="Check the network of the book's notebook: its verdicts, then the report.",
        epilog=EPILOG,
    )
    demo.set_defaults(run=run_demo)

    check = commands.add_parser(
        "check",
        help="check the gradient in a problem file",
        description="Check the gradient in a problem file against finite differences; "
        "without one in the file, fastbp's own backward pass.",
        epilog=EPILOG,
    )
    check.add_argument("problem", metavar="PROBLEM.npz", help="the problem file")
    check.add_argument(
        "--method", default="certified", help="how to differentiate (default: certified)"
    )
    check.add_argument("--rtol", type=float, metavar="R", help="allowed relative difference")
    check.add_argument("--atol", type=float, metavar="A", help="allowed absolute difference")
    check.add_argument("--seed", type=int, metavar="N", help="of the random numbers")
    check.add_argument("--json", metavar="FILE", help="also write the report to FILE, as JSON")
    check.set_defaults(run=run_check)
    return parser


def run_demo(options: argparse.Namespace) -> int:
    """Check the notebook's default network; print its verdict lines, then the report."""
    del options
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
    print(f"\n{report}")
    return EXIT_CODES[report.verdict]


def run_check(options: argparse.Namespace) -> int:
    """Check the problem file that the options name, and print the report."""
    try:
        report = check_problem(options)
        if options.json is not None:
            report.to_json(options.json)
    except FastbpError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"{printable(str(error.filename))} cannot be written: {error.strerror}.")
    print(report)
    return EXIT_CODES[report.verdict]


def check_problem(options: argparse.Namespace) -> Report:
    """Load and check; say so where it is our own gradient that is checked."""
    from fastbp.network.checks.check_network import check_network
    from fastbp.network.problem_file import load_problem

    problem = load_problem(options.problem)
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
    if problem.gradients is None:
        name = printable(options.problem)
        print(f"{name} holds no gradient: fastbp's own backward pass is checked.\n")
    return report


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
