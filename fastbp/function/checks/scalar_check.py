"""A scalar function, checked by whichever method fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.function.containers.chosen_entries import chosen_entries
from fastbp.function.containers.given_gradient import GivenLeaves
from fastbp.function.methods.every_entry import check_every_entry
from fastbp.function.methods.options import Options
from fastbp.function.methods.probe import check_by_probing
from fastbp.report.causes import Cause, Finding, sentence
from fastbp.verdict.rows import bare_row

if TYPE_CHECKING:
    from fastbp.function.evaluation import Function
    from fastbp.report import ArrayReport

__all__ = ["check_scalar"]


def check_scalar(function: Function, given: GivenLeaves, options: Options) -> FunctionCheck:
    """Check a gradient of a scalar function at a point, by whichever method fits."""
    chosen = chosen_entries(options.entries, function.point, options.seed)
    function.chosen = chosen
    entries = sum(numbers.size for numbers in function.point.base)
    entries = entries if chosen is None else chosen.count
    method, notes = options.method_for(2 * entries * function.seconds / function.concurrency)
    measure = check_every_entry if method == "every" else check_by_probing
    rows, failures, more, at_least, found = measure(function, given, options)
    if given.accumulates:
        found = [Finding(Cause("accumulated")), *found]
    function.close()
    return FunctionCheck(
        rows=tuple(rows),
        others=tuple(_finding_rows(function, given)),
        failures=tuple(failures),
        method=method,
        evaluations=function.evaluations,
        notes=(
            *function.point.container.notes,
            *([] if chosen is None else [chosen.note]),
            *notes,
            *more,
            *given.notes,
            *function.notes,
            *function.note_of_steps(),
        ),
        at_least=at_least,
        diagnosis=tuple(map(sentence, found)),
    )


def _finding_rows(function: Function, given: GivenLeaves) -> list[ArrayReport]:
    findings = [("f", reason) for reason in function.findings]
    findings += [("gradient", reason) for reason in given.findings]
    findings += [(name, "is not in the argument") for name in given.extra]
    return [bare_row(name, (), 0, "failed", reason) for name, reason in findings]
