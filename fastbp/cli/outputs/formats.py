"""What was checked, as the text of a file."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastbp.errors import OptionError

if TYPE_CHECKING:
    from fastbp.cli.outputs.checked import Checked

__all__ = ["as_json", "as_junit", "as_page", "require_page"]


def as_json(checked: list[Checked], *, several: bool) -> str:
    """Return one report as JSON, or several ones by the names of their problems."""
    from fastbp.report import serialise

    reports = {one.name: one.report for one in checked if one.report is not None}
    if not reports:
        return ""
    if not several:
        return serialise.as_json(next(iter(reports.values())))
    return serialise.json_text(
        {name: serialise.as_dict(report) for name, report in reports.items()}
    )


def as_page(checked: list[Checked]) -> str:
    """Return the one report as a page; nothing where the input was bad."""
    from fastbp.report.html.page import page

    [one] = checked
    return "" if one.report is None else page(one.report)


def as_junit(checked: list[Checked]) -> str:
    """Return all problems as JUnit XML."""
    from fastbp.cli.outputs import junit

    return junit.as_junit(checked)


def require_page(*, several: bool) -> None:
    """Complain before a check if no page can be made after it."""
    if find_spec("jinja2") is None:
        raise OptionError('--html needs Jinja: python -m pip install "fastbp[report]".')
    if several:
        raise OptionError("--html is a page of one report, and there are several.")
