"""What checks of any function have in common: options, tolerance, rows and the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fastbp.errors import EvaluationError
from fastbp.function.methods.options import Options
from fastbp.report import ArrayReport, Failure, Report
from fastbp.report.model import report_with_rows_to_come
from fastbp.runtime.environment import made_here
from fastbp.verdict.arrays import check_verdict
from fastbp.verdict.rows import worst_of_all
from fastbp.verdict.rows_to_come import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastbp.report.model import ArrayVerdict
    from fastbp.runtime.account import Account
    from fastbp.runtime.compilation import Stopwatch

__all__ = [
    "FunctionCheck",
    "finished",
    "followed_by",
    "limits_left",
    "noting_scalar_cotangent",
    "report_of",
    "report_to_come",
    "unless_stopped",
    "with_probe",
    "with_rows",
]


@dataclass(frozen=True, slots=True)
class FunctionCheck:
    """What a check of one scalar function found."""

    rows: tuple[ArrayReport, ...] = ()
    others: tuple[ArrayReport, ...] = ()
    failures: tuple[tuple[Failure, ...], ...] = ()
    method: str = ""
    evaluations: int = 0
    notes: tuple[str, ...] = ()
    at_least: bool = False
    diagnosis: tuple[str, ...] = ()


def report_of(
    checks: list[FunctionCheck],
    title: str,
    precision: str,
    options: Options,
    watch: Stopwatch,
) -> Report:
    """Put checks together to a report; `precision` is that of `Point`."""
    rows = [row for check in checks for row in check.rows]
    others = [row for check in checks for row in check.others]
    return Report(
        verdict=check_verdict([row.verdict for row in rows], [row.verdict for row in others]),
        arrays=Rows.of(rows).with_others(others),
        **_parts(checks, title, precision, options, watch),
    )


def report_to_come(
    check: FunctionCheck,
    verdicts: Sequence[ArrayVerdict],
    make_rows: Callable[[], Sequence[ArrayReport]],
    title: str,
    precision: str,
    options: Options,
    watch: Stopwatch,
) -> Report:
    """Return the report of a check whose rows, of these verdicts, are made when somebody looks."""
    return report_with_rows_to_come(
        lambda: Rows.of(make_rows()).with_others(()),
        verdict=check_verdict(verdicts, ()),
        **_parts([check], title, precision, options, watch),
    )


def _parts(
    checks: Sequence[FunctionCheck], title: str, precision: str, options: Options, watch: Stopwatch
) -> dict[str, Any]:
    """Return all of a report but its verdict and its rows."""
    return {
        "failures": worst_of_all([wrong for check in checks for wrong in check.failures]),
        "sizes": (),
        "batch": 0,
        "dtype": precision,
        "layout": "",
        "method": checks[0].method,
        "scheme": "central",
        "delta": 0.0,
        "rtol": options.rtol,
        "atol": options.atol,
        "evaluations": sum(check.evaluations for check in checks),
        "seconds": watch.seconds,
        "compile_seconds": watch.compile_seconds,
        "function": title,
        "seed": options.seed,
        "made": made_here(),
        "at_least": any(check.at_least for check in checks),
        "notes": tuple(note for check in checks for note in check.notes),
        "diagnosis": tuple(said for check in checks for said in check.diagnosis),
    }


def finished(report: Report, account: Account, errors: Sequence[EvaluationError] = ()) -> Report:
    """Return a report, or raise the interrupt that ended the check, with the report on it.

    Without an interrupt, the first of some errors that f raised beside the point, if there are any.
    """
    stopped = account.stopped
    if stopped is not None and stopped.interrupt is not None:
        vars(stopped.interrupt)["report"] = report
        raise stopped.interrupt
    for error in errors:
        vars(error)["report"] = report
        raise error
    return report


def with_rows(report: Report, rows: Sequence[ArrayReport]) -> Report:
    """Add rows that can fail a check, but cannot make it pass."""
    if not rows:
        return report
    former = "untested" if report.verdict == "vacuous" else report.verdict
    verdict = check_verdict([former], [row.verdict for row in rows])
    return replace(report, verdict=verdict, arrays=(*report.arrays, *rows))


def unless_stopped(
    account: Account, check: Callable[[], FunctionCheck], what: str
) -> FunctionCheck:
    """Make a check that only calls the derivative; a note where the account is, or gets, closed."""
    if account.stopped is None:
        with account.until_stopped():
            return check()
    assert account.stopped is not None
    return FunctionCheck(notes=(f"{what} not checked: {account.stopped.reason}",))


def followed_by(report: Report, check: Callable[[], Report], prefix: str) -> Report:
    """Return one report of two, the second of which is made now; its names begin with a prefix.

    What ends the second check carries the first report too.
    """
    try:
        other = check()
    except (KeyboardInterrupt, EvaluationError) as error:
        partial = vars(error).get("report")
        vars(error)["report"] = report if partial is None else _joined(report, partial, prefix)
        raise
    return _joined(report, other, prefix)


def limits_left(options: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Return the options of another check, with what a first one leaves of the limits."""
    left = dict(options)
    if left.get("budget") is not None:
        left["budget"] = max(0.0, left["budget"] - report.seconds)
    if left.get("max_evaluations") is not None:
        left["max_evaluations"] = max(1, left["max_evaluations"] - report.evaluations)
    return left


def with_probe(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a second check of the same function: by probe, if not chosen.

    Every entry of a backward pass, by the arguments and by the incoming gradient, takes several
    times as long as the check of the function itself.
    """
    chosen = options.get("method", "auto")
    return {**options, "method": "probe" if chosen == "auto" else chosen}


def _joined(report: Report, other: Report, prefix: str) -> Report:
    rows = [
        replace(
            row,
            name=prefix + row.name,
            worst=row.worst and replace(row.worst, array=prefix + row.worst.array),
        )
        for row in other.arrays
    ]
    failures = tuple(replace(failure, array=prefix + failure.array) for failure in other.failures)
    return replace(
        with_rows(report, rows),
        failures=worst_of_all([report.failures, failures]),
        evaluations=report.evaluations + other.evaluations,
        seconds=report.seconds + other.seconds,
        compile_seconds=report.compile_seconds + other.compile_seconds,
        at_least=report.at_least or other.at_least,
        notes=(*report.notes, *(f"{prefix}{note}" for note in other.notes)),
        diagnosis=(*report.diagnosis, *(f"{prefix}{said}" for said in other.diagnosis)),
    )


def noting_scalar_cotangent(report: Report, cotangent: float) -> Report:
    """Say with which cotangent a gradient was asked for, where it is wrong."""
    if report.verdict != "failed":
        return report
    note = f"asked with a cotangent of {cotangent:g}; the gradient is what came back, divided by it"
    return replace(report, notes=(*report.notes, note))
