"""Jumps that only longer steps show, on numbers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.derivatives.noise.hidden_noise import (
    HiddenNoise,
    _abrupt_changes,
    _are_multiples,
    _many_jumps,
    _uneven_table,
    find_hidden_noise,
    is_jump,
)

pytestmark = pytest.mark.small

INF, NAN = np.inf, np.nan


def evaluation_of(*functions):
    """One function for each line; steps are realised as they are."""

    def evaluate(which, steps):
        values = [functions[line](step) for line, step in zip(which, steps, strict=True)]
        return steps, np.array(values, dtype=np.float64)

    return evaluate


def arrays(*numbers):
    return [np.array([number], dtype=np.float64) for number in numbers]


# ---- where quotients change abruptly ----


def abrupt(quotients, *, noise=0.0, left=None):
    """What is found for steps 1, 4, 16, ..., where the slope to the left is 0 by default."""
    steps = 4.0 ** np.arange(len(quotients))[:, np.newaxis]
    right = np.array(quotients)[:, np.newaxis]
    left = np.zeros_like(right) if left is None else np.array(left)[:, np.newaxis]
    found = _abrupt_changes([(left, steps, -1.0), (right, steps, 1.0)], np.array([noise]))
    return tuple(float(part[0]) for part in found)


def after(*changes):
    return [1.0, *(1.0 + np.cumsum(changes))]


def test_a_change_is_abrupt_that_is_more_than_64_times_the_one_before():
    assert abrupt(after(1.0, 64.0, 256.0)) == (0.0, 0.0, 0.0)
    # The step that sees it, by how much the two next ones change the quotient, and the one before.
    assert abrupt(after(1.0, 65.0, 260.0)) == (16.0, 325.0, 2.0)
    assert abrupt(after(1.0, 65.0)) == (16.0, 65.0, 2.0)
    assert abrupt(after(1.0, 65.0, -130.0)) == (16.0, 65.0, 2.0)
    assert abrupt(after(1.0, 65.0, -60.0)) == (16.0, 65.0, 2.0)
    assert abrupt(after(1.0, 65.0, 260.0, 1000.0)) == (16.0, 325.0, 2.0)


def test_a_change_is_abrupt_that_is_more_than_half_the_next():
    assert abrupt(after(1.0, 2.0, 8.0)) == (0.0, 0.0, 0.0)
    assert abrupt(after(1.0, 1.9, 8.0)) == (4.0, 2.9, 1.0)


def test_a_change_that_noise_may_make_is_not_abrupt():
    """15 times the noise over the shorter step, which is added to the change before, too."""
    assert abrupt(after(1.0, 0.0, 0.0), noise=1 / 15)[0] == 0.0
    assert abrupt(after(1.1, 0.0, 0.0), noise=1 / 15)[0] == 4.0
    assert abrupt(after(0.0, 0.25, 0.0), noise=1 / 15)[0] == 0.0
    assert abrupt(after(0.0, 0.26, 0.0), noise=1 / 15)[0] == 16.0
    assert abrupt(after(0.0, 64.0, 512.0), noise=1 / 15)[0] == 0.0
    assert abrupt(after(0.0, 65.0, 512.0), noise=1 / 15)[0] == 16.0


def test_a_change_from_what_is_not_finite_is_not_abrupt():
    assert abrupt([1.0, 2.0, INF, INF]) == (0.0, 0.0, 0.0)
    assert abrupt([1.0, 2.0, NAN, NAN]) == (0.0, 0.0, 0.0)


def test_the_nearer_of_the_abrupt_changes_of_both_sides_counts():
    assert abrupt(after(0.0, 3.0), left=after(2.0, 0.0)) == (-4.0, 2.0, 1.0)
    assert abrupt(after(2.0, 0.0), left=after(0.0, 3.0)) == (4.0, 2.0, 1.0)
    assert abrupt(after(2.0, 0.0), left=after(3.0, 0.0)) == (-4.0, 3.0, 1.0)
    assert abrupt(after(0.0, 0.0), left=after(0.0, 3.0)) == (-16.0, 3.0, 1.0)


# ---- a jump, or a bend ----


def jump_of(f, change, low=0.0, width=1.0):
    return float(is_jump(evaluation_of(f), np.array([0]), *arrays(low, width, change))[0])


def test_a_jump_is_as_high_as_f_jumps():
    assert jump_of(lambda t: 5.0 * (t > 0.3), 1.0) == 5.0
    assert jump_of(lambda t: 2.0 - 5.0 * (t > -0.3), 1.0, width=-1.0) == 5.0
    assert jump_of(lambda t: 5.0 * (t > 1.3), 1.0, low=1.0) == 5.0


def test_no_jump_is_less_than_eight_times_what_a_kink_makes_of_the_interval():
    """After 8 halvings it is 1/256 as wide: a change of the slope by 32 makes 1/8 of it."""
    assert jump_of(lambda t: t > 0.3, 32.0) == 0.0
    assert jump_of(lambda t: t > 0.3, 31.9) == 1.0
    assert jump_of(lambda t: t > 0.6, 16.0, width=2.0) == 0.0
    assert jump_of(lambda t: t > 0.6, 15.9, width=2.0) == 1.0


def test_a_bend_that_shrinks_with_the_interval_is_none():
    assert jump_of(lambda t: abs(t - 0.3), 0.0) == 0.0
    assert jump_of(lambda t: 5.0 * t, 0.0, low=1.0) == 0.0
    # |t - 0.3|**p shrinks by 256**p: 1/8 for p = 3/8.
    assert jump_of(lambda t: np.sign(t - 0.3) * abs(t - 0.3) ** 0.45, 0.0) == 0.0
    assert jump_of(lambda t: np.sign(t - 0.3) * abs(t - 0.3) ** 0.3, 0.0) > 0.0


def test_a_jump_at_the_point_itself_is_none():
    assert jump_of(lambda t: t > 0, 0.0) == 0.0
    assert jump_of(lambda t: t > 0, 0.0, low=-0.3) == 1.0


def test_steps_that_lie_on_a_line_by_accident_are_followed():
    """Those of one half rise evenly, so that it does not bend; the other half is flat."""
    assert jump_of(lambda t: np.floor(4 * max(t - 0.5, 0.0)), 0.1) == 1.0
    assert jump_of(lambda t: np.floor(4 * min(t, 0.5)), 0.1) == 1.0
    # What f rises by counts little beside what it bends by.
    assert jump_of(lambda t: 100.0 * max(t - 0.5, 0.0) + 4.0 * (t > 0.3), 0.0) == 4.0
    assert jump_of(lambda t: 100.0 * min(t, 0.5) + 4.0 * (t > 0.7), 0.0) == 4.0
    # But by 2, as in the first half, more than to bend by 0.001, as in the second.
    assert jump_of(lambda t: np.floor(4 * min(t, 0.5)) + 0.001 * (t > 0.8), 0.1) == 1.0


# ---- one jump, or many ----


def test_a_table_is_made_at_uneven_places():
    table = _uneven_table(evaluation_of(lambda t: t), np.array([7.0]), np.array([0]), np.ones(1))
    places = [-4, -3, -2, -1, 7 * 128 / 175, 1, 2, 3, 4]
    assert table[:, 0].tolist() == [175 / 128 * place for place in places]


def multiples(*changes, jump=1.0):
    table = np.cumsum([5.0, *changes])[:, np.newaxis]
    return bool(_are_multiples(table, np.array([jump]))[0])


def test_three_changes_by_whole_jumps_are_several():
    assert multiples(1, 0, 2, 0, -1)
    assert not multiples(1, 0, 2, 0, 0)
    assert not multiples(0, 0, 0, 0, 0)
    assert multiples(3, 0, 6, 0, -3, jump=3.0)
    assert not multiples(1, 0, 2, 0, -1, jump=3.0)
    assert multiples(1 + 0.9 / 1024, 0, 2, 0, -1)
    assert not multiples(1 + 1.1 / 1024, 0, 2, 0, -1)
    # What is a little more than no jump is no change.
    assert not multiples(1, 0, 2, 0, 0.9 / 1024)


def many(f, end=1.0, jump=1.0, last=64.0):
    found = _many_jumps(
        evaluation_of(f), np.array([f(0.0)]), np.array([0]), *arrays(end, jump, last)
    )
    return tuple(float(part[0]) for part in found)


def test_a_single_jump_is_no_noise():
    assert many(lambda t: float(t > 0.3)) == (0.0, 0.0)


def test_steps_of_one_height_are_noise_of_0_3_of_it_at_least():
    assert many(lambda t: 4 * np.rint(t * 128 / 175), jump=4.0) == (1.0, 1.2)


# What evaluation_noise makes of third differences whose lower median is 1.
OF_ONE = 1 / (0.73 * np.sqrt(20))


def test_many_jumps_are_as_much_noise_as_their_third_differences_show():
    """Those of values that alternate are 4 of a jump."""
    step, noise = many(lambda t: 3 * (np.rint(t * 128 / 175) % 2), jump=3.0)
    assert step == 1.0
    assert noise == pytest.approx(3 * 4 * OF_ONE)


def test_third_differences_below_a_32nd_of_the_jump_show_no_others():
    """c t**3 has 6 c s**3 in a table of spacing s, of which the last is 175/128 * 64."""
    coefficient = 1 / OF_ONE / (6 * (64 * 175 / 128) ** 3)

    def f(t, height):
        return (t > 0.3) + height * coefficient * t**3

    assert many(lambda t: f(t, 0.99 / 32)) == (0.0, 0.0)
    assert many(lambda t: f(t, 1.01 / 32))[0] == 64.0


def by_place(*near):
    """Return values at the places -4 to 4 of the first table; they alternate in the second."""
    return lambda t: float(
        near[round(t * 128 / 175) + 4] if abs(t) < 6 else round(t * 32 / 175) % 2 == 0
    )


def test_a_table_with_more_than_two_pairs_of_equal_neighbours_is_made_coarser():
    assert many(by_place(0, 1, 1, 0, 0, 1, 0, 1, 0))[0] == 1.0
    assert many(by_place(0, 1, 1, 0, 0, 1, 1, 0, 1))[0] == 4.0


def test_the_most_noise_of_the_tables_counts():
    """Of the first one, third differences of 2; the second one is flat."""
    values = [0, 1, 1, 1, 0, 5, 5, 2, 0]

    def f(t):
        place = round(t * 128 / 175)
        return float(values[place + 4] if abs(place) < 4 else 0)

    assert many(f, last=4.0) == (1.0, pytest.approx(2 * OF_ONE))


def test_the_table_is_made_coarser_until_it_passes_several_jumps():
    """Every 32: steps of 8 pass three, but most neighbouring values are equal."""
    step, noise = many(lambda t: np.floor(t / 32 + 0.99), end=0.5, last=4096.0)
    assert (step, noise) == (32.0, pytest.approx(2 * OF_ONE))
    assert many(lambda t: np.floor(t / 32 + 0.99) + t / 1000, end=0.5, last=4096.0)[0] == 8.0
    assert many(lambda t: np.floor(t / 32 + 0.99), end=0.5, last=2.0) == (0.0, 0.0)


# ---- all of it ----


def test_without_some_lines_there_is_nothing_along_these():
    hidden = HiddenNoise(*(np.array([1.0, 2.0]) * k for k in (1, 2, 3, 4)))
    left = hidden.but(np.array([True, False]))
    assert left.first_step.tolist() == [0.0, 2.0]
    assert left.noise.tolist() == [0.0, 4.0]
    assert left.height.tolist() == [0.0, 6.0]
    assert left.reach.tolist() == [INF, 8.0]
    assert hidden.first_step.tolist() == [1.0, 2.0]


def test_the_quantum_is_0_3_of_the_lowest_jump_that_was_looked_at():
    nothing = np.zeros(3)
    assert HiddenNoise(nothing, nothing, np.array([0.0, 4.0, 2.0]), nothing).quantum == 0.6
    assert HiddenNoise(nothing, nothing, nothing, nothing).quantum == 0.0
    assert not HiddenNoise(nothing, nothing, nothing, nothing).anywhere
    assert HiddenNoise(np.array([0.0, 1.0]), nothing, nothing, nothing).anywhere


def rounded(t):
    return np.floor(t + 0.3)


def found_by(functions, *, alike, noise=0.0):
    """What steps 1/16, 1/4, 1, 4 find to the right and to the left."""
    count = len(functions)
    steps = np.repeat(4.0 ** np.arange(-2.0, 2.0)[:, np.newaxis], count, axis=1)
    centre = np.array([f(0.0) for f in functions])
    sides = []
    for sign in (-1.0, 1.0):
        values = np.array([[f(sign * s) for f in functions] for s in steps[:, 0]])
        sides.append((sign * (values - centre) / steps, steps, sign))
    return find_hidden_noise(
        evaluation_of(*functions), centre, sides, np.full(count, noise), np.full(count, 64.0),
        alike=alike,
    )  # fmt: skip


def test_a_rounded_function_has_hidden_noise_and_a_smooth_one_none():
    """floor(t + 0.3) jumps at -0.3 and at 0.7: a step of 1 to the left sees the first."""
    found = found_by([rounded, lambda t: 2.0 * t, lambda t: float(t > 0.3)], alike=True)
    assert found.first_step.tolist() == [1.0, 0.0, 0.0]
    assert found.reach.tolist() == [1.0, INF, INF]
    assert found.height.tolist() == [1.0, 0.0, 0.0]
    assert found.noise[0] >= 0.3
    assert found.noise.tolist()[1:] == [0.0, 0.0]


def test_a_jump_below_the_resolution_of_the_noise_is_none():
    assert found_by([lambda t: 14.9 * rounded(t)], alike=True, noise=1.0).anywhere is False
    assert found_by([lambda t: 1600.0 * rounded(t)], alike=True, noise=1.0).anywhere


def test_no_jump_counts_that_is_at_most_15_times_the_noise():
    """A kink beside it lets the slope change by more than noise can."""

    def beside_a_kink(height):
        return lambda t: height * rounded(t) + 400.0 * max(t - 0.69, 0.0)

    assert not found_by([beside_a_kink(14.9)], alike=True, noise=1.0).anywhere
    assert found_by([beside_a_kink(15.1)], alike=True, noise=1.0).anywhere


def test_a_slope_does_not_hide_steps_that_lie_on_a_line_by_accident():
    """Steps of 1/4 from 1/2 on: a fall of 1000 is larger where they do not rise."""
    found = found_by([lambda t: np.floor(4 * max(t - 0.5, 0.0)) - 1000.0 * t], alike=True)
    assert found.first_step.tolist() == [1.0]


def test_a_table_may_be_coarser_than_the_step_that_shows_a_jump():
    found = found_by([lambda t: np.floor(t / 32 + 0.99)], alike=True)
    assert found.reach.tolist() == [1.0]
    assert found.first_step.tolist() == [64.0]


def test_outputs_that_are_not_looked_at_have_the_noise_of_their_own_jumps():
    """Of 20 every third: of height 3, 1/4 away, that only steps of 64 times as much pass."""
    functions = [lambda t: 3 * np.floor(t / 8 + 0.99)] * 20
    functions[1] = lambda t: 21 * rounded(t)
    functions[2] = lambda t: 3.0 * rounded(t) if t > -2 else INF
    functions[4] = lambda t: 3 * rounded(t / 4)
    found = found_by(functions, alike=False)
    assert found.reach.tolist()[:5] == [0.25, 1.0, 1.0, 0.25, 4.0]
    usual, step = found.noise[0], found.first_step[0]
    assert step == 64 * 0.25
    assert found.first_step.tolist()[:5] == [step, 4 * step, 4 * step, step, 16 * step]
    assert found.noise[:5] == pytest.approx([usual, 7 * usual, 0.0, usual, usual])


def test_of_many_outputs_eight_are_looked_at_and_the_others_take_after_them():
    """Of 20 every third; an unexamined one has 7 times as high steps."""
    functions = [rounded] * 19 + [lambda t: 7.0 * rounded(t)]
    found = found_by(functions, alike=False)
    assert np.flatnonzero(found.height).tolist() == [0, 3, 6, 9, 12, 15, 18]
    assert found.reach.tolist() == [1.0] * 20
    assert found.first_step.tolist() == [1.0] * 20
    usual = found.noise[0]
    assert found.noise.tolist()[:19] == pytest.approx([usual] * 19)
    assert found.noise[19] == pytest.approx(7 * usual)
    assert np.count_nonzero(found_by(functions, alike=True).height) == 20
