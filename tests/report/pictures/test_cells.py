"""Errors in cells: the largest of each, whatever the shape, the blocks and the order."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.report.pictures.cells import Cells, samples_of
from fastbp.report.pictures.picture import matrix_shape

pytestmark = pytest.mark.small


def slow_cells(ratios, shape, cell):
    """The largest ratio of each cell, one entry after the other."""
    rows, columns = matrix_shape(shape)
    found = np.full((-(-rows // cell[0]), -(-columns // cell[1])), -1.0)
    for place, ratio in enumerate(ratios.tolist()):
        row, column = divmod(place, columns)
        where = row // cell[0], column // cell[1]
        found[where] = max(found[where], ratio)
    return found


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (3001,), (3001, 1), (1, 1030), (4, 5), (300, 3), (3, 300), (200, 130),
              (5, 40, 31), (2, 70, 3, 50)]
)  # fmt: skip
def test_every_cell_holds_its_largest_error_however_the_array_is_cut(shape):
    random = np.random.default_rng(0)
    size = int(np.prod(shape))
    ratios, kinks = random.random(size), random.random(size) < 3 / size
    ratios[random.integers(size)] = np.inf
    whole, blocks, scattered = Cells(shape), Cells(shape), Cells(shape)
    whole.add(0, ratios, kinks)
    for start in range(0, size, 1000):
        part = slice(start, min(size, start + 1000))
        blocks.add(start, ratios[part], kinks[part])
    order = random.permutation(size)
    scattered.add_at(order, ratios[order], kinks[order])
    pictures = [cells.picture() for cells in (whole, blocks, scattered)]
    expected = slow_cells(ratios, shape, pictures[0].cell)
    marked = slow_cells(np.where(kinks, 1.0, -1.0), shape, pictures[0].cell) > 0
    for picture in pictures:
        np.testing.assert_array_equal(picture.ratios, expected)
        assert max(picture.ratios.shape) <= (1024 if 1 in expected.shape else 128)
        if kinks.any():
            np.testing.assert_array_equal(picture.kinks, marked)
        else:
            assert picture.kinks is None


def test_entries_that_nobody_looked_at_stay_without_a_verdict():
    cells = Cells((2, 3))
    cells.add_at(np.array([4]), np.array([0.5]), np.array([False]))
    assert cells.picture().ratios.tolist() == [[-1, -1, -1], [-1, 0.5, -1]]


def test_an_array_without_entries_has_no_picture():
    for shape in [(0,), (3, 0), (0, 4, 2)]:
        cells = Cells(shape)
        cells.add(0, np.zeros(0), np.zeros(0, dtype=bool))
        assert cells.picture() is None


def test_samples_are_all_entries_or_spread_over_them():
    numbers = np.arange(5000.0)
    few = samples_of(numbers[:9], -numbers[:9], 0.5, 0.25)
    assert few.tolist() == [[place, place, -place, 0.5, 0.25] for place in range(9)]
    many = samples_of(numbers, -numbers, 2 * numbers, 3 * numbers)
    places = many[:, 0]
    np.testing.assert_array_equal(many, np.outer(places, [1, 1, -1, 2, 3]))
    assert len(many) == 256
    assert np.diff(places).max() <= 5000 / 100


def test_samples_of_some_entries_have_the_places_of_the_whole():
    inside = np.array([3, 8, 11])
    assert samples_of(np.ones(3), np.ones(3), 0.0, inside=inside)[:, 0].tolist() == [3, 8, 11]
