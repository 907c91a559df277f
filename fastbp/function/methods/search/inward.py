"""Directions that stay within the domain of f, and entries that no step fits with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.function.derivatives.entry_slopes import is_spread, tiny_entries
from fastbp.function.methods.search.bisection import bisect, halved

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MOST_ALONE", "entries_to_judge_alone", "turned_inward"]

# Slices that are looked at where directions are turned inward.
MOST_LOOKS = 2400
# Entries of one array that are judged alone where no step fits them and the others together.
MOST_ALONE = 16


def turned_inward(
    direction: NDArray[Any], finite: Callable[[slice], tuple[bool, bool]]
) -> NDArray[Any] | None:
    """Return a direction in which f is finite, where the given one leaves its domain either way.

    Parameters
    ----------
    direction : ndarray, shape (n,)
    finite : callable
        ``finite(part)`` -> whether f is finite a step ahead along that slice of the direction, and
        a step behind.

    Returns
    -------
    ndarray or None
        Slices that lead outside are turned back. None if some entry may move neither way: holding
        it fixed would not judge it.

    Examples
    --------
    >>> import numpy as np
    >>> inside = np.array([1.0, -1.0, 1.0])  # from the corner of a cube
    >>> def finite(part):
    ...     return (inside[part] == 1).all(), (inside[part] == -1).all()
    >>> turned_inward(np.ones(3), finite)
    array([ 1., -1.,  1.])
    """
    turned, looks, stuck = direction.copy(), MOST_LOOKS, False

    def leads_outside(part: range) -> bool:
        nonlocal looks, stuck
        where = slice(part.start, part.stop)
        if stuck or not direction[where].any():
            return False
        ahead, behind = finite(where)
        looks -= 1
        if ahead or looks <= 0:
            return False
        if behind:
            turned[where] *= -1
            return False
        stuck = len(part) == 1
        return not stuck

    bisect(range(direction.size), halved, leads_outside, lambda _: None)
    return None if stuck else turned


def entries_to_judge_alone(
    base: NDArray[np.floating],
    direction: NDArray[Any],
    finite: Callable[[slice], tuple[bool, bool]],
) -> list[int]:
    """Return the moving entries that no step fits together with the others.

    Those next to an edge of the domain of f, and the few that are far smaller than the others.

    Parameters
    ----------
    base : ndarray, shape (n,)
        The array that the entries are of.
    direction, finite
        As in `turned_inward`.

    Returns
    -------
    list of int
        Empty if there are more than `MOST_ALONE`.

    Examples
    --------
    >>> import numpy as np
    >>> ends = np.array([1.0, 1e-12, 1.0])  # the distance of the edge
    >>> def finite(part):
    ...     return (ends[part] > 1e-8).all(), True
    >>> entries_to_judge_alone(np.ones(3), np.ones(3), finite)
    [1]
    """
    found: list[int] = []

    def is_beside_an_edge(part: range) -> bool:
        where = slice(part.start, part.stop)
        if len(found) > MOST_ALONE or not direction[where].any():
            return False
        return not all(finite(where))

    bisect(range(direction.size), halved, is_beside_an_edge, found.append)
    tiny = [] if is_spread(base) else tiny_entries(base).tolist()
    together = sorted({*found, *(place for place in tiny if direction[place] != 0)})
    return together if len(together) <= MOST_ALONE else []
