"""Columns of a sparse matrix that can be differenced together: they share no row.

Curtis, Powell & Reid, "On the estimation of sparse Jacobian matrices", J. Inst. Maths Applics 13,
1974: one difference for each group. A tridiagonal matrix has three groups, whatever its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["grouped_columns"]


def grouped_columns(
    rows: NDArray[np.integer[Any]], starts: NDArray[np.integer[Any]], columns: range
) -> list[NDArray[np.int64]]:
    """Put some columns into groups, so that no two of a group have an entry in the same row.

    Parameters
    ----------
    rows : ndarray of int, shape (entries,)
        The row of each entry, column by column.
    starts : ndarray of int, shape (all columns + 1,)
        Where the entries of each column begin.
    columns : range
        The columns in question. Each goes to the first group that takes it.

    Returns
    -------
    list of ndarray of int64

    Examples
    --------
    >>> rows = np.array([0, 1, 0, 1, 2, 1, 2, 3, 2, 3])  # tridiagonal, 4 x 4
    >>> grouped_columns(rows, np.array([0, 2, 5, 8, 10]), range(4))
    [array([0, 3]), array([1]), array([2])]
    """
    taken: dict[int, int] = {}  # for each row the groups that have an entry in it, a bit for each
    groups: list[list[int]] = []
    listed, begin = rows.tolist(), starts.tolist()
    for column in columns:
        own = listed[begin[column] : begin[column + 1]]
        forbidden = 0
        for row in own:
            forbidden |= taken.get(row, 0)
        free = ~forbidden & (forbidden + 1)  # the lowest bit that is 0
        for row in own:
            taken[row] = taken.get(row, 0) | free
        group = free.bit_length() - 1
        if group == len(groups):
            groups.append([])
        groups[group].append(column)
    return [np.array(group, dtype=np.int64) for group in groups]
