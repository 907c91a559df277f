"""The report: verdict and totals, text, JSON, raising, and that it holds no arrays."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import subprocess
import sys

import pytest

from fastbp.errors import GradientMismatchError
from fastbp.report import ArrayReport, Failure, Kink, Report
from fastbp.verdict.rows import worst_of_all

pytestmark = pytest.mark.small


def failure(array="weights[1]", index=(3, 17), given=2.0, numerical=1.0) -> Failure:
    error = abs(given - numerical)
    error = math.inf if math.isnan(error) else error
    return Failure(array, index, given, numerical, error, error_bar=1e-9, allowed=1e-6)


def row(name="weights[0]", **changes) -> ArrayReport:
    passed = ArrayReport(
        name=name,
        shape=(5, 4),
        entries=20,
        wrong=0,
        zero=2,
        kinks=1,
        worst=failure(name, (1, 1), 1.0, 1.0 + 1e-10),
        factor=1.0,
        residual=1e-12,
        detectable=2e-6,
        verdict="passed",
        reason="",
    )
    return dataclasses.replace(passed, **changes)


def failed_row(name="weights[1]", **changes) -> ArrayReport:
    options = {"wrong": 7, "factor": 2.0, "verdict": "failed", "reason": "7 of 20 are wrong"}
    return row(name, **{**options, **changes})


def report(*rows: ArrayReport, verdict="passed", failures=(), **changes) -> Report:
    options = {
        "sizes": (4, 5, 2),
        "batch": 3,
        "dtype": "float64",
        "layout": "book",
        "method": "replay",
        "scheme": "central",
        "delta": 1e-6,
        "rtol": None,
        "atol": None,
        "evaluations": 80,
        "seconds": 0.0123,
    }
    return Report(verdict, rows, tuple(failures), **{**options, **changes})


def failed_report() -> Report:
    return report(row(), failed_row(), verdict="failed", failures=[failure()])


def lines_of(shown: Report) -> list[str]:
    """The lines of its text, with single blanks."""
    return [" ".join(line.split()) for line in str(shown).splitlines()]


# ---- verdict and totals ----


@pytest.mark.parametrize("verdict", ["passed", "failed", "vacuous", "inconclusive"])
def test_only_a_pass_is_true(verdict):
    assert bool(report(row(), verdict=verdict)) == (verdict == "passed")


def test_totals_are_those_of_the_rows():
    both = report(row(kinks=2), failed_row(detectable=3e-5))
    assert (both.entries, both.wrong, both.kinks, both.detectable) == (40, 7, 3, 3e-5)


def test_a_row_without_entries_says_nothing_of_what_is_detectable():
    empty = failed_row("gradients", entries=0, detectable=1.0)
    assert report(row(), empty).detectable == 2e-6


def test_an_entry_is_written_as_in_python():
    assert failure().where == "weights[1][3, 17]"
    assert failure("biases[0]", (3,)).where == "biases[0][3]"


def test_a_report_cannot_be_edited():
    with pytest.raises(dataclasses.FrozenInstanceError):
        failed_report().verdict = "passed"


def test_reports_can_be_copied_pickled_and_compared():
    original = failed_report()
    assert pickle.loads(pickle.dumps(original)) == original
    assert copy.deepcopy(original) == original
    assert original != report(row())


# ---- raising ----


def test_a_failed_report_raises_with_itself_and_its_text():
    failed = failed_report()
    with pytest.raises(GradientMismatchError) as caught:
        failed.raise_if_failed()
    assert str(caught.value) == f"The gradient is wrong in weights[1].\n\n{failed}"
    assert caught.value.report is failed


@pytest.mark.parametrize("verdict", ["passed", "vacuous", "inconclusive"])
def test_the_others_do_not_raise(verdict):
    assert report(row(), verdict=verdict).raise_if_failed() is None


# ---- text ----


def test_the_header_says_what_was_checked_and_how():
    lines = str(failed_report()).splitlines()
    assert lines[:4] == [
        "FAILED: network 4-5-2, batch 3, float64, layout book",
        "method replay, central differences, delta 1e-06, default tolerance",
        "40 entries, 7 wrong, 2 on kinks; 80 losses evaluated in 0.0123 s",
        "an error above 2e-06 is seen at every judged entry",
    ]


def test_arrays_without_a_judged_entry_say_nothing_of_what_is_seen():
    unjudged = row("biases[0]", detectable=math.inf, verdict="inconclusive")
    assert report(row(), unjudged).detectable == math.inf
    assert "an error above 2e-06 is seen at every judged entry" in str(report(row(), unjudged))
    assert "no entry was judged" in str(report(unjudged))


def test_the_header_says_the_users_tolerance():
    assert "rtol 0.001, atol 0" in str(report(row(), rtol=1e-3))
    assert "rtol 0, atol 1e-08" in str(report(row(), atol=1e-8))


def test_a_reason_that_several_arrays_share_is_said_once():
    shared, own = {"verdict": "untested", "reason": "zero"}, {"reason": "3 of 20 are wrong"}
    several = report(row("a", **shared), row("b", **own), row("c", **shared))
    assert lines_of(several)[-2:] == ["a, c: zero", "b: 3 of 20 are wrong"]
    every = report(row("a", **shared), row("b", **shared), row("c", **shared))
    assert lines_of(every)[-1] == "all arrays: zero"


def test_a_kink_is_told_with_its_slopes():
    kink = Kink(
        "biases[0]", (3,), 0.0, -1.5, -1.5, 1e-12,
        "which follows a convention, but is not the derivative here",
    )  # fmt: skip
    shown = report(row(), doubtful=(2, 0), convention="0", kink=kink)
    text = " ".join(str(shown).split())
    assert "0 within rounding: layer 0: 2; the gradient has the derivative 0 there" in text
    assert (
        "biases[0][3] is on a kink: slopes -1.5 to the left, -1.5 to the right; the gradient has 0 "
        "there, which follows a convention, but is not the derivative here"
    ) in text
    assert shown.to_dict()["kink"]["remark"] == kink.remark
    assert "kink:" not in str(report(row()))


def test_the_largest_error_is_what_no_convention_explains():
    on_kink = dataclasses.replace(failure(given=3.0, numerical=1.0), hull=1.75)
    assert on_kink.beyond_hull == 0.25
    assert "2.50e-01" in str(report(row(worst=on_kink)))
    inside = dataclasses.replace(on_kink, hull=5.0)
    assert "0.00e+00" in str(report(row(worst=inside)))


def test_every_array_has_its_line():
    lines = lines_of(failed_report())
    assert "weights[0] (5, 4) 20 0 2 1 1.00e-10 passed" in lines
    assert "weights[1] (5, 4) 20 7 2 1 1.00e-10 failed" in lines


def test_reasons_follow_the_table():
    untested = row("biases[0]", verdict="untested", reason="zero on both sides in every entry")
    assert "\nbiases[0]: zero on both sides in every entry\n" in f"{report(untested)}\n"


def test_a_wrong_entry_is_shown_with_its_numbers():
    assert "weights[1][3, 17] 2 1 1.00e+00 1.0e-09 1.0e-06" in lines_of(failed_report())


def test_no_more_than_ten_entries_are_shown_and_one_of_each_array():
    failures = [failure(index=(0, place), given=100.0 - place) for place in range(30)]
    failures.append(failure("biases[1]", (4,), given=1.5))
    text = str(report(row(), failed_row(), verdict="failed", failures=failures))
    shown = [line for line in text.splitlines() if line.startswith(("weights[1][", "biases[1]["))]
    assert len(shown) == 10
    assert shown[1].startswith("biases[1][4]")
    assert text.endswith("(21 more in report.failures)")


@pytest.mark.parametrize(
    ("factor", "shown"),
    [(2.0, "2.000"), (-1.0, "-1.000"), (1 / 784, "0.001276"), (0.7, "0.7000"), (64.0, "64.00")],
)
def test_a_clean_factor_has_its_line(factor, shown):
    line = f"weights[1]: given = k numerical, k = {shown}, residual 1e-12"
    assert line in str(report(failed_row(factor=factor), verdict="failed")).splitlines()


@pytest.mark.parametrize(
    "changes",
    [
        {"residual": 0.3},
        {"factor": None, "residual": None},
        {"factor": 0.0, "residual": None},
        {"verdict": "passed", "reason": ""},
        # Of a single entry every number is a multiple.
        {"factor": 1.7, "residual": 0.0, "entries": 1, "zero": 0, "kinks": 0},
    ],
)
def test_other_factors_have_none(changes):
    assert "given = k" not in str(report(failed_row(**changes), verdict="failed"))


def test_a_simple_factor_of_a_single_entry_has_its_line():
    single = failed_row(factor=0.25, residual=0.0, entries=1, zero=0, kinks=0)
    assert "k = 0.2500, residual 0e+00" in str(report(single, verdict="failed"))


def test_text_is_ascii_and_at_most_a_hundred_columns_wide():
    name = "weights[1000000]"
    far = (123456789, 123456789)
    wide = failed_row(name, shape=far, entries=10**15, wrong=10**15, zero=10**15, kinks=10**15)
    failures = [failure(name, far, -1.23456789e-300, -1.98765432e-300)]
    misbehaved = failed_row("gradients", reason=", ".join(["weights[100]"] * 100))
    deep = report(wide, misbehaved, verdict="failed", failures=failures, sizes=(1024,) * 100)
    text = str(deep)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 100
    assert not text.endswith("\n")


def test_text_does_not_depend_on_the_terminal(monkeypatch):
    plain = str(failed_report())
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "20"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    assert str(failed_report()) == plain
    assert "\x1b" not in plain


def test_repr_is_one_line():
    assert repr(failed_report()) == "<Report: failed, 7 of 40 entries wrong in 2 arrays>"


# ---- JSON ----


def test_to_dict_holds_everything_in_plain_types():
    failed = failed_report()
    content = failed.to_dict()
    fields = {field.name for field in dataclasses.fields(Report)}
    arrays = {"maps", "samples"}
    assert set(content) == fields - arrays | {"entries", "wrong", "kinks", "detectable"}
    assert content["arrays"][1]["worst"]["index"] == [1, 1]
    assert content["failures"] == [
        {
            "array": "weights[1]",
            "index": [3, 17],
            "given": 2.0,
            "numerical": 1.0,
            "error": 1.0,
            "error_bar": 1e-9,
            "allowed": 1e-6,
            "hull": 0.0,
        }
    ]
    assert json.loads(json.dumps(content)) == content


def test_json_has_no_nan_literals(tmp_path):
    odd = [failure(given=math.nan), failure(given=-math.inf)]
    failed = report(failed_row(detectable=math.inf), verdict="failed", failures=odd)
    path = tmp_path / "report.json"
    failed.to_json(path)

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert [entry["given"] for entry in content["failures"]] == ["nan", "-inf"]
    assert content["failures"][0]["error"] == "inf"
    assert content["detectable"] == "inf"
    assert content == failed.to_dict()


def test_to_json_takes_a_string_and_replaces_a_file(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("before")
    failed_report().to_json(str(path))
    assert json.loads(path.read_text())["verdict"] == "failed"


# ---- choosing the failures ----


def errors(name: str, sizes: list[float]) -> tuple[Failure, ...]:
    return tuple(failure(name, (i,), given=1.0 + size) for i, size in enumerate(sizes))


def test_ten_of_each_array_and_the_largest_of_the_rest():
    large = errors("large", [2e6 - i for i in range(1000)])
    small = errors("small", [1.0 - i / 1000 for i in range(900)])
    chosen = worst_of_all([large, (), small])
    assert len(chosen) == 1000
    assert [f for f in chosen if f.array == "small"] == list(small[:10])
    assert [f for f in chosen if f.array == "large"] == list(large[:990])
    assert [f.error for f in chosen] == sorted((f.error for f in chosen), reverse=True)


def test_many_wrong_arrays_share_the_thousand():
    arrays = [errors(f"weights[{k}]", [3.0, 2.0, 1.0]) for k in range(400)]
    chosen = worst_of_all(arrays)
    assert len(chosen) == 1000
    assert {f.array for f in chosen} == {f"weights[{k}]" for k in range(400)}


def test_no_failures():
    assert worst_of_all([(), ()]) == ()


# ---- import ----


def test_rich_is_imported_only_for_text():
    code = (
        "import sys, fastbp.report\n"
        "print([name for name in sys.modules if name.startswith('rich')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"
