"""Reports as figures of matplotlib: a heat map of every array, the worst first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import OptionError, printable
from fastbp.report.outline import counted, subject, worst_first
from fastbp.report.pictures.axes import Drawn, add_colour_bar, draw_errors, draw_values, top_of
from fastbp.report.pictures.cells import Cells
from fastbp.report.pictures.picture import place_in
from fastbp.report.pictures.style import MOST_SIGNS, pyplot, wrapped
from fastbp.report.wording.long_names import ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.report.model import ArrayReport, Failure, Report
    from fastbp.report.pictures.picture import Picture

__all__ = ["plot", "plot_array"]

MOST_ARRAYS = 12
PAIR, HEIGHT = 5.6, 2.9  # inches of a map beside its values
MARKS = "strips: largest of each row and column; circle: worst; crosses: wrong; diamonds: kinks"
ABOVE, BELOW, AROUND = 1.15, 0.95, 0.75


def plot(report: Report) -> Any:
    """Draw a report: of each array its errors, and beside them given against numerical."""
    plt = pyplot("plot")
    rows = sorted(report.arrays, key=worst_first)
    shown = [_drawn(report, row) for row in rows[:MOST_ARRAYS]]
    pairs = 1 if len(shown) <= 2 else 2 if len(shown) <= 6 else 3
    lines = max(1, -(-len(shown) // pairs))
    width, height = PAIR * pairs + AROUND, HEIGHT * lines + ABOVE + BELOW
    figure = plt.figure(figsize=(width, height))
    grid = figure.add_gridspec(
        lines, 2 * pairs, width_ratios=[1.15, 1.0] * pairs, wspace=0.42, hspace=0.68,
        left=AROUND / width, right=1 - 0.35 / width, top=1 - (ABOVE + 0.25) / height,
        bottom=(BELOW + 0.3) / height,
    )  # fmt: skip
    top = top_of([drawn.picture for drawn in shown])
    explained = None
    for place, drawn in enumerate(shown):
        line, pair = divmod(place, pairs)
        errors = figure.add_subplot(grid[line, 2 * pair], label=f"errors {place}")
        explained = draw_errors(errors, drawn, top) or explained
        if drawn.picture is not None:
            values = figure.add_subplot(grid[line, 2 * pair + 1], label=f"values {place}")
            draw_values(values, drawn)
    if explained is not None:
        own = figure.add_axes([0.3, 0.42 / height, 0.4, 0.13 / height], label="colours")
        add_colour_bar(figure, explained, top, cax=own, orientation="horizontal")
    _write_around(figure, report, rows, height, int(width * 13))
    return figure


def plot_array(report: Report, name: str, ax: Any = None) -> Any:
    """Draw one array on some axes; on new ones, its values beside it."""
    row = next((row for row in report.arrays if row.name == name), None)
    if row is None:
        known = ", ".join(repr(ends(row.name, MOST_SIGNS)) for row in report.arrays[:3])
        more = ", ..." if len(report.arrays) > 3 else ""
        raise OptionError(f"name must be that of an array ({known}{more}), not {name!r}.")
    drawn = _drawn(report, row)
    top = top_of([drawn.picture])
    if ax is None:
        _, (ax, beside) = pyplot("plot_array").subplots(
            1, 2, figsize=(8.6, 3.9), layout="constrained", width_ratios=[1.3, 1.0]
        )
        if drawn.picture is None:
            beside.remove()
        else:
            draw_values(beside, drawn)
    explained = draw_errors(ax, drawn, top)
    if explained is not None:
        add_colour_bar(ax.figure, explained, top, ax=ax, pad=0.08)
    return ax


def _drawn(report: Report, row: ArrayReport) -> Drawn:
    own = {
        place: one
        for one in report.failures
        if one.array == row.name and (place := place_in(row.shape, one.index)) is not None
    }
    picture = _of_failures(row.shape, own) if row.picture is None else row.picture
    at = None
    if row.wrong and row.worst is not None and picture is not None:
        at = place_in(row.shape, row.worst.index)
    wrong = [(place, one.given, one.numerical) for place, one in own.items()]
    return Drawn(
        name=row.name,
        shape=row.shape,
        axes=_axis_names(report, row),
        picture=picture,
        worst=at,
        wrong=np.array(wrong, dtype=np.float64).reshape(-1, 3),
        said=_said(row),
        instead=_instead(row),
    )


def _of_failures(shape: tuple[int, ...], wrong: dict[int, Failure]) -> Picture | None:
    """Make a picture of wrong entries by their places, where nothing is known of the others."""
    if not wrong:
        return None
    places = np.array([*wrong])
    ratios = [one.error / one.allowed if one.allowed > 0 else math.inf for one in wrong.values()]
    cells = Cells(shape)
    # Infinite over infinite, as with a NaN beside no finite bar, is infinitely wrong.
    cells.add_at(
        places, np.nan_to_num(ratios, nan=math.inf, posinf=math.inf), np.zeros(len(wrong), bool)
    )
    return cells.picture()


def _axis_names(report: Report, row: ArrayReport) -> list[str]:
    """Say what the axes of an array count: units of a network, where it is one of its arrays."""
    names = [f"axis {axis}" for axis in range(len(row.shape))]
    kind, _, layer = row.name.rstrip("]").partition("[")
    if not report.sizes or not layer.isdecimal() or int(layer) >= len(report.sizes) - 1:
        return names
    inputs, outputs = report.sizes[int(layer) : int(layer) + 2]
    named = {"out": f"unit of layer {int(layer) + 1}", "in": f"unit of layer {int(layer)}"}
    if kind == "weights" and row.shape in ((outputs, inputs), (inputs, outputs)):
        order = ("in", "out") if report.layout == "keras" else ("out", "in")
        return [f"{name}: {named[side]}" for name, side in zip(names, order, strict=True)]
    if kind == "biases":
        return [named["out"] if length == outputs else names[axis]
                for axis, length in enumerate(row.shape)]  # fmt: skip
    return names


def _said(row: ArrayReport) -> str:
    kinks = f", {row.kinks:,} on kinks" if row.kinks else ""
    if row.verdict == "failed":
        return f"failed: {row.wrong:,} of {counted(row.entries, 'entry', 'entries')} wrong{kinks}"
    return f"{row.verdict}, {counted(row.entries, 'entry', 'entries')}{kinks}"


def _instead(row: ArrayReport) -> str:
    if 0 in row.shape:
        return "no entries"
    if row.reason:
        return row.reason
    if row.verdict == "passed":
        return "passed; no more is known of single entries"
    return row.verdict


def _write_around(
    figure: Any, report: Report, rows: Sequence[ArrayReport], height: float, width: int
) -> None:
    """Write the verdict above the arrays, and below them how many are not shown."""
    plainly: dict[str, Any] = {"parse_math": False, "usetex": False}
    title = f"{report.verdict.upper()}: {printable(subject(report))}"
    figure.text(
        0.5, 1 - 0.22 / height, wrapped(title, width, 1), ha="center", va="top", fontsize=12,
        weight="bold", **plainly,
    )  # fmt: skip
    if report.diagnosis:
        said = wrapped(f"diagnosis: {report.diagnosis[0]}", width, 2)
        figure.text(0.5, 1 - 0.5 / height, said, ha="center", va="top", fontsize=9, **plainly)
    notes = [MARKS]
    hidden = rows[MOST_ARRAYS:]
    if hidden:
        failed = sum(row.verdict == "failed" for row in hidden)
        of_these = f", of which {failed:,} failed" if failed else ""
        notes.insert(0, f"{counted(len(hidden), 'array is', 'arrays are')} not shown{of_these}")
    figure.text(
        0.01, 0.05 / height, "; ".join(notes), ha="left", va="bottom", fontsize=7, **plainly
    )
