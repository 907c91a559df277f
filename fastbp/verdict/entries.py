"""Given and numerical derivatives, entry by entry.

An entry is wrong when ::

    |given - numerical| > error_bar + hull + atol + rtol * |numerical|

where `hull` is the radius of what the conventions for a ReLU at exactly 0 can produce around the
numerical value. Entries without a finite numerical value or error bar, and those that are left
out, are not judged; but a given NaN or infinity is wrong beside every finite numerical value.
Large arrays go through block by block, so that no temporary of their full size is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp.typing import AnyFloats, Mask, Radius, Vector
from fastbp.verdict.blocks import blocks
from fastbp.verdict.tolerance import Tolerance, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Comparison", "Entries", "compare", "entries_of", "wrong_entries"]


class Entries(NamedTuple):
    """Some entries of one array, one after the other in C order.

    Attributes
    ----------
    start : int
        The place of the first one in its array.
    given : float64 or float32, shape (n,)
        The gradient in question.
    numerical : float64, shape (n,)
        What it is compared with.
    error_bar, hull : float or float64, shape (n,)
        Error bar of the numerical value, and the radius of what conventions can produce.
    left_out : bool, shape (n,), optional
        Entries on kinks that are not to be judged.
    """

    start: int
    given: AnyFloats
    numerical: Vector
    error_bar: Radius
    hull: Radius = 0.0
    left_out: Mask | None = None


class Comparison(NamedTuple):
    """What is found of some entries, each an array of shape (n,).

    Attributes
    ----------
    error, allowed : float64
        |given - numerical|, infinite where the given one is not finite; and what it may be.
    finite, judged, wrong : bool
        Whether the given one is finite; whether numerical value and bar are, and the entry is not
        left out; whether it is wrong.
    """

    error: Vector
    allowed: Vector
    finite: Mask
    judged: Mask
    wrong: Mask

    @property
    def ratio(self) -> Vector:
        """Error over allowed: infinite for what is not finite, -1 where nothing is judged."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = self.error / self.allowed
        ratio[self.error == 0.0] = 0.0  # also where nothing is allowed
        ratio[~self.judged] = -1.0
        ratio[self.wrong & ~self.finite] = np.inf
        return ratio


def compare(entries: Entries, tolerance: Tolerance) -> Comparison:
    """Compare some entries with their numerical derivatives.

    Examples
    --------
    >>> found = compare(Entries(0, np.array([1.0, 2.5]), np.array([1.0, 2.0]), 0.0),
    ...                 Tolerance(0.0, 0.25))
    >>> found.wrong, found.ratio
    (array([False,  True]), array([0., 2.]))
    """
    given, numerical = entries.given, entries.numerical
    allowed = allowed_difference(numerical, entries.error_bar, tolerance, entries.hull)
    # Infinity less infinity is a NaN, and the difference of huge numbers overflows: both are
    # errors that count as infinite, not accidents.
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(np.subtract(given, numerical, dtype=np.float64))
    finite, known = np.isfinite(given), np.isfinite(numerical)
    error[~finite] = np.inf
    judged = known & np.isfinite(allowed)
    if entries.left_out is not None:
        judged &= ~entries.left_out
    # No bar, and no convention, makes a NaN.
    wrong = (judged & (error > allowed)) | (known & ~finite)
    return Comparison(error, allowed, finite, judged, wrong)


def entries_of(
    given: AnyFloats,
    numerical: Vector,
    error_bar: Radius,
    hull: Radius = 0.0,
    left_out: Mask | None = None,
) -> Iterator[Entries]:
    """Cut an array into blocks of entries; arguments as the fields of `Entries`."""
    for part in blocks(given.size):
        yield Entries(
            part.start,
            given[part],
            numerical[part],
            _cut(error_bar, part),
            _cut(hull, part),
            None if left_out is None else left_out[part],
        )


def wrong_entries(
    given: AnyFloats,
    numerical: Vector,
    error_bar: Radius,
    tolerance: Tolerance,
    *,
    hull: Radius = 0.0,
) -> Mask:
    """Return which entries of the given gradient are wrong; arguments as the fields of `Entries`.

    Examples
    --------
    >>> wrong_entries(np.array([1.0, 2.5]), np.array([1.0, 2.0]), 1e-9, Tolerance(1e-6, 0.0))
    array([False,  True])
    """
    wrong = np.empty(given.size, dtype=np.bool_)
    for entries in entries_of(given, numerical, error_bar, hull):
        part = slice(entries.start, entries.start + entries.given.size)
        wrong[part] = compare(entries, tolerance).wrong
    return wrong


def _cut(radius: Radius, part: slice) -> Radius:
    return radius[part] if isinstance(radius, np.ndarray) else radius
