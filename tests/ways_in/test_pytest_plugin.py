"""The plugin of pytest, in projects outside of this one, each run by a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastbp.cli import main
from fastbp.function.methods.options import METHODS as FUNCTION_METHODS
from fastbp.network.checks.check_network import METHODS as NETWORK_METHODS
from fastbp.pytest.fixture import FUNCTION_METHODS as FUNCTION_METHODS_OF_THE_FIXTURE
from fastbp.pytest.fixture import GradientCheck, seed_of
from fastbp.pytest.plugin import METHODS

ROOT = Path(__file__).parents[2]

TESTS = """
import sys
import numpy as np
import pytest
import fastbp

AT = np.arange(1.0, 5.0)

def f(x):
    return np.sum(x**2)

def right(x):
    return 2 * x

def wrong(x):
    return 2 * x + np.array([0, 0, 1.0, 0])

def constant(x):
    return 1.0

def zero(x):
    return 0 * x

def test_right(gradient_check):
    report = gradient_check(f, right, AT)
    assert report.verdict == "passed"
    assert report.notes[-1] == "test test_out.py::test_right"

def test_wrong(gradient_check):
    gradient_check.check_gradient(f, wrong, AT)

def test_vacuous_is_no_success(gradient_check):
    gradient_check(constant, zero, AT)

@pytest.mark.gradient_check(allow="vacuous", method="probe", seed=5)
def test_marked(gradient_check):
    report = gradient_check(constant, zero, AT)
    assert (report.verdict, report.method, report.seed) == ("vacuous", "probe", 5)
    assert gradient_check(f, right, AT, seed=6, method="every").seed == 6

@pytest.mark.gradient_check(nonsense=1)
def test_wrongly_marked(gradient_check):
    pass

@pytest.mark.gradient_check(allow="failed")
def test_allows_too_much(gradient_check):
    pass

def test_all_checks(gradient_check):
    net = fastbp.Network.random([2, 3, 1], seed=1)
    method = {"method": "replay"}
    assert gradient_check.check_network(net, np.ones((2, 2)), np.ones((1, 2)), **method)
    assert gradient_check.check_jacobian(right, 2 * np.eye(4), AT)
    assert gradient_check.taylor_test(f, right, AT)
    assert "torch" not in sys.modules
    with pytest.raises(AttributeError, match="gradient_check has no check_all: there are check_g"):
        gradient_check.check_all

def test_wrong_along_a_direction(gradient_check):
    gradient_check.taylor_test(f, wrong, AT)

def test_plain_assertion():
    assert fastbp.check_gradient(f, wrong, AT)

def test_assertion_of_a_name():
    report = fastbp.check_gradient(f, wrong, AT)
    assert report, "not good"

class Unbound:
    # As a proxy of flask or werkzeug that stands for nothing.

    @property
    def __class__(self):
        raise RuntimeError("unbound")

def test_assertion_beside_a_proxy():
    unbound, report = Unbound(), fastbp.check_gradient(f, wrong, AT)
    assert report

def test_assertion_of_a_verdict():
    report = fastbp.check_gradient(f, wrong, AT)
    assert report.verdict == "passed"

@pytest.mark.parametrize("name", ["<script>alert(1)</script>\\x1b[2J\\u202e" + 10 * "name"])
def test_named(name, gradient_check):
    gradient_check(lambda tree: tree[name] ** 2, {name: 3.0}, {name: 2.0})
"""


def run(folder, *arguments, program=("-m", "pytest"), **environment):
    """Run pytest in a folder, the plugin being installed as it is for users."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        entry_points = tomllib.load(file)["project"]["entry-points"]["pytest11"]
    installed = folder / "installed" / "plugin-0.dist-info"
    installed.mkdir(parents=True, exist_ok=True)
    installed.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 0\n")
    lines = ["[pytest11]", *(f"{name} = {module}" for name, module in entry_points.items())]
    installed.joinpath("entry_points.txt").write_text("\n".join(lines))
    installed.joinpath("RECORD").write_text("fastbp/__init__.py,,\n")
    found_before = [path for path in [os.environ.get("PYTHONPATH")] if path]
    path = os.pathsep.join(
        [*environment.pop("PYTHONPATH", []), str(installed.parent), *found_before]
    )
    # pytest-benchmark warns where it meets pytest-xdist, whoever installed it.
    flags = ["-p", "no:benchmark", "-W", "error", "--strict-markers"]
    return subprocess.run(
        [sys.executable, "-P", *program, *flags, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    folder.joinpath("test_out.py").write_text(TESTS)
    folder.joinpath("pytest.ini").write_text("[pytest]\n")
    return folder


@pytest.fixture(scope="module")
def outside(folder):
    """Folder and output of one run of all tests."""
    result = run(folder, "--gradient-report=out", "--junitxml=junit.xml", "-rA")
    assert "8 failed, 3 passed, 2 errors" in result.stdout
    return folder, result


def section(output, test):
    """Return what pytest shows of one failure, without the summary that follows the last one."""
    return re.split(r"\n(?:_____|=====)", output.split(f" {test} ___", 1)[1], maxsplit=1)[0]


def test_a_check_that_does_not_pass_fails_its_test_and_shows_the_report(outside):
    output = outside[1].stdout
    for name in ("right", "marked", "all_checks"):
        assert f"PASSED test_out.py::test_{name}\n" in output
    shown = section(output, "test_wrong")
    assert "E       fastbp.errors.GradientMismatchError: The gradient is wrong in x.\n" in shown
    assert "E       FAILED: gradient of f(x), float64\n" in shown
    assert "E       test test_out.py::test_wrong\n" in shown
    assert shown.rstrip().endswith("test_out.py:30: GradientMismatchError")
    shown = section(output, "test_vacuous_is_no_success")
    assert "Nothing was tested: every array is zero on both sides." in shown
    assert "E       FAILED: Taylor test of f(x)" in section(output, "test_wrong_along_a_direction")


@pytest.mark.parametrize(
    "test", ["test_plain_assertion", "test_assertion_of_a_name", "test_assertion_beside_a_proxy"]
)
def test_a_plain_assertion_shows_the_report(outside, test):
    shown = section(outside[1].stdout, test)
    assert "assert <Report: failed, 1 of 4 entries wrong in 1 arrays>" in shown
    assert shown.count("FAILED: gradient of f(x), float64\n") == 1
    assert "wrong entry  given  numerical" in shown


def test_an_assertion_about_the_verdict_shows_the_report(outside):
    shown = section(outside[1].stdout, "test_assertion_of_a_verdict")
    assert "assert 'failed' == 'passed'" in shown
    assert shown.count("FAILED: gradient of f(x), float64\n") == 1


def test_a_marker_takes_what_there_is(outside):
    output = outside[1].stdout
    said = "the marker gradient_check takes allow, budget, method, seed by name, not nonsense."
    assert said in output
    assert "allow must be 'inconclusive', 'vacuous' or both, not 'failed'." in output


def test_junit_has_each_check_as_a_property(outside):
    cases = ET.parse(outside[0] / "junit.xml").iter("testcase")
    properties = {
        case.get("name"): [one.get("value") for one in case.iter("property")] for case in cases
    }
    assert properties["test_wrong"][0].startswith(
        "failed; gradient of f(x); 1 of 4 entries wrong; seed "
    )
    assert len(properties["test_all_checks"]) == 3
    assert properties["test_plain_assertion"] == []


def without_times(folder):
    content = json.loads((folder / "reports.json").read_text("utf-8"))
    for check in content["checks"]:
        if check["report"] is not None:
            del check["report"]["seconds"], check["report"]["made"]
        else:
            del check["taylor"]["seconds"]
    return content


def test_the_reports_of_a_run_are_one_page_and_one_file(outside):
    folder, result = outside
    content = without_times(folder / "out")
    assert content["schema_version"] == 1
    taylor = [check["taylor"] for check in content["checks"] if check["check"] == "taylor_test"]
    assert {one["verdict"] for one in taylor} == {"passed", "failed"}
    found = {check["test"]: check["verdict"] for check in content["checks"]}
    assert found["test_out.py::test_right"] == "passed"
    assert found["test_out.py::test_wrong"] == "failed"
    said = "10 gradient checks (3 failed, 2 vacuous, 5 passed): "
    assert f"{said}{folder / 'out' / 'index.html'}\n" in result.stdout
    page = (folder / "out" / "index.html").read_text("utf-8")
    assert page.count('<details class="check"') == 10
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_the_reports_of_a_run_can_be_shown_and_compared(outside, capsys):
    path = str(outside[0] / "out" / "reports.json")
    assert main(["show", path]) == 1
    shown = capsys.readouterr().out
    assert "test_out.py::test_wrong (check_gradient):\n\nFAILED: gradient of f(x)" in shown
    assert "test_out.py::test_marked (check_gradient) 2:\n\nPASSED: " in shown
    assert main(["compare", path, path]) == 0
    assert capsys.readouterr().out.count("SAME: test_out.py::") == 8  # without the Taylor tests


@pytest.mark.long
@pytest.mark.skipif(find_spec("xdist") is None, reason="needs pytest-xdist")
def test_workers_send_their_reports_and_draw_the_same_seeds(outside):
    folder = outside[0]
    result = run(
        folder,
        "--gradient-report=from_workers",
        "-n1",
        "--dist=loadgroup",
        "--ignore=test_fixture.py",
    )
    assert "10 gradient checks (3 failed, 2 vacuous, 5 passed): " in result.stdout
    assert without_times(folder / "from_workers") == without_times(folder / "out")


@pytest.mark.long
def test_nothing_remains_without_the_plugin(folder):
    folder.joinpath("test_fixture.py").write_text("def test_fixture(gradient_check): pass")
    tests = ["test_out.py", "test_fixture.py", "--continue-on-collection-errors"]
    result = run(folder, "-p", "no:fastbp", *tests)
    assert "'gradient_check' not found in `markers`" in result.stdout
    assert "fixture 'gradient_check' not found" in result.stdout
    result = run(folder, "-p", "no:fastbp", "--gradient-seed=1")
    assert result.returncode == 4
    assert "unrecognized arguments: --gradient-seed=1" in result.stderr


@pytest.mark.long
def test_a_run_that_does_not_use_it_imports_nothing_heavy(tmp_path):
    tmp_path.joinpath("test_light.py").write_text(
        "import sys\n"
        "def test_light(request):\n"
        "    assert request.config.pluginmanager.has_plugin('fastbp')\n"
        "    ours = {name for name in sys.modules if name.partition('.')[0] == 'fastbp'}\n"
        "    assert ours == {'fastbp', 'fastbp.pytest', 'fastbp.pytest.plugin'}\n"
        "    assert not {'numpy', 'numba'} & set(sys.modules)\n"
    )
    # Other plugins of this environment, which may import NumPy, stay out.
    result = run(tmp_path, "-p", "fastbp", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert (result.returncode, "1 passed" in result.stdout) == (0, True), result.stdout


OPTIONS = """
import numpy as np

def test_options(gradient_check):
    at = np.ones(3)
    report = gradient_check(np.sum, np.ones(3), at)
    print(f"method {report.method}, seed {report.seed}.")
"""


@pytest.mark.long
def test_flags_take_precedence_over_the_ini_file(tmp_path):
    tmp_path.joinpath("test_options.py").write_text(OPTIONS)
    tmp_path.joinpath("pytest.ini").write_text(
        "[pytest]\ngradient_method = probe\ngradient_budget = 9.5\ngradient_seed = 7\n"
    )
    result = run(tmp_path, "-rP", "--gradient-seed=8")
    assert "method probe, seed 8." in result.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--gradient-method=\x1bbest", "gradient_method must be one of auto, every, probe, "),
        ("--gradient-budget=-1", "gradient_budget must be a number of seconds of at least 0, no"),
        ("--gradient-seed=1.5", "gradient_seed must be an integer of at least 0, not '1.5'."),
        ("--gradient-report=file/out", "--gradient-report: "),
    ],
)
def test_bad_options_are_known_before_the_first_test(tmp_path, flag, message):
    tmp_path.joinpath("file").touch()
    result = run(tmp_path, flag)
    assert result.returncode == 4
    assert f"ERROR: {message}" in result.stderr
    assert "\x1b" not in result.stderr


def test_checks_of_torch_are_there_when_they_are_asked_for():
    torch = pytest.importorskip("torch")
    item = SimpleNamespace(nodeid="test_a.py::test_b", user_properties=[])
    kept = []
    gradient_check = GradientCheck(item, {"allow": set(), "seed": 5, "method": "probe"}, kept)
    assert dir(gradient_check.torch) == ["check_function", "check_module"]
    report = gradient_check.torch.check_function(torch.sin, torch.ones(2, dtype=torch.float64))
    assert (report.method, report.seed) == ("probe", 5)
    [(name, value)] = item.user_properties
    assert (name, value.split(";")[0], value.split(";")[-1]) == (
        "gradient_check", "passed", " seed 5"
    )  # fmt: skip
    assert [entry["check"] for entry in kept] == ["check_function"]


def test_the_group_of_a_worker_does_not_change_the_seed():
    mark = pytest.mark.xdist_group("slow").mark
    alone = SimpleNamespace(nodeid="test_a.py::test_b", iter_markers=lambda _name: [mark])
    grouped = SimpleNamespace(nodeid="test_a.py::test_b@slow", iter_markers=lambda _name: [mark])
    assert seed_of(alone) == seed_of(grouped) == 2269465543


def test_the_methods_are_those_of_the_checks():
    assert set(METHODS) == {*FUNCTION_METHODS, *NETWORK_METHODS}
    assert set(FUNCTION_METHODS) == FUNCTION_METHODS_OF_THE_FIXTURE


@pytest.mark.long
def test_the_oldest_pytest_that_is_supported(tmp_path):
    """pytest 8 in a folder of its own, which stands before the pytest that is installed."""
    old = tmp_path / "pytest8"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(old)]
    installed = subprocess.run([*command, "pytest==8.0.*", "pluggy==1.4.*"], capture_output=True)
    if installed.returncode:
        pytest.skip("pytest 8 cannot be installed here")
    tmp_path.joinpath("test_out.py").write_text(TESTS)
    flags = ["-p", "no:cacheprovider", "--gradient-report=out", "-rA", "test_out.py"]
    result = run(tmp_path, *flags, PYTHONPATH=[str(old)])
    assert "pytest-8.0" in result.stdout
    assert "8 failed, 3 passed, 2 errors" in result.stdout
    assert "10 gradient checks (3 failed, 2 vacuous, 5 passed): " in result.stdout
    for test in ("test_wrong", "test_plain_assertion", "test_assertion_of_a_name"):
        assert "FAILED: gradient of f(x), float64\n" in section(result.stdout, test)
