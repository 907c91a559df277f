"""Every example that a reader can see runs: READMEs, docs and docstrings.

In the Markdown pages a ``pycon`` block is a doctest, a ``python`` block is run, a ``text`` block
is what the ``python`` block before it prints, and a ``console`` block holds commands (after ``$``)
with what they print. In the documentation, ``{exec}`` and ``{command}`` blocks are run, and the
build of the pages puts behind them what they print (docs/_ext/blocks.py). The blocks of a page run
one after the other, in one session and one folder. ``sh`` blocks are for the reader's own machine.
"""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import re
import shutil
import sys
from decimal import Decimal
from pathlib import Path
from types import FunctionType
from typing import Any

import fastbp.kernels
import pytest
from blocks import blocks_of, run_command

import fastbp

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("[!_]*/**/*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
PIECE = re.compile(
    r"(?P<effort>[\d,]+ (?:losses|values) evaluated(?: in|;) [\d.e-]+ s\b)"
    r"|(?P<any>\.\.\.)|(?P<space>\s+)"
    rf"|(?P<rule>-{{3,}})|(?P<number>{NUMBER.pattern})"
)
ROUNDING = 1e-3  # Errors and error bars below it come from rounding: no two machines share them.
PACKAGES = (fastbp, fastbp.kernels)  # in a checkout, the kernels are a folder of their own
MODULES = {package.__name__ for package in PACKAGES} | {
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
}


# The optional packages that a module imports, and with them the modules of its own package.
NEEDS = {
    "fastbp.jax": "jax",
    "fastbp.torch": "torch",
    "fastbp.runtime.workers.dask_pool": "distributed",
}


def needed_by(module: str) -> str:
    """The package without which the module cannot be imported."""
    for name, package in NEEDS.items():
        if module == name or module.startswith(f"{name}."):
            return package
    return "fastbp"


class LenientChecker(doctest.OutputChecker):
    """Compare as another machine needs it: the same text, the same numbers up to rounding."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:  # noqa: ARG002
        want = want.replace(doctest.BLANKLINE_MARKER, "")
        match = re.fullmatch(self.pattern(want), got.strip(), re.DOTALL)
        if match is None:
            return False
        numbers = (piece["number"] for piece in PIECE.finditer(want) if piece["number"])
        return all(map(self.same_number, numbers, match.groups()))

    @staticmethod
    def same_number(want: str, got: str) -> bool:
        """Compare: integers exactly, others to 1 % or one unit of the last digit shown."""
        if want.lstrip("+-").isdecimal():
            return want == got
        if max(abs(float(want)), abs(float(got))) < ROUNDING:
            return True
        unit = float(Decimal((0, (1,), int(Decimal(want).as_tuple().exponent))))
        return math.isclose(float(want), float(got), rel_tol=0.01, abs_tol=unit)

    @staticmethod
    def pattern(want: str) -> str:
        """Turn a wanted text into a regular expression with a group for each number."""
        parts, end = [], 0
        kinds = {
            "effort": r"[\d,]+ (?:losses|values) evaluated(?: in|;) [\d.e-]+ s",
            "any": ".*?",
            "space": r"\s+",
            "rule": "-+",
            "number": f"({NUMBER.pattern})",
        }
        text = want.strip()
        for piece in PIECE.finditer(text):
            parts += [re.escape(text[end : piece.start()]), kinds[str(piece.lastgroup)]]
            end = piece.end()
        return "".join([*parts, re.escape(text[end:])])


# The build of the documentation runs its pages too.
@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_every_block_of_a_page_runs(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {"__name__": "__main__"}
    for kind, text, options, *_ in blocks_of(page.read_text(encoding="utf-8")):
        if kind == "pycon":
            session = run_doctest(text, session, page.name)
        elif kind in ("python", "exec"):
            exec(compile(text, page.name, "exec"), session)
            close_figures()
        elif kind == "text":
            require_output(text, capsys.readouterr().out, page.name)
        elif kind == "console":
            run_commands(text)
        elif kind == "command":
            assert run_command(text).returncode == int(options.get("code", 0))


def close_figures() -> None:
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def run_doctest(text: str, session: dict[str, Any], name: str) -> dict[str, Any]:
    """Run the examples in ``text`` and return the session's names after them."""
    test = doctest.DocTestParser().get_doctest(text, session, name, name, 0)
    run_examples(test)
    return test.globs


def run_examples(test: doctest.DocTest) -> None:
    failures: list[str] = []
    doctest.DocTestRunner(LenientChecker()).run(test, out=failures.append, clear_globs=False)
    assert not failures, "".join(failures)


def run_commands(text: str) -> None:
    for command, wanted in COMMAND.findall(text):
        require_output(wanted, run_command(command).stdout, f"$ {command}")


def require_output(wanted: str, printed: str, origin: str) -> None:
    same = LenientChecker().check_output(wanted, printed, 0)
    assert same, f"{origin} prints\n{printed}\n--- but the page says\n{wanted}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_examples_of_a_module_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip(needed_by(name))
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        run_examples(test)


def test_every_example_is_run_by_a_page() -> None:
    commands = [
        command
        for page in PAGES
        for block in blocks_of(page.read_text(encoding="utf-8"))
        for command, _ in COMMAND.findall(block.text)
        if block.kind in ("console", "command")
    ]
    run = {word for command in commands for word in command.split()}
    assert {f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py")} <= run


def test_numbers_may_differ_by_rounding_and_nothing_else_may() -> None:
    same = LenientChecker().check_output
    assert same("passed, error 1e-11 ...\n----", "passed,  error 3e-12 or\n--", 0)
    assert same("2 losses evaluated in 0.1 s", "4 losses evaluated in 2 s", 0)
    assert same("detectable 1.00", "detectable 1.001", 0)
    assert not same("detectable 1.00", "detectable 1.1", 0)
    assert not same("1000 wrong", "1001 wrong", 0)
    assert not same("passed", "failed", 0)
    assert not same("passed", "passed 1", 0)


def test_every_public_function_shows_an_example() -> None:
    functions = [getattr(fastbp, name) for name in fastbp.__all__]
    functions = [f for f in functions if isinstance(f, FunctionType)]
    assert functions
    without = [f.__name__ for f in functions if ">>>" not in (f.__doc__ or "")]
    assert without == []
