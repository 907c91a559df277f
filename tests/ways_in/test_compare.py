"""``fastbp compare``, and files of several reports."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.cli import main

pytestmark = pytest.mark.small

AT = {"a": np.ones(3), "b": np.ones(2), "c\x1b[2J\n\u202e<script>": np.ones(1)}


def f(tree):
    return sum(np.sum(leaf**2) for leaf in tree.values())


def report_with(factors, names="abc", **options):
    at = {name: leaf for name, leaf in AT.items() if name[0] in names}
    given = {name: factors.get(name[0], 1) * 2 * leaf for name, leaf in at.items()}
    return fastbp.check_gradient(f, given, at, seed=1, **options)


@pytest.fixture
def compare(tmp_path, capsys):
    def compare(before, after):
        for name, report in (("before", before), ("after", after)):
            report.to_json(tmp_path / f"{name}.json")
        code = main(["compare", *(str(tmp_path / f"{name}.json") for name in ("before", "after"))])
        captured = capsys.readouterr()
        assert captured.err == ""
        assert "\x1b" not in captured.out
        return code, captured.out.splitlines()

    return compare


def test_nothing_has_changed(compare):
    code, lines = compare(report_with({"a": 3}), report_with({"a": 3}))
    assert code == 0
    assert lines == [
        "SAME: arrays: 3 same",
        "before: FAILED, gradient of f(tree), float64",
        "after: FAILED, gradient of f(tree), float64",
        "",
    ]


def test_one_array_is_better_and_one_is_worse(compare):
    code, lines = compare(report_with({"a": 3}), report_with({"c": -1}))
    assert code == 1
    assert lines[0] == "WORSE: arrays: 1 worse, 1 better, 1 same"
    assert lines[4].split() == [
        "array", "before", "wrong", "error", "after", "wrong", "error", "change"
    ]  # fmt: skip
    assert lines[6].split()[1:] == ["failed", "3", "4.0e+00", "passed", "0", "0.0e+00", "better"]
    assert lines[7] == r"tree['c\x1b[2J\n\u202e<script>']"
    assert lines[8].split() == ["passed", "0", "0.0e+00", "failed", "1", "4.0e+00", "worse"]


def test_what_is_right_now_is_better(compare):
    code, lines = compare(report_with({"a": 3}), report_with({}, method="probe"))
    assert code == 0
    assert lines[0] == "BETTER: arrays: 1 better, 2 same"
    assert lines[3] == "method: every; then probe"


def test_an_array_that_is_gone_is_worse(compare):
    code, lines = compare(report_with({}), report_with({}, names="ab"))
    assert code == 1
    assert lines[0] == "WORSE: arrays: 1 gone, 2 same"


@pytest.mark.parametrize(("factor", "code", "said"), [(1, 0, "BETTER"), (2, 1, "WORSE")])
def test_a_new_array_is_worse_unless_it_passes(compare, factor, code, said):
    found, lines = compare(report_with({}, names="ab"), report_with({"c": factor}))
    assert found == code
    assert lines[0] == f"{said}: arrays: 1 new, 2 same"


def test_a_check_that_tests_nothing_is_worse(compare):
    nothing = fastbp.check_gradient(lambda _tree: 0.0, {"a": np.zeros(3)}, {"a": np.ones(3)})
    code, lines = compare(report_with({}, names="a"), nothing)
    assert code == 1
    assert "after: VACUOUS, gradient of " in lines[2]


@pytest.fixture
def several(tmp_path, monkeypatch, capsys):
    """A file of two reports, which failed and passed."""
    tmp_path.joinpath("several_of_mine.py").write_text(
        "import numpy as np\n"
        "def wrong():\n    return np.sum, 2 * np.ones(2), np.zeros(2)\n"
        "def right():\n    return np.sum, np.ones(2), np.zeros(2)\n"
    )
    monkeypatch.chdir(tmp_path)
    names = ["several_of_mine:wrong", "several_of_mine:right"]
    assert main(["check", *names, "--json", "several.json"]) == 1
    return capsys.readouterr().out


def test_several_reports_are_shown_as_they_were_printed(several, capsys):
    assert main(["show", "several.json"]) == 1
    assert capsys.readouterr().out == several
    assert main(["show", "several.json", "--html", "page.html"]) == 2
    said = "fastbp: --html is a page of one report, and there are several.\n"
    assert capsys.readouterr().err == said


def test_several_reports_are_compared_by_name(several, capsys):
    assert several
    assert main(["check", "several_of_mine:right", "--json", "one.json"]) == 0
    capsys.readouterr()
    assert main(["compare", "several.json", "several.json"]) == 0
    assert capsys.readouterr().out.count("SAME: several_of_mine:") == 2
    assert main(["compare", "several.json", "one.json"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "WORSE: several_of_mine:wrong: arrays: 1 gone"
    assert lines[2] == "after: not there"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON: Expecting property name enclosed in double quotes"),
        ("[]", "is no report: it has no schema_version."),
        ("{}", "is no report: it has no schema_version."),
        ('{"schema_version": 2}', "is no report: schema_version must be 1, not 2."),
        ('{"schema_version": 1}', "is no report: arrays is missing."),
        (
            '{"a\\u001b": {"schema_version": 9}}',
            r"is no report: a\x1b: schema_version must be 1, not 9.",
        ),
        ('{"checks": []}', "is no test run: schema_version must be 1, not None."),
        ('{"schema_version": 1, "checks": []}', "is of a test run without a report."),
        ('{"schema_version": 1, "checks": 3}', "is no test run: checks must be a list, not 3."),
        (
            '{"schema_version": 1, "checks": [{"test": "a"}]}',
            "is no test run: checks[0].check is missing.",
        ),
        ('{"a": {}}', "is no report: a: it has no schema_version."),
        ('{"schema_version": NaN}', "is no JSON: NaN is no number of JSON"),
    ],
)
def test_files_of_something_else_are_refused(text, message, tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    report_with({}).to_json(good)
    bad.write_text(text)
    for arguments in (["compare", bad, good], ["compare", good, bad], ["show", bad]):
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"fastbp: {bad} {message}")
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert main(["compare", str(good), str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.endswith(
        "none.json cannot be read: No such file or directory.\n"
    )
