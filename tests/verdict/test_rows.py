"""Rows of a report: which entries are listed, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from support.judging import BAR, TIGHT, gradient, judge

from fastbp.report import Failure
from fastbp.report.pictures.cells import Cells
from fastbp.verdict import blocks
from fastbp.verdict.entries import Entries
from fastbp.verdict.rows import (
    FAILURES_IN_ALL,
    Numerical,
    bare_row,
    judged_row,
    summarised_row,
    unjudged_rows,
    worst_first,
    worst_of_all,
)
from fastbp.verdict.summary import summarise
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


def test_what_cannot_be_compared_is_no_single_precision():
    """Of four bytes are integers too, which have no tolerance of their own."""
    beside = Numerical("a", (3,), np.ones(3), 1e-9)
    for dtype, shape in ((np.int32, (3,)), (np.float32, (2,))):
        row, _ = judged_row(np.ones(shape, dtype), beside, np.dtype(np.float64), None)
        plain, _ = judged_row(np.ones(2), beside, np.dtype(np.float64), None)
        assert (row.verdict, row.detectable) == ("failed", plain.detectable)


# ---- pictures ----


@pytest.mark.parametrize("chosen", [False, True])
def test_a_picture_shows_entries_at_their_places(monkeypatch, chosen):
    """In blocks of two; of an array of 2 x 3 entries four were chosen, or of 2 x 2 all."""
    monkeypatch.setattr(blocks, "BLOCK", 2)
    places, kink = np.array([5, 0, 3, 1]), np.array([False, True, False, True])
    shape = (4,) if chosen else (2, 2)
    inside = ((2, 3), places) if chosen else None
    beside = Numerical("a", shape, np.zeros(4), 1.0, kink=kink, inside=inside)
    given = np.array([1.0, 2.0, 3.0, 4.0]).reshape(shape)
    row, _ = judged_row(given, beside, np.dtype(np.float64), Tolerance(0.0, 0.0))
    assert row.picture is not None
    ratios = [[2.0, 4.0, -1.0], [3.0, -1.0, 1.0]] if chosen else [[1.0, 2.0], [3.0, 4.0]]
    assert row.picture.ratios.tolist() == ratios
    assert row.picture.kinks is not None
    assert row.picture.kinks.tolist() == (
        [[True, True, False], [False, False, False]] if chosen else [[False, True], [False, True]]
    )
    assert row.picture.samples[:, 0].tolist() == (places.tolist() if chosen else [0, 1, 2, 3])


def test_an_array_that_failed_is_drawn_again_where_it_has_a_picture():
    given, bars, radii = np.array([5.0, 2.0]), np.ones(2), np.array([0.5, 3.0])
    entries = Entries(0, given, np.zeros(2), bars, radii)
    tolerance = Tolerance(0.0, 0.0)
    found = summarise(given, np.zeros(2), bars, tolerance, hull=radii)
    coarse, finer = Cells((2,)), Cells((2,))
    coarse.add(0, np.full(2, 9.0), np.zeros(2, bool))
    first = coarse.picture(np.ones((1, 5)))
    again = (lambda: [entries], tolerance, None)
    row, _ = summarised_row("a", (2,), found, *again, first, finer)
    assert row.picture is not None
    assert row.picture.ratios.tolist() == [[5.0 / 1.5, 2.0 / 4.0]]
    assert row.picture.kinks is not None
    assert row.picture.kinks.tolist() == [[False, True]]
    assert row.picture.samples.tolist() == [[1.0] * 5]
    without, _ = summarised_row("a", (2,), found, *again, None, Cells((2,)))
    assert without.picture is None
    same, _ = summarised_row("a", (2,), found, *again, first)
    assert same.picture is first


def test_a_hull_passes_what_is_inside_and_counts_as_a_kink():
    """At |x| from 0: the mean of the slopes is 0, any number from -1 to 1 is a convention."""
    hull = np.array([1.0])
    for given in (-1.0, 0.0, 0.5):
        found = judge(np.array([given]), np.zeros(1), BAR, hull=hull)
        assert (found.verdict, found.kinks, found.zero) == ("passed", 1, 0)
    assert judge(np.array([1.1]), np.zeros(1), BAR, hull=hull).verdict == "failed"
