"""Rows of a report: which entries are listed, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from support.judging import BAR, TIGHT, gradient, judge

from fastbp.report import Failure
from fastbp.verdict import blocks
from fastbp.verdict.rows import (
    FAILURES_IN_ALL,
    bare_row,
    unjudged_rows,
    worst_first,
    worst_of_all,
)
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small


def failure(error: float, allowed: float, *index: int, array: str = "a") -> Failure:
    return Failure(array, index, error, 0.0, error, allowed, allowed)


def test_failures_come_by_error_over_allowed_and_no_more_than_can_be_listed():
    numerical = gradient(1500)
    errors = np.random.default_rng(1).permutation(np.linspace(1, 2, 1500))
    bars = np.random.default_rng(2).permutation(np.geomspace(1e-6, 1e-1, 1500))
    found = judge(numerical + errors, numerical, bars)
    assert found.wrong == 1500
    ratios = errors / (bars + TIGHT.rtol * np.abs(numerical))
    assert found.failures == np.argsort(-ratios).tolist()[:FAILURES_IN_ALL]
    assert found.worst == found.failures[0]


def test_the_largest_error_is_not_the_worst_where_more_is_allowed():
    given, numerical = np.array([1.1, 1000.5]), np.array([1.0, 1000.0])
    found = judge(given, numerical, np.array([1e-3, 0.4]), Tolerance(0.0, 0.0))
    assert (found.worst, found.failures) == (0, [0, 1])
    # Also where nothing is wrong.
    found = judge(given, numerical, np.array([0.2, 10.0]), Tolerance(0.0, 0.0))
    assert (found.worst, found.wrong) == (0, 0)


def test_equal_ratios_come_in_the_order_of_their_places():
    found = judge(np.full(20, 3.0), np.full(20, 1.0))
    assert found.failures == list(range(20))
    # Twice what is allowed, of errors that differ.
    found = judge(np.array([1.5, 3.0, 0.75]), np.zeros(3), np.array([0.75, 1.5, 0.375]))
    assert found.failures == [0, 1, 2]


@pytest.mark.parametrize("block", [2, 3, 1 << 16])
def test_what_is_not_finite_comes_first_and_then_what_nothing_is_allowed(monkeypatch, block):
    monkeypatch.setattr(blocks, "BLOCK", block)
    given = np.array([9.0, 5.0, np.inf, 8.0, np.nan, 7.0, 5.0, -np.inf])
    bars = np.array([1.0, 0.0, 1.0, 0.0, 9.0, 0.1, 0.0, 0.0])
    found = judge(given, np.zeros(8), bars, Tolerance(0.0, 0.0))
    assert found.failures == [2, 4, 7, 3, 1, 6, 5, 0]
    assert found.worst == 2


def test_failures_of_several_arrays_come_by_error_over_allowed():
    first = failure(8.0, 4.0, 0), failure(1.0, 0.5, 1)
    second = failure(3.0, 1.0, 0, array="b"), failure(np.inf, 1.0, 1, array="b")
    chosen = worst_of_all([first, second[::-1]])
    assert chosen == (second[1], second[0], *first)
    nothing_allowed = failure(1e-30, 0.0, 2), failure(2e-30, 0.0, 3)
    ordered = worst_first([*first, *nothing_allowed, *second])
    assert ordered == [second[1], *nothing_allowed[::-1], second[0], *first]


def test_a_row_without_a_comparison_has_nothing_but_its_verdict():
    rows = unjudged_rows(
        ["w", "b"], [(2, 3), (2,)], [np.zeros((2, 3)), np.zeros(3)], "nothing to compare with"
    )
    assert rows == [
        bare_row("w", (2, 3), 6, "inconclusive", "nothing to compare with"),
        bare_row("b", (2,), 2, "failed", "must have shape (2,), not (3,)"),
    ]
    assert [(row.wrong, row.worst, row.detectable) for row in rows] == [
        (0, None, np.inf), (2, None, np.inf),
    ]  # fmt: skip


def test_a_hull_passes_what_is_inside_and_counts_as_a_kink():
    """At |x| from 0: the mean of the slopes is 0, any number from -1 to 1 is a convention."""
    hull = np.array([1.0])
    for given in (-1.0, 0.0, 0.5):
        found = judge(np.array([given]), np.zeros(1), BAR, hull=hull)
        assert (found.verdict, found.kinks, found.zero) == ("passed", 1, 0)
    assert judge(np.array([1.1]), np.zeros(1), BAR, hull=hull).verdict == "failed"
