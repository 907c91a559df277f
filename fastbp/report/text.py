"""Reports as plain text: a table that any terminal, log and code page can show."""

from __future__ import annotations

import io
import math
import textwrap
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.box import Box
from rich.console import Console
from rich.table import Table

from fastbp.errors import printable
from fastbp.report.digits import told_apart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastbp.report.model import ArrayReport, Failure, Report

__all__ = ["render"]

WIDTH = 100
FAILURES_SHOWN = 10
SENTENCES_SHOWN = 5
SENTENCES = frozenset({"reason", "notes"})  # fields that may hold newlines

# A factor is worth a line when what it leaves unexplained is no more than rounding.
CLEAN_RESIDUAL = 1e-4

# One rule under the header, in ASCII: str(report) must survive every encoding.
HEADER_RULE = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def render(report: Report) -> str:
    """Return the report as text, at most 100 columns wide, without a newline at the end."""
    report = _printable(report)
    header = _function_header(report) if report.function else _header(report)
    parts = [header, _diagnosis(report.diagnosis), _arrays_table(report.arrays)]
    parts += [_reasons(report.arrays), _factors(report.arrays), _failures(report.failures)]
    return "\n\n".join(part for part in parts if part)


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
        f"{report.kinks:,} on kinks; {_many(report.evaluations, 'loss', 'losses')} evaluated "
        f"in {report.seconds:.3g} s",
        _detectable(report.arrays),
        _doubt(report),
        _kink(report),
        *report.notes,
    ]
    return "\n".join(_wrapped(line) for line in lines if line)


def _diagnosis(sentences: tuple[str, ...]) -> str:
    lines = [f"diagnosis: {sentence}" for sentence in sentences[:SENTENCES_SHOWN]]
    more = len(sentences) - SENTENCES_SHOWN
    if more > 0:
        lines.append(f"({more} more in report.diagnosis)")
    return "\n".join(map(_wrapped, lines))


def _function_header(report: Report) -> str:
    at_least = "at least " if report.at_least else ""
    lines = [
        f"{report.verdict.upper()}: {report.function}, {report.dtype}",
        f"method {report.method}, {_tolerance(report)}",
        f"{_many(report.entries, 'entry', 'entries')}, {at_least}{report.wrong:,} wrong, "
        f"{report.kinks:,} on kinks; {_many(report.evaluations, 'value', 'values')} evaluated "
        f"in {report.seconds:.3g} s",
        _detectable(report.arrays),
        *report.notes,
    ]
    return "\n".join(_wrapped(line) for line in lines if line)


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


def _wrapped(line: str) -> str:
    """Break what is too long for one line: the sizes of a deep network, a list of arrays."""
    return textwrap.fill(line, WIDTH, subsequent_indent="  ")


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


def _arrays_table(arrays: Iterable[ArrayReport]) -> str:
    table = _table("array", "shape")
    for heading in ("entries", "wrong", "zero", "kinks", "largest error"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("verdict", overflow="fold")
    for row in arrays:
        table.add_row(
            row.name,
            str(row.shape),
            f"{row.entries}",
            f"{row.wrong}",
            f"{row.zero}",
            f"{row.kinks}",
            "" if row.worst is None else f"{row.worst.beyond_hull:.2e}",
            row.verdict,
        )
    return _plain_text(table)


def _reasons(arrays: tuple[ArrayReport, ...]) -> str:
    """Return a line for each reason, with the arrays that have it."""
    named: dict[str, list[str]] = {}
    for row in arrays:
        if row.reason:
            named.setdefault(row.reason, []).append(row.name)
    lines = []
    for reason, names in named.items():
        everywhere = 2 < len(names) == len(arrays)
        lines.append(f"{'all arrays' if everywhere else ', '.join(names)}: {reason}")
    return "\n".join(map(_wrapped, lines))


def _factors(arrays: Iterable[ArrayReport]) -> str:
    return "\n".join(filter(None, map(_factor_line, arrays)))


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
    table = _table("wrong entry")
    for heading in ("given", "numerical", "error", "error bar", "allowed"):
        table.add_column(heading, justify="right", overflow="fold")
    for failure in _shown(failures):
        table.add_row(
            failure.where,
            *told_apart(failure.given, failure.numerical),
            f"{failure.error:.2e}",
            f"{failure.error_bar:.1e}",
            f"{failure.allowed:.1e}",
        )
    more = len(failures) - FAILURES_SHOWN
    note = f"\n({more} more in report.failures)" if more > 0 else ""
    return _plain_text(table) + note


def _shown(failures: tuple[Failure, ...]) -> list[Failure]:
    """Return the entries to print: the worst of each array first, then the worst of the rest."""
    first: dict[str, Failure] = {}
    for failure in failures:
        first.setdefault(failure.array, failure)
    heads = list(first.values())[:FAILURES_SHOWN]
    chosen = {failure.where for failure in heads}
    rest = [failure for failure in failures if failure.where not in chosen]
    return heads + rest[: FAILURES_SHOWN - len(heads)]


def _table(*headings: str) -> Table:
    table = Table(box=HEADER_RULE, show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _plain_text(table: Table) -> str:
    file = io.StringIO()
    # Everything that rich would guess from the environment is said, so that a report looks the
    # same everywhere; without markup a name such as weights[x] stays what it is.
    console = Console(
        file=file,
        width=WIDTH,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
