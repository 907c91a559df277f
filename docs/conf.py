"""How Sphinx builds the documentation: ``python -m sphinx -W -n docs docs/_build/html``."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastbp

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

project = "fastbp"
author = "The fastbp authors"
version = release = fastbp.__version__
project_copyright = author
language = "en"

extensions = [
    "myst_parser",
    "numpydoc",
    "run_blocks",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_figures", "notebooks/README.md"]
templates_path = ["_templates"]
nitpicky = True

# ---- Markdown ----
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# ---- the reference, from docstrings ----
autodoc_typehints = "none"  # the docstrings say shapes and dtypes, which annotations do not
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
# What is written in single backticks is a link where it names something documented, else code.
default_role = "py:obj"
# Made by fastbp and never by a caller: how to construct them is of no use to a reader.
autosummary_context = {
    "results": [
        "Differences",
        "ForwardPass",
        "Gradients",
        "NumericalGradient",
        "Problem",
        "Report",
        "TaylorTest",
        "ArrayReport",
        "Certificate",
        "Failure",
        "Kink",
    ]
}

# ---- other projects ----
INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
}


def answers(address: str) -> bool:
    """Whether a site can be reached: the pages are built without a network, too."""
    try:
        with urllib.request.urlopen(f"{address}objects.inv", timeout=3):
            return True
    except OSError:
        return False


intersphinx_mapping = {name: (at, None) for name, at in INVENTORIES.items() if answers(at)}
linkcheck_anchors = False

# ---- how the pages look ----
html_theme = "pydata_sphinx_theme"
html_title = "fastbp"
html_static_path = ["_static"]
html_css_files = ["fastbp.css"]
html_js_files = ["fastbp.js"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"


def leave_as_code(_app: Sphinx, _env: Any, node: Any, shown: nodes.Node) -> nodes.Node | None:
    """Let what is in single backticks be code where there is nothing to link to.

    A parameter, for example. Links that say what they mean (:py:func:) are still checked.
    """
    if node.get("reftype") == "obj" and node.get("refdomain") == "py":
        return shown
    return None


def setup(app: Sphinx) -> None:
    """Connect what is defined here."""
    app.connect("missing-reference", leave_as_code, priority=900)
