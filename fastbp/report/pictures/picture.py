"""The picture of an array: its errors in few cells, and some of its entries.

An array of any shape is looked at as a matrix. The first axes count its rows and the others its
columns, split where that is nearest to square; one axis alone counts columns. The matrix is cut
into cells of equal shape, at most 128 on a side, or 1024 where there is one row or one column, and
of each cell the largest error is kept, so that a single wrong entry stays visible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.typing import Floats, Mask

    Shape = tuple[int, ...]

__all__ = [
    "CELLS_IN_ALL",
    "MOST_CELLS",
    "NOTHING_JUDGED",
    "SAMPLE_COLUMNS",
    "Picture",
    "cell_counts",
    "cell_shape",
    "leading_axes",
    "matrix_shape",
    "place_in",
    "with_few_cells",
]

MOST_CELLS = 128  # on each side of a matrix
MOST_CELLS_OF_A_LINE = 1024
NOTHING_JUDGED = -1.0
# What is known of an entry that was sampled: its place in C order, the given and the numerical
# derivative, the error bar, and what conventions at a kink can make (the hull).
SAMPLE_COLUMNS = 5

# Of a whole report: cells of all arrays together, and samples.
CELLS_IN_ALL = 1 << 18
SAMPLES_IN_ALL = 4000
FEW_PICTURES = CELLS_IN_ALL // MOST_CELLS**2  # that fit, whatever they hold


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What is drawn of one array.

    Attributes
    ----------
    ratios : ndarray of float64, shape (rows, columns) of cells
        The largest error over what is allowed in each cell: above 1 an entry is wrong, infinite
        where a given entry is not finite or nothing is allowed, -1 where nothing was judged.
    cell : tuple of int
        How many rows and columns of the array, seen as a matrix (`matrix_shape`), a cell covers;
        the last ones may cover fewer.
    kinks : ndarray of bool, shape (rows, columns) of cells, or None
        Which cells hold an entry on a kink; None if there is none.
    samples : ndarray of float64, shape (some, 5)
        Entries spread over the array: place in C order, given, numerical, error bar, hull.

    Examples
    --------
    >>> import fastbp
    >>> at = np.arange(6.0).reshape(2, 3)
    >>> report = fastbp.check_gradient(lambda x: np.sum(x**2), 2 * at + [0, 0, 1], at)
    >>> report.arrays[0].picture.ratios > 1
    array([[False, False,  True],
           [False, False,  True]])
    """

    ratios: Floats
    cell: tuple[int, int] = (1, 1)
    kinks: Mask | None = None
    samples: Floats = field(default_factory=lambda: np.zeros((0, SAMPLE_COLUMNS)))


def leading_axes(shape: Shape) -> int:
    """Return how many of the first axes count the rows of the matrix.

    Examples
    --------
    >>> [leading_axes(shape) for shape in [(), (7,), (3, 4), (64, 3, 3, 3), (2, 50, 40)]]
    [0, 0, 1, 1, 2]
    """
    if len(shape) <= 2:
        return len(shape) // 2

    def lopsided(split: int) -> float:
        rows, columns = math.prod(shape[:split]), math.prod(shape[split:])
        return abs(math.log(max(rows, 1)) - math.log(max(columns, 1)))

    return min(range(1, len(shape)), key=lopsided)


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """Return rows and columns of an array that is seen as a matrix.

    Examples
    --------
    >>> [matrix_shape(shape) for shape in [(), (7,), (3, 4), (64, 3, 3, 3), (2, 50, 40)]]
    [(1, 1), (1, 7), (3, 4), (64, 27), (100, 40)]
    """
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) < 2:
        return 1, math.prod(shape)
    split = leading_axes(shape)
    return math.prod(shape[:split]), math.prod(shape[split:])


def place_in(shape: Shape, index: Shape) -> int | None:
    """Return the place of an entry in C order; None where the array has no such entry.

    A file that somebody made up may hold such an index.

    Examples
    --------
    >>> place_in((2, 3, 4), (1, 0, 2)), place_in((2, 3, 4), (1, 0, 4)), place_in((), ())
    (14, None, 0)
    """
    if len(index) != len(shape):
        return None
    place = 0
    for at, length in zip(index, shape, strict=True):
        if not 0 <= at < length:
            return None
        place = place * length + at
    return place


def cell_shape(shape: Shape) -> tuple[int, int]:
    """Return how many rows and columns each cell of an array covers.

    Examples
    --------
    >>> [cell_shape(shape) for shape in [(100, 100), (4096, 200), (5000,), (5000, 1)]]
    [(1, 1), (32, 2), (1, 5), (5, 1)]
    """
    rows, columns = matrix_shape(shape)
    most_rows = MOST_CELLS_OF_A_LINE if columns == 1 else MOST_CELLS
    most_columns = MOST_CELLS_OF_A_LINE if rows == 1 else MOST_CELLS
    return max(1, -(-rows // most_rows)), max(1, -(-columns // most_columns))


def cell_counts(shape: Shape, cell: tuple[int, int]) -> tuple[int, int]:
    """Return how many rows and columns of cells there are.

    Examples
    --------
    >>> cell_counts((4096, 200), (32, 2))
    (128, 100)
    """
    rows, columns = matrix_shape(shape)
    return -(-rows // cell[0]), -(-columns // cell[1])


def with_few_cells(pictures: Sequence[Picture | None]) -> list[Picture | None]:
    """Leave so much of the pictures of a report as it may hold: those with the largest errors.

    16 of the largest size, or hundreds of thousands of single numbers, keep all their cells.
    """
    drawn = [picture for picture in pictures if picture is not None]
    if len(drawn) <= FEW_PICTURES:
        return list(pictures)
    each = max(1, SAMPLES_IN_ALL // max(1, len(drawn)))
    cells = sum(picture.ratios.size for picture in drawn)
    if cells <= CELLS_IN_ALL and all(len(picture.samples) <= each for picture in drawn):
        return list(pictures)
    worst = [-1.0 if one is None else float(one.ratios.max(initial=0.0)) for one in pictures]
    kept: list[Picture | None] = [None] * len(pictures)
    left = CELLS_IN_ALL
    for place in sorted(range(len(pictures)), key=lambda place: -worst[place]):
        picture = pictures[place]
        if picture is not None and picture.ratios.size <= left:
            left -= picture.ratios.size
            step = max(1, -(-len(picture.samples) // each))
            samples = picture.samples[::step].copy()
            kept[place] = Picture(picture.ratios, picture.cell, picture.kinks, samples)
    return kept
