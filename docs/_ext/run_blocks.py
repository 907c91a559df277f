"""A Sphinx extension that runs the blocks of every page, and shows what they print and plot.

It works on the source of a page, before it is parsed: a block in braces becomes an ordinary block
of code and, behind it, an ordinary block of text, an image or Markdown. A block that raises is a
warning. `blocks` says what blocks there are.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks import Block, blocks_of, run_command
from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LOG = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent.parent
FIGURES = "_figures"  # in the folder of the sources; not committed


def setup(app: Sphinx) -> dict[str, Any]:
    """Run the blocks whenever a page is read."""
    app.connect("source-read", show_what_blocks_print)
    return {"parallel_read_safe": False}


def show_what_blocks_print(app: Sphinx, page: str, source: list[str]) -> None:
    """Run the blocks of a page in a folder of their own, and put their output behind them."""
    text = source[0]
    blocks = list(blocks_of(text))
    if not any(block.kind in ("exec", "command", "python", "pycon") for block in blocks):
        return
    figures = Path(app.srcdir) / FIGURES
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "examples", Path(folder) / "examples")
        with contextlib.chdir(folder):
            session = Session(page, figures)
            parts, end = [], 0
            for block in blocks:
                shown = session.run(block)
                if shown is not None:
                    parts += [text[end : block.start], shown]
                    end = block.end
    source[0] = "".join([*parts, text[end:]])


class Session:
    """The blocks of one page, which share their names."""

    def __init__(self, page: str, figures: Path) -> None:
        self.page, self.figures, self.drawn = page, figures, 0
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: Block) -> str | None:
        """Run a block; return the Markdown in its place, None where it stays as it is."""
        try:
            if block.kind == "python":
                self.printed_by(block.text)
            elif block.kind == "pycon":
                for example in doctest.DocTestParser().get_examples(block.text):
                    self.example(example)
            elif block.kind == "exec":
                return self.executed(block)
            elif block.kind == "command":
                return self.commanded(block)
        except (Exception, SystemExit) as error:
            LOG.warning("%r in the block\n%s", error, block.text, location=self.page)
        return None

    def printed_by(self, code: str, mode: str = "exec") -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, self.page, mode), self.names)
        return printed.getvalue()

    def example(self, example: doctest.Example) -> None:
        """Run one line of a doctest; what it prints is compared by the tests."""
        try:
            self.printed_by(example.source, "single")
        except Exception:
            if example.exc_msg is None:
                raise

    def executed(self, block: Block) -> str:
        printed = self.printed_by(block.text)
        parts = [] if "hide" in block.options else [fenced("python", block.text)]
        if "markdown" in block.options:
            parts.append(printed)
        elif printed.strip():
            parts.append(fenced("text", excerpt(printed, block.options)))
        if "figure" in block.options:
            parts += self.pictures(block.options["figure"])
        return "\n\n".join(parts)

    def pictures(self, words: str) -> list[str]:
        """Save the figures that are open, and return the Markdown that shows them."""
        import matplotlib.pyplot as plt

        if not plt.get_fignums():
            raise ValueError("the block draws no figure")
        shown = []
        for number in plt.get_fignums():
            self.drawn += 1
            name = f"{self.page.replace('/', '-')}-{self.drawn}.svg"
            self.figures.mkdir(exist_ok=True)
            plt.figure(number).savefig(self.figures / name, bbox_inches="tight", dpi=150)
            options = f":alt: {words}\n:class: on-paper"
            shown.append(f"```{{image}} /{FIGURES}/{name}\n{options}\n```")
        plt.close("all")
        return shown

    def commanded(self, block: Block) -> str:
        ran = run_command(block.text)
        if ran.returncode != int(block.options.get("code", 0)):
            raise ValueError(f"exit code {ran.returncode}:\n{ran.stdout}")
        return fenced("console", block.text + excerpt(ran.stdout, block.options))


def excerpt(text: str, options: dict[str, str]) -> str:
    """Return the lines that the options ask for."""
    lines = text.strip("\n").splitlines()
    if start := options.get("from"):
        lines = lines[next(i for i, line in enumerate(lines) if start in line) :]
    if (count := int(options.get("lines", len(lines)))) < len(lines):
        lines = [*lines[:count], "..."]
    return "\n".join(lines) + "\n"


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
