"""The pictures of a report as data for the page's script, which draws them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import printable
from fastbp.report.outline import worst_first
from fastbp.report.pictures.picture import matrix_shape, place_in
from fastbp.report.wording.digits import told_apart
from fastbp.report.wording.long_names import ends

if TYPE_CHECKING:
    from fastbp.report.model import ArrayReport, Failure, Report
    from fastbp.report.pictures.picture import Picture
    from fastbp.typing import Floats

__all__ = ["heat_maps"]

SHORT = 16  # lines of no more cells are as wide as other maps at most
TIMES = "\N{MULTIPLICATION SIGN}"
# A ratio is written in 16 bits: 0 where nothing was judged, else on a logarithmic scale of 0.15 %
# that keeps what is above 1, wrong, apart from what is not. SMALLEST stands for 0 and what is
# close to it, LARGEST for 3e20 and more.
ONE, STEPS_A_DECADE, SMALLEST, LARGEST, INFINITE = 32768, 1600, 1, 65534, 65535


def heat_maps(report: Report) -> list[dict[str, Any]]:
    """Return the heat maps of all arrays that have a picture, the worst first.

    Returns
    -------
    list of dict
        ``id``, ``name``, ``shape``, ``verdict``, ``cell`` and ``line``, as text for the template,
        and ``data`` for the script: numbers and strings, none of which is NaN or infinite.
    """
    failures: dict[str, list[Failure]] = {}
    for failure in report.failures:
        failures.setdefault(failure.array, []).append(failure)
    rows = [row for row in sorted(report.arrays, key=worst_first) if row.picture is not None]
    return [
        _heat_map(f"map-{place}", row, row.picture, failures.get(row.name, []))
        for place, row in enumerate(rows)
        if row.picture is not None and row.picture.ratios.size
    ]


def _heat_map(
    identity: str, row: ArrayReport, picture: Picture, failures: list[Failure]
) -> dict[str, Any]:
    rows, columns = picture.ratios.shape
    height, width = picture.cell
    return {
        "id": identity,
        "name": ends(printable(row.name)),
        "shape": f" {TIMES} ".join(map(str, row.shape)) or "a number",
        "verdict": row.verdict,
        "cell": "" if (height, width) == (1, 1) else f"{height} {TIMES} {width}",
        "line": min(rows, columns) == 1 and rows * columns > SHORT,
        "data": {
            "name": ends(printable(row.name)),
            "shape": list(row.shape),
            "matrix": list(matrix_shape(row.shape)),
            "cells": [rows, columns],
            "cell": [height, width],
            "ratios": _in_16_bits(picture.ratios),
            "kinks": [] if picture.kinks is None else np.flatnonzero(picture.kinks).tolist(),
            "entries": _known_entries(row, picture, failures),
        },
    }


def _in_16_bits(ratios: Floats) -> str:
    """Return ratios as unsigned integers, little-endian, in base 64.

    Examples
    --------
    >>> codes = _in_16_bits(np.array([-1.0, 0.0, 1.0, 1.0001, np.inf]))
    >>> np.frombuffer(base64.b64decode(codes), "<u2")
    array([    0,     1, 32768, 32769, 65535], dtype=uint16)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.log10(ratios) * STEPS_A_DECADE
    steps = np.where(ratios > 1.0, np.maximum(np.ceil(steps), 1.0), np.floor(steps))
    codes = np.clip(np.nan_to_num(ONE + steps, nan=SMALLEST), SMALLEST, LARGEST)
    codes[ratios == np.inf] = INFINITE
    codes[ratios < 0.0] = 0
    return base64.b64encode(codes.astype("<u2").tobytes()).decode()


def _known_entries(
    row: ArrayReport, picture: Picture, failures: list[Failure]
) -> list[tuple[int, str, str]]:
    """Return place, given and numerical derivative of the worst entries and of some others."""
    known = {
        place: (failure.given, failure.numerical)
        for failure in failures
        if (place := place_in(row.shape, failure.index)) is not None
    }
    for place, given, numerical, *_ in picture.samples.tolist():
        known.setdefault(int(place), (given, numerical))
    return [(place, *told_apart(*pair)) for place, pair in known.items()]
