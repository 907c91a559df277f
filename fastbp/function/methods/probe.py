"""Checking a gradient along random directions, down to the wrong arrays and entries."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.derivatives.lines import Lines
from fastbp.function.methods.options import function_tolerance
from fastbp.function.methods.search.joined_arrays import JoinedArrays
from fastbp.function.methods.search.wrong_arrays import screen_arrays
from fastbp.function.methods.search.wrong_entries import locate_wrong_entries
from fastbp.function.methods.unjudged import (
    NOT_CHOSEN,
    ZERO_WITHIN_ROUNDING,
    first_named,
    is_zero_within_rounding,
    why_missing,
)
from fastbp.report import ArrayReport, Failure
from fastbp.report.wording.digits import told_apart
from fastbp.typing import Mask, Vector
from fastbp.verdict.agreement import Agreement
from fastbp.verdict.blocks import norm
from fastbp.verdict.diagnosis.diagnose_arrays import diagnose_rows
from fastbp.verdict.rows import bare_row, failure_of, unusable_reason, worst_first
from fastbp.verdict.summary import Entry, Unexplained, summarise
from fastbp.verdict.tolerance import Tolerance, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.containers.given_gradient import GivenLeaves
    from fastbp.function.evaluation import Function
    from fastbp.function.methods.judged import Judged
    from fastbp.function.methods.options import Options
    from fastbp.function.methods.search.direction_slopes import Lead
    from fastbp.function.methods.search.located import Located
    from fastbp.function.methods.search.wrong_arrays import Screened


__all__ = ["probe_arrays"]

# A derivative along a direction says something where it is so many times its bar. Twice the
# derivative, or its opposite, is then apart from it by more than the bar, even where the bar, which
# is estimated from a few values, is half again as large as it was found to be. The probe of a
# Jacobian needs no such margin: where anything disagrees it measures anew with twice the noise, and
# compares the derivative with those bars.
RESOLVED = 1.5
TOO_ROUGH = "the noise of the differences is larger than every derivative"
DIRECTIONS = 3
# Errors of single entries have random signs, so that along a direction they add like noise.
DIRECTION_SIGMAS = 4.0
# An array is done along directions across many if an error of so much of its usual entry shows.
WELL_TESTED = 2.0**-8
# Groups of arrays that are looked at together, before what is known of them has to do.
MOST_GROUPS, FEW = 16, 2
# So many wrong arrays are found in one go.
MOST_WRONG_ARRAYS = 100


def probe_arrays(found: Judged, function: Function, given: GivenLeaves, options: Options) -> None:
    """Compare along random directions, and find the entries that are wrong.

    Along directions across all arrays first: what agrees there, and stands out enough to be judged
    there, is done. The other arrays are looked at in smaller groups, and at last one by one.
    """
    leaves = found.left(function)
    probes = _Probes(found, function, given, options)
    with function.account.until_stopped():  # what is left then has no rows
        probes.probe(tuple(leaf for leaf in leaves if not probes.is_settled(leaf)))
    probed = [leaf for leaf in leaves if leaf in found.rows]
    found.notes += probes.notes(probed)
    found.findings += diagnose_rows(
        [found.rows[leaf] for leaf in probed], [given.arrays[leaf] for leaf in probed]
    )


class _Probes:
    """What leads to the rows of all arrays."""

    def __init__(
        self, found: Judged, function: Function, given: GivenLeaves, options: Options
    ) -> None:
        self.found = found
        self.function, self.given, self.options = function, given, options
        self.rng = np.random.default_rng(options.seed)
        self.groups_left = MOST_GROUPS
        self.alone = 0

    def notes(self, probed: list[int]) -> list[str]:
        """Say which directions there were, and what they may have missed."""
        rows = [self.found.rows[leaf] for leaf in probed]
        if not rows:
            return []
        largest = max((row.detectable for row in rows if row.entries), default=0.0)
        together = len(rows) - self.alone
        which = "each array"
        if self.groups_left < MOST_GROUPS and together > 1:
            which = f"{together:,} arrays together"
            which += f" and of {self.alone:,} alone" if self.alone else ""
        return [
            f"{DIRECTIONS} random directions of {which}, seed {self.options.seed}: a single error "
            f"below {largest:.2g} may be missed, and errors that cancel along all of them"
        ]

    def is_settled(self, leaf: int) -> bool:
        """Settle what needs no evaluation: arrays that are empty, or cannot be compared."""
        settled = _row_without_evaluations(self.function, leaf, self.given)
        if settled is None:
            return False
        self.found.rows[leaf], self.found.failures[leaf], complete = settled
        self.found.at_least |= not complete
        return True

    def _probe_alone(self, leaf: int, lead: Lead | None = None) -> None:
        self.alone += 1
        row, wrong, complete = _probed_row(
            self.function, leaf, self.given, self.options, self.rng, lead
        )
        self.found.rows[leaf], self.found.failures[leaf] = row, wrong
        self.found.at_least |= not complete

    def probe(self, leaves: tuple[int, ...]) -> None:
        """Probe a group of arrays, none of which is settled."""
        while len(leaves) > 1:
            self.groups_left -= 1
            screened = self._screened(leaves)
            if screened.agrees:
                self._accept(leaves, screened)
                return
            suspects = {leaves[place]: lead for place, lead in screened.suspects.items()}
            if not suspects:
                self._probe_halves(leaves)
                return
            leaves = tuple(leaf for leaf in leaves if leaf not in suspects)
            for leaf, lead in suspects.items():
                self._probe_alone(leaf, lead)
        for leaf in leaves:
            self._probe_alone(leaf)

    def _screened(self, leaves: tuple[int, ...]) -> Screened:
        flat = np.concatenate([self._flat(leaf) for leaf in leaves])
        each = [allowed_difference(self._flat(leaf), 0.0, self._tolerance(leaf)) for leaf in leaves]
        return screen_arrays(
            JoinedArrays(self.function, leaves),
            flat,
            _allowance(np.concatenate(each), systematic=self.options.tolerance is not None),
            self.rng,
            DIRECTIONS,
            MOST_WRONG_ARRAYS,
        )

    def _accept(self, leaves: tuple[int, ...], screened: Screened) -> None:
        """Accept what was tested well enough along the directions; look closer at the others."""
        usual = [norm(self._flat(leaf)) / np.sqrt(self._flat(leaf).size) for leaf in leaves]
        weak = tuple(
            leaf
            for leaf, least, size in zip(leaves, screened.detectable, usual, strict=True)
            if not least <= WELL_TESTED * size
        )
        may_go_on = self.groups_left > 0 or len(leaves) <= FEW
        for place, leaf in enumerate(leaves):
            if leaf not in weak or not may_go_on:
                self.found.rows[leaf] = self._accepted_row(leaf, screened, place)
        if weak and may_go_on:
            if len(weak) < len(leaves):
                self.probe(weak)
            else:
                self._probe_halves(weak)

    def _probe_halves(self, leaves: tuple[int, ...]) -> None:
        middle = len(leaves) // 2
        for half in (leaves[:middle], leaves[middle:]):
            self.probe(half)

    def _accepted_row(self, leaf: int, screened: Screened, place: int) -> ArrayReport:
        """Return the row of an array along whose directions nothing disagrees."""
        flat = self._flat(leaf)
        row = bare_row(
            self.function.point.row_names[leaf],
            self.function.point.row_shapes[leaf],
            _count(self.function, leaf),
            "passed",
            "",
        )
        row = replace(row, detectable=float(screened.detectable[place]))
        if screened.said[place] > screened.allowed:
            return row
        if not flat.any():
            reason = "zero on both sides along every direction"
            return replace(row, verdict="untested", zero=row.entries, reason=reason)
        array = self.given.arrays[leaf]
        if array is not None and is_zero_within_rounding(array, self.given.largest):
            return replace(row, verdict="untested", zero=row.entries, reason=ZERO_WITHIN_ROUNDING)
        return replace(row, verdict="inconclusive", reason=TOO_ROUGH)

    def _flat(self, leaf: int) -> Vector:
        return _flat_given(self.function, leaf, self.given)

    def _tolerance(self, leaf: int) -> Tolerance:
        return _tolerance_of(self.function, leaf, self.given, self.options)


def _flat_given(function: Function, leaf: int, given: GivenLeaves) -> Vector:
    """Return the given derivatives of a leaf; 0, as along every direction, if not chosen."""
    array = given.arrays[leaf]
    assert array is not None
    flat = array.reshape(-1).astype(np.float64)
    if function.chosen is not None:
        flat[~function.chosen.masks[leaf]] = 0.0
    return flat


def _count(function: Function, leaf: int) -> int:
    """Return how many entries of a leaf are checked."""
    if function.chosen is None:
        return function.point.base[leaf].size
    return int(np.count_nonzero(function.chosen.masks[leaf]))


def _tolerance_of(function: Function, leaf: int, given: GivenLeaves, options: Options) -> Tolerance:
    array, flat = given.arrays[leaf], _flat_given(function, leaf, given)
    assert array is not None
    noise = given.noise.get(leaf, 0.0)
    return function_tolerance(options, array, given.dtype, flat, noise, function.point.base[leaf])


def _row_without_evaluations(
    function: Function, leaf: int, given: GivenLeaves
) -> tuple[ArrayReport, tuple[Failure, ...], bool] | None:
    """Return the row of an array that needs no evaluation; None if it needs some."""
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
    flat = _flat_given(function, leaf, given)
    if not np.isfinite(flat).all():
        return _not_finite_row(name, shape, flat)
    return None


def _probed_row(
    function: Function,
    leaf: int,
    given: GivenLeaves,
    options: Options,
    rng: np.random.Generator,
    lead: Lead | None = None,
) -> tuple[ArrayReport, tuple[Failure, ...], bool]:
    """Return the row of one array, its wrong entries, and whether these are all."""
    name, shape = function.point.row_names[leaf], function.point.row_shapes[leaf]
    array, flat = given.arrays[leaf], _flat_given(function, leaf, given)
    assert array is not None
    tolerance = _tolerance_of(function, leaf, given, options)
    located = locate_wrong_entries(
        function,
        leaf,
        flat,
        tolerance,
        _allowance(
            allowed_difference(flat, 0.0, tolerance), systematic=options.tolerance is not None
        ),
        rng,
        DIRECTIONS,
        options.most,
        lead,
    )
    wrong = _located_failures(name, shape, flat, located, tolerance)
    complete = located.complete and len(wrong) < options.most
    row = _located_row(name, shape, flat, located, wrong, complete)
    count = _count(function, leaf)
    row = replace(row, entries=count, zero=min(row.zero, count))
    if located.unjudged and row.verdict != "failed":
        reason = _why_unjudged(function, leaf, located.unjudged)
        row = replace(row, verdict="inconclusive", reason=reason)
    if row.reason == TOO_ROUGH and is_zero_within_rounding(array, given.largest):
        row = replace(row, verdict="untested", reason=ZERO_WITHIN_ROUNDING)
    return row, wrong, complete


def _why_unjudged(function: Function, leaf: int, unjudged: dict[int, Lines]) -> str:
    """Say by which entries f has no derivative, and why."""
    places, lines = list(unjudged), Lines.unknown(len(unjudged))
    for place, line in enumerate(unjudged.values()):
        lines.put(np.array([place]), line)

    def named(which: Mask) -> str:
        return first_named(which, lambda place: function.point.entry_name(leaf, places[place]))

    return why_missing(lines, named)


def _allowance(
    entries: Vector, *, systematic: bool
) -> Callable[[NDArray[np.floating], slice], float]:
    """Return by how much the sum along a direction may be off, if each entry may by so much.

    Rounding errors add like noise; what the user allows may have one sign everywhere.
    """

    def allowance(direction: NDArray[np.floating], part: slice) -> float:
        single = np.abs(direction[part]) * entries[part]
        if systematic:
            return float(np.sum(single))
        return DIRECTION_SIGMAS * norm(single)

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
        kinks=located.kinks,
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
    if located.unsure:
        return "inconclusive", (
            "a random direction disagrees, by no more than the error bars of entries that were "
            "measured alone"
        )
    if not np.isfinite(allowed).all():
        return "inconclusive", "f is not finite beside the point, or its noise is not"
    if not (given.any() or located.kinks) and np.all(np.abs(slopes) <= allowed):
        return "untested", "zero on both sides along every direction"
    # In noise a gradient of twice the derivative, or of its opposite sign, could pass too.
    in_noise = np.all(np.abs(slopes) <= RESOLVED * np.array(located.noise))
    in_noise |= np.all(np.maximum(np.abs(slopes), np.abs(said)) <= allowed)
    if in_noise and not located.resolved_alone:
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
