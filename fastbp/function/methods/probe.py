"""Checking a gradient along random directions of each array, down to the wrong entries."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.methods.bisection import locate_wrong_entries
from fastbp.function.methods.options import function_tolerance
from fastbp.function.methods.unjudged import (
    NOT_CHOSEN,
    ZERO_WITHIN_ROUNDING,
    is_zero_within_rounding,
)
from fastbp.report import ArrayReport, Failure
from fastbp.report.digits import told_apart
from fastbp.runtime.progress import progress_bar
from fastbp.typing import Vector
from fastbp.verdict.agreement import Agreement
from fastbp.verdict.diagnosis.diagnose_arrays import diagnose_rows
from fastbp.verdict.rows import bare_row, failure_of, unusable_reason, worst_first
from fastbp.verdict.summary import Entry, Unexplained, summarise
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.containers.given_gradient import GivenLeaves
    from fastbp.function.evaluation import Function
    from fastbp.function.methods.bisection import Located
    from fastbp.function.methods.options import Options
    from fastbp.report.causes import Finding


__all__ = ["check_by_probing"]

TOO_ROUGH = "the noise of the differences is larger than every derivative"
DIRECTIONS = 3
# Errors of single entries have random signs, so that along a direction they add like noise.
DIRECTION_SIGMAS = 4.0


def check_by_probing(
    function: Function, given: GivenLeaves, options: Options
) -> tuple[list[ArrayReport], list[tuple[Failure, ...]], list[str], bool, list[Finding]]:
    """Compare along random directions of each array, and find the entries that are wrong."""
    rows: list[ArrayReport] = []
    failures: list[tuple[Failure, ...]] = []
    at_least = False
    rng = np.random.default_rng(options.seed)
    with progress_bar(options.progress, len(given.arrays), "directions") as advance:
        for leaf in range(len(given.arrays)):
            row, wrong, complete = _probed_row(function, leaf, given, options, rng)
            rows.append(row)
            failures.append(wrong)
            at_least |= not complete
            advance(1)
    largest = max((row.detectable for row in rows if row.entries), default=0.0)
    notes = [
        f"{DIRECTIONS} random directions of each array, seed {options.seed}: a single error below "
        f"{largest:.2g} may be missed, and errors that cancel along all of them"
    ]
    return rows, failures, notes, at_least, diagnose_rows(rows, given.arrays)


def _probed_row(
    function: Function,
    leaf: int,
    given: GivenLeaves,
    options: Options,
    rng: np.random.Generator,
) -> tuple[ArrayReport, tuple[Failure, ...], bool]:
    """Return the row of one array, its wrong entries, and whether these are all."""
    name, shape = function.point.row_names[leaf], function.point.row_shapes[leaf]
    size, array = function.point.base[leaf].size, given.arrays[leaf]
    reason = "is not given" if array is None else unusable_reason(array, shape)
    if array is None or reason:
        return bare_row(name, shape, size, "failed", reason), (), True
    if size == 0:
        return bare_row(name, shape, 0, "untested", "has no entries"), (), True
    chosen = None if function.chosen is None else function.chosen.masks[leaf]
    if chosen is not None and not chosen.any():
        return bare_row(name, shape, 0, "untested", NOT_CHOSEN), (), True
    if not np.isfinite(function.value):
        reason = f"f is {function.value} at the point"
        return bare_row(name, shape, size, "inconclusive", reason), (), True
    flat = array.reshape(-1).astype(np.float64)
    if chosen is not None:
        flat[~chosen] = 0.0  # along every direction
    if not np.isfinite(flat).all():
        return _not_finite_row(name, shape, flat)
    tolerance = function_tolerance(
        options, array, given.dtype, flat, given.noise.get(leaf, 0.0), function.point.base[leaf]
    )
    located = locate_wrong_entries(
        function,
        leaf,
        flat,
        tolerance,
        _allowance(flat, tolerance, systematic=options.tolerance is not None),
        rng,
        DIRECTIONS,
        options.most,
    )
    wrong = _located_failures(name, shape, flat, located, tolerance)
    complete = located.complete and len(wrong) < options.most
    row = _located_row(name, shape, flat, located, wrong, complete)
    if chosen is not None:
        count = int(np.count_nonzero(chosen))
        row = replace(row, entries=count, zero=min(row.zero, count))
    if row.reason == TOO_ROUGH and is_zero_within_rounding(array, given.largest):
        row = replace(row, verdict="untested", reason=ZERO_WITHIN_ROUNDING)
    return row, wrong, complete


def _allowance(
    given: Vector, tolerance: Tolerance, *, systematic: bool
) -> Callable[[NDArray[np.floating], slice], float]:
    """Return by how much the sum along a direction may be off, if each entry may.

    Rounding errors add like noise; what the user allows may have one sign everywhere.
    """

    def allowance(direction: NDArray[np.floating], part: slice) -> float:
        single = np.abs(direction[part]) * (tolerance.atol + tolerance.rtol * np.abs(given[part]))
        if systematic:
            return float(np.sum(single))
        return DIRECTION_SIGMAS * float(np.sqrt(np.sum(single**2)))

    return allowance


def _not_finite_row(
    name: str, shape: tuple[int, ...], given: Vector
) -> tuple[ArrayReport, tuple[Failure, ...], bool]:
    places = np.flatnonzero(~np.isfinite(given))
    entries = [
        Entry(place, float(given[place]), np.nan, np.inf, 0.0) for place in places[:10].tolist()
    ]
    nothing = Tolerance(0.0, 0.0)
    wrong = tuple(
        replace(failure_of(name, shape, entry, nothing), allowed=np.inf) for entry in entries
    )
    reason = f"{places.size} of {given.size} entries are not finite"
    row = bare_row(name, shape, given.size, "failed", reason)
    return replace(row, wrong=places.size, worst=wrong[0]), wrong, False


def _located_failures(
    name: str, shape: tuple[int, ...], given: Vector, located: Located, tolerance: Tolerance
) -> tuple[Failure, ...]:
    found = sorted(zip(located.indices, located.lines, strict=True), key=itemgetter(0))
    entries = [
        Entry(place, float(given[place]), *(
            float(part[0]) for part in (line.slope, line.error_bar, line.hull)
        ))
        for place, line in found
    ]  # fmt: skip
    return tuple(worst_first(failure_of(name, shape, entry, tolerance) for entry in entries))


def _located_row(
    name: str,
    shape: tuple[int, ...],
    given: Vector,
    located: Located,
    wrong: tuple[Failure, ...],
    complete: bool,
) -> ArrayReport:
    verdict, reason = _probe_verdict(given, located, len(wrong), complete)
    factor, residual = _common_factor(located)
    row = bare_row(name, shape, given.size, verdict, reason)
    return replace(
        row,
        # Along a direction that disagrees some entry is wrong, even if none stands out.
        wrong=max(len(wrong), verdict == "failed"),
        zero=given.size if verdict == "untested" else 0,
        worst=wrong[0] if wrong else None,
        factor=factor if verdict == "failed" else None,
        residual=residual if verdict == "failed" else None,
        detectable=located.detectable,
    )


def _probe_verdict(given: Vector, located: Located, wrong: int, complete: bool) -> tuple[Any, str]:
    slopes, said = np.array(located.slopes), np.array(located.given)
    allowed = np.array(located.allowed)
    if wrong:
        at_least = "" if complete else "at least "
        verb = "is" if wrong == 1 else "are"
        entries = "entry" if given.size == 1 else "entries"
        reason = f"{at_least}{wrong} of {given.size} {entries} {verb} wrong"
        near = _agreement(given, located).sentence(wrong) if complete else ""
        return "failed", f"{reason}; {near}" if near else reason
    if not located.complete:
        worst = int(np.argmax(np.abs(said - slopes) / allowed))
        numerical, other = told_apart(float(slopes[worst]), float(said[worst]), 6)
        return "failed", (
            f"along a random direction the derivative is {numerical} and not "
            f"{other}; no single entry stands out"
        )
    if located.undecided:
        return "inconclusive", (
            "entries are on kinks: along a random direction what lies between is not known"
        )
    if not np.isfinite(allowed).all():
        return "inconclusive", "f is not finite beside the point, or its noise is not"
    if not given.any() and np.all(np.abs(slopes) <= allowed):
        return "untested", "zero on both sides along every direction"
    if np.all(np.maximum(np.abs(slopes), np.abs(said)) <= allowed):
        return "inconclusive", TOO_ROUGH
    return "passed", ""


def _agreement(given: Vector, located: Located) -> Agreement:
    """Return how far the entries that are wrong agree."""
    agreement = Agreement()
    for entry, line in zip(located.indices, located.lines, strict=True):
        agreement.add(given[entry : entry + 1], line.slope, line.error_bar, line.hull)
    return agreement


def _common_factor(located: Located) -> tuple[float | None, float | None]:
    """Return k where the given gradient is k times the numerical one along every direction."""
    slopes, said = np.array(located.slopes), np.array(located.given)
    factor = summarise(said, slopes, 0.0, Tolerance(0.0, 0.0)).factor
    unexplained = Unexplained(factor)
    unexplained.add(said, slopes)
    return factor, unexplained.residual
