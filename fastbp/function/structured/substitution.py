"""Structured points in the argument of a check: their coordinates in their place.

The functions of the user get points, and what they return as gradients is pulled back to the
coordinates, so that no check needs to know. Without any structured point everything stays as it is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import OptionError
from fastbp.function.containers.pytree import flattened
from fastbp.function.structured.structured_point import StructuredPoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.containers.given_gradient import GivenLeaves
    from fastbp.function.containers.point import Point

__all__ = ["Substitution"]


class Substitution:
    """The coordinates of structured points in their place.

    Parameters
    ----------
    at : nesting
        The argument, with structured points among its leaves, or without.

    Attributes
    ----------
    coordinates : nesting
        The same with the coordinates of each structured point in its place.
    """

    def __init__(self, at: Any) -> None:
        self.container = flattened(at, "")
        self.points: dict[str, StructuredPoint] = {
            name: leaf
            for name, leaf in zip(self.container.names, self.container.leaves, strict=True)
            if isinstance(leaf, StructuredPoint)
        }
        self.coordinates = at
        if self.points:
            self.coordinates = self.container.rebuilt([
                leaf.coordinates if isinstance(leaf, StructuredPoint) else leaf
                for leaf in self.container.leaves
            ])  # fmt: skip
        self._bars: dict[str, float] = {}

    def require_plain(self, check: str) -> None:
        """Raise if there is a structured point: `check` has no use for it."""
        for point in self.points.values():
            raise OptionError(
                f"{check} takes no structured points, but at holds one of fastbp.{point.kind}: "
                f"they are for check_gradient, check_vjp, taylor_test and numerical_gradient."
            )

    def require_projections(self, check: str) -> None:
        """Raise where pulling a product back takes differences, whose bars `check` cannot add."""
        if any(point.kind == "parametrised" for point in self.points.values()):
            raise OptionError(
                f"{check} takes no point of fastbp.parametrised: check the gradient of one number "
                f"made of the results of f, with check_gradient."
            )

    def require_one_by_one(self, vectorized: object) -> None:
        """Raise where f is to take many structured points at once."""
        if self.points and vectorized:
            kind = next(iter(self.points.values())).kind
            raise OptionError(
                f"vectorized must be False where at holds a structured point (fastbp.{kind}): "
                f"f gets one point at a time."
            )

    def function(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return f as a function of the coordinates."""
        return _OfCoordinates(f, self) if self.points else f

    def derivative(self, derivative: Any) -> Any:
        """Return a gradient or vjp of the user, or the value of one, by the coordinates."""
        if not self.points:
            return derivative
        if not callable(derivative):
            return self.pulled(derivative)
        return _Pulled(derivative, self)

    def points_at(self, coordinates: Any) -> Any:
        """Return the argument of the user's function for some coordinates."""
        leaves = self.container.structure.flatten_up_to(coordinates)
        return self.container.rebuilt([
            leaf.chart(some) if isinstance(leaf, StructuredPoint) else some
            for leaf, some in zip(self.container.leaves, leaves, strict=True)
        ])  # fmt: skip

    def pulled(self, gradient: Any) -> Any:
        """Return a gradient by the coordinates; what is of another form stays as it is."""
        parts = flattened(gradient, "")
        leaves = list(parts.leaves)
        for place, name in enumerate(parts.names):
            point = self.points.get(name)
            array = None if point is None else _usable(leaves[place], point)
            if point is not None and array is not None:
                leaves[place], self._bars[name] = point.pull(array)
        return parts.rebuilt(leaves)

    def with_bars(self, given: GivenLeaves, point: Point) -> GivenLeaves:
        """Return a gradient that has been pulled back, and how far off that left it."""
        for name, bar in self._bars.items():
            for leaf, whole in enumerate(point.container.names):
                own = whole.removeprefix(point.name)
                if bar > 0 and own.startswith(name):
                    given.noise[leaf] = max(bar, given.noise.get(leaf, 0.0))
        return given

    def lengths(self, point: Point) -> dict[int, np.ndarray[Any, Any]]:
        """Return over which lengths the sets bend, for the leaves where that is known."""
        names = [name.removeprefix(point.name) for name in point.container.names]
        return {
            names.index(name): one.lengths.reshape(-1)
            for name, one in self.points.items()
            if one.lengths is not None
        }

    def notes(self, name: str) -> list[str]:
        """Say how the derivatives by each structured point are compared."""
        return [f"{name}{place}: {point.note}" for place, point in self.points.items()]


def _usable(gradient: Any, point: StructuredPoint) -> np.ndarray[Any, Any] | None:
    try:
        array = np.asarray(gradient)
    except Exception:  # it is judged, and named, as any other gradient
        return None
    usable = array.dtype in (np.float64, np.float32) and array.shape == point.point.shape
    return array if usable else None


class _OfCoordinates:
    """A function of points as one of coordinates."""

    def __init__(self, f: Callable[..., Any], substitution: Substitution) -> None:
        self.f, self.substitution = f, substitution
        functools.update_wrapper(self, f, updated=())

    def __call__(self, coordinates: Any, *rest: Any) -> Any:
        return self.f(self.substitution.points_at(coordinates), *rest)


class _Pulled(_OfCoordinates):
    """A gradient at points as one by coordinates."""

    def __call__(self, coordinates: Any, *rest: Any) -> Any:
        return self.substitution.pulled(super().__call__(coordinates, *rest))
