"""The program: its arguments, and what each command shares: interruptions, defects, pipes.

NumPy, numba and the rest of fastbp are imported by the command that needs them, so that
``fastbp --help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from fastbp import __version__
from fastbp.cli.check import add_check
from fastbp.cli.compare import add_compare
from fastbp.cli.compile_kernels import add_compile
from fastbp.cli.demo import add_demo
from fastbp.cli.exit_codes import DEFECT, EPILOG, INTERRUPTED, READER_GONE, complain
from fastbp.cli.show import add_show
from fastbp.cli.terminal import forget_the_output, write_whatever_the_terminal_knows
from fastbp.errors import printable

__all__ = ["main"]

# What a write to a full disk, or to one that fails, ends with.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

COMMANDS = (add_demo, add_check, add_show, add_compare, add_compile)


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
    except OSError as error:
        if error.errno not in NO_ROOM:
            return defect()
        forget_the_output()
        return complain(f"the output cannot be written: {error.strerror}.")
    except Exception:
        return defect()
    return code


def defect() -> int:
    """Print the traceback of what should not have been raised."""
    sys.stderr.write(printable(traceback.format_exc(), lines=True))
    return DEFECT


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
    for add_command in COMMANDS:
        add_command(commands)
    return parser
