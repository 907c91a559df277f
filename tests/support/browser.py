"""Chromium, for tests of pages.

Without it they are skipped; with FASTBP_BROWSER_REQUIRED in the environment, they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS, SCHEMES = (375, 1440), ("light", "dark")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser without a window, and end it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        do_without("there is no Chromium here")
    if find_spec("playwright") is None:
        do_without("playwright is not installed")
    from playwright.sync_api import sync_playwright

    options = ["--disable-gpu", "--disable-background-networking"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


def do_without(reason: str) -> None:
    if os.environ.get("FASTBP_BROWSER_REQUIRED"):
        pytest.fail(reason)
    pytest.skip(reason)


class Visit:
    """A page in the browser, with what it complained of and what it loaded."""

    def __init__(self, browser: Any, path: Path, width: int = 1440, scheme: str = "light") -> None:
        # axe-core is put into the page, whose policy allows its own script alone.
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.loaded: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.loaded.append(request.url))
        self.page.goto(path.as_uri())

    def violations(self) -> list[tuple[str, list[str]]]:
        """Return the rules of axe-core that are broken, with the elements."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]

    def is_cut_off(self) -> bool:
        """Tell whether anything stands beyond the edge of the window."""
        root = "document.documentElement"
        return bool(self.page.evaluate(f"{root}.scrollWidth > {root}.clientWidth"))

    def first_cells(self, table: str, column: int = 1) -> list[str]:
        """Return what stands in a column of a table, in the order that is shown."""
        cells = self.page.locator(f"#{table} tbody tr > :nth-child({column})")
        return list(cells.all_text_contents())
