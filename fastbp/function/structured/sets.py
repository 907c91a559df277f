"""Symmetric and positive definite matrices, simplices and spheres, each as a structured point."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import DTypeError, NonFiniteError, OptionError, ShapeError
from fastbp.function.structured.structured_point import StructuredPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["positive_definite", "simplex", "sphere", "symmetric"]

# What rounding may leave between an entry and its mirror image, or between a sum and 1: in
# roundings of the dtype, relative to the largest entry.
ROUNDINGS = 64


def symmetric(matrix: Any) -> StructuredPoint:
    """Mark a matrix as symmetric: it is differenced along symmetric matrices only.

    Parameters
    ----------
    matrix : ndarray of float64 or float32, shape (..., n, n)
        A symmetric matrix, or a stack of them.

    Returns
    -------
    StructuredPoint
        In place of the matrix in the `at` of `check_gradient`, `check_vjp`, `taylor_test` and
        `numerical_gradient`.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError
        If it is no array of finite floats, or not square.
    OptionError
        If it is not symmetric, but for rounding.

    Notes
    -----
    The chart is C -> (C + Cᵀ) / 2, so f sees symmetric matrices only, and the given gradient G is
    compared as (G + Gᵀ) / 2: whether it holds the derivative by a pair of entries in one of the
    two, in both, or half in each, makes no difference.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def from_lower_triangle(a):  # as Cholesky factorisations and eigh do
    ...     return float(np.sum(np.tril(a) ** 2) + np.sum(np.tril(a, -1) ** 2))
    >>> a = np.array([[2.0, 0.5], [0.5, 1.0]])
    >>> fastbp.check_gradient(from_lower_triangle, lambda a: 2 * a, a).verdict
    'failed'
    >>> fastbp.check_gradient(from_lower_triangle, lambda a: 2 * a, fastbp.symmetric(a)).verdict
    'passed'
    """
    array = _square(matrix, "symmetric")
    note = "along symmetric matrices; a gradient G is compared as (G + Gᵀ) / 2"
    return StructuredPoint(
        "symmetric", array, array, _symmetrised, partial(_projected, _symmetrised), note
    )


def positive_definite(matrix: Any) -> StructuredPoint:
    """Mark a matrix as symmetric and positive definite: no difference leaves these matrices.

    Parameters
    ----------
    matrix : ndarray of float64 or float32, shape (..., n, n)
        A symmetric positive definite matrix, or a stack of them.

    Returns
    -------
    StructuredPoint
        As `symmetric` does.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError
        If it is no array of finite floats, or not square.
    OptionError
        If it is not symmetric, but for rounding, or not positive definite.

    Notes
    -----
    The chart is C -> A + X + X A⁻¹ X / 2 with X = (C + Cᵀ) / 2 - A, which is positive definite for
    every C, however small the eigenvalues of A are (Jeuris, Vandebril & Vandereycken, "A survey and
    comparison of contemporary algorithms for computing the matrix geometric mean", ETNA 39, 2012).
    To first order it is that of `symmetric`, and gradients are compared in the same way.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> a = np.array([[2.0, 0.5], [0.5, 1.0]])
    >>> def half_log_determinant(a):
    ...     return float(np.sum(np.log(np.diagonal(np.linalg.cholesky(a)))))
    >>> def gradient(a):
    ...     return np.linalg.inv(a) / 2
    >>> at = fastbp.positive_definite(a)
    >>> fastbp.check_gradient(half_log_determinant, gradient, at).verdict
    'passed'
    """
    array = _square(matrix, "positive_definite")
    wide = array.astype(np.float64)
    smallest = float(np.min(np.linalg.eigvalsh(wide), initial=np.inf))
    if not smallest > 0:
        raise OptionError(
            f"positive_definite: the matrix must be positive definite, but its smallest eigenvalue "
            f"is {smallest:g}."
        )
    chart = partial(_beside_positive_definite, wide, np.linalg.inv(wide))
    note = "along positive definite matrices; a gradient G is compared as (G + Gᵀ) / 2"
    return StructuredPoint(
        "positive_definite", array, array, chart, partial(_projected, _symmetrised), note
    )


def simplex(probabilities: Any, axis: int = -1) -> StructuredPoint:
    """Mark an array as probabilities: at least 0, with a sum of 1 along an axis.

    Parameters
    ----------
    probabilities : ndarray of float64 or float32
        A point of the probability simplex, or many of them along the other axes.
    axis : int
        Along which the sum is 1.

    Returns
    -------
    StructuredPoint
        As `symmetric` does.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError
        If it is no array of finite floats, or has no such axis.
    OptionError
        If an entry is negative, or a sum is not 1, but for rounding.

    Notes
    -----
    The chart is C -> q / sum(q) with q = (C - p) + sqrt((C - p)² + p²), positive wherever p is. A
    gradient g is compared as g - <p, g>. Entries that are 0 stay 0, and derivatives by them are
    not compared: the set has an edge there.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> p = np.array([0.2, 0.3, 0.5])
    >>> def entropy(p):
    ...     return float(-np.sum(p * np.log(p)))
    >>> at = fastbp.simplex(p)
    >>> fastbp.check_gradient(entropy, lambda p: -np.log(p), at).verdict  # -1 is normal to the set
    'passed'
    >>> fastbp.check_gradient(entropy, lambda p: -np.log(p), p).verdict
    'failed'
    """
    array = _floats(probabilities, "simplex")
    axis = _axis(array, axis, "simplex")
    if np.any(array < 0):
        raise OptionError(
            f"simplex: probabilities must be at least 0, but there is {float(array.min()):g}."
        )
    sums = np.sum(array, axis=axis, dtype=np.float64)
    furthest = float(sums.reshape(-1)[np.argmax(np.abs(sums - 1))]) if sums.size else 1.0
    if not abs(furthest - 1) <= ROUNDINGS * float(np.finfo(array.dtype).eps):
        raise OptionError(f"simplex: probabilities must have a sum of 1, but it is {furthest:.9g}.")
    wide = array.astype(np.float64)
    note = "along the simplex; a gradient g is compared as g - <p, g>"
    if np.any(array == 0):
        note += f"; {np.count_nonzero(array == 0)} entries of 0 stay 0 and are not compared"
    return StructuredPoint(
        "simplex", array, array, partial(_beside_probabilities, wide, axis),
        partial(_projected, partial(_off_the_mean, wide, axis)), note,
        np.where(wide > 0, wide, 1.0),
    )  # fmt: skip


def sphere(vector: Any, axis: int | None = None) -> StructuredPoint:
    """Mark an array as a point of a sphere: its Euclidean norm does not change.

    Parameters
    ----------
    vector : ndarray of float64 or float32
        A vector of any norm but 0, or many of them.
    axis : int, optional
        Along which the norms are kept, of unit quaternions, say; None for that of the whole.

    Returns
    -------
    StructuredPoint
        As `symmetric` does.

    Raises
    ------
    DTypeError, ShapeError, NonFiniteError
        If it is no array of finite floats, or has no such axis.
    OptionError
        If a norm is 0.

    Notes
    -----
    The chart is ``C -> |x| C / |C|``, and a gradient g is compared as g - x <x, g> / <x, x>.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> matrix = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> def quotient(x):  # of Rayleigh, for vectors of norm 1
    ...     return float(x @ matrix @ x)
    >>> def gradient(x):  # on the sphere alone
    ...     return 2 * (matrix @ x - (x @ matrix @ x) * x)
    >>> x = np.array([0.6, 0.8])
    >>> fastbp.check_gradient(quotient, gradient, fastbp.sphere(x)).verdict
    'passed'
    >>> fastbp.check_gradient(quotient, gradient, x).verdict
    'failed'
    """
    array = _floats(vector, "sphere")
    if axis is not None:
        axis = _axis(array, axis, "sphere")
    wide = array.astype(np.float64)
    if not np.all(_norm(wide, axis) > 0):
        raise OptionError("sphere: the norm must not be 0.")
    return StructuredPoint(
        "sphere", array, array, partial(_scaled_to, _norm(wide, axis), axis),
        partial(_projected, partial(_tangential, wide, axis)),
        "along the sphere; a gradient g is compared as g - x <x, g> / <x, x>",
    )  # fmt: skip


def _projected(projection: Any, gradient: Floats) -> tuple[Floats, float]:
    """Pull a gradient back by a projection, which adds nothing but rounding."""
    with np.errstate(all="ignore"):  # of what is not finite, a finding
        projected: Floats = projection(gradient)
    return projected.astype(gradient.dtype, copy=False), 0.0


def _symmetrised(matrix: Floats) -> Floats:
    half: Floats = (matrix + np.swapaxes(matrix, -1, -2)) / 2
    return half


def _beside_positive_definite(matrix: Floats, inverse: Floats, coordinates: Floats) -> Floats:
    moved = _symmetrised(coordinates.astype(np.float64, copy=False)) - matrix
    curved = matrix + moved + moved @ inverse @ moved / 2
    return _symmetrised(curved).astype(coordinates.dtype, copy=False)


def _beside_probabilities(probabilities: Floats, axis: int, coordinates: Floats) -> Floats:
    moved = coordinates.astype(np.float64, copy=False) - probabilities
    positive = np.where(probabilities > 0, moved + np.hypot(moved, probabilities), 0.0)
    total = np.sum(positive, axis=axis, keepdims=True)
    total = total / np.sum(probabilities, axis=axis, keepdims=True)  # exactly 1 at the point
    beside: Floats = (positive / total).astype(coordinates.dtype, copy=False)
    return beside


def _off_the_mean(probabilities: Floats, axis: int, gradient: Floats) -> Floats:
    mean = np.sum(probabilities * gradient, axis=axis, keepdims=True)
    return np.where(probabilities > 0, gradient - mean, 0.0)


def _norm(array: Floats, axis: int | None) -> Floats:
    largest = np.max(np.abs(array), axis=axis, keepdims=True, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    norm: Floats = scale * np.sqrt(np.sum((array / scale) ** 2, axis=axis, keepdims=True))
    return norm


def _scaled_to(norm: Floats, axis: int | None, coordinates: Floats) -> Floats:
    wide = coordinates.astype(np.float64, copy=False)
    scaled: Floats = (wide * (norm / _norm(wide, axis))).astype(coordinates.dtype, copy=False)
    return scaled


def _tangential(vector: Floats, axis: int | None, gradient: Floats) -> Floats:
    unit = vector / _norm(vector, axis)
    along: Floats = gradient - unit * np.sum(unit * gradient, axis=axis, keepdims=True)
    return along


def _floats(array: Any, kind: str) -> Floats:
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float64, np.float32):
        came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DTypeError(f"{kind} takes an array of float64 or float32, not {came}.")
    if not np.all(np.isfinite(array)):
        raise NonFiniteError(f"{kind}: the array must be finite.")
    return array.copy()


def _axis(array: Floats, axis: object, kind: str) -> int:
    integer = isinstance(axis, int) and not isinstance(axis, bool)
    if not integer or not -array.ndim <= axis < array.ndim:  # type: ignore[operator]
        raise ShapeError(
            f"{kind}: axis must be an axis of an array of shape {array.shape}, not {axis!r}."
        )
    return int(axis)  # type: ignore[call-overload, no-any-return]


def _square(matrix: Any, kind: str) -> Floats:
    array = _floats(matrix, kind)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ShapeError(f"{kind}: the matrix must have shape (..., n, n), not {array.shape}.")
    mirrored = np.swapaxes(array, -1, -2)
    apart = np.abs(array - mirrored)
    allowed = ROUNDINGS * float(np.finfo(array.dtype).eps) * np.max(np.abs(array), initial=0.0)
    if np.any(apart > allowed):
        place = tuple(int(i) for i in np.unravel_index(np.argmax(apart), array.shape))
        mirror = (*place[:-2], place[-1], place[-2])
        raise OptionError(
            f"{kind}: the matrix must be symmetric, but entry {list(place)} is "
            f"{array[place]:.9g} and entry {list(mirror)} is {array[mirror]:.9g}."
        )
    return _symmetrised(array).astype(array.dtype, copy=False)
