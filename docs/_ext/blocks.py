"""The blocks of a Markdown page, as the tests and the build of the documentation run them.

=============  ====================================================================================
``python``     is run
``pycon``      is a doctest
``text``       is what the ``python`` block before it prints
``console``    holds commands (after ``$``) with what they print
``{exec}``     is run, and what it prints or plots is put behind it when the pages are built
``{command}``  holds one command (after ``$``); what it prints is put behind it likewise
=============  ====================================================================================

All blocks of a page run one after the other, in one session and one folder. The first lines of a
block in braces may be options, ``:name: value``: of ``{exec}``

- ``:hide:`` does not show the code;
- ``:lines: 12`` shows the first 12 lines of the output;
- ``:from: text`` shows the output from the first line that holds the text;
- ``:markdown:`` takes the output for Markdown: a table, say;
- ``:figure: words`` shows the figure of matplotlib that the block has drawn, with the words as its
  alternative text.

``{command}`` has ``:lines:`` and ``:from:``, and ``:code: 1`` for an exit code that is not 0.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Block", "blocks_of", "run_command"]

PROGRAMS = {"fastbp": [sys.executable, "-m", "fastbp"], "python": [sys.executable]}

FENCED = re.compile(
    r"^```(?P<kind>\w+|\{(?:exec|command)\})\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
OPTION = re.compile(r":([a-z]+):[ ]?(.*)\n")


class Block(NamedTuple):
    """One fenced block, and where it stands in its page."""

    kind: str
    text: str
    options: dict[str, str]
    start: int
    end: int


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in their order.

    Parameters
    ----------
    page : str
        The Markdown of the page.

    Yields
    ------
    Block
        ``kind`` is the word after the fence, without braces; `start` and `end` are places in the
        text of the page.
    """
    for match in FENCED.finditer(page):
        kind, text = match["kind"], match["text"]
        options: dict[str, str] = {}
        while kind.startswith("{") and (option := OPTION.match(text)):
            options[option[1]] = option[2]
            text = text[option.end() :]
        yield Block(kind.strip("{}"), text, options, match.start(), match.end())


def run_command(command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a block, with or without the ``$``; what it says on stderr is in its output."""
    program, *arguments = shlex.split(command.strip().removeprefix("$ "))
    return subprocess.run(
        [*PROGRAMS[program], *arguments],
        env=os.environ | {"PYTHONUTF8": "1", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
