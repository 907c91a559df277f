"""Where a function may be evaluated, and over which length it varies: `bounds` and `scale`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import OptionError
from fastbp.function.containers.pytree import take_apart
from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.containers.point import Point

__all__ = ["Domain", "domain_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """The domain of a function, in the real numbers of its argument.

    Attributes
    ----------
    lower, upper : list of ndarray of float64, each of shape (n,), or None
        For each leaf; None where there are no bounds at all.
    scales : list of ndarray of float64, each of shape (n,), or None
        Over which length f varies, for each leaf; None where nobody said.
    """

    lower: list[Vector] | None = None
    upper: list[Vector] | None = None
    scales: list[Vector] | None = field(default=None)

    def scale(self, leaf: int) -> Vector | None:
        """Return the lengths of one leaf; None where nobody said."""
        return None if self.scales is None else self.scales[leaf]

    def holds(
        self, leaf: int, entries: NDArray[np.floating], which: NDArray[np.int64] | slice
    ) -> NDArray[np.bool_]:
        """Tell which of some entries of a leaf are within the bounds."""
        if self.lower is None or self.upper is None:
            return np.ones(np.shape(entries), dtype=bool)
        inside: NDArray[np.bool_] = entries >= self.lower[leaf][which]
        return inside & (entries <= self.upper[leaf][which])

    def inward(self, leaf: int, base: NDArray[Any], direction: NDArray[Any]) -> NDArray[Any]:
        """Turn the components of entries that are on a bound to the inside."""
        if self.lower is None or self.upper is None:
            return direction
        inside = np.where(base <= self.lower[leaf], np.abs(direction), direction)
        return np.where(base >= self.upper[leaf], -np.abs(direction), inside)


def domain_of(point: Point, bounds: Any, scale: Any) -> Domain:
    """Return what the options `bounds` and `scale` mean for a point.

    Parameters
    ----------
    point : Point
    bounds : None, (lower, upper), or an object with the attributes lb and ub
        Each bound is None, a number, or of the structure of the argument.
    scale : None, a number, or of the structure of the argument

    Raises
    ------
    OptionError
        If they are of another form, the point is outside, or a scale is not positive.

    Examples
    --------
    >>> from fastbp.function.containers.point import Point
    >>> point = Point({"p": np.array([0.5, 1.0])}, "params")
    >>> domain_of(point, (0, {"p": np.array([1.0, np.inf])}), None).upper
    [array([ 1., inf])]
    >>> domain_of(point, (0, 0.9), None)
    Traceback (most recent call last):
        ...
    fastbp.errors.OptionError: bounds: params['p'][1] must be within 0.0 and 0.9, but it is 1.0.
    """
    scales = None if scale is None else _like(point, scale, "scale")
    for leaf, lengths in enumerate(scales or []):
        for entry in np.flatnonzero(~((lengths > 0) & np.isfinite(lengths)))[:1].tolist():
            raise OptionError(
                f"scale must be positive and finite, not {lengths[entry]} for "
                f"{point.entry_name(leaf, entry)}."
            )
    if bounds is None:
        return Domain(scales=scales)
    low, high = _pair(bounds)
    lower = _like(point, -np.inf if low is None else low, "bounds[0]")
    upper = _like(point, np.inf if high is None else high, "bounds[1]")
    for leaf, base in enumerate(point.base):
        for entry in np.flatnonzero(~(lower[leaf] <= upper[leaf]))[:1].tolist():
            raise OptionError(
                f"bounds must be (lower, upper), but for {point.entry_name(leaf, entry)} they are "
                f"{lower[leaf][entry]} and {upper[leaf][entry]}."
            )
        outside = np.flatnonzero(~((base >= lower[leaf]) & (base <= upper[leaf])))
        if outside.size:
            entry = int(outside[0])
            raise OptionError(
                f"bounds: {point.entry_name(leaf, entry)} must be within {lower[leaf][entry]} and "
                f"{upper[leaf][entry]}, but it is {base[entry]}."
            )
    return Domain(lower, upper, scales)


def _pair(bounds: Any) -> tuple[Any, Any]:
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):  # as scipy.optimize.Bounds has
        return bounds.lb, bounds.ub
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise OptionError(f"bounds must be None or (lower, upper), not {bounds!r}.")
    return bounds[0], bounds[1]


def _as_float(value: Any, name: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise OptionError(f"{name} must be a number, not an integer beyond 1e308.") from None


def _like(point: Point, value: Any, name: str) -> list[Vector]:
    """Return a number for each real number of the point."""
    if isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool):
        return [np.full(base.size, _as_float(value, name)) for base in point.base]
    given = take_apart(value, name).without(point.container.held)
    if given.structure != point.container.structure:
        raise OptionError(f"{name} must be a number or of the structure of {point.name}.")
    found = []
    for leaf, shape in enumerate(point.container.shapes):
        array = np.asarray(given.leaves[leaf])
        if array.dtype.kind not in "fiu" or array.shape not in ((), shape):
            raise OptionError(
                f"{given.names[leaf]} must be a real number or an array of shape {shape}, not "
                f"{array.dtype} of shape {array.shape}."
            )
        found.append(point.spread(leaf, array.astype(np.float64)))
    return found
