"""The text of a report."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys

import pytest
from support.reports import failed_report, failed_row, failure, full_of, report, row

from fastbp.errors import GradientMismatchError
from fastbp.report import Kink, Report
from fastbp.report.text import render

pytestmark = pytest.mark.small


def lines_of(shown: Report) -> list[str]:
    """The lines of its text, with single blanks."""
    return [" ".join(line.split()) for line in str(shown).splitlines()]


# ---- text ----


def test_the_header_says_what_was_checked_and_how():
    lines = str(failed_report()).splitlines()
    assert lines[:4] == [
        "FAILED: network 4-5-2, batch 3, float64, layout book",
        "method replay, central differences, delta 1e-06, default tolerance",
        "40 entries, 7 wrong, 2 on kinks; 80 losses evaluated; 0.0123 s",
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
    assert "2.5e-01" in str(report(row(worst=on_kink)))
    inside = dataclasses.replace(on_kink, hull=5.0)
    assert "0.0e+00" in str(report(row(worst=inside)))


def test_every_array_has_its_line():
    lines = lines_of(failed_report())
    assert "weights[0] (5, 4) 20 0 2 1 1.0e-10 1.0e-10 passed" in lines
    assert "weights[1] (5, 4) 20 7 2 1 1.0e-10 1.0e-10 failed" in lines


def test_reasons_follow_the_table():
    untested = row("biases[0]", verdict="untested", reason="zero on both sides in every entry")
    assert "\nbiases[0]: zero on both sides in every entry\n" in f"{report(untested)}\n"


def test_a_wrong_entry_is_shown_with_its_numbers():
    assert "weights[1][3, 17] 2 1 1.0e+00 1.0e+00 1.0e-06" in lines_of(failed_report())


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


def test_text_is_ascii_and_at_most_eighty_columns_wide():
    name = "weights[1000000]"
    far = (123456789, 123456789)
    wide = failed_row(name, shape=far, entries=10**15, wrong=10**15, zero=10**15, kinks=10**15)
    failures = [failure(name, far, -1.23456789e-300, -1.98765432e-300)]
    misbehaved = failed_row("gradients", reason=", ".join(["weights[100]"] * 100))
    deep = report(wide, misbehaved, verdict="failed", failures=failures, sizes=(1024,) * 100)
    text = str(deep)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert not text.endswith("\n")


def test_text_does_not_depend_on_the_terminal(monkeypatch):
    plain = str(failed_report())
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "20"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    assert str(failed_report()) == plain
    assert "\x1b" not in plain


HOSTILE = "w\x1b[2J\n\u202eb[0]\r"
HARMLESS = r"w\x1b[2J\n\u202eb[0]\r"


def test_names_of_users_are_escaped_wherever_text_shows_them():
    """Escape codes, right-to-left marks and newlines: in rows, entries, reasons, notes, titles."""
    wrong = failure(array=HOSTILE)
    shown = report(
        failed_row(HOSTILE, factor=2.0, residual=0.0, reason=f"{HOSTILE}: no"),
        row(HOSTILE, reason="zero on both sides"),
        verdict="failed",
        failures=(wrong,),
        function=f"{HOSTILE}(x)",
        notes=(f"a note on {HOSTILE}",),
    )
    text = str(shown)
    assert all(line.isprintable() for line in text.split("\n"))
    assert f"FAILED: {HARMLESS}(x), float64" in text
    assert f"{HARMLESS}: given = k numerical" in text
    assert f"{HARMLESS}[3, 17]" in text
    assert f"{HARMLESS}: zero on both sides" in text
    assert r"a note on w\x1b[2J \u202eb[0]\r" in text  # a sentence is wrapped: newlines are spaces
    with pytest.raises(GradientMismatchError) as caught:
        shown.raise_if_failed()
    assert str(caught.value) == f"The gradient is wrong in {HARMLESS}.\n\n{text}"


def test_repr_is_one_line():
    assert repr(failed_report()) == "<Report: failed, 7 of 40 entries wrong in 2 arrays>"


# ---- the order of a long report ----


def many_rows(count: int, wrong: dict[int, float]) -> Report:
    """So many arrays; some of them failed, by so much."""
    rows = [row(f"weights[{k}]") for k in range(count)]
    failures = []
    for k, error in wrong.items():
        worst = failure(f"weights[{k}]", (0, 0), 1.0 + error, 1.0)
        rows[k] = failed_row(f"weights[{k}]", worst=worst, reason="7 of 20 entries are wrong")
        failures.append(worst)
    return report(*rows, verdict="failed" if wrong else "passed", failures=failures)


def test_the_worst_array_stands_first():
    untested = row("biases[0]", verdict="untested", reason="zero")
    shown = many_rows(4, {2: 1e-3, 3: 5.0})
    shown = dataclasses.replace(shown, arrays=(*shown.arrays, untested))
    table = str(shown).split("\n\n")[1].splitlines()[2:]
    assert [line.split()[0] for line in table] == [
        "weights[3]", "weights[2]", "biases[0]", "weights[0]", "weights[1]",
    ]  # fmt: skip


def test_ten_right_arrays_have_a_line_each_and_eleven_have_one():
    assert sum(line.endswith("passed") for line in str(many_rows(10, {})).splitlines()) == 10
    eleven = str(many_rows(11, {}))
    assert "11 arrays passed: 220 entries, errors of at most 1.0e-10" in eleven
    assert "weights[" not in eleven


def test_a_report_of_two_hundred_layers_fits_a_screen():
    text = str(many_rows(400, {315: 1.0}))
    assert len(text.splitlines()) < 20
    assert "weights[315]" in text.splitlines()[7]
    assert "399 arrays passed" in text


def test_a_long_report_says_its_verdict_again_at_the_end():
    short, long = many_rows(60, {3: 1.0}), many_rows(60, {k: 1.0 + k for k in range(60)})
    assert not str(short).splitlines()[-1].startswith("FAILED")
    assert str(long).splitlines()[-2:] == [
        "FAILED: weights[59], weights[58], weights[57], weights[56], weights[55],",
        "  weights[54] and 54 more",
    ]
    assert "20 more arrays did not pass: 400 entries" in str(long)


@pytest.mark.long
def test_ten_thousand_arrays_are_no_more_than_a_few_screens():
    text = str(many_rows(10_000, dict.fromkeys(range(10000), 1.0)))
    assert len(text.splitlines()) < 80
    assert max(map(len, text.splitlines())) <= 80


def test_a_name_of_ten_thousand_letters_has_lines_of_its_own():
    long = "w" * 10_000
    lines = str(report(row(long), row("b"))).splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(line.strip() for line in lines if "w" * 70 in line).count("w") > 9_900
    assert any(line.startswith("b ") and line.endswith("passed") for line in lines)


def test_columns_in_which_nothing_stands_are_left_out():
    plain = row(kinks=0)
    assert "kinks" not in str(report(plain)).split("\n\n")[1]
    assert "kinks" in str(report(plain, row("b", kinks=2))).split("\n\n")[1]


def test_errors_are_relative_too_unless_the_derivative_is_zero():
    beside_zero = dataclasses.replace(failure(), numerical=0.0, error=0.5)
    shown = report(failed_row(worst=beside_zero), verdict="failed", failures=[beside_zero])
    assert "weights[1][3, 17] 2 0 5.0e-01 1.0e-06" in lines_of(shown)


# ---- diagnosis ----


def test_the_diagnosis_stands_above_the_arrays():
    said = ("weights[1]: transposed (residual 1e-15)", *(f"sentence {k}" for k in range(6)))
    shown = dataclasses.replace(failed_report(), diagnosis=said)
    parts = str(shown).split("\n\n")
    assert parts[1].splitlines() == [
        "diagnosis: weights[1]: transposed (residual 1e-15)",
        *(f"diagnosis: sentence {k}" for k in range(4)),
        "(2 more in report.diagnosis)",
    ]
    assert "given = k numerical" not in str(shown)  # a diagnosis tells more


# ---- colour ----


def test_colour_is_for_those_who_ask_and_changes_no_letter():
    shown = dataclasses.replace(failed_report(), diagnosis=("said",))
    coloured = render(shown, colour=True)
    assert render(shown) == str(shown)
    assert "\x1b[31;1mFAILED\x1b[0m: network" in coloured
    assert "\x1b[32;1mpassed\x1b[0m\n" in coloured
    assert "\x1b[1mdiagnosis:\x1b[0m said" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == str(shown)


# ---- import ----


def test_rich_is_not_imported():
    code = (
        "import sys, fastbp.report\n"
        "print([name for name in sys.modules if name.startswith('rich')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 5e-324, 1.7e308, 0.0])
def test_a_report_of_numbers_that_are_none_is_printed(number):
    text = str(full_of(number))
    assert text.startswith("FAILED: network 4-5-2")


def test_a_report_without_arrays_is_printed():
    nothing = report(verdict="vacuous", method="replay", delta=None)
    assert str(nothing).splitlines()[1] == "method replay, default tolerance"
    assert nothing.detectable == math.inf
