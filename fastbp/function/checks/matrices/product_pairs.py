"""Two products that must be those of one matrix and its transpose: <u, A v> = <B u, v>."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.methods.directions import random_components

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.typing import Mask, Vector

    Product = Callable[[Vector], Vector]

__all__ = ["unequal_entry"]

PAIRS = 2


def unequal_entry(
    forward: Product,
    backward: Product,
    shape: tuple[int, int],
    rng: np.random.Generator,
    share: float,
    noise: float = 0.0,
    chosen: tuple[Mask | bool, Mask | bool] = (True, True),
) -> tuple[int, int, float, float] | None:
    """Find an entry in which the matrices of two products differ.

    Parameters
    ----------
    forward, backward : callable
        ``forward(v)`` is A v, ``backward(u)`` is B u, and B should be the transpose of A.
    shape : tuple of int
        Of A.
    rng : Generator
        Where u and v come from.
    share : float
        By how much the two sides may differ, relative to the sum of the sizes of their terms.
    noise : float
        By how much each number of a product may be off beside that.
    chosen : pair of ndarray of bool
        The rows and the columns of A whose entries are compared; all by default.

    Returns
    -------
    row, column, A[row, column], B[column, row] : int, int, float, float
        None if no difference was seen along two random pairs.

    Notes
    -----
    Two products for each pair, and log2(rows) + log2(columns) to find an entry.

    Examples
    --------
    >>> matrix = np.arange(6.0).reshape(2, 3)
    >>> other = matrix.T.copy()
    >>> other[2, 1] = 7.0
    >>> rng = np.random.default_rng(0)
    >>> found = unequal_entry(lambda v: matrix @ v, lambda u: other @ u, (2, 3), rng, 1e-9)
    >>> [float(number) for number in found]
    [1.0, 2.0, 5.0, 7.0]
    """
    rows, columns = shape
    for _ in range(PAIRS):
        u, v = random_components(rng, rows) * chosen[0], random_components(rng, columns) * chosen[1]
        back = backward(u)

        def sides_by_column(part: slice, u: Vector = u, v: Vector = v, back: Vector = back) -> bool:
            some = np.zeros(columns)
            some[part] = v[part]
            return _agree(u * forward(some), back * some, share, noise * np.sum(np.abs(u)))

        if sides_by_column(slice(0, columns)):
            continue
        column = _descended(columns, sides_by_column)
        unit = np.zeros(columns)
        unit[column] = 1.0
        ahead = forward(unit)

        def sides_by_row(
            part: slice, u: Vector = u, ahead: Vector = ahead, at: int = column
        ) -> bool:
            some = np.zeros(rows)
            some[part] = u[part]
            right = backward(some)[at : at + 1]
            return _agree(some * ahead, right, share, noise * np.sum(np.abs(some)))

        row = _descended(rows, sides_by_row)
        single = np.zeros(rows)
        single[row] = 1.0
        return row, column, float(ahead[row]), float(backward(single)[column])
    return None


def _agree(left: Vector, right: Vector, share: float, noise: float) -> bool:
    with np.errstate(all="ignore"):
        apart = abs(float(np.sum(left)) - float(np.sum(right)))
        size = float(np.sum(np.abs(left)) + np.sum(np.abs(right)))
    return bool(apart <= share * size + noise)


def _descended(size: int, agree: Callable[[slice], bool]) -> int:
    """Halve a range down to one place, and go on where two sides do not agree."""
    places = range(size)
    while len(places) > 1:
        middle = len(places) // 2
        first = slice(places.start, places.start + middle)
        places = places[middle:] if agree(first) else places[:middle]
    return places.start
