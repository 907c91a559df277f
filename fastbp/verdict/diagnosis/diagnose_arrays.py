"""The diagnosis of a gradient of which only the arrays are known, as that of any function."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp.report.causes import Cause, Finding, listed
from fastbp.verdict.diagnosis.factors import AGREEING, Named, factor_cause, is_factor_worth_naming
from fastbp.verdict.diagnosis.likeness import Likeness, fitted_multiple, residual
from fastbp.verdict.diagnosis.single_arrays import misarranged, misshapen, partly_wrong, rounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastbp.report import ArrayReport
    from fastbp.typing import Array, Floats, Radius

__all__ = ["Compared", "diagnose_arrays", "diagnose_rows"]

# A black box is measured to some digits only; the rest is for the bars of its derivatives.
CLOSEST, CLOSEST_SINGLE, FARTHEST = 1e-7, 1e-4, 1e-3
BARS = 4.0
# Larger arrays are not sorted and not looked up among each other.
LARGEST = 1 << 20


class Compared(NamedTuple):
    """A given array beside the numerical one.

    Attributes
    ----------
    name : str
    given : ndarray or None
        Of any shape and dtype; None where there is none.
    numerical : float64
        In the shape that the array must have.
    error_bar : float or float64
        Of the numerical derivatives.
    failed : bool
        Whether the check called it wrong.
    """

    name: str
    given: Array | None
    numerical: Floats
    error_bar: Radius
    failed: bool

    @property
    def numbers(self) -> Floats | None:
        """The given array as float64, if it has the right shape and is finite."""
        given = self.given
        if given is None or given.dtype.kind != "f" or given.shape != self.numerical.shape:
            return None
        values = given.astype(np.float64)
        return values if np.isfinite(values).all() else None


def diagnose_arrays(arrays: Sequence[Compared]) -> list[Finding]:
    """Say what made a gradient wrong, as far as its arrays tell.

    Examples
    --------
    >>> truth = np.array([1.0, 2.0, 3.0])
    >>> found = diagnose_arrays([Compared("x", -truth, truth, 1e-9, True)])
    >>> found[0].cause.kind, found[0].places
    ('sign', 'x')
    """
    if not any(array.failed for array in arrays):
        return []
    named = _lengths(arrays)
    explained: dict[Cause, list[tuple[Compared, float | None]]] = {}
    for array in arrays:
        if array.failed and (found := _explained(array, arrays, named)):
            cause, left = found
            explained.setdefault(cause, []).append((array, left))
    findings = []
    for cause, those in sorted(explained.items(), key=lambda item: -len(item[1])):
        known = [left for _, left in those if left is not None]
        names = [array.name for array, _ in those]
        findings.append(Finding(cause, places(names, len(arrays)), max(known, default=None)))
    return findings


def diagnose_rows(rows: Sequence[ArrayReport], given: Sequence[Array | None]) -> list[Finding]:
    """Say what made a gradient wrong that is known along random directions alone.

    Parameters
    ----------
    rows : sequence of ArrayReport
        With a factor and a residual.
    given : sequence of ndarray or None
    """
    by_cause: dict[Cause, list[tuple[str, float]]] = {}
    named = [two for row in rows for two in _length_names(row.name, row.shape)]
    for row, array in zip(rows, given, strict=True):
        if row.verdict != "failed":
            continue
        if array is not None and array.size and not np.any(array):
            by_cause.setdefault(Cause("zero"), []).append((row.name, 0.0))
        elif row.factor and row.residual is not None and row.residual <= CLOSEST_SINGLE:
            cause = _factor_cause(row.factor, [*SMALL, *named], CLOSEST_SINGLE)
            if is_factor_worth_naming(cause, informative=1):
                by_cause.setdefault(cause, []).append((row.name, row.residual))
    return [
        Finding(cause, places([name for name, _ in those], len(rows)), max(r for _, r in those))
        for cause, those in sorted(by_cause.items(), key=lambda item: -len(item[1]))
    ]


def places(names: Sequence[str], arrays: int) -> str:
    """Name arrays, all of them in a word.

    Examples
    --------
    >>> places(["a", "b"], 2), places(["a"], 1), places(["a"], 2)
    ('every array', 'a', 'a')
    """
    if len(names) == arrays > 1:
        return "every array"
    return listed(names)


def _explained(
    array: Compared, arrays: Sequence[Compared], named: list[Named]
) -> tuple[Cause, float | None] | None:
    """Return what made one array wrong, and what that leaves unexplained."""
    truth = array.numerical
    likeness = _likeness_of(array)
    if likeness is None or array.given is None or truth.size > LARGEST:
        return None
    given = array.numbers
    if given is None:
        finite = array.given.dtype.kind in "fiu" and bool(np.isfinite(array.given).all())
        return misshapen(array.given, truth, likeness) if finite else None
    if not given.any():
        return Cause("zero"), 0.0
    for cause, one in _candidates(given, array, arrays, named, likeness):
        if likeness.explains(given, one, truth):
            return cause, residual(given, one)
    if found := misarranged(given, truth, likeness):
        return found
    largest = float(np.max(np.abs(truth)))
    wrong = np.abs(given - truth) > likeness.tolerance * largest
    partly = rounded(given, truth, wrong) or partly_wrong(given, truth, wrong, likeness)
    return None if partly is None else (partly, None)


def _likeness_of(array: Compared) -> Likeness | None:
    """Return how near is near enough; None where the numerical derivatives are too rough."""
    largest = float(np.max(np.abs(array.numerical), initial=0.0))
    bar = float(np.max(array.error_bar, initial=0.0))
    if not 0.0 < largest < np.inf or not BARS * bar <= FARTHEST * largest:
        return None
    single = array.given is not None and array.given.dtype.itemsize == 4
    return Likeness(max(CLOSEST_SINGLE if single else CLOSEST, BARS * bar / largest))


def _candidates(
    given: Floats,
    array: Compared,
    arrays: Sequence[Compared],
    named: list[Named],
    likeness: Likeness,
) -> Iterator[tuple[Cause, Floats]]:
    truth = array.numerical
    found = fitted_multiple(given, truth)
    if found is not None and found.factor != 0.0:
        cause = _factor_cause(found.factor, named, likeness.tolerance)
        if is_factor_worth_naming(cause, found.informative):
            yield cause, found.factor * truth
    for other in arrays:
        if other is array or other.numerical.shape != truth.shape or not other.numerical.any():
            continue
        its = other.numerical
        yield Cause("swapped", other.name), its
        if other.failed and other.numbers is not None and np.array_equal(other.numbers, given):
            yield Cause("aliased", other.name), other.numbers
        if truth.size >= AGREEING:
            yield Cause("missing_term", other.name), truth - its
            yield Cause("extra_term", other.name), truth + its


SMALL = [
    Named(2.0, "a term is added twice, or a 2 is too many"),
    Named(0.5, "the 2 of the derivative of a square is left out"),
]


def _lengths(arrays: Sequence[Compared]) -> list[Named]:
    """Return the lengths of axes, which a sum may take for a mean, or the other way."""
    named = list(SMALL)
    for array in arrays:
        named += _length_names(array.name, array.numerical.shape)
    return named


def _length_names(name: str, shape: tuple[int, ...]) -> Iterator[Named]:
    for axis, length in enumerate(shape):
        if length > 2:
            reading = f"{length} is the length of axis {axis} of {name}"
            yield Named(length, f"{reading}, a sum in place of a mean")
            yield Named(1 / length, f"{reading}, a mean in place of a sum")


def _factor_cause(factor: float, named: list[Named], tolerance: float) -> Cause:
    """Return the cause of a factor; of axes of one length the first is named."""
    cause = factor_cause(factor, named, tolerance)
    return replace(cause, readings=cause.readings[:1])
