"""The page in Chromium: how it looks to axe-core, to the keyboard and to the pointer."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import SCHEMES, WIDTHS, Visit, chromium
from support.reports import failed_row, failure, full_of, report, row

from fastbp.report import Report
from fastbp.report.html.page import in_notebook
from fastbp.report.pictures.picture import Picture

pytestmark = pytest.mark.long

HOSTILE = (
    "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>\x1b\n\u202e"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Open the page of a report."""
    visits = []

    def open_page(shown: Report | str, **options: Any) -> Visit:
        path = tmp_path / "report.html"
        if isinstance(shown, Report):
            shown.to_html(path)
        else:
            path.write_text(shown, encoding="utf-8")
        visits.append(Visit(browser, path, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        one.context.close()


def picture(*wrong: tuple[int, int], shape=(12, 20), cell=(1, 1)) -> Picture:
    ratios = np.full(shape, 1e-3)
    ratios[0, 0] = -1.0
    for place in wrong:
        ratios[place] = 2e6
    return Picture(ratios, cell)


def failed_at_a_few() -> Report:
    wrong = failed_row("weights[1]", shape=(12, 20), entries=240, picture=picture((3, 17), (5, 2)))
    failures = [failure(index=(3, 17), given=2.0), failure(index=(5, 2), given=1.5)]
    right = row("weights[0]", shape=(300, 1), picture=picture(shape=(300, 1)))
    return report(
        right, wrong, row("biases[0]", verdict="untested", reason="zero on both sides"),
        verdict="failed", failures=failures, diagnosis=("weights[1]: rows 3 and 5 are wrong",),
        notes=("One remark.",), seed=3, made="today; fastbp 1; a machine",
    )  # fmt: skip


def of_many_layers() -> Report:
    rows = [row(f"weights[{k}]", picture=picture(shape=(5, 4))) for k in range(60)]
    wrong = [failed_row(f"biases[{k}]", wrong=k) for k in range(200, 240)]
    failures = [failure(f"biases[{200 + k}]", (k,), given=2.0 + k) for k in range(40)]
    return report(*rows, *wrong, verdict="failed", failures=failures, sizes=(9,) * 201)


def with_long_names() -> Report:
    name = "x" * 10_000
    rows = [failed_row(name, reason=f"{name}!", picture=picture((1, 1))), row(HOSTILE)]
    return report(
        *rows, verdict="failed", failures=[failure(name)], diagnosis=(f"{name}: {HOSTILE}",),
        function=HOSTILE, sizes=(), made="; ".join([name] * 3),
    )  # fmt: skip


REPORTS = {
    "passed": lambda: report(row(), row("biases[0]")),
    "failed": failed_at_a_few,
    "vacuous": lambda: report(row(verdict="untested"), verdict="vacuous"),
    "inconclusive": lambda: report(row(verdict="inconclusive", reason="?"), verdict="inconclusive"),
    "of many layers": of_many_layers,
    "with long names": with_long_names,
    "of no number": lambda: full_of(math.nan),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", REPORTS)
def test_a_page_is_accessible_complete_and_silent(visit, kind, width, scheme):
    opened = visit(REPORTS[kind](), width=width, scheme=scheme)
    assert not opened.is_cut_off()
    for summary in opened.page.locator("summary:visible").all():
        summary.click()
    assert not opened.is_cut_off()
    assert opened.violations() == []
    assert opened.complaints == []
    assert len(opened.loaded) == 1  # the file itself
    assert opened.page.title() != "taken"


IN_A_NOTEBOOK = """<!DOCTYPE html>
<html lang="en"><title>Notebook</title>
<body style="{style}" data-jp-theme-light="{light}"><main><h1>Notebook</h1>{output}</main></body>
</html>"""


@pytest.mark.parametrize(
    ("light", "style"),
    [("true", "background: #fff; color: #000"), ("false", "background: #111; color: #fff")],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_notebook_shows_an_accessible_excerpt_in_its_own_colours(visit, scheme, light, style):
    excerpt = in_notebook(failed_at_a_few())
    html = IN_A_NOTEBOOK.format(style=style, light=light, output=excerpt)
    opened = visit(html, scheme=scheme)
    assert opened.page.get_by_text("FAILED: network").is_hidden()
    assert opened.page.get_by_text("weights[1]: rows 3 and 5 are wrong").last.is_visible()
    assert opened.violations() == []


def test_without_the_style_a_notebook_shows_the_text(visit):
    opened = visit(in_notebook(failed_at_a_few()).replace("<style>", "<style media=print>"))
    assert opened.page.get_by_text("FAILED: network").is_visible()
    assert opened.page.locator(".fastbp-report").is_hidden()


def test_tables_are_sorted_by_keyboard(visit):
    opened = visit(of_many_layers())
    assert opened.first_cells("arrays")[:2] == ["biases[200]", "biases[201]"]
    heading = opened.page.locator("#arrays").get_by_role("button", name="wrong")
    heading.focus()
    opened.page.keyboard.press("Enter")
    assert opened.first_cells("arrays")[:2] == ["biases[239]", "biases[238]"]
    assert opened.page.locator("#arrays th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert opened.page.get_by_role("status").first.text_content() == "Sorted by wrong, descending"
    opened.page.keyboard.press("Space")
    assert opened.first_cells("arrays")[:2] == ["biases[200]", "biases[201]"]
    assert opened.page.locator("#arrays th[aria-sort]").get_attribute("aria-sort") == "ascending"
    opened.page.keyboard.press("Shift+Tab")  # from "wrong" over "entries" and "shape" to "array"
    for _ in range(3):
        opened.page.keyboard.press("Shift+Tab")
    opened.page.keyboard.press("Enter")
    assert opened.first_cells("arrays")[0] == "biases[200]"
    opened.page.keyboard.press("Enter")
    assert opened.first_cells("arrays")[0] == "biases[239]"


def test_tables_of_a_narrow_page_are_tables_to_a_screen_reader(visit):
    opened = visit(failed_at_a_few(), width=375)
    session = opened.context.new_cdp_session(opened.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = Counter(node["role"]["value"] for node in nodes if not node["ignored"])
    assert (roles["table"], roles["row"], roles["rowheader"]) == (2, 2 + 3 + 2, 3 + 2)
    assert roles["columnheader"] == roles["button"]


def test_numbers_are_sorted_by_their_size_and_what_is_none_is_the_worst(visit):
    sizes = [1e-9, math.nan, 3.0, math.inf, 2e5, 0.0]
    failures = [
        dataclasses.replace(failure("w", (place,)), error=size) for place, size in enumerate(sizes)
    ]
    opened = visit(report(failed_row("w"), verdict="failed", failures=failures))
    opened.page.locator("#failures").get_by_role("button", name="error", exact=True).click()
    assert opened.first_cells("failures") == [f"w[{place}]" for place in (1, 3, 4, 2, 0, 5)]


def test_long_tables_show_their_first_rows_until_all_are_asked_for(visit):
    opened = visit(of_many_layers())
    rows = opened.page.locator("#arrays tbody tr:visible")
    assert rows.count() == 30
    more = opened.page.locator("#arrays + button")
    assert more.text_content() == "Show all 40 rows"
    more.press("Enter")
    assert rows.count() == 40
    assert opened.page.evaluate("document.activeElement.textContent") == "biases[230]"


def test_arrays_that_passed_are_unfolded_by_keyboard(visit):
    opened = visit(of_many_layers())
    fold = opened.page.get_by_text("60 arrays passed")
    assert opened.page.locator("#passed").is_hidden()
    fold.focus()
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#passed").is_visible()


def told(opened: Visit, number: int = 0) -> str:
    return str(opened.page.locator(f"#map-{number} output").text_content())


@pytest.mark.parametrize("width", WIDTHS)
def test_a_map_tells_the_entry_under_the_pointer(visit, width):
    opened = visit(failed_at_a_few(), width=width)
    canvas = opened.page.locator("#map-0 canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    def point(row: int, column: int) -> str:
        canvas.hover(position={
            "x": (column + 0.5) / 20 * box["width"], "y": (row + 0.5) / 12 * box["height"]
        })  # fmt: skip
        return told(opened)

    assert point(5, 2) == (
        "weights[1][5, 2]\nerror: 2.0e+6 times what is allowed\ngiven 1.5, numerical 1"
    )
    assert point(11, 19) == "weights[1][11, 19]\nerror: 0.001 times what is allowed"
    assert point(0, 0) == "weights[1][0, 0]\nnot judged"
    opened.page.mouse.move(0, 0)
    assert told(opened).startswith("weights[1][3, 17]")  # the worst one again


def test_a_map_is_walked_by_the_arrow_keys(visit):
    opened = visit(failed_at_a_few())
    opened.page.locator("#map-0 canvas").focus()
    assert told(opened).startswith("weights[1][3, 17]\nerror: 2.0e+6")
    assert opened.page.locator("#map-0 output").get_attribute("aria-live") == "polite"
    for key, place in [("ArrowDown", "4, 17"), ("ArrowRight", "4, 18"), ("ArrowRight", "4, 19"),
                       ("ArrowRight", "4, 19"), ("ArrowUp", "3, 19"), ("ArrowLeft", "3, 18"),
                       ("Home", "3, 17")]:  # fmt: skip
        opened.page.keyboard.press(key)
        assert told(opened).startswith(f"weights[1][{place}]\n")
    opened.page.keyboard.press("ArrowUp")
    opened.page.keyboard.press("Tab")
    assert told(opened).startswith("weights[1][3, 17]\n")  # the worst one again
    assert opened.page.locator("#map-0 output").get_attribute("aria-live") == "off"


@pytest.mark.parametrize(
    ("shape", "cells", "cell", "place", "where"),
    [
        ((), (1, 1), (1, 1), (0, 0), "w"),
        ((7,), (1, 7), (1, 1), (0, 6), "w[6]"),
        ((7,), (1, 3), (1, 3), (0, 2), "w[6]"),
        ((7,), (1, 3), (1, 3), (0, 1), "w[3:6]"),
        ((90, 50), (9, 10), (10, 5), (8, 9), "w[80:90, 45:50]"),
        ((9, 1), (9, 1), (1, 1), (4, 0), "w[4, 0]"),
        ((2, 3, 2, 2), (6, 4), (1, 1), (5, 2), "w[1, 2, 1, 0]"),
        ((2, 3, 2, 2), (2, 2), (3, 2), (1, 1), "w[1, 0, 1, 0] to [1, 2, 1, 1]"),
    ],
)
def test_places_are_told_as_one_writes_them_in_python(visit, shape, cells, cell, place, where):
    ratios = np.full(cells, 0.5)
    ratios[place] = 4.0
    wrong = failed_row("w", shape=shape, picture=Picture(ratios, cell))
    opened = visit(report(wrong, verdict="failed"))
    opened.page.locator("#map-0 canvas").wait_for()
    said = "error" if cell == (1, 1) else "largest error"
    assert told(opened) == f"{where}\n{said}: 4 times what is allowed"


def test_a_wrong_entry_is_seen_among_right_ones(visit):
    for scheme in SCHEMES:
        opened = visit(failed_at_a_few(), scheme=scheme)
        opened.page.locator("#map-0 canvas").wait_for()
        right, wrong, unjudged = opened.page.evaluate(
            """() => {
                const context = document.querySelector("#map-0 canvas").getContext("2d");
                const colour = (at) => [...context.getImageData(...at, 1, 1).data];
                return [[1, 1], [17, 3], [0, 0]].map(colour);
            }"""
        )
        assert unjudged[3] == 0
        assert math.dist(right, wrong) > 150


def test_very_long_tables_are_shown_and_sorted_a_thousand_rows_at_a_time(visit):
    opened = visit(report(*[failed_row(f"w[{k}]", wrong=k) for k in range(1500)], verdict="failed"))
    more = opened.page.locator("#arrays + button")
    assert more.text_content() == "Show 1,000 more (30 of 1,500 rows are shown)"
    more.press("Enter")
    assert more.text_content() == "Show all 1,500 rows"
    opened.page.locator("#arrays").get_by_role("button", name="wrong").press("Enter")
    names = opened.first_cells("arrays")
    assert names == [f"w[{k}]" for k in reversed(range(1500))]
    assert opened.page.locator("#arrays tbody tr:visible").count() == 1030
    more.press("Enter")
    assert more.count() == 0
    assert opened.page.locator("#arrays tbody tr:visible").count() == 1500


def test_of_cells_beyond_the_scale_the_one_with_the_worst_entry_is_marked(visit):
    ratios = np.full((3, 4), 1e30)
    wrong = failed_row("w", shape=(3, 4), picture=Picture(ratios))
    opened = visit(report(wrong, verdict="failed", failures=[failure("w", (2, 1))]))
    opened.page.locator("#map-0 canvas").wait_for()
    assert told(opened) == (
        "w[2, 1]\nerror: more than 3.0e+20 times what is allowed\ngiven 2, numerical 1"
    )
