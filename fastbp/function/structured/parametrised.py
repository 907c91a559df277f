"""Points given by a chart of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import DTypeError
from fastbp.function.array_function import VectorFunction
from fastbp.function.containers.pytree import take_apart
from fastbp.function.derivatives.numerical_gradient import numerical_gradient
from fastbp.function.structured.structured_point import StructuredPoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["parametrised"]


def parametrised(chart: Callable[[Any], Any], coordinates: Any) -> StructuredPoint:
    """Give a point by free coordinates: it is differenced along the curves that they draw.

    Parameters
    ----------
    chart : callable
        ``chart(coordinates)`` returns the point: an array of float64 or float32, of any shape.
    coordinates : array, float, or nesting of lists, tuples, dicts, named tuples and dataclasses
        The coordinates of the point.

    Returns
    -------
    StructuredPoint
        In place of ``chart(coordinates)`` in the `at` of `check_gradient`, `check_vjp`,
        `taylor_test` and `numerical_gradient`.

    Raises
    ------
    DTypeError
        If `chart` is no function, or does not return an array of floats.
    EvaluationError
        If `chart` raises.

    Notes
    -----
    A gradient G of f is compared as Jᵀ G by every coordinate, J the Jacobian of the chart. That is
    measured: Jᵀ G is the gradient of ``<G, chart(coordinates)>``, differenced as f is, with an
    error bar that is added to those of f. It costs some 24 evaluations of the chart for each
    coordinate.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def rotation(angle):
    ...     return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    >>> def f(r):
    ...     return float(r[0, 0] ** 3 + r[1, 0])
    >>> def gradient(r):
    ...     return np.array([[3 * r[0, 0] ** 2, 0.0], [1.0, 0.0]])
    >>> fastbp.check_gradient(f, gradient, fastbp.parametrised(rotation, 0.3)).verdict
    'passed'
    """
    if not callable(chart):
        raise DTypeError(
            f"parametrised takes a function from coordinates to a point, not "
            f"{type(chart).__name__}."
        )
    measured = VectorFunction(
        chart, coordinates, "jax", vectorized=False, workers=None, called="chart", result="point"
    )
    single = measured.output.names == ["point"]
    point = np.asarray(measured.output.leaves[0]) if single else None
    if point is None or point.dtype not in (np.float64, np.float32):
        came = "a nesting" if point is None else str(point.dtype)
        raise DTypeError(
            f"parametrised: chart must return one array of float64 or float32, not {came}."
        )
    return StructuredPoint(
        "parametrised", point, coordinates, _OneArray(chart), _PulledBack(measured),
        "along the curves of its chart; a gradient G is compared as Jᵀ G by each coordinate",
    )  # fmt: skip


class _OneArray:
    """A chart whose result is a new array, or a number where the chart returns one."""

    def __init__(self, chart: Callable[[Any], Any]) -> None:
        self.chart = chart

    def __call__(self, coordinates: Any) -> Any:
        point = self.chart(coordinates)
        return point.copy() if isinstance(point, np.ndarray) else point


class _PulledBack:
    """Jᵀ G, the gradient of <G, chart(coordinates)>, by differences of the chart."""

    def __init__(self, chart: VectorFunction) -> None:
        self.chart = chart

    def __call__(self, gradient: NDArray[Any]) -> tuple[Any, float]:
        weights = gradient.reshape(-1).astype(np.float64)
        if not np.isfinite(weights).all():  # a finding: every coordinate may depend on it
            coordinates = take_apart(self.chart.point.at, "at")
            return coordinates.rebuilt(
                [np.full(np.shape(leaf), np.nan)[()] for leaf in coordinates.leaves]
            ), 0.0
        found = numerical_gradient(
            self.chart.paired_with(weights), self.chart.point.at, thorough=True, progress=False
        )
        bars = [
            float(np.max(bar, initial=0.0)) for bar in take_apart(found.error_bar, "bar").leaves
        ]
        return found.value, max(bars)
