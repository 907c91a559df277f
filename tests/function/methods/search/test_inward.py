"""Directions that stay within the domain of f, and entries that no step fits with others."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.methods.search.inward import entries_to_judge_alone, turned_inward

pytestmark = pytest.mark.small


def test_entries_that_do_not_move_are_not_asked_about():
    """Both lead outside together, the first one alone does not, and the second one is fixed."""
    asked = []

    def finite(part):
        asked.append((part.start, part.stop))
        return part.stop == 1, False

    assert turned_inward(np.array([1.0, 0.0]), finite).tolist() == [1.0, 0.0]
    assert asked == [(0, 2), (0, 1)]


def test_only_what_moves_is_looked_at_beside_edges():
    base = np.append(np.ones(200), 1e-9)
    moving = np.zeros(201)

    def first_is_outside(part):
        return part.start > 0, True

    for places in ([], [5], [0], [0, 200], [5, 200]):
        moving[:] = 0.0
        moving[places] = 1.0
        found = entries_to_judge_alone(base, moving, first_is_outside)
        assert found == [place for place in places if place != 5]


def test_seventeen_entries_beside_edges_are_too_many_to_judge_alone():
    outside = lambda part: (False, False)  # noqa: ARG005, E731
    for count, found in ((16, list(range(16))), (17, [])):
        assert entries_to_judge_alone(np.ones(count), np.ones(count), outside) == found
