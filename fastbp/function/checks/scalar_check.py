"""A scalar function, checked by whichever method fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.function.containers.chosen_entries import Chosen, chosen_entries
from fastbp.function.containers.given_gradient import GivenLeaves
from fastbp.function.methods.every_entry import judge_every_entry
from fastbp.function.methods.forecast import forecast
from fastbp.function.methods.judged import Judged
from fastbp.function.methods.options import Options
from fastbp.function.methods.probe import probe_arrays
from fastbp.report.causes import Cause, Finding, sentence
from fastbp.verdict.rows import bare_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.function.evaluation import Function
    from fastbp.report import ArrayReport
    from fastbp.typing import Mask

__all__ = ["check_scalar"]

# What *every* takes for an entry at most, and seconds that are not worth a thought.
PER_ENTRY, NOTHING = 200, 0.3
# *probe* takes so many more where directions cross kinks, or something has to be measured again.
CLOSER_LOOK = 40


def check_scalar(
    function: Function,
    given: GivenLeaves,
    options: Options,
    left_out: Sequence[Mask] | None = None,
) -> FunctionCheck:
    """Check a gradient of a scalar function at a point, by whichever method fits.

    `left_out` has a mask for each leaf of entries that are not judged, whatever is chosen.
    """
    chosen = chosen_entries(options.entries, function.point, options.seed)
    function.chosen = chosen
    if left_out is not None:
        masks = [~mask for mask in left_out] if chosen is None else chosen.masks
        pairs = zip(masks, left_out, strict=True)
        function.chosen = Chosen([mask & ~other for mask, other in pairs])
    plan = _planned(function, options)
    notes, found = list(plan.notes), Judged()
    account = function.account
    if plan.method == "every":
        with account.narrowed(plan.seconds, plan.evaluations):
            judge_every_entry(found, function, given, options)
        if plan.may_fall_back and found.left(function) and account.reopened():
            arrays = len(given.arrays)
            notes.append(
                f"every entry takes longer than was expected: {len(found.left(function)):,} of "
                f"{arrays:,} {'array' if arrays == 1 else 'arrays'} by probe"
            )
            probe_arrays(found, function, given, options)
    else:
        probe_arrays(found, function, given, options)
    found.leave_out(function)
    findings = found.findings
    if given.accumulates:
        findings = [Finding(Cause("accumulated")), *findings]
    function.close()
    return FunctionCheck(
        rows=tuple(found.rows[leaf] for leaf in range(len(given.arrays))),
        others=tuple(_finding_rows(function, given)),
        failures=tuple(found.failures.get(leaf, ()) for leaf in range(len(given.arrays))),
        method=plan.method,
        evaluations=function.evaluations,
        notes=(
            *function.point.container.notes,
            *([] if chosen is None else [chosen.note]),
            *notes,
            *found.notes,
            *given.notes,
            *function.notes,
            *function.note_of_steps(),
            *function.raised.notes(function.name),
        ),
        at_least=found.at_least,
        diagnosis=tuple(map(sentence, findings)),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to check.

    Attributes
    ----------
    method : {"every", "probe"}
    notes : tuple of str
        Why, where that is not plain.
    may_fall_back : bool
        Whether *probe* may judge what *every* does not get done.
    seconds, evaluations : float
        What *every* may spend before that.
    """

    method: str
    notes: tuple[str, ...] = ()
    may_fall_back: bool = False
    seconds: float = math.inf
    evaluations: float = math.inf


def _planned(function: Function, options: Options) -> _Plan:
    """Choose the method, and say on the account what it will take."""
    sizes = [numbers.size for numbers in function.point.base]
    if function.chosen is not None:
        sizes = [int(mask.sum()) for mask in function.chosen.masks]
    seconds_each = function.seconds / function.concurrency
    most = PER_ENTRY * sum(sizes)
    unlimited = options.budget is None and options.max_evaluations is None
    if most * seconds_each < NOTHING and unlimited and options.checkpoint is None:
        return _Plan(options.method if options.method != "auto" else "every")
    expected = {method: forecast(method, sizes, function.unit) for method in ("every", "probe")}
    every, probe = expected["every"], expected["probe"]
    method, notes = options.method_for(every * seconds_each, every, probe < every)
    if options.checkpoint is not None:
        method = options.checkpoint.remember("method", method)
    function.account.expect(expected[method])
    chosen_by_time = options.checkpoint is None or options.budget is not None
    if options.method != "auto" or method == "probe" or probe >= every or not chosen_by_time:
        return _Plan(method, tuple(notes))
    seconds, spared = options.seconds_for_every, 2 * probe + CLOSER_LOOK
    if options.budget is not None:
        left = function.account.seconds_left
        seconds = max(left - spared * seconds_each, left / 2)
    left = function.account.evaluations_left
    return _Plan(method, (), True, seconds, max(left - spared, left / 2))


def _finding_rows(function: Function, given: GivenLeaves) -> list[ArrayReport]:
    findings = [("f", reason) for reason in function.findings]
    findings += [("gradient", reason) for reason in given.findings]
    findings += [(name, "is not in the argument") for name in given.extra]
    return [bare_row(name, (), 0, "failed", reason) for name, reason in findings]
