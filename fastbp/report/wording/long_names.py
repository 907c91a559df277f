"""Names of thousands of letters, as much of them as a reader can tell apart."""

from __future__ import annotations

import re

__all__ = ["LONGEST_WORD", "ends", "shortened"]

# Whoever has longer names knows them by their ends.
LONGEST_WORD = 100
HEAD, TAIL = 60, 30


def ends(name: str) -> str:
    """Return a name with its middle left out where it is very long.

    Examples
    --------
    >>> ends("weights[0]"), len(ends("x" * 10_000))
    ('weights[0]', 91)
    """
    return f"{name[:HEAD]}…{name[-TAIL:]}" if len(name) > LONGEST_WORD else name


def shortened(text: str) -> str:
    """Return text with the middle of very long words left out.

    Examples
    --------
    >>> shortened("short words stay"), len(shortened("x" * 10_000 + " is wrong"))
    ('short words stay', 100)
    """
    if len(text) <= LONGEST_WORD:
        return text
    return re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: ends(word[0]), text)
