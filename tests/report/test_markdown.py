"""Reports as Markdown, and in what else is made for machines, whatever is in them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from support.reports import failed_report, failed_row, failure, full_of, report, row

from fastbp.cli.outputs.checked import Checked
from fastbp.cli.outputs.github import MOST, annotation, as_summary
from fastbp.cli.outputs.junit import as_junit
from fastbp.report.markdown import as_code, as_prose

pytestmark = pytest.mark.small

STRANGE = "w\x1b[2J\n\u202eb[0]\r\ud800|`<script>alert(1)</script>" + "x" * 10_000


def of_strange_names():
    return report(
        failed_row(STRANGE, reason=f"{STRANGE}: wrong"), verdict="failed",
        failures=[failure(STRANGE)], function=STRANGE, notes=(STRANGE,), diagnosis=(STRANGE,),
    )  # fmt: skip


def test_the_whole_report():
    assert failed_report().to_markdown() == (
        "### FAILED: network 4-5-2, batch 3, float64, layout book\n\n"
        "- weights\\[1\\]: 7 of 20 are wrong\n"
        "- weights\\[1\\]: given = k numerical, k = 2.000, residual 1e-12\n\n"
        "| array | verdict | shape | entries | wrong | zero | kinks | error | relative |\n"
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: |\n"
        "| `weights[1]` | **failed** | (5, 4) | 20 | 7 | 2 | 1 | 1.0e-10 | 1.0e-10 |\n"
        "| `weights[0]` | passed | (5, 4) | 20 | 0 | 2 | 1 | 1.0e-10 | 1.0e-10 |\n\n"
        "| wrong entry | given | numerical | error | relative | allowed |\n"
        "| :-- | --: | --: | --: | --: | --: |\n"
        "| `weights[1][3, 17]` | 2 | 1 | 1.0e+00 | 1.0e+00 | 1.0e-06 |\n\n"
        "- method replay, central differences, delta 1e-06, default tolerance\n"
        "- 40 entries, 7 wrong, 2 on kinks; 80 losses evaluated; 0.0123 s\n"
        "- an error above 2e-06 is seen at every judged entry\n"
    )


def test_ten_thousand_arrays_are_a_short_text():
    rows = [failed_row(f"weights[{k}]") for k in range(10_000)]
    text = report(*rows, verdict="failed").to_markdown()
    assert text.count("\n| `") == 40
    assert "- 9,960 more arrays did not pass: 199,200 entries, errors of at most 1.0e-10\n" in text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 0.0])
def test_any_number_is_shown(number):
    found = full_of(number)
    assert found.to_markdown().startswith("### FAILED: ")
    ET.fromstring(as_junit([Checked("a", found)]))
    assert annotation(Checked("a", found)).startswith("::error ")


def test_no_name_does_anything():
    checked = Checked(STRANGE, of_strange_names())
    summary, junit, command = as_summary([checked]), as_junit([checked]), annotation(checked)
    for text in (summary, junit, command):
        assert not {"\x1b", "\u202e", "\r", "\ud800"} & set(text)
        text.encode()
    assert all(line.count(" | ") in (0, 5, 8) for line in summary.splitlines())
    assert len(summary) < 10_000
    assert command.count("\n") == 1
    assert len(command) < 3000
    [case] = ET.fromstring(junit).iter("testcase")
    assert case.get("name").startswith(r"w\x1b[2J\n\u202eb[0]\r\ud800|`<script>")


@pytest.mark.long
def test_a_summary_that_is_too_long_says_what_is_missing():
    text = as_summary([Checked("a" * 50_000, None, complaint="b" * 50_000 + " b")] * 2000)
    assert len(text.encode()) < MOST + 1000
    name = "word " * 100_000
    text = as_summary([Checked(name, None, complaint="bad")] * 20)
    assert len(text.encode()) < 1_000_000
    assert text.rstrip().endswith("more reports are too long for this summary.")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("w", "`w`"),
        ("a|b", r"`a\|b`"),
        ("`", "`` ` ``"),
        ("``a`", "``` ``a` ```"),
        (" a", "`  a `"),
    ],
)
def test_a_name_is_code(name, code):
    assert as_code(name) == code


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("12) a", r"12\) a"),
        ("1.5 times", r"1\.5 times"),
        ("# a\n\n* b", r"\# a \* b"),
        ("<b>&amp;", r"\<b\>\&amp;"),
        ("a_b $x$ @me #1", r"a\_b \$x\$ \@me \#1"),
    ],
)
def test_prose_has_no_markup(text, prose):
    assert as_prose(text) == prose


def test_arrays_that_passed_are_folded():
    text = report(*(row(f"weights[{k}]") for k in range(20))).to_markdown()
    assert "- 20 arrays passed: 400 entries, errors of at most 1.0e-10\n" in text
    assert "| array |" not in text


def test_a_single_array_that_is_not_shown_is_told_as_one():
    found = report(*(failed_row(f"weights[{k}]") for k in range(41)), verdict="failed")
    for text in (found.to_markdown(), str(found), found._repr_html_()):
        assert "1 more array did not pass: 20 entries, errors of at most 1.0e-10\n" in (
            text.replace("</li>", "")
        )
