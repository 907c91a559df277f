"""The search for wrong entries along one direction; what it measures is made up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastbp.function.derivatives.lines import Lines
from fastbp.function.methods.search import leaf_search
from fastbp.function.methods.search.leaf_search import LeafSearch, _Segment, components
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small

INF = np.inf
FIRST_STEP = 2.0**-24
EXACT = Tolerance(0.0, 0.0)


class Slopes:
    """Derivatives of a linear function along slices, with made-up bars and hulls."""

    noise, size = 0.5, 2.0

    def __init__(self, true, bar=0.25, hull=None, again=None):
        self.true, self.bar, self.hull, self.next = true, bar, hull, again
        self.asked = []

    def slope(self, direction, part):
        self.asked.append((part.start, part.stop))
        hull = 0.0 if self.hull is None else float(self.hull[part].sum())
        return float(direction[part] @ self.true[part]), self.bar, hull

    def again(self, direction):
        return (float(direction @ self.true), self.bar) if self.next is None else self.next

    def due_to_kinks(self, line):
        return float(line.hull[0])


def line_of(slope, bar=0.0, jump=0.0):
    numbers = (slope, bar, slope - jump / 2, slope + jump / 2, 0.0, 0.0, 0.0)
    return Lines(
        *(np.array([float(number)]) for number in numbers), np.array([jump != 0]), np.ones(1),
        np.zeros(1, dtype=np.int8), np.zeros(1, dtype=bool),
    )  # fmt: skip


@pytest.fixture
def search(monkeypatch):
    """A search through one array, whose derivative is `true`, and 0 by default."""

    def begun(
        given, true=None, *, bar=0.25, hull=None, again=None, allowance=0.0, most=9, jump=None,
        tolerance=EXACT, value=0.0,
    ):  # fmt: skip
        given = np.array(given, dtype=np.float64)
        true = np.zeros(given.size) if true is None else np.array(true, dtype=np.float64)
        hull = None if hull is None else np.array(hull)
        slopes = Slopes(true, bar, hull, again)
        jumps = np.zeros(given.size) if jump is None else np.array(jump)

        def measure_entries(function, leaf, place, noise):
            assert (function, leaf, noise) == (f, 7, 0.5)
            return line_of(true[place[0]], 0.0, jumps[place[0]])

        f = SimpleNamespace(value=value, unit=2.0**-53)
        monkeypatch.setattr(leaf_search, "DirectionSlopes", lambda *_: slopes)
        monkeypatch.setattr(leaf_search, "is_constant_along", lambda *_: False)
        monkeypatch.setattr(leaf_search, "measure_entries", measure_entries)
        monkeypatch.setattr(leaf_search, "measure_again", lambda *args: args[3])
        monkeypatch.setattr(leaf_search, "allow_for_rounded_entries", lambda *args: args[3])
        monkeypatch.setattr(leaf_search, "reaching_between_steps", lambda *args: args[4])
        monkeypatch.setattr(leaf_search, "learn_distant_jumps", lambda *_: False)
        return LeafSearch(f, 7, given, tolerance, lambda *_: allowance, most)

    return begun


def ones(count):
    return np.ones(count)


# ---- one direction ----


def test_a_direction_is_compared_with_what_the_gradient_says_along_it(search):
    """2 * 3 - 4 * 5 = -14 is said, and 2 * 1 = 2 measured; bar, allowance and hull add up."""
    found = search([3.0, 5.0], [1.0, 0.0], bar=0.25, allowance=0.5, hull=[1.0, 3.0])
    direction = np.array([2.0, -4.0])
    same, whole = found.compared(direction)
    assert same is direction
    assert whole == _Segment(0, 2, -16.0, 4.75, 4.0)
    located = found.located
    assert (located.slopes, located.given) == ([2.0], [-14.0])
    assert (located.noise, located.allowed) == ([0.75], [4.75])
    assert found.directions == 1
    assert found.slopes.asked == [(None, None)]


@pytest.mark.parametrize("difference", [-1.0, 1.0])
def test_a_difference_is_significant_above_its_bar(difference):
    assert not _Segment(0, 1, difference, 1.0, 0.0).significant
    assert _Segment(0, 1, 1.001 * difference, 1.0, 0.0).significant


def leading_outside(found, turned):
    """Let it have no derivative until it is turned, and note what was looked for."""
    found.raised = []
    found._turned_inward = lambda _: turned
    measured = found.slopes.slope

    def slope(direction, part):
        number, bar, hull = measured(direction, part)
        return number, bar if direction is turned else INF, hull

    found.slopes.slope = slope
    found.function.raise_if_it_raised_along = lambda *args: found.raised.append(args[::2])
    return found


def test_a_direction_that_leads_outside_is_turned_inward(search):
    direction, turned = np.array([0.5, 0.0, 1.0]), np.array([-0.5, 0.0, -1.0])
    found = leading_outside(search([1.0, 1.0, 1.0]), turned)
    after, whole = found.compared(direction)
    assert after is turned
    assert whole.difference == -1.5
    assert found.raised == []


def test_it_is_not_turned_where_an_entry_may_move_neither_way(search):
    direction = np.array([0.5, 0.0, 1.0])
    found = leading_outside(search([1.0, 1.0, 1.0]), None)
    after, whole = found.compared(direction)
    assert after is direction
    assert whole.error_bar == INF
    # What f raised there is said: 2**-24 of the size, which is 2, away.
    assert found.raised == [(7, 2 * FIRST_STEP)]


def test_it_is_turned_only_where_f_is_finite_and_its_derivative_is_not(search):
    direction = np.ones(2)
    found = leading_outside(search([1.0, 1.0], value=np.nan), -direction)
    assert found.compared(direction)[0] is direction
    found = search([1.0, 1.0])
    found._turned_inward = None
    assert found.compared(direction)[0] is direction


def test_a_difference_may_go_away_with_other_steps(search):
    """The gradient says 5, first 1 was measured, then 3.5: its bars are 1.25 and 0.25."""
    found = search([5.0], [1.0], bar=1.0, hull=[0.25], again=(3.5, 0.25))
    direction, whole = found.compared(ones(1))
    assert whole.error_bar == 1.25
    assert found.agrees_again(direction, whole)
    assert found.located.allowed == [4.0]
    assert found.located.noise == [3.75]
    # Bars that are wide enough stay as they are.
    wide = _Segment(0, 1, 0.5, 4.0, 0.25)
    assert found.agrees_again(direction, wide)
    assert (found.located.allowed, found.located.noise) == ([4.0], [3.75])


def test_a_difference_that_stays_is_none_of_the_steps(search):
    found = search([5.0], [1.0], bar=1.0, hull=[0.25], again=(3.4375, 0.25))
    direction, whole = found.compared(ones(1))
    assert not found.agrees_again(direction, whole)
    assert found.located.allowed == [1.25]


@pytest.mark.parametrize(
    ("slopes", "given", "below"),
    [([1.0, -1.0], [-1.0, 1.0], True), ([1.0, -1.5], [0.0, 0.0], False),
     ([0.0, 0.0], [-1.5, 1.0], False), ([-1.5, 0.0], [0.0, -1.5], False)],
)  # fmt: skip
def test_all_is_below_the_noise_where_neither_slope_nor_gradient_stands_out(
    search, slopes, given, below
):
    found = search([0.0])
    found.located.slopes, found.located.given = slopes, given
    found.located.allowed = [1.0, 1.0]
    assert found.below_noise == below


# ---- down to the wrong entries ----


def test_each_wrong_entry_is_found_once(search):
    found = search([0.0, 9.0, 0.0, 0.0, 0.0, -7.0, 0.0, 0.0])
    found.along(ones(8))
    assert sorted(found.located.indices) == [1, 5]
    assert found.located.complete
    assert not found.located.undecided
    # Both explain the next direction: it is not followed.
    asked = len(found.slopes.asked)
    found.along(np.array([1.0, -1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0]))
    assert len(found.slopes.asked) == asked + 1
    assert len(found.located.indices) == 2


def test_a_difference_within_the_bar_is_not_followed(search):
    found = search([0.25, 0.0])
    found.along(ones(2))
    assert found.slopes.asked == [(None, None)]
    found = search([0.25 + 2.0**-20, 0.0])
    found.along(ones(2))
    assert found.located.indices == [0]


def test_the_search_ends_with_so_many_entries_and_confirms_no_rest(search):
    found = search([9.0, 9.0, 9.0, 9.0], most=2, again=(0.0, 0.0))
    found.along(ones(4))
    assert len(found.located.indices) == 2
    assert found.located.complete
    assert found.located.allowed == [0.25]


def test_what_entries_explain_is_their_error_along_the_direction(search):
    found = search([5.0, 7.0, 9.0])
    found.located.indices = [0, 2]
    found.located.lines = [line_of(1.0), line_of(10.0)]
    assert found._explained(np.array([0.5, 1.0, -2.0])) == 0.5 * 4.0 + 2.0 * 1.0


def test_a_direction_that_found_entries_explain_is_not_measured_again(search):
    found = search([0.0, 3.0, 0.0, 0.0])
    found.slopes.again = None
    found.along(ones(4))
    assert found.located.indices == [1]
    assert found.located.allowed == found.located.noise == [0.25]


def test_a_search_looks_at_600_segments(search):
    found = search([1.0])
    whole = _Segment(0, 1, 2.0, 1.0, 0.0)
    assert sum(found._is_followed(whole, whole) for _ in range(700)) == 599


def test_segments_are_followed_while_entries_are_wanted(search):
    found = search([1.0, 1.0], most=1)
    quiet, wrong = _Segment(0, 2, 0.5, 1.0, 0.125), _Segment(0, 2, 2.0, 1.0, 0.125)
    assert found._is_followed(wrong, quiet)
    assert found._is_followed(quiet, quiet)  # a whole direction is asked about beforehand
    assert found.due_to_kinks == 0.0
    assert not found._is_followed(quiet, wrong)
    assert not found._is_followed(quiet, wrong)
    assert found.due_to_kinks == 0.25
    found.located.indices = [0]
    assert not found._is_followed(wrong, wrong)


# ---- halves ----


def halves(found, whole):
    left, right = sorted(found._halves(ones(8), whole), key=lambda half: half.start)
    return left, right, found.slopes.asked


def test_the_right_half_is_the_rest_where_that_is_clear(search):
    """Of a difference of 12, the left half has 2: 10 is more than 8 bars of 1.25."""
    found = search([0.5] * 4 + [0.0] * 4, bar=0.25)
    left, right, asked = halves(found, _Segment(0, 8, 12.0, 1.0, 0.0))
    assert left == _Segment(0, 4, 2.0, 0.25, 0.0)
    assert right == _Segment(4, 8, 10.0, 1.25, 0.0)
    assert asked == [(0, 4)]


def test_the_right_half_is_measured_where_the_rest_is_unclear(search):
    """The left half has nothing wrong, and 9 is less than 8 bars of 1.25."""
    given = [0.0] * 4 + [1.0] * 4
    left, right, asked = halves(search(given), _Segment(0, 8, 9.0, 1.0, 0.0))
    assert left == _Segment(0, 4, 0.0, 0.25, 0.0)
    assert right == _Segment(4, 8, 4.0, 0.25, 0.0)
    assert asked == [(0, 4), (4, 8)]
    for difference in (-10.0, 10.0):
        right = halves(search(given), _Segment(0, 8, difference, 1.0, 0.0))[1]
        assert right == _Segment(4, 8, difference, 1.25, 0.0)


def test_the_right_half_is_the_rest_where_the_left_one_is_wrong_for_certain(search):
    found = search([3.0, 0.0, 0.0, 0.0])
    halves = found._halves(ones(4), _Segment(0, 4, 3.0, 0.25, 0.0))
    assert halves == [_Segment(0, 2, 3.0, 0.25, 0.0), _Segment(2, 4, 0.0, 0.5, 0.0)]
    assert found.slopes.asked == [(0, 2)]


def test_the_right_half_is_measured_where_kinks_are(search):
    given = [0.5] * 4 + [1.0] * 4
    whole = _Segment(0, 8, 12.0, 1.0, 0.0)
    right = halves(search(given, hull=[0.125] + [0.0] * 7), whole)[1]
    assert right == _Segment(4, 8, 4.0, 0.25, 0.0)
    right = halves(search(given), _Segment(0, 8, 12.0, 1.0, 0.5))[1]
    assert right == _Segment(4, 8, 4.0, 0.25, 0.0)


def test_the_clearer_half_comes_first(search):
    """By its difference in bars: 2 in 0.25, and 10 or -6 in 1.25."""
    found = search([0.5] * 4 + [0.0] * 4)
    first, second = found._halves(ones(8), _Segment(0, 8, 12.5, 1.0, 0.0))
    assert (first.start, second.start) == (4, 0)
    first, second = found._halves(ones(8), _Segment(0, 8, -10.5, 1.0, 0.0))
    assert (first.start, second.start) == (4, 0)
    first, second = found._halves(ones(8), _Segment(0, 8, -6.0, 1.0, 0.0))
    assert (first.start, second.start) == (0, 4)


def test_a_segment_holds_what_is_said_less_what_is_measured(search):
    found = search([5.0, 7.0, 9.0], [1.0, 2.0, 3.0], bar=0.25, allowance=0.5, hull=[0, 1.0, 2.0])
    assert found._segment(np.array([1.0, 0.5, -1.0]), 1, 3) == _Segment(1, 3, -3.5, 3.75, 3.0)


# ---- neighbouring arrays ----


def wrong_parts(found, parts, most):
    slices = [slice(start, stop) for start, stop in parts]
    return found.wrong_parts(ones(8), slices, most)


def test_the_arrays_in_which_something_is_wrong_are_found(search):
    found = search([0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 9.0, 9.0])
    parts = [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert wrong_parts(found, parts, 9) == [1, 3]
    # That something is wrong in all of them together is known.
    assert found.slopes.asked == [(0, 4), (0, 2), (2, 4), (4, 8), (4, 6), (6, 8)]
    assert wrong_parts(found, parts, 1) == [1]


def test_two_arrays_together_are_known_to_be_wrong(search):
    found = search([0.0, 3.0])
    assert found.wrong_parts(ones(2), [slice(0, 1), slice(1, 2)], 9) == [1]
    assert found.slopes.asked == [(0, 1), (1, 2)]


def test_a_single_array_is_asked_about(search):
    assert wrong_parts(search([0.0] * 8), [(0, 8)], 9) == []
    assert wrong_parts(search([1.0] * 8), [(0, 8)], 9) == [0]


# ---- a rest that no entry explains ----


def confirmed(found, said, allowed, noise, slope=0.0):
    located = found.located
    located.allowed, located.noise, located.slopes = [allowed], [noise], [slope]
    found._confirm(ones(1), said)
    return located.allowed[0], located.noise[0]


def test_a_rest_that_goes_away_with_other_steps_widens_what_is_allowed(search):
    """Said is 5, measured were 1 and then 3.5: allowed are bars of 1.25 and 0.25."""
    found = search([5.0], again=(3.5, 0.25))
    assert confirmed(found, 5.0, 1.25, 1.0, slope=1.0) == (4.0, 4.0)
    assert found.located.complete
    assert found.unresolved_directions == 0
    assert confirmed(found, 5.0, 9.0, 8.0, slope=1.0) == (9.0, 8.0)


def test_a_rest_that_stays_is_not_explained(search):
    for slope in (3.4375, 6.5625):
        found = search([5.0], again=(slope, 0.25))
        assert confirmed(found, 5.0, 1.25, 1.0, slope=1.0) == (1.25, 1.0)
        assert not found.located.complete
        assert found.unresolved_directions == 0


def test_what_kinks_let_entries_be_counts_too(search):
    """They are no noise."""
    found = search([5.0], again=(3.0, 0.25))
    found.due_to_kinks = 0.5
    assert confirmed(found, 5.0, 1.25, 1.0, slope=1.0) == (4.0, 3.5)
    assert found.met_kinks


def test_where_kinks_were_met_nothing_is_called_wrong(search):
    found = search([5.0], again=(0.0, 0.25))
    found.due_to_kinks = 0.5
    confirmed(found, 5.0, 1.25, 1.0)
    assert found.located.complete
    assert found.unresolved_directions == 1
    # Also along another direction.
    found.due_to_kinks = 0.0
    confirmed(found, 5.0, 1.25, 1.0)
    assert found.located.complete
    assert found.unresolved_directions == 2


def test_found_entries_explain_a_part_of_the_rest(search):
    found = search([5.0], again=(1.0, 0.25))
    found.located.indices, found.located.lines = [0], [line_of(3.0)]
    assert confirmed(found, 5.0, 2.0, 1.0, slope=1.0) == (4.0, 4.0)


def test_a_search_is_undecided_where_no_direction_is_resolved(search):
    """Kinks of opposite signs: entries show jumps, and what is wrong is not theirs."""
    found = search([4.0, 4.0], jump=[20.0, 20.0], again=(0.0, 0.25), hull=[0.125, 0.125])
    found.slopes.due_to_kinks = lambda _: 0.5
    found.along(ones(2))
    assert found.unresolved_directions == 1
    assert found.located.undecided
    found.given[:] = 0.0
    found.compared(ones(2))
    found.given[:] = 4.0
    found.along(ones(2))
    assert not found.located.undecided


def test_kinks_of_another_direction_do_not_count_in_this_one(search):
    found = search([4.0, 4.0], again=(0.0, 0.25))
    found.due_to_kinks = 100.0
    found.slopes.due_to_kinks = lambda _: 0.0
    found._is_wrong = lambda *_: False
    found.along(ones(2))
    assert not found.located.complete


# ---- a single entry ----


def test_an_entry_is_wrong_that_is_outside_bar_kink_and_tolerance(search):
    found = search([5.0], tolerance=Tolerance(0.0, 0.5))
    assert not found._is_wrong(0, line_of(2.0, 1.5, jump=2.0))
    assert found._is_wrong(0, line_of(1.9, 1.5, jump=2.0))
    assert found._is_wrong(0, line_of(2.0, 1.5))


@pytest.mark.parametrize(("few", "part"), [(False, 2.0**-12), (True, 0.25)])
def test_an_entry_may_be_wrong_by_little_as_those_of_a_solver_are(search, few, part):
    """By more if it is not the first, or one of four."""
    for slope in (-4096.0, 4096.0):
        off = slope * part
        found = search([slope + off, slope + 1.001 * off, slope - 1.001 * off, 0.0, 0.0])
        found.located.indices = [3] if few else []
        told = [found._may_stop_at_tolerance(place, line_of(slope)) for place in range(3)]
        assert told == [True, False, False]
    assert search([5.0, 0.0, 0.0, 0.0])._may_stop_at_tolerance(0, line_of(4.0))


def examined(found, monkeypatch, **measured):
    """Examine entry 0, each measurement of which has a bar of its own; return which were made."""
    made = []

    def measure(name):
        def run(function, leaf, place, *rest):
            assert (function, leaf, place.tolist()) == (found.function, 7, [0])
            if made:
                assert rest[-1].error_bar[0] == measured[made[-1]]
            made.append(name)
            return line_of(0.0, measured[name])

        return run

    for name in measured:
        monkeypatch.setattr(leaf_search, name, measure(name))
    found._examine(0, 3.0)
    return made


ALL = ("measure_entries", "measure_again", "reaching_between_steps")


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_an_entry_is_measured_until_it_is_not_wrong(search, monkeypatch, wrong):
    """Its error is 1; so many measurements have a bar of 0.5, all later ones one of 2."""
    found = search([1.0])
    found.slopes.due_to_kinks = lambda line: float(line.error_bar[0])
    bars = {name: 0.5 if place < wrong else 2.0 for place, name in enumerate(ALL)}
    wanted = ALL[: wrong + 1]
    assert examined(found, monkeypatch, **bars) == list(wanted)
    if bars[wanted[-1]] == 0.5:
        assert found.located.indices == [0]
        assert found.located.lines[0].error_bar[0] == 0.5
        assert found.due_to_kinks == 0.0
    else:
        assert found.located.indices == []
        assert found.due_to_kinks == 3.0 * 2.0


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("little", [False, True])
def test_a_search_begins_again_where_f_turns_out_to_jump(search, monkeypatch, little, jumps):
    """What was found before is forgotten, and what is learnt along the direction."""
    found = search([3.0, 5.0, 0.0, 7.0, 0.0, 0.0])
    found._may_stop_at_tolerance = lambda *_: little
    asked = []

    def learn(function, leaf, given, noise):
        assert (function, leaf, noise) == (found.function, 7, 0.5)
        assert given is found.given
        asked.append(list(found.located.indices))
        return jumps and len(asked) == 2

    monkeypatch.setattr(leaf_search, "learn_distant_jumps", learn)
    monkeypatch.setattr(found.function, "value", 0.0)
    found.along(np.ones(6))
    assert sorted(found.located.indices) == [0, 1, 3]
    assert len(found.located.lines) == 3
    assert len(found.located.slopes) == len(found.located.given) == found.directions == 1
    assert not found.begins_again
    assert len(asked) == (0 if not little else 3 if not jumps else 5)
    if little:
        assert [len(before) for before in asked] == ([0, 1, 2] if not jumps else [0, 1, 0, 1, 2])


@pytest.mark.parametrize("jumps", [False, True])
def test_a_rest_that_no_entry_explains_may_be_what_a_solver_leaves(search, monkeypatch, jumps):
    """Each entry is right, and the direction is wrong by 1 until it has more noise."""
    found = search([1.0, 1.0], [1.0, 1.0], again=(1.0, 0.25))
    monkeypatch.setattr(leaf_search, "learn_distant_jumps", lambda *_: jumps)
    found.slopes.true = np.array([0.5, 0.5])
    calm = found.slopes
    monkeypatch.setattr(leaf_search, "DirectionSlopes", lambda *_: Slopes(calm.true, 2.0))
    found.looked_at_edges = True
    found.along(np.ones(2))
    assert found.located.complete == jumps


def test_an_entry_that_was_found_is_not_measured_again(search, monkeypatch):
    found = search([1.0])
    found.located.indices = [0]
    assert examined(found, monkeypatch, measure_entries=0.5) == []
    assert found.due_to_kinks == 0.0


def test_entries_count_by_the_size_of_their_component(search):
    found = search([8.0, 0.0], jump=[20.0, 0.0], again=(0.0, 0.25))
    found.along(np.array([-0.5, 0.5]))
    assert found.due_to_kinks == 0.5 * 10.0


# ---- between steps of f ----


@pytest.mark.parametrize(
    ("given", "slope", "constant", "hull"),
    [(0.0, 3.0, True, 6.0), (0.0, -3.0, True, 6.0), (0.0, 3.0, False, 0.5), (1.0, 3.0, True, 0.5),
     (0.0, 0.75, True, 0.5), (0.0, 0.875, True, 1.75)],
)  # fmt: skip
def test_a_bar_reaches_to_a_gradient_of_0_where_f_is_constant_between_steps(
    search, monkeypatch, given, slope, constant, hull
):
    """Bar and hull of 0.25 and 0.5 hide a slope of 0.75."""
    found = search([given, 9.0], [slope, 0.0], hull=[0.5, 0.0])
    monkeypatch.setattr(leaf_search, "is_constant_along", lambda *_: constant)
    assert found._slope_or_zero(ones(2), slice(0, 1)) == (slope, 0.25, hull)


# ---- directions that lead outside ----


def turned(found, signs, direction):
    """Turn a direction where each entry may move with these signs alone: -1, 0, 1, or 2 for all."""
    signs, looked = np.array(signs), []

    def along(leaf, direction, steps, part):
        assert leaf == 7
        assert steps == (2 * FIRST_STEP, -2 * FIRST_STEP)
        looked.append((part.start, part.stop))
        allowed = signs[part]
        moves = [np.sign(step) * np.sign(direction[part]) for step in steps]
        inside = [((allowed == 2) | (allowed == move)).all() for move in moves]
        return np.where(inside, 1.0, np.nan)

    found.function.along = along
    return found._turned_inward(np.array(direction)), looked


def test_parts_that_lead_outside_are_turned_back(search):
    after, looked = turned(search([0.0] * 4), [1, 2, 1, -1], [-0.5, 0.75, 0.5, 0.75])
    assert after.tolist() == [0.5, -0.75, 0.5, -0.75]
    # The first half moves the other way as a whole.
    assert looked == [(0, 4), (0, 2), (2, 4), (2, 3), (3, 4)]


def test_no_direction_is_found_where_an_entry_may_move_neither_way(search):
    after, looked = turned(search([0.0] * 3), [0, 2, 0], [0.5, 0.75, -0.5])
    assert after is None
    assert looked == [(0, 3), (0, 1)]


@pytest.mark.parametrize(
    ("spread", "scale", "expected"),
    [(True, None, [0.5, 0.0, 2.0]), (False, 4.0, [0.5, 0.0, 2.0]), (False, None, [1.0, 0.0, 1.0])],
)
def test_entries_of_mixed_sizes_move_by_their_size_over_the_typical_one(
    monkeypatch, spread, scale, expected
):
    """Sizes 2, 4 and 8 beside 4; an infinite entry does not move."""
    monkeypatch.setattr(leaf_search, "is_spread", lambda _: spread)
    monkeypatch.setattr(leaf_search, "typical", lambda _: 4.0)
    monkeypatch.setattr(leaf_search, "entry_sizes", lambda *_, **__: np.array([2.0, 4.0, 8.0]))
    function = SimpleNamespace(
        point=SimpleNamespace(base=[np.array([1.0, INF, 3.0])]), chosen=None,
        domain=SimpleNamespace(scale=lambda _: scale),
    )  # fmt: skip
    assert components(function, 0).tolist() == expected


def test_a_direction_is_turned_in_2400_looks(search):
    """Entries that must move in turns are each found after 2 n - 1."""
    signs = [1, -1] * 600
    after, looked = turned(search([0.0] * 1200), signs, ones(1200))
    assert len(looked) == 2399
    assert after.tolist() == signs
    after, _ = turned(search([0.0] * 1201), [*signs, 1], ones(1201))
    assert after.tolist() == [*signs[:-1], 1, 1]


# ---- entries that are judged alone ----


def alone(search, given, true, wrong=(), bars=0.0):
    """A search whose directions are off by 8 for each entry of `wrong` that they move."""
    found = search(given, true)
    found.examines = True
    measured = found.slopes.slope

    def slope(direction, part):
        number, bar, hull = measured(direction, part)
        moved = sum(bool(direction[place]) for place in wrong if place in range(len(given))[part])
        return number + 8.0 * moved, bar, hull

    found.slopes.slope = slope
    found.slopes.again = lambda direction: slope(direction, slice(None))[:2]
    measure = leaf_search.measure_entries

    def measure_entries(*args):
        line = measure(*args)
        line.error_bar[:] = bars
        return line

    leaf_search.measure_entries = measure_entries  # put back with the fixture's own
    return found


def test_an_entry_that_is_right_alone_is_held(search):
    found = alone(search, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], wrong=[1])
    found.along(ones(3))
    assert found.held == {1}
    assert found.located.complete
    assert (found.located.slopes, found.located.given) == ([4.0], [4.0])
    assert found.directions == 1
    assert not found.located.unsure
    found.along(ones(3))
    assert found.located.given == [4.0, 4.0]


def test_it_is_not_sure_to_be_right_where_its_bar_explains_what_a_direction_says(search):
    for bars, unsure in ((7.0, False), (8.0, True)):
        found = alone(search, [1.0, 2.0], [1.0, 2.0], wrong=[1], bars=bars)
        found.along(ones(2))
        assert found.located.unsure == unsure
        assert found.located.detectable == 2 * bars


def test_a_wrong_entry_beside_one_that_is_held_is_found(search):
    found = alone(search, [5.0, 2.0, 3.0, 1.0], [1.0, 2.0, 3.0, 1.0], wrong=[2])
    found.along(ones(4))
    assert found.located.indices == [0]
    assert found.held == {2}


def test_no_more_than_sixteen_entries_are_held(search):
    for count, complete in ((16, True), (17, False)):
        found = alone(search, [1.0] * count, [1.0] * count, wrong=range(count))
        found.along(ones(count))
        assert found.located.complete == complete
