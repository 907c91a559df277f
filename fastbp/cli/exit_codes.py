"""What a command ends with: its exit code, and a word on what was wrong with its input.

0 passed, 1 failed, 2 bad input, 3 vacuous or inconclusive, of several problems the first of
2, 1, 3 that one of them has; 70 a defect of fastbp (Python's own code for that, 1, would pass for a
failed check); 130 after Ctrl-C; 141 if the reader of the output has gone.
"""

from __future__ import annotations

import sys

__all__ = [
    "BAD_INPUT",
    "DEFECT",
    "EPILOG",
    "EXIT_CODES",
    "INTERRUPTED",
    "READER_GONE",
    "complain",
    "worst_code",
]

BAD_INPUT = 2
DEFECT = 70  # EX_SOFTWARE of sysexits.h
# 128 + the number of the signal, as shells count: SIGINT is 2, SIGPIPE is 13.
INTERRUPTED = 130
READER_GONE = 141

EXIT_CODES = {"passed": 0, "failed": 1, "bad input": BAD_INPUT, "vacuous": 3, "inconclusive": 3}
# Of several problems: the first that one of them has.
OF_SEVERAL = (BAD_INPUT, 1, 3, 0)

EPILOG = "Exit codes: 0 passed, 1 failed, 2 bad input, 3 vacuous or inconclusive."


def complain(message: str) -> int:
    """Say on stderr what is wrong with the input."""
    print(f"fastbp: {message}", file=sys.stderr)
    return BAD_INPUT


def worst_code(codes: set[int]) -> int:
    """Return the exit code of several problems from those of each."""
    return next(code for code in OF_SEVERAL if code in codes)
