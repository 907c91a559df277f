"""The choice among slopes of all steps, on numbers whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.function.derivatives.step_choice import (
    RATIO,
    SIGMAS,
    Candidates,
    Hulls,
    best_of,
    extrapolated,
    possible_slopes,
)

pytestmark = pytest.mark.small

INF, NAN = math.inf, math.nan


def column(*values):
    return np.array(values, dtype=np.float64)[:, np.newaxis]


def of(values, noise=(0.0,) * 8, jumps=(0.0,) * 8):
    size = len(values)
    return Candidates.of(column(*values), column(*noise[:size]), column(*jumps[:size]))


def flat(array):
    return array[:, 0].tolist()


# ---- error bars of one sequence ----


def test_a_bar_is_twice_the_last_change():
    # Changes of 1, 32, 2: the third counts 32 / 16 = 2 as well, which is as much.
    assert flat(of([0.0, 1.0, 33.0, 31.0]).error_bar) == [2.0, 2.0, 64.0, 4.0]


def test_two_steps_that_agree_by_accident_count_the_change_before():
    assert flat(of([0.0, 32.0, 32.0, 32.0]).error_bar) == [64.0, 64.0, 4.0, 0.0]


def test_noise_hides_a_change_so_that_half_of_the_one_before_counts():
    found = of([5.0, 5.0, 5.0], noise=[8.0, 2.0, 0.5])
    assert flat(found.error_bar) == [8.0, 2.0 + 4.0, 0.5 + 1.0]


def test_the_first_step_has_the_next_to_be_compared_with():
    assert flat(of([1.0, 4.0], noise=[0.5, 0.25]).error_bar) == [6.5, 6.5]
    assert flat(of([1.0]).error_bar) == [INF]


def test_slopes_that_are_not_finite_have_no_bar():
    assert flat(of([1.0, 2.0, NAN, 3.0]).error_bar) == [2.0, 2.0, INF, INF]
    assert flat(of([INF, 2.0, 3.0, 4.0]).error_bar) == [INF, INF, 2.0, 2.0]
    # Nor does the change from such a slope count as the one before.
    assert flat(of([INF, 2.0, 2.0, 2.0]).error_bar) == [INF, INF, 0.0, 0.0]


def test_an_infinite_noise_is_that_of_one_step_alone():
    found = of([5.0, 5.0, 5.0], noise=[INF, 2.0, 0.5])
    assert flat(found.error_bar) == [INF, 2.0, 1.5]


# ---- kinks ----


def hulls(centre, half):
    return Hulls(column(*centre), column(*half))


def test_a_bar_covers_what_shorter_steps_let_the_slope_be():
    found = of([10.0, 10.0, 10.0]).covering(hulls([7.0, 9.0, 10.0], [2.0, 2.0, 0.0]))
    assert flat(found.error_bar) == [5.0, 3.0, 0.0]
    # A jump of 4 at the point is part of what the hull holds.
    found = of([10.0, 10.0], jumps=[4.0, -4.0]).covering(hulls([7.0, 9.0], [2.0, 2.0]))
    assert flat(found.error_bar) == [3.0, 1.0]
    # Where there is no kink the bar stays.
    found = of([10.0, 11.0]).covering(hulls([NAN, NAN], [NAN, NAN]))
    assert flat(found.error_bar) == [2.0, 2.0]


def test_every_sequence_covers_the_hulls():
    both = of([10.0, 10.0]).joined(of([20.0, 20.0]))
    found = both.covering(hulls([7.0, 9.0], [2.0, 2.0]))
    assert flat(found.value) == [10.0, 10.0, 20.0, 20.0]
    assert flat(found.error_bar) == [5.0, 3.0, 15.0, 13.0]


@pytest.mark.parametrize(("half", "taken"), [(0.9, True), (0.998, True), (0.9995, False)])
def test_the_hull_of_the_shortest_step_replaces_what_tells_less(half, taken):
    candidates = of([3.0, 3.0], noise=[0.5, 0.0], jumps=[-1.0, 0.0])
    candidates.replace_first(hulls([2.0, 2.0], [half, half]))
    assert candidates.value[0, 0] == (2.0 if taken else 3.0)
    assert candidates.error_bar[0, 0] == (half if taken else 0.5)
    assert candidates.jump[0, 0] == (0.0 if taken else -1.0)
    assert candidates.value[1, 0] == 3.0


def test_the_hull_of_the_shortest_step_is_compared_with_its_bar_and_half_its_jump():
    for half, bar in ((2.9, 2.9), (2.999, 1.0)):
        candidates = of([3.0, 3.0], noise=[1.0, 0.0], jumps=[-4.0, 0.0])
        candidates.replace_first(hulls([2.0, 2.0], [half, half]))
        assert candidates.error_bar[0, 0] == bar


def test_a_slope_that_curves_lies_beyond_the_shortest_step():
    # On the left 2 + h for h = 1, 4, 16; on the right 5 everywhere.
    low, high = possible_slopes(column(3.0, 6.0, 18.0), column(5.0, 5.0, 5.0), column(0, 0, 0))
    assert flat(low)[:2] == [2.0, 2.0]
    assert flat(high)[:2] == [5.0, 6.0]
    assert np.isnan([low[2, 0], high[2, 0]]).all()


def test_changes_that_die_out_on_both_sides_may_go_on():
    # To the left 0, 8, 10, to the right 20, 13, 12: both change less and less.
    low, high = possible_slopes(column(0.0, 8.0, 10.0), column(20.0, 13.0, 12.0), column(0, 0, 0))
    assert (low[0, 0], high[0, 0]) == (-8.0, 27.0)
    # On one side only, or within noise: only curvature is taken off.
    for right, noise in (((20.0, 13.0, 2.0), 0.0), ((20.0, 13.0, 12.0), 7.5)):
        low, high = possible_slopes(column(0.0, 8.0, 10.0), column(*right), column(*[noise] * 3))
        assert low[0, 0] == pytest.approx(-8 / 3, rel=1e-15)
        assert high[0, 0] == pytest.approx(20 + 7 / 3, rel=1e-15)


def hulls_of(left, right, noise, suspects):
    size = len(left)
    found = Hulls.of(
        column(*left), column(*right), column(*noise[:size]),
        np.array(suspects[:size])[:, np.newaxis],
    )  # fmt: skip
    return flat(found.centre), flat(found.half)


def test_the_hull_is_that_of_the_step_which_tells_most():
    # Half widths of 3, 1 (and of the longest none), with noise 0: the second is narrower.
    left, right, noise = (0.0, 4.0, 4.0, 4.0), (6.0, 6.0, 6.0, 6.0), (4.0, 0.25, 0.25, 0.25)
    centre, half = hulls_of(left, right, noise, (True,) * 4)
    # The first step, within twice its noise, does not end the search: the second does.
    assert half[1:] == [1.25, 1.25, 1.25]
    assert centre[1:] == [5.0, 5.0, 5.0]


def test_after_a_step_that_clearly_met_a_kink_a_longer_one_does_not_count():
    left, right = (0.0, 4.0, 4.0), (6.0, 6.0, 6.0)
    centre, half = hulls_of(left, right, (0.5,) * 3, (True,) * 3)
    low, high = -4.0 / 3, 6.0  # the left one without its curvature
    assert centre == [pytest.approx((low + high) / 2)] * 3
    assert half == [pytest.approx((high - low) / 2 + 0.5)] * 3


@pytest.mark.parametrize(("noise", "clear"), [(1.5, True), (2.0, False)])
def test_a_kink_is_clear_from_twice_the_noise_on(noise, clear):
    # Half the width of the first step is 11 / 3, that of the second is 1.
    _, half = hulls_of((0.0, 4.0, 4.0), (6.0, 6.0, 6.0), (noise, 0.25, 0.25), (True,) * 3)
    assert half[1] == (pytest.approx(11 / 3 + noise) if clear else 1.25)


def test_a_step_at_which_f_is_not_finite_has_no_hull():
    _, half = hulls_of((NAN, 4.0, 4.0, 4.0), (6.0,) * 4, (0.25,) * 4, (True,) * 4)
    assert np.isnan(half[0])
    assert half[1:] == [1.25, 1.25, 1.25]


def test_a_step_that_tells_less_than_the_one_before_does_not_count():
    # Half widths of 11 / 3, 1 and 2, all within noise.
    _, half = hulls_of((0.0, 4.0, 2.0, 2.0), (6.0,) * 4, (4.0,) * 4, (True,) * 4)
    assert half[1:] == [5.0, 5.0, 5.0]


def test_where_no_step_met_a_kink_there_is_no_hull():
    _, half = hulls_of((0.0, 4.0, 4.0), (6.0, 6.0, 6.0), (0.5,) * 3, (False,) * 3)
    assert np.isnan(half).all()
    _, half = hulls_of((0.0, 4.0, 4.0), (6.0, 6.0, 6.0), (0.5,) * 3, (False, True, True))
    assert np.isnan(half[0])
    assert half[1:] == [1.5, 1.5]


# ---- the choice ----


def chosen(values, bars, jumps=None, slopes=None, noise=0.0, steps=(1.0, 4.0, 16.0)):
    jumps = jumps or [0.0] * len(values)
    candidates = Candidates(column(*values), column(*bars), column(*jumps))
    slopes = column(*(slopes or values[:3]))
    steps = column(*steps[: len(slopes)])
    best = best_of(candidates, slopes, np.array([noise]), steps)
    return best.value[0], best.error_bar[0], best.jump[0]


def test_the_smallest_bar_wins():
    assert chosen([1.0, 1.0, 1.0], [3.0, 2.0, 1.0]) == (1.0, 1.0, 0.0)
    assert chosen([1.0, 1.5, 1.5], [3.0, 1.0, 2.0]) == (1.5, 1.0, 0.0)


def test_half_of_a_kink_counts_as_uncertain():
    assert chosen([1.0, 1.5], [1.0, 0.5], [0.0, -0.8]) == (1.5, 0.5, -0.8)
    assert chosen([1.0, 1.5], [1.0, 0.5], [0.0, -1.2]) == (1.0, 1.0, 0.0)


def test_a_shorter_step_refutes_what_it_contradicts():
    # Further away than its own bar and 1.5 times 6 noises over the shorter step.
    noise = 0.1
    limit = 0.5 + 1.5 * SIGMAS * noise
    assert chosen([0.0, limit - 0.01], [9.0, 0.5], noise=noise)[1] == 0.5
    assert chosen([0.0, limit + 0.01], [9.0, 0.5], noise=noise)[1] == 9.0


def test_noise_of_a_longer_step_is_smaller():
    limit = 0.5 + 1.5 * SIGMAS * 0.1 / 4
    for off, bar in ((-0.01, 0.5), (0.01, 8.0)):
        # The first step is so far away that only the second one can refute.
        values = [0.0, 0.0, limit + off]
        assert chosen(values, [9.0, 8.0, 0.5], slopes=[limit, 0.0, 0.0], noise=0.1)[1] == bar


def test_a_candidate_is_refuted_by_shorter_steps_alone():
    """The second sequence has the same steps: its first entry belongs to the shortest."""
    values, bars = [0.0, 50.0, 0.0, 50.0], [9.0, 8.0, 1.0, 2.0]
    assert chosen(values, bars, slopes=[100.0, 0.0])[0] == 0.0
    assert chosen(values, bars, slopes=[0.0, 100.0])[:2] == (0.0, 1.0)


def test_without_a_finite_bar_there_is_no_slope():
    value, bar, jump = chosen([1.0, 2.0], [INF, NAN], [3.0, 3.0])
    assert (math.isnan(value), bar, jump) == (True, INF, 0.0)


def kinked(left, right, noise=0.0):
    """Return what is chosen of a finely known slope of 0 at first, and a kink of 1 ± 2 at last."""
    levels = len(left)
    candidates = Candidates(
        column(*[0.0] * (levels - 1), 1.0), column(*[9.0] * (levels - 1), 0.5),
        column(*[0.0] * (levels - 1), 4.0),
    )  # fmt: skip
    steps = column(*4.0 ** np.arange(levels))
    sides = column(*left), column(*right)
    best = best_of(candidates, (sides[0] + sides[1]) / 2, np.array([noise]), steps, sides)
    return best.jump[0]


def test_a_kink_is_refuted_by_what_shorter_steps_see_on_one_side():
    # To the left -1, to the right 3, with a bar of 0.5.
    assert kinked([-1.0, -1.0, -1.0], [3.0, 3.0, 3.0]) == 4.0
    assert kinked([-1.4, -1.0, -1.0], [3.4, 3.0, 3.0]) == 4.0
    assert kinked([-1.6, -1.0, -1.0], [3.0, 3.0, 3.0]) == 0.0
    assert kinked([-1.0, -1.0, -1.0], [2.4, 3.0, 3.0]) == 0.0
    # What noise of a one-sided difference, twice that of a central one, and curvature explain.
    assert kinked([-1.0, -1.0, -1.0], [2.4, 3.0, 3.0], noise=0.2 / (3 * SIGMAS)) == 4.0
    assert kinked([-1.0, -1.0, -1.0], [2.4, 2.8, 3.0]) == 4.0
    # The candidate's own two steps are no shorter ones.
    assert kinked([-1.0, -1.6, -1.0], [3.0, 2.4, 3.0]) == 4.0
    # Noise is divided by the step, of the second one here, which is 0.1 beyond the bar.
    for part, jump in ((1.1, 4.0), (0.9, 0.0)):
        noise = part * 0.1 * 4 / (3 * SIGMAS)
        assert kinked([-1.0] * 4, [3.0, 2.4, 3.0, 3.0], noise=noise) == jump


def test_what_is_no_kink_is_not_refuted_by_one_side():
    """Beside a line with a kink of 1 ± 2, one whose slope is 1 without."""
    values = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    bars = np.array([[9.0, 9.0], [9.0, 9.0], [0.5, 0.5]])
    jumps = np.array([[0.0, 0.0], [0.0, 0.0], [4.0, 0.0]])
    ones = np.ones((3, 2))
    best = best_of(
        Candidates(values, bars, jumps), ones, np.zeros(2), 4.0 ** np.arange(3)[:, None] * ones,
        (-ones, 3 * ones),
    )  # fmt: skip
    assert best.value.tolist() == [1.0, 1.0]
    assert best.error_bar.tolist() == [0.5, 0.5]
    assert best.jump.tolist() == [4.0, 0.0]


# ---- extrapolation ----


@pytest.mark.parametrize("power", [1, 2])
def test_extrapolation_takes_the_term_of_its_power_away(power):
    steps = column(1.0, 4.0, 16.0)
    found = extrapolated(3.0 + 5.0 * steps**power, steps, power)
    assert flat(found) == [INF, 3.0, 3.0]
    assert RATIO == 4.0
