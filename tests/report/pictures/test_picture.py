"""The picture of an array: which part of it a cell is, and how much a report holds."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.report.pictures import picture as module
from fastbp.report.pictures.picture import (
    Picture,
    cell_counts,
    cell_shape,
    matrix_shape,
    with_few_cells,
)

pytestmark = pytest.mark.small


@pytest.mark.parametrize(
    ("shape", "matrix", "cell"),
    [
        ((), (1, 1), (1, 1)),
        ((1024,), (1, 1024), (1, 1)),
        ((1025,), (1, 1025), (1, 2)),
        ((4096, 4096), (4096, 4096), (32, 32)),
        ((2, 4096, 4096), (8192, 4096), (64, 32)),
        ((64, 32, 3, 3), (64, 288), (1, 3)),
        ((0,), (1, 0), (1, 1)),
        ((5, 0, 7), (5, 0), (1, 1)),
        ((10**9, 10**9), (10**9, 10**9), (7812500, 7812500)),
    ],
)
def test_arrays_of_any_shape_are_matrices_of_few_cells(shape, matrix, cell):
    assert (matrix_shape(shape), cell_shape(shape)) == (matrix, cell)
    rows, columns = cell_counts(shape, cell)
    assert rows * columns <= 128 * 128


def test_a_report_keeps_the_pictures_with_the_largest_errors(monkeypatch):
    monkeypatch.setattr(module, "CELLS_IN_ALL", 100)
    monkeypatch.setattr(module, "FEW_PICTURES", 0)
    monkeypatch.setattr(module, "SAMPLES_IN_ALL", 12)
    samples = np.arange(50.0).reshape(10, 5)
    pictures = [Picture(np.full((6, 6), worst), samples=samples) for worst in (0.1, 9.0, 3.0)]
    kept = with_few_cells([pictures[0], None, *pictures[1:]])
    assert [one and float(one.ratios.max()) for one in kept] == [None, None, 9.0, 3.0]
    assert kept[2].samples[:, 0].tolist() == [0, 15, 30, 45]


def test_what_fits_is_left_alone():
    pictures = [Picture(np.ones((2, 2))), None]
    assert with_few_cells(pictures) == pictures
