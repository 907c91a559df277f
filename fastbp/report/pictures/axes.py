"""One array on the axes of matplotlib: its errors, and its given against its numerical entries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.report.pictures.picture import leading_axes, matrix_shape
from fastbp.report.pictures.style import (
    DARK,
    KINK,
    LEAST_DECADES,
    LIGHT,
    LOWEST,
    MOST_DECADES,
    MOST_SIGNS,
    WRONG,
    colours,
    decade_ticks,
    levels_of,
    plain,
    wrapped,
)
from fastbp.report.wording.long_names import ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.report.pictures.picture import Picture
    from fastbp.typing import Floats, Vector

__all__ = ["Drawn", "add_colour_bar", "draw_errors", "draw_values", "top_of"]

RING = {
    "marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgecolor": "black",
    "markeredgewidth": 1.4, "linestyle": "none", "label": "worst entry", "clip_on": False,
}  # fmt: skip
DIAMOND = {
    "marker": "D", "markersize": 3.2, "markerfacecolor": "none", "markeredgecolor": KINK,
    "markeredgewidth": 0.8, "linestyle": "none", "label": "kink",
}  # fmt: skip
FEW_DOTS = 200
MOST_WRONG = 100  # entries that are crosses beside the samples
# Numbers beyond these are drawn at the edge, and a scale goes from linear to logarithmic at so much
# of the largest at least: what leaves the range of floats on the way to the screen is no accident.
LARGEST, FINEST = 1e150, 1e-12
SPREAD = 1e3  # of the largest over the usual one, above which a linear scale shows nothing


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What is drawn of one array.

    Attributes
    ----------
    name : str
    shape : tuple of int
    axes : sequence of str
        What each axis of the array counts.
    picture : Picture or None
    worst : int or None
        The place of the worst entry, in C order; None where none is wrong.
    wrong : ndarray of float64, shape (some, 3)
        Place, given and numerical derivative of wrong entries.
    said : str
        The verdict, in few words.
    instead : str
        What is to be said where there is no picture.
    """

    name: str
    shape: tuple[int, ...]
    axes: Sequence[str]
    picture: Picture | None
    worst: int | None
    wrong: Floats
    said: str
    instead: str


def top_of(pictures: Sequence[Picture | None]) -> float:
    """Return the decade of the darkest colour: of the largest error that is finite, 3 at least."""
    largest = 0.0
    for picture in pictures:
        if picture is not None:
            finite = picture.ratios[np.isfinite(picture.ratios)]
            largest = max(largest, float(np.max(finite, initial=0.0)))
    return min(MOST_DECADES, max(LEAST_DECADES, math.ceil(math.log10(max(largest, 1.0)))))


def draw_errors(ax: Any, drawn: Drawn, top: float) -> Any:
    """Draw the errors of an array over what is allowed; return what a colour bar can explain.

    A matrix is a heat map, with the largest error of each row and column in strips beside it; an
    array of one row or one column is a line of dots.
    """
    ax.set_title(
        f"{ends(plain(drawn.name), MOST_SIGNS)}\n{drawn.shape} {drawn.said}",
        fontsize=9, parse_math=False, usetex=False, pad=12,
    )  # fmt: skip
    picture = drawn.picture
    if picture is None:
        _say_instead(ax, drawn.instead)
        return None
    if 1 in matrix_shape(drawn.shape):
        return _draw_line(ax, drawn, picture, top)
    return _draw_matrix(ax, drawn, picture, top)


def _say_instead(ax: Any, text: str) -> None:
    ax.text(
        0.5, 0.5, wrapped(text, 38, 8), transform=ax.transAxes, ha="center", va="center",
        fontsize=8, parse_math=False, usetex=False,
    )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])


def _draw_matrix(ax: Any, drawn: Drawn, picture: Picture, top: float) -> Any:
    rows, columns = matrix_shape(drawn.shape)
    height, width = picture.cell
    down, across = picture.ratios.shape
    colour_map, norm = colours(top)
    style = {"cmap": colour_map, "norm": norm, "interpolation": "nearest", "aspect": "auto"}
    right, bottom = across * width - 0.5, down * height - 0.5
    image = ax.imshow(levels_of(picture.ratios, top), extent=(-0.5, right, bottom, -0.5), **style)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    _whole_ticks(ax.xaxis, columns)
    _whole_ticks(ax.yaxis, rows)
    split = leading_axes(drawn.shape)
    ax.set_ylabel(_axis_label(drawn, range(split)), fontsize=8)
    ax.set_xlabel(_axis_label(drawn, range(split, len(drawn.shape))), fontsize=8)
    _draw_margins(ax, picture, (right, bottom), top, style)
    if picture.kinks is not None:
        where = np.argwhere(picture.kinks)
        middle = (where + 0.5) * picture.cell - 0.5
        ax.plot(middle[:, 1], middle[:, 0], **DIAMOND)
    if drawn.worst is not None:
        row, column = divmod(drawn.worst, columns)
        ax.plot([column], [row], **RING)
    return image


def _draw_margins(
    ax: Any, picture: Picture, ends: tuple[float, float], top: float, style: dict[str, Any]
) -> None:
    """Draw the largest error of every column above the map, and of every row to its right."""
    right, bottom = ends
    above = ax.inset_axes([0.0, 1.015, 1.0, 0.04], label="largest of each column")
    of_columns = levels_of(picture.ratios.max(axis=0, keepdims=True), top)
    above.imshow(of_columns, extent=(-0.5, right, 1.0, 0.0), **style)
    above.set_xlim(ax.get_xlim())
    beside = ax.inset_axes([1.015, 0.0, 0.04, 1.0], label="largest of each row")
    of_rows = levels_of(picture.ratios.max(axis=1, keepdims=True), top)
    beside.imshow(of_rows, extent=(0.0, 1.0, bottom, -0.5), **style)
    beside.set_ylim(ax.get_ylim())
    for strip in (above, beside):
        strip.set_xticks([])
        strip.set_yticks([])


def _draw_line(ax: Any, drawn: Drawn, picture: Picture, top: float) -> Any:
    ratios = picture.ratios.reshape(-1)
    step = max(picture.cell)
    entries = max(matrix_shape(drawn.shape))
    ends = np.minimum((np.arange(ratios.size) + 1) * step, entries)
    places = (np.arange(ratios.size) * step + ends - 1) / 2.0
    levels = levels_of(ratios, top)
    colour_map, norm = colours(top)
    size, edge = (18, 0.4) if ratios.size <= FEW_DOTS else (8, 0.15)
    dots = ax.scatter(
        places, levels, c=levels, cmap=colour_map, norm=norm, s=size, edgecolors=DARK,
        linewidths=edge, zorder=2,
    )  # fmt: skip
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--", zorder=1)
    decades, labels = decade_ticks(top, 6)
    ax.set_yticks(decades, labels=labels)
    ax.set_ylim(LOWEST - 0.5, top + 1.5)
    margin = max(0.5, 0.02 * entries)
    ax.set_xlim(-margin, entries - 1 + margin)
    _whole_ticks(ax.xaxis, entries)
    long = [axis for axis, length in enumerate(drawn.shape) if length > 1] or range(
        len(drawn.shape)
    )
    ax.set_xlabel(_axis_label(drawn, long), fontsize=8)
    ax.set_ylabel("error / allowed", fontsize=8)
    ax.tick_params(labelsize=7)
    if picture.kinks is not None:
        where = picture.kinks.reshape(-1)
        ax.plot(places[where], levels[where], **{**DIAMOND, "markersize": 6})
    if drawn.worst is not None:
        cell = drawn.worst // step
        ax.plot([places[cell]], [levels[cell]], **RING)
    return dots


def _whole_ticks(axis: Any, entries: int) -> None:
    """Put ticks on whole numbers alone."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=min(5, max(1, entries)), integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:.0f}"))
    axis.set_tick_params(labelsize=7)


def _axis_label(drawn: Drawn, axes: Sequence[int]) -> str:
    if not drawn.shape:
        return "a scalar"
    names = [drawn.axes[axis] for axis in axes]
    if len(names) == 1:
        return names[0]
    lengths = " x ".join(str(drawn.shape[axis]) for axis in axes)
    return f"{', '.join(names)}: {lengths} in C order"


def add_colour_bar(figure: Any, drawn: Any, top: float, **place: Any) -> Any:
    """Explain the colours beside axes, or on axes of their own: ``ax=`` or ``cax=``."""
    bar = figure.colorbar(drawn, extend="both", **place)
    decades, labels = decade_ticks(top, 10)
    bar.set_ticks(decades, labels=labels)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("error / allowed (above 1: wrong; black: infinite)", fontsize=8)
    return bar


def draw_values(ax: Any, drawn: Drawn) -> None:
    """Draw given against numerical derivatives: right ones on the diagonal, wrong ones crosses."""
    samples = np.zeros((0, 5)) if drawn.picture is None else drawn.picture.samples
    places, given, numerical, bars, hulls = samples.T
    wrong = drawn.wrong[:MOST_WRONG]
    finite = np.isfinite(given) & np.isfinite(numerical)
    of_wrong = np.isfinite(wrong).all(axis=1)
    lost = np.union1d(places[~finite], wrong[~of_wrong, 0]).size
    on_kink = finite & (hulls > bars)
    shown = [given[finite], numerical[finite], wrong[of_wrong, 1:].reshape(-1)]
    limit = _set_scales(ax, _held(np.concatenate(shown)))
    ax.plot(limit, limit, color="black", linewidth=0.8, linestyle="--", zorder=1)
    usual = finite & ~on_kink
    ax.plot(
        _held(numerical[usual]), _held(given[usual]), linestyle="none", marker="o", markersize=3,
        color=LIGHT, markeredgecolor=DARK, markeredgewidth=0.3, label="samples",
    )  # fmt: skip
    if on_kink.any():
        ax.plot(_held(numerical[on_kink]), _held(given[on_kink]), **DIAMOND)
    if of_wrong.any():
        ax.plot(
            _held(wrong[of_wrong, 2]), _held(wrong[of_wrong, 1]), linestyle="none", marker="x",
            markersize=5, color=WRONG, label="wrong",
        )  # fmt: skip
    if lost:
        ax.text(
            0.03, 0.97, f"{lost} not finite", transform=ax.transAxes, va="top", fontsize=7,
            color=WRONG,
        )  # fmt: skip
    ax.set_xlabel("numerical", fontsize=8)
    ax.set_ylabel("given", fontsize=8)
    ax.tick_params(labelsize=7)


def _held(values: Vector) -> Vector:
    return np.clip(values, -LARGEST, LARGEST)


def _set_scales(ax: Any, values: Vector) -> tuple[float, float]:
    """Make both axes alike; logarithmic away from 0 where numbers are of very different sizes."""
    size = np.abs(values)
    largest = float(np.max(size, initial=0.0))
    usual = float(np.median(size[size > 0])) if largest > 0 else 1.0
    if largest > SPREAD * usual:
        width = max(usual, FINEST * largest)
        for which in (ax.set_xscale, ax.set_yscale):
            which("asinh", linear_width=width)
    if largest < 1.0 / LARGEST:
        largest = 1.0
    low, high = float(np.min(values, initial=0.0)), float(np.max(values, initial=0.0))
    margin = 0.06 * max(high - low, largest)
    limit = (low - margin, high + margin)
    ax.set_xlim(limit)
    ax.set_ylim(limit)
    return limit
