"""The comparison of tiles: a tile that is corrupted is caught."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from fastbp.kernels.comparison import chunks
from fastbp.kernels.comparison import summary_columns as columns
from fastbp.kernels.comparison.tiles import sum_sensitivities
from fastbp.kernels.simd.vectors import MR, panel_width
from support.swept_networks import swept

import fastbp
from fastbp.network.checks.tile_comparison import Tiles
from fastbp.network.given_gradients import given_gradients
from fastbp.network.network import book_weight, require_batch
from fastbp.network.sensitivities.hull import hull_of
from fastbp.network.sensitivities.sweeps import Sweeps
from fastbp.runtime.panels import to_panels
from fastbp.verdict.entries import Entries, compare
from fastbp.verdict.summary import summaries, summary_rows
from fastbp.verdict.tolerance import Tolerance

WIDTH = panel_width(np.empty(0))


def test_a_corrupted_tile_is_caught():
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([40, 30, 20], seed=0)
    x, y = rng.standard_normal((40, 9)), rng.standard_normal((20, 9))
    own = given_gradients(net, require_batch(net, x, y), None)
    for seed in range(50):
        sweeps, tiles = swept(net, x, y, seed)
        run = tiles._run
        wrong = np.random.default_rng(seed).integers([30, 9]) @ [sweeps.pitch, 1]

        def in_two_calls(schedule, table, packed, *others, run=run, place=wrong, **options):
            run(schedule[:2], table, packed, *others, **options)
            left = packed[0]
            left[place] += 1e-8 * (1 + np.abs(left[place]))
            run([(*phase[:4], 0) for phase in schedule[2:]], table, packed, *others, **options)

        tiles._run = in_two_calls
        found = tiles.compare([0, 1], own.flat, list(net.shapes.weight_offsets), [1.0, 1.0])
        first, second = np.split(found.summaries, found.starts[1:])
        assert first[:, columns.PROOF].max() > 1, seed
        assert second[:, columns.PROOF].max() == 0


# ---- beside the same comparison in NumPy ----

UNIT, SINGLE, SIZES, BATCH = 2.0**-53, 2.0**-24, [11, 9, 3], 5
TOLERANCE, SCALE = Tolerance(1e-6, 1e-9), 0.5


def compared(
    layout, decay, kinks, roundoff, sizes=SIZES, batch=BATCH, tolerance=TOLERANCE, dead=False
):
    """Tiles of a network of whole numbers, with masks in doubt, or of one without."""
    rng = np.random.default_rng(2)
    net = fastbp.Network.random(sizes, seed=0, layout=layout, weight_decay=decay)
    x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
    if kinks:
        x[:, 0] = rng.integers(-2, 3, sizes[0])
        net.parameters[...] = rng.integers(-2, 3, net.parameters.shape)
        net.biases[0].reshape(-1)[::2] = -(book_weight(net, 0) @ x[:, 0])[::2]
    if dead:
        net.parameters[...] = 0.0
        net.biases[0][...] = -1.0
    if layout != "book":
        x, y = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
    sweeps = Sweeps(
        net, require_batch(net, x, y), roundoff=UNIT, directions=1, seed=0, max_memory=2**30
    )
    sweeps.forward()
    sweeps.reverse()
    sweeps.prove()
    hull = hull_of(sweeps)
    assert (hull.affected > 0) == kinks
    return net, Tiles(sweeps, hull, roundoff=roundoff, tolerance=tolerance)


def spoiled(values, kind):
    """What is given beside these values."""
    rng = np.random.default_rng(3)
    given = values * (1 + 1e-7 * rng.standard_normal(values.shape))
    if kind == "spread":  # not wrong, and each entry off by its own part of what is allowed
        return values + 1e-5 * rng.uniform(-1, 1, values.shape)
    if kind != "right":
        given[rng.random(values.shape) < 0.2] = 0.0
    if kind == "wrong":
        given[rng.random(values.shape) < 0.2] *= -1.5
    if kind == "not finite":
        given[0, 1], given[2, 0], given[1, 1] = np.nan, np.inf, -np.inf
    return given


@pytest.mark.small
@pytest.mark.parametrize("kind", ["right", "zeros", "wrong", "not finite"])
@pytest.mark.parametrize(
    ("layout", "decay", "kinks", "roundoff"),
    [
        ("book", 0.0, False, UNIT),
        ("keras", 0.25, False, UNIT),
        ("torch", 0.25, True, UNIT),
        ("keras", 0.0, True, UNIT),
        ("book", 0.25, False, SINGLE),
        ("keras", 0.25, True, SINGLE),
    ],
)
def test_tiles_are_summed_up_as_their_entries_are(layout, decay, kinks, roundoff, kind):
    assert_summed_up(kind, kinks, *compared(layout, decay, kinks, roundoff))


@pytest.mark.small
@pytest.mark.parametrize(
    ("layout", "kinks", "sizes", "batch", "dtype"),
    [
        ("torch", True, [3, 67, 4], 3, np.float64),
        ("torch", True, [517, 3, 2], 2, np.float32),
        ("keras", True, [67, 6, 4], 3, np.float32),
        ("keras", True, [2, 3, 517], 2, np.float64),
        ("book", False, [3, 4], 96, np.float64),
        ("keras", False, [3, 4], 96, np.float32),
        ("book", False, [517, 5, 3], 2, np.float32),
    ],
)
@pytest.mark.parametrize("kind", ["wrong", "right"])
def test_several_tiles_are_summed_up_as_their_entries_are(layout, kinks, sizes, batch, dtype, kind):
    """More rows and columns than a tile has, and so many samples that their sums grow."""
    net, tiles = compared(layout, 0.25, kinks, SINGLE, sizes, batch)
    assert_summed_up(kind, kinks, net, tiles, dtype)


@pytest.mark.small
@pytest.mark.parametrize("kind", ["right", "wrong", "not finite", "spread"])
@pytest.mark.parametrize(
    ("layout", "sizes"), [("book", [35, 41, 3]), ("keras", [300, 11, 4]), ("torch", [517, 9, 3])]
)
def test_chunks_that_are_compared_in_vectors_are_summed_up_as_their_entries_are(
    layout, sizes, kind
):
    """Without decay, rtol and kinks: whole strips of rows in vectors, what is left row by row."""
    tolerance = Tolerance(0.0, 1e-5)
    net, tiles = compared(layout, 0.0, False, UNIT, sizes, 3, tolerance)
    assert_summed_up(kind, False, net, tiles, tolerance=tolerance)


@pytest.mark.small
@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_chunks_of_an_array_of_zeros_have_nothing_above_the_noise(decay):
    """No unit is on, and every weight is 0: a bar is the least that bars have."""
    tolerance = Tolerance(0.0, 0.0)
    net, tiles = compared("book", decay, False, UNIT, [35, 41, 3], 3, tolerance, dead=True)
    assert_summed_up("right", False, net, tiles, tolerance=tolerance)


def assert_summed_up(kind, kinks, net, tiles, dtype=np.float64, tolerance=TOLERANCE):
    shapes = net.shapes.weights
    layers = range(len(shapes))
    values, radii = zip(*(tiles.expand(k, slice(0, shapes[k][0])) for k in layers), strict=True)
    bars = [tiles.bar_rows(k, slice(0, shapes[k][0])) for k in layers]
    assert np.any(radii[0] > bars[0]) == kinks
    given = [spoiled(value, kind).astype(dtype) for value in values]
    flat = np.concatenate([[np.nan], *(array.reshape(-1) for array in given)], dtype=dtype)
    given = [array.astype(np.float64) for array in given]
    starts = [1 + sum(array.size for array in given[:k]) for k in layers]
    found = tiles.compare([*layers], flat, starts, [SCALE] * len(layers))
    tables, pictures = np.split(found.summaries, found.starts[1:]), found.drawing.pictures()
    for k in layers:
        entries = Entries(0, *(a[k].reshape(-1) for a in (given, values, bars, radii)))
        (own,) = summaries(tables[k], [0], [values[k].size])
        (expected,) = summaries(summary_rows(entries, tolerance, SCALE), [0], [values[k].size])
        for name in ("wrong", "zero", "kinks", "left_out", "broken", "not_finite"):
            assert getattr(own, name) == getattr(expected, name), name
        for name in ("above_noise", "not_zero"):  # only whether there are any
            assert (getattr(own, name) > 0) == (getattr(expected, name) > 0), name
        for name in ("largest_allowed", "product", "square"):
            near = pytest.approx(getattr(expected, name), rel=1e-12, abs=0, nan_ok=True)
            assert getattr(own, name) == near, name
        np.testing.assert_allclose(own.worst, expected.worst, rtol=1e-12)
        check_picture(pictures[k], shapes[k], entries, values[k].shape, tolerance)


def check_picture(picture, shape, entries, own_shape, tolerance):
    """Cells hold the largest ratio of their entries, and whether one is on a kink."""
    ratios = compare(entries, tolerance).ratio.reshape(own_shape)
    marked = (entries.hull > entries.error_bar).reshape(own_shape)
    across, down = (range(0, n, step) for n, step in zip(shape, picture.cell, strict=True))
    for spread, cells in ((ratios, picture.ratios), (marked, picture.kinks)):
        largest = np.maximum.reduceat(np.maximum.reduceat(spread, across, axis=0), down, axis=1)
        if cells is None:
            assert not spread.any()
        else:
            np.testing.assert_allclose(cells, largest, rtol=1e-9)
    assert len(picture.samples) > 0
    places = picture.samples[:, 0].astype(int)
    if own_shape[0] > MR and len(places) > 9:  # of any row of a strip
        assert len({*(places // own_shape[1] % MR)}) > 1
    beside = zip(picture.samples[:, 1:].T, entries[1:5], strict=True)
    for sampled, whole in beside:
        np.testing.assert_allclose(sampled, whole[places], rtol=1e-12)


# ---- parts of a tile ----


@pytest.mark.small
@pytest.mark.parametrize("width", [1, 3, 4, 16])
@pytest.mark.parametrize("column", [0, 5, 32])
def test_the_largest_ratio_of_each_cell_is_kept(width, column):
    rng = np.random.default_rng(width)
    ratios = rng.uniform(0, 2, 37)
    before = rng.uniform(0, 2, 200)
    place = np.zeros(chunks.PLACES, np.int64)
    place[[chunks.MAP_AT, chunks.MAP_COLUMNS, chunks.CELL_ROWS, chunks.CELL_COLUMNS]] = (
        7, 45, 8, width,
    )  # fmt: skip
    expected = before.copy()
    np.maximum.at(expected, 7 + 45 + (column + np.arange(37)) // width, ratios)
    cells, maxima = before.copy(), ratios.copy()
    kept_cells(maxima, 9, column, place, cells)
    np.testing.assert_array_equal(cells, expected)
    assert not maxima.any()


@pytest.mark.small
@pytest.mark.parametrize("outputs", [1, 4, 11])
@pytest.mark.parametrize("batch", [1, WIDTH, 2 * WIDTH + 3])
def test_the_samples_of_each_unit_are_added_in_their_order(outputs, batch):
    values = np.random.default_rng(outputs).standard_normal((outputs, batch))
    panels = to_panels(values, WIDTH).reshape(-1)
    sums = np.full(outputs + 2, 7.0)
    summed(outputs, batch, np.concatenate([[np.nan] * 3, panels]), 3, sums)
    assert sums.tolist() == [7.0, *np.cumsum(values, axis=1)[:, -1], 7.0]


@numba.njit
def kept_cells(maxima, row, column, place, cells):
    chunks.note_cells(maxima, row, column, place, cells)


@numba.njit
def summed(outputs, batch, s, s_at, sums):
    sum_sensitivities(0, outputs, batch, s, s_at, 1, sums)
