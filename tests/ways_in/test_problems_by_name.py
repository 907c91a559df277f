"""``fastbp check module:function``."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

from fastbp.cli import main
from fastbp.cli.problems import source_of

pytestmark = pytest.mark.small

MINE = """
import numpy as np
import fastbp

AT = np.array([1.0, 2.0])
NOT_CALLABLE = 3

def f(x):
    return np.sum(x**2)

def right():
    return f, 2 * AT, AT

def wrong():
    return f, 3 * AT, AT

def network():
    net = fastbp.Network.random([2, 3, 1], seed=1)
    return net, np.ones((2, 2)), np.ones((1, 2))

def network_and_gradient():
    net, x, y = network()
    _, gradients = net.loss_and_gradients(x, y)
    return net, x, y, gradients

def problem():
    net, x, y = network()
    return fastbp.Problem(net, x, y, None)

def own_check():
    return fastbp.check_jacobian(lambda x: 2 * x, 2 * np.eye(2), AT)

def nothing():
    pass

def two():
    return f, AT

def swapped():
    return AT, f, AT

def too_few():
    return network()[:2]

def raises():
    raise ValueError("what\\nis this.")

def leaves():
    raise SystemExit

class Mine:
    @staticmethod
    def right():
        return right()
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    name = f"mine_{tmp_path.name}"
    tmp_path.joinpath(f"{name}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("function", "code", "begins"),
    [
        ("right", 0, "PASSED: gradient of f(x), float64\n"),
        ("Mine.right", 0, "PASSED: gradient of f(x), float64\n"),
        ("wrong", 1, "FAILED: gradient of f(x), float64\n"),
        ("network_and_gradient", 0, "PASSED: network 2-3-1"),
        ("network", 0, "mine holds no gradient: fastbp's own backward pass is checked.\n\nPASSED"),
        ("problem", 0, "mine holds no gradient: fastbp's own backward pass is checked.\n\nPASSED"),
        ("own_check", 0, "PASSED: jacobian of <lambda>(x), float64"),
    ],
)
def test_a_function_that_returns_a_problem(mine, function, code, begins, capsys):
    options = ["--method", "replay"] if "network" in function or function == "problem" else []
    assert main(["check", f"{mine}:{function}", *options]) == code
    captured = capsys.readouterr()
    assert captured.out.replace(f"{mine}:{function}", "mine").startswith(begins)
    assert captured.err == ""


RETURNS = (
    "must return f, gradient and at, or a network, x and y (and gradients), a fastbp.Problem or a "
    "fastbp.Report, not"
)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", f" {RETURNS} None."),
        ("two", f" {RETURNS} a tuple of 2."),
        ("too_few", f" {RETURNS} a tuple of a network and 1 more."),
        ("swapped", " must return f first, a function, not of type ndarray."),
        ("missing", ": there is no missing in MINE."),
        ("NOT_CALLABLE", " must be a function, not of type int."),
        ("raises", " raised ValueError: what is this (PATH, line 46)."),
        ("leaves", " raised SystemExit (PATH, line 49)."),
    ],
)
def test_a_function_that_returns_none_is_refused(mine, function, message, tmp_path, capsys):
    assert main(["check", f"{mine}:{function}"]) == 2
    captured = capsys.readouterr()
    path = str(tmp_path / f"{mine}.py")
    message = message.replace("PATH", path).replace("MINE", mine)
    assert captured.err == f"fastbp: {mine}:{function}{message}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import not_there.at_all", "raised ModuleNotFoundError: No module named 'not_there' ("),
        ("1 / 0", "raised ZeroDivisionError: division by zero ("),
        ("raise SystemExit(3)", "raised SystemExit: 3 ("),
        ("def f(:", "raised SyntaxError: invalid syntax ("),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(text, message, tmp_path, monkeypatch, capsys):
    name = f"broken_{tmp_path.name}"
    tmp_path.joinpath(f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["check", f"{name}:f"]) == 2
    assert capsys.readouterr().err.startswith(f"fastbp: {name}:f: {name} {message}")
    assert main(["check", f"{name}_not.there:f"]) == 2
    assert (
        capsys.readouterr().err == f"fastbp: {name}_not.there:f: there is no module {name}_not.\n"
    )
    assert sys.path == before


def test_modules_beside_the_function_are_found_while_it_runs(tmp_path, monkeypatch, capsys):
    name = f"late_{tmp_path.name}"
    tmp_path.joinpath(f"{name}.py").write_text(
        f"def problem():\n    import {name}_beside\n    return {name}_beside.problem()\n"
    )
    tmp_path.joinpath(f"{name}_beside.py").write_text(
        "import numpy as np\ndef problem():\n    return np.sum, np.ones(2), np.zeros(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["check", f"{name}:problem"]) == 0
    assert sys.path == before
    capsys.readouterr()


@pytest.mark.parametrize("line", ["os.chdir('elsewhere')", "sys.path.remove(os.getcwd())"])
def test_a_module_may_go_elsewhere(line, tmp_path, monkeypatch, capsys):
    name = f"goes_{tmp_path.name}"
    tmp_path.joinpath("elsewhere").mkdir()
    tmp_path.joinpath(f"{name}.py").write_text(
        f"import os, sys\nimport numpy as np\n{line}\n"
        "def problem():\n    return np.sum, np.ones(2), np.zeros(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main(["check", f"{name}:problem"]) == 0
    assert sys.path == before
    capsys.readouterr()


def test_the_line_of_a_decorated_function_is_its_own(monkeypatch):
    def decorated(function):
        @functools.wraps(function)
        def called():
            return function()

        return called

    @decorated
    def problem():
        pass

    monkeypatch.chdir(Path(__file__).parent)
    first = problem.__wrapped__.__code__.co_firstlineno
    assert source_of(problem) == ("test_problems_by_name.py", first)


def test_a_file_of_that_name_is_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("mine:right").write_text("hello")
    assert main(["check", "mine:right"]) == 2
    assert capsys.readouterr().err == "fastbp: mine:right is not an .npz file.\n"
