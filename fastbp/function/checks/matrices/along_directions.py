"""Wrong columns of a matrix found along random tangents: also entries that a pattern misses.

Along a tangent every output is compared on its own, so a wrong entry shows in its row however many
rows there are. Halving the tangent leads from that row to the column, which is then measured. The
cost does not depend on how many zeros a pattern has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.checks.matrices.measured_entries import (
    columns_to_judge_alone,
    measure_inward,
    tangent_sizes,
    without_derivative,
)
from fastbp.function.derivatives.output_slopes import measure_outputs
from fastbp.function.derivatives.second_slopes import INDEPENDENT
from fastbp.function.methods.directions import random_components
from fastbp.runtime.account import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.derivatives.lines import Lines
    from fastbp.typing import Vector

__all__ = ["Found", "search_leaf"]

DIRECTIONS = 2
# Columns of a leaf that are measured alone since no step fits them and the others together.
MOST_ALONE = 16


@dataclass(slots=True, eq=False)
class Found:
    """What the tangents of one leaf tell.

    Attributes
    ----------
    columns : dict of int to Lines
        The measurements of the columns with a wrong entry, by their place in the leaf.
    alone : dict of int to Lines
        Those of other columns that are not moved together with all others.
    slope, given, allowed : ndarray of float64, shape (rows,)
        Along the last tangent, with the columns that were found put right.
    unexplained : ndarray of bool, shape (rows,)
        Rows that disagree along a tangent, and in which no entry stands out or was looked for.
    unknown : ndarray of bool, shape (rows,)
        Rows without a finite numerical derivative.
    smallest : float
        The smallest component that an entry has in a tangent.
    finished : bool
        Whether the account was still open at the end.
    """

    slope: Vector
    given: Vector
    allowed: Vector
    unexplained: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    smallest: float
    columns: dict[int, Lines] = field(default_factory=dict)
    alone: dict[int, Lines] = field(default_factory=dict)
    finished: bool = True


def search_leaf(
    function: VectorFunction,
    leaf: int,
    predict: Callable[[Vector], tuple[Vector, Vector]],
    rng: np.random.Generator,
    most: int,
) -> Found:
    """Compare along random tangents of one leaf, and find the columns that are wrong.

    Parameters
    ----------
    function : VectorFunction
    leaf : int
    predict : callable
        ``predict(tangent)`` -> what the matrix says of all outputs, and by how much that may be
        off.
    rng : Generator
        Where the tangents come from.
    most : int
        Stop after so many wrong columns.

    Notes
    -----
    Some 25 evaluations for each of two tangents, and 25 (log2(n) + 2) for each wrong column.
    """
    sizes = tangent_sizes(function, leaf)
    nothing = np.zeros(function.value.size)
    found = Found(
        nothing, nothing, nothing, nothing.astype(bool), nothing.astype(bool),
        float(np.min(sizes, initial=1.0, where=sizes > 0)) / 2,
    )  # fmt: skip
    if not sizes.any():
        return found
    with function.account.until_stopped():
        for _ in range(DIRECTIONS):
            tangent = sizes * random_components(rng, sizes.size)
            tangent[list(found.alone)] = 0.0
            search = _Tangent(function, leaf, tangent, predict, found)
            search.follow(most)
    found.finished = function.account.stopped is None
    return found


class _Tangent:
    """One tangent, and the search along it."""

    def __init__(
        self,
        function: VectorFunction,
        leaf: int,
        tangent: Vector,
        predict: Callable[[Vector], tuple[Vector, Vector]],
        found: Found,
    ) -> None:
        self.function, self.leaf, self.tangent = function, leaf, tangent
        self.predict, self.found = predict, found
        self.noise = np.zeros(function.value.size)

    def follow(self, most: int) -> None:
        """Find columns until those that were found explain every row.

        One measurement says little of the noise of an output: where any row disagrees, another one
        must confirm it, and its bars rest on the noise of both.
        """
        found, lines = self.found, self._measured()
        apart, allowed = self._compared(lines, self.tangent, slice(None))
        if not np.all(apart <= allowed):
            self.noise = np.where(np.isfinite(lines.noise), 2 * lines.noise, 0.0)
            lines = self._confirmed(self.tangent)
        while True:
            apart, allowed = self._compared(lines, self.tangent, slice(None))
            known = np.isfinite(lines.slope) & np.isfinite(allowed)
            wrong = known & ~(apart <= allowed) & ~found.unexplained
            found.allowed, found.unknown = allowed, found.unknown | ~known
            found.slope = lines.slope
            if not wrong.any():
                return
            if len(found.columns) >= most:
                found.unexplained = found.unexplained | wrong
                return
            with np.errstate(all="ignore"):
                excess = np.where(wrong, apart / allowed, -1.0)
            row = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
            try:
                place = self._descended(row)
            except (Stopped, KeyboardInterrupt):
                found.unexplained = found.unexplained | wrong  # that is known, if not where
                raise
            if place in found.columns:
                found.unexplained = found.unexplained.copy()
                found.unexplained[row] = True
                continue
            column = self._column(place)
            if len(found.alone) < MOST_ALONE and self._is_right(place, column):
                # The steps of a tangent are too long for it, and for all that moves with it.
                self._judge_alone(place, column)
                lines = self._confirmed(self.tangent)
            else:
                found.columns[place] = column

    def _measured(self) -> Lines:
        """Measure the tangent, turned into the domain of f, without what has to be alone."""
        self.tangent, lines = measure_inward(self.function, self.leaf, self.tangent)
        alone = columns_to_judge_alone(self.function, self.leaf, self.tangent, lines)
        for place in alone:
            self._judge_alone(place, self._column(place))
        if alone:
            self.tangent, lines = measure_inward(self.function, self.leaf, self.tangent)
        return lines

    def _column(self, place: int) -> Lines:
        return self._confirmed(_unit(self.tangent, place))

    def _judge_alone(self, place: int, column: Lines) -> None:
        """Keep a column that was measured alone, and move it no more."""
        self.found.alone[place] = column
        self.found.unknown = self.found.unknown | without_derivative(self.function, column)
        self.tangent[place] = 0.0

    def _is_right(self, place: int, column: Lines) -> bool:
        """Tell whether a column that was measured alone is what the matrix says."""
        given, slack = self.predict(_unit(self.tangent, place))
        with np.errstate(all="ignore"):
            apart = np.abs(given - column.slope)
            return bool(np.all(apart <= column.error_bar + column.hull + slack))

    def _compared(self, lines: Lines, tangent: Vector, rows: slice) -> tuple[Vector, Vector]:
        """Return what the two sides are apart, and what they may be."""
        unknown = tangent.copy()
        unknown[list(self.found.columns)] = 0.0
        given, slack = self.predict(unknown)
        given, slack = given[rows].copy(), slack[rows].copy()
        for place, measured in self.found.columns.items():
            given += tangent[place] * measured.slope[rows]
            slack += np.abs(tangent[place]) * (measured.error_bar[rows] + measured.hull[rows])
        if rows == slice(None):
            self.found.given = given
        with np.errstate(all="ignore"):
            return np.abs(given - lines.slope), lines.error_bar + lines.hull + slack

    def _descended(self, row: int) -> int:
        """Halve the tangent down to a column in which one row is wrong."""
        places = range(self.tangent.size)
        only = slice(row, row + 1)
        while len(places) > 1:
            middle = len(places) // 2
            part = np.zeros_like(self.tangent)
            first = slice(places.start, places.start + middle)
            part[first] = self.tangent[first]
            if not part.any():
                places = places[middle:]
                continue
            lines = measure_outputs(
                self.function, self.leaf, part, only=only, noise=self.noise[only]
            )
            apart, allowed = self._compared(lines, part, only)
            places = places[middle:] if apart[0] <= allowed[0] else places[:middle]
        return places.start

    def _confirmed(self, tangent: Vector) -> Lines:
        """Measure twice; where the two contradict each other, bars are wide."""
        first, again = (
            measure_outputs(self.function, self.leaf, tangent, shift, noise=self.noise)
            for shift in (1.0, INDEPENDENT)
        )
        apart = np.abs(first.slope - again.slope)
        allowed = first.error_bar + first.hull + again.error_bar + again.hull
        first.error_bar[:] += np.where(apart > allowed, apart, 0.0)
        return first


def _unit(like: Vector, place: int) -> Vector:
    unit = np.zeros_like(like)
    unit[place] = 1.0
    return unit
