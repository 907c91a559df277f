"""A given matrix against differences, by whichever method fits: from a matrix to rows.

"every" differences each entry that the matrix holds, "probe" random tangents. What a sparse matrix
does not hold must be 0, and random tangents see to that with either method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.array_function import output_name
from fastbp.function.checks.matrices.along_directions import DIRECTIONS, search_leaf
from fastbp.function.checks.matrices.measured_entries import (
    MeasuredEntries,
    groups_of,
    leaf_columns,
    measure_entries_of,
    precision_of,
)
from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.function.containers.chosen_entries import chosen_entries
from fastbp.function.derivatives.column_slopes import expected_evaluations
from fastbp.function.domain import domain_of
from fastbp.function.methods.forecast import chosen_method, evaluations_per_tangent
from fastbp.function.methods.options import matrix_tolerance, underflow
from fastbp.function.methods.unjudged import NOT_CHOSEN, first_named
from fastbp.verdict.arrays import TOO_ROUGH
from fastbp.verdict.entries import wrong_entries
from fastbp.verdict.rows import Numerical, bare_row, failure_of, judged_row, worst_first
from fastbp.verdict.summary import Entry
from fastbp.verdict.tolerance import Tolerance, agreement_of_sums, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.checks.matrices.along_directions import Found
    from fastbp.function.checks.matrices.given_matrix import Block, GivenMatrix
    from fastbp.function.derivatives.lines import Lines
    from fastbp.function.methods.options import Options
    from fastbp.report import ArrayReport, Failure
    from fastbp.typing import Vector

__all__ = ["MatrixCheck", "check_matrix"]

ENTRIES_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class MatrixCheck:
    """What a check of a matrix found.

    Attributes
    ----------
    check : FunctionCheck
    entries : MeasuredEntries or None
        Every entry, with "every".
    bars : ndarray of float64, shape (rows,)
        The largest bar of each row.
    """

    check: FunctionCheck
    entries: MeasuredEntries | None
    bars: Vector


@dataclass(slots=True, eq=False)
class _Wrong:
    """Entries that tangents led to, of the whole matrix."""

    row: int
    column: int
    failure: Failure


def check_matrix(function: VectorFunction, matrix: GivenMatrix, options: Options) -> MatrixCheck:
    """Compare a matrix with differences of f."""
    function.domain = domain_of(function.point, options.bounds, options.scale)
    function.chosen = chosen_entries(options.entries, function.point, options.seed)
    groups = groups_of(function, matrix)
    method, notes = chosen_method(function, options, _expected(function, matrix, len(groups)))
    if function.chosen is not None:
        notes.append(function.chosen.note)
    if method == "every":
        if matrix.form == "operator":
            matrix = matrix.as_dense()
        found = measure_entries_of(function, matrix, groups, options)
        if matrix.form == "sparse" or any(len(group.places) > 1 for group in groups):
            notes.append(f"{matrix.shape[1]} columns in {len(groups)} groups that share no row")
        result = _every(function, matrix, found, options, notes)
    else:
        result = _probed(function, matrix, options, notes)
    check = result.check
    others = [bare_row(matrix.name, (), 0, "failed", reason) for reason in matrix.findings]
    others += [bare_row(function.called, (), 0, "failed", reason) for reason in function.findings]
    named = _entries_named(function, matrix, check)
    check = replace(
        check, others=(*check.others, *others), notes=(*check.notes, *named), method=method,
        evaluations=function.evaluations,
    )  # fmt: skip
    return replace(result, check=check)


def _expected(function: VectorFunction, matrix: GivenMatrix, groups: int) -> dict[str, float]:
    """Return how many evaluations each method takes, about."""
    each, leaves = evaluations_per_tangent(function.unit), len(function.point.base)
    probe = DIRECTIONS * each * leaves
    every = each * groups
    if matrix.form == "sparse":
        every += probe
    else:
        with function.account.until_stopped():
            every = sum(expected_evaluations(function, leaf, each) for leaf in range(leaves))
    return {"every": every, "probe": probe}


def _every(
    function: VectorFunction,
    matrix: GivenMatrix,
    found: MeasuredEntries,
    options: Options,
    notes: list[str],
) -> MatrixCheck:
    missed: list[_Wrong] = []
    searched: list[Found] = []
    if matrix.form == "sparse":
        predict = _corrected(matrix, found)
        searched, missed = _searched(function, matrix, predict, options)
        notes.append(_probing_note(options, "entries that the pattern misses"))
    if found.unresolved.any():
        notes.append(
            f"{np.count_nonzero(found.unresolved)} entries could not be judged: they share their "
            f"row with entries that the pattern misses"
        )
    rows, failures = [], []
    finished = all(one.finished for one in searched)
    for block in matrix.blocks:
        row, wrong = _judged_block(function, matrix, block, found)
        mine = [one for one in missed if block.holds(one.row, one.column)]
        row, wrong = _with_missed(row, wrong, mine, matrix, block)
        if row.verdict != "failed" and _unexplained(block, searched):
            reason = (
                "along a random tangent entries that the pattern misses are seen; none is found"
            )
            row = replace(row, verdict="failed", reason=reason, wrong=1)
        if row.verdict != "failed" and not finished:
            reason = f"not judged: {function.why_stopped}"
            row = replace(row, verdict="inconclusive", reason=reason, detectable=np.inf)
        rows.append(row)
        failures.append(wrong)
    bars = np.zeros(matrix.shape[0])
    finite = np.where(np.isfinite(found.error_bar), found.error_bar + found.hull, 0.0)
    np.maximum.at(bars, found.rows, finite)
    at_least = any(one.unexplained.any() for one in searched) or bool(function.why_stopped)
    check = FunctionCheck(
        rows=tuple(rows), failures=tuple(failures), notes=tuple(notes), at_least=at_least
    )
    return MatrixCheck(check, found, bars)


def _judged_block(
    function: VectorFunction, matrix: GivenMatrix, block: Block, found: MeasuredEntries
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    inside = block.holds(found.rows, found.columns)
    if function.chosen is not None:
        inside &= function.chosen_numbers[found.columns]
    which = np.flatnonzero(inside)
    numerical = Numerical(
        block.name, (which.size,), found.slope[which], found.error_bar[which], found.hull[which],
        kink=found.kink[which],
        inside=(block.shape, block.places(found.rows[which], found.columns[which])),
    )  # fmt: skip
    if which.size == 0:
        reason = "holds no entries" if matrix.form == "sparse" else "has no entries"
        reason = reason if function.chosen is None else NOT_CHOSEN
        return bare_row(block.name, block.shape, 0, "untested", reason), ()
    dtype = precision_of(function, matrix)
    row, failures = judged_row(found.given[which], numerical, dtype, found.tolerance)

    def placed(failure: Failure) -> Failure:
        entry = which[failure.index[0]]
        index = block.index(int(found.rows[entry]), int(found.columns[entry]))
        return replace(failure, index=index)

    worst = None if row.worst is None else placed(row.worst)
    row = replace(
        row, shape=block.shape, worst=worst, kinks=int(np.count_nonzero(found.kink[which]))
    )
    missing = np.count_nonzero(~np.isfinite(found.measured_bar[which]))
    if row.verdict == "inconclusive" and missing and function.why_stopped:
        reason = f"not judged: {missing:,} of {which.size:,} entries, {function.why_stopped}"
        row = replace(row, reason=reason)
    elif row.verdict == "inconclusive" and missing:
        unknown = ~np.isfinite(found.measured_bar[which])

        def name_of(place: int) -> str:
            entry = which[place]
            index = block.index(int(found.rows[entry]), int(found.columns[entry]))
            return f"{block.name}[{', '.join(map(str, index))}]"

        row = replace(
            row,
            reason=f"{missing} of {which.size} entries without a finite derivative: f is not "
            f"finite beside the point, or its noise is not: {first_named(unknown, name_of)}",
        )
    elif row.verdict == "inconclusive" and found.unresolved[which].any():
        row = replace(row, reason="entries share their row with some that the pattern misses")
    return row, tuple(placed(failure) for failure in failures)


def _with_missed(
    row: ArrayReport,
    failures: tuple[Failure, ...],
    missed: list[_Wrong],
    matrix: GivenMatrix,
    block: Block,
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    """Add the entries that a sparse pattern misses to the row of its block."""
    outside = [
        replace(one.failure, array=block.name, index=block.index(one.row, one.column))
        for one in missed
        if not _is_stored(matrix, one.row, one.column)
    ]
    if not outside:
        return row, failures
    counted = "1 entry" if len(outside) == 1 else f"{len(outside)} entries"
    reason = f"the sparsity pattern misses {counted}"
    if row.verdict == "failed":
        reason = f"{row.reason}; {reason}"
    failures = tuple(worst_first([*failures, *outside]))
    row = replace(
        row, wrong=row.wrong + len(outside), entries=row.entries + len(outside),
        verdict="failed", reason=reason, worst=failures[0],
    )  # fmt: skip
    return row, failures


def _is_stored(matrix: GivenMatrix, row: int, column: int) -> bool:
    return matrix.form == "sparse" and row in matrix.entries_of(column)[0]


def _corrected(
    matrix: GivenMatrix, found: MeasuredEntries
) -> Callable[[Vector], tuple[Vector, Vector]]:
    """Return what a sparse matrix says along a tangent, its wrong entries put right."""
    wrong, _ = found.excess()
    right, allowed = matrix.matrix.copy(), matrix.matrix.astype(np.float64)
    right.data = np.where(wrong, found.slope, found.given).astype(np.float64)
    bars = found.measured_bar + found.cancelling
    allowed.data = allowed_difference(found.slope, bars, found.tolerance, found.hull)
    missed = found.tolerance.atol  # what entries may be that the pattern misses

    def predict(tangent: Vector) -> tuple[Vector, Vector]:
        moved = np.abs(tangent)
        with np.errstate(all="ignore"):
            return right @ tangent, allowed @ moved + missed * float(np.sum(moved))

    return predict


def _as_given(
    function: VectorFunction, matrix: GivenMatrix, options: Options
) -> Callable[[Vector], tuple[Vector, Vector]]:
    """Return what a matrix says along a tangent, and what rounding or the user allow."""
    precision = precision_of(function, matrix)
    single = precision == np.float32
    tolerance = options.tolerance or Tolerance(agreement_of_sums(single), underflow(precision))
    tolerance = tolerance.with_noise(matrix.noise)

    def predict(tangent: Vector) -> tuple[Vector, Vector]:
        # Beside an entry that is not finite nothing is allowed: it is wrong.
        allowed = np.nan_to_num(tolerance.rtol * matrix.sizes_times(tangent), posinf=0.0)
        return matrix.times(tangent), allowed + tolerance.atol * float(np.sum(np.abs(tangent)))

    return predict


def _searched(
    function: VectorFunction,
    matrix: GivenMatrix,
    predict: Callable[[Vector], tuple[Vector, Vector]],
    options: Options,
) -> tuple[list[Found], list[_Wrong]]:
    """Search every leaf along random tangents; return what was found, and the wrong entries."""
    rng = np.random.default_rng(options.seed)
    searched, wrong = [], []
    leaves = leaf_columns(function)
    for leaf, columns in enumerate(leaves):
        found = search_leaf(function, leaf, _of_leaf(predict, matrix, columns), rng, options.most)
        searched.append(found)
        for place, lines in {**found.columns, **found.alone}.items():
            wrong += _wrong_of_column(
                function, matrix, columns.start + place, found, lines, options
            )
    return searched, wrong


def _of_leaf(
    predict: Callable[[Vector], tuple[Vector, Vector]], matrix: GivenMatrix, columns: range
) -> Callable[[Vector], tuple[Vector, Vector]]:
    def of_leaf(tangent: Vector) -> tuple[Vector, Vector]:
        whole = np.zeros(matrix.shape[1])
        whole[columns.start : columns.stop] = tangent
        return predict(whole)

    return of_leaf


def _wrong_of_column(
    function: VectorFunction,
    matrix: GivenMatrix,
    column: int,
    found: Found,
    lines: Lines,
    options: Options,
) -> list[_Wrong]:
    given = matrix.column(column)
    dtype = precision_of(function, matrix)
    tolerance, share = matrix_tolerance(options, given, dtype, matrix.noise)
    bars = lines.error_bar.copy()
    with np.errstate(invalid="ignore"):
        bars += share * np.fmax(np.abs(lines.slope), np.abs(found.slope))
    wrong = wrong_entries(given, lines.slope, bars, tolerance, hull=lines.hull)
    return [
        _Wrong(
            row, column,
            failure_of(
                matrix.name, matrix.shape,
                Entry(
                    row * matrix.shape[1] + column, float(given[row]), float(lines.slope[row]),
                    float(bars[row]), float(lines.hull[row]),
                ),
                tolerance,
            ),
        )
        for row in np.flatnonzero(wrong).tolist()
    ]  # fmt: skip


def _probed(
    function: VectorFunction, matrix: GivenMatrix, options: Options, notes: list[str]
) -> MatrixCheck:
    searched, wrong = _searched(function, matrix, _as_given(function, matrix, options), options)
    notes.append(_probing_note(options, "errors"))
    rows, failures = [], []
    for block in matrix.blocks:
        mine = worst_first(
            replace(one.failure, array=block.name, index=block.index(one.row, one.column))
            for one in wrong
            if block.holds(one.row, one.column)
        )
        rows.append(_probed_row(function, block, searched, mine))
        failures.append(tuple(mine))
    bars = np.zeros(matrix.shape[0])
    for found in searched:
        bars = np.fmax(bars, np.where(np.isfinite(found.allowed), found.allowed, 0.0))
    at_least = any(found.unexplained.any() for found in searched) or bool(function.why_stopped)
    check = FunctionCheck(
        rows=tuple(rows), failures=tuple(failures), notes=tuple(notes), at_least=at_least
    )
    return MatrixCheck(check, None, bars)


def _probed_row(
    function: VectorFunction, block: Block, searched: list[Found], wrong: list[Failure]
) -> ArrayReport:
    entries = int(np.prod(block.shape, dtype=np.int64))
    if entries == 0:
        return bare_row(block.name, block.shape, 0, "untested", "has no entries")
    if function.chosen is not None:
        columns = function.chosen_numbers[block.columns]
        entries = int(np.count_nonzero(columns)) * (block.rows.stop - block.rows.start)
        if entries == 0:
            return bare_row(block.name, block.shape, 0, "untested", NOT_CHOSEN)
    leaves = [
        found for found, columns in zip(searched, leaf_columns(function), strict=True)
        if columns.start < block.columns.stop and columns.stop > block.columns.start
    ]  # fmt: skip
    verdict, reason = _probe_verdict(block, leaves, len(wrong), entries)
    if verdict != "failed" and not all(found.finished for found in leaves):
        row = bare_row(block.name, block.shape, entries, "inconclusive", "")
        return replace(row, reason=f"not judged: {function.why_stopped}", detectable=np.inf)
    allowed = max(
        float(np.max(bars[block.rows], initial=0.0) / smallest)
        for found in leaves
        for bars, smallest in (
            (found.allowed, found.smallest),
            *((lines.error_bar + lines.hull, 1.0) for lines in found.alone.values()),
        )
    )
    return replace(
        bare_row(block.name, block.shape, entries, verdict, reason),
        wrong=max(len(wrong), verdict == "failed"),
        zero=entries if verdict == "untested" else 0,
        worst=wrong[0] if wrong else None,
        detectable=2 * allowed,
    )


def _probe_verdict(
    block: Block, searched: list[Found], wrong: int, entries: int
) -> tuple[Any, str]:
    unexplained = _unexplained(block, searched)
    if wrong:
        verb = "is" if wrong == 1 else "are"
        at_least = "at least " if unexplained else ""
        return "failed", f"{at_least}{wrong} of {entries} entries {verb} wrong"
    if unexplained:
        return "failed", "along a random tangent its product is wrong; no single entry stands out"
    if any(found.unknown[block.rows].any() for found in searched):
        return "inconclusive", "f is not finite beside the point, or its noise is not"
    rough, nothing = True, True
    for found in searched:
        # Where the derivative itself is within the bars, twice it or its opposite is, too: either
        # would have been measured anew, with twice the noise.
        slope = np.abs(found.slope[block.rows])
        rough &= bool(np.all(slope <= found.allowed[block.rows]))
        for lines in found.alone.values():
            bars = (lines.error_bar + lines.hull)[block.rows]
            rough &= bool(np.all(np.abs(lines.slope[block.rows]) <= bars))
        nothing &= not (found.given[block.rows].any() or found.alone)
    if rough:
        return (
            ("untested", "zero on both sides along every tangent")
            if nothing
            else ("inconclusive", TOO_ROUGH)
        )
    return "passed", ""


def _unexplained(block: Block, searched: list[Found]) -> bool:
    return any(bool(found.unexplained[block.rows].any()) for found in searched)


def _probing_note(options: Options, what: str) -> str:
    return f"{what} were looked for along random tangents, seed {options.seed}"


def _entries_named(
    function: VectorFunction, matrix: GivenMatrix, check: FunctionCheck
) -> list[str]:
    """Say which output by which entry the worst wrong entries of flattened arrays are."""
    by_name = {block.name: block for block in matrix.blocks}
    columns = leaf_columns(function)
    notes = []
    for failure in worst_first(one for some in check.failures for one in some)[:ENTRIES_NAMED]:
        block = by_name[failure.array]
        if not block.is_flattened:
            continue
        row, column = block.rows.start + failure.index[0], block.columns.start + failure.index[1]
        leaf = next(leaf for leaf, own in enumerate(columns) if column in own)
        output = output_name(function, row)
        entry = function.point.entry_name(leaf, column - columns[leaf].start)
        notes.append(f"{failure.where} is {output} by {entry}")
    return notes
