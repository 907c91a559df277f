"""The programs in C, Rust and JavaScript that write a problem file."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import fastbp
from fastbp.cli import main

pytestmark = pytest.mark.small

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = {
    "c": [["cc", "-Wall", "-Wextra", "-Werror", "-o", "write_problem"], ["./write_problem"]],
    "rs": [["rustc", "-D", "warnings", "-o", "write_problem"], ["./write_problem"]],
    "mjs": [["node"]],
}


def write_problem(language, folder, replaced=("", "")):
    """Build and run a program, with some of its text replaced."""
    first, *others = PROGRAMS[language]
    tool = shutil.which(first[0])
    if tool is None:
        pytest.skip(f"needs {first[0]}")
    source = folder / f"write_problem.{language}"
    text = EXAMPLES.joinpath(source.name).read_text("utf-8")
    assert replaced[0] in text
    source.write_text(text.replace(*replaced))
    for command in ([tool, *first[1:], source.name], *others):
        subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder / "problem.npz"


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_right_gradient_passes(language, tmp_path, capsys):
    path = write_problem(language, tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    problem = fastbp.load_problem(path)
    assert (problem.net.sizes, problem.net.layout, problem.x.shape) == ((2, 3, 1), "torch", (4, 2))
    assert main(["check", str(path), "--method", "replay"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("language", "mask"),
    [
        ("c", "f[j] > 0 ? s * w1[0][j] : 0"),
        ("rs", "if f[j] > 0.0 { s * w1[j] } else { 0.0 }"),
        ("mjs", "value > 0 ? s * w1[j] : 0"),
    ],
)
def test_a_mistake_is_named(language, mask, tmp_path, capsys):
    without = {"c": "s * w1[0][j]", "rs": "s * w1[j]", "mjs": "s * w1[j]"}[language]
    path = write_problem(language, tmp_path, (mask, without))
    assert main(["check", str(path), "--method", "replay"]) == 1
    assert "the mask of the ReLU is missing" in " ".join(capsys.readouterr().out.split())
