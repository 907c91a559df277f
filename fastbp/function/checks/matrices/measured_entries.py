"""Every entry of a given matrix beside its difference: all columns of a group by one tangent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.checks.matrices.colouring import grouped_columns
from fastbp.function.derivatives.column_slopes import measure_column, measure_columns
from fastbp.function.derivatives.entry_slopes import entry_sizes, is_spread, typical
from fastbp.function.derivatives.output_slopes import first_step_along, measure_outputs
from fastbp.function.derivatives.second_slopes import INDEPENDENT
from fastbp.function.methods.options import matrix_tolerance
from fastbp.function.methods.search.inward import entries_to_judge_alone, turned_inward
from fastbp.verdict.entries import Entries, compare
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.checks.matrices.given_matrix import GivenMatrix
    from fastbp.function.derivatives.lines import Lines
    from fastbp.function.methods.options import Options
    from fastbp.typing import Mask, Vector

    Indices = NDArray[np.int64]

__all__ = [
    "Group", "MeasuredEntries", "columns_to_judge_alone", "groups_of", "leaf_columns",
    "measure_entries_of", "measure_inward", "precision_of", "tangent_sizes", "without_derivative",
]  # fmt: skip

# Columns, of those measured together with others or cheaply, that are measured alone: those in
# which an output has no derivative, and of the wrong ones those nearest to passing.
MOST_ALONE, MOST_AGAIN = 64, 256


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Columns of one leaf that are differenced together: their places within the leaf."""

    leaf: int
    places: Indices


@dataclass(slots=True, eq=False)
class MeasuredEntries:
    """The entries of a given matrix, in its own order, beside their differences.

    Attributes
    ----------
    given, slope, measured_bar, hull : ndarray, shape (n,)
        Row by row of a dense matrix, column by column of a sparse one.
    cancelling : ndarray of float64, shape (n,)
        What rounding may leave of the given entry where terms cancel.
    rows, columns : ndarray of int64, shape (n,)
        The place of each entry.
    kink : ndarray of bool, shape (n,)
    tolerance : Tolerance
        What each may be off by beside its bar.
    unresolved : ndarray of bool, shape (n,)
        Entries that may be right: their column was measured with others, whose entries the pattern
        may miss.
    noise : ndarray of float64, shape (rows,)
        The largest noise of each output that any of its measurements showed.
    """

    given: NDArray[np.floating]
    slope: Vector
    measured_bar: Vector
    hull: Vector
    cancelling: Vector
    rows: Indices
    columns: Indices
    kink: NDArray[np.bool_]
    tolerance: Tolerance
    unresolved: NDArray[np.bool_]
    noise: Vector

    @property
    def error_bar(self) -> Vector:
        """What two correct computations, ours and the given one, may differ by."""
        bar: Vector = np.where(self.unresolved, np.inf, self.measured_bar + self.cancelling)
        return bar

    def excess(self) -> tuple[NDArray[np.bool_], Vector]:
        """Return which entries are wrong, and their errors over what is allowed."""
        found = compare(
            Entries(0, self.given, self.slope, self.error_bar, self.hull), self.tolerance
        )
        return found.wrong, found.ratio


def precision_of(function: VectorFunction, matrix: GivenMatrix) -> np.dtype[np.floating]:
    """Return the precision that the matrix was computed in, as far as types tell."""
    single = function.single_products or matrix.dtype == np.float32
    return np.dtype(np.float32 if single else np.float64)


def leaf_columns(function: VectorFunction) -> list[range]:
    """Return which columns belong to each leaf of the argument."""
    return [range(part.start, part.stop) for part in function.point.parts]


def groups_of(function: VectorFunction, matrix: GivenMatrix) -> list[Group]:
    """Return the groups of all columns: of one column each, unless the matrix is sparse."""
    groups = []
    for leaf, columns in enumerate(leaf_columns(function)):
        if matrix.form == "sparse":
            own = grouped_columns(matrix.matrix.indices, matrix.matrix.indptr, columns)
        else:
            own = [np.array([column]) for column in columns]
        chosen = function.mask(leaf)
        places = [group - columns.start for group in own]
        groups += [Group(leaf, some[chosen[some]]) for some in places if chosen[some].any()]
    return groups


def tangent_sizes(function: VectorFunction, leaf: int) -> Vector:
    """Return how far each entry of a leaf moves, relative to the typical one."""
    base = function.point.base[leaf]
    size = typical(base)
    if function.domain.scale(leaf) is None and not is_spread(base):
        relative = np.ones(base.size)
    else:
        # Only what the domain and the point say is read of the function.
        relative = _entry_sizes(function, leaf, size) / size
    return np.where(np.isfinite(base) & function.mask(leaf), relative, 0.0)


def _entry_sizes(function: VectorFunction, leaf: int, size: float) -> Vector:
    base = function.point.base[leaf]
    indices = np.arange(base.size)
    return entry_sizes(function, leaf, indices, size, own_sizes=is_spread(base))  # type: ignore[arg-type]


def measure_entries_of(
    function: VectorFunction,
    matrix: GivenMatrix,
    groups: list[Group],
    options: Options,
) -> MeasuredEntries:
    """Difference the entries that a dense or sparse matrix holds, and the wrong ones again.

    Of the chosen columns, until the account is closed: the bars of all others are infinite, and
    of what disagrees and could not be measured again.
    """
    found = _nothing_measured(function, matrix, options)
    starts = [columns.start for columns in leaf_columns(function)]
    with function.account.until_stopped():
        if matrix.form == "dense":
            for leaf, start in enumerate(starts):
                for place, lines in measure_columns(function, leaf):
                    _put(found, matrix, start + place, lines, 1.0)
        else:
            for group in groups:
                _measure_group(found, function, matrix, group, starts[group.leaf])
    _allow_for_cancellation(found, function, matrix, options)
    confirmed = np.zeros(matrix.shape[1], dtype=bool)
    with function.account.until_stopped():
        _measure_again(found, function, matrix, starts, confirmed)
    if function.account.stopped is not None:
        wrong, _ = found.excess()
        found.measured_bar[wrong & ~confirmed[found.columns]] = np.inf
    return found


def measure_inward(function: VectorFunction, leaf: int, tangent: Vector) -> tuple[Vector, Lines]:
    """Difference all outputs along a tangent, or along one that is turned into the domain of f.

    At an edge of the domain a tangent may lead outside either way: what f does there, NaN or an
    exception, is no property of the point. Entries are then turned until every output is finite.

    Returns
    -------
    tangent : ndarray of float64, shape (n,)
        As it was measured.
    lines : Lines
        Of all outputs.
    """
    base = function.point.base[leaf]
    tangent = function.domain.inward(leaf, base, tangent)
    lines = measure_outputs(function, leaf, tangent, raises=False)
    unknown = without_derivative(function, lines)
    if unknown.any():
        turned = turned_inward(tangent, _finite_along(function, leaf, tangent, unknown))
        if turned is not None and not np.array_equal(turned, tangent):
            return turned, measure_outputs(function, leaf, turned)
        if unknown.all():
            step = first_step_along(function, leaf, tangent)
            function.raise_if_it_raised_along(leaf, tangent.astype(base.dtype), step)
    return tangent, lines


def without_derivative(function: VectorFunction, lines: Lines) -> Mask:
    """Tell which outputs that are finite at the point have no derivative along a tangent."""
    unknown: Mask = np.isfinite(function.value) & ~np.isfinite(lines.error_bar)
    return unknown


def columns_to_judge_alone(
    function: VectorFunction, leaf: int, tangent: Vector, lines: Lines
) -> list[int]:
    """Return the entries for which some outputs have no derivative along a tangent, if they do.

    As `entries_to_judge_alone`: the steps of the others are too long for them.
    """
    unknown = without_derivative(function, lines)
    if not unknown.any():
        return []
    finite = _finite_along(function, leaf, tangent, unknown)
    return entries_to_judge_alone(function.point.base[leaf], tangent, finite)


def _finite_along(
    function: VectorFunction, leaf: int, tangent: Vector, outputs: Mask
) -> Callable[[slice], tuple[bool, bool]]:
    """Return what tells whether outputs are finite a step along a slice, and a step back."""
    step, base = first_step_along(function, leaf, tangent), function.point.base[leaf]

    def finite(part: slice) -> tuple[bool, bool]:
        some = np.zeros_like(base)
        some[part] = tangent[part]
        ahead, behind = function.along(leaf, some, (step, -step))
        return bool(np.isfinite(ahead[outputs]).all()), bool(np.isfinite(behind[outputs]).all())

    return finite


def _measure_group(
    found: MeasuredEntries, function: VectorFunction, matrix: GivenMatrix, group: Group, start: int
) -> None:
    alone = group.places.size == 1
    tangent = np.zeros(function.point.base[group.leaf].size)
    tangent[group.places] = 1.0 if alone else tangent_sizes(function, group.leaf)[group.places]
    tangent, lines = measure_inward(function, group.leaf, tangent)
    unknown, left = without_derivative(function, lines), 0 if alone else MOST_ALONE
    for place in group.places.tolist():
        _put(found, matrix, start + place, lines, float(tangent[place]))
        if left and unknown[_places_of(matrix, start + place)[1]].any():
            left -= 1  # no other column of the group has an entry there
            _put(found, matrix, start + place, measure_column(function, group.leaf, place), 1.0)


def _nothing_measured(
    function: VectorFunction, matrix: GivenMatrix, options: Options
) -> MeasuredEntries:
    if matrix.form == "sparse":
        given = matrix.matrix.data
        rows = matrix.matrix.indices.astype(np.int64)
        columns = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.matrix.indptr))
    else:
        given = matrix.matrix.reshape(-1)
        rows, columns = (
            index.reshape(-1) for index in np.meshgrid(*map(np.arange, matrix.shape), indexing="ij")
        )
    size = given.size
    precision = precision_of(function, matrix)
    tolerance, _ = matrix_tolerance(options, given, precision, matrix.noise)
    return MeasuredEntries(
        given, np.zeros(size), np.full(size, np.inf), np.zeros(size), np.zeros(size), rows,
        columns, np.zeros(size, dtype=bool), tolerance, np.zeros(size, dtype=bool),
        np.zeros(matrix.shape[0]),
    )  # fmt: skip


def _places_of(matrix: GivenMatrix, column: int) -> tuple[slice, slice | Indices]:
    """Return where the entries of a column are kept, and their rows."""
    if matrix.form == "sparse":
        rows, part = matrix.entries_of(column)
        return part, rows.astype(np.int64)
    return slice(column, None, matrix.shape[1]), slice(None)


def _put(
    found: MeasuredEntries, matrix: GivenMatrix, column: int, lines: Lines, size: float
) -> None:
    part, rows = _places_of(matrix, column)
    component = size if size != 0 else 1.0
    found.slope[part] = lines.slope[rows] / component
    found.measured_bar[part] = lines.error_bar[rows] / abs(component)
    found.hull[part] = lines.hull[rows] / abs(component)
    found.kink[part] = lines.kink[rows]
    finite = np.where(np.isfinite(lines.noise), lines.noise, 0.0)
    np.fmax(found.noise, finite, out=found.noise)


def _allow_for_cancellation(
    found: MeasuredEntries, function: VectorFunction, matrix: GivenMatrix, options: Options
) -> None:
    """Allow for what rounding leaves where terms cancel: relative to the largest of a row.

    Rows may be of very different sizes, as outputs in other units are; those of one row by one
    leaf are what the gradient of an output is.
    """
    if options.tolerance is not None or found.given.size == 0:
        return
    leaves = leaf_columns(function)
    weights = np.ones(matrix.shape[1])
    leaf_of = np.zeros(matrix.shape[1], dtype=np.int64)
    for leaf, columns in enumerate(leaves):
        base = np.abs(function.point.base[leaf].astype(np.float64))
        leaf_of[columns.start : columns.stop] = leaf
        if is_spread(base):
            finite = np.where(np.isfinite(base), base, 0.0)
            weights[columns.start : columns.stop] = finite / finite.max()
    key = found.rows * len(leaves) + leaf_of[found.columns]
    largest = np.zeros(matrix.shape[0] * len(leaves))
    sizes = np.abs(found.slope) * weights[found.columns]
    np.maximum.at(largest, key, np.where(np.isfinite(sizes), sizes, 0.0))
    _, share = matrix_tolerance(options, found.given, precision_of(function, matrix), matrix.noise)
    found.cancelling[:] = share * largest[key]


def _measure_again(
    found: MeasuredEntries,
    function: VectorFunction,
    matrix: GivenMatrix,
    starts: list[int],
    confirmed: Mask,
) -> None:
    """Measure columns with wrong entries alone, thoroughly and with other steps again.

    One measurement of an output says little of its noise, all of them together say more. A column
    that was measured with others may have been blamed for an entry that the pattern misses. Where
    the two new measurements contradict each other, bars are widened by what they are apart.
    """
    wrong, ratio = found.excess()
    wrong &= np.isfinite(found.given)
    if not wrong.any():
        return
    nearest = np.full(matrix.shape[1], np.inf)
    np.minimum.at(nearest, found.columns[wrong], ratio[wrong])
    leaf_of = [leaf for leaf, columns in enumerate(leaf_columns(function)) for _ in columns]
    most = MOST_ALONE if matrix.form == "sparse" else MOST_AGAIN
    ordered = np.argsort(nearest, kind="stable")
    ordered = ordered[nearest[ordered] < np.inf]
    again, others = ordered[:most], ordered[most:]
    for column in np.sort(again).tolist():
        leaf = leaf_of[column]
        part, rows = _places_of(matrix, column)
        place = column - starts[leaf]
        _put(found, matrix, column, measure_column(function, leaf, place, noise=found.noise), 1.0)
        lines = measure_column(function, leaf, place, INDEPENDENT, found.noise)
        bars = found.measured_bar[part]
        apart = np.abs(lines.slope[rows] - found.slope[part])
        allowed = lines.error_bar[rows] + lines.hull[rows] + bars + found.hull[part]
        found.measured_bar[part] = bars + np.where(apart > allowed, apart, 0.0)
        confirmed[column] = True
    still, _ = found.excess()
    acquitted = np.setdiff1d(again, found.columns[still])
    if acquitted.size and matrix.form == "sparse":
        found.unresolved[:] = wrong & np.isin(found.columns, others)
