"""A point of a set, with a chart of the set around it.

A chart takes free coordinates to points of the set. A function f of such points becomes
``f(chart(coordinates))``, which can be differenced by every coordinate without leaving the set, and
a gradient G of f becomes Jᵀ G, where J is the Jacobian of the chart. The charts of
`fastbp.function.structured.sets` have coordinates of the shape of the point and equal to it; there
Jᵀ G is the projection of G on the tangent space, entry by entry as one writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["StructuredPoint"]


class StructuredPoint:
    """A point of a set, in place of an array in the argument `at` of a check.

    Made by `fastbp.symmetric`, `fastbp.positive_definite`, `fastbp.simplex`, `fastbp.sphere` and
    `fastbp.parametrised`. No dataclass: that would be taken apart as a container of arrays.

    Attributes
    ----------
    kind : str
        The name of the function that made it.
    point : ndarray
        The point itself: what f gets.
    coordinates : ndarray or nesting of arrays
        Its free coordinates: what is differenced.
    chart : callable
        ``chart(coordinates)`` is a new array, a point of the set.
    pull : callable
        ``pull(gradient)``, for a gradient of the shape and dtype of the point, is the gradient by
        the coordinates in their structure, and how far off that may be.
    note : str
        How derivatives are compared, in words.
    lengths : ndarray of float64 or None
        Over which the chart bends, for each coordinate, where that is not their usual size.
    """

    def __init__(
        self,
        kind: str,
        point: NDArray[Any],
        coordinates: Any,
        chart: Callable[[Any], NDArray[Any]],
        pull: Callable[[NDArray[Any]], tuple[Any, float]],
        note: str,
        lengths: NDArray[Any] | None = None,
    ) -> None:
        self.kind, self.point, self.coordinates = kind, point, coordinates
        self.chart, self.pull, self.note, self.lengths = chart, pull, note, lengths

    def __repr__(self) -> str:
        """Say what it is: the arrays may be large."""
        return f"<fastbp.{self.kind}: a point of shape {self.point.shape}, {self.point.dtype}>"
