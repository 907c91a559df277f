"""Checking the Jacobian-vector product of a function with array results.

It is a directional derivative: along each tangent every output is compared on its own, so that no
tolerance grows with the number of outputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.array_function import VectorFunction, output_name
from fastbp.function.checks.matrices.measured_entries import (
    columns_to_judge_alone,
    measure_inward,
    tangent_sizes,
)
from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.function.containers.alignment import aligned
from fastbp.function.containers.calls import Watched
from fastbp.function.containers.chosen_entries import chosen_entries
from fastbp.function.containers.point import DOUBLE_UNIT, SINGLE_UNIT
from fastbp.function.containers.pytree import take_apart
from fastbp.function.derivatives.entry_slopes import typical
from fastbp.function.derivatives.output_slopes import measure_outputs
from fastbp.function.derivatives.second_slopes import INDEPENDENT
from fastbp.function.domain import domain_of
from fastbp.function.methods.directions import random_components
from fastbp.function.methods.forecast import chosen_method, evaluations_per_tangent
from fastbp.function.methods.options import Options, function_tolerance
from fastbp.function.methods.search.bisection import bisect, halved
from fastbp.function.methods.unjudged import CONSTANT, LOW_STEP, first_named, why_missing
from fastbp.function.real_outputs import real_leaf
from fastbp.runtime.user_code import (
    NOISE_IS_AN_OPTION,
    called_twice,
    calling,
    noise_of_calls,
)
from fastbp.typing import Indices, Mask, Vector
from fastbp.verdict.arrays import TOO_ROUGH
from fastbp.verdict.entries import wrong_entries
from fastbp.verdict.rows import FAILURES_IN_ALL, Numerical, bare_row, judged_row, worst_first
from fastbp.verdict.tolerance import Tolerance, agreement_of_sums, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from fastbp.function.derivatives.lines import Lines
    from fastbp.report import ArrayReport, Failure


__all__ = ["check_tangents"]

ENTRIES_NAMED = 3
# A jvp is asked along so many times a tangent, or the opposite, so that something is negative: one
# that squares its tangent, takes its size or forgets it agrees along unit tangents. This is exact.
ASKED = -2.0
WORST_FIRST = ("failed", "inconclusive", "passed", "untested")


def check_tangents(
    function: VectorFunction,
    jvp: Callable[..., Any],
    options: Options,
    rng: np.random.Generator,
    called: str = "jvp",
) -> FunctionCheck:
    """Compare a jvp along tangents: of every entry, or one at random for each leaf.

    `called` is what it is called in messages.
    """
    function.domain = domain_of(function.point, options.bounds, options.scale)
    function.chosen = chosen_entries(options.entries, function.point, options.seed)
    masks = [function.mask(leaf) for leaf in range(len(function.point.base))]
    findings = _jvp_findings(function, jvp, options.noise, called)
    method, notes = _planned(function, masks, options)
    rows: list[ArrayReport] = []
    failures: list[tuple[Failure, ...]] = []
    others: list[ArrayReport] = []
    left = 0
    for leaf, mask in enumerate(masks):
        if not mask.any():
            continue
        if method == "every":
            found = _columns(function, jvp, options, leaf, mask)
            left += int(np.count_nonzero(mask)) - len(found)
            merged, wrong = _merged_columns(function, leaf, found, np.flatnonzero(mask))
        else:
            tangent = random_components(rng, mask.size) * tangent_sizes(function, leaf)
            merged, wrong, more = _probed(function, jvp, options, leaf, tangent)
            left += not more
            notes += more
        rows += merged
        failures += wrong
    if left:
        tangents = "tangent" if left == 1 else "tangents"
        notes.append(f"{left:,} {tangents} not judged: {function.why_stopped}")
    others += [bare_row(function.called, (), 0, "failed", finding) for finding in function.findings]
    others += [bare_row(called, (), 0, "failed", finding) for finding in findings]
    return FunctionCheck(
        rows=tuple(rows),
        others=tuple(others),
        failures=tuple(failures),
        method=method,
        evaluations=function.evaluations,
        notes=(
            *function.point.container.notes,
            *([] if function.chosen is None else [function.chosen.note]),
            *notes,
        ),
        at_least=left > 0,
    )


def _planned(
    function: VectorFunction, masks: list[Mask], options: Options
) -> tuple[str, list[str]]:
    """Choose the method, and say on the account what it will take."""
    each = evaluations_per_tangent(function.unit)
    expected = {
        "every": each * sum(int(np.count_nonzero(mask)) for mask in masks),
        "probe": each * sum(bool(mask.any()) for mask in masks),
    }
    return chosen_method(function, options, expected)


def _columns(
    function: VectorFunction, jvp: Callable[..., Any], options: Options, leaf: int, mask: Mask
) -> list[list[tuple[ArrayReport, tuple[Failure, ...]]]]:
    """Compare along every chosen entry of a leaf, one after the other until the account closes."""
    found: list[list[tuple[ArrayReport, tuple[Failure, ...]]]] = []
    largest = np.zeros(function.value.size)
    with function.account.until_stopped():
        for tangent in _unit_tangents(mask):
            lines = measure_outputs(function, leaf, tangent)
            found.append(_tangent_rows(function, jvp, options, leaf, tangent, lines))
            largest = np.fmax(largest, np.where(np.isfinite(lines.slope), np.abs(lines.slope), 0.0))
    largest_of = [float(np.max(largest[part], initial=0.0)) for part in function.output_parts()]
    return [
        [
            (_passed_beside(row, size), wrong)
            for (row, wrong), size in zip(column, largest_of, strict=True)
        ]
        for column in found
    ]


def _passed_beside(row: ArrayReport, largest: float) -> ArrayReport:
    """Let a column whose derivatives are within their bars pass if others are larger than these."""
    if row.verdict == "inconclusive" and row.reason == TOO_ROUGH and row.detectable < largest:
        return replace(row, verdict="passed", reason="")
    return row


def _unit_tangents(chosen: Mask) -> Any:
    for entry in np.flatnonzero(chosen):
        tangent = np.zeros(chosen.size)
        tangent[entry] = 1.0
        yield tangent


def _tangent_rows(
    function: VectorFunction,
    jvp: Callable[..., Any],
    options: Options,
    leaf: int,
    tangent: Vector,
    lines: Lines,
) -> list[tuple[ArrayReport, tuple[Failure, ...]]]:
    """Compare one call of a jvp with what was measured along its tangent, a row for each output."""
    given = _asked(function, jvp, leaf, tangent)
    rows: list[tuple[ArrayReport, tuple[Failure, ...]]] = []
    by = function.point.container.names[leaf]
    for place, part in enumerate(function.output_parts()):
        name = f"{function.output.names[place]} by {by}"
        shape = function.output.shapes[place]
        array = given[place]
        if array is None or array.shape != shape:
            reason = (
                "is not given" if array is None else (f"must have shape {shape}, not {array.shape}")
            )
            size = part.stop - part.start
            rows.append((bare_row(name, shape, size, "failed", reason), ()))
            continue
        if function.complex_output[place]:
            if array.dtype.kind != "c":
                array = array.astype(np.complex128)
            array, shape = np.stack([array.real, array.imag], axis=-1), (*shape, 2)
        rows.append(
            _judged_outputs(function, options, leaf, tangent, lines, part, name, shape, array)
        )
    return rows


def _asked(
    function: VectorFunction, jvp: Callable[..., Any], leaf: int, tangent: Vector
) -> list[NDArray[Any] | None]:
    """Return what a jvp gives along a tangent, an array for each output."""
    times = ASKED if np.any(tangent > 0) else -ASKED
    products = function.given_jvp(jvp, leaf, times * tangent)
    return [
        product if product is None or product.dtype.kind not in "fc"
        else np.asarray(product / product.dtype.type(times))
        for product in products
    ]  # fmt: skip


def _judged_outputs(
    function: VectorFunction,
    options: Options,
    leaf: int,
    tangent: Vector,
    lines: Lines,
    part: slice,
    name: str,
    shape: tuple[int, ...],
    array: NDArray[Any],
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    single = np.dtype(np.float32 if function.single_products else np.float64)
    mine = lines.only(part)
    tolerance = function_tolerance(options, array, single, mine.slope, function.product_noise)
    if array.dtype.kind == "f":
        flat = array.reshape(-1)
        wrong = wrong_entries(flat, mine.slope, mine.error_bar, tolerance, hull=mine.hull)
        if (wrong & np.isfinite(flat)).any():
            again = measure_outputs(function, leaf, tangent, INDEPENDENT)
            mine = _corrected(mine, again.only(part))
            wrong = wrong_entries(flat, mine.slope, mine.error_bar, tolerance, hull=mine.hull)
            zeros = wrong & (flat == 0)
            if zeros.any():
                constant = _constant_beside(function, leaf, tangent, part, mine)
                mine = mine.or_zero(zeros & constant)
    numerical = Numerical(name, shape, mine.slope, mine.error_bar, mine.hull, kink=mine.kink)
    row, failures = judged_row(array, numerical, single, tolerance)
    if row.verdict == "inconclusive" and not np.isfinite(mine.error_bar).all():
        row = replace(row, reason=_why_unjudged(function, leaf, tangent, mine, part))
    return replace(row, kinks=int(np.count_nonzero(mine.kink))), failures


def _why_unjudged(
    function: VectorFunction, leaf: int, tangent: Vector, lines: Lines, part: slice
) -> str:
    """Say which outputs have no derivative along a tangent, and that the others agree."""

    def named(which: Mask) -> str:
        return first_named(which, lambda place: output_name(function, part.start + place))

    unknown = ~np.isfinite(function.value[part])
    if unknown.any():
        said = f"{named(unknown)} {'is' if unknown.sum() == 1 else 'are'} not finite at the point"
    else:
        missing = ~np.isfinite(lines.error_bar) & (lines.divergence == 0)
        said = why_missing(lines, named) + (f": {named(missing)}" if missing.any() else "")
    moving = np.flatnonzero(tangent)
    by = f", by {function.point.entry_name(leaf, int(moving[0]))}" if moving.size == 1 else ""
    judged = int(np.count_nonzero(np.isfinite(lines.error_bar)))
    others = f"; the other {judged:,} {'agrees' if judged == 1 else 'agree'}" if judged else ""
    return said + by + others


def _constant_beside(
    function: VectorFunction, leaf: int, tangent: Vector, part: slice, lines: Lines
) -> NDArray[np.bool_]:
    """Tell which outputs are constant beside the point, and take steps farther away.

    As `reaching_between_steps` does for the entries of an argument.
    """
    base = function.point.base[leaf]
    moved = base[tangent != 0]
    size = typical(moved) if moved.any() else typical(base)
    steps = size * np.concatenate([-CONSTANT, CONSTANT])
    found = function.along(leaf, tangent.astype(base.dtype), steps.tolist())
    value = function.value[part]
    same = np.array([outputs[part] == value for outputs in found])
    constant = same.reshape(2, len(CONSTANT), -1).all(axis=1).any(axis=0)
    with np.errstate(invalid="ignore"):
        high = lines.noise * np.sqrt(12.0) > LOW_STEP * np.abs(value)
    found_constant: NDArray[np.bool_] = constant & high
    return found_constant


def _corrected(first: Lines, second: Lines) -> Lines:
    """Widen the bars where two measurements contradict each other."""
    apart = np.abs(first.slope - second.slope)
    allowed = first.error_bar + first.hull + second.error_bar + second.hull
    first.error_bar[:] += np.where(apart > allowed, apart, 0.0)
    return first


def _merged_columns(
    function: VectorFunction,
    leaf: int,
    columns: list[list[tuple[ArrayReport, tuple[Failure, ...]]]],
    entries: Indices,
) -> tuple[list[ArrayReport], list[tuple[Failure, ...]]]:
    """Put the columns of a Jacobian together: a row for each output, its indices lengthened."""
    rows, failures = [], []
    shape = function.point.row_shapes[leaf]
    if not columns:
        unjudged = _unjudged_rows(function, leaf, shape, entries.size)
        return unjudged, [()] * len(unjudged)
    for place in range(len(function.output.names)):
        own = [column[place] for column in columns]
        worst = _worst_lengthened(
            shape, entries, ([row.worst] if row.worst is not None else [] for row, _ in own)
        )
        row = _summed([row for row, _ in own], shape, next(iter(worst), None))
        if len(columns) < entries.size:
            row = _cut_short(row, row.entries // len(columns) * entries.size, function.why_stopped)
        rows.append(row)
        ordered = _worst_lengthened(shape, entries, (wrong for _, wrong in own))
        failures.append(tuple(ordered[:FAILURES_IN_ALL]))
    return rows, failures


def _worst_lengthened(
    shape: tuple[int, ...], entries: Indices, columns: Iterable[Iterable[Failure]]
) -> list[Failure]:
    """Return the failures of all columns, the worst first, their indices lengthened."""
    lengthened = [
        _lengthened(failure, entry, shape)
        for entry, failures in zip(entries.tolist(), columns, strict=False)  # the first ones
        for failure in failures
    ]
    return worst_first(sorted(lengthened, key=lambda failure: failure.index))


def _lengthened(failure: Failure, entry: int, shape: tuple[int, ...]) -> Failure:
    index = tuple(int(i) for i in np.unravel_index(entry, shape))
    return replace(failure, index=(*failure.index, *index))


def _summed(
    columns: list[ArrayReport], shape: tuple[int, ...], worst: Failure | None
) -> ArrayReport:
    verdicts = {row.verdict for row in columns}
    verdict = next(known for known in WORST_FIRST if known in verdicts)
    entries = sum(row.entries for row in columns)
    wrong = sum(row.wrong for row in columns)
    # Of each column that could not be judged: outputs may be unknown by one entry alone.
    reasons = dict.fromkeys(row.reason for row in columns if row.verdict == verdict)
    reason = "; ".join(list(reasons)[: ENTRIES_NAMED if verdict == "inconclusive" else 1])
    if wrong and worst is not None:
        reason = f"{wrong} of {entries} entries of the Jacobian are wrong"
    return replace(
        columns[0],
        shape=(*columns[0].shape, *shape),
        entries=entries,
        wrong=wrong,
        zero=sum(row.zero for row in columns),
        kinks=sum(row.kinks for row in columns),
        worst=worst,
        factor=None,
        residual=None,
        detectable=max(row.detectable for row in columns),
        verdict=verdict,
        reason=reason,
    )


def _probed(
    function: VectorFunction, jvp: Callable[..., Any], options: Options, leaf: int, tangent: Vector
) -> tuple[list[ArrayReport], list[tuple[Failure, ...]], list[str]]:
    """Compare along a random tangent of one leaf, and find the entries that are wrong.

    Without a note where the account was closed before.
    """
    found: list[tuple[ArrayReport, tuple[Failure, ...]]] = []
    with function.account.until_stopped():
        tangent, lines = measure_inward(function, leaf, tangent)
        alone = columns_to_judge_alone(function, leaf, tangent, lines)
        if alone:
            tangent[alone] = 0.0
            tangent, lines = measure_inward(function, leaf, tangent)
        found = _tangent_rows(function, jvp, options, leaf, tangent, lines)
        for unit in _unit_tangents(_chosen(alone, tangent.size)):
            lines = measure_outputs(function, leaf, unit)
            others = _tangent_rows(function, jvp, options, leaf, unit, lines)
            found = [_of_both(*both) for both in zip(found, others, strict=True)]
    sizes = tangent_sizes(function, leaf)
    smallest = float(np.min(sizes, initial=1.0, where=sizes > 0))
    found = [(replace(row, detectable=row.detectable / smallest), wrong) for row, wrong in found]
    if not found:
        rows = _unjudged_rows(function, leaf, (), 1)
        return rows, [()] * len(rows), []
    notes = [f"one random tangent of {function.point.container.names[leaf]}, seed {options.seed}"]
    place = _worst_output(function, found)
    if place is not None:
        notes += _wrong_inputs(function, jvp, leaf, tangent, place)
    return [row for row, _ in found], [wrong for _, wrong in found], notes


def _chosen(places: list[int], size: int) -> Mask:
    chosen = np.zeros(size, dtype=bool)
    chosen[places] = True
    return chosen


def _of_both(
    first: tuple[ArrayReport, tuple[Failure, ...]], second: tuple[ArrayReport, tuple[Failure, ...]]
) -> tuple[ArrayReport, tuple[Failure, ...]]:
    """Return the row of the same outputs along two tangents: the one with the worse verdict."""
    both = sorted((first, second), key=lambda one: WORST_FIRST.index(one[0].verdict))
    (row, failures), (other, _) = both
    return replace(row, detectable=max(row.detectable, other.detectable)), failures


def _worst_output(
    function: VectorFunction, found: list[tuple[ArrayReport, tuple[Failure, ...]]]
) -> int | None:
    """Return which real number of the output is most wrong; None if all shapes are not right."""
    # Only with every output in its place does the place in the vector mean anything.
    if any(row.worst is None for row, _ in found):
        return None
    places = {
        row.name: (part.start, row.shape)
        for (row, _), part in zip(found, function.output_parts(), strict=True)
    }
    for worst in worst_first(failure for _, failures in found for failure in failures[:1])[:1]:
        start, shape = places[worst.array]
        return int(start + np.ravel_multi_index(worst.index, shape))
    return None


def _wrong_inputs(
    function: VectorFunction,
    jvp: Callable[..., Any],
    leaf: int,
    tangent: Vector,
    place: int,
) -> list[str]:
    """Bisect the tangent to the entries by which one output, a real number of it, is wrong."""
    named: list[str] = []
    output = slice(place, place + 1)

    def disagrees(entries: range) -> bool:
        if len(named) >= ENTRIES_NAMED:
            return False
        part = np.zeros_like(tangent)
        part[entries.start : entries.stop] = tangent[entries.start : entries.stop]
        line = measure_outputs(function, leaf, part, only=output)
        given = _number_of(function, _asked(function, jvp, leaf, part), place)
        share = agreement_of_sums(function.single_products)
        tolerance = Tolerance(share, function.product_noise)
        allowed = allowed_difference(line.slope, line.error_bar, tolerance, line.hull)
        return not abs(given - float(line.slope[0])) <= float(allowed[0])

    def examine(entry: int) -> None:
        where = function.point.entry_name(leaf, entry)
        named.append(f"{output_name(function, place)} is wrong by {where}")

    with function.account.until_stopped():
        bisect(range(tangent.size), halved, disagrees, examine)
    return named


def _number_of(function: VectorFunction, outputs: list[NDArray[Any] | None], place: int) -> float:
    """Return a real number of what a jvp gives; NaN where there is none."""
    for array, part, is_complex in zip(
        outputs, function.output_parts(), function.complex_output, strict=True
    ):
        if part.start <= place < part.stop and array is not None:
            numbers = real_leaf(array.astype(np.complex128) if is_complex else array)
            if numbers.size == part.stop - part.start:
                return float(numbers[place - part.start])
    return np.nan


def _unjudged_rows(
    function: VectorFunction, leaf: int, shape: tuple[int, ...], columns: int
) -> list[ArrayReport]:
    """Return rows of all outputs by a leaf along which nothing was measured."""
    rows = []
    by = function.point.container.names[leaf]
    for place, part in enumerate(function.output_parts()):
        own = function.output.shapes[place]
        own = (*own, 2) if function.complex_output[place] else own
        size = (part.stop - part.start) * columns
        name = f"{function.output.names[place]} by {by}"
        row = bare_row(name, (*own, *shape), size, "inconclusive", "")
        rows.append(_cut_short(row, size, function.why_stopped))
    return rows


def _cut_short(row: ArrayReport, entries: int, why: str) -> ArrayReport:
    """Return the row of outputs of which not every column was judged."""
    if row.verdict == "failed":
        return replace(row, entries=entries, reason=f"at least {row.reason}")
    reason = f"not judged: {why}"
    return replace(row, entries=entries, verdict="inconclusive", reason=reason, detectable=np.inf)


def _jvp_findings(
    function: VectorFunction, jvp: Callable[..., Any], noise: float, called: str
) -> list[str]:
    """Call a jvp twice, on copies, and say what it does that it should not."""
    leaf = next(i for i, numbers in enumerate(function.point.base) if numbers.size)
    tangent = random_components(np.random.default_rng(0), function.point.base[leaf].size)

    watched = Watched(jvp, "tangent")

    def call() -> tuple[list[str], list[Any], list[str]]:
        own = function.point.as_given()
        with calling(called):
            result = watched(own.argument, function.nested_tangent(leaf, tangent))
        aligned(result, function.output, called)  # raises what is wrong under that name
        parts = take_apart(result, called)
        return parts.names, parts.leaves, own.changed()

    unit = SINGLE_UNIT if function.single_products else DOUBLE_UNIT
    twice = called_twice(call, unit, noise)
    if noise and twice.apart:
        function.product_noise = max(noise_of_calls(call, twice.arrays))
    if twice.changed:
        return [f"{called} changed its argument: {', '.join(twice.changed)}"]
    if watched.changed:
        return [f"{called} changed its tangent: {', '.join(watched.changed)}"]
    ending = NOISE_IS_AN_OPTION if twice.apart else ""
    return [f"{called}, called twice, {twice.differing}{ending}"] if twice.differing else []
