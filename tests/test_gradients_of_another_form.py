"""Gradients of another shape, dtype or number of arrays: findings, never broadcast."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.mistake_points import POINTS, correct_lists, interleaved

import fastbp
from fastbp.errors import FastbpError


@pytest.mark.small
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b.ravel(), r"\(7, 1\).*\(7,\)"),
        (lambda b: b.T, r"\(7, 1\).*\(1, 7\)"),
        (lambda b: np.repeat(b, 4, axis=1), r"\(7, 1\).*\(7, 4\)"),
        (lambda b: float(b[0, 0]), r"\(7, 1\).*\(\)"),
        (lambda b: b[:1], r"\(7, 1\).*\(1, 1\)"),
        (lambda b: b.astype(np.int64), "int64"),
        (lambda b: b.astype(np.complex128), "complex128"),
        (lambda b: b != 0, "bool"),
        (lambda b: np.where(np.arange(7)[:, None] == 3, np.nan, b), "not finite|NaN|nan"),
        (lambda b: np.where(np.arange(7)[:, None] == 3, np.inf, b), "not finite|inf"),
    ],
    ids=["flat", "row", "batch", "scalar", "one", "int", "complex", "bool", "nan", "inf"],
)
def test_an_array_that_cannot_be_a_gradient_fails_with_its_reason(change, reason):
    problem = POINTS["distinct sizes"]
    d_weights, d_biases = correct_lists(problem)
    d_biases[0] = change(d_biases[0])
    report = fastbp.check_network(problem.network(), problem.x, problem.y, (d_weights, d_biases))
    rows = {row.name: row for row in report.arrays}
    assert report.verdict == "failed"
    assert rows["biases[0]"].verdict == "failed"
    assert re.search(reason, rows["biases[0]"].reason)
    assert all(row.verdict == "passed" for row in report.arrays if row.name != "biases[0]")


@pytest.mark.small
@pytest.mark.parametrize(
    "wrong_number",
    [
        lambda w, b: (w[:-1], b),
        lambda w, b: (w, b[:-1]),
        lambda w, _: (w, None),
        lambda w, b: (w, [*b, b[0]]),
        lambda w, b: w + b,
        lambda *_: np.zeros(3),
        lambda w, b: np.concatenate([a.ravel() for a in interleaved(w, b)] + [np.zeros(1)]),
        lambda *_: "gradient",
        lambda *_: 3.0,
        lambda w, b: (w, ["a"] * len(b)),
        lambda w, b: (w, [None] * len(b)),
        lambda w, b: {"weights": w, "biases": b},
        lambda w, b: lambda *_: (w[:-1], b),
        lambda *_: lambda *_: None,
    ],
    ids=[
        "too few weights",
        "too few biases",
        "no biases",
        "too many biases",
        "one list",
        "short vector",
        "long vector",
        "string",
        "number",
        "list of strings",
        "list of nones",
        "dict",
        "function with too few",
        "function of none",
    ],
)
def test_a_wrong_number_of_arrays_raises(wrong_number):
    problem = POINTS["distinct sizes"]
    with pytest.raises(FastbpError, match="gradient"):
        fastbp.check_network(
            problem.network(), problem.x, problem.y, wrong_number(*correct_lists(problem))
        )
