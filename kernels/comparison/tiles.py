"""dL/dW[k] = s[k] h[k]^T (or its transpose), tile by tile, compared as it is made.

A tile is up to BLOCK_ROWS rows and TILE_PANELS panels of columns of one array as it lies in
memory.  It is made in chunks, MR rows and CHUNK_PANELS panels, which are compared with the given
gradient at once (``compare.py``).  Its rows are proved: (s h^T) v = s (h^T v) for a random v.
No second gradient is ever held.
"""

from __future__ import annotations

import math

import numpy as np

from ..backprop.phases import PACK_ROWS
from ..layer_table import INPUTS, OUTPUTS, UNITS_IN, UNITS_OUT, WEIGHTS
from ..machine.borrowed_arrays import borrowed, borrowed_as, keep
from ..machine.compile import kernel
from ..machine.tickets import draw_ticket, report_done, wait_until_done
from ..products.matmul import BLOCK_ROWS, multiply_block, strips_size
from ..products.matvec import add_multiple, long_dot
from ..products.norms import panel_norms, row_norms
from ..products.packing import pack_rows, pack_transposed
from ..random_numbers import SAMPLES, TILE_PROOF, fill_normals
from ..simd.chunk_comparison import LANE_ROWS
from ..simd.lane_sums import sums_along_lanes
from ..simd.moves import copy_run
from ..simd.tile import multiply_rows
from ..simd.vectors import LANES, MR, VECTORS, panel_width, panels_of
from .chunks import (
    CELL_ROWS,
    COLUMNS,
    FIRST_COLUMN,
    FIRST_ROW,
    FRAME_SIZE,
    GIVEN_AT,
    GIVEN_PITCH,
    GIVEN_START,
    HUGE,
    LEFT_AT,
    PITCH,
    RADIUS_LEFT_AT,
    RADIUS_RIGHT_AT,
    RIGHT_AT,
    ROW_LENGTH,
    ROWS,
    TILE_COLUMN,
    TILE_ROW,
    TILES_AT,
    compare_quickly,
    compare_rows,
    keep_samples,
    note_cells,
    unit_bars,
)
from .summary_columns import PROOF, SUMMARY_COLUMNS, WORST_RATIO
from .tile_arrays import ChunkScratch, Scratch, Tables, TileBars, TileProof

# Kinds of phases.
PACK, COMPARE, EXPAND = range(3)

TILE_PANELS = 32  # of a tile: a random v is drawn, and h^T v made, for each
CHUNK_PANELS = 16  # of a chunk: MR x 256 numbers stay in the nearest cache beside the panels
PROOF_MARGIN = 64.0


SUMMED_TOGETHER = 4  # units: a sum waits four cycles for each addition, which others may use


@kernel
def sum_sensitivities(block, outputs, batch, s, s_at, first_sum, bias_sums):
    """dL/db of a block of units: the sum of s over the samples, in their order."""
    width = panel_width(s)
    last = min(outputs, (block + 1) * PACK_ROWS)
    for unit in range(block * PACK_ROWS, last, SUMMED_TOGETHER):
        most = (last - 1 - unit) * width  # behind the last unit it is summed again
        second, third, fourth = min(width, most), min(2 * width, most), min(3 * width, most)
        one, two, three, four = 0.0, 0.0, 0.0, 0.0
        for panel in range(panels_of(batch, width)):
            start = s_at + (panel * outputs + unit) * width
            for at in range(start, start + min(width, batch - panel * width)):
                one += s[at]
                two += s[at + second]
                three += s[at + third]
                four += s[at + fourth]
        totals = (one, two, three, four)
        for k in range(min(SUMMED_TOGETHER, last - unit)):
            bias_sums[first_sum + unit + k] = totals[k]


@kernel(allocates=True)
def pack_step(block, layer, product, levels, packed, sizes, place):
    """Copy a block of units of s[k] or h[k] as an operand, and take their norms."""
    transposed, batch, pitch = product.transposed, product.samples, product.pitch
    h, s = levels.h, levels.s
    left, right = packed.left, packed.right
    s_sizes, h_sizes, first_output = sizes.s_sizes, sizes.h_sizes, product.inputs
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    s_at = (layer[UNITS_OUT] - first_output) * pitch
    h_at = layer[UNITS_IN] * pitch
    rows = inputs if transposed else outputs
    row_blocks = panels_of(rows, PACK_ROWS)
    s_blocks = (row_blocks, -1) if transposed else (0, row_blocks)
    if s_blocks[0] <= block and (block < s_blocks[1] or transposed):
        first_sum = layer[UNITS_OUT] - first_output
        sum_sensitivities(block - s_blocks[0], outputs, batch, s, s_at, first_sum, sizes.bias_sums)
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
        start = at + (panel * units + first) * width
        multiply_rows(
            1, VECTORS, count, factors, 0, 0, 1, values, start, width, result, panel * width, 0, 0
        )


@kernel
def along_samples(units, first, count, pitch, values, at, factors, result):
    """For some units the sum over samples of values times ``factors``, from the panels."""
    width = panel_width(values)
    for panel in range(pitch // width):
        start = at + (panel * units + first) * width
        sums_along_lanes(count, values, start, factors, panel * width, 0, panel, result)


@kernel
def expected_of_tile(row, rows, column, columns, layer, product, levels, key, proof):
    """Draw v, and compute s (h^T v) for every row of a tile."""
    transposed, pitch, first_output = product.transposed, product.pitch, product.inputs
    h, s = levels.h, levels.s
    projection, expected = proof.projection, proof.expected
    outputs, inputs = layer[OUTPUTS], layer[INPUTS]
    s_at = (layer[UNITS_OUT] - first_output) * pitch
    h_at = layer[UNITS_IN] * pitch
    v = proof.v[:columns]
    proof.v[columns:] = 0.0
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
def proof_of_rows(first, rows, margin, smallest, row_sizes, made, expected):
    """Largest |(s h^T) v - s (h^T v)| of some rows of a tile over what rounding makes of it."""
    worst = 0.0
    for r in range(rows):
        allowed = margin * row_sizes[first + r] + smallest
        gap = abs(made[r] - expected[first + r])
        if not gap <= allowed:
            worst = max(worst, gap / allowed)
            if not gap <= HUGE:
                worst = HUGE
    return worst


@kernel
def multiply_chunk(frame, depth, left, left_at, left_pitch, right, right_at, strips, strip):
    """Make a chunk of a product of packed operands, its rows ``frame[PITCH]`` apart."""
    width = panel_width(strip)
    multiply_block(
        frame[ROWS], frame[PITCH] // width, VECTORS, depth,
        left, left_at + (frame[TILE_ROW] + frame[FIRST_ROW]) * left_pitch, left_pitch, 1,
        right, right_at + (frame[TILE_COLUMN] + frame[FIRST_COLUMN]) * depth, width, width * depth,
        strips, strip, 0, frame[PITCH], width,
    )  # fmt: skip


@kernel
def write_chunk(frame, strip, affected, radii, expanded):
    """Write a chunk, and its radii, to rows of the array."""
    for r in range(frame[ROWS]):
        row = frame[TILE_ROW] + frame[FIRST_ROW] + r - expanded.first_row
        at = row * frame[ROW_LENGTH] + frame[TILE_COLUMN] + frame[FIRST_COLUMN]
        copy_run(frame[COLUMNS], strip, r * frame[PITCH], expanded.values, at)
        if affected > 0:
            copy_run(frame[COLUMNS], radii, r * frame[PITCH], expanded.radii, at)


@kernel
def widen_chunk(frame, narrow, start, wide):
    """Copy the given numbers of a chunk, of float32, to rows of float64."""
    columns, pitch = frame[COLUMNS], frame[PITCH]
    for r in range(frame[ROWS]):
        at = start + r * frame[ROW_LENGTH]
        source = narrow[at : at + columns]
        target = wide[r * pitch : r * pitch + columns]
        for c in range(columns):
            target[c] = source[c]


@kernel(inline=True)
def given_of_chunk(kind, frame, place, given, narrow, wide):
    """Return the array that holds the given numbers of a chunk, and note where they begin."""
    start = (frame[TILE_ROW] + frame[FIRST_ROW]) * frame[ROW_LENGTH]
    start += place[GIVEN_AT] + frame[TILE_COLUMN] + frame[FIRST_COLUMN]
    frame[GIVEN_START], frame[GIVEN_PITCH] = start, frame[ROW_LENGTH]
    numbers = given
    if kind == COMPARE and narrow.size > 0:
        widen_chunk(frame, narrow, start, wide)
        frame[GIVEN_START], frame[GIVEN_PITCH] = 0, frame[PITCH]
        numbers = wide
    return numbers


@kernel
def chunk_step(
    kind, plain, chunk, chunks, index, frame, layer, product, place, tolerance, key, parameters,
    packed, radius, given, narrow, collected, expanded, scratch,
):  # fmt: skip
    """Make one chunk of a tile, and compare it or write it out."""
    decay, affected, scales = product.decay, radius.affected, collected.scales
    kept, samples = collected.kept, collected.samples
    strips, strip, radii, bars = scratch.strips, scratch.strip, scratch.radii, scratch.bars
    v, made, found = scratch.proof.v, scratch.proof.made, scratch.found
    multiply_chunk(
        frame, product.samples, packed.left, place[LEFT_AT], product.pitch,
        packed.right, place[RIGHT_AT], strips, strip,
    )  # fmt: skip
    numbers = given_of_chunk(kind, frame, place, given, narrow, scratch.chunk.given)
    if plain and compare_quickly(
        frame, tolerance, scales[index], numbers, strip, v, bars, scratch.chunk, made, found
    ):
        keep_samples(
            frame, chunk, chunks, index, kept, key, layer, tolerance, parameters, numbers, strip,
            affected, radii, bars, samples,
        )  # fmt: skip
        return
    column, columns = frame[FIRST_COLUMN], frame[COLUMNS]
    for r in range(frame[ROWS]):
        line = strip[r * frame[PITCH] : r * frame[PITCH] + columns]
        made[r] += long_dot(line, v[column : column + columns])
        if decay != 0:
            row = frame[TILE_ROW] + frame[FIRST_ROW] + r
            at = layer[WEIGHTS] + row * frame[ROW_LENGTH] + frame[TILE_COLUMN] + column
            add_multiple(decay, parameters[at : at + columns], line)
    if affected > 0:
        multiply_chunk(
            frame, affected, radius.left, place[RADIUS_LEFT_AT], affected,
            radius.right, place[RADIUS_RIGHT_AT], strips, radii,
        )  # fmt: skip
    if kind == EXPAND:
        write_chunk(frame, strip, affected, radii, expanded)
        return
    compare_rows(
        frame, layer, place, tolerance, scales[index], parameters, numbers, strip, affected, radii,
        bars, scratch.chunk, collected.cells, collected.kinks, found,
    )  # fmt: skip
    keep_samples(
        frame, chunk, chunks, index, kept, key, layer, tolerance, parameters, numbers, strip,
        affected, radii, bars, samples,
    )  # fmt: skip


@kernel
def tile_step(
    kind, block, layer, place, tables, keys, parameters, given, narrow, scratch
):  # fmt: skip
    """Make one tile of an array, prove it, and compare it or write it out."""
    product, tolerance, collected = tables.product, tables.tolerance, tables.collected
    bars, proof, found = scratch.bars, scratch.proof, scratch.found
    transposed, maxima, frame = product.transposed, scratch.chunk.maxima, scratch.chunk.frame
    width = panel_width(scratch.strip)
    matrix_rows = layer[INPUTS] if transposed else layer[OUTPUTS]
    matrix_columns = layer[OUTPUTS] if transposed else layer[INPUTS]
    row_blocks = panels_of(matrix_rows, BLOCK_ROWS)
    row = block % row_blocks * BLOCK_ROWS
    column = block // row_blocks * TILE_PANELS * width
    rows = min(BLOCK_ROWS, matrix_rows - row)
    columns = min(TILE_PANELS * width, matrix_columns - column)
    widest = unit_bars(row, rows, column, columns, layer, product, tables.sizes, bars)
    expected_of_tile(
        row, rows, column, columns, layer, product, tables.levels, keys[TILE_PROOF], proof
    )  # fmt: skip
    allowed_gap = proof_margin(columns, product.samples, product.roundoff, bars.column_size)
    # Nothing that only rows can count: no radius, no decay, no rtol, numbers far from infinity.
    plain = tables.radius.affected == 0 and product.decay == 0 and tolerance.rtol == 0
    plain = plain and kind == COMPARE
    plain = plain and place[CELL_ROWS] % MR == 0
    plain = plain and widest + tolerance.atol + tolerance.smallest < HUGE
    plain = plain and widest / product.margin < HUGE
    worst = 0.0
    found[:] = 0.0  # its own memory: tiles of two threads would share a line of the table
    found[WORST_RATIO] = -1.0
    chunk, chunk_width = 0, CHUNK_PANELS * width
    chunks = panels_of(rows, MR) * panels_of(columns, chunk_width)
    frame[TILE_ROW], frame[TILE_COLUMN], frame[ROW_LENGTH] = row, column, matrix_columns
    for first in range(0, rows, MR):
        frame[FIRST_ROW], frame[ROWS] = first, min(MR, rows - first)
        proof.made[:] = 0.0
        for start in range(0, columns, chunk_width):
            frame[FIRST_COLUMN], frame[COLUMNS] = start, min(chunk_width, columns - start)
            frame[PITCH] = panels_of(frame[COLUMNS], width) * width
            chunk_step(
                kind, plain and frame[ROWS] == MR, chunk, chunks, place[TILES_AT] + block, frame,
                layer, product, place, tolerance, keys[SAMPLES], parameters, tables.packed,
                tables.radius, given, narrow, collected, tables.expanded, scratch,
            )  # fmt: skip
            chunk += 1
        gap = proof_of_rows(
            first, frame[ROWS], allowed_gap, tolerance.smallest, bars.norms, proof.made,
            proof.expected,
        )  # fmt: skip
        worst = max(worst, gap)
        if plain and ((first + MR) % place[CELL_ROWS] == 0 or first + MR >= rows):
            note_cells(maxima[:columns], row + first, column, place, collected.cells)
    if kind == COMPARE:
        found[PROOF] = worst
        copy_run(found.size, found, 0, collected.summaries[place[TILES_AT] + block], 0)


@kernel(allocates=True)
def allocate_scratch(product, affected, parameters):
    """Memory of one thread."""
    width = panel_width(parameters)
    columns, chunk = TILE_PANELS * width, CHUNK_PANELS * width
    return Scratch(
        strips=np.empty(strips_size(MR, max(product.samples, affected)), parameters.dtype),
        strip=np.empty(MR * chunk),
        radii=np.empty(MR * chunk),
        bars=TileBars(
            row_noise=np.empty(BLOCK_ROWS),
            row_size=np.empty(BLOCK_ROWS),
            column_size=np.empty(columns),
            column_noise=np.empty(columns),
            norms=np.empty(BLOCK_ROWS),
        ),
        proof=TileProof(
            v=np.empty(columns),
            expected=np.empty(BLOCK_ROWS),
            made=np.empty(MR),
            projection=np.empty(product.pitch),
        ),
        found=np.empty(SUMMARY_COLUMNS),
        chunk=ChunkScratch(
            decay_bars=np.empty(chunk),
            ratios=np.empty(chunk),
            maxima=np.zeros(columns),
            no_radius=np.zeros(chunk),
            given=np.empty(MR * chunk),
            lanes=np.empty(LANE_ROWS * LANES),
            flags=np.empty(4, np.int64),
            bounds=np.empty(3),
            frame=np.empty(FRAME_SIZE, np.int64),
        ),
    )


@kernel(entry=True)
def tiles(control, schedule, layers, places, keys, parameters, given, narrow, arrays):
    """Run phases of packing and of tiles, as one of a team of threads.

    Shapes: control as in ``tickets.py``; schedule int64, (phases, 5): kind, layer, first block,
    blocks, and how many blocks of the phases before must be done; layers int64, (L, COLUMNS);
    places int64, (L, PLACES); keys uint64, (STREAMS,); parameters (P,); given (any,): the given
    gradients, each from its place on, or (0,) where they are float32: narrow then; arrays are
    those of a `Tables`, without names. 2 P batch operations, and a dozen for each entry.
    """
    layers, places, keys, parameters, given, narrow = borrowed(
        (layers, places, keys, parameters, given, narrow)
    )
    tables = borrowed_as(Tables, arrays)
    owned = allocate_scratch(tables.product, tables.radius.affected, parameters)
    scratch = borrowed(owned)
    start = 0
    ticket = draw_ticket(control)
    for phase in range(schedule.shape[0]):
        kind, k, first = schedule[phase, 0], schedule[phase, 1], schedule[phase, 2]
        end = start + schedule[phase, 3]
        while ticket < end:
            if wait_until_done(control, schedule[phase, 4]):
                block = first + ticket - start
                if kind == PACK:
                    pack_step(
                        block, layers[k], tables.product, tables.levels, tables.packed,
                        tables.sizes, places[k],
                    )  # fmt: skip
                else:
                    tile_step(
                        kind, block, layers[k], places[k], tables, keys, parameters, given,
                        narrow, scratch,
                    )  # fmt: skip
            report_done(control)
            ticket = draw_ticket(control)
        start = end
    wait_until_done(control, start)
    keep(owned)
