"""From the numbers of an array to its verdict: planted errors, factors, cost."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from support.judging import BAR, TIGHT, gradient, judge

from fastbp.verdict import blocks
from fastbp.verdict.arrays import check_verdict

pytestmark = pytest.mark.small


def test_equal_arrays_pass():
    found = judge(gradient(), gradient())
    assert (found.verdict, found.reason, found.wrong, found.zero, found.kinks) == (
        "passed", "", 0, 0, 0,
    )  # fmt: skip
    assert found.failures == []
    assert found.worst == 0
    assert found.factor == pytest.approx(1, abs=1e-15)
    assert found.residual is None  # of what failed alone


@hypothesis_given(
    size=st.integers(1, 60),
    place=st.integers(0, 59),
    error=st.floats(1e-3, 1e3),
    sign=st.sampled_from([-1.0, 1.0]),
    seed=st.integers(0, 1000),
)
def test_a_single_wrong_entry_is_found_where_it_is(size, place, error, sign, seed):
    numerical = gradient(size, seed)
    given = numerical.copy()
    given[place % size] += sign * error
    found = judge(given, numerical)
    assert found.verdict == "failed"
    assert found.wrong == 1
    assert found.failures == [place % size]
    assert found.worst == place % size


def test_an_error_above_detectable_cannot_hide():
    numerical = gradient() * np.geomspace(1e-6, 1, 40)
    bars = np.geomspace(1e-9, 1e-3, 40)
    detectable = judge(numerical, numerical, bars).detectable
    largest = np.max(bars + TIGHT.rtol * np.abs(numerical))
    assert detectable == pytest.approx(2 * largest, rel=1e-15)
    # The worst case: a correct given value, as far off as is allowed, and an error against that.
    for place in range(40):
        given = numerical.copy()
        given[place] += -largest + 1.0001 * detectable
        assert judge(given, numerical, bars).verdict == "failed"


def test_many_blocks_give_what_one_gives(monkeypatch):
    numerical = gradient(1000)
    given = numerical.copy()
    given[::37] += 0.5
    kinks = np.arange(1000) % 41 == 0
    bars = np.full(1000, BAR)
    whole = judge(given, numerical, bars, kinks=kinks)
    monkeypatch.setattr(blocks, "BLOCK", 17)
    parts = judge(given, numerical, bars, kinks=kinks)
    assert (parts.verdict, parts.reason, parts.wrong) == (whole.verdict, whole.reason, whole.wrong)
    assert parts.failures == whole.failures
    assert parts.factor == pytest.approx(whole.factor, rel=1e-13)
    assert parts.residual == pytest.approx(whole.residual, rel=1e-13)
    assert parts.detectable == whole.detectable


# ---- the verdict of a check ----


@pytest.mark.parametrize(
    ("arrays", "others", "expected"),
    [
        (["passed", "passed"], [], "passed"),
        (["passed", "untested"], [], "passed"),
        (["untested", "untested"], [], "vacuous"),
        (["untested"], ["passed"], "vacuous"),
        (["passed", "inconclusive"], [], "inconclusive"),
        (["untested", "inconclusive"], [], "inconclusive"),
        (["passed"], ["inconclusive"], "inconclusive"),
        (["inconclusive", "failed", "untested"], [], "failed"),
        (["passed"], ["failed"], "failed"),
        (["untested"], ["failed"], "failed"),
    ],
)
def test_the_worst_array_decides(arrays, others, expected):
    assert check_verdict(arrays, others) == expected


# ---- cost ----


def test_temporaries_are_a_few_bytes_for_each_entry():
    numerical = gradient(1 << 20)
    given = numerical.copy()
    given[::2] += 1
    kinks = np.zeros(numerical.size, dtype=bool)
    tracemalloc.start()
    judge(given, numerical, kinks=kinks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * numerical.size
