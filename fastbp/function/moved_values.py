"""Values of a function with entries replaced or moved along a direction, and what it raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastbp.errors import DTypeError, EvaluationError, FastbpError, ShapeError
from fastbp.function.containers.leaf_forms import read_leaf
from fastbp.function.containers.point import Point
from fastbp.runtime.floating_point import callers_errstate
from fastbp.runtime.user_code import calling
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Leaves",
    "Raised",
    "as_floats",
    "moved_name",
    "moved_results",
    "perturbed_values",
    "pieces",
    "raise_on_both_sides",
    "scalar_value",
    "where_moved",
]


# Which leaf moves, or which ones together: their real numbers are then one vector, in this order.
Leaves: TypeAlias = int | tuple[int, ...]


def scalar_value(value: Any, name: str) -> float:
    """Return what a function gave as a float; raise where it is no single real number.

    An array of one entry counts, whatever its shape.
    """
    if isinstance(value, float | np.floating):
        return float(value)
    numbers, form = read_leaf(value, name)
    try:
        array = np.asarray(numbers)
        if form is not None and form.suffix:  # a sparse array is not its one entry
            raise TypeError
    except (TypeError, ValueError, RuntimeError) as error:
        came = type(value).__name__
        raise DTypeError(f"{name} must return a real number, not {came}.") from error
    if array.dtype.kind not in "fiu":
        came = type(value).__name__ if array.dtype.kind == "O" else f"dtype {array.dtype}"
        raise DTypeError(f"{name} must return a real number, not {came}.")
    if array.size != 1:
        raise ShapeError(
            f"{name} must return one number, not an array of shape {array.shape}: check_vjp and "
            f"check_jvp are for functions with array results."
        )
    return float(array.reshape(-1)[0])


def perturbed_values(
    function: Callable[[Any], Any],
    point: Point,
    name: str,
    leaf: int,
    indices: NDArray[np.int64],
    entries: NDArray[Any],
    raised: Raised | None = None,
) -> Vector:
    """Evaluate with single entries replaced: the loop that every method spends its time in.

    Where the function raises there is no value; `raised` is told of it.
    """
    numbers = point.flat[leaf]
    base = point.base[leaf][indices].tolist()
    fixed = point.fixed
    values: list[Any] = []
    keep = values.append
    index = 0
    try:
        with callers_errstate(warn=False):
            for index, entry, former in zip(indices.tolist(), entries.tolist(), base, strict=True):
                numbers[index] = entry
                try:
                    keep(function(point.argument if fixed is None else fixed))
                except FastbpError:
                    raise
                except Exception as error:  # as it may outside its domain: raise_if_it_raised
                    keep(np.nan)
                    if raised is not None:
                        raised.add(error, lambda: _where_changed(point, leaf, index, entry))  # noqa: B023
                numbers[index] = former
    finally:
        numbers[index] = point.base[leaf][index]
    return as_floats(values, name)


def pieces(point: Point, leaf: Leaves, part: slice) -> list[tuple[int, slice, slice]]:
    """Return what a slice of a leaf, or of several together, is made of.

    Returns
    -------
    list of (int, slice, slice)
        A leaf, a slice of it, and where that lies within the given slice.
    """
    if isinstance(leaf, int):
        return [(leaf, part, slice(None))]
    sizes = [point.base[one].size for one in leaf]
    begin, end, _ = part.indices(sum(sizes))
    found, offset = [], 0
    for one, size in zip(leaf, sizes, strict=True):
        start, stop = max(begin, offset), min(end, offset + size)
        if start < stop:
            own = slice(start - offset, stop - offset)
            found.append((one, own, slice(start - begin, stop - begin)))
        offset += size
    return found


def moved_name(point: Point, leaf: Leaves) -> str:
    """Return what moves, as messages call it."""
    return point.container.names[leaf] if isinstance(leaf, int) else point.name


def moved_results(
    function: Callable[[Any], Any],
    point: Point,
    name: str,
    leaf: Leaves,
    direction: NDArray[Any],
    steps: Sequence[float],
    part: slice = slice(None),
    *,
    restore: bool = False,
    outside: Any = None,
    raised: Raised | None = None,
) -> list[Any]:
    """Evaluate with a slice of a leaf, or of several, moved along that of a direction.

    `outside` stands for what the function returns where it raises, and `raised` is told of it; with
    None that is an error.
    """
    places = [
        (point.flat[one][own], point.base[one][own], place)
        for one, own, place in pieces(point, leaf, part)
    ]
    results: list[Any] = []
    step = 0.0

    def where() -> str:
        return where_moved(point, leaf, direction, step, part)

    try:
        with calling(name, where):
            for step in steps:
                if restore:
                    point.restore()
                with np.errstate(all="ignore"):  # ours, among the user's
                    for numbers, base, place in places:
                        numbers[:] = base + numbers.dtype.type(step) * direction[place]
                try:
                    results.append(function(point.argument))
                except Exception as error:
                    if outside is None or isinstance(error, FastbpError):
                        raise
                    results.append(outside)
                    if raised is not None:
                        raised.add(error, where)
    finally:
        for numbers, base, _ in places:
            numbers[:] = base
    return results


def raise_on_both_sides(evaluate: Callable[[float], object], step: float) -> None:
    """Raise what a function raises after a step up and a step down; after one of them it may."""
    errors: list[EvaluationError] = []
    for signed in (-step, step):
        try:
            evaluate(signed)
        except EvaluationError as error:
            errors.append(error)
    if len(errors) == 2:
        raise errors[1] from errors[1].__cause__


def where_moved(
    point: Point, leaf: Leaves, direction: NDArray[Any], step: float, part: slice = slice(None)
) -> str:
    """Return which displacement it was, as messages call it."""
    moving = np.flatnonzero(direction)
    if moving.size != 1 or not isinstance(leaf, int):
        return f"with {moved_name(point, leaf)} moved by {step:g} at random"
    index = (part.start or 0) + int(moving[0])
    former = point.base[leaf][index]
    return _where_changed(point, leaf, index, former + step * direction[moving[0]])


def _where_changed(point: Point, leaf: int, index: int, entry: Any) -> str:
    former = float(point.base[leaf][index])
    return f"when {point.entry_name(leaf, index)} was {entry!s} ({former!r} at the point)"


class Raised:
    """What a function raised beside the point, where that was no end of the check.

    Attributes
    ----------
    times : int
        How often.
    first : str
        What it was at first, and where.
    errors : list of EvaluationError
        What it raises on both sides of an entry: there is no derivative by that.
    """

    def __init__(self) -> None:
        self.times, self.first = 0, ""
        self.errors: list[EvaluationError] = []

    def add(self, error: BaseException, where: Callable[[], str]) -> None:
        """Count what was raised."""
        self.times += 1
        if self.times == 1:
            self.first = f"{type(error).__name__} {where()}: {error}"

    def include(self, later: Raised) -> None:
        """Count what was raised elsewhere, after all that is counted here."""
        if not self.times:
            self.first = later.first
        self.times += later.times

    def notes(self, name: str) -> list[str]:
        """Return what there is to know of it."""
        if not self.times:
            return []
        often = "once" if self.times == 1 else f"{self.times:,} times, first"
        return [f"{name} raised {often} {self.first}"]


def as_floats(values: Sequence[Any], name: str) -> Vector:
    """Return what a function gave at some points, each value checked."""
    if all(type(value) in (float, np.float64) for value in values):
        return np.array(values, dtype=np.float64)
    return np.array([scalar_value(value, name) for value in values], dtype=np.float64)
