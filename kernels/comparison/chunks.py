"""Comparing a tile of s h^T with a given gradient.

An entry is wrong when ::

    |given - value| > bar + radius + atol + rtol |value|
    bar = (s_noise + growth s) h + s h_noise + decay_bar |W| + smallest
    s = s_size + s_radius,  h = h_size + h_noise

where sizes and noise of every unit come as norms over the batch, the noise already scaled.  A
*chunk*, MR rows and a few panels of columns, is compared at a time, while it is in the nearest
cache: in vectors where no entry can be wrong, non-finite or on a kink, else row by row
(``compare_row``).
"""

from __future__ import annotations

import numpy as np

from ..layer_table import UNITS_IN, UNITS_OUT, WEIGHTS
from ..machine.compile import kernel
from ..random_numbers import SHIFT, hashed
from ..simd import chunk_comparison as vectors
from ..simd.chunk_comparison import compare_vectors
from ..simd.vectors import LANES, MR
from .summary_columns import (
    ABOVE_NOISE,
    BROKEN,
    KINKS,
    LARGEST_ALLOWED,
    NOT_FINITE,
    NOT_ZERO,
    PRODUCT,
    SQUARE,
    WORST_BAR,
    WORST_GIVEN,
    WORST_PLACE,
    WORST_RADIUS,
    WORST_RATIO,
    WORST_VALUE,
    WRONG,
    ZERO,
)

# Columns of ``places``, one row for each layer: where its packed operands, its given gradient, its
# tiles in the table of summaries, its map and its radius operands begin.
(
    LEFT_AT, RIGHT_AT, GIVEN_AT, TILES_AT, MAP_AT, RADIUS_LEFT_AT, RADIUS_RIGHT_AT, CELL_ROWS,
    CELL_COLUMNS, MAP_COLUMNS,
) = range(10)  # fmt: skip
PLACES = 10

# What is kept of an entry: its place, the given, the numerical value, the bar, the radius.
SAMPLE_COLUMNS = 5
HUGE = 1e300

# Columns of ``frame``, where a chunk stands: its tile's first row and column in the array, its own
# first row and column in the tile, its rows and columns, the length of the array's rows, and how
# many panels' lanes its rows have in scratch; where its given numbers begin, and how far apart
# their rows are.
(
    TILE_ROW, TILE_COLUMN, FIRST_ROW, FIRST_COLUMN, ROWS, COLUMNS, ROW_LENGTH, PITCH, GIVEN_START,
    GIVEN_PITCH,
) = range(10)  # fmt: skip
FRAME_SIZE = 10


@kernel(reassociate=True)
def compare_row(
    given, value, radius, row_noise, row_size, column_sizes, column_noise, decay_bars, rtol, atol,
    scale, ratios,
):  # fmt: skip
    """Compare one row of a tile; write error over allowed; return its counts and sums.

    In vectors, if the compiler finds no branch (so & and | for and, or), not too many arrays
    that might overlap (so one that is written), and no maximum of floats (so their bits): 2.2 ns
    an entry without, 1.1 with.
    """
    none = np.int64(0)
    wrong, zero, kinks, above, broken, not_finite, not_zero = (
        none, none, none, none, none, none, none,
    )  # fmt: skip
    product, square = 0.0, 0.0
    widest = none
    for c in range(ratios.size):
        number = given[c]
        numerical = value[c]
        size = abs(numerical)
        bar = row_noise * column_sizes[c] + row_size * column_noise[c] + decay_bars[c]
        allowed = bar + radius[c] + atol + rtol * size
        error = abs(number - numerical)
        known = size < np.inf
        judged = known & (allowed < np.inf)
        finite = abs(number) < np.inf
        # No bar, and no convention, makes a NaN.
        senseless = known & (not finite)
        wrong += np.int64((judged & (not (error <= allowed))) | senseless)
        broken += np.int64(not judged)
        not_finite += np.int64(not finite)
        not_zero += np.int64(number != 0)
        zero += np.int64((number == 0) & (size + radius[c] <= bar))
        kinks += np.int64(radius[c] > bar)
        above += np.int64(judged & ((size > bar) | (radius[c] > bar)))
        bits = np.float64(allowed).view(np.int64)
        widest = max(widest, bits if judged else none)
        ratio = error / allowed
        ratio = ratio if finite else np.inf
        ratios[c] = ratio if judged | senseless else -1.0
        used = judged & finite
        product += (number * scale) * (numerical * scale) if used else 0.0
        square += (numerical * scale) * (numerical * scale) if used else 0.0
    return (
        wrong, zero, kinks, above, broken, not_finite, not_zero, np.int64(widest).view(np.float64),
        product, square,
    )  # fmt: skip


@kernel
def bar_of(row_noise, row_size, column_size, column_noise, decayed):
    """Error bar of one entry."""
    return row_noise * column_size + row_size * column_noise + decayed


@kernel
def largest_place(ratios, least):
    """Place of the largest ratio above ``least``, the first of equals; -1 where none is.

    The bits of floats that are not negative are ordered as they are; whole numbers are compared
    in vectors, floats are not.
    """
    bits = ratios.view(np.int64)
    largest = np.int64(-1)
    for c in range(bits.size):
        largest = max(largest, bits[c])
    if largest >= 0:
        for c in range(bits.size):
            if bits[c] == largest:
                return c if ratios[c] > least else -1
    return -1


@kernel
def raise_maxima(ratios, maxima):
    """Keep the largest ratio of each column."""
    for c in range(ratios.size):
        maxima[c] = ratios[c] if ratios[c] > maxima[c] else maxima[c]


@kernel
def note_cells(maxima, row, column, place, cells):
    """Put the largest ratios of some rows of a cell, by column, into the map; start anew."""
    width = place[CELL_COLUMNS]
    cell = place[MAP_AT] + row // place[CELL_ROWS] * place[MAP_COLUMNS] + column // width
    bits = maxima.view(np.int64)  # ordered as the numbers are: none is negative
    start, end = np.int64(0), min(maxima.size, width - column % width)
    while start < maxima.size:  # no division by cell: they took as long as the comparison
        largest = np.int64(0)
        for c in range(start, end):
            largest = max(largest, bits[c])
        cells[cell] = max(cells[cell], np.int64(largest).view(np.float64))
        cell += 1
        start, end = end, min(maxima.size, end + width)
    maxima[:] = 0.0


@kernel
def note_kinks(
    radius, row_noise, row_size, column_sizes, column_noise, decay_bars, row, column, place, kinks,
):  # fmt: skip
    """Mark the cells of a row's entries that are on a kink."""
    line = place[MAP_AT] + row // place[CELL_ROWS] * place[MAP_COLUMNS]
    for c in range(radius.size):
        bar = bar_of(row_noise, row_size, column_sizes[c], column_noise[c], decay_bars[c])
        if radius[c] > bar:
            kinks[line + (column + c) // place[CELL_COLUMNS]] = True


@kernel
def unit_bars(row, rows, column, columns, layer, product, sizes, bars):
    """Factors of the bars of a tile: row noise, row size, column sizes, column noise.

    Columns are filled with zeros to whole panels. Returns the largest bar that they may make.
    """
    margin, growth = product.margin, product.growth
    s_sizes, h_sizes, s_noise, h_noise = sizes.s_sizes, sizes.h_sizes, sizes.s_noise, sizes.h_noise
    s_radii = sizes.s_radii
    row_noise, row_size, norms = bars.row_noise, bars.row_size, bars.norms
    column_size, column_noise = bars.column_size, bars.column_noise
    s_at, h_at = layer[UNITS_OUT] - product.inputs, layer[UNITS_IN]
    column_size[columns:] = 0.0
    column_noise[columns:] = 0.0
    if product.transposed:
        for r in range(rows):
            norms[r] = h_sizes[h_at + row + r]
            row_noise[r] = margin * (norms[r] + margin * h_noise[h_at + row + r])
            row_size[r] = margin * h_noise[h_at + row + r]
        for c in range(columns):
            column_noise[c] = s_sizes[s_at + column + c] + s_radii[s_at + column + c]
            column_size[c] = s_noise[s_at + column + c] + growth * column_noise[c]
    else:
        for r in range(rows):
            norms[r] = s_sizes[s_at + row + r]
            largest = norms[r] + s_radii[s_at + row + r]
            row_noise[r] = margin * (s_noise[s_at + row + r] + growth * largest)
            row_size[r] = margin * largest
        for c in range(columns):
            column_noise[c] = h_noise[h_at + column + c]
            column_size[c] = h_sizes[h_at + column + c] + margin * column_noise[c]
    return largest_of(row_noise[:rows]) * largest_of(column_size[:columns]) + largest_of(
        row_size[:rows]
    ) * largest_of(column_noise[:columns])


@kernel
def largest_of(values):
    """Return the largest of some numbers that are not negative, NaN if one is NaN."""
    largest = 0.0
    for k in range(values.size):
        if not values[k] <= largest:
            largest = values[k]
    return largest


@kernel
def compare_rows(
    frame, layer, place, tolerance, scale, parameters, given, strip, affected, radii, bars,
    scratch, cells, kinks, found,
):  # fmt: skip
    """Compare a chunk row by row, and count all that can be said of its entries."""
    smallest, decay_bar = tolerance.smallest, tolerance.decay_bar
    first, column, columns, pitch = (
        frame[FIRST_ROW], frame[FIRST_COLUMN], frame[COLUMNS], frame[PITCH],
    )  # fmt: skip
    row_noise, row_size = bars.row_noise, bars.row_size
    sizes = bars.column_size[column : column + columns]
    noise = bars.column_noise[column : column + columns]
    own, decay = scratch.ratios[:columns], scratch.decay_bars[:columns]
    highest = scratch.maxima[column : column + columns]
    decay[:] = smallest
    for inside in range(frame[ROWS]):
        r = first + inside
        at = (frame[TILE_ROW] + r) * frame[ROW_LENGTH] + frame[TILE_COLUMN] + column
        if decay_bar != 0:
            line = parameters[layer[WEIGHTS] + at : layer[WEIGHTS] + at + columns]
            for c in range(columns):
                decay[c] = decay_bar * abs(line[c]) + smallest
        value = strip[inside * pitch : inside * pitch + columns]
        radius = scratch.no_radius[:columns]
        if affected > 0:
            radius = radii[inside * pitch : inside * pitch + columns]
        own_start = frame[GIVEN_START] + inside * frame[GIVEN_PITCH]
        numbers = given[own_start : own_start + columns]
        counts = compare_row(
            numbers, value, radius, row_noise[r], row_size[r], sizes, noise, decay,
            tolerance.rtol, tolerance.atol, scale, own,
        )  # fmt: skip
        found[WRONG] += counts[0]
        found[ZERO] += counts[1]
        found[KINKS] += counts[2]
        if counts[2] > 0:
            note_kinks(
                radius, row_noise[r], row_size[r], sizes, noise, decay, frame[TILE_ROW] + r,
                frame[TILE_COLUMN] + column, place, kinks,
            )  # fmt: skip
        found[ABOVE_NOISE] += counts[3]
        found[BROKEN] += counts[4]
        found[NOT_FINITE] += counts[5]
        found[NOT_ZERO] += counts[6]
        found[LARGEST_ALLOWED] = max(found[LARGEST_ALLOWED], counts[7])
        found[PRODUCT] += counts[8]
        found[SQUARE] += counts[9]
        c = largest_place(own, found[WORST_RATIO])
        if c >= 0:
            found[WORST_RATIO] = own[c]
            found[WORST_PLACE] = at + c
            found[WORST_GIVEN] = numbers[c]
            found[WORST_VALUE] = value[c]
            found[WORST_BAR] = bar_of(row_noise[r], row_size[r], sizes[c], noise[c], decay[c])
            found[WORST_RADIUS] = radius[c]
        raise_maxima(own, highest)
        if (r + 1) % place[CELL_ROWS] == 0 or inside == frame[ROWS] - 1:
            here = frame[TILE_COLUMN] + column
            note_cells(highest, frame[TILE_ROW] + r, here, place, cells)


@kernel
def sum_of_lanes(lanes, row):
    """Sum of one vector of the scratch ``lanes``, in order."""
    total = 0.0
    for lane in range(LANES):
        total += lanes[row * LANES + lane]
    return total


@kernel
def note_top(frame, tolerance, given, strip, bars, lanes, found):
    """Look the entry with the largest ratio of a chunk up, where it is the worst of its tile."""
    atol, smallest = tolerance.atol, tolerance.smallest
    top, column = -1.0, np.int64(0)
    for lane in range(LANES):
        if lanes[vectors.TOP * LANES + lane] > top:
            top = lanes[vectors.TOP * LANES + lane]
            column = np.int64(lanes[vectors.TOP_COLUMN * LANES + lane]) + lane
    if not top > found[WORST_RATIO]:
        return
    found[WORST_RATIO] = -1.0
    c = frame[FIRST_COLUMN] + column
    for inside in range(MR):
        r = frame[FIRST_ROW] + inside
        at = (frame[TILE_ROW] + r) * frame[ROW_LENGTH] + frame[TILE_COLUMN] + c
        number = given[frame[GIVEN_START] + inside * frame[GIVEN_PITCH] + column]
        value = strip[inside * frame[PITCH] + column]
        bar = bar_of(
            bars.row_noise[r], bars.row_size[r], bars.column_size[c], bars.column_noise[c], smallest
        )
        ratio = abs(number - value) / (bar + atol)
        if ratio > found[WORST_RATIO]:
            found[WORST_RATIO] = ratio
            found[WORST_PLACE] = at
            found[WORST_GIVEN] = number
            found[WORST_VALUE] = value
            found[WORST_BAR] = bar
            found[WORST_RADIUS] = 0.0


@kernel
def compare_quickly(frame, tolerance, scale, given, strip, v, bars, scratch, made, found):
    """Compare a whole chunk in vectors; False, and nothing done, if an entry is wrong.

    What is not finite is wrong here. ``made`` takes up each row's product with v.
    """
    atol, smallest = tolerance.atol, tolerance.smallest
    first, column, columns = frame[FIRST_ROW], frame[FIRST_COLUMN], frame[COLUMNS]
    maxima, raised, lanes, flags, bounds = (
        scratch.maxima, scratch.ratios, scratch.lanes, scratch.flags, scratch.bounds,
    )  # fmt: skip
    bounds[0], bounds[1], bounds[2] = smallest, atol, scale
    raised[: frame[PITCH]] = 0.0
    compare_vectors(
        columns, given, frame[GIVEN_START], frame[GIVEN_PITCH], strip, frame[PITCH],
        bars.column_size[column:], bars.column_noise[column:], v[column:],
        bars.row_noise[first:], bars.row_size[first:],
        bounds, raised, lanes, flags,
    )  # fmt: skip
    if flags[vectors.WRONG] != 0:
        return False
    found[ZERO] += flags[vectors.ZERO]
    found[ABOVE_NOISE] += 1 if flags[vectors.ABOVE] != 0 else 0
    found[NOT_ZERO] += 1 if flags[vectors.NOT_ZERO] != 0 else 0
    found[PRODUCT] += sum_of_lanes(lanes, vectors.PRODUCT)
    found[SQUARE] += sum_of_lanes(lanes, vectors.SQUARE)
    for lane in range(LANES):
        wide = lanes[vectors.WIDEST * LANES + lane]
        found[LARGEST_ALLOWED] = max(found[LARGEST_ALLOWED], wide)
    for r in range(MR):
        made[r] += sum_of_lanes(lanes, r)
    raise_maxima(raised[:columns], maxima[column : column + columns])
    note_top(frame, tolerance, given, strip, bars, lanes, found)
    return True


@kernel
def keep_samples(
    frame, chunk, chunks, index, kept, key, layer, tolerance, parameters, given, strip,
    affected, radii, bars, samples,
):  # fmt: skip
    """Keep some entries of a chunk: of those sampled in its tile, one of as many as chunks."""
    decay_bar, smallest = tolerance.decay_bar, tolerance.smallest
    turn = np.int64(hashed(key, index * kept) >> SHIFT) % chunks
    entries = frame[ROWS] * frame[COLUMNS]
    for q in range((chunk + turn) % chunks, kept, chunks):
        chosen = np.int64(hashed(key, index * kept + q) >> SHIFT) % entries
        inside, c = chosen // frame[COLUMNS], chosen % frame[COLUMNS]
        r, column = frame[FIRST_ROW] + inside, frame[FIRST_COLUMN] + c
        at = (frame[TILE_ROW] + r) * frame[ROW_LENGTH] + frame[TILE_COLUMN] + column
        line = samples[index * kept + q]
        line[0] = at
        line[1] = given[frame[GIVEN_START] + inside * frame[GIVEN_PITCH] + c]
        line[2] = strip[inside * frame[PITCH] + c]
        decayed = smallest
        if decay_bar != 0:
            decayed += decay_bar * abs(parameters[layer[WEIGHTS] + at])
        line[3] = bar_of(
            bars.row_noise[r], bars.row_size[r], bars.column_size[column],
            bars.column_noise[column], decayed,
        )  # fmt: skip
        line[4] = radii[inside * frame[PITCH] + c] if affected > 0 else 0.0
