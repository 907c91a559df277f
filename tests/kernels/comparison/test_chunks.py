"""The parts of the comparison of a tile, as plain Python, beside what they are said to do.

Compiled, they are a part of the tiles, which are compared as a whole in
``tests/network/checks/test_tile_comparison.py``.
"""

from __future__ import annotations

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from fastbp.kernels.comparison import chunks
from fastbp.kernels.layer_table import COLUMNS as LAYER_COLUMNS
from fastbp.kernels.layer_table import UNITS_IN, UNITS_OUT
from fastbp.kernels.machine.compile import JIT_DISABLED

from fastbp.verdict.entries import Entries
from fastbp.verdict.summary import summaries, summary_rows
from fastbp.verdict.tolerance import Tolerance

pytestmark = [
    pytest.mark.small,
    pytest.mark.skipif(not JIT_DISABLED, reason="in plain Python: NUMBA_DISABLE_JIT=1"),
]

INF, NAN = math.inf, math.nan


# ---- one row ----

COUNTED = (
    "wrong", "zero", "kinks", "above_noise", "broken", "not_finite", "not_zero",
    "largest_allowed", "product", "square",
)  # fmt: skip
TOLERANCE, SCALE = Tolerance(0.25, 0.125), 0.5


def row_of(*entries):
    """Counts, sums and ratios of (given, value, bar, radius), whose bar is the noise of the row."""
    given, value, bar, radius = np.array(entries, dtype=np.float64).T
    ratios = np.full(len(entries), NAN)
    none = np.zeros(len(entries))
    with np.errstate(all="ignore"):
        found = chunks.compare_row(
            given, value, radius, 1.0, 0.0, bar, none, none, TOLERANCE.rtol, TOLERANCE.atol,
            SCALE, ratios,
        )  # fmt: skip
    return dict(zip(COUNTED, map(float, found), strict=True)), ratios.tolist()


@pytest.mark.parametrize("given", [0.0, 1.0, -8.0, NAN, INF])
def test_an_entry_is_counted_as_in_the_summary_of_its_array(given):
    numbers = product([0.0, 1.0, -8.0, NAN, -INF], [0.5, 2.0, INF, NAN], [0.0, 1.0, 3.0, INF])
    for value, bar, radius in numbers:
        found, _ = row_of((given, value, bar, radius))
        entries = Entries(0, *(np.array([part]) for part in (given, value, bar, radius)))
        (expected,) = summaries(summary_rows(entries, TOLERANCE, SCALE), [0], [1])
        for name, number in found.items():
            wanted = float(getattr(expected, name))
            assert number == wanted, (name, given, value, bar, radius)


def test_an_entry_is_wrong_beyond_bar_radius_and_tolerance():
    """0.5 + 1 + 0.125 + 0.25 * 2 = 2.125."""
    assert row_of((4.125, 2.0, 0.5, 1.0))[1] == [1.0]
    assert row_of((4.125, 2.0, 0.5, 1.0))[0]["wrong"] == 0
    assert row_of((4.126, 2.0, 0.5, 1.0))[0]["wrong"] == 1
    assert row_of((-0.126, 2.0, 0.5, 1.0))[0]["wrong"] == 1
    assert row_of((4.125, 2.0, 0.5, 1.0))[0]["largest_allowed"] == 2.125


def test_a_bar_is_made_of_the_factors_of_its_row_and_column():
    one = np.ones(1)
    ratios = np.zeros(1)
    found = chunks.compare_row(
        17 * one, 0 * one, 0 * one, 2.0, 3.0, 1 * one, 4 * one, 3 * one, 0.0, 0.0, 1.0, ratios
    )
    assert (found[0], found[7], ratios[0]) == (0, 17.0, 1.0)
    assert chunks.bar_of(2.0, 3.0, 1.0, 4.0, 3.0) == 17.0


def test_the_largest_ratio_is_the_first_of_equals_above_the_least():
    place = chunks.largest_place
    assert place(np.array([0.0, 3.0, 5.0, 5.0, 1.0]), -1.0) == 2
    assert place(np.array([0.0, 3.0, INF]), 3.0) == 2
    assert place(np.array([3.0, 1.0]), 3.0) == -1
    assert place(np.zeros(2), -1.0) == 0
    assert place(np.array([-1.0, -1.0]), -1.0) == -1
    assert place(np.array([-1.0, 2.0]), -1.0) == 1


def test_the_largest_of_some_numbers_is_nan_if_one_is():
    assert chunks.largest_of(np.array([1.0, 3.0, 2.0])) == 3.0
    assert chunks.largest_of(np.zeros(0)) == 0.0
    assert math.isnan(chunks.largest_of(np.array([1.0, 3.0, NAN])))


# ---- the map ----


def place_of(start, cell_rows, cell_columns, map_columns):
    place = np.zeros(chunks.PLACES, dtype=np.int64)
    place[chunks.MAP_AT], place[chunks.MAP_COLUMNS] = start, map_columns
    place[chunks.CELL_ROWS], place[chunks.CELL_COLUMNS] = cell_rows, cell_columns
    return place


@pytest.mark.parametrize("column", [0, 4, 6])
def test_maxima_go_into_the_cells_of_their_columns_and_start_anew(column):
    """Cells of 3 rows by 4 columns, 5 in a line, from place 7 on; 9 columns of rows 6 to 8."""
    maxima = np.array([1.0, 9.0, 2.0, 3.0, 8.0, 4.0, 0.0, 7.0, 5.0])
    expected = np.full(7 + 4 * 5, 2.5)
    for c, ratio in enumerate(maxima):
        cell = 7 + 2 * 5 + (column + c) // 4
        expected[cell] = max(expected[cell], ratio)
    cells = np.full(expected.size, 2.5)
    chunks.note_cells(maxima, 7, column, place_of(7, 3, 4, 5), cells)
    assert cells.tolist() == expected.tolist()
    assert maxima.tolist() == [0.0] * 9


def test_cells_of_entries_on_a_kink_are_marked():
    """Where the radius is more than the bar, 2 * 1 + 1 * 1 + 1 = 4."""
    ones = np.ones(6)
    radius = np.array([4.0, 4.1, 0.0, 0.0, 0.0, 4.1])
    kinks = np.zeros(7 + 4 * 5, dtype=bool)
    chunks.note_kinks(radius, 2.0, 1.0, ones, ones, ones, 7, 6, place_of(7, 3, 4, 5), kinks)
    assert np.flatnonzero(kinks).tolist() == [7 + 2 * 5 + 1, 7 + 2 * 5 + 2]


# ---- the factors of bars ----


@pytest.mark.parametrize("transposed", [False, True])
def test_factors_of_bars_are_those_of_their_units(transposed):
    """bar = (s_noise + growth s) h + s h_noise, with s = s_size + s_radius, h = h_size + h_noise.

    Noise comes in units of u, which is a part of the margin.
    """
    inputs, margin, growth = 4, 2.0**-10, 3.0
    rng = np.random.default_rng(0)
    s_sizes, s_noise, s_radii = rng.uniform(1, 2, (3, 8))
    h_sizes, h_noise = rng.uniform(1, 2, (2, 12))
    layer = np.zeros(LAYER_COLUMNS, dtype=np.int64)
    layer[UNITS_IN], layer[UNITS_OUT] = 3, inputs + 2
    of_h, of_s = np.arange(4) + 3, np.arange(5) + 2  # units of this layer
    s, h = s_sizes + s_radii, h_sizes + margin * h_noise
    bar = margin * np.multiply.outer((s_noise + growth * s)[of_s], h[of_h])
    bar += margin * np.multiply.outer(s[of_s], h_noise[of_h])
    own_norms = h_sizes[of_h] if transposed else s_sizes[of_s]
    bar = bar.T if transposed else bar
    row, rows, column, columns = 1, 2, 2, bar.shape[1] - 2
    bars = SimpleNamespace(
        row_noise=np.zeros(5), row_size=np.zeros(5), column_size=np.ones(6),
        column_noise=np.ones(6), norms=np.zeros(5),
    )  # fmt: skip
    widest = chunks.unit_bars(
        row, rows, column, columns, layer,
        SimpleNamespace(margin=margin, growth=growth, inputs=inputs, transposed=transposed),
        SimpleNamespace(
            s_sizes=s_sizes, h_sizes=h_sizes, s_noise=s_noise, h_noise=h_noise, s_radii=s_radii
        ),
        bars,
    )  # fmt: skip
    found = np.multiply.outer(bars.row_noise[:rows], bars.column_size)
    found += np.multiply.outer(bars.row_size[:rows], bars.column_noise)
    np.testing.assert_allclose(found[:, :columns], bar[row : row + rows, column:], rtol=1e-14)
    assert not found[:, columns:].any()
    assert bars.norms[:rows].tolist() == own_norms[row : row + rows].tolist()
    most = bars.row_noise.max() * bars.column_size.max()
    most += bars.row_size.max() * bars.column_noise.max()
    assert widest == pytest.approx(most, rel=1e-14)
