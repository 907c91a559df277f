"""dL/dW[k] = s[k] h[k]^T (or its transpose), tile by tile, compared as it is made.

A tile is up to BLOCK_ROWS rows and TILE_PANELS panels of columns of one array as it lies in
memory.  It is made strip by strip, MR rows and whole pages of the given gradient at a time,
proved, (s h^T) v = s (h^T v) for a random v, and compared with the given gradient: an entry is
wrong when ::

    |given - value| > bar + radius + atol + rtol |value|
    bar = (s_noise + s_size) h_size + s_size h_noise + decay_bar |W| + smallest

where sizes and noise of every unit come as norms over the batch, the noise already scaled.  No
second gradient is ever held: what the report needs is collected while the tile is in the cache.
"""

from __future__ import annotations

import math

import numpy as np

from .backprop import pack_rows, pack_transposed
from .compile import kernel
from .layers import INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from .matmul import BLOCK_ROWS, long_dot, multiply_into_matrix, panels_of, strips_size
from .noise import panel_norms, row_norms
from .normal import SAMPLES, SHIFT, TILE_PROOF, fill_normals, hashed
from .phases import PACK_ROWS
from .simd import MR, copy_run, panel_width
from .team import draw_ticket, report_done, wait_until_done
from .vector import add_multiple

# Kinds of phases.
PACK, COMPARE, EXPAND = range(3)

# Columns of ``places``, one row for each layer: where its packed operands, its given gradient, its
# tiles in the table of findings, its map and its radius operands begin.
(
    LEFT_AT, RIGHT_AT, GIVEN_AT, TILES_AT, MAP_AT, RADIUS_LEFT_AT, RADIUS_RIGHT_AT, CELL_ROWS,
    CELL_COLUMNS, MAP_COLUMNS,
) = range(10)  # fmt: skip
PLACES = 10

TILE_PANELS = 32  # of a tile: rows of the given gradient are read by the page

# What is found in a tile.
(
    WRONG, ZERO, KINKS, ABOVE_NOISE, BROKEN, NOT_FINITE, NOT_ZERO, LARGEST_ALLOWED, PRODUCT,
    SQUARE,
    WORST_RATIO, WORST_PLACE, WORST_GIVEN, WORST_VALUE, WORST_BAR, WORST_RADIUS,
    PROOF,
) = range(17)  # fmt: skip
FINDINGS = 17

# What is kept of an entry: its place, the given, the numerical value, the bar, the radius.
SAMPLE_COLUMNS = 5
PROOF_MARGIN = 64.0
HUGE = 1e300


@kernel
def sum_sensitivities(block, outputs, batch, s, s_at, layer, shape, bias_sums):
    """dL/db of a block of units: the sum of s over the samples, in their order."""
    width = panel_width(s)
    for unit in range(block * PACK_ROWS, min(outputs, (block + 1) * PACK_ROWS)):
        total = 0.0
        for panel in range(panels_of(batch, width)):
            start = s_at + (panel * outputs + unit) * width
            line = s[start : start + min(width, batch - panel * width)]
            for lane in range(line.size):
                total += line[lane]
        bias_sums[layer[UNITS_OUT] - shape[3] + unit] = total


@kernel
def pack_step(block, layer, shape, levels, packed, sizes, place):
    """Copy a block of units of s[k] or h[k] as an operand, and take their norms."""
    transposed, batch, pitch = shape[0], shape[1], shape[2]
    h, s = levels
    left, right = packed
    s_sizes, h_sizes, bias_sums, first_output = sizes[0], sizes[1], sizes[4], shape[3]
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    s_at = (layer[UNITS_OUT] - first_output) * pitch
    h_at = layer[UNITS_IN] * pitch
    rows = inputs if transposed else outputs
    row_blocks = panels_of(rows, PACK_ROWS)
    s_blocks = (row_blocks, -1) if transposed else (0, row_blocks)
    if s_blocks[0] <= block and (block < s_blocks[1] or transposed):
        sum_sensitivities(block - s_blocks[0], outputs, batch, s, s_at, layer, shape, bias_sums)
    if block < row_blocks:
        first = block * PACK_ROWS
        last = min(rows, first + PACK_ROWS)
        target = left[place[LEFT_AT] : place[LEFT_AT] + rows * pitch]
        if transposed:
            pack_rows(first, last, pitch, inputs, h, h_at, target)
            at = layer[UNITS_IN] + first
            own = h_sizes[at : at + last - first]
        else:
            pack_rows(first, last, pitch, outputs, s, s_at, target)
            at = layer[UNITS_OUT] - first_output + first
            own = s_sizes[at : at + last - first]
        row_norms(last - first, batch, target, first * pitch, pitch, 1, own)
        return
    width = panel_width(h)
    columns = outputs if transposed else inputs
    first = (block - row_blocks) * PACK_ROWS
    last = min(columns, first + PACK_ROWS)
    target = right[place[RIGHT_AT] : place[RIGHT_AT] + panels_of(columns, width) * width * batch]
    norms = np.empty(width)
    if transposed:
        pack_transposed(first, last, batch, outputs, s, s_at, target)
        own, at = s_sizes, layer[UNITS_OUT] - first_output
    else:
        pack_transposed(first, last, batch, inputs, h, h_at, target)
        own, at = h_sizes, layer[UNITS_IN]
    for unit in range(first, last, width):
        panel_norms(batch, target, unit * batch, norms)
        for u in range(min(width, last - unit)):
            own[at + unit + u] = norms[u]


@kernel
def projected(units, first, count, pitch, values, at, factors, result):
    """result[sample] = sum over units first.. of factors times their values, from the panels."""
    width = panel_width(values)
    for panel in range(pitch // width):
        total = result[panel * width : (panel + 1) * width]
        total[:] = 0.0
        start = at + (panel * units + first) * width
        block = values[start : start + count * width]
        for u in range(count):
            factor = factors[u]
            for lane in range(width):
                total[lane] += factor * block[u * width + lane]


@kernel(reassociate=True)
def dot_lanes(width, block, at, factors):
    """Sum of one unit's lanes times ``factors``, reordered into vectors."""
    total = 0.0
    for lane in range(width):
        total += block[at * width + lane] * factors[lane]
    return total


@kernel
def along_samples(units, first, count, pitch, values, at, factors, result):
    """For some units the sum over samples of values times ``factors``, from the panels."""
    width = panel_width(values)
    result[:count] = 0.0
    for panel in range(pitch // width):
        start = at + (panel * units + first) * width
        block = values[start : start + count * width]
        own = factors[panel * width : (panel + 1) * width]
        for u in range(count):
            result[u] += dot_lanes(width, block, u, own)


@kernel
def expected_of_tile(
    row, rows, column, columns, layer, shape, levels, key, factors, projection, expected
):
    """Draw v, and compute s (h^T v) for every row of a tile."""
    transposed, pitch, first_output = shape[0], shape[2], shape[3]
    h, s = levels
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    s_at = (layer[UNITS_OUT] - first_output) * pitch
    h_at = layer[UNITS_IN] * pitch
    v = factors[:columns]
    fill_normals(key, layer[WEIGHTS] + row * (outputs if transposed else inputs) + column, v)
    if transposed:
        projected(outputs, column, columns, pitch, s, s_at, v, projection)
        along_samples(inputs, row, rows, pitch, h, h_at, projection, expected)
    else:
        projected(inputs, column, columns, pitch, h, h_at, v, projection)
        along_samples(outputs, row, rows, pitch, s, s_at, projection, expected)


@kernel
def proof_margin(columns, batch, roundoff, column_sizes):
    """What rounding may make of a row's proof, over the size of the row's unit."""
    largest, squares = 0.0, 0.0
    for c in range(columns):
        largest = max(largest, column_sizes[c])
    for c in range(columns):
        part = column_sizes[c] / largest if largest > 0 else 0.0
        squares += part * part
    margin = PROOF_MARGIN * roundoff * largest * math.sqrt(squares)
    return margin * (1.0 + 0.25 * math.sqrt(float(batch)))


@kernel
def proof_of_strip(first, rows, columns, margin, row_sizes, strip, factors, expected):
    """Largest |(s h^T) v - s (h^T v)| of some rows of a tile over what rounding makes of it."""
    worst = 0.0
    for r in range(rows):
        made = long_dot(strip[r * columns : (r + 1) * columns], factors[:columns])
        allowed = margin * row_sizes[first + r]
        gap = abs(made - expected[first + r])
        if not gap <= allowed:
            worst = max(worst, gap / allowed if allowed > 0 else HUGE)
            if not gap <= HUGE:
                worst = HUGE
    return worst


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
        number = np.float64(given[c])
        numerical = value[c]
        size = abs(numerical)
        bar = row_noise * column_sizes[c] + row_size * column_noise[c] + decay_bars[c]
        allowed = bar + radius[c] + atol + rtol * size
        error = abs(number - numerical)
        judged = (size <= HUGE) & (allowed <= HUGE)
        finite = abs(number) <= 1.7e308
        wrong += np.int64(judged & (not (error <= allowed)))
        broken += np.int64(not judged)
        not_finite += np.int64(not finite)
        not_zero += np.int64(number != 0)
        zero += np.int64((number == 0) & (size + radius[c] <= bar))
        kinks += np.int64(radius[c] > bar)
        above += np.int64(judged & ((abs(number) > bar) | (size > bar)))
        bits = np.float64(allowed).view(np.int64)
        widest = max(widest, bits if judged else none)
        ratio = error / allowed
        ratio = ratio if finite else np.inf
        ratios[c] = ratio if judged else -1.0
        used = judged & finite
        product += (number * scale) * (numerical * scale) if used else 0.0
        square += (numerical * scale) * (numerical * scale) if used else 0.0
    return (
        wrong, zero, kinks, above, broken, not_finite, not_zero, np.int64(widest).view(np.float64),
        product, square,
    )  # fmt: skip


@kernel(inline=True)
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
    """Put the largest ratios of the rows of a cell, by column, into the map."""
    width = place[CELL_COLUMNS]
    line = place[MAP_AT] + row // place[CELL_ROWS] * place[MAP_COLUMNS] + column // width
    for first in range(0, maxima.size, width):
        largest = 0.0
        for c in range(first, min(maxima.size, first + width)):
            largest = max(largest, maxima[c])
        cells[line + first // width] = largest
    maxima[:] = 0.0


@kernel
def unit_bars(row, rows, column, columns, layer, shape, margin, sizes, bars):
    """Factors of the bars of a tile: row noise, row size, column sizes, column noise."""
    transposed, first_output = shape[0], shape[3]
    s_sizes, h_sizes, s_noise, h_noise = sizes[0], sizes[1], sizes[2], sizes[3]
    row_noise, row_size, column_size, column_noise, norms = bars
    s_at, h_at = layer[UNITS_OUT] - first_output, layer[UNITS_IN]
    if transposed:
        for r in range(rows):
            norms[r] = h_sizes[h_at + row + r]
            row_noise[r] = margin * norms[r]
            row_size[r] = margin * h_noise[h_at + row + r]
        for c in range(columns):
            column_noise[c] = s_sizes[s_at + column + c]
            column_size[c] = s_noise[s_at + column + c] + column_noise[c]
    else:
        for r in range(rows):
            norms[r] = s_sizes[s_at + row + r]
            row_noise[r] = margin * (s_noise[s_at + row + r] + norms[r])
            row_size[r] = margin * norms[r]
        for c in range(columns):
            column_size[c] = h_sizes[h_at + column + c]
            column_noise[c] = h_noise[h_at + column + c]


@kernel
def compare_strip(
    index, row, rows, first, count, column, columns, row_length, layer, place, tolerance, kept,
    key, parameters, given, strip, affected, radii, bars, scratch, collected,
):  # fmt: skip
    """Compare ``count`` rows of a tile from row ``first`` on; collect what there is to know."""
    rtol, atol, decay_bar, smallest = tolerance
    row_noise, row_size, column_size, column_noise = bars[0], bars[1], bars[2], bars[3]
    decay_bars, ratios, maxima = scratch[0], scratch[1], scratch[2]
    _, cells, samples, scales = collected
    found = scratch[4]
    own, decay, highest = ratios[:columns], decay_bars[:columns], maxima[:columns]
    decay[:] = smallest
    reach = columns if affected > 0 else 0  # without a hull one row of zeros serves all
    for r in range(first, first + count):
        inside = r - first
        at = (row + r) * row_length + column
        if decay_bar != 0:
            line = parameters[layer[WEIGHTS] + at : layer[WEIGHTS] + at + columns]
            for c in range(columns):
                decay[c] = decay_bar * abs(line[c]) + smallest
        value = strip[inside * columns : (inside + 1) * columns]
        radius = radii[inside * reach : inside * reach + columns]
        counts = compare_row(
            given[place[GIVEN_AT] + at : place[GIVEN_AT] + at + columns], value, radius,
            row_noise[r], row_size[r], column_size, column_noise, decay, rtol, atol,
            scales[index], own,
        )  # fmt: skip
        found[WRONG] += counts[0]
        found[ZERO] += counts[1]
        found[KINKS] += counts[2]
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
            found[WORST_GIVEN] = given[place[GIVEN_AT] + at + c]
            found[WORST_VALUE] = value[c]
            found[WORST_BAR] = bar_of(
                row_noise[r], row_size[r], column_size[c], column_noise[c], decay[c]
            )
            found[WORST_RADIUS] = radius[c]
        raise_maxima(own, highest)
        if (r + 1) % place[CELL_ROWS] == 0 or r == rows - 1:
            note_cells(highest, row + r, column, place, cells)
    for q in range(kept):
        chosen = np.int64(hashed(key, index * kept + q) >> SHIFT) % (rows * columns)
        r, c = chosen // columns, chosen % columns
        if first <= r < first + count:
            inside = r - first
            at = (row + r) * row_length + column + c
            line = samples[index * kept + q]
            line[0] = at
            line[1] = given[place[GIVEN_AT] + at]
            line[2] = strip[inside * columns + c]
            decayed = decay_bar * abs(parameters[layer[WEIGHTS] + at]) + smallest
            line[3] = bar_of(row_noise[r], row_size[r], column_size[c], column_noise[c], decayed)
            line[4] = radii[inside * reach + c]


@kernel
def tile_step(
    kind, block, layer, shape, place, tolerance, keys, parameters, levels, packed, sizes, radius,
    given, collected, expanded, scratch,
):  # fmt: skip
    """Make one tile of an array, prove it, and compare it or write it out."""
    transposed, batch, pitch, _, roundoff, margin, decay, kept, first_row = shape
    left, right = packed
    radius_left, radius_right, affected = radius
    strips, edge, strip, radii, bars, rows_of, factors, projection = scratch
    expected = rows_of[3]
    width = panel_width(strip)
    matrix_rows = layer[INPUTS] if transposed else layer[OUTPUTS]
    matrix_columns = layer[OUTPUTS] if transposed else layer[INPUTS]
    row_blocks = panels_of(matrix_rows, BLOCK_ROWS)
    row = block % row_blocks * BLOCK_ROWS
    column = block // row_blocks * TILE_PANELS * width
    rows = min(BLOCK_ROWS, matrix_rows - row)
    columns = min(TILE_PANELS * width, matrix_columns - column)
    index = place[TILES_AT] + block
    unit_bars(row, rows, column, columns, layer, shape, margin, sizes, bars)
    expected_of_tile(
        row, rows, column, columns, layer, shape, levels, keys[TILE_PROOF], factors, projection,
        expected,
    )  # fmt: skip
    proof = proof_margin(columns, batch, roundoff, bars[2])
    worst = 0.0
    found = rows_of[4]  # its own memory: tiles of two threads would share a line of the table
    found[:] = 0.0
    found[WORST_RATIO] = -1.0
    for first in range(0, rows, MR):
        count = min(MR, rows - first)
        multiply_into_matrix(
            count, columns, batch, left, place[LEFT_AT] + (row + first) * pitch, pitch, 1,
            right, place[RIGHT_AT] + column * batch, width, width * batch,
            strips, edge, strip, 0, columns,
        )  # fmt: skip
        if affected > 0:
            multiply_into_matrix(
                count, columns, affected,
                radius_left, place[RADIUS_LEFT_AT] + (row + first) * affected, affected, 1,
                radius_right, place[RADIUS_RIGHT_AT] + column * affected, width, width * affected,
                strips, edge, radii, 0, columns,
            )  # fmt: skip
        gap = proof_of_strip(first, count, columns, proof, bars[4], strip, factors, expected)
        worst = max(worst, gap)
        if decay != 0:
            for r in range(count):
                at = layer[WEIGHTS] + (row + first + r) * matrix_columns + column
                add_multiple(
                    decay, parameters[at : at + columns], strip[r * columns : (r + 1) * columns]
                )
        if kind == COMPARE:
            compare_strip(
                index, row, rows, first, count, column, columns, matrix_columns, layer, place,
                tolerance, kept, keys[SAMPLES], parameters, given, strip, affected, radii, bars,
                rows_of, collected,
            )  # fmt: skip
        else:
            values, widths = expanded
            for r in range(count):
                at = (row + first + r - first_row) * matrix_columns + column
                copy_run(columns, strip, r * columns, values, at)
                if affected > 0:
                    copy_run(columns, radii, r * columns, widths, at)
    if kind == COMPARE:
        found[PROOF] = worst
        collected[0][index] = found


@kernel(entry=True)
def tiles(
    control, schedule, shape, layers, places, tolerance, keys, parameters, levels, packed, sizes,
    radius, given, collected, expanded,
):  # fmt: skip
    """Run phases of packing and of tiles, as one of a team of threads.

    Shapes: schedule (phases, 5): kind, layer, first block, blocks, and how many blocks of the
    phases before must be done. What the groups hold is said in ``fastbp/tiles.py``. 2 P batch
    operations, and a dozen for each entry.
    """
    batch, pitch = shape[1], shape[2]
    width = panel_width(parameters)
    columns = TILE_PANELS * width
    entries = MR * columns
    affected = radius[2]
    scratch = (
        np.empty(strips_size(MR, max(batch, affected)), parameters.dtype),
        np.empty(MR * width), np.empty(entries), np.zeros(entries),
        (np.empty(BLOCK_ROWS), np.empty(BLOCK_ROWS), np.empty(columns), np.empty(columns),
         np.empty(BLOCK_ROWS)),
        (np.zeros(columns), np.empty(columns), np.zeros(columns), np.empty(BLOCK_ROWS),
         np.empty(FINDINGS)),
        np.empty(columns), np.empty(pitch),
    )  # fmt: skip
    start = 0
    ticket = draw_ticket(control)
    for phase in range(schedule.shape[0]):
        kind, k, first = schedule[phase, 0], schedule[phase, 1], schedule[phase, 2]
        end = start + schedule[phase, 3]
        while ticket < end:
            if wait_until_done(control, schedule[phase, 4]):
                block = first + ticket - start
                if kind == PACK:
                    pack_step(block, layers[k], shape, levels, packed, sizes, places[k])
                else:
                    tile_step(
                        kind, block, layers[k], shape, places[k], tolerance, keys, parameters,
                        levels, packed, sizes, radius, given, collected, expanded, scratch,
                    )  # fmt: skip
            report_done(control)
            ticket = draw_ticket(control)
        start = end
    wait_until_done(control, start)
