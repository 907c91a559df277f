"""Reports as pages, and as a notebook shows them: what is in the file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.reports import failed_report, failed_row, failure, full_of, report, row

from fastbp.errors import OptionError, OutputFileError
from fastbp.report import Report
from fastbp.report.html import page as page_module
from fastbp.report.html.page import in_notebook, page
from fastbp.report.wording.long_names import shortened

pytestmark = pytest.mark.small

HOSTILE = "<script>alert(1)</script>\x1b[2J\n\u202e\"'&amp;</td>"
VOID = {"meta"}


class Outline(HTMLParser):
    """The elements and the text of a page, which must be well formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text += f"{data} "

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def plain(text: str) -> str:
    return " ".join(text.split())


def squeezed(text: str) -> str:
    """Return text without blanks: in a page any number of them is one, or none."""
    return "".join(text.split())


def test_a_page_says_what_the_report_says():
    shown = dataclasses.replace(
        failed_report(), diagnosis=("weights[1]: transposed",), seed=11, notes=("One remark.",),
        made="2026-01-02 UTC; fastbp 1, numpy 2; Python 3 on Linux, 4 processors; python check.py",
    )  # fmt: skip
    text = squeezed(Outline(page(shown)).text)
    for part in [
        "Failed 7 of 40 entries are wrong, in 1 of 2 arrays. network 4-5-2, batch 3, float64",
        "Diagnosis weights[1]: transposed Arrays",
        "weights[1] failed (5, 4) 20 7 2 1",
        "Wrong entries, the worst first entry given numerical error relative",
        "weights[1][3, 17] 2 1 1.0e+00 1.0e+00 1.0e+06 1.0e-09",
        "An error above 2e-06 is seen at every judged entry.",
        "2 entries lie on a kink, where any convention passes.",
        "One remark.",
        'Call check_network(..., method="replay", seed=11)',
        "Seed 11 Method replay, central differences, delta 1e-06 Tolerance default tolerance",
        "Date 2026-01-02 UTC Versions fastbp 1, numpy 2 Machine Python 3 on Linux, 4 processors",
        "Command python check.py",
    ]:
        assert squeezed(part) in text


@pytest.mark.parametrize(
    ("shown", "summary"),
    [
        (report(row()), "Passed None of 20 entries in 1 array is wrong."),
        (report(row(verdict="untested"), verdict="vacuous"),
         "Vacuous Nothing was tested: every array is zero on both sides."),
        (report(row(), row(verdict="inconclusive"), verdict="inconclusive"),
         "Inconclusive 1 of 2 arrays could not be judged."),
        (report(failed_row(wrong=1), verdict="failed", at_least=True, function="f(x)", sizes=()),
         "Failed At least 1 of 20 entries is wrong, in 1 of 1 array. f(x), float64"),
        (report(verdict="vacuous"), "Vacuous Nothing was tested"),
    ],
)  # fmt: skip
def test_the_verdict_stands_at_the_top(shown, summary):
    for form in (page, in_notebook):
        assert squeezed(summary) in squeezed(Outline(form(shown)).text)


def test_a_page_loads_nothing_and_runs_its_own_script_alone():
    outline = Outline(page(failed_report()))
    assert not any(
        {"src", "href", "style"} & attributes.keys() for _, attributes in outline.elements
    )
    assert not re.search(r"url\(|@import|https?:", page(failed_report()))
    policy = next(parts["content"] for _, parts in outline.elements if "http-equiv" in parts)
    data, script = outline.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    assert json.loads(data) == {}


@pytest.mark.parametrize("form", [page, in_notebook])
def test_names_and_sentences_are_text_whatever_they_hold(form):
    shown = report(
        failed_row(HOSTILE, reason=HOSTILE), row(f"a{HOSTILE}"), verdict="failed", sizes=(),
        failures=[failure(HOSTILE)], function=HOSTILE, dtype=HOSTILE, diagnosis=(HOSTILE,),
        notes=(HOSTILE,), made=f"{HOSTILE}; {HOSTILE}; {HOSTILE}",
    )  # fmt: skip
    html = form(shown)
    outline = Outline(html)
    assert outline.count("script") == (2 if form is page else 0)
    assert not re.search("[\x1b\u202e]", html)
    assert r"<script>alert(1)</script>\x1b[2J\n\u202e" in outline.text
    assert "alert" not in "".join(outline.scripts)


def test_a_name_of_ten_thousand_letters_is_shown_once_and_by_its_ends_elsewhere():
    name = "".join(f"{place:05d}" for place in range(2000))
    shown = report(
        failed_row(name, reason=f"{name} is too long"), verdict="failed",
        failures=[failure(name)] * 100, diagnosis=(f"{name}: transposed",),
    )  # fmt: skip
    html = page(shown)
    assert html.count(name) == 1
    assert f"<li>{shortened(name + ':')} transposed</li>" in html


def test_long_names_with_the_same_ends_are_shown_as_their_own():
    names = [f"{'x' * 60}{middle}{'y' * 60}" for middle in "ab"]
    html = page(report(*map(failed_row, names), verdict="failed"))
    assert [f"</summary>{name}</details>" in html for name in names] == [True, True]


def test_several_reports_in_one_page_have_no_identity_in_common():
    shown = report(failed_row(), row(), verdict="failed", failures=[failure()])
    excerpt = Outline(in_notebook(shown))
    assert not any("id" in attributes for _, attributes in excerpt.elements)
    identities = [parts["id"] for _, parts in Outline(page(shown)).elements if "id" in parts]
    assert len(set(identities)) == len(identities)
    assert {"arrays", "failures"} <= set(identities)


@pytest.mark.long
def test_a_report_of_ten_thousand_arrays_has_all_of_them():
    rows = [row(f"layer[{place}]") for place in range(9_990)]
    rows += [failed_row(f"wrong[{place}]") for place in range(10)]
    html = page(report(*rows, verdict="failed"))
    assert html.count("<tr>") == 10_000 + 2
    assert "9,990 arrays passed: 199,800 entries, errors of at most 1.0e-10" in html
    assert len(html) < 5_000_000
    assert in_notebook(report(*rows, verdict="failed")).count("<tr>") == 10 + 1


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 5e-324, 1.7e308, 0.0])
@pytest.mark.parametrize("form", [page, in_notebook])
def test_numbers_that_are_none_are_shown(form, number):
    assert "Failed" in Outline(form(full_of(number))).text


def test_a_report_that_was_read_from_json_has_the_same_page(tmp_path):
    shown = dataclasses.replace(failed_report(), seed=3, made="today; fastbp 1; a machine")
    shown.to_json(tmp_path / "report.json")
    assert page(Report.from_json(tmp_path / "report.json")) == page(shown)


def test_the_page_is_written_as_utf_8_in_place_of_what_was_there(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("x" * 100_000)
    shown = report(row("größe"))
    shown.to_html(path)
    assert path.read_text(encoding="utf-8") == page(shown)
    assert "größe" in page(shown)


@pytest.mark.parametrize("write", [Report.to_html, Report.to_json])
def test_a_file_that_cannot_be_written_is_an_error_of_ours(write, tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "report"):
        with pytest.raises(OutputFileError) as caught:
            write(failed_report(), path)
        assert str(caught.value).startswith(f"{path} cannot be written: ")
        assert isinstance(caught.value, OSError)
        assert caught.value.strerror in str(caught.value)


def test_without_jinja_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page_module._environment.cache_clear()
    with pytest.raises(OptionError) as caught:
        failed_report().to_html(Path(tmp_path) / "report.html")
    assert str(caught.value) == ('to_html needs Jinja: python -m pip install "fastbp[report]".')
    assert failed_report()._repr_html_() is None
    assert [*tmp_path.iterdir()] == []


def test_a_notebook_shows_an_excerpt_and_the_text_where_styles_are_left_out():
    failures = [failure(index=(0, place), given=100.0 - place) for place in range(30)]
    rows = [failed_row(), *(row(f"biases[{place}]") for place in range(20))]
    shown = report(*rows, verdict="failed", failures=failures)
    html = shown._repr_html_()
    outline = Outline(html)
    assert outline.count("script") == 0
    assert html.count("<tr>") == (1 + 1) + (1 + 10)
    text = plain(outline.text)
    assert "20 arrays passed" in text
    assert "20 more in report.failures" in text
    assert plain(str(shown)) in text


def test_a_notebook_counts_the_multiples_beyond_ten():
    rows = [failed_row(f"w[{place}]", factor=2.0, residual=0.0) for place in range(12)]
    shown = in_notebook(report(*rows, verdict="failed"))
    assert shown.count("(2 more arrays are multiples)") == 2  # also in the text
