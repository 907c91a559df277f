"""Jumps of a function at known places: what they may add to a slope."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.derivatives.noise.distant_jumps import slope_of_distant_jumps

pytestmark = pytest.mark.small

JUMP = 2.0**-12


def slope_of(*functions, size=1.0):
    """Of functions at 0, one along each line, and how often they were evaluated."""
    counted = []

    def evaluate(which, steps):
        counted.append(which)
        return steps, np.array([functions[i](t) for i, t in zip(which, steps, strict=True)])

    centre = np.array([f(0.0) for f in functions])
    slopes = slope_of_distant_jumps(evaluate, centre, np.full(centre.shape, size))
    return slopes, np.bincount(np.concatenate(counted))


def step_at(place, height=JUMP):
    return lambda t: 1.0 + height * (t > place)


@pytest.mark.parametrize("size", [1.0, 2.0**20])
@pytest.mark.parametrize(
    ("place", "nearest"),
    [(16.5, 14), (-16.5, 15), (30.5, 28), (0.5, 2), (-0.5, 1), (2.5, 1), (-2.5, 1), (3.5, 1)],
)
def test_a_slope_is_off_by_twice_the_jump_over_its_distance(place, nearest, size):
    """Points lie 1/64 apart; the jump is known to lie between the first and the last of five."""
    slopes, evaluations = slope_of(step_at(place / 64 * size), size=size)
    assert slopes.tolist() == [2 * JUMP / (nearest / 64) / size]
    assert evaluations.tolist() == [64 + 2 * 35]


def test_what_does_not_jump_is_off_by_nothing():
    smooth = [np.exp, np.sin, lambda t: 1.0 + t, lambda t: t if t < 0.4 else np.inf, step_at(0.9)]
    slopes, evaluations = slope_of(*smooth)
    assert slopes.tolist() == [0.0] * 5
    assert evaluations.tolist() == [64] * 5


@pytest.mark.parametrize("power", [0.75, 1.0])
def test_a_kink_or_a_cusp_is_no_jump(power):
    slopes, evaluations = slope_of(lambda t: 1.0 + 2.0**-9 * np.abs(t - 16.5 / 64) ** power)
    assert (slopes.tolist(), evaluations.tolist()) == ([0.0], [64 + 2 * 35])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("steep", ["before", "after"])
def test_a_jump_is_what_its_neighbours_do_not_explain(steep, sign):
    """Of changes over 1/4096, the finest spacing, that beside the jump may be one of the slope."""
    place, slope = 16.5 / 64, 2.0**-8

    def f(t):
        beside = slope * (t - place) if (t > place) == (steep == "after") else 0.0
        return 1.0 + sign * (JUMP * (t > place) + beside)

    slopes, _ = slope_of(f)
    explained, nearest = (slope / 4096, 15 / 64) if steep == "before" else (0.0, 14 / 64)
    assert slopes.tolist() == [2 * (JUMP - explained) / nearest]


@pytest.mark.parametrize("beyond", [np.nan, np.inf, -np.inf])
def test_a_jump_beside_values_that_are_not_finite(beyond):
    slopes, _ = slope_of(lambda t: step_at(16.5 / 64)(t) if t < 19 / 64 else beyond)
    assert slopes.tolist() == [2 * JUMP / (14 / 64)]


def test_each_line_has_its_own_jump():
    slopes, _ = slope_of(np.exp, step_at(16.5 / 64), step_at(-16.5 / 64, JUMP / 2))
    assert slopes.tolist() == [0.0, 2 * JUMP / (14 / 64), JUMP / (15 / 64)]


@pytest.mark.parametrize("size", [1.0, 64.0])
@pytest.mark.parametrize(("share", "counts"), [(0.999, True), (1.01, False)])
def test_a_jump_of_a_thousandth_of_f_is_a_part_of_it(share, counts, size):
    slopes, _ = slope_of(lambda t: size * step_at(16.5 / 64, -share * 2.0**-10)(t))
    assert (slopes[0] > 0) == counts


@pytest.mark.parametrize(("jump", "found"), [(4.9, False), (5.1, True)])
def test_a_jump_is_16_times_the_usual_fourth_difference(jump, found):
    """That of c t**4 is everywhere the same; a jump of 1 adds 3 to the largest."""
    usual = 2.0**-20
    slopes, _ = slope_of(lambda t: 1.0 + usual * 64**4 / 24 * t**4 + usual * jump * (t > 16.5 / 64))
    assert (slopes[0] > 0) == found


def test_values_that_are_not_finite_are_no_jump():
    with np.errstate(invalid="ignore"):
        slopes, _ = slope_of(lambda t: np.sqrt(t + 0.3) if t < 0.5 else np.inf, np.exp)
    assert slopes.tolist() == [0.0, 0.0]
    # Nor where hardly any are finite.
    assert slope_of(lambda t: 1.0 if abs(t) < 0.01 else np.nan)[0].tolist() == [0.0]
