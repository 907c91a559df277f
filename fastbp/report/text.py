"""Reports as plain text: 80 columns that any terminal, log and code page can show."""

from __future__ import annotations

import math
import re
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from fastbp.errors import printable
from fastbp.report.causes import listed
from fastbp.report.columns import table, wrapped
from fastbp.report.digits import told_apart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastbp.report.model import ArrayReport, Failure, Report

__all__ = ["render"]

FAILURES_SHOWN = 10
SENTENCES_SHOWN = 5
ROWS_SHOWN = 40  # of arrays that did not pass
FOLDED_FROM = 10  # arrays that passed are one line where there are more
# A report of more lines says its verdict again at the end, where a terminal stands.
LONG = 40
SENTENCES = frozenset({"reason", "notes"})  # fields that may hold newlines

# A factor is worth a line when what it leaves unexplained is no more than rounding.
CLEAN_RESIDUAL = 1e-4

WORST_FIRST = {"failed": 0, "inconclusive": 1, "untested": 2, "passed": 3}
COLOURS = {"failed": "31;1", "passed": "32;1", "inconclusive": "33;1", "untested": "33",
           "vacuous": "33;1"}  # fmt: skip


def render(report: Report, *, colour: bool = False) -> str:
    """Return the report as text, at most 80 columns wide, without a newline at the end.

    Parameters
    ----------
    report : Report
    colour : bool
        Whether verdicts are coloured, for a terminal.
    """
    report = _printable(report)
    header = _function_header(report) if report.function else _header(report)
    arrays = sorted(report.arrays, key=_worst_first)
    shown, folded = _shown_arrays(arrays)
    parts = [header, _diagnosis(report.diagnosis), _arrays_table(shown, folded)]
    parts += [_reasons(shown), _factors(report), _failures(report.failures)]
    text = "\n\n".join(part for part in parts if part)
    if text.count("\n") >= LONG:
        text += f"\n\n{_again(report, arrays)}"
    return _coloured(text) if colour else text


def _coloured(text: str) -> str:
    """Colour the verdicts, at the beginnings and the ends of lines."""
    for verdict, code in COLOURS.items():
        pattern = rf"^{verdict.upper()}\b|(?<=  ){verdict}$"
        text = re.sub(pattern, f"\x1b[{code}m\\g<0>\x1b[0m", text, flags=re.MULTILINE)
    return re.sub(r"^diagnosis:", "\x1b[1m\\g<0>\x1b[0m", text, flags=re.MULTILINE)


def _worst_first(row: ArrayReport) -> tuple[int, float]:
    """Sort by verdict; arrays that failed by their worst error over what is allowed."""
    if row.verdict != "failed" or row.worst is None:
        return WORST_FIRST[row.verdict], -math.inf
    worst = row.worst
    ratio = worst.error / worst.allowed if worst.allowed > 0 else math.inf
    return 0, -ratio if ratio == ratio else -math.inf


def _shown_arrays(
    arrays: list[ArrayReport],
) -> tuple[list[ArrayReport], list[tuple[str, list[ArrayReport]]]]:
    """Return the rows to show, and groups of the others with what they have in common."""
    passed = [row for row in arrays if row.verdict == "passed"]
    others = [row for row in arrays if row.verdict != "passed"]
    folded = [("did not pass", others[ROWS_SHOWN:])]
    shown = others[:ROWS_SHOWN]
    if len(passed) > FOLDED_FROM:
        folded.append(("passed", passed))
    else:
        shown += passed
    return shown, [(what, rows) for what, rows in folded if rows]


def _again(report: Report, arrays: list[ArrayReport]) -> str:
    """Say the verdict once more, with the arrays that have it."""
    if report.verdict in ("passed", "vacuous"):
        return report.verdict.upper()
    names = [row.name for row in arrays if row.verdict == report.verdict]
    return wrapped(f"{report.verdict.upper()}: {listed(names)}")


def _printable(value: Any, *, lines: bool = False) -> Any:
    """Return a report, or a part of it, whose text does nothing to a terminal but show.

    Names come from the keys of a user's containers, from modules, functions and files.  Sentences
    may hold newlines, as those of other people's errors do: they are wrapped like all others.
    """
    if isinstance(value, str):
        return printable(value, lines=lines)
    if isinstance(value, tuple):
        return tuple(_printable(part, lines=lines) for part in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    parts = {part.name: getattr(value, part.name) for part in fields(value)}
    escaped = {name: _printable(part, lines=name in SENTENCES) for name, part in parts.items()}
    return replace(value, **escaped)


def _header(report: Report) -> str:
    sizes = "-".join(map(str, report.sizes))
    lines = [
        f"{report.verdict.upper()}: network {sizes}, batch {report.batch}, {report.dtype}, "
        f"layout {report.layout}",
        f"method {_method(report)}, {_tolerance(report)}",
        f"{_many(report.entries, 'entry', 'entries')}, {report.wrong:,} wrong, "
        f"{report.kinks:,} on kinks; {_many(report.evaluations, 'loss', 'losses')} evaluated; "
        f"{report.seconds:.3g} s",
        _detectable(report.arrays),
        _doubt(report),
        _kink(report),
        *report.notes,
    ]
    return "\n".join(wrapped(line) for line in lines if line)


def _diagnosis(sentences: tuple[str, ...]) -> str:
    lines = [f"diagnosis: {sentence}" for sentence in sentences[:SENTENCES_SHOWN]]
    more = len(sentences) - SENTENCES_SHOWN
    if more > 0:
        lines.append(f"({more} more in report.diagnosis)")
    return "\n".join(map(wrapped, lines))


def _function_header(report: Report) -> str:
    at_least = "at least " if report.at_least else ""
    lines = [
        f"{report.verdict.upper()}: {report.function}, {report.dtype}",
        f"method {report.method}, {_tolerance(report)}",
        f"{_many(report.entries, 'entry', 'entries')}, {at_least}{report.wrong:,} wrong, "
        f"{report.kinks:,} on kinks; {_many(report.evaluations, 'value', 'values')} evaluated; "
        f"{report.seconds:.3g} s",
        _detectable(report.arrays),
        *report.notes,
    ]
    return "\n".join(wrapped(line) for line in lines if line)


def _method(report: Report) -> str:
    proof = report.certificate
    if report.method == "exact" and proof is None:
        return "exact, one difference for each unit and sample"
    if proof is None:
        return f"{report.method}, {report.scheme} differences, delta {report.delta:g}"
    if proof.problem:
        return f"{report.method}, no proof, seed {proof.seed}"
    unproved = report.batch - proof.samples
    faint = ""
    if unproved:
        faint = f" ({_many(unproved, 'sample is', 'samples are')} too faint to prove)"
    return (
        f"{report.method}, {_many(proof.directions, 'random vector', 'random vectors')} a layer; "
        f"in a sample's sensitivities an error of {proof.resolution:.1g} K times the layer's slips "
        f"through with probability (0.8 / K)^{proof.directions}{faint}; seed {proof.seed}"
    )


def _doubt(report: Report) -> str:
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


def _kink(report: Report) -> str:
    kink = report.kink
    if kink is None:
        return ""
    left, right = told_apart(kink.left, kink.right, 6)
    return (
        f"{kink.where} is on a kink: slopes {left} to the left, {right} to the right; "
        f"the gradient has {kink.given:.6g} there, {kink.remark}"
    )


def _tolerance(report: Report) -> str:
    if report.rtol is None and report.atol is None:
        return "default tolerance"
    return f"rtol {report.rtol or 0.0:g}, atol {report.atol or 0.0:g}"


def _detectable(arrays: Iterable[ArrayReport]) -> str:
    judged = [row.detectable for row in arrays if row.entries and math.isfinite(row.detectable)]
    if not judged:
        return "no entry was judged"
    return f"an error above {max(judged):.2g} is seen at every judged entry"


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _arrays_table(arrays: list[ArrayReport], folded: list[tuple[str, list[ArrayReport]]]) -> str:
    kinks = any(row.kinks for row in arrays)
    headings = ["array", "shape", "entries", "wrong", "zero", "kinks", "error", "relative"]
    rows = [
        [
            row.name,
            str(row.shape),
            f"{row.entries}",
            f"{row.wrong}",
            f"{row.zero}",
            f"{row.kinks}" if kinks else "",
            "" if row.worst is None else f"{row.worst.beyond_hull:.1e}",
            "" if row.worst is None else _relative(row.worst),
            row.verdict,
        ]
        for row in arrays
    ]
    parts = [table([*headings, "verdict"], rows, left=2)] if rows else []
    return "\n".join([*parts, *(_folded(what, those) for what, those in folded)])


def _folded(what: str, rows: list[ArrayReport]) -> str:
    """Return the line that stands for many arrays."""
    entries = sum(row.entries for row in rows)
    largest = max((row.worst.beyond_hull for row in rows if row.worst is not None), default=0.0)
    more = "" if what == "passed" else " more"
    return wrapped(
        f"{len(rows):,}{more} arrays {what}: {entries:,} entries, errors of at most {largest:.1e}"
    )


def _relative(failure: Failure) -> str:
    """Return the error over the numerical derivative; empty where that is 0."""
    if failure.numerical == 0.0:
        return ""
    return f"{failure.beyond_hull / abs(failure.numerical):.1e}"


def _reasons(arrays: list[ArrayReport]) -> str:
    """Return a line for each reason, with the arrays that have it."""
    named: dict[str, list[str]] = {}
    for row in arrays:
        if row.reason:
            named.setdefault(row.reason, []).append(row.name)
    lines = []
    for reason, names in named.items():
        everywhere = 2 < len(names) == len(arrays)
        lines.append(f"{'all arrays' if everywhere else listed(names)}: {reason}")
    return "\n".join(map(wrapped, lines))


def _factors(report: Report) -> str:
    """Return the lines of factors, where no diagnosis tells more."""
    if report.diagnosis:
        return ""
    lines = [line for line in map(_factor_line, report.arrays) if line]
    more = len(lines) - FAILURES_SHOWN
    if more > 0:
        lines = [*lines[:FAILURES_SHOWN], f"({more} more arrays are multiples)"]
    return "\n".join(lines)


def _factor_line(row: ArrayReport) -> str:
    """Return the line for a failed array that is a multiple of the numerical gradient."""
    if row.verdict != "failed" or row.factor is None or row.residual is None:
        return ""
    if abs(row.factor - 1) < 1e-3:
        return ""
    # One entry is a multiple of any other: nothing learned, unless the factor is a simple number.
    single = row.entries - row.zero - row.kinks < 2
    if row.residual > CLEAN_RESIDUAL or (single and not _simple(row.factor)):
        return ""
    return f"{row.name}: given = k numerical, k = {row.factor:#.4g}, residual {row.residual:.0e}"


def _simple(factor: float) -> bool:
    """Tell whether a number, or its reciprocal, is an integer to within rounding."""
    size = abs(factor)
    larger = max(size, 1 / size) if size else 0.5
    return abs(larger - round(larger)) <= CLEAN_RESIDUAL


def _failures(failures: tuple[Failure, ...]) -> str:
    if not failures:
        return ""
    headings = ["wrong entry", "given", "numerical", "error", "relative", "allowed"]
    rows = [
        [
            failure.where,
            *told_apart(failure.given, failure.numerical),
            f"{failure.error:.1e}",
            _relative(failure),
            f"{failure.allowed:.1e}",
        ]
        for failure in _shown(failures)
    ]
    more = len(failures) - FAILURES_SHOWN
    note = f"\n({more} more in report.failures)" if more > 0 else ""
    return table(headings, rows, left=1) + note


def _shown(failures: tuple[Failure, ...]) -> list[Failure]:
    """Return the entries to print: the worst of each array first, then the worst of the rest."""
    first: dict[str, Failure] = {}
    for failure in failures:
        first.setdefault(failure.array, failure)
    heads = list(first.values())[:FAILURES_SHOWN]
    chosen = {failure.where for failure in heads}
    rest = [failure for failure in failures if failure.where not in chosen]
    return heads + rest[: FAILURES_SHOWN - len(heads)]
