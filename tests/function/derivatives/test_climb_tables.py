"""The table with which a climb begins: what it says of the noise, and where it is made again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.function.derivatives.climb import Climb, Setting
from fastbp.function.derivatives.divergence import JUMP
from fastbp.function.derivatives.line_slopes import measure_lines

pytestmark = pytest.mark.small

UNIT = 2.0**-53
NAN = math.nan
# What evaluation_noise makes of third differences whose lower median is 1.
OF_ONE = 1 / (0.73 * math.sqrt(20))


def begun(*functions, first=1.0, size=1.0, unit=UNIT, floor=0.0, coarse=False, alike=False):
    """Begin a climb at 0 along one line for each function; note the distances of each line."""
    count = len(functions)
    taken = [[] for _ in functions]

    def evaluate(which, steps):
        for line, step in zip(which, steps, strict=True):
            taken[line].append(float(step))
        values = [functions[line](step) for line, step in zip(which, steps, strict=True)]
        return steps, np.array(values, dtype=np.float64)

    full = [np.broadcast_to(np.float64(number), count).copy() for number in (first, size, floor)]
    centre = np.array([f(0.0) for f in functions], dtype=np.float64)
    climb = Climb(evaluate, centre, full[0], full[1], Setting(unit, coarse, alike), full[2])
    climb.taken = taken
    return climb


def rough(height, base=0.0):
    """Return base, and more at three quarters of a power of two: as rough at all distances.

    The third differences of a table are 3, 1, 0, 0, 1 and 3 times the height.
    """

    def f(t):
        if math.frexp(abs(t))[0] != 0.75:
            return base
        return base + (height(abs(t)) if callable(height) else height)

    return f


def constant(value):
    return lambda _: value


# ---- the noise of each line, and of all ----


def test_rounding_is_0_6_units_of_the_largest_value():
    climb = begun(constant(1.0), constant(-4.0), constant(2.0))
    assert climb.noise.tolist() == [0.6 * UNIT, 0.6 * UNIT * 4, 0.6 * UNIT * 2]


def test_lines_that_are_alike_have_at_least_the_median_of_their_noise():
    climb = begun(constant(1.0), constant(-4.0), constant(2.0), alike=True)
    assert climb.noise.tolist() == [0.6 * UNIT * 2, 0.6 * UNIT * 4, 0.6 * UNIT * 2]


def test_the_least_noise_is_that_of_every_line():
    known = 3 * 0.6 * UNIT
    for alike in (False, True):
        climb = begun(constant(1.0), constant(-4.0), constant(2.0), floor=known, alike=alike)
        assert climb.noise.tolist() == [known, 0.6 * UNIT * 4, known]


def test_where_f_is_not_finite_nothing_is_evaluated_and_noise_is_the_least():
    lines = (constant(1.0), constant(NAN))
    climb = begun(*lines, floor=0.5)
    assert climb.noise.tolist() == [0.5, 0.5]
    assert climb.taken[1] == []
    assert begun(*lines).noise.tolist() == [0.6 * UNIT, 5e-324]
    assert begun(constant(NAN), alike=True).noise.tolist() == [5e-324]


@pytest.mark.parametrize("alike", [False, True])
def test_without_lines_there_is_no_noise(alike):
    assert begun(alike=alike).noise.tolist() == []


def test_rounding_of_slope_times_size_is_noise_of_all_lines_that_are_alike():
    """Slopes 3 and -5 times 2**20, where values are at most 20."""
    lines = (lambda t: 3.0 * t, lambda t: -5.0 * t)
    terms = [0.6 * UNIT * slope * 2.0**20 for slope in (3, 5)]
    assert begun(*lines, size=2.0**20).noise.tolist() == terms
    assert begun(*lines, size=2.0**20, alike=True).noise.tolist() == [terms[1]] * 2
    assert begun(*lines, size=2.0**20, first=0.5).noise.tolist() == terms
    # The slope at the point: half of that to the right.
    assert begun(lambda t: 3.0 * max(t, 0.0), size=2.0**20).noise[0] == terms[0] / 2


def test_noise_of_the_values_shows_in_the_third_differences():
    climb = begun(rough(2.0**-50, base=1.0))
    assert climb.noise.tolist() == [2.0**-50 * OF_ONE]


def test_a_quiet_line_takes_eight_evaluations_of_which_four_are_kept():
    climb = begun(lambda t: 1.0 + t, first=0.25)
    assert sorted(climb.taken[0]) == [k / 4 for k in (-4, -3, -2, -1, 1, 2, 3, 4)]
    assert [part.tolist() for part in climb.step_up] == [[0.25], [1.0]]
    assert [part.tolist() for part in climb.step_down] == [[0.25], [1.0]]
    assert [part.tolist() for part in climb.above] == [[1.25], [2.0]]
    assert [part.tolist() for part in climb.below] == [[0.75], [0.0]]
    assert climb.next_step.tolist() == [4.0]
    climb.step(np.array([0]))
    assert climb.above[-1].tolist() == [5.0]
    assert climb.next_step.tolist() == [16.0]


# ---- tables beside the point ----


def beside(left, right, near=1.0):
    """Rough near 0; alternating, by so much, from 128 steps on to the left and to the right."""

    def f(t):
        if abs(t) < 100:
            return 1e6 + rough(near)(t)
        return 1e6 + (left if t < 0 else right) * (t % 2)

    return f


@pytest.mark.parametrize("other", [1.0, 1 / 31])
@pytest.mark.parametrize("swapped", [False, True])
def test_much_noise_is_looked_for_beside_the_point_on_both_sides(other, swapped):
    """Values that alternate by c have third differences of 4 c; an eighth of the noise counts."""

    def found(c):
        return begun(beside(*((other, c) if swapped else (c, other))))

    climb = found(1 / 32)
    assert climb.noise[0] == pytest.approx(OF_ONE / 8, rel=1e-12)
    places = {float(k) for k in range(128, 137)}
    assert {t for t in climb.taken[0] if t > 100} == places
    assert {-t for t in climb.taken[0] if t < -100} == places
    assert found(1 / 31).noise[0] == pytest.approx(OF_ONE, rel=1e-12)


def test_each_side_is_compared_with_what_was_found_before():
    """An eighth of it on the left, then an eighth of that on the right."""
    assert begun(beside(1 / 32, 1 / 256)).noise[0] == pytest.approx(OF_ONE / 64, rel=1e-9)
    assert begun(beside(1 / 32, 1 / 250)).noise[0] == pytest.approx(OF_ONE / 8, rel=1e-9)


def test_beside_the_point_counts_only_where_f_is_finite():
    def f(t):
        return NAN if t == 130 else beside(1.0, 1e-9)(t)

    assert begun(f).noise[0] == pytest.approx(OF_ONE, rel=1e-12)


def test_noise_is_much_that_is_more_than_64_times_the_rounding():
    """Of values up to 1 + h, whose noise is h OF_ONE."""
    unit = 2.0**-30
    limit = 38.4 * unit / (OF_ONE - 38.4 * unit)
    assert len(begun(rough(0.99 * limit, base=1.0), unit=unit).taken[0]) == 8
    # Two finer tables, and one on either side of the point.
    assert len(begun(rough(1.01 * limit, base=1.0), unit=unit).taken[0]) == 8 + 2 * 8 + 2 * 9
    # The rounding of slope times size is no reason to look, either: here as large as that of 1.5.
    sloping = [lambda t, h=h: rough(h * limit)(t) + t / 8 for h in (1.2, 1.7)]
    for first in (1.0, 0.5):
        climb = begun(*sloping, size=12.0, unit=unit, first=first)
        assert [len(taken) for taken in climb.taken] == [8, 42]
    # The slope is that at the point: 0 of t**2 / 8, whose values are at most 2.
    curved = [lambda t, h=h: rough(h * limit)(t) + t * t / 8 for h in (1.9, 2.2)]
    assert [len(taken) for taken in begun(*curved, size=12.0, unit=unit).taken] == [8, 42]


# ---- finer tables ----


def finest(f, **options):
    """The spacings of all tables near the point, as powers of 16, and of the one that is kept.

    Spacings at which two values had to tell whether a table is worthwhile are negative.
    """
    climb = begun(f, **options)
    # Those of a table are 1 to 4 times a power of 16, those beside the point 8 to 8.5 times.
    near = [t for t in climb.taken[0] if math.floor(math.log2(abs(t))) % 4 != 3]
    spacings = []
    while near:
        power = -int(math.log2(near[0])) // 4
        is_table = near[1] > 0
        spacings.append(power if is_table else -power)
        del near[: 8 if is_table else 2]
    return spacings, -math.log2(climb.first_step[0]) / 4


def test_a_table_is_made_finer_twice_in_vain():
    """Where noise is less than 2**-11 of f, whatever its size."""
    base = 2.0**11 * OF_ONE - 1
    assert finest(rough(1.0, base=1.01 * base)) == ([0, 1, 2], 0)
    assert finest(rough(1e-6, base=1.01e-6 * base)) == ([0, 1, 2], 0)


def bending(second_difference, base=100.0):
    """As rough as 1 at all distances; nearer than the first three tables are, f also bends."""
    return lambda t: rough(1.0, base)(t) + second_difference * (-(16**-2) < t < 0)


def test_of_more_noise_two_values_tell_whether_finer_tables_are_worthwhile():
    base = 2.0**11 * OF_ONE - 1
    assert finest(bending(OF_ONE, 0.99 * base)) == ([0, 1, 2, -3, -4, -5, -6], 0)
    assert finest(bending(OF_ONE, 1.01 * base)) == ([0, 1, 2], 0)
    # Where f is the same on both sides, tables are made; here in vain.
    assert finest(rough(1.0, base=100.0)) == ([0, 1, 2, -3, 3, -4, 4, -5, 5, -6, 6], 0)


def test_no_table_is_finer_than_256_units_of_what_moves():
    assert finest(rough(1.0), size=2.0**37 * 0.99) == ([0, 1, 2], 0)  # 256 u size is 2**-8
    assert finest(rough(1.0), size=2.0**37) == ([0, 1], 0)
    assert finest(bending(OF_ONE), size=2.0**33 * 0.99) == ([0, 1, 2, -3], 0)


def test_two_values_are_no_noise_that_differ_by_an_eighth_of_it_or_eight_times():
    def has_third(second_difference):
        return 3 in finest(bending(second_difference))[0]

    assert has_third(0.124 * OF_ONE)
    assert not has_third(0.126 * OF_ONE)
    assert not has_third(7.9 * OF_ONE)
    assert has_third(8.1 * OF_ONE)


def by_table(*heights):
    """Heights of the roughness in the tables with spacings 1, 1/16, 1/256, ..."""
    return lambda t: heights[round(-math.log(t / 3, 16))]


def test_a_finer_table_with_less_than_an_eighth_of_the_noise_is_kept():
    def kept(*heights):
        return finest(rough(by_table(*heights), base=1e7))

    assert kept(1.0, 0.126, 1.0) == ([0, 1, 2], 0)
    assert kept(1.0, 0.124, 0.124, 0.124) == ([0, 1, 2, 3], 1)
    assert kept(1.0, 0.124, 0.124 / 7.9, 0.124) == ([0, 1, 2, 3], 1)
    # Of each that is kept it may be made finer twice in vain, six times in all.
    assert kept(1.0, 1.0, 0.1, 0.1, 0.1, 0.1) == ([0, 1, 2, 3, 4], 2)
    assert kept(1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.01) == ([0, 1, 2, 3, 4, 5, 6], 4)
    # None where it shows little more than rounding.
    assert kept(1.0, 1e-14, 1e-14) == ([0, 1], 1)


def test_a_finer_table_with_eight_times_the_noise_is_kept_too():
    """The spacing of the former was nearly a whole period of f."""

    def kept(*heights):
        return finest(rough(by_table(*heights), base=1e7))

    assert kept(1.0, 7.9, 1.0) == ([0, 1, 2], 0)
    assert kept(1.0, 8.1, 1.1, 1.1) == ([0, 1, 2, 3], 1)


def test_the_sine_of_a_time_since_1970_is_measured_on_its_own_scale():
    """sin(2 pi 50 t), of which the first steps are thousands of periods."""
    angular, at = 2 * math.pi * 50, 1.7e9 + 0.1234
    first = at * 1.41 * 2.0**-24
    climb = begun(lambda t: math.sin(angular * (at + t)), first=first, size=at)
    assert 1e-7 < climb.first_step[0] < 1 / angular
    assert climb.noise[0] == pytest.approx(0.5 * UNIT * at * angular, rel=0.9)


def test_what_is_kept_of_a_line_is_that_of_its_finer_table():
    heights = (1.0, 0.0)
    climb = begun(rough(by_table(*heights), base=100.0), lambda t: 1.0 + t)
    assert climb.first_step.tolist() == [1 / 16, 1.0]
    assert [part.tolist() for part in climb.step_up] == [[1 / 16, 1.0], [1 / 4, 4.0]]
    assert [part.tolist() for part in climb.step_down] == [[1 / 16, 1.0], [1 / 4, 4.0]]
    assert [part.tolist() for part in climb.above] == [[100.0, 2.0], [100.0, 5.0]]
    assert [part.tolist() for part in climb.below] == [[100.0, 0.0], [100.0, -3.0]]
    assert climb.noise[0] == 0.6 * UNIT * 100
    assert climb.next_step.tolist() == [1.0, 16.0]


# ---- coarse steps ----


def test_noise_of_a_coarse_table_is_that_of_a_finer_one_with_less_than_half_of_it():
    def found(finer):
        return begun(rough(by_table(1.0, finer), base=100.0), coarse=True)

    assert found(0.51).noise[0] == pytest.approx(OF_ONE, rel=1e-9)
    climb = found(0.49)
    assert climb.noise[0] == pytest.approx(0.49 * OF_ONE, rel=1e-9)
    assert climb.first_step.tolist() == [1.0]  # which steps are taken does not change
    assert max(map(abs, climb.taken[0])) == 4.0  # nor does it look beside the point
    assert len(climb.taken[0]) == 16


def test_a_coarse_table_is_made_finer_where_noise_is_more_than_8_times_the_rounding():
    unit = 2.0**-20
    limit = 4.8 * unit / (OF_ONE - 4.8 * unit)
    lines = [rough(part * limit, base=1.0) for part in (0.99, 1.01)]
    assert [len(taken) for taken in begun(*lines, unit=unit, coarse=True).taken] == [8, 16]


# ---- edges of the domain ----


def below(end):
    return lambda t: 1.0 + t if t < end else NAN


def test_the_first_step_is_shortened_by_16_until_the_table_is_finite():
    climb = begun(below(100.0), below(0.5), below(-0.5), below(2.0**-7))
    assert np.isnan(climb.centre).tolist() == [False, False, True, False]
    assert climb.first_step.tolist() == [1.0, 2.0**-4, 1.0, 2.0**-12]
    assert len(climb.taken[0]) == 8
    assert [part[1] for part in climb.step_up] == [2.0**-4, 2.0**-2]
    assert [part[3] for part in climb.above] == [1.0 + 2.0**-12, 1.0 + 2.0**-10]


def test_at_an_edge_the_first_step_is_as_short_as_makes_sense():
    """2**-16 of the usual one, or 32 units of what moves, up to a power of two."""

    def edge(t):
        return 1.0 + t if t >= 0 else NAN

    for side in (edge, lambda t: edge(-t)):
        assert begun(side).first_step.tolist() == [2.0**-16]
        assert begun(side, first=4.0).first_step.tolist() == [2.0**-14]
        assert begun(side, size=2.0**40).first_step.tolist() == [2.0**-8]
        assert begun(side, size=1.1 * 2.0**40).first_step.tolist() == [2.0**-7]
        assert begun(side, size=2.0**50).first_step.tolist() == [1.0]
    assert begun(edge, constant(1.0)).first_step.tolist() == [2.0**-16, 1.0]


def test_little_noise_at_an_edge_is_looked_for_beside_it_too():
    """16 times the rounding, where inside the domain it would be no reason to look."""
    h = 16 * 0.6 * UNIT / OF_ONE

    def edge(t):
        return NAN if t < 0 else rough(h if t < 2.0**-10 else 0.0, base=1.0)(t)

    assert begun(rough(h, base=1.0)).noise[0] > 15 * 0.6 * UNIT
    assert begun(edge).noise[0] < 1.01 * 0.6 * UNIT


def test_an_edge_says_nothing_of_noise_but_the_tables_beside_it_do():
    """Near the edge f is rough; 128 steps away it is not."""

    def edge(t):
        return NAN if t < 0 else beside(1.0, 1e-9)(t * 2.0**16)

    climb = begun(edge)
    assert climb.first_step.tolist() == [2.0**-16]
    assert climb.noise[0] == pytest.approx(4e-9 * OF_ONE, rel=0.1)
    assert {t * 2.0**16 for t in climb.taken[0]} >= set(range(128, 137)) | set(range(-136, -127))


# ---- a value that no other is near ----


def test_a_value_far_from_those_on_both_sides_is_a_jump_in_eight_evaluations():
    """As where a label is compared: it is 1, or it is not."""
    climb = begun(lambda t: 2.0 + t / 512 if t else 3.0, lambda t: 2.0 + t)
    assert climb.isolated.tolist() == [True, False]
    assert [len(taken) for taken in climb.taken] == [8, 8]
    lines = measure_lines(climb.evaluate, climb.centre, np.ones(2), np.full(2, 2.0**20), UNIT)
    assert lines.divergence.tolist() == [JUMP, 0]
    assert math.isnan(lines.slope[0])
    assert lines.error_bar[0] == math.inf
    assert lines.slope[1] == pytest.approx(1.0)


BESIDE = {
    "sign": (lambda t: np.sign(t), True),
    "a bend of less than a 64th": (lambda t: 0.005 * abs(t) - (t != 0), True),
    "a bend of more": (lambda t: 0.006 * abs(t) - (t != 0), False),
    "a kink": (abs, False),
    "an infinite slope": (lambda t: abs(t) ** 0.1, False),
    "whole periods": (lambda t: np.cos(2 * np.pi / 3 * t), False),  # as f(4) is f(1)
    "one side alone": (lambda t: float(t > 0), False),
    "less than a 256th of f": (lambda t: 0.0038 * (t != 0) - 1.0, False),
    "more than that": (lambda t: 0.0040 * (t != 0) - 1.0, True),
}


@pytest.mark.parametrize("name", BESIDE)
def test_which_values_no_others_are_near(name):
    f, isolated = BESIDE[name]
    assert begun(f).isolated[0] == isolated


def test_values_on_one_side_tell_the_noise_beside_a_value_that_is_far_from_them():
    climb = begun(lambda t: rough(1e-6)(t) + 1.0 if t else 3.0)
    assert climb.noise[0] == pytest.approx(3e-6 / 0.73 / math.sqrt(20), rel=1e-6)
