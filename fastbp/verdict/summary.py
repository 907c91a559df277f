"""Counts, sums and the worst entry of an array: what its verdict is made from.

The kernels sum up every tile of an array as they compare it, `summary_rows` some entries in NumPy;
both as rows of one table (``kernels/comparison/summary_columns.py``), which `summaries` merges.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp.kernels.comparison import summary_columns as columns
from fastbp.typing import AnyFloats, Indices, Mask, Radius, Vector
from fastbp.verdict.blocks import largest_finite, norm, power_below
from fastbp.verdict.entries import Entries, compare, entries_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastbp.verdict.tolerance import Tolerance

    Table = NDArray[np.float64]
    Note = Callable[[int, Vector, Mask], None]

__all__ = [
    "Entry",
    "Summary",
    "Unexplained",
    "merged_rows",
    "plainly_passed",
    "read_summaries",
    "summaries",
    "summarise",
    "summary_rows",
]

COUNTS_AND_SUMS = [
    columns.WRONG, columns.ZERO, columns.KINKS, columns.LEFT_OUT, columns.ABOVE_NOISE,
    columns.BROKEN, columns.NOT_FINITE, columns.NOT_ZERO, columns.PRODUCT, columns.SQUARE,
]  # fmt: skip
OF_WORST = [
    columns.WORST_RATIO, columns.WORST_PLACE, columns.WORST_GIVEN, columns.WORST_VALUE,
    columns.WORST_BAR, columns.WORST_RADIUS,
]  # fmt: skip
_worst_of = itemgetter(*OF_WORST[1:])


class Entry(NamedTuple):
    """One entry of an array, at a place in C order."""

    place: int
    given: float
    numerical: float
    error_bar: float
    hull: float


class Summary(NamedTuple):
    """What is found in one array.

    Attributes
    ----------
    entries : int
        How many entries it has.
    wrong : int
        Entries that are wrong.
    zero : int
        Given as exactly 0, and numerically 0 within the error bar, whatever the convention.
    kinks : int
        Entries that conventions move by more than their error bar, or that are left out.
    left_out : int
        Entries that are not judged because they lie on a kink, but for those counted as zero.
    above_noise : int
        Judged entries of which the derivative, or what conventions make of it, is above the bar.
        Only whether there are any: tiles of right gradients do not count them all.
    broken : int
        Entries without a finite numerical derivative or error bar.
    not_finite, not_zero : int
        Given entries that are not finite; that are not 0 (whether there are any).
    largest_allowed : float
        The largest difference that is allowed at a judged entry.
    product, square : float
        Sums of given * numerical and of numerical**2 over the judged entries that are finite, in
        a unit of their own.
    worst : Entry or None
        The one with the largest ratio of error and allowed, the first of equals; None where no
        entry was judged.
    """

    entries: int
    wrong: int
    zero: int
    kinks: int
    left_out: int
    above_noise: int
    broken: int
    not_finite: int
    not_zero: int
    largest_allowed: float
    product: float
    square: float
    worst: Entry | None

    @property
    def factor(self) -> float | None:
        """k with ``given ≈ k numerical`` in least squares; None where they are 0/0."""
        if self.square > 0.0 and math.isfinite(self.product):
            return self.product / self.square
        return None

    @property
    def detectable(self) -> float:
        """Twice the largest allowed difference: a larger error cannot hide at a judged entry.

        An error e shows as at least e less what two correct computations may differ by, and that
        is the allowed difference too. Infinite where nothing is judged.
        """
        return 2.0 * self.largest_allowed if self.worst is not None else math.inf


def summarise(
    given: AnyFloats,
    numerical: Vector,
    error_bar: Radius,
    tolerance: Tolerance,
    *,
    hull: Radius = 0.0,
    left_out: Mask | None = None,
    note: Note | None = None,
) -> Summary:
    """Compare an array with its numerical gradient, block by block.

    Parameters
    ----------
    given, numerical, error_bar, hull, left_out
        As the fields of `Entries`, of the whole array.
    tolerance : Tolerance
        What the given gradient may be off by.
    note : callable, optional
        Is told of every block, as by `summary_rows`.

    Examples
    --------
    >>> from fastbp.verdict.tolerance import Tolerance
    >>> numerical = np.array([1.0, -2.0, 3.0])
    >>> found = summarise(numerical * [1, 1, -1], numerical, 1e-9, Tolerance(1e-6, 0.0))
    >>> found.wrong, found.worst.place
    (1, 2)
    """
    scale = power_below(largest_finite(numerical))
    rows = [
        summary_rows(entries, tolerance, scale, note=note)
        for entries in entries_of(given, numerical, error_bar, hull, left_out)
    ]
    if not rows:
        rows = [np.zeros((1, columns.SUMMARY_COLUMNS))]
        rows[0][:, columns.WORST_RATIO] = -1.0
    return summaries(np.concatenate(rows), [0], [given.size])[0]


def summary_rows(
    entries: Entries,
    tolerance: Tolerance,
    scale: Radius,
    starts: Sequence[int] = (0,),
    *,
    note: Note | None = None,
) -> Table:
    """Sum up entries as the kernels sum up a tile.

    Parameters
    ----------
    entries : Entries
        Of one array, or of several ones laid end to end.
    tolerance : Tolerance
    scale : float or float64, shape (n,)
        What makes products of two entries of an array fit a number.
    starts : sequence of int
        Where each of the arrays begins.
    note : callable, optional
        Is told where the entries start, their error over what is allowed (-1 where nothing is
        judged), and which are on a kink.

    Returns
    -------
    float64, shape (arrays, SUMMARY_COLUMNS)
    """
    _, given, numerical, error_bar, hull, left_out = entries
    found = compare(entries, tolerance)
    size = np.abs(numerical)
    with np.errstate(invalid="ignore"):
        zero = (given == 0) & (size + hull <= error_bar)
        on_kink = np.greater(hull, error_bar, out=np.empty(size.shape, dtype=np.bool_))
        above = found.judged & (on_kink | (size > error_bar))
    unjudged = ~found.judged
    counted: list[tuple[int, Mask]] = [
        (columns.WRONG, found.wrong), (columns.ZERO, zero), (columns.ABOVE_NOISE, above),
        (columns.NOT_FINITE, ~found.finite), (columns.NOT_ZERO, given != 0),
    ]  # fmt: skip
    if left_out is not None:
        on_kink, unjudged = on_kink | left_out, unjudged & ~left_out
        counted.append((columns.LEFT_OUT, left_out & ~zero))
    counted += [(columns.KINKS, on_kink), (columns.BROKEN, unjudged)]
    table = np.zeros((len(starts), columns.SUMMARY_COLUMNS))
    for column, where in counted:
        table[:, column] = _counts(where, starts)
    allowed = np.where(found.judged, found.allowed, 0.0)
    table[:, columns.LARGEST_ALLOWED] = np.maximum.reduceat(allowed, starts)
    used = found.judged & found.finite
    scaled = np.where(used, numerical, 0.0) * scale
    with np.errstate(over="ignore"):  # infinite, and so no factor
        product = np.where(used, given, 0.0) * scale * scaled
    table[:, columns.PRODUCT] = np.add.reduceat(product, starts)
    table[:, columns.SQUARE] = np.add.reduceat(scaled * scaled, starts)
    ratio = found.ratio
    _note_worst(table, entries, ratio, starts)
    if note is not None:
        note(entries.start, ratio, on_kink)
    return table


def _note_worst(table: Table, entries: Entries, ratio: Vector, starts: Sequence[int]) -> None:
    at = _first_largest(ratio, starts)
    bars, radii = entries.error_bar, entries.hull
    worst = (
        ratio[at], entries.start + at - starts, entries.given[at], entries.numerical[at],
        bars[at] if isinstance(bars, np.ndarray) else bars,
        radii[at] if isinstance(radii, np.ndarray) else radii,
    )  # fmt: skip
    for column, values in zip(OF_WORST, worst, strict=True):
        table[:, column] = values


def _counts(where: Mask, starts: Sequence[int]) -> int | Indices:
    """Count the entries of each part; of a whole array, which is most often asked, in one go."""
    if len(starts) == 1:
        return int(np.count_nonzero(where))
    counts: Indices = np.add.reduceat(where, starts, dtype=np.int64)
    return counts


def _first_largest(values: Vector, starts: Sequence[int]) -> Indices:
    """Find the largest number of each part, the first of equals."""
    if len(starts) == 1:
        return np.array([values.argmax()])
    largest = np.maximum.reduceat(values, starts)
    found = np.flatnonzero(values == np.repeat(largest, np.diff([*starts, values.size])))
    first: Indices = found[np.searchsorted(found, starts)]
    return first


def summaries(table: Table, starts: Sequence[int], entries: Sequence[int]) -> list[Summary]:
    """Merge rows of a table into summaries of arrays; arguments as of `merged_rows`.

    ``entries`` are those of each array.
    """
    return read_summaries(merged_rows(table, starts), entries)


def merged_rows(table: Table, starts: Sequence[int]) -> Table:
    """Merge the rows of each array into one.

    Parameters
    ----------
    table : float64, shape (rows, SUMMARY_COLUMNS)
        The rows of each array one after the other.
    starts : sequence of int
        The first row of each array.
    """
    merged = table
    if len(starts) < len(table):  # else each array has one row, as small ones have
        merged = np.maximum.reduceat(table, starts, axis=0)
        merged[:, COUNTS_AND_SUMS] = np.add.reduceat(table[:, COUNTS_AND_SUMS], starts, axis=0)
        worst = _first_largest(table[:, columns.WORST_RATIO], starts)
        merged[:, OF_WORST] = table[worst][:, OF_WORST]
    return merged


def read_summaries(merged: Table, entries: Sequence[int]) -> list[Summary]:
    """Return the summaries of arrays that have one row each, and so many entries."""
    return [_read(*both) for both in zip(merged.tolist(), entries, strict=True)]


def plainly_passed(merged: Table, entries: Indices) -> Mask:
    """Tell which arrays passed without anything more to say, as `verdict_of` would.

    Parameters
    ----------
    merged : float64, shape (arrays, SUMMARY_COLUMNS)
    entries : int64, shape (arrays,)
    """
    zero = merged[:, columns.ZERO]
    passed: Mask = (merged[:, columns.WRONG] == 0) & (merged[:, columns.BROKEN] == 0)
    passed &= (zero + merged[:, columns.LEFT_OUT] < entries) & (merged[:, columns.ABOVE_NOISE] > 0)
    return passed


def _read(line: list[float], entries: int) -> Summary:
    worst = None
    if line[columns.WORST_RATIO] >= 0.0:
        place, *values = _worst_of(line)
        worst = Entry(int(place), *values)
    return Summary(
        entries=entries,
        wrong=int(line[columns.WRONG]),
        zero=int(line[columns.ZERO]),
        kinks=int(line[columns.KINKS]),
        left_out=int(line[columns.LEFT_OUT]),
        above_noise=int(line[columns.ABOVE_NOISE]),
        broken=int(line[columns.BROKEN]),
        not_finite=int(line[columns.NOT_FINITE]),
        not_zero=int(line[columns.NOT_ZERO]),
        largest_allowed=line[columns.LARGEST_ALLOWED],
        product=line[columns.PRODUCT],
        square=line[columns.SQUARE],
        worst=worst,
    )


class Unexplained:
    """What no factor explains: |given - k numerical| / |given|, of some entries after the other.

    Parameters
    ----------
    factor : float or None
        k; None where there is none, and so no residual.
    """

    def __init__(self, factor: float | None) -> None:
        self.factor = factor
        self._left = self._given = 0.0

    def add(self, given: AnyFloats, numerical: AnyFloats) -> None:
        """Take up more entries, all of them finite."""
        if self.factor is not None:
            with np.errstate(over="ignore"):  # infinite, and so no residual
                left = given - self.factor * numerical
            self._left = math.hypot(self._left, norm(left))
            self._given = math.hypot(self._given, norm(given))

    @property
    def residual(self) -> float | None:
        """The quotient; None where it is 0/0 or leaves the range of numbers."""
        if 0.0 < self._given < math.inf and self._left < math.inf:
            return self._left / self._given
        return None
