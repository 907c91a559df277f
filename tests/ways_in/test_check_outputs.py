"""The files that ``fastbp check`` writes, and what it tells GitHub Actions."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import fastbp
from fastbp.cli import main

pytestmark = pytest.mark.small

STRANGE = "<script>alert(1)</script>\x1b[2J\u202e`|*_::error::\n# x" + 10_000 * "w"


@pytest.fixture(autouse=True)
def problems(tmp_path, monkeypatch):
    """A right gradient, a wrong one with a strange name, and one of nothing."""
    tmp_path.joinpath("outputs_of_mine.py").write_text(
        "import numpy as np\n"
        f"NAME = {STRANGE!r}\n"
        "def right():\n    return np.sum, np.ones(2), np.zeros(2)\n"
        "def wrong():\n    return (lambda p: np.sum(p[NAME])), {NAME: 2 * np.ones(2)}, "
        "{NAME: np.zeros(2)}\n"
        "def vacuous():\n    return (lambda x: 1.0), np.zeros(2), np.zeros(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    yield
    sys.modules.pop("outputs_of_mine", None)


ALL = [f"outputs_of_mine:{name}" for name in ("right", "wrong", "vacuous", "missing")]


def test_junit_has_a_case_for_each_problem(tmp_path, capsys):
    assert main(["check", *ALL, "--junit", "junit.xml"]) == 2
    suites = ET.parse(tmp_path / "junit.xml").getroot()
    [suite] = suites
    assert (suites.tag, suite.tag) == ("testsuites", "testsuite")
    # What the schemas of Jenkins and of Ant's task demand, and the order of the latter.
    assert {"name", "timestamp", "hostname", "tests", "failures", "errors", "time", "id",
            "package"} == set(suite.attrib)  # fmt: skip
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["4", "1", "2"]
    assert [part.tag for part in suite] == [
        "properties", *4 * ["testcase"], "system-out", "system-err"
    ]  # fmt: skip
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ALL
    assert all(set(case.attrib) == {"name", "classname", "time"} for case in cases)
    kinds = [[(part.tag, part.get("type")) for part in case] for case in cases]
    assert kinds == [
        [], [("failure", "failed")], [("error", "vacuous")], [("error", "bad input")]
    ]  # fmt: skip
    [failure] = cases[1]
    assert failure.text.startswith("FAILED: gradient of")
    assert r"<script>alert(1)</script>\x1b[2J\u202e" in failure.text
    capsys.readouterr()


def test_markdown_takes_no_name_for_markup(tmp_path, capsys):
    assert main(["check", ALL[1], "--markdown", "report.md"]) == 1
    text = tmp_path.joinpath("report.md").read_text("utf-8")
    lines = text.splitlines()
    assert lines[0] == r"## outputs\_of\_mine:wrong"
    assert lines[2].startswith("### FAILED: gradient of ")
    [row] = [line for line in lines if line.startswith("| ``")][:1]
    assert r"``" in row
    assert r"<script>alert(1)</script>\x1b[2J\u202e`\|*_::error::\n# x" in row
    prose = [line for line in lines if line.startswith("- ")]
    assert all("<script" not in line.replace(r"\<", "") for line in prose)
    assert not {"\x1b", "\u202e"} & set(text)
    assert max(map(len, lines)) < 500
    capsys.readouterr()


def test_a_page_is_written_by_check_and_by_show(tmp_path, capsys):
    pytest.importorskip("jinja2")
    assert main(["check", ALL[1], "--html", "page.html", "--json", "report.json"]) == 1
    capsys.readouterr()
    assert main(["show", "report.json", "--html", "-"]) == 1
    shown = capsys.readouterr().out
    page = tmp_path.joinpath("page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<script>alert(1)" not in page
    assert shown.split("ratios")[0] == page.split("ratios")[0]  # JSON has three digits of these
    assert main(["check", *ALL, "--html", "none.html"]) == 2
    said = "fastbp: --html is a page of one report, and there are several.\n"
    assert capsys.readouterr().err == said
    assert main(["show", "report.json", "--html", "no/page.html"]) == 2
    assert "no/page.html cannot be written: No such file" in capsys.readouterr().err


def test_a_page_without_jinja_is_refused_before_the_check(monkeypatch, capsys):
    monkeypatch.setattr("fastbp.cli.outputs.formats.find_spec", lambda _name: None)
    assert main(["check", ALL[0], "--html", "page.html"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    said = 'fastbp: --html needs Jinja: python -m pip install "fastbp[report]".\n'
    assert captured.err == said


def test_to_markdown_says_what_the_text_says():
    report = fastbp.check_gradient(np.sum, np.array([1.0, 2.0]), np.zeros(2), seed=1)
    lines = report.to_markdown().splitlines()
    assert lines[0] == "### FAILED: gradient of sum(a), float64"
    assert lines[2] == r"- **a: right but for the entry \[1\]**"
    assert "| `a` | **failed** | (2,) | 2 | 1 | 0 | 0 | 1.0e+00 | 1.0e+00 |" in lines
    assert any(line.startswith("| `a[1]` | 2 | 1 | 1.0e+00 |") for line in lines)
    assert lines[-3:-1] == [
        next(line for line in lines if line.startswith("- an error above ")), "- seed 1"
    ]  # fmt: skip


def test_github_gets_annotations_and_a_summary(tmp_path, monkeypatch, capsys):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert main(["check", *ALL, "--github"]) == 2
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if line.startswith("::")]
    stop, go, *annotations = commands
    token = stop.removeprefix("::stop-commands::")
    assert (lines[0], go) == (stop, f"::{token}::")
    failed, vacuous, bad = annotations
    assert failed.startswith(
        "::error file=outputs_of_mine.py,line=5,"
        "title=fastbp%3A FAILED outputs_of_mine%3Awrong::p['<script>alert(1)"
    )
    assert len(failed) < 2200
    assert vacuous.startswith("::warning file=outputs_of_mine.py,line=7,title=fastbp%3A VACUOUS ")
    assert bad == (
        "::error title=fastbp%3A bad input"
        "::outputs_of_mine:missing: there is no missing in outputs_of_mine."
    )
    text = summary.read_text("utf-8")
    assert text.startswith("before\n## outputs")
    assert text.count("\n### ") == 3


def test_annotations_leave_standard_output_to_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert main(["check", ALL[2], "--github", "--json", "-"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "vacuous"
    assert captured.err.startswith("::warning ")


@pytest.mark.skipif(os.name == "nt", reason="needs pipes with names")
def test_an_output_may_be_a_device_or_a_pipe(tmp_path, capsys):
    assert main(["check", ALL[0], "--json", os.devnull]) == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert main(["check", ALL[2], "--markdown", str(pipe)]) == 3
    assert os.read(reader, 10_000).startswith(b"## outputs")
    os.close(reader)
    assert capsys.readouterr().err == ""


def test_no_output_overwrites_an_input(tmp_path, capsys):
    file = tmp_path / "report.json"
    main(["check", ALL[0], "--json", str(file)])
    stored, same = file.read_bytes(), str(tmp_path / "." / "report.json")
    capsys.readouterr()
    for command, option in (("show", "--html"), ("check", "--junit")):
        assert main([command, str(file), option, same]) == 2
        assert capsys.readouterr().err.startswith(f"fastbp: {option} would overwrite ")
        assert file.read_bytes() == stored


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--github"],
            "--github needs GITHUB_STEP_SUMMARY, which GitHub Actions sets, and",
        ),
        (["--json", "a", "--junit", "./a"], "--json and --junit both write to ./a."),
        (["--json", "-", "--markdown", "-"], "--json and --markdown both write to -."),
        (["--json", "ok", "--junit", "no/a\x1b"], r"no/a\x1b cannot be written: No such file or"),
        (["--markdown", "."], ". cannot be written: Is a directory."),
    ],
)
def test_what_cannot_be_written_is_known_before_the_check(options, message, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    assert main(["check", ALL[0], *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"fastbp: {message}")
    assert captured.out == ""
    assert set(tmp_path.iterdir()) == before
