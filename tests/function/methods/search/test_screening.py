"""Which directions are compared, and what they tell together; the search itself is made up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastbp.function.methods.search import wrong_arrays, wrong_entries
from fastbp.function.methods.search.leaf_search import _Segment, components
from fastbp.function.methods.search.located import Located
from fastbp.function.methods.search.wrong_arrays import Screened, screen_arrays
from fastbp.function.methods.search.wrong_entries import locate_wrong_entries
from fastbp.verdict.tolerance import Tolerance

pytestmark = pytest.mark.small

EXACT = Tolerance(0.0, 0.0)


def function_at(*base, scale=None, chosen=None, quantum=0.0):
    domain = SimpleNamespace(scale=lambda _: scale, inward=lambda *args: args[2])
    return SimpleNamespace(
        point=SimpleNamespace(base=[np.array(base)]), domain=domain, chosen=chosen, quantum=quantum
    )


def test_a_single_error_of_four_bars_shows_along_every_good_direction():
    """Components are half of the smallest at least, and bars of poor directions do not count."""
    assert Located(allowed=[1.0, 2.0, 3.0], smallest=0.5).detectable == 24.0
    # 16 times the usual bar of 1 is good, more than that is poor.
    assert Located(allowed=[1.0, 1.0, 16.0]).detectable == 64.0
    poor = Located(allowed=[1.0, 1.0, 16.5])
    assert poor.good == [0, 1]
    assert poor.detectable == 4.0
    screened = Screened({}, True, 3.0, np.zeros(2), np.array([1.0, 0.5]))
    assert screened.detectable.tolist() == [12.0, 24.0]


# ---- how far each entry moves ----


def test_entries_move_by_the_typical_size_or_by_a_scale_of_their_own():
    assert components(function_at(1.0, 8.0, 2.0, 0.0), 0).tolist() == [1.0] * 4
    # Entries 2**20 apart have steps of their own.
    assert components(function_at(1.0, 1.0, 2.0**-20), 0).tolist() == [1.0, 1.0, 2.0**-20]
    scale = np.array([4.0, 0.5])
    assert components(function_at(1.0, 1.0, scale=scale), 0).tolist() == [4.0, 0.5]


def test_infinite_entries_and_those_that_are_not_chosen_do_not_move():
    assert components(function_at(1.0, np.inf, 1.0), 0).tolist() == [1.0, 0.0, 1.0]
    chosen = SimpleNamespace(masks=[np.array([True, True, False])])
    assert components(function_at(1.0, np.inf, 1.0, chosen=chosen), 0).tolist() == [1.0, 0.0, 0.0]


# ---- directions of one array ----


@pytest.fixture
def located(monkeypatch):
    """Locate with directions whose bars are given; return what was found, and the directions."""

    def run(bars, *, directions=2, given=(3.0, -1.0, 0.0), sizes=(1.0, 1.0, 1.0), lead=None,
            below_noise=False, quantum=0.0):  # fmt: skip
        followed, learnt = [], []

        class Search:
            def __init__(self, *_):
                self.located = Located()
                self.below_noise = below_noise
                self.slopes = SimpleNamespace(learn_from=learnt.append)

            def along(self, direction):
                self.located.allowed.append(bars[len(followed)])
                self.located.noise.append(0.0)
                followed.append(direction.tolist())

        monkeypatch.setattr(wrong_entries, "LeafSearch", Search)
        monkeypatch.setattr(wrong_entries, "components", lambda *_: np.array(sizes))
        monkeypatch.setattr(
            wrong_entries, "random_direction", lambda *_: np.array([-0.5, 0.75, 0.5])
        )
        f = function_at(1.0, 1.0, 1.0, quantum=quantum)
        found = locate_wrong_entries(
            f, 0, np.array(given), EXACT, None, None, directions, 9, lead
        )  # fmt: skip
        assert learnt == ([] if lead is None else [lead])
        return found, followed

    return run


def test_as_many_directions_are_followed_as_are_asked_for(located):
    found, followed = located([1.0, 2.0])
    assert followed == [[-0.5, 0.75, 0.5]] * 2
    assert found.smallest == 1.0
    assert found.noise == [0.0, 0.0]
    assert len(located([1.0] * 5, directions=5)[1]) == 5


def test_at_most_three_directions_are_drawn_anew_for_poor_ones(located):
    assert len(located([1.0, 1.0, 99.0, 1.0], directions=3)[1]) == 4
    assert len(located([1.0, 1.0, 99.0, 99.0, 99.0, 1.0], directions=3)[1]) == 6


def test_entries_move_by_their_components_of_which_the_smallest_counts(located):
    found, followed = located([1.0, 1.0], sizes=(0.25, 0.0, 4.0))
    assert followed[0] == [-0.125, 0.0, 2.0]
    assert found.smallest == 0.25
    assert located([1.0, 1.0], sizes=(8.0, 2.0, 4.0))[0].smallest == 1.0


def test_a_lead_is_followed_first(located):
    lead = SimpleNamespace(direction=np.array([7.0, 7.0, 7.0]))
    assert located([1.0, 1.0], lead=lead)[1] == [[7.0, 7.0, 7.0], [-0.5, 0.75, 0.5]]


def test_below_noise_the_gradient_is_followed_where_its_entries_add_up(located):
    sizes = (1.0, 2.0, 1.0)
    followed = located([1.0] * 3, below_noise=True, sizes=sizes)[1]
    assert followed[2:] == [[0.5, -1.5, 0.5]]
    assert len(located([1.0] * 2, below_noise=True, given=(0.0, 0.0, 0.0))[1]) == 2


def test_kinks_are_noise_of_a_function_that_takes_steps(located):
    assert located([1.0, 2.0], quantum=0.5)[0].noise == [1.0, 2.0]


# ---- directions across arrays ----


@pytest.fixture
def screened(monkeypatch):
    """Screen two arrays of two entries; of each direction the difference is given, in bars."""

    def run(differences, *, suspects=(), agrees=True, sizes=(1.0,) * 4, bars=None, directions=2):
        drawn = []
        bars = [1.0] * len(differences) if bars is None else bars

        class Search:
            def __init__(self, _, leaf, given, *options):
                assert (leaf, options[0], options[2]) == (0, EXACT, 9)
                self.located, self.given = Located(), given
                self.slopes = SimpleNamespace(lead=lambda *args: (args[0].tolist(), args[2]))

            def compared(self, direction):
                place = len(drawn)
                drawn.append(direction)
                self.located.allowed.append(bars[place])
                return direction, _Segment(0, 4, differences[place], bars[place], 0.0)

            def said(self, direction, own):
                return float(direction[own] @ self.given[own]) * len(drawn)

            def wrong_parts(self, *args):
                assert args[2] == 9
                return list(suspects)

            def agrees_again(self, *_):
                return agrees

        monkeypatch.setattr(wrong_arrays, "LeafSearch", Search)
        monkeypatch.setattr(wrong_arrays, "components", lambda *_: np.array(sizes))
        monkeypatch.setattr(wrong_arrays, "random_direction", lambda *_: np.full(4, -0.5))
        f = function_at(1.0, 1.0, 1.0, 1.0)
        f.slices = [slice(0, 2), slice(2, 4)]
        found = screen_arrays(
            f, np.array([1.0, 1.0, 4.0, 2.0]), None, None, directions, 9
        )  # fmt: skip
        return found, drawn

    return run


def test_arrays_that_agree_along_every_direction_have_no_suspects(screened):
    found, drawn = screened([0.5, 1.0], bars=[1.0, 2.0])
    assert len(drawn) == 2
    assert (found.suspects, found.agrees, found.allowed) == ({}, True, 2.0)
    # Of both directions the one along which more is said: twice 0.5 times 2, and times 6.
    assert found.said.tolist() == [2.0, 6.0]


def test_arrays_are_found_in_which_something_is_wrong(screened):
    found, drawn = screened([5.0], suspects=[1])
    assert len(drawn) == 1
    assert found.suspects == {1: ([-0.5] * 4, 1)}
    assert not found.agrees
    assert found.allowed == 1.0


def test_a_difference_without_a_suspect_is_measured_again(screened):
    found, drawn = screened([5.0, 0.5])
    assert len(drawn) == 2
    assert found.agrees
    found, drawn = screened([5.0], agrees=False)
    assert (found.suspects, found.agrees) == ({}, False)


def test_three_directions_across_arrays_may_be_drawn_anew(screened):
    found, drawn = screened([0.0] * 6, bars=[1.0, 1.0, 99.0, 99.0, 99.0, 1.0], directions=3)
    assert len(drawn) == 6
    found, drawn = screened([0.0] * 4, bars=[1.0, 1.0, 99.0, 1.0], directions=3)
    assert len(drawn) == 4
    assert found.allowed == 1.0


def test_the_smallest_component_of_each_array_counts(screened):
    found, drawn = screened([0.0] * 2, sizes=(0.0, 0.25, 8.0, 2.0))
    assert found.smallest.tolist() == [0.25, 1.0]
    assert drawn[0].tolist() == [0.0, -0.125, -4.0, -1.0]
