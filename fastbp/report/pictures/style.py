"""Colours and words of pictures, and matplotlib itself, imported when something is drawn."""

from __future__ import annotations

import math
import textwrap
from functools import cache
from typing import Any

import numpy as np

from fastbp.errors import OptionError, printable
from fastbp.report.wording.long_names import ends
from fastbp.typing import Floats

__all__ = [
    "DARK",
    "KINK",
    "LIGHT",
    "LOWEST",
    "MOST_SIGNS",
    "WRONG",
    "colours",
    "decade_ticks",
    "levels_of",
    "plain",
    "pyplot",
    "wrapped",
]

# Right is light blue, wrong is orange to dark red: told apart with every colour vision, as blue and
# orange are, and without any, as light and dark are. At 1, where wrong begins, the colour jumps.
RIGHT_COLOURS = ("#f3f8fc", "#9ec5e3")
WRONG_COLOURS = ("#fdae61", "#e34a1f", "#8c0d26", "#40061a")
INFINITE, NOT_JUDGED = "#000000", "#d0d0d0"
LIGHT, DARK, WRONG, KINK = "#6baed6", "#08306b", "#d7301f", "#0b6e4f"

LOWEST = -4.0  # decades: what is smaller than 1e-4 of what is allowed looks alike
LEAST_DECADES, MOST_DECADES = 3.0, 16.0  # above 1
BORDER = 0.02  # decades
MOST_SIGNS = 40  # of a name


def pyplot(what: str) -> Any:
    """Return matplotlib.pyplot.

    Parameters
    ----------
    what : str
        What needs it, for the error where it is not installed.

    Raises
    ------
    OptionError
        Saying what to install.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        message = f'{what} needs matplotlib: python -m pip install "fastbp[report]".'
        raise OptionError(message) from error
    return pyplot


def colours(top: float) -> tuple[Any, Any]:
    """Return the colour map of errors over what is allowed, and its norm, in decades.

    Parameters
    ----------
    top : float
        The decade where the darkest colour is.
    """
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    # At 0 decades both parts meet, so there one colour stands twice.
    inside = [(0.0, RIGHT_COLOURS[0]), (0.5, RIGHT_COLOURS[1])]
    places = np.linspace(0.5, 1.0, len(WRONG_COLOURS))
    anchors = [*inside, *zip(places.tolist(), WRONG_COLOURS, strict=True)]
    colour_map = LinearSegmentedColormap.from_list("error over allowed", anchors, N=1024)
    return (
        colour_map.with_extremes(bad=NOT_JUDGED, over=INFINITE), TwoSlopeNorm(0.0, LOWEST, top)
    )  # fmt: skip


def levels_of(ratios: Floats, top: float) -> Floats:
    """Return errors over what is allowed in decades, within what the colours show.

    Infinite ones are one decade above the top; where nothing was judged, there is a NaN.

    Examples
    --------
    >>> levels_of(np.array([0.0, 0.1, 1e9, np.inf, -1.0]), 3.0)
    array([-4., -1.,  3.,  4., nan])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        levels: Floats = np.clip(np.log10(ratios), LOWEST, top)
    levels[np.isposinf(ratios)] = top + 1.0
    # There are so many colours that what is right by a rounding is blue, and what is wrong orange.
    levels = np.where(ratios > 1.0, np.maximum(levels, BORDER), np.minimum(levels, -BORDER))
    levels[ratios < 0.0] = np.nan
    return levels


def decade_ticks(top: float, most: int) -> tuple[list[int], list[str]]:
    """Return some decades from the lowest to the top, 0 among them, and what they are called.

    Examples
    --------
    >>> decade_ticks(9.0, 5)
    ([-3, 0, 3, 6, 9], ['1e-3', '1', '1e3', '1e6', '1e9'])
    """
    step = max(1, math.ceil((top - LOWEST) / most))
    decades = [decade for decade in range(int(LOWEST), int(top) + 1) if decade % step == 0]
    return decades, ["1" if decade == 0 else f"1e{decade}" for decade in decades]


def plain(text: str) -> str:
    """Return text of users as the font can show it: the rest is escaped as Python does."""
    text = printable(text)
    if text.isascii():
        return text
    known = _font_signs()
    return "".join(
        sign if ord(sign) < 128 or ord(sign) in known else ascii(sign)[1:-1] for sign in text
    )


def wrapped(text: str, width: int, most_lines: int) -> str:
    """Return text of users in lines."""
    lines = textwrap.wrap(ends(plain(text), 1000), width)
    if len(lines) > most_lines:
        lines = [*lines[: most_lines - 1], f"{lines[most_lines - 1][: width - 3]}..."]
    return "\n".join(lines)


def _font_signs() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont

    return _signs_of(findfont(FontProperties()))


@cache
def _signs_of(path: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    return frozenset(get_font(path).get_charmap())
