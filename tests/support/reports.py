"""Reports and their rows, made by hand."""

from __future__ import annotations

import dataclasses
import math

from fastbp.report import ArrayReport, Failure, Kink, Report
from fastbp.report.model import Certificate


def failure(array="weights[1]", index=(3, 17), given=2.0, numerical=1.0) -> Failure:
    error = abs(given - numerical)
    error = math.inf if math.isnan(error) else error
    return Failure(array, index, given, numerical, error, error_bar=1e-9, allowed=1e-6)


def row(name="weights[0]", **changes) -> ArrayReport:
    passed = ArrayReport(
        name=name,
        shape=(5, 4),
        entries=20,
        wrong=0,
        zero=2,
        kinks=1,
        worst=failure(name, (1, 1), 1.0, 1.0 + 1e-10),
        factor=1.0,
        residual=1e-12,
        detectable=2e-6,
        verdict="passed",
        reason="",
    )
    return dataclasses.replace(passed, **changes)


def failed_row(name="weights[1]", **changes) -> ArrayReport:
    options = {"wrong": 7, "factor": 2.0, "verdict": "failed", "reason": "7 of 20 are wrong"}
    return row(name, **{**options, **changes})


def report(*rows: ArrayReport, verdict="passed", failures=(), **changes) -> Report:
    options = {
        "sizes": (4, 5, 2),
        "batch": 3,
        "dtype": "float64",
        "layout": "book",
        "method": "replay",
        "scheme": "central",
        "delta": 1e-6,
        "rtol": None,
        "atol": None,
        "evaluations": 80,
        "seconds": 0.0123,
    }
    return Report(verdict, rows, tuple(failures), **{**options, **changes})


def failed_report() -> Report:
    return report(row(), failed_row(), verdict="failed", failures=[failure()])


def full_of(number: float) -> Report:
    """A report in which every number that may be no real one is `number`."""
    bad = dataclasses.replace(
        failure(given=number, numerical=number), error=number, error_bar=number, allowed=number,
        hull=number,
    )  # fmt: skip
    numbers = {"worst": bad, "factor": number, "residual": number, "detectable": number}
    single = failed_row("weights[1]", entries=1, zero=0, kinks=0, **numbers)
    proof = Certificate(3, 7, number, number, samples=2, differenced=1, problem="")
    kink = Kink("biases[0]", (3,), number, number, number, number, "which is no number")
    return report(
        row(**numbers), single, row("biases[0]", verdict="inconclusive", **numbers),
        verdict="failed", failures=[bad, bad], method="certified", scheme=None, delta=None,
        rtol=number, atol=number, seconds=number, certificate=proof, kink=kink,
    )  # fmt: skip
