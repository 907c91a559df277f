"""Finding the arrays in which an entry is wrong, along directions across all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.methods.directions import random_direction
from fastbp.function.methods.search.leaf_search import FRESH, LeafSearch, components
from fastbp.function.methods.search.located import DETECTABLE
from fastbp.typing import Vector
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.methods.search.direction_slopes import Lead
    from fastbp.function.methods.search.joined_arrays import JoinedArrays

__all__ = ["Screened", "screen_arrays"]


@dataclass(slots=True, eq=False)
class Screened:
    """What directions across several arrays tell about each of them.

    Attributes
    ----------
    suspects : dict of int to Lead
        The arrays, by their place among those that were joined, in which an entry is wrong.
    agrees : bool
        Whether gradient and differences agree along every direction.
    allowed : float
        By how much the two may differ along a direction.
    said : ndarray of float64, shape (arrays,)
        The largest share of each array in what the gradient says along a direction.
    smallest : ndarray of float64, shape (arrays,)
        The smallest component of an entry, relative to the usual one of all arrays.
    """

    suspects: dict[int, Lead]
    agrees: bool
    allowed: float
    said: Vector
    smallest: Vector

    @property
    def detectable(self) -> Vector:
        """A single error above this, in each array, shows along every direction."""
        return DETECTABLE * self.allowed / self.smallest


def screen_arrays(
    function: JoinedArrays,
    given: Vector,
    allowance: Callable[[NDArray[np.floating], slice], float],
    rng: np.random.Generator,
    directions: int,
    most: int,
) -> Screened:
    """Compare a gradient along random directions across several arrays, and find the wrong arrays.

    Parameters
    ----------
    function : JoinedArrays
        What is differenced.
    given : ndarray of float64, shape (n,)
        The gradient in question, of all arrays, finite.
    allowance, rng, directions
        As in `locate_wrong_entries`.
    most : int
        Stop after so many wrong arrays.

    Notes
    -----
    Some 25 evaluations for the first direction, 2 for each further one, and 4 log2(arrays) for each
    wrong array.
    """
    search = LeafSearch(function, 0, given, Tolerance(0.0, 0.0), allowance, most)
    moved = components(function, 0)
    base = function.point.base[0]
    smallest = np.array(
        [np.min(moved[own], initial=1.0, where=moved[own] > 0) for own in function.slices]
    )
    said = np.zeros(len(function.slices))
    for _ in range(directions + FRESH):
        direction = function.domain.inward(0, base, moved * random_direction(rng, base))
        direction, whole = search.compared(direction)
        shares = [abs(search.said(direction, own)) for own in function.slices]
        said = np.maximum(said, shares)
        if whole.significant:
            places = search.wrong_parts(direction, function.slices, most)
            suspects = {place: search.slopes.lead(direction, function, place) for place in places}
            if suspects or not search.agrees_again(direction, whole):
                return Screened(suspects, False, whole.error_bar, said, smallest)
        if len(search.located.good) == directions:
            break
    found = search.located
    return Screened({}, True, max(found.allowed[place] for place in found.good), said, smallest)
