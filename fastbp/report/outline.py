"""What every form of a report shows: in which order, how much of it, and in which words."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from fastbp.errors import printable
from fastbp.report.causes import listed
from fastbp.report.wording.digits import told_apart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastbp.report.model import ArrayReport, Failure, Report

__all__ = [
    "FAILURES_SHOWN",
    "FAILURE_HEADINGS",
    "SENTENCES_SHOWN",
    "about",
    "counted",
    "counts",
    "detectable",
    "doubt",
    "factor",
    "failure_cells",
    "folded_line",
    "kink",
    "method",
    "printable_report",
    "reasons",
    "relative",
    "shown_arrays",
    "shown_failures",
    "slips",
    "subject",
    "tolerance",
    "worst_cells",
    "worst_first",
]

FAILURES_SHOWN = 10
SENTENCES_SHOWN = 5  # of a diagnosis
ROWS_SHOWN = 40  # of arrays that did not pass
FOLDED_FROM = 10  # arrays that passed are one line where there are more
SENTENCES = frozenset({"reason", "notes"})  # fields that may hold newlines
FAILURE_HEADINGS = ["wrong entry", "given", "numerical", "error", "relative", "allowed"]

# A factor is worth a line when what it leaves unexplained is no more than rounding.
CLEAN_RESIDUAL = 1e-4

WORST_FIRST = {"failed": 0, "inconclusive": 1, "untested": 2, "passed": 3}


def printable_report(value: Any, *, lines: bool = False) -> Any:
    """Return a report, or a part of it, whose text does nothing but show.

    Names come from the keys of a user's containers, from modules, functions and files.  Sentences
    may hold newlines, as those of other people's errors do: they are wrapped like all others.
    """
    if isinstance(value, str):
        return printable(value, lines=lines)
    if isinstance(value, tuple):
        return tuple(printable_report(part, lines=lines) for part in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    parts = {part.name: getattr(value, part.name) for part in fields(value)}
    escaped = {
        name: printable_report(part, lines=name in SENTENCES) for name, part in parts.items()
    }
    return replace(value, **escaped)


def worst_first(row: ArrayReport) -> tuple[int, float]:
    """Sort by verdict; arrays that failed by their worst error over what is allowed."""
    if row.verdict != "failed" or row.worst is None:
        return WORST_FIRST[row.verdict], -math.inf
    worst = row.worst
    ratio = worst.error / worst.allowed if worst.allowed > 0 else math.inf
    return 0, -ratio if ratio == ratio else -math.inf


def shown_arrays(
    arrays: list[ArrayReport], most: int = ROWS_SHOWN
) -> tuple[list[ArrayReport], list[tuple[str, list[ArrayReport]]]]:
    """Return the rows to show, and groups of the others with what they have in common."""
    passed = [row for row in arrays if row.verdict == "passed"]
    others = [row for row in arrays if row.verdict != "passed"]
    folded = [("did not pass", others[most:])]
    shown = others[:most]
    if len(passed) > FOLDED_FROM:
        folded.append(("passed", passed))
    else:
        shown += passed
    return shown, [(what, rows) for what, rows in folded if rows]


def folded_line(what: str, rows: list[ArrayReport]) -> str:
    """Return the line that stands for a group of arrays of `shown_arrays`."""
    more = "" if what == "passed" else "more "
    entries = sum(row.entries for row in rows)
    largest = max((row.worst.beyond_hull for row in rows if row.worst is not None), default=0.0)
    return (
        f"{counted(len(rows), f'{more}array', f'{more}arrays')} {what}: "
        f"{counted(entries, 'entry', 'entries')}, errors of at most {largest:.1e}"
    )


def shown_failures(failures: tuple[Failure, ...], most: int = FAILURES_SHOWN) -> list[Failure]:
    """Return the entries to show: the worst of each array first, then the worst of the rest."""
    first: dict[str, Failure] = {}
    for failure in failures:
        first.setdefault(failure.array, failure)
    heads = list(first.values())[:most]
    chosen = {failure.where for failure in heads}
    rest = [failure for failure in failures if failure.where not in chosen]
    return heads + rest[: most - len(heads)]


def counted(count: int, one: str, more: str) -> str:
    """Return a number with the right form of what is counted."""
    return f"{count:,} {one if count == 1 else more}"


def subject(report: Report) -> str:
    """Return what was checked."""
    if report.function:
        return f"{report.function}, {report.dtype}"
    sizes = "-".join(map(str, report.sizes))
    return f"network {sizes}, batch {report.batch}, {report.dtype}, layout {report.layout}"


def counts(report: Report) -> str:
    """Return how many entries there are and what judging them took."""
    at_least = "at least " if report.at_least else ""
    compiled = f" and {report.compile_seconds:.3g} s of compilation"
    evaluated = ("value", "values") if report.function else ("loss", "losses")
    return (
        f"{counted(report.entries, 'entry', 'entries')}, {at_least}{report.wrong:,} wrong, "
        f"{report.kinks:,} on kinks; {counted(report.evaluations, *evaluated)} evaluated; "
        f"{report.seconds:.3g} s{compiled if report.compile_seconds else ''}"
    )


def about(report: Report) -> list[str]:
    """Return what there is to know of a check beside its verdict, in sentences."""
    sentences = [
        f"method {method(report)}, {tolerance(report)}",
        counts(report),
        detectable(report.arrays),
        doubt(report),
        kink(report),
        *report.notes,
    ]
    return [sentence for sentence in sentences if sentence]


def method(report: Report) -> str:
    """Return how the numerical gradient was made, and how surely."""
    if report.function:
        return report.method
    proof = report.certificate
    if report.method == "exact" and proof is None:
        return "exact, one difference for each unit and sample"
    if proof is None and report.delta is None:
        return report.method
    if proof is None:
        return f"{report.method}, {report.scheme} differences, delta {report.delta:g}"
    if proof.problem:
        return f"{report.method}, no proof, seed {proof.seed}"
    return (
        f"{report.method}, {counted(proof.directions, 'random vector', 'random vectors')} a layer; "
        f"{slips(report)}; seed {proof.seed}"
    )


def slips(report: Report) -> str:
    """Return how a proof could have missed an error; empty where there is none."""
    proof = report.certificate
    if proof is None or proof.problem:
        return ""
    unproved = report.batch - proof.samples
    faint = ""
    if unproved:
        faint = f" ({counted(unproved, 'sample is', 'samples are')} too faint to prove)"
    return (
        f"in a sample's sensitivities an error of {proof.resolution:.1g} K times the layer's slips "
        f"through with probability (0.8 / K)^{proof.directions}{faint}"
    )


def tolerance(report: Report) -> str:
    """Return the tolerance that was asked for."""
    if report.rtol is None and report.atol is None:
        return "default tolerance"
    return f"rtol {report.rtol or 0.0:g}, atol {report.atol or 0.0:g}"


def detectable(arrays: Iterable[ArrayReport]) -> str:
    """Return how large an error must be to be seen wherever it is."""
    judged = [row.detectable for row in arrays if row.entries and math.isfinite(row.detectable)]
    if not judged:
        return "no entry was judged"
    return f"an error above {max(judged):.2g} is seen at every judged entry"


def doubt(report: Report) -> str:
    """Return where masks are in doubt; empty where none is."""
    if not any(report.doubtful):
        return ""
    counts = ", ".join(
        f"layer {layer}: {count:,}" for layer, count in enumerate(report.doubtful) if count
    )
    text = f"pre-activations that are 0 within rounding: {counts}"
    if report.convention == "none":
        return f"{text}; as a whole, no one derivative of the ReLU at 0 fits"
    if report.convention:
        text += f"; the gradient has the derivative {report.convention} there"
    return text


def kink(report: Report) -> str:
    """Return what is known of an entry on a kink; empty where there is none."""
    kink = report.kink
    if kink is None:
        return ""
    left, right = told_apart(kink.left, kink.right, 6)
    return (
        f"{kink.where} is on a kink: slopes {left} to the left, {right} to the right; "
        f"the gradient has {kink.given:.6g} there, {kink.remark}"
    )


def reasons(arrays: list[ArrayReport]) -> list[str]:
    """Return each reason once, with the arrays that have it."""
    named: dict[str, list[str]] = {}
    for row in arrays:
        if row.reason:
            named.setdefault(row.reason, []).append(row.name)
    lines = []
    for reason, names in named.items():
        everywhere = 2 < len(names) == len(arrays)
        lines.append(f"{'all arrays' if everywhere else listed(names)}: {reason}")
    return lines


def relative(failure: Failure) -> str:
    """Return the error over the numerical derivative; empty where that is 0."""
    if failure.numerical == 0.0:
        return ""
    return f"{failure.beyond_hull / abs(failure.numerical):.1e}"


def worst_cells(row: ArrayReport) -> list[str]:
    """Return the largest error of an array, and the same over the numerical derivative."""
    if row.worst is None:
        return ["", ""]
    return [f"{row.worst.beyond_hull:.1e}", relative(row.worst)]


def failure_cells(failure: Failure) -> list[str]:
    """Return what stands below `FAILURE_HEADINGS`."""
    return [
        failure.where,
        *told_apart(failure.given, failure.numerical),
        f"{failure.error:.1e}",
        relative(failure),
        f"{failure.allowed:.1e}",
    ]


def factor(row: ArrayReport) -> str:
    """Return the sentence for a failed array that is a multiple of the numerical gradient."""
    if row.verdict != "failed" or row.factor is None or row.residual is None:
        return ""
    if not math.isfinite(row.factor) or abs(row.factor - 1) < 1e-3:
        return ""
    # One entry is a multiple of any other: nothing learned, unless the factor is a simple number.
    single = row.entries - row.zero - row.kinks < 2
    if not row.residual <= CLEAN_RESIDUAL or (single and not _simple(row.factor)):
        return ""
    return f"{row.name}: given = k numerical, k = {row.factor:#.4g}, residual {row.residual:.0e}"


def _simple(factor: float) -> bool:
    """Tell whether a number, or its reciprocal, is an integer to within rounding."""
    size = abs(factor)
    larger = max(size, 1 / size) if size else 0.5
    return math.isfinite(larger) and abs(larger - round(larger)) <= CLEAN_RESIDUAL
