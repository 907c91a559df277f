"""Reports and their rows, made by hand."""

from __future__ import annotations

import dataclasses
import math

from fastbp.report import ArrayReport, Failure, Report


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
