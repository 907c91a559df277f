"""Names of thousands of letters, as much of them as a reader can tell apart."""

from __future__ import annotations

import re

__all__ = ["LONGEST_WORD", "ends", "shortened"]

LONGEST_WORD = 100
LEFT_OUT = "..."  # every font has it


def ends(name: str, most: int = LONGEST_WORD) -> str:
    """Return a name, without its middle where it has more letters than `most`.

    Whoever has longer names knows them by their ends.

    Examples
    --------
    >>> ends("weights[0]"), ends("encoder.layers.0.attention.in_proj_weight", 20)
    ('weights[0]', 'encoder.laye...eight')
    """
    if len(name) <= most:
        return name
    kept = most - len(LEFT_OUT)
    tail = kept // 3
    return f"{name[: kept - tail]}{LEFT_OUT}{name[-tail:]}"


def shortened(text: str) -> str:
    """Return text with the middle of very long words left out.

    Examples
    --------
    >>> shortened("short words stay"), len(shortened("x" * 10_000 + " is wrong"))
    ('short words stay', 109)
    """
    if len(text) <= LONGEST_WORD:
        return text
    return re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: ends(word[0]), text)
