"""The documentation is complete: what is public, or can be set or returned, has its place there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import fastbp
from fastbp import errors, notebook
from fastbp.cli import exit_codes
from fastbp.network.checks.diagnosis.planted_mistakes import MISTAKES
from fastbp.pytest import plugin
from fastbp.runtime.workers.processes import THREAD_VARIABLES

pytestmark = pytest.mark.small

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
SOURCES = [*(ROOT / "fastbp").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]


def listed_names() -> set[str]:
    """The names for which the reference has a generated page, without the leading package."""
    page = (REFERENCE / "api.md").read_text("utf-8")
    return set(re.findall(r"^   ([\w.]+)$", page, re.MULTILINE))


def public_objects() -> dict[str, Any]:
    """Everything with a page of its own, by its name in the reference."""
    found = {}
    for name in listed_names():
        owner: Any = fastbp
        for part in name.split("."):
            owner = getattr(owner, part)
        found[name] = owner
    return found


def first_cells(page: str) -> list[str]:
    """The first cells of the tables of a page of the reference."""
    text = (REFERENCE / page).read_text("utf-8")
    return re.findall(r"^\| (.*?) \|", text, re.MULTILINE)


def without_example(objects: dict[str, Any]) -> list[str]:
    return [name for name, one in objects.items() if ">>>" not in (inspect.getdoc(one) or "")]


def test_every_public_name_has_a_page() -> None:
    public = {*fastbp.__all__, *(f"notebook.{name}" for name in notebook.__all__)}
    assert public - listed_names() == set()


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_every_name_for_a_framework_has_a_page(framework: str) -> None:
    pytest.importorskip(framework)
    module = getattr(fastbp, framework)
    assert {f"{framework}.{name}" for name in module.__all__} - listed_names() == set()


def test_every_exception_has_a_page() -> None:
    exceptions = {
        name
        for name, one in vars(errors).items()
        if inspect.isclass(one) and issubclass(one, errors.FastbpError)
    }
    assert exceptions - {name.rpartition(".")[2] for name in listed_names()} == set()


def test_every_page_of_a_name_has_an_example() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    assert without_example(public_objects()) == []


def test_every_method_has_an_example() -> None:
    methods = {}
    for name in fastbp.__all__:
        owner = getattr(fastbp, name)
        for method, one in vars(owner).items() if inspect.isclass(owner) else ():
            function = getattr(one, "__func__", one)
            if isinstance(function, FunctionType) and not method.startswith("_"):
                methods[f"{name}.{method}"] = function
    assert len(methods) > 10
    assert without_example(methods) == []


def test_every_environment_variable_is_documented() -> None:
    asked = set(THREAD_VARIABLES)
    for path in SOURCES:
        text = path.read_text("utf-8")
        asked |= set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", text))
        for constant in re.findall(r"environ(?:\.get\(|\[)([A-Z_]+)\b", text):
            asked |= set(re.findall(rf"^{constant} = \"(\w+)\"", text, re.MULTILINE))
    documented = {name for cell in first_cells("environment.md") for name in cell.split("`")[1::2]}
    assert "FASTBP_NUM_THREADS" in asked
    assert asked - documented == set()


def test_the_exit_codes_are_those_of_the_program() -> None:
    constants = {one for name, one in vars(exit_codes).items() if name.isupper()
                 and isinstance(one, int)}  # fmt: skip
    returned = constants | set(exit_codes.EXIT_CODES.values())
    assert {int(cell) for cell in first_cells("exit-codes.md") if cell.isdecimal()} == returned


class Options:
    """A parser of pytest that keeps the names which a plugin adds."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def getgroup(self, *_: Any) -> Options:
        return self

    def addoption(self, name: str, **_: Any) -> None:
        self.names.append(name)

    def addini(self, name: str, *_: Any, **__: Any) -> None:
        self.names.append(name)


def test_every_option_of_the_plugin_is_documented() -> None:
    options = Options()
    plugin.pytest_addoption(options)  # type: ignore[arg-type]
    text = (REFERENCE / "pytest-plugin.md").read_text("utf-8")
    assert options.names
    assert [name for name in options.names if name not in text] == []


def test_the_gallery_has_a_page_for_every_mistake() -> None:
    assert {path.stem for path in (DOCS / "gallery").glob("*.md")} - {"index"} == set(MISTAKES)
    for name in MISTAKES:
        assert f'show("{name}")' in (DOCS / "gallery" / f"{name}.md").read_text("utf-8")
