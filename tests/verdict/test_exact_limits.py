"""Where an entry becomes wrong, to the last digit, and the numbers that stand beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.report import Failure
from fastbp.verdict.agreement import Agreement
from fastbp.verdict.blocks import BLOCK, blocks, largest_finite, norm, power_below
from fastbp.verdict.entries import Entries, compare, wrong_entries
from fastbp.verdict.rows import (
    Numerical,
    bare_row,
    judged_row,
    unusable_reason,
    worst_first,
    worst_of_all,
)
from fastbp.verdict.summary import Unexplained, summaries, summarise, summary_rows
from fastbp.verdict.tolerance import Tolerance, default_tolerance

pytestmark = pytest.mark.small

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


# ---- tolerances ----


def test_default_tolerances_are_these_numbers():
    numerical = np.array([-3.0, 2.0, np.inf])
    assert default_tolerance(FLOAT64, numerical) == Tolerance(1e-6, 0.0)
    assert default_tolerance(FLOAT32, numerical) == Tolerance(1e-4, 3 * 64 * 2.0**-23)


def test_a_tolerance_that_is_not_given_is_zero():
    assert Tolerance.of(None, None) is None
    assert Tolerance.of(None, 2.0) == Tolerance(0.0, 2.0)
    assert Tolerance.of(3.0, None) == Tolerance(3.0, 0.0)


@pytest.mark.parametrize(
    ("given", "computed_in", "largest_error"),
    [
        (np.float64, FLOAT64, 2e-6),
        (np.float32, FLOAT64, 2e-4 + 2 * 64 * 2.0**-23),
        (np.float64, FLOAT32, 2e-4 + 2 * 64 * 2.0**-23),
    ],
)
def test_the_coarser_precision_sets_the_tolerance(given, computed_in, largest_error):
    numerical = Numerical("a", (1,), np.array([2.0]), 0.0)
    for share, verdict in ((0.99, "passed"), (1.01, "failed")):
        row, _ = judged_row(
            np.array([2.0 + share * largest_error], given), numerical, computed_in, None
        )
        assert row.verdict == verdict
        assert row.detectable == pytest.approx(2 * largest_error, rel=1e-12)


def test_every_part_of_what_is_allowed_counts_once():
    tolerance = Tolerance(rtol=0.5, atol=0.0625)
    allowed = 0.25 + 0.125 + 0.0625 + 0.5 * 2.0
    for error, wrong in ((allowed, False), (allowed + 2.0**-51, True)):
        for sign in (1.0, -1.0):
            entries = Entries(0, np.array([2.0 + sign * error]), np.array([2.0]), 0.25, 0.125)
            found = compare(entries, tolerance)
            assert found.wrong.tolist() == [wrong]
            assert found.allowed.tolist() == [allowed]
    assert found.ratio.tolist() == [pytest.approx(1, abs=1e-15)]
    found = compare(Entries(0, np.array([5.0]), np.array([2.0]), 0.0), Tolerance(0.0, 2.0))
    assert found.ratio.tolist() == [1.5]


def test_what_is_not_finite_has_a_ratio_of_its_own():
    given = np.array([np.nan, 1.0, 1.0, 0.0, np.nan, np.inf])
    numerical = np.array([1.0, np.inf, 1.0, 0.0, np.nan, 1.0])
    left_out = np.array([False, False, False, False, False, True])
    found = compare(Entries(0, given, numerical, 0.0, 0.0, left_out), Tolerance(0.0, 0.0))
    assert found.wrong.tolist() == [True, False, False, False, False, True]
    assert found.judged.tolist() == [True, False, True, True, False, False]
    assert found.finite.tolist() == [False, True, True, True, False, False]
    assert found.ratio.tolist() == [math.inf, -1.0, 0.0, 0.0, -1.0, math.inf]


# ---- sums over an array ----


def test_a_summary_counts_every_kind_of_entry():
    numerical = np.array([4.0, 0.5, 0.0, np.nan, 3.0, 0.25])
    given = np.array([4.0, 0.0, 0.0, 1.0, np.inf, 0.5])
    hull = np.array([0.0, 0.0, 2.0, 0.0, 0.0, 0.0])
    left_out = np.arange(6) == 5
    found = summarise(given, numerical, 1.0, Tolerance(0.0, 0.0), hull=hull, left_out=left_out)
    assert (found.entries, found.wrong, found.zero, found.kinks, found.left_out) == (6, 1, 1, 2, 1)
    assert (found.broken, found.not_finite, found.above_noise) == (1, 1, 3)
    assert (found.not_zero > 0, found.largest_allowed, found.detectable) == (True, 3.0, 6.0)
    assert found.worst == (4, math.inf, 3.0, 1.0, 0.0)
    # 4 * 4 over 4**2 + 0.5**2: only what is judged and finite.
    assert found.factor == 16.0 / 16.25


def test_zero_is_what_no_convention_brings_above_the_bar():
    zeros, nothing = np.zeros(1), Tolerance(0.0, 0.0)
    for hull, zero, kinks in ((0.5, 1, 0), (0.500001, 0, 0), (1.000001, 0, 1)):
        found = summarise(zeros, np.array([0.5]), 1.0, nothing, hull=hull)
        assert (found.zero, found.kinks, found.above_noise) == (zero, kinks, kinks)
    assert summarise(np.ones(1), np.ones(1), 1.0, nothing).above_noise == 0
    assert summarise(np.ones(1), np.array([1.0001]), 1.0, nothing).above_noise == 1


def test_the_worst_is_the_first_of_equals():
    numerical = np.arange(1.0, 6.0)
    found = summarise(numerical + np.array([0, 2, 0, 2, 1]), numerical, 1.0, Tolerance(0.0, 0.0))
    assert found.worst.place == 1


def test_a_factor_needs_something_to_be_a_multiple_of():
    nothing = Tolerance(0.0, 0.0)
    assert summarise(np.ones(3), np.zeros(3), 1.0, nothing).factor is None
    assert summarise(np.full(3, 1e300), np.full(3, 1e-300), 1.0, nothing).factor is None
    tiny = np.array([3e-200, 4e-200])
    assert summarise(-2 * tiny, tiny, 1.0, nothing).factor == pytest.approx(-2, rel=1e-15)


def test_the_residual_is_relative_to_what_was_given():
    found = Unexplained(2.0)
    found.add(np.array([2.0, 0.0]), np.array([1.0, 2.0]))  # off by 0 and -4
    found.add(np.array([5.0]), np.array([1.0]))  # off by 3
    assert found.residual == pytest.approx(5 / math.sqrt(29), rel=1e-15)
    assert Unexplained(None).residual is None
    beyond = Unexplained(1e300)
    beyond.add(np.array([1.0]), np.array([1e300]))
    assert beyond.residual is None
    everything_zero = Unexplained(1.0)
    everything_zero.add(np.zeros(2), np.ones(2))
    assert everything_zero.residual is None


def test_every_array_of_a_table_has_its_own_worst_entry():
    given, numerical = np.array([1.0, 2.0, 9.0, 4.0, 5.0, 6.5]), np.arange(1.0, 7.0)
    entries = Entries(10, given, numerical, 1.0)
    table = summary_rows(entries, Tolerance(0.0, 0.0), 1.0, starts=(0, 1, 3))
    found = summaries(table, [0, 1, 2], [1, 2, 3])
    assert [array.worst.place for array in found] == [10, 11, 12]
    assert [array.worst.given for array in found] == [1.0, 9.0, 6.5]
    assert summaries(table, [0], [6])[0].worst.given == 9.0
    merged = summaries(table, [0, 1], [1, 5])
    assert [array.worst.place for array in merged] == [10, 11]
    assert merged[1].wrong == 1


def test_an_array_without_entries_has_a_summary():
    found = summarise(np.zeros(0), np.zeros(0), 0.0, Tolerance(0.0, 0.0))
    assert (found.entries, found.wrong, found.worst) == (0, 0, None)


def test_what_is_not_judged_has_no_part_in_what_can_be_seen():
    left_out = np.array([False, True, True])
    found = summarise(
        np.array([1.0, 0.0, 3.0]), np.array([1.0, 0.0, 2.0]), 1e-9, Tolerance(0.0, 0.0),
        left_out=left_out,
    )  # fmt: skip
    assert found.largest_allowed == 1e-9
    # The zero among those that are left out counts as a zero.
    assert (found.zero, found.left_out, found.kinks) == (1, 1, 2)


# ---- blocks and norms ----


def test_blocks_meet():
    assert [*blocks(2 * BLOCK + 3)] == [
        slice(0, BLOCK), slice(BLOCK, 2 * BLOCK), slice(2 * BLOCK, 2 * BLOCK + 3),
    ]  # fmt: skip
    assert BLOCK == 2**15
    assert [*blocks(0)] == []


def test_wrong_entries_and_the_largest_one_are_found_in_every_block(monkeypatch):
    monkeypatch.setattr("fastbp.verdict.blocks.BLOCK", 2)
    numerical = np.array([9.0, 1.0, 1.0, 1.0, 2.0])
    assert largest_finite(numerical) == 9.0
    given = numerical + np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    assert wrong_entries(given, numerical, 0.5, Tolerance(0.0, 0.0)).tolist() == [
        True, False, False, True, True,
    ]  # fmt: skip


def test_norms_and_sizes():
    assert norm(np.array([3e200, -4e200])) == pytest.approx(5e200, rel=1e-15)
    assert norm(np.array([-3e-200, 4e-200])) == pytest.approx(5e-200, rel=1e-15)
    assert norm(np.zeros(2)) == 0.0
    assert norm(np.array([1.0, np.inf])) == math.inf
    assert largest_finite(np.array([1.0, -7.0, np.inf, np.nan])) == 7.0
    assert largest_finite(np.array([np.nan])) == 0.0
    for value in (1e300, 1.0, 1e-300):
        assert 0.5 <= value * power_below(value) < 1.0
    assert (power_below(0.0), power_below(math.inf)) == (1.0, 1.0)
    assert (power_below(1e308), power_below(5e-324)) == (2.0**-1000, 2.0**1000)


# ---- how near ----


def sentence(error, size=2.0, bar=0.0, hull=0.0, wrong=1, largest=1.0):
    found = Agreement()
    numerical = np.array([size, largest])
    given = numerical + np.array([error, 0.0])
    found.add(given, numerical, np.array([bar, 0.0]), np.array([hull, 0.0]))
    found.add(np.ones(1), np.ones(1), np.zeros(1), np.zeros(1))
    return found.sentence(wrong)


def test_a_near_miss_names_the_tolerance_it_needs():
    assert sentence(4e-6) == "it agrees to 6 digits; an rtol of 3e-06 would pass"
    assert sentence(-4e-6, wrong=2) == "they agree to 6 digits; an rtol of 3e-06 would pass"
    assert sentence(4e-6, hull=2e-6) == "it agrees to 6 digits; an rtol of 2e-06 would pass"
    assert sentence(4e-6, bar=3.9e-6) == "it agrees to 6 digits; an rtol of 3e-06 would pass"
    assert sentence(1.9e-5) == "it agrees to 5 digits; an rtol of 1e-05 would pass"
    assert sentence(2.1e-5) == ""
    assert sentence(4e-6, bar=4.1e-6) == ""
    # An error that is large beside its entry, and small beside the largest one.
    many = "digits of the largest entry; an atol of"
    assert sentence(9e-6, size=1e-6) == f"it agrees to 5 {many} 1e-05 would pass"
    assert sentence(9e-6, size=1e-6, largest=100.0) == f"it agrees to 7 {many} 1e-05 would pass"
    assert sentence(1.1e-5, size=1e-6) == ""
    assert sentence(9e-5, size=1e-6, largest=100.0) == f"it agrees to 6 {many} 1e-04 would pass"
    alone = Agreement()
    alone.add(np.array([1e-8]), np.array([1e-9]), np.zeros(1), np.zeros(1))
    assert alone.sentence(1) == ""
    # Rounded up to one digit: 1.029e-5, and 1.995e-6, which is nearly 2e-6.
    assert sentence(1.96e-5) == "it agrees to 5 digits; an rtol of 2e-05 would pass"
    assert sentence(9.8e-6, size=1.0) == "it agrees to 5 digits; an rtol of 2e-05 would pass"
    assert sentence(1.9e-6, size=1.0) == "it agrees to 6 digits; an rtol of 2e-06 would pass"
    # An exact zero beside it says nothing.
    assert sentence(4e-6, largest=0.0) == "it agrees to 6 digits; an rtol of 3e-06 would pass"
    assert sentence(2.9e-6, size=0.0) == f"it agrees to 6 {many} 4e-06 would pass"


# ---- the worst entries ----


def failure(error, allowed, index=0):
    return Failure(
        array="a", index=(index,), given=0.0, numerical=0.0, error=error, error_bar=0.0,
        allowed=allowed, hull=0.0,
    )  # fmt: skip


def test_the_worst_come_first():
    found = [
        failure(2.0, 1.0), failure(3.0, 0.0), failure(9.0, 3.0), failure(math.inf, 1.0),
        failure(4.0, 0.0), failure(1e300, 1e-300),
    ]  # fmt: skip
    ordered = [(f.error, f.allowed) for f in worst_first(found)]
    assert ordered == [
        (math.inf, 1.0), (1e300, 1e-300), (4.0, 0.0), (3.0, 0.0), (9.0, 3.0), (2.0, 1.0),
    ]  # fmt: skip


def test_every_array_has_ten_and_all_together_have_a_thousand():
    many = tuple(failure(1000.0 - place, 1.0, place) for place in range(1000))
    few = tuple(failure(2.0 - place / 100, 1.0, place) for place in range(20))
    found = worst_of_all([many, (), few])
    assert len(found) == 1000
    assert sum(f.error <= 2.0 for f in found) == 10
    assert len(worst_of_all([many[:500], few])) == 520
    assert len(worst_of_all([many[:20]] + [few] * 99)) == 1000
    assert worst_of_all([(), ()]) == ()
    assert len(worst_of_all([few[:5]] * 400)) == 1000


def test_every_wrong_array_is_among_the_thousand():
    large, small = failure(1e6, 1.0), failure(2.0, 1.0)
    found = worst_of_all([(large,) * 50] + [(small,)] * 1000)
    assert [f.error for f in found] == [1e6] + [2.0] * 999
    found = worst_of_all([(large,) * 50] * 300 + [(small,) * 2] * 300)
    assert sum(f.error == 2.0 for f in found) == 300


def test_the_worst_of_many_blocks_are_kept(monkeypatch):
    monkeypatch.setattr("fastbp.verdict.blocks.BLOCK", 1000)
    errors = np.arange(2.0, 2502.0)
    for order in (slice(None), slice(None, None, -1)):
        _, failures = judged_row(
            errors[order], Numerical("a", (2500,), np.zeros(2500), 1.0), FLOAT64, Tolerance(0, 0)
        )
        assert [f.error for f in failures] == errors[:-1001:-1].tolist()


@pytest.mark.parametrize("wrong", [np.inf, np.nan])
def test_what_is_not_finite_hides_no_factor_and_is_no_near_miss(wrong):
    numerical = np.array([1.0, 2.0, 4.0])
    given = np.array([wrong, 2.0 + 2e-7, 4.0 + 4e-7])
    row, failures = judged_row(
        given, Numerical("a", (3,), numerical, 0.0), FLOAT64, Tolerance(1e-9, 0.0)
    )
    assert row.reason == "3 of 3 entries are wrong, 1 of them not finite"
    assert row.residual < 1e-7
    assert failures[0].error == math.inf
    assert failures[1].error == pytest.approx(2e-7, rel=1e-6)


@pytest.mark.parametrize(("noise", "verdict"), [(0.01, "failed"), (1.0, "untested")])
def test_zeros_are_judged_as_a_whole_where_the_derivative_is_no_zero(noise, verdict):
    numerical = Numerical("a", (1,), np.array([0.5]), 1.0, noise=lambda: noise)
    row, _ = judged_row(np.zeros(1), numerical, FLOAT64, Tolerance(0.0, 0.0))
    assert row.verdict == verdict
    numerical = Numerical("a", (1,), np.zeros(1), 1.0, noise=lambda: noise)
    row, _ = judged_row(np.zeros(1), numerical, FLOAT64, Tolerance(0.0, 0.0))
    assert row.reason == "zero on both sides in every entry"


def test_rows_without_a_comparison():
    row = bare_row("a", (2,), 2, "failed", "why")
    assert (row.wrong, row.zero, row.kinks, row.detectable) == (2, 0, 0, math.inf)
    assert bare_row("a", (), 0, "failed", "why").detectable == 0.0
    assert bare_row("a", (2,), 2, "inconclusive", "why").wrong == 0
    found = judged_row(
        np.zeros(3), Numerical("a", (2,), np.ones(2), 1.0), FLOAT64, Tolerance(0.0, 0.0)
    )
    assert (found[0].wrong, found[0].detectable) == (2, 2.0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((2, 3), np.float32), ""),
        (np.zeros((2, 3)), ""),
        (np.zeros((3, 2)), "must have shape (2, 3), not (3, 2)"),
        (np.zeros((2, 3), np.float16), "must have dtype float64 or float32, not float16"),
        (np.zeros((2, 3), np.int64), "must have dtype float64 or float32, not int64"),
    ],
)
def test_what_cannot_be_compared(given, reason):
    assert unusable_reason(given, (2, 3)) == reason


def test_a_place_in_the_array_is_an_index_of_it():
    numerical = np.zeros(24)
    given = np.zeros((2, 3, 4))
    given[1, 2, 1] = 5.0
    row, failures = judged_row(
        given, Numerical("a", (2, 3, 4), numerical, 1.0), FLOAT64, Tolerance(0.0, 0.0)
    )
    assert [f.index for f in failures] == [(1, 2, 1)]
    assert (failures[0].given, failures[0].error, failures[0].allowed) == (5.0, 5.0, 1.0)
    assert row.worst == failures[0]
