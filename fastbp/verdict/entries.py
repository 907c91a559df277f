"""From given gradient, numerical gradient and error bar to verdicts.

Pure functions on NumPy arrays. An entry is wrong when ::

    |given - numerical| > error_bar + hull + atol + rtol * |numerical|

where `hull` is the radius of what the conventions for a ReLU at exactly 0 can produce around the
numerical value. Entries on a kink, and entries without a finite numerical value or error bar, are
not judged; a NaN is wrong on a kink too. Large arrays go through block by block, so that the only
temporaries of their full size are masks of one byte per entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import AnyFloats, Mask, Radius
from fastbp.verdict.blocks import _blocks, _cut, _errors, _largest_among, _scaled
from fastbp.verdict.tolerance import Tolerance, allowed_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "detectable_error",
    "fit_factor",
    "judged_entries",
    "largest_errors",
    "wrong_entries",
    "zero_entries",
]


def judged_entries(numerical: AnyFloats, error_bar: Radius, kinks: Mask | None = None) -> Mask:
    """Return where a verdict is possible: numbers finite, not on a kink."""
    judged: Mask = np.isfinite(numerical)
    judged &= np.isfinite(error_bar)
    if kinks is not None:
        judged &= ~kinks
    return judged


def wrong_entries(
    given: AnyFloats,
    numerical: AnyFloats,
    error_bar: Radius,
    tolerance: Tolerance,
    *,
    hull: Radius = 0.0,
    kinks: Mask | None = None,
) -> Mask:
    """Return which entries of the given gradient are wrong.

    Parameters
    ----------
    given : ndarray, shape (n,), any float dtype
        The gradient in question. NaN and infinity are wrong wherever the numerical value is
        finite, also on a kink.
    numerical : ndarray, shape (n,), float64
        What it is compared with.
    error_bar, hull : float or ndarray, shape (n,)
        Error bar of the numerical value, and the radius of what conventions can produce.
    tolerance : Tolerance
        What the given gradient may be off by.
    kinks : ndarray of bool, shape (n,), optional
        Entries that are not to be judged.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> wrong_entries(np.array([1.0, 2.5]), np.array([1.0, 2.0]), 1e-9, Tolerance(1e-6, 0.0))
    array([False,  True])
    """
    wrong = judged_entries(numerical, error_bar, kinks)
    for part in _blocks(given.size):
        allowed = allowed_difference(numerical[part], _cut(error_bar, part), tolerance)
        allowed += _cut(hull, part)
        wrong[part] &= _errors(given[part], numerical[part]) > allowed
        # No convention makes a NaN: one is wrong on a kink too.
        wrong[part] |= np.isfinite(numerical[part]) & ~np.isfinite(given[part])
    return wrong


def zero_entries(given: AnyFloats, numerical: AnyFloats, error_bar: Radius) -> Mask:
    """Return which entries say nothing: given is exactly 0, numerical is 0 within its error bar."""
    zero: Mask = given == 0
    for part in _blocks(given.size):
        zero[part] &= np.abs(numerical[part]) <= _cut(error_bar, part)
    return zero


def largest_errors(
    given: AnyFloats, numerical: AnyFloats, among: Mask, count: int
) -> NDArray[np.int64]:
    """Return the flat indices of the largest ``|given - numerical|``, largest first.

    Parameters
    ----------
    given, numerical : ndarray, shape (n,)
        What is compared; an error that is NaN counts as infinite.
    among : ndarray of bool, shape (n,)
        The entries that are looked at.
    count : int
        At most this many are returned; equal errors in the order of their index.
    """
    indices = np.empty(0, dtype=np.int64)
    errors = np.empty(0)
    for part in _blocks(given.size):
        found = part.start + np.flatnonzero(among[part])
        if found.size:
            indices = np.concatenate([indices, found])
            errors = np.concatenate([errors, _errors(given[found], numerical[found])])
            errors[np.isnan(errors)] = np.inf
            order = np.lexsort((indices, -errors))[:count]
            indices, errors = indices[order], errors[order]
    return indices


def fit_factor(
    given: AnyFloats, numerical: AnyFloats, judged: Mask
) -> tuple[float | None, float | None]:
    """Return k with ``given ≈ k numerical`` in least squares, and what is left.

    Returns
    -------
    factor : float or None
        k = <given, numerical> / <numerical, numerical> over the judged entries where both are
        finite; None if the numerical gradient is 0 there.
    residual : float or None
        |given - k numerical| / |given|; None if there is no factor, or given is 0.

    Notes
    -----
    Both are divided by their largest entry before anything is squared, so that nothing overflows.

    Examples
    --------
    >>> numerical = np.array([1.0, -2.0, 3.0])
    >>> fit_factor(2 * numerical, numerical, np.ones(3, dtype=bool))
    (2.0, 0.0)
    """
    used = judged & np.isfinite(given)
    given_scale = _largest_among(given, used)
    numerical_scale = _largest_among(numerical, used)
    if numerical_scale == 0:
        return None, None
    if given_scale == 0:
        return 0.0, None
    product, square = _scaled_products(given, numerical, used, given_scale, numerical_scale)
    ratio = product / square
    residual = _scaled_residual(given, numerical, used, given_scale, numerical_scale, ratio)
    return float(ratio * (given_scale / numerical_scale)), residual


def detectable_error(
    numerical: AnyFloats,
    error_bar: Radius,
    tolerance: Tolerance,
    judged: Mask,
    hull: Radius = 0.0,
) -> float:
    """Return twice the largest allowed difference: a larger error cannot hide at a judged entry.

    An error e shows as at least e less what two correct computations may differ by, and that is
    the allowed difference too.
    """
    largest = -np.inf
    for part in _blocks(numerical.size):
        allowed = allowed_difference(numerical[part], _cut(error_bar, part), tolerance)
        allowed += _cut(hull, part)
        largest = max(largest, np.max(allowed, initial=-np.inf, where=judged[part]))
    return 2 * float(largest) if largest > -np.inf else float("inf")


def _scaled_products(
    given: AnyFloats, numerical: AnyFloats, used: Mask, given_scale: float, numerical_scale: float
) -> tuple[float, float]:
    product = square = 0.0
    for part in _blocks(given.size):
        g = _scaled(given[part], used[part], given_scale)
        n = _scaled(numerical[part], used[part], numerical_scale)
        product += float(np.sum(g * n))
        square += float(np.sum(n * n))
    return product, square


def _scaled_residual(
    given: AnyFloats,
    numerical: AnyFloats,
    used: Mask,
    given_scale: float,
    numerical_scale: float,
    ratio: float,
) -> float:
    left = square = 0.0
    for part in _blocks(given.size):
        g = _scaled(given[part], used[part], given_scale)
        n = _scaled(numerical[part], used[part], numerical_scale)
        square += float(np.sum(g * g))
        left += float(np.sum((g - ratio * n) ** 2))
    return float(np.sqrt(left / square))
