"""Arrays below their bars, judged as a whole: where each limit lies, and what crosses it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.verdict.arrays import (
    TOO_ROUGH,
    verdict_as_a_whole,
    verdict_of,
    verdict_of_rough,
)
from fastbp.verdict.entries import entries_of
from fastbp.verdict.summary import Entry, Summary
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small


def verdict(apart, numerical, given=None, noise=1.0, outside=None):
    given = numerical if given is None else given
    return verdict_as_a_whole(apart, apart if outside is None else outside, numerical, given, noise)


@pytest.mark.parametrize(
    ("apart", "numerical", "given", "expected"),
    [
        # Both no larger than twice the noise: they must agree to 1 %.
        (0.02, 2.0, 2.0, "passed"),
        (0.0201, 2.0, 2.0, "untested"),
        (0.3, 1.5, 1.5, "untested"),
        # One of them larger: to 25 %.
        (0.5, 2.001, 2.001, "passed"),
        (0.5, 2.0, 2.001, "passed"),
        (0.5, 2.001, 2.0, "passed"),
        (0.51, 2.001, 2.001, "untested"),
        # Apart by five times the noise.
        (5.0, 1.0, 6.0, "untested"),
        (5.001, 1.0, 6.0, "failed"),
        (5.001, 6.0, 1.0, "failed"),
    ],
)
def test_limits_of_the_verdict(apart, numerical, given, expected):
    assert verdict(apart, numerical, given)[0] == expected


@pytest.mark.parametrize(
    ("outside", "numerical", "noise", "expected"),
    [
        (0.5, 2.001, 1.0, "passed"),
        (0.51, 2.001, 1.0, "untested"),
        (0.2, 1.99, 1.0, "untested"),  # too quiet for that
        (0.0, 1.99, 1.0, "untested"),
    ],
)
def test_what_a_convention_explains_is_no_difference(outside, numerical, noise, expected):
    found, reason = verdict(1.5, numerical, noise=noise, outside=outside)
    assert found == expected
    assert ("a convention for masks in doubt" in reason) == (expected == "passed")


def test_reasons_say_by_how_much():
    assert verdict(0.5, 4.0)[1].endswith("the two sides agree to 0.12")
    assert verdict(0.0, 0.0)[1].endswith("the two sides agree to 0")
    assert verdict(6.0, 3.0, noise=0.5)[1].endswith(
        "apart by 12 times what rounding makes of the array"
    )
    assert verdict(6.0, 3.0, noise=0.0)[1].endswith(
        "apart by more than what rounding makes of the array"
    )


@pytest.mark.parametrize("place", range(4))
def test_nothing_infinite_is_judged(place):
    sizes = [1.0, 4.0, 4.0, 1.0]
    sizes[place] = math.inf
    apart, numerical, given, noise = sizes
    assert verdict_as_a_whole(apart, 0.0, numerical, given, noise) == ("inconclusive", TOO_ROUGH)


def test_norms_are_those_of_all_blocks():
    """A difference of (3, 4) beside numbers of norm 13, of which the tolerance explains (1, 2)."""
    numerical, given = np.array([5.0, 12.0]), np.array([8.0, 16.0])
    tolerance = Tolerance(rtol=1 / 12, atol=7 / 12)  # 1 and 19/12

    def judged(noise, hull=0.0):
        return verdict_of_rough(entries_of(given, numerical, 100.0, hull), tolerance, noise)

    outside = math.hypot(2.0, 4 - 19 / 12)
    assert judged(outside / 5.0 * 0.999)[0] == "failed"
    assert judged(outside / 5.0 * 1.001)[0] == "passed"  # 3.1 of 13: the tolerance explains it
    assert judged(outside / 5.0 * 0.999, hull=0.1)[0] == "passed"
    assert judged(13.0)[0] == "untested"


# ---- counts ----


def summary(**other):
    counts = dict.fromkeys(Summary._fields, 0)
    counts |= {"entries": 4, "worst": Entry(0, 1.0, 1.0, 0.0, 0.0), "above_noise": 1}
    return Summary(**(counts | other))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, ("passed", "")),
        ({"above_noise": 0}, ("inconclusive", TOO_ROUGH)),
        ({"zero": 4}, ("untested", "zero on both sides in every entry")),
        ({"zero": 3, "left_out": 1},
         ("inconclusive", "each of the entries that are not zero (1) is on a kink")),
        ({"left_out": 4},
         ("inconclusive", "each of the entries that are not zero (4) is on a kink")),
        ({"zero": 2, "left_out": 1}, ("passed", "")),
        ({"broken": 1},
         ("inconclusive", "1 of 4 entries without a finite numerical derivative: the loss "
          "overflows, or its noise does")),
        ({"wrong": 1, "broken": 1, "not_zero": 4}, ("failed", "1 of 4 entries is wrong")),
        ({"wrong": 2, "not_finite": 1, "not_zero": 4},
         ("failed", "2 of 4 entries are wrong, 1 of them not finite")),
        ({"wrong": 1, "entries": 1}, ("failed", "1 of 1 entry is wrong: every given entry is 0")),
    ],
)  # fmt: skip
def test_counts_decide_in_their_order(counts, expected):
    assert verdict_of(summary(**counts)) == expected
