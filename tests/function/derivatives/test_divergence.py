"""Difference quotients that do not converge, by how much they change from step to step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.function.derivatives.divergence import INFINITE_SLOPE, JUMP, divergence

pytestmark = pytest.mark.small


def found(changes, resolution=0.0):
    """What quotients are that change by so much from each step to the one of four times it."""
    quotients = np.cumsum([0.0, *changes])[:, np.newaxis]
    return divergence(quotients, np.full(quotients.shape, resolution))[0]


@pytest.mark.parametrize(
    ("ratio", "what"),
    [
        (3.6, JUMP),
        (-3.6, JUMP),
        (3.5, JUMP),
        (3.4, INFINITE_SLOPE),
        (0.81, INFINITE_SLOPE),
        (0.79, 0),
    ],
)
def test_changes_tell_by_their_ratio(ratio, what):
    """Of a step to the next longer one; what converges shrinks by more than 0.8."""
    assert found([ratio**2, ratio, 1.0]) == what
    assert found([ratio, 1.0]) == what  # three quotients are enough


@pytest.mark.parametrize("place", [0, 1])
def test_both_ratios_must_tell(place):
    ratios = [4.0, 4.0]
    ratios[place] = 2.0
    assert found([ratios[0] * ratios[1], ratios[1], 1.0]) == INFINITE_SLOPE
    ratios[place] = 0.5
    assert found([ratios[0] * ratios[1], ratios[1], 1.0]) == 0


def test_four_quotients_are_looked_at():
    assert found([16.0, 4.0, 1.0, 100.0, 1e6]) == JUMP
    assert found([4.0]) == 0
    assert divergence(np.zeros((0, 3)), np.zeros((0, 3))).tolist() == [0, 0, 0]


def test_a_change_counts_from_four_times_its_resolution_on():
    assert found([16.0, 4.0, 1.0], 0.24) == JUMP
    assert found([16.0, 4.0, 1.0], 0.26) == 0


def test_a_third_change_that_is_unknown_leaves_two_to_tell():
    for unknown in (math.nan, math.inf):
        assert found([16.0, 4.0, unknown]) == JUMP
        assert found([8.0, 4.0, unknown]) == INFINITE_SLOPE
        assert found([2.0, 4.0, unknown]) == 0
        assert found([4.0, unknown, unknown]) == 0


def test_every_line_is_told_apart():
    quotients = np.cumsum([[0.0] * 3, [16.0, 4.0, 1.0], [4.0, 2.0, 4.0], [1.0, 1.0, 16.0]], axis=0)
    assert divergence(quotients, np.zeros(quotients.shape)).tolist() == [JUMP, INFINITE_SLOPE, 0]
