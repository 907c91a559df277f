"""Finding the wrong entries of one array without measuring all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.methods.directions import random_direction
from fastbp.function.methods.search.leaf_search import FRESH, LeafSearch, components
from fastbp.function.methods.search.located import Located

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.evaluation import Function
    from fastbp.function.methods.search.direction_slopes import Lead
    from fastbp.typing import Vector
    from fastbp.verdict.tolerance import Tolerance

__all__ = ["locate_wrong_entries"]


def locate_wrong_entries(
    function: Function,
    leaf: int,
    given: Vector,
    tolerance: Tolerance,
    allowance: Callable[[NDArray[np.floating], slice], float],
    rng: np.random.Generator,
    directions: int,
    most: int,
    lead: Lead | None = None,
) -> Located:
    """Compare a gradient along random directions of one leaf, and find its wrong entries.

    Parameters
    ----------
    function : Function
        What is differenced.
    leaf : int
        Which leaf of its argument.
    given : ndarray of float64, shape (n,)
        The gradient in question, finite.
    tolerance : Tolerance
        What single entries may be off by.
    allowance : callable
        ``(direction, part)`` -> by how much the sum of the given entries of a slice along the
        direction may be off.
    rng : Generator
        Where the directions come from.
    directions : int
        How many.
    most : int
        Stop after so many wrong entries.
    lead : Lead, optional
        A direction along which something is wrong, as `screen_arrays` found it: it is followed
        first, with the steps that showed it.

    Returns
    -------
    Located

    Notes
    -----
    Some 25 evaluations for the first direction, 2 for each further one, and for each wrong entry
    2 log2(n) and some 50 to measure it twice.
    """
    search = LeafSearch(function, leaf, given, tolerance, allowance, most)
    search.examines = True
    base = function.point.base[leaf]
    moved = components(function, leaf)
    search.located.smallest = float(np.min(moved, initial=1.0, where=moved > 0))
    if lead is not None:
        search.slopes.learn_from(lead)
        search.along(lead.direction)
    for _ in range(directions + FRESH):
        search.along(function.domain.inward(leaf, base, moved * random_direction(rng, base)))
        if len(search.located.good) == directions:
            break
    if search.below_noise and given.any():
        # The sum that is largest if the gradient is right.
        sizes = moved * np.abs(random_direction(rng, base))
        search.along(function.domain.inward(leaf, base, np.where(given < 0, -sizes, sizes)))
    if function.quantum:  # what looks like a kink may be one of the steps of f
        search.located.noise = search.located.allowed
    return search.located
