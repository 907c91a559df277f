"""Bisection and the random directions that it begins with."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.methods.directions import random_components, random_direction
from fastbp.function.methods.search.bisection import bisect, halved

pytestmark = pytest.mark.small


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100])
def test_bisection_finds_every_wrong_place_in_order(size: int) -> None:
    wrong = sorted({0, size // 3, size - 1})
    found: list[int] = []
    bisect(range(size), halved, lambda part: any(i in part for i in wrong), found.append)
    assert found == wrong


def test_bisection_asks_about_twice_the_depth_for_one_wrong_place() -> None:
    asked: list[range] = []

    def disagrees(part: range) -> bool:
        asked.append(part)
        return 700 in part

    bisect(range(1024), halved, disagrees, lambda _: None)
    assert len(asked) == 1 + 2 * 10


def test_bisection_of_nothing_wrong_asks_once() -> None:
    asked: list[range] = []
    bisect(range(9), halved, lambda part: bool(asked.append(part)), lambda _: None)
    assert asked == [range(9)]


def test_what_comes_first_is_followed_before_the_rest_is_asked_for() -> None:
    order: list[str] = []

    def disagrees(part: range) -> bool:
        order.append(f"{part.start}-{part.stop}")
        return True

    bisect(range(3), halved, disagrees, lambda place: order.append(str(place)))
    assert order == ["0-3", "0-1", "0", "1-3", "1-2", "1", "2-3", "2"]


def test_components_are_between_a_half_and_one_in_size_of_either_sign() -> None:
    cotangent = random_components(np.random.default_rng(1), 500)
    direction = random_direction(np.random.default_rng(1), np.zeros(500, dtype=np.float32))
    assert direction.dtype == np.float32
    for components in (cotangent, direction):
        assert np.abs(components).min() >= 0.5
        assert np.abs(components).max() <= 1.0
        assert 200 < np.count_nonzero(components > 0) < 300


def test_a_cotangent_and_a_direction_of_the_same_seed_are_not_the_same() -> None:
    """Equal ones would hide an antisymmetric error: x @ A @ x is 0."""
    cotangent = random_components(np.random.default_rng(1), 500)
    direction = random_direction(np.random.default_rng(1), np.zeros(500))
    assert abs(np.corrcoef(cotangent, direction)[0, 1]) < 0.2
