"""Errors put into the cells of a picture while an array is judged, block by block."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fastbp.report.pictures.picture import (
    NOTHING_JUDGED,
    SAMPLE_COLUMNS,
    Picture,
    cell_counts,
    cell_shape,
    matrix_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.typing import AnyFloats, Floats, Indices, Mask, Radius, Vector

__all__ = ["Cells", "pictures_of_parts", "samples_of"]

MOST_SAMPLES = 256  # of an array
NO_SAMPLES = np.zeros((0, SAMPLE_COLUMNS))
# Multiples of the golden ratio modulo 1: spread evenly, and never in step with the rows. Of more
# entries than APART no two fall on the same one.
SPREAD = np.sort(np.arange(MOST_SAMPLES) * (math.sqrt(5.0) - 1.0) / 2.0 % 1.0)
APART = math.ceil(1.0 / np.diff(SPREAD).min())


class Cells:
    """The cells of one array.

    Memory is that of the picture, at most 128 x 128 numbers, whatever the array. Entries that come
    one after the other cost 2 to 4 ns each.

    Parameters
    ----------
    shape : tuple of int
        Of the array.

    Examples
    --------
    >>> cells = Cells((2, 3))
    >>> cells.add(0, np.array([0.1, 0.2, 7.0]), np.zeros(3, dtype=bool))
    >>> cells.picture().ratios
    array([[ 0.1,  0.2,  7. ],
           [-1. , -1. , -1. ]])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._columns, self._cell, self._counts = _layout(shape)
        self._size = self._counts[0] * self._counts[1]
        self._ratios: Vector | None = None
        self._kinks: Mask | None = None

    def add(self, start: int, ratio: Vector, kink: Mask) -> None:
        """Take up neighbouring entries.

        Parameters
        ----------
        start : int
            The place of the first one in C order.
        ratio : ndarray of float64, shape (n,)
            Error over what is allowed, -1 where nothing is judged; no NaN. The array may be kept.
        kink : ndarray of bool, shape (n,)
            Whether the entry is on a kink.
        """
        if ratio.size == 0:
            return
        if self._cell == (1, 1):
            part = slice(start, start + ratio.size)
            if ratio.size == self._size:
                self._ratios = ratio
            else:
                self._all_ratios()[part] = ratio
            if kink.any():
                self._all_kinks()[part] = kink
            return
        starts, cells = self._runs(start, start + ratio.size)
        np.maximum.at(self._all_ratios(), cells, np.maximum.reduceat(ratio, starts))
        if kink.any():
            np.logical_or.at(self._all_kinks(), cells, np.logical_or.reduceat(kink, starts))

    def add_at(self, places: Indices, ratio: Vector, kink: Mask) -> None:
        """Take up entries from anywhere; arguments as of `add`, with the place of each."""
        rows, columns = np.divmod(places, self._columns)
        cells = rows // self._cell[0] * self._counts[1] + columns // self._cell[1]
        np.maximum.at(self._all_ratios(), cells, ratio)
        if kink.any():
            self._all_kinks()[cells[kink]] = True

    def picture(self, samples: Floats | None = None) -> Picture | None:
        """Return the picture of what was taken up; None of an array without entries."""
        if self._size == 0:
            return None
        kinks = None if self._kinks is None else self._kinks.reshape(self._counts)
        samples = NO_SAMPLES if samples is None else samples
        return Picture(self._all_ratios().reshape(self._counts), self._cell, kinks, samples)

    def _all_ratios(self) -> Vector:
        if self._ratios is None:
            self._ratios = np.full(self._size, NOTHING_JUDGED)
        return self._ratios

    def _all_kinks(self) -> Mask:
        if self._kinks is None:
            self._kinks = np.zeros(self._size, dtype=np.bool_)
        return self._kinks

    def _runs(self, start: int, stop: int) -> tuple[Indices, Indices]:
        """Cut entries where cells end: where each run begins, from the first on, and its cell."""
        across = self._counts[1]
        rows = np.arange(start // self._columns, (stop - 1) // self._columns + 1)
        edges = np.arange(0, self._columns, self._cell[1])
        begins = (rows[:, None] * self._columns + edges).reshape(-1)
        cells = (rows[:, None] // self._cell[0] * across + np.arange(across)).reshape(-1)
        first = int(np.searchsorted(begins, start, side="right")) - 1
        last = int(np.searchsorted(begins, stop))
        begins = begins[first:last] - start
        begins[0] = 0
        return begins, cells[first:last]


@lru_cache(maxsize=256)
def _layout(shape: tuple[int, ...]) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Return the columns of the matrix, the shape of a cell, and how many cells there are.

    What small arrays cost beside their checks is this, if it is done each time.
    """
    cell = cell_shape(shape)
    return matrix_shape(shape)[1], cell, cell_counts(shape, cell)


def pictures_of_parts(
    shapes: Sequence[tuple[int, ...]],
    starts: Sequence[int],
    columns: tuple[AnyFloats, Vector, Vector, Vector],
    ratio: Vector,
    kink: Mask,
) -> list[Picture | None]:
    """Return the pictures of arrays that were judged together, laid end to end.

    Parameters
    ----------
    shapes, starts : sequence of tuple of int, sequence of int
        Of the arrays, which have one row or one column; where each of them begins.
    columns : tuple of ndarray, shape (n,) each
        Given and numerical derivatives, error bars and hull of all entries.
    ratio, kink : ndarray, shape (n,)
        As for `Cells.add`.
    """
    stops = [*starts[1:], ratio.size]
    parts = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
    if max(part.stop - part.start for part in parts) > MOST_SAMPLES:
        return [
            _picture_of_part(shape, columns, part, ratio[part], kink[part])
            for shape, part in zip(shapes, parts, strict=True)
        ]
    # Every entry is a cell and a sample: parts of what there is for all of them.
    places = np.arange(ratio.size) - np.repeat(starts, np.subtract(stops, starts))
    samples = np.stack([places, *columns], axis=1)
    pictures: list[Picture | None] = []
    kinks = kink.any()
    for shape, part in zip(shapes, parts, strict=True):
        _, cell, counts = _layout(shape)
        marked = kink[part].reshape(counts) if kinks and kink[part].any() else None
        pictures.append(Picture(ratio[part].reshape(counts), cell, marked, samples[part]))
    return pictures


def _picture_of_part(
    shape: tuple[int, ...],
    columns: tuple[AnyFloats, Vector, Vector, Vector],
    part: slice,
    ratio: Vector,
    kink: Mask,
) -> Picture | None:
    cells = Cells(shape)
    cells.add(0, ratio, kink)
    given, numerical, bars, radii = columns
    return cells.picture(samples_of(given[part], numerical[part], bars[part], radii[part]))


def samples_of(
    given: AnyFloats,
    numerical: Vector,
    error_bar: Radius,
    hull: Radius = 0.0,
    inside: Indices | None = None,
) -> Floats:
    """Return at most 256 entries, spread evenly, in no pattern that an array may have.

    Parameters
    ----------
    given, numerical, error_bar, hull
        As the fields of `Entries`.
    inside : ndarray of int64, shape (n,), optional
        Their places in the array, where they are not all of it.

    Returns
    -------
    ndarray of float64, shape (some, 5)
        As the samples of `Picture`.
    """
    chosen: slice | Indices
    if given.size <= MOST_SAMPLES:
        chosen, places = slice(None), np.arange(given.size)
    else:
        chosen = places = (SPREAD * given.size).astype(np.int64)
        if given.size < APART:
            chosen = places = np.unique(places)
    samples = np.empty((SAMPLE_COLUMNS, places.size))
    samples[0] = places if inside is None else inside[chosen]
    samples[1] = given[chosen]
    samples[2] = numerical[chosen]
    samples[3] = error_bar[chosen] if isinstance(error_bar, np.ndarray) else error_bar
    samples[4] = hull[chosen] if isinstance(hull, np.ndarray) else hull
    return samples.T
