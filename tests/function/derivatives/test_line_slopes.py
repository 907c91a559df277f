"""Where steps of f count as meant, and which steps a line is measured with."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.function.derivatives.line_slopes import _are_meant, measure_lines
from fastbp.function.derivatives.noise.hidden_noise import HiddenNoise

pytestmark = pytest.mark.small

UNIT, SINGLE_UNIT = 2.0**-53, 2.0**-24


def meant(first_steps, heights, *, size=1.0, centre=1e9, floor=0.0):
    first_step = np.array(first_steps)
    hidden = HiddenNoise(first_step, np.array(heights), np.array(heights), first_step)
    full = [np.full(first_step.shape, number) for number in (size, centre, floor)]
    return _are_meant(hidden, *full).tolist()


def test_wide_steps_of_different_heights_are_meant():
    """Wider than 2**-8 of what moves, and the highest more than 16 times the lowest."""
    assert meant([0.5, 0.5], [1.0, 16.0]) == [False, False]
    assert meant([0.5, 0.5], [1.0, 16.5]) == [True, True]
    assert meant([2.0**-8, 1.1 * 2.0**-8], [1.0, 16.5]) == [False, True]
    assert meant([2.0**-8, 1.1 * 2.0**-8], [1.0, 16.5], size=2.0) == [False, False]


def test_lines_without_steps_have_none_that_are_meant():
    assert meant([0.0, 0.0], [0.0, 0.0]) == [False, False]
    # Nor do their heights of 0 count as the lowest.
    assert meant([0.5, 0.0], [1.0, 0.0]) == [False, False]
    assert meant([0.5, 0.0, 0.5], [1.0, 0.0, 17.0]) == [True, False, True]


def test_wide_steps_that_are_high_are_meant():
    """Higher than 2**-8 of f."""
    assert meant([0.5, 0.5], [1.0, 1.0], centre=-256.0) == [False, False]
    assert meant([0.5, 0.5], [1.0, 1.0], centre=-255.0) == [True, True]


def test_steps_far_above_the_noise_that_others_have_shown_are_meant():
    """256 times that noise, along a single line; where none was shown it tells nothing."""
    assert meant([0.5], [256.0], floor=1.0) == [False]
    assert meant([0.5], [257.0], floor=1.0) == [True]
    assert meant([0.5], [257e-6], floor=1e-6) == [True]
    assert meant([0.5], [257.0], floor=0.0) == [False]
    assert meant([0.5, 0.5], [257.0, 257.0], floor=1.0) == [False, False]


def measured(f, count=1, first=2.0**-24, last=2.0**-3, unit=UNIT, noise=0.0, **options):
    """Measure the same function along several lines; return also the lengths of all steps."""
    steps = []

    def evaluate(_, displacements):
        steps.append(np.abs(displacements))
        return displacements, f(displacements)

    lines = measure_lines(
        evaluate, f(np.zeros(count)), np.full(count, first), np.full(count, last), unit, noise,
        **options,
    )  # fmt: skip
    return lines, np.concatenate(steps)


def straight(t):
    return 1.0 + 3.0 * t


@pytest.mark.parametrize("unit", [UNIT, SINGLE_UNIT])
def test_no_step_is_shorter_than_32_units_of_what_moves(unit):
    lines, steps = measured(straight, first=unit, size=np.ones(1), unit=unit)
    assert steps.min() == 32 * unit
    assert lines.shortest.tolist() == [32 * unit]
    _, steps = measured(straight, first=unit, size=np.full(1, 3.0), unit=unit)
    assert steps.min() == 128 * unit
    lines, steps = measured(straight, first=64 * unit, size=np.ones(1), unit=unit)
    assert steps.min() == 64 * unit


@pytest.mark.parametrize(("unit", "first"), [(UNIT, 2.0**-24), (SINGLE_UNIT, 2.0**-10)])
def test_what_moves_has_by_default_the_size_to_which_first_steps_are_relative(unit, first):
    """Rounding of slope times size is noise: 0.6 units of it. The slope is 2**20, f is 0."""
    lines, _ = measured(lambda t: 2.0**20 * t, first=8 * first, last=8 * first, unit=unit)
    assert lines.noise.tolist() == [0.6 * unit * 8 * 2.0**20]
    lines, _ = measured(
        lambda t: 2.0**20 * t, first=8 * first, last=8 * first, unit=unit, size=np.full(1, 64.0)
    )
    assert lines.noise.tolist() == [0.6 * unit * 64 * 2.0**20]


def test_lines_of_one_function_share_the_noise_of_its_steps():
    """Only the first takes steps, of height 2**-20; rounding to them is 0.3 of that."""

    def evaluate(which, steps):
        exact = 1.0 + 3.0 * steps
        return steps, np.where(which == 0, np.round(exact * 2.0**20) / 2.0**20, exact)

    def noise(alike):
        return measure_lines(
            evaluate, np.ones(2), np.full(2, 2.0**-24), np.full(2, 2.0**-3), UNIT, alike=alike,
            size=np.ones(2),
        ).noise  # fmt: skip

    assert noise(alike=True)[1] == 0.3 * 2.0**-20
    assert noise(alike=False)[1] < 2.0**-50


def test_a_line_with_steps_is_measured_with_longer_ones():
    """The first that passes a step of height 2**-20: at a slope of 3, it is 2**-20 / 6 away."""
    lines, _ = measured(lambda t: np.round((1.0 + 3.0 * t) * 2.0**20) / 2.0**20, size=np.ones(1))
    assert lines.shortest.tolist() == [2.0**-22]
    assert lines.noise[0] >= 0.3 * 2.0**-20
    assert abs(lines.slope[0] - 3.0) <= lines.error_bar[0] < 1e-3


def test_noise_that_is_known_to_be_larger_than_the_steps_is_that_of_the_line():
    lines, _ = measured(
        lambda t: np.round((1.0 + 3.0 * t) * 2.0**20) / 2.0**20, noise=2.0**-21, size=np.ones(1)
    )
    assert lines.noise.tolist() == [2.0**-21]


def of_lines(*functions, last=2.0**-3, size=1.0, **options):
    """Measure a function of its own along each line, where f begins at the same value."""

    def evaluate(which, steps):
        values = [functions[line](step) for line, step in zip(which, steps, strict=True)]
        return steps, np.array(values, dtype=np.float64)

    count = len(functions)
    return measure_lines(
        evaluate, np.array([f(0.0) for f in functions]), np.full(count, 2.0**-24),
        np.full(count, last), UNIT, size=np.full(count, size), **options,
    )  # fmt: skip


def sawtooth(t):
    """Steps of width and height 1, and a slope of 1 between them."""
    return (t + 0.3) % 1.0


def test_between_wide_steps_the_slope_is_meant_where_it_is_clear():
    (line, few_digits) = of_lines(
        sawtooth, lambda t: 0.3 + t + 2.0**-20 * np.floor(2.0**10 * t + 0.3), last=4.0
    ).shortest
    assert line == 2.0**-24
    assert few_digits > 2.0**-12  # narrow steps are noise, whatever the slope between
    lines = of_lines(sawtooth, last=4.0)
    assert abs(lines.slope[0] - 1.0) <= lines.error_bar[0] < 1e-8


def test_between_wide_steps_without_a_slope_the_derivative_may_be_0_or_that_of_all_steps():
    lines = of_lines(lambda t: np.floor(t + 0.3), last=64.0)
    assert lines.shortest[0] >= 1.0
    assert abs(lines.slope[0] - 1.0) <= lines.error_bar[0]
    assert lines.error_bar[0] >= 2 * abs(lines.slope[0])


def jump(t):
    return 1.0 + (t > 0)


def test_a_line_with_a_jump_has_the_noise_that_others_have_shown_if_they_are_alike():
    """Its neighbour takes steps of 2**-20."""

    def stepping(t):
        return np.round((1.0 + 3.0 * t) * 2.0**20) / 2.0**20

    assert of_lines(stepping, jump, size=2.0**-60, alike=True).noise[1] == 0.3 * 2.0**-20
    assert of_lines(stepping, jump, size=2.0**-60, alike=False).noise[1] == 0.6 * UNIT * 2


def test_a_line_with_a_jump_has_at_least_the_noise_that_is_known():
    for alike in (False, True):
        lines = of_lines(jump, shared_noise=2.0**-30, size=2.0**-60, alike=alike)
        assert lines.noise[0] == 2.0**-30


def test_a_line_with_a_jump_has_the_noise_of_its_shorter_steps():
    """0.6 units of the largest value of the table, 2**30 t + 1; or that of both if it is shared."""

    def f(t):
        return 2.0**30 * t + (t > 0)

    largest = [1 + 2.0**30 * 4 * step for step in (2.0**-40, 2.0**-24)]
    noise = [0.6 * UNIT * value for value in largest]
    assert of_lines(f, size=2.0**-60, alike=False).noise.tolist() == [noise[0]]
    assert of_lines(f, size=2.0**-60, alike=True).noise.tolist() == [noise[1]]


def test_it_is_measured_beyond_the_last_step_where_only_that_passes_a_few():
    """Heights are 2**-10, and the first is 0.05 * 2**-10 / 3 away."""
    lines, steps = measured(
        lambda t: np.round((1.0 + 3.0 * t) * 2.0**10 + 0.45) / 2.0**10,
        last=2.0**-14,
        size=np.ones(1),
    )
    assert lines.shortest.tolist() == [2.0**-14]
    assert steps.max() == 16 * 2.0**-14


def test_a_jump_at_the_point_has_no_derivative_and_shortens_the_first_step():
    lines, steps = measured(lambda t: 1.0 + (t > 0), count=2, size=np.ones(2))
    assert np.isnan(lines.slope).all()
    assert np.isinf(lines.error_bar).all()
    assert not lines.kink.any()
    assert (lines.divergence != 0).all()
    assert lines.shortest.tolist() == [2.0**-40, 2.0**-40]
    assert measured(jump, size=np.full(1, 2.0**20))[0].shortest.tolist() == [2.0**-28]
    assert steps[steps > 0].min() < 2.0**-40


def test_a_slope_that_is_steep_only_beyond_the_shorter_steps_is_finite():
    """sqrt(t**2 + 2**-60) looks like a kink; sqrt(t + 2**-30) like an infinite slope."""
    lines, _ = measured(lambda t: np.sqrt(np.maximum(t + 2.0**-30, 0.0)), size=np.ones(1))
    assert abs(lines.slope[0] - 2.0**14) <= lines.error_bar[0] < 2.0**10


def test_a_line_with_steps_that_is_steep_is_not_measured_between_them():
    """A cube root in steps of 2**-10."""
    lines = of_lines(lambda t: np.round(np.cbrt(t) * 2.0**10 + 0.2) / 2.0**10)
    assert lines.shortest[0] > 2.0**-30
