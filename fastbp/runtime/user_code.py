"""Calling a user's function: its errors, its determinism, what it may not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp.errors import EvaluationError, FastbpError
from fastbp.runtime.floating_point import callers_errstate
from fastbp.typing import Array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

__all__ = ["NOISE_IS_AN_OPTION", "TwoCalls", "agree", "called_twice", "calling", "noise_of_calls"]

# Two calls of one correct function may differ by the order of its sums, where threads share them:
# by so many times the precision, relative to the largest number of an array.
REPRODUCIBLE = 64
# So many more calls show the noise of results; the first may be off by twice their range.
MORE_CALLS, RANGES = 4, 2.0
# What follows where a check has an option for it.
NOISE_IS_AN_OPTION = "; noise= says how much is allowed"


class calling:  # noqa: N801 - used as a statement, like contextlib.suppress
    """Surround the call of a user's function.

    It runs under the floating-point errors that the user has set, but that no warning is shown: we
    choose the points. What the function raises becomes the cause of an `EvaluationError`; errors of
    fastbp pass.

    Parameters
    ----------
    name : str
        What the function is called in messages.
    where : str or callable
        Where it was evaluated; a callable is asked only after an exception.

    Examples
    --------
    >>> with calling("f", "at 0"):
    ...     1 / 0
    Traceback (most recent call last):
        ...
    fastbp.errors.EvaluationError: f raised ZeroDivisionError at 0: division by zero
    """

    def __init__(self, name: str, where: str | Callable[[], str] = "at the point") -> None:
        self.name, self.where = name, where
        self._errstate = callers_errstate(warn=False)

    def __enter__(self) -> None:
        """Give NumPy back to the user."""
        self._errstate.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Take NumPy back, and raise our error where the function raised."""
        # Not with contextlib.contextmanager, which takes an EvaluationError that a StopIteration
        # has caused for the end of its generator.
        self._errstate.__exit__(kind, error, trace)
        if isinstance(error, Exception) and not isinstance(error, FastbpError):
            where = self.where if isinstance(self.where, str) else self.where()
            raise EvaluationError(
                f"{self.name} raised {type(error).__name__} {where}: {error}"
            ) from error


class TwoCalls(NamedTuple):
    """What two calls of one function gave.

    Attributes
    ----------
    arrays : list of ndarray or None
        Copies of what the first call returned; None where it returned nothing.
    changed : list of str
        The arguments that the first call changed.
    differing : str
        "gave two different results: ...", with their names and by how much they differ; empty if
        they agree.
    apart : float
        The largest difference of two numbers, as far as they are finite.
    accumulates : bool
        Whether the second call returned twice the first, wherever they differ.
    """

    arrays: list[Array | None]
    changed: list[str]
    differing: str
    apart: float = 0.0
    accumulates: bool = False


def called_twice(
    call: Callable[[], tuple[Sequence[str], Sequence[ArrayLike | None], list[str]]],
    unit: float = 0.0,
    noise: float = 0.0,
) -> TwoCalls:
    """Call a user's function twice, to see whether it changes its arguments or its results.

    Parameters
    ----------
    call : callable
        Calls the function with fresh arguments. Returns the names of its results, the results
        (None where there is none), and the names of the arguments that it changed.
    unit, noise : float
        As in `agree`.
    """
    names, arrays, changed = call()
    # The second call may write to the memory of the first result, or add to it.
    first = [None if array is None else np.array(array, order="C") for array in arrays]
    names_again, second, _ = call()
    if names_again != names:
        return TwoCalls(first, changed, "gave results of two different structures")
    pairs = [
        (one, np.asarray(two)) for one, two in zip(first, second, strict=True)
        if one is not None and two is not None
    ]  # fmt: skip
    apart = max((largest_difference(*pair) for pair in pairs), default=0.0)
    differing, accumulates = _difference(names, first, second, unit, noise)
    return TwoCalls(first, changed, differing, apart, accumulates)


def noise_of_calls(
    call: Callable[[], tuple[Sequence[str], Sequence[ArrayLike | None], list[str]]],
    first: Sequence[Array | None],
) -> list[float]:
    """Call a noisy function some more times; return what each result of the first may be off by.

    Parameters
    ----------
    call : callable
        As for `called_twice`.
    first : list of ndarray or None
        What the first call returned.
    """
    ranges = [(array, array) for array in first]
    for _ in range(MORE_CALLS):
        _, arrays, _ = call()
        for place, (array, (low, high)) in enumerate(zip(arrays, ranges, strict=True)):
            now = None if array is None else np.asarray(array)
            if now is None or low is None or high is None or now.shape != low.shape:
                continue
            ranges[place] = np.fmin(low, now), np.fmax(high, now)
    return [
        0.0 if low is None or high is None else RANGES * largest_difference(low, high)
        for low, high in ranges
    ]


def _difference(
    names: Sequence[str],
    first: Sequence[Array | None],
    second: Sequence[ArrayLike | None],
    unit: float,
    noise: float,
) -> tuple[str, bool]:
    """Say which arrays differ between two calls, and whether they were doubled; empty if none."""
    differing = [
        (name, one, np.asarray(two))
        for name, one, two in zip(names, first, second, strict=True)
        if one is not None and two is not None and not agree(one, two, unit, noise)
    ]
    if not differing:
        return "", False
    with np.errstate(over="ignore"):
        doubled = all(
            one.dtype.kind in "fc" and agree(2 * one, two, unit) for _, one, two in differing
        )
    where = ", ".join(name for name, _, _ in differing)
    apart = max(largest_difference(one, two) for _, one, two in differing)
    ending = f", which differ by {apart:.2g}" if apart else ""
    if doubled:
        ending = " (second = 2 first: an accumulation)"
    return f"gave two different results: {where}{ending}", doubled


def largest_difference(first: Array, second: Array) -> float:
    """Return the largest difference of two arrays, of the entries that are finite in both.

    Examples
    --------
    >>> largest_difference(np.array([1.0, np.nan]), np.array([1.5, 0.0]))
    0.5
    """
    numbers = first.dtype.kind in "fc" and second.dtype.kind in "fc"
    if not numbers or first.shape != second.shape:
        return 0.0
    finite = np.isfinite(first) & np.isfinite(second)
    with np.errstate(over="ignore"):
        return float(np.max(np.abs(second[finite] - first[finite]), initial=0.0))


def agree(first: ArrayLike, second: ArrayLike, unit: float = 0.0, noise: float = 0.0) -> bool:
    """Tell whether two results differ by no more than the order of sums can explain.

    Parameters
    ----------
    first, second : array_like
        They disagree if shape, kind of dtype, or the places of what is not finite differ.
    unit : float
        Half the distance from 1 to the next number, of the precision in which they were computed,
        if that is coarser than their dtypes.
    noise : float
        By how much they may differ beside that.

    Examples
    --------
    >>> agree(1.0, 1.0 + 2**-50), agree([1e-20, 1.0], [2e-20, 1.0]), agree(1.0, 1.001)
    (True, True, False)
    """
    one, two = np.asarray(first), np.asarray(second)
    if one.shape != two.shape or one.dtype.kind != two.dtype.kind:
        return False
    equal = np.array_equal(one, two)
    if equal or one.dtype.kind not in "fc":
        return equal
    finite = np.isfinite(one) & np.isfinite(two)
    if not np.array_equal(one[~finite], two[~finite], equal_nan=True):
        return False
    precision = max(2 * unit, *(float(np.finfo(array.dtype).eps) for array in (one, two)))
    largest = np.max(np.abs(one[finite]), initial=0.0)
    return bool(largest_difference(one, two) <= max(REPRODUCIBLE * precision * largest, noise))
