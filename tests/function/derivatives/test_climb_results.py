"""What follows from the values of a climb, beside formulas: the values are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.function.derivatives.climb import (
    Climb,
    Setting,
    _converges,
    _first_resolved,
    powers_above,
)

pytestmark = pytest.mark.small

NAN, INF = math.nan, math.inf
SIGMAS, BEND_SIGMAS = 6.0, 15.0  # of a slope, and of the difference of two


def made_up(left, right, noise=0.0, *, first=1.0, coarse=False):
    """A climb along one line where f is 1, with slopes to both sides of steps 1, 4, 16, ..."""
    one = np.ones(1)
    climb = Climb(
        lambda _, steps: (steps, np.ones(steps.shape)), one, one, one,
        Setting(0.0, coarse, False), 0 * one,
    )  # fmt: skip
    steps = [np.array([first * 4.0**level]) for level in range(len(left))]
    climb.step_up, climb.step_down = steps.copy(), steps.copy()
    climb.above = [1 + slope * step for slope, step in zip(right, steps, strict=True)]
    climb.below = [1 - slope * step for slope, step in zip(left, steps, strict=True)]
    climb.next_step = 4 * steps[-1]
    climb.noise = np.array([noise])
    return climb


def column(*numbers):
    return np.array(numbers, dtype=np.float64)[:, np.newaxis]


def steps_of(count):
    return 4.0 ** np.arange(count)[:, np.newaxis]


def told(array):
    return array[:, 0].tolist()


def test_numbers_are_rounded_up_to_powers_of_two():
    found = powers_above(np.array([1.0, 1.5, 2.0, 0.3, 0.0]))
    assert found.tolist() == [1.0, 2.0, 2.0, 0.5, 0.0]


# ---- when longer steps may help ----


def goes_on(left, right, noise=0.0, last=1e9):
    (found,) = made_up(left, right, noise).may_go_on(np.array([0]), np.array([last]))
    return bool(found)


def test_a_climb_goes_on_up_to_the_last_step():
    assert goes_on([1, 1], [1, 1], last=16.0)
    assert not goes_on([1, 1], [1, 1], last=15.9)


def test_a_climb_goes_on_as_long_as_one_side_is_finite():
    assert goes_on([1, NAN], [1, 1])
    assert goes_on([1, 1], [1, NAN])
    assert not goes_on([1, NAN], [1, NAN])


def test_a_climb_ends_where_both_of_the_last_changes_are_clear():
    """64 times 6 times the noise, over the longer step of each."""
    first, second = 384 / 4, 384 / 16

    def on(one, two):
        slopes = [0.0, one, one + two]
        return goes_on(slopes, slopes, noise=1.0)

    assert not on(1.01 * first, 1.01 * second)
    assert on(0.99 * first, 1.01 * second)
    assert on(1.01 * first, 0.99 * second)
    assert not on(-1.01 * first, 1.01 * second)
    earlier = [1e9, 0.0, 1.01 * first, 1.01 * (first + second)]
    assert on(1.01 * first, 1.01 * second) is goes_on(earlier, earlier, noise=4.0)


# ---- jumps of the slope ----


def jumps(*bends, noise=0.0, first=1.0):
    climb = made_up([0.0] * len(bends), [0.0] * len(bends), noise)
    return told(climb._jumps(column(*bends), first * steps_of(len(bends))))


def test_the_bend_of_the_first_step_is_a_jump_beyond_its_noise():
    assert jumps(3.0, 3.0)[0] == 3.0
    assert jumps(-3.0, 3.0)[0] == -3.0
    assert jumps(14.9, 0.0, noise=1.0)[0] == 0.0
    assert jumps(15.1, 0.0, noise=1.0)[0] == 15.1
    assert jumps(-15.1, 0.0, noise=1.0)[0] == -15.1
    assert jumps(14.9, 0.0, noise=4.0, first=4.0)[0] == 0.0
    assert jumps(15.1, 0.0, noise=4.0, first=4.0)[0] == 15.1


def test_the_jump_is_what_is_left_of_two_bends_without_curvature():
    """b - (b' - b) / 3, which is more than half of b."""
    assert jumps(3.0, 6.0, 9.0)[1:] == [2.0, 5.0]
    assert jumps(-3.0, -6.0)[1] == -2.0
    assert jumps(2.0, 4.9)[1] == pytest.approx(2 - 2.9 / 3)
    assert jumps(2.0, 5.1)[1] == 0.0
    assert jumps(-2.0, -5.1)[1] == 0.0
    assert jumps(2.0, 20.0)[1] == 0.0  # of the other sign


def test_the_jump_is_0_where_noise_may_make_it():
    """15 times that of one value, over the shorter step."""
    assert jumps(14.9, 14.9, 0.0, noise=1.0)[1] == 0.0
    assert jumps(15.1, 15.1, 0.0, noise=1.0)[1] == 15.1
    assert jumps(0.0, 3.7, 3.7, noise=1.0)[2] == 0.0
    assert jumps(0.0, 3.8, 3.8, noise=1.0)[2] == 3.8
    assert jumps(0.0, -3.8, -3.8, noise=1.0)[2] == -3.8


def suspects(*bends, coarse=False):
    climb = made_up([0.0] * len(bends), [0.0] * len(bends), coarse=coarse)
    return told(climb._suspects(column(*bends), steps_of(len(bends))))


def test_steps_with_a_jump_are_suspects_and_those_before_them():
    assert suspects(1.0, 1.0, 9.0, 99.0) == [True, True, False, False]
    assert suspects(1.0, 9.0, 9.0, 99.0) == [False, True, True, False]
    assert suspects(1.0, 9.0, 99.0, 999.0) == [False] * 4
    assert suspects(NAN, NAN, 3.0, 3.0) == [False, False, True, True]


def test_every_finite_bend_of_coarse_steps_is_a_suspect():
    assert suspects(1.0, 9.0, NAN, 999.0, coarse=True) == [True, True, False, True]


# ---- higher derivatives ----


def test_curvature_is_that_of_the_first_step_that_resolves_it():
    bends = column(10.0, 3.0, 40.0)

    def curvature(noise):
        return made_up([0.0] * 3, [0.0] * 3, noise)._curvature(bends, steps_of(3)).tolist()

    assert curvature(0.5) == [10.0]
    assert curvature(0.75) == [3.0 / 4]
    assert curvature(1.0) == [40.0 / 16]
    # The smallest bound where none does.
    assert curvature(60.0) == [(40 + 15 * 60 / 16) / 16]


def test_the_third_derivative_is_six_times_the_change_of_slopes_over_that_of_squares():
    slopes = column(1.0, 4.0, -2.0)

    def third(noise):
        return made_up([0.0] * 3, [0.0] * 3, noise)._third(slopes, steps_of(3)).tolist()

    assert third(0.4) == [6 * (3.0 / 15)]
    assert third(0.6) == [6 * (6.0 / 240)]
    assert third(5.0) == [6 * ((6.0 + 6 * 5.0 / 4) / 240)]


def test_what_is_resolved_nowhere_has_the_smallest_bound_of_what_is_finite():
    ones = column(1.0, 1.0, 1.0)
    assert _first_resolved(column(NAN, 1.0, INF), 2 * ones, column(1, 2, 4)).tolist() == [1.5]
    assert _first_resolved(column(NAN, 3.0, INF), 2 * ones, column(1, 2, 4)).tolist() == [1.5]
    assert _first_resolved(column(1.0, 1.0, 1.0), ones, column(1, 2, 4)).tolist() == [0.5]
    assert _first_resolved(column(NAN, NAN, INF), ones, column(1, 2, 4)).tolist() == [INF]


# ---- whether slopes converge ----


def converging(*slopes, noise=0.0):
    resolution = np.broadcast_to(np.array(noise, dtype=np.float64), len(slopes))
    return told(_converges(column(*slopes), column(*resolution)))


def test_slopes_converge_whose_changes_shrink_to_0_8():
    assert converging(0.0, 4.0, 9.0) == [True] * 3
    assert converging(0.0, 4.1, 9.1) == [False] * 3
    assert converging(0.0, -4.0, -9.0) == [True] * 3
    assert converging(0.0, 5.0, 9.0, 14.0) == [False, False, True, True]
    assert converging(0.0, 4.0, 9.0, 14.0) == [True, True, False, False]


def test_two_slopes_or_one_tell_nothing():
    assert converging(0.0, 5.0) == [True, True]
    assert converging(5.0) == [True]


def test_where_noise_hides_the_change_it_is_as_at_the_next_longer_step():
    """Changes of no more than four times the noise of the shorter step."""
    changing = (0.0, 1.0, 2.0, 2.5)
    assert converging(*changing, noise=[0.0, 0.0, 0.0, 9.0]) == [False] * 4
    assert converging(*changing, noise=[0.25, 0.0, 9.0, 9.0]) == [False] * 4
    assert converging(*changing, noise=[9.0, 0.25, 9.0, 9.0]) == [True] * 4
    assert converging(*changing, noise=[0.24, 0.25, 9.0, 9.0]) == [False, False, True, True]
    assert converging(0.0, 0.5, 2.0, 2.5, noise=[9.0, 0.3, 9.0, 9.0]) == [False] * 4
    assert converging(0.0, 0.5, 2.0, 2.5, noise=[0.1, 0.3, 9.0, 9.0]) == [True, True, False, False]


def test_the_last_finite_slope_is_as_the_one_before_it():
    assert converging(0.0, 5.0, 9.0, 14.0, NAN) == [False, False, True, True, True]
    assert converging(0.0, 4.0, 9.0, 14.0, NAN) == [True, True, False, False, True]
    assert converging(NAN, NAN, NAN)[0]
    # The change to what is not finite tells nothing.
    assert converging(0.0, 4.0, 9.0, NAN, noise=[9.0, 0.0, 0.0, 0.0]) == [True] * 4


# ---- at the edge of the domain ----


def at_edge(right, noise=0.0, *, mirrored=False):
    nowhere = [NAN] * len(right)
    sides = ([-slope for slope in right], nowhere) if mirrored else (nowhere, right)
    lines = made_up(*sides, noise).result()
    slope, bar = float(lines.slope[0]), float(lines.error_bar[0])
    assert not lines.kink[0]
    assert np.isnan([lines.curvature[0], lines.third[0]]).all()
    return -slope if mirrored else slope, bar


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_slope_at_an_edge_has_the_bar_of_its_candidate(mirrored):
    """One-sided quotients have twice the noise, 12 n / h; half of the step before comes on top."""
    n = 1e-3
    noise = [12 * n / 4**k for k in range(4)]
    # A straight line: the longest step.
    slope, bar = at_edge([3.0] * 4, n, mirrored=mirrored)
    assert (slope, bar) == (3.0, pytest.approx(noise[3] + noise[2] / 2))
    # Curved: 3 + h, without the term of h.
    once = [NAN, *((4 * noise[k - 1] + noise[k]) / 3 for k in (1, 2, 3))]
    slope, bar = at_edge([3.0 + 4.0**k for k in range(4)], n, mirrored=mirrored)
    assert (slope, bar) == (pytest.approx(3.0), pytest.approx(once[3] + once[2] / 2))
    # Cubic: 3 + h**2, without both.
    twice = [(16 * once[k - 1] + once[k]) / 15 for k in (2, 3)]
    slope, bar = at_edge([3.0 + 16.0**k for k in range(4)], n, mirrored=mirrored)
    assert (slope, bar) == (pytest.approx(3.0), pytest.approx(twice[1] + twice[0] / 2, rel=1e-6))


def test_the_side_that_is_finite_longer_is_measured():
    lines = made_up([1.0, 1.0, NAN], [NAN, NAN, NAN]).result()
    assert lines.slope[0] == 1.0
    for left, right, slope in (
        ([NAN, 1.0, 1.0], [NAN, 5.0, 5.0], 5.0),
        ([NAN, 1.0, 1.0], [NAN, 5.0, NAN], 1.0),
    ):
        assert made_up(left, right)._one_sided()[0][1] == slope


def divergence_at_edge(*right, noise=0.0):
    lines = made_up([NAN] * len(right), [*right], noise).result()
    return float(lines.error_bar[0]), int(lines.divergence[0])


def test_a_slope_that_does_not_converge_at_an_edge_is_infinite():
    assert divergence_at_edge(8.0, 4.0, 2.0, 1.0) == (INF, 1)
    assert divergence_at_edge(1.0, 1.0, 1.0, 1.0) == (0.0, 0)
    # Also where noise hides the first change.
    assert divergence_at_edge(8.0, 8.05, 4.0, 0.0, -4.0, noise=0.01) == (INF, 1)


def test_a_slope_that_converges_at_shorter_steps_or_is_alone_is_not_infinite():
    bar, found = divergence_at_edge(0.0, 3.9, 8.9, 13.9)
    assert np.isfinite(bar)
    assert found == 0
    assert divergence_at_edge(1.0, NAN, NAN) == (INF, 0)


def test_where_f_is_not_finite_nothing_is_known():
    climb = made_up([NAN] * 3, [NAN] * 3)
    climb.centre = np.array([NAN])
    lines = climb.result()
    assert np.isnan([lines.slope[0], lines.left[0], lines.right[0]]).all()
    assert lines.error_bar[0] == lines.curvature[0] == lines.third[0] == INF
    assert (lines.kink[0], lines.divergence[0]) == (False, 0)


# ---- what is asked of a climb ----


def test_a_slope_is_clear_that_is_16_times_what_noise_and_bend_make_of_it():
    def clear(left, right, noise=0.0, levels=4):
        elsewhere = [0.0] * levels
        left_slopes, right_slopes = elsewhere.copy(), elsewhere.copy()
        place = min(2, levels - 1)
        left_slopes[place], right_slopes[place] = left, right
        return bool(made_up(left_slopes, right_slopes, noise).has_clear_slope()[0])

    assert clear(1.0, 1.0)
    assert not clear(0.0, 0.0)
    assert clear(1.0, 1 + 1 / 16.1)
    assert not clear(1.0, 1 + 1 / 15.9)
    assert clear(-1 - 1 / 16.1, -1.0)
    assert not clear(1 - 1 / 16.5, 1.0)  # it is the smaller of both that counts
    assert not clear(1.0, 1 - 1 / 16.5)
    assert not clear(1.0, 1.0, noise=1.01 / 15)
    assert clear(1.0, 1.0, noise=0.99 / 15)
    assert clear(1.0, 1.0, levels=2)


def test_both_sides_have_their_slopes_steps_and_sign():
    left, right = made_up([1.0, 2.0], [3.0, 4.0]).sides_and_steps()
    assert (told(left[0]), told(left[1]), left[2]) == ([1.0, 2.0], [1.0, 4.0], -1.0)
    assert (told(right[0]), told(right[1]), right[2]) == ([3.0, 4.0], [1.0, 4.0], 1.0)


def test_values_beyond_a_reach_are_forgotten():
    climb = made_up([1.0] * 4, [2.0] * 4)
    climb.forget_beyond(np.array([16.0]))
    for values in (climb.above, climb.below):
        assert np.isfinite(np.array(values))[:, 0].tolist() == [True, True, False, False]
    climb = made_up([1.0] * 4, [2.0] * 4)
    climb.forget_beyond(np.array([16.01]))  # equal, but for rounding
    assert np.isfinite(np.array(climb.above))[:, 0].tolist() == [True, True, False, False]
    climb = made_up([1.0] * 4, [2.0] * 4)
    climb.forget_beyond(np.array([16.1]))
    assert np.isfinite(np.array(climb.above))[:, 0].tolist() == [True, True, True, False]


# ---- shorter steps ----


def descended(f, noise=0.0, levels=4, *, coarse=False):
    """Climb so many levels from step 1 on, then descend; return the climb and its steps."""

    def evaluate(_, steps):
        return steps, np.array([f(step) for step in steps], dtype=np.float64)

    one = np.ones(1)
    setting = Setting(0.0, coarse, False)
    climb = Climb(evaluate, np.array([f(0.0)]), one, one, setting, np.array([noise]))
    for _ in range(levels - 2):
        climb.step(np.array([0]))
    climb.descend()
    return climb, [float(step[0]) for step in climb.step_up]


def test_the_climb_descends_below_a_kink_four_times_at_most():
    climb, steps = descended(abs)
    assert steps == [4.0**k for k in range(-4, 4)]
    assert [float(step[0]) for step in climb.step_down] == steps
    assert [float(value[0]) for value in climb.above] == steps
    assert [float(value[0]) for value in climb.below] == steps
    _, steps = descended(abs, coarse=True)
    assert steps[0] == 4.0**-4


def test_the_climb_does_not_descend_where_f_is_smooth():
    assert descended(lambda t: t * t)[1][0] == 1.0
    assert descended(lambda t: t + t * t)[1][0] == 1.0
    assert descended(lambda t: 3.0 * t, coarse=True)[1][0] == 1.0


def test_the_climb_descends_no_further_than_noise_allows():
    """Slopes -1 and 1 are told apart where 2 is more than 12 times the noise over the step."""
    assert descended(abs, noise=1.01 / 24)[1][0] == 1.0
    assert descended(abs, noise=0.99 / 24)[1][0] == 1 / 4
    assert descended(abs, noise=0.99 / 96)[1][0] == 1 / 16


@pytest.mark.parametrize("first", [1.0, 4.0])
def test_kinks_on_both_sides_let_the_climb_descend_where_they_are_more_than_noise(first):
    """Both slopes change by 1, and then by 0.1; the point's may lie 1 beyond those of step 1.

    Worthwhile is a descent where 2 (3.4 + 1), or 2 (3.4 + 1/3) where 6 n / h is more than the
    change of 1, exceeds 12 n / (h / 4).
    """
    for part, worthwhile in ((0.99, True), (1.01, False)):
        climb = made_up([-3.4, -2.4, -2.3], [3.4, 2.4, 2.3], part * first / 6, first=first)
        climb.descend()
        assert (climb.step_up[0][0] < first) == worthwhile


def test_a_line_without_a_kink_has_its_own_levels_beside_one_that_has():
    def evaluate(which, steps):
        return steps, np.where(which == 0, 3.0 * steps, np.abs(steps))

    ones = np.ones(2)
    climb = Climb(evaluate, 0 * ones, ones, ones, Setting(0.0, False, False), 0 * ones)
    climb.step(np.arange(2))
    climb.descend()
    steps = np.array(climb.step_up)
    np.testing.assert_array_equal(steps[:, 0], [1, 4, 16, NAN, NAN, NAN, NAN])
    np.testing.assert_array_equal(steps[:, 1], 4.0 ** np.arange(-4, 3))
    np.testing.assert_array_equal(np.array(climb.above)[:, 0], 3 * steps[:, 0])
    np.testing.assert_array_equal(np.array(climb.below)[:, 0], -3 * steps[:, 0])


# ---- the best of all ----


def test_an_extrapolated_slope_has_the_noise_of_both_of_its_steps():
    """Slopes 3 + c h**2 on both sides: 16/15 of the shorter less 1/15 of the longer."""
    c = 0.002
    slopes = [3.0 + c * 16.0**k for k in range(4)]
    lines = made_up(slopes, slopes, noise=1.0).result()
    noise = [6 / 4**k for k in range(4)]
    better = [16 / 15 * noise[k - 1] + noise[k] / 15 for k in (1, 2, 3)]
    assert lines.slope[0] == pytest.approx(3.0)
    assert lines.error_bar[0] == pytest.approx(better[2] + better[1] / 2, rel=1e-6)
    assert (lines.left[0], lines.right[0]) == (lines.slope[0], lines.slope[0])
    assert lines.third[0] == pytest.approx(6 * c)


def test_at_a_kink_left_and_right_slope_are_told_apart():
    lines = made_up([1.0] * 5, [3.0] * 5).result()
    assert lines.kink[0]
    assert (lines.left[0], lines.slope[0], lines.right[0]) == (1.0, 2.0, 3.0)
    assert np.isnan([lines.curvature[0], lines.third[0]]).all()
    assert lines.divergence[0] == 0


def test_the_bar_of_a_kink_is_the_noise_of_the_shortest_step_that_shows_it():
    """Half of the jump is what left and right slope let it be; 6 n / h comes on top."""
    lines = made_up([1.0] * 5, [3.0] * 5, 0.01, first=4.0).result()
    assert (lines.slope[0], lines.kink[0]) == (2.0, True)
    assert lines.error_bar[0] == pytest.approx(6 * 0.01 / 4)


def test_a_side_that_diverges_beyond_the_noise_of_two_values_is_named():
    """Changes of more than four times 15 n / h."""
    diverging = [0.0, 60.6, 90.0, 100.0]
    for noise, found in ((1.0, 1), (1.02, 0)):
        for sides in ((diverging, [0.0] * 4), ([0.0] * 4, diverging)):
            assert made_up(*sides, noise).result().divergence[0] == found
