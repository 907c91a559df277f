"""Two measurements of one entry, and which of them to believe: measurements are made up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastbp.function.containers.point import SINGLE_UNIT
from fastbp.function.derivatives import second_slopes
from fastbp.function.derivatives.lines import Lines
from fastbp.function.derivatives.noise.distant_jumps import DistantJumps
from fastbp.function.derivatives.second_slopes import (
    _confirmed,
    _contradiction,
    _thoroughly_again,
    _usual_noise,
    learn_distant_jumps,
    measure_again,
    measure_among_jumps,
)
from fastbp.function.domain import Domain
from fastbp.runtime.account import Account

pytestmark = pytest.mark.small

UNIT = 2.0**-53
INF, NAN = np.inf, np.nan
# Steps of the second measurement are twice as long, and those of a third one four times.
FIRST, SECOND, THIRD = 1.0, 2.0, 4.0


def entry(slope, bar, *, jump=0.0, cheap=False, noise=1.0, smooth=False):
    """One entry: a kink has a hull of half its jump, and a cheap difference knows no f'''."""
    kink = jump != 0
    one = [np.array([number], dtype=np.float64) for number in (
        slope, bar, slope - jump / 2, slope + jump / 2, noise, 0.0, NAN if cheap or kink else 0.0
    )]  # fmt: skip
    return Lines(*one, np.array([kink]), np.ones(1), np.zeros(1, dtype=np.int8), np.array([smooth]))


def entries(*parts):
    found = Lines.unknown(len(parts))
    for place, part in enumerate(parts):
        found.put(np.array([place]), part)
    return found


def told(lines):
    return list(zip(lines.slope.tolist(), lines.error_bar.tolist(), strict=True))


# ---- a thorough measurement ----


@pytest.fixture
def again(monkeypatch):
    """Measure entries again, by what is given for each step; `confirmed` is about all of them."""

    def run(former, *, confirmed=None, unit=UNIT, quantum=0.0, asked=None, **fresh):
        by_shift = {SECOND: fresh.pop("second"), FIRST: None, THIRD: None, **{
            {"first": FIRST, "third": THIRD}[name]: lines for name, lines in fresh.items()
        }}  # fmt: skip

        def measure_entries(function, leaf, indices, noise, shift=FIRST):
            assert (function, leaf, noise) == (f, 7, _usual_noise(former))
            if asked is not None:
                asked.append((shift, indices.tolist()))
            return by_shift[shift].only(indices)

        def confirm(function, leaf, indices, lines):
            assert (function, leaf) == (f, 7)
            assert told(lines) == told(former.only(indices))
            if asked is not None:
                asked.append(("confirmed", indices.tolist()))
            return np.array(confirmed)[indices]

        f = SimpleNamespace(unit=unit, quantum=quantum)
        monkeypatch.setattr(second_slopes, "measure_entries", measure_entries)
        monkeypatch.setattr(second_slopes, "_confirmed", confirm)
        return told(_thoroughly_again(f, 7, np.arange(former.slope.size), former))

    return run


def test_of_two_measurements_that_agree_the_more_certain_one_stays(again):
    assert again(entry(1.0, 0.5), second=entry(1.25, 0.25)) == [(1.25, 0.25)]
    assert again(entry(1.0, 0.5), second=entry(1.25, 1.0)) == [(1.0, 0.5)]


def test_what_a_kink_adds_is_part_of_the_uncertainty(again):
    """A jump of 0.5 adds 0.25 to a bar of 0.5."""
    kink = entry(1.0, 0.5, jump=0.5)
    assert again(kink, second=entry(1.25, 0.625)) == [(1.25, 0.625)]
    assert again(entry(1.25, 0.625), second=kink) == [(1.25, 0.625)]


def test_a_contradiction_widens_the_bar_by_as_much_as_the_two_are_apart(again):
    assert again(entry(0.0, 0.5), second=entry(2.0, 1.0)) == [(0.0, 2.5)]
    assert again(entry(0.0, 0.5), second=entry(1.5, 1.0)) == [(0.0, 0.5)]


def test_a_cheap_difference_gives_way_to_what_is_as_certain(again):
    cheap = entry(1.0, 0.5, cheap=True)
    assert again(cheap, second=entry(1.25, 0.25)) == [(1.25, 0.25)]
    assert again(cheap, second=entry(1.25, 0.5)) == [(1.25, 0.5)]
    # Of two thorough ones the former stays.
    assert again(entry(1.0, 0.5), second=entry(1.25, 0.5)) == [(1.0, 0.5)]


def test_a_cheap_difference_with_the_smaller_bar_stays_if_others_confirm_it(again):
    """However wide the other bar is: that was not a second thorough measurement."""
    cheap, wide = entry(1.0, 0.5, cheap=True), entry(1.25, 100.0)
    assert again(cheap, second=wide, confirmed=[True]) == [(1.0, 0.5)]
    narrow = entry(1.0, 1e-6, cheap=True)
    assert again(narrow, second=wide, confirmed=[True]) == [(1.0, 1e-6)]
    assert again(
        cheap, second=wide, confirmed=[False], first=entry(1.5, 10.0)
    ) == [(1.5, 10.0)]  # fmt: skip
    # A jump of 0.5 and a bar of 0.5 are less certain than a bar of 0.625.
    assert again(
        entry(1.0, 0.625, cheap=True), second=entry(1.25, 0.5, jump=0.5), confirmed=[True]
    ) == [(1.0, 0.625)]  # fmt: skip


def test_a_cheap_difference_that_is_contradicted_is_measured_thoroughly(again):
    """Whatever confirms it. What it said is forgotten: the two thorough ones agree."""
    cheap, asked = entry(0.0, 0.25, cheap=True), []
    assert again(
        cheap, second=entry(0.75, 0.375), first=entry(1.0, 0.25), confirmed=[True], asked=asked
    ) == [(1.0, 0.25)]  # fmt: skip
    assert asked == [(SECOND, [0]), (FIRST, [0])]


def test_a_kink_is_no_cheap_difference(again):
    asked = []
    kink = entry(1.0, 0.25, jump=0.25)
    assert again(kink, second=entry(1.0, 1.0), confirmed=[False], asked=asked) == [(1.0, 0.25)]
    assert asked == [(SECOND, [0])]


def test_each_entry_is_decided_upon_by_itself(again):
    """Kept, refuted by other steps, more certain now, thorough, contradicted."""
    former = entries(
        entry(1.0, 0.5, cheap=True), entry(1.0, 0.5, cheap=True), entry(1.0, 0.5, cheap=True),
        entry(1.0, 0.5), entry(0.0, 0.5, cheap=True), entry(0.0, 0.5),
    )  # fmt: skip
    second = entries(
        entry(1.25, 2.0), entry(1.25, 2.0), entry(1.25, 0.25),
        entry(1.25, 2.0), entry(4.0, 2.0), entry(4.0, 2.0),
    )  # fmt: skip
    first = entries(*(entry(1.5, bar) for bar in (9.0, 1.0, 9.0, 9.0, 1.0, 9.0)))
    asked = []
    assert again(
        former, second=second, first=first, confirmed=[True, False, True, True, True, True],
        asked=asked,
    ) == [
        (1.0, 0.5), (1.5, 1.0), (1.25, 0.25), (1.0, 0.5), (1.5, 1.0), (0.0, 4.5)
    ]  # fmt: skip
    assert asked == [(SECOND, [*range(6)]), ("confirmed", [0, 1]), (FIRST, [1, 4])]


def test_a_bar_that_rested_on_too_little_noise_is_widened_in_few_digits(again):
    """In float32, or where f takes steps: by the ratio of the noise, here 4."""
    former, second = entry(1.0, 0.5, noise=0.5), entry(1.25, 8.0, noise=2.0)
    for options in ({"unit": SINGLE_UNIT}, {"quantum": 0.5}):
        assert again(former, second=second, **options) == [(1.0, 2.0)]
        # It never gets smaller; and of no noise nothing is known.
        assert again(entry(1.0, 0.5, noise=4.0), second=second, **options) == [(1.0, 0.5)]
        assert again(entry(1.0, 0.5, noise=0.0), second=second, **options) == [(1.0, 0.5)]
    assert again(former, second=second) == [(1.0, 0.5)]


def test_two_thorough_bars_are_no_farther_apart_than_16_times(again):
    """Two steps may agree by accident."""
    sharp, wide, third = entry(1.0, 0.5), entry(1.25, 64.0), entry(2.0, 0.5)
    assert again(sharp, second=wide, third=third) == [(1.0, 4.0)]
    assert again(wide, second=sharp, third=third) == [(1.0, 4.0)]
    asked = []
    assert again(sharp, second=entry(1.25, 8.0), asked=asked) == [(1.0, 0.5)]
    assert asked == [(SECOND, [0])]
    # Of an infinite bar that says nothing.
    assert again(entry(1.0, 0.25), second=entry(NAN, INF), asked=asked) == [(1.0, 0.25)]
    assert asked == [(SECOND, [0])] * 2


def test_a_third_measurement_may_confirm_the_smaller_bar(again):
    sharp, wide = entry(10.0, 0.5), entry(10.25, 64.0)
    assert again(sharp, second=wide, third=entry(10.5, 3.0)) == [(10.0, 0.5)]
    assert again(sharp, second=wide, third=entry(10.625, 3.0)) == [(10.0, 4.0)]


def test_bars_that_rest_on_many_values_are_not_widened(again):
    smooth, cheap = entry(1.0, 0.5, smooth=True), entry(1.0, 64.0, cheap=True)
    assert again(smooth, second=entry(1.25, 64.0)) == [(1.0, 0.5)]
    assert again(cheap, second=entry(1.25, 0.5)) == [(1.25, 0.5)]


# ---- tables first ----


@pytest.fixture
def table(monkeypatch):
    """Measure entries again: by tables where that is easy, which may leave doubts, or else."""

    def run(former, tables, *, easy=(True,), doubtful=(False,)):
        count = former.slope.size
        thorough = entries(*[entry(99.0, 9.0)] * count)
        f, places = SimpleNamespace(), 10 + np.arange(count)
        easy = np.array(easy)

        def measure_by_table(function, leaf, indices, smoothness, shift):
            assert (function, leaf, shift, smoothness.noise) == (f, 7, 2.0, _usual_noise(former))
            assert indices.tolist() == places[easy].tolist()
            return tables.only(easy), np.array(doubtful)[easy]

        def thoroughly(function, leaf, indices, lines):
            assert (function, leaf) == (f, 7)
            assert told(lines) == told(former.only(indices - 10))
            return thorough.only(indices - 10)

        def unchanged(function, leaf, lines, indices):
            assert (function, leaf, indices.tolist()) == (f, 7, places.tolist())
            return lines

        monkeypatch.setattr(second_slopes, "may_be_smooth", lambda *_: easy)
        monkeypatch.setattr(second_slopes, "measure_by_table", measure_by_table)
        monkeypatch.setattr(second_slopes, "_thoroughly_again", thoroughly)
        monkeypatch.setattr(second_slopes, "measure_where_steps_hid", unchanged)
        monkeypatch.setattr(second_slopes, "wide_if_digits_are_few", unchanged)
        return told(measure_again(f, 7, places, former))

    return run


THOROUGH = (99.0, 9.0)


def test_a_table_that_agrees_counts_where_it_is_more_certain(table):
    assert table(entry(1.0, 0.5), entry(1.25, 0.25)) == [(1.25, 0.25)]
    assert table(entry(1.0, 0.5), entry(1.25, 1.0)) == [(1.0, 0.5)]
    assert table(entry(1.0, 0.5), entry(1.25, 0.5)) == [(1.0, 0.5)]
    # A jump of 0.5 adds 0.25 to a bar of 0.5.
    assert table(entry(1.0, 0.5, jump=0.5), entry(1.25, 0.625)) == [(1.25, 0.625)]


def test_a_table_that_disagrees_by_however_little_is_not_believed(table):
    assert table(entry(1.0, 0.125), entry(1.5, 0.25)) == [THOROUGH]
    assert table(entry(1.0, 0.25), entry(1.5, 0.25)) == [(1.0, 0.25)]


def test_what_is_not_smooth_is_measured_thoroughly(table):
    former = entries(*[entry(1.0, 0.5)] * 3)
    tables = entries(*[entry(1.25, 0.25)] * 3)
    assert table(
        former, tables, easy=(True, False, True), doubtful=(True, False, False)
    ) == [THOROUGH, THOROUGH, (1.25, 0.25)]  # fmt: skip
    assert table(entry(1.0, 0.5), entry(1.0, 0.25), easy=(False,)) == [THOROUGH]


# ---- what they are made of ----


def test_two_measurements_contradict_each_other_where_their_bars_do_not_meet():
    """Bars of 1 and 2 and jumps of 8 and 16 (hulls of 4 and 8) reach 15 far."""
    one, other = entry(20.0, 1.0, jump=8.0), entry(35.0, 2.0, jump=16.0)
    for pair in ((one, other), (other, one)):
        assert _contradiction(*pair).tolist() == [0.0]
    beyond = entry(35.5, 2.0, jump=16.0)
    for pair in ((one, beyond), (beyond, one)):
        assert _contradiction(*pair).tolist() == [15.5]
    assert _contradiction(entry(NAN, INF), one).tolist() == [0.0]


def test_the_usual_noise_is_the_median_of_what_is_known():
    def usual(*noise):
        return _usual_noise(entries(*(entry(0.0, 0.0, noise=number) for number in noise)))

    assert usual(9.0, NAN, 1.0, INF, 2.0) == 2.0
    assert usual(NAN, INF) == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("slope", "bar", "confirmed"),
    [
        (3.5, 0.5, True),
        (3.5, 0.45, False),
        (3.75, 0.6, False),
        (3.75, 0.7, True),
        (4.1, 0.9, False),
    ],
)
def test_half_and_twice_the_step_confirm_a_slope(dtype, slope, bar, confirmed):
    """The central difference of x**3 at 1 is 3 + h**2: 3.0625 for 1/4 and 4 for 1."""
    f = SimpleNamespace(
        point=SimpleNamespace(base=[None, np.array([NAN, 1.0], dtype=dtype)]),
        with_entries=lambda leaf, indices, values: (
            values.astype(np.float64) ** 3 + 0 * leaf + 0 * indices
        ),
    )
    former = entry(slope, bar)
    former.shortest[:] = 0.5
    assert _confirmed(f, 1, np.array([1]), former).tolist() == [confirmed]


GIVEN = np.array([2.0, -1.0, 0.0, 5.0])
NEAREST = DistantJumps(0.5, 0.25)


def solver(**changed):
    """A function of four entries, one of them infinite; `along` gives where it was evaluated."""
    told = {
        "value": 5.0, "unit": UNIT, "quantum": 0.0, "searches": 0, "chosen": None,
        "domain": Domain(), "account": Account(),
        "point": SimpleNamespace(base=[np.array([2.0, -4.0, 0.0, INF])]),
        "along": lambda leaf, direction, steps, part: (leaf, direction.tolist(), steps, part),
    }  # fmt: skip
    f = SimpleNamespace(**{**told, **changed}, learnt=[])
    f.learn_jumps = lambda *args: f.learnt.append(args)
    f.learn_steps = lambda noise: f.learnt.append(noise.tolist())
    return f


@pytest.fixture
def searched(monkeypatch):
    """Look for jumps, and return what was asked of f, and whether that is one of a solver."""

    def run(f, *answers, given=GIVEN):
        asked, waiting = [], list(answers)

        def find(along, centre, noise, unit):
            assert (centre, noise, unit) == (5.0, 0.125, f.unit)
            asked.append(along(np.array([0.5, 1.0])))
            return waiting.pop(0)

        monkeypatch.setattr(second_slopes, "find_distant_jumps", find)
        found = learn_distant_jumps(f, 0, given, 0.125)
        assert not waiting
        learnt = [[0.3 * 0.5], (0, 0.5, second_slopes.UNEVEN * 0.25)]
        assert f.learnt == (learnt if found else [])
        return asked, found

    return run


def test_everything_moves_where_jumps_are_looked_for(searched):
    """By its size, the typical one where that is 0, and so that f rises; steps are uneven."""
    [(leaf, direction, steps, part)], found = searched(solver(), NEAREST)
    assert found
    size = second_slopes.UNEVEN
    assert direction == [2 * size, -4 * size, 2 * size, 0.0]
    assert (leaf, steps, part) == (0, [0.5, 1.0], slice(None))


def test_then_it_moves_at_random(searched):
    f = solver()
    asked, found = searched(f, None, NEAREST)
    assert found
    assert f.searches == 2
    assert np.abs(asked[1][1]).tolist() == np.abs(asked[0][1]).tolist()
    assert asked[1][1] != asked[0][1]
    asked, found = searched(solver(searches=1), None)
    assert (len(asked), found) == (1, False)


def test_a_single_entry_has_one_direction(searched):
    f = solver(chosen=SimpleNamespace(masks=[np.array([False, True, False, False])]))
    asked, found = searched(f, None)
    assert not found
    assert asked[0][1] == [0.0, -4 * second_slopes.UNEVEN, 0.0, 0.0]


@pytest.mark.parametrize(
    "changed",
    [
        {"quantum": 1e-9}, {"unit": SINGLE_UNIT}, {"searches": 2},
        {"account": Account(evaluations=299)},
    ],
)  # fmt: skip
def test_no_jumps_are_looked_for(searched, changed):
    """Where f is rough anyway, where that was done, or takes more than the check may."""
    assert searched(solver(**changed)) == ([], False)


def test_entries_are_measured_by_long_steps_among_jumps(monkeypatch):
    """One that has no finite derivative then stays as it was."""

    def measured(function, leaf, indices, *, shift):
        assert (function, leaf, indices.tolist(), shift) == ("f", 1, [3, 4], 2.0**13)
        return entries(entry(1.0, 0.5), entry(NAN, INF))

    monkeypatch.setattr(second_slopes, "measure_entries", measured)
    former = entries(entry(2.0, 0.25), entry(3.0, 0.125))
    lines = measure_among_jumps("f", 1, np.array([3, 4]), former)
    assert told(lines) == [(1.0, 0.5), (3.0, 0.125)]
