"""The built documentation in a browser, from file://: nothing cut off, accessible, searchable.

FASTBP_SITE names the folder of the built pages; without it the tests are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import SCHEMES, WIDTHS, Visit, chromium

pytestmark = pytest.mark.long

SITE = os.environ.get("FASTBP_SITE", "")
# One page of each kind: cards and a table, code and figures, long tables, a generated page.
PAGES = (
    "index.html",
    "tutorials/adjoint.html",
    "how-to/it-fails.html",
    "how-to/torch.html",
    "reference/environment.html",
    "reference/generated/fastbp.check_gradient.html",
    "explanation/when-to-use-which.html",
    "gallery/one-layer-off.html",
    "architecture.html",
)
QUESTIONS = {  # what a newcomer asks, and the page that answers
    "how-to/it-fails.html": "decision table",
    "gallery/not-summed.html": "a bias not summed",
    "how-to/tolerances.html": "tolerances",
    "how-to/constraints.html": "constraints",
    "how-to/second-order.html": "second order",
    "how-to/pytest-and-ci.html": "pytest and CI",
    "how-to/slow-functions.html": "slow functions",
    "how-to/large-networks.html": "large networks",
}


@pytest.fixture(scope="module")
def site() -> Path:
    if not SITE:
        pytest.skip("FASTBP_SITE does not say where the pages are")
    return Path(SITE).resolve()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_and_accessible(
    browser: Any, site: Path, page: str, width: int, scheme: str
) -> None:
    visit = Visit(browser, site / page, width, scheme)
    visit.page.wait_for_load_state("networkidle")
    assert not visit.is_cut_off()
    assert visit.violations() == []
    assert [url for url in visit.loaded if not url.startswith(("file:", "data:"))] == []
    visit.context.close()


def test_the_search_finds_a_page_without_a_server(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "search.html")
    visit.page.goto(f"{(site / 'search.html').as_uri()}?q=tolerances")
    visit.page.wait_for_selector("#search-results li a")
    found = visit.page.locator("#search-results li a").all_text_contents()
    assert "Choose tolerances" in found
    visit.context.close()


@pytest.mark.parametrize("page", QUESTIONS)
def test_a_common_question_is_answered_one_click_from_the_first_page(
    browser: Any, site: Path, page: str
) -> None:
    visit = Visit(browser, site / "index.html")
    visit.page.locator("article").get_by_role("link", name=QUESTIONS[page]).first.click()
    assert visit.page.url == (site / page).as_uri()
    visit.context.close()


def test_the_keyboard_reaches_the_content(browser: Any, site: Path) -> None:
    visit = Visit(browser, site / "how-to" / "it-fails.html")
    visit.page.keyboard.press("Tab")
    focused = visit.page.evaluate("document.activeElement.textContent").strip()
    assert focused == "Skip to main content"
    visit.context.close()
