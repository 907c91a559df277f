"""A report as one HTML file that needs nothing else, and as the output of a notebook's cell."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fastbp.errors import OptionError
from fastbp.report.html.content import excerpt, full_content, taylor_content
from fastbp.report.serialise import write_text

if TYPE_CHECKING:
    import os

    from fastbp.report.model import Report
    from fastbp.report.taylor import TaylorTest

__all__ = ["in_notebook", "page", "taylor_in_notebook", "write_html"]

TEMPLATES = "templates"
NEGATIVE_POWER = re.compile(r"[\d.]+e-\d+")
MISSING = 'to_html needs Jinja: python -m pip install "fastbp[report]".'


def page(report: Report) -> str:
    """Return the report as a whole page: style, script and pictures are in it.

    Raises
    ------
    OptionError
        If Jinja is not installed.
    """
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _rendered(
        "page.html",
        style=_text("colours.css") + _text("page.css"),
        script=script,
        # Of all scripts this one alone may run, whatever a name of the report holds.
        script_digest=f"sha256-{digest}",
        **full_content(report),
    )


def in_notebook(report: Report) -> str | None:
    """Return an excerpt for the output of a cell; None where Jinja is not installed.

    There is no script in it: notebooks that are not trusted would leave it out.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        return None
    style = _text("colours.css") + _text("notebook.css")
    return _rendered("notebook.html", style=style, text=str(report), **excerpt(report))


def taylor_in_notebook(result: TaylorTest) -> str | None:
    """Return a Taylor test for the output of a cell; None where Jinja is not installed."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        return None
    style = _text("colours.css") + _text("notebook.css")
    return _rendered("taylor.html", style=style, text=str(result), **taylor_content(result))


def write_html(report: Report, path: str | os.PathLike[str]) -> None:
    """Write `page` to a file.

    Raises
    ------
    OptionError
        If Jinja is not installed.
    OutputFileError
        If the file cannot be written.
    """
    write_text(page(report), path)


def _rendered(template: str, **content: Any) -> str:
    return str(_environment().get_template(template).render(content))


@cache
def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise OptionError(MISSING) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    return environment


def _unbroken(text: str) -> Any:
    """Return text as markup in which no line ends between "1e-" and "10"."""
    from markupsafe import Markup, escape

    return Markup(NEGATIVE_POWER.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


@cache
def _text(name: str) -> str:
    return files(__package__).joinpath(TEMPLATES, name).read_text(encoding="utf-8")
