"""What the tiles read and write: one named group for each purpose, with a shape for each field.

``pitch`` is the batch rounded up to whole panels of NR lanes, *units* are those of all levels.
All is float64 unless it says otherwise; sizes and noise of a unit are norms over the batch, the
noise in units of u, the roundoff of the coarser of the two computations that are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Product(NamedTuple):
    """The matrices s h^T, or h s^T where the weights lie as (inputs, outputs)."""

    transposed: bool
    samples: int
    pitch: int
    inputs: int  # of the network: units of h before those of s
    roundoff: float  # of float64, in which the product is made
    margin: float  # of the bars: u times what noise is multiplied by
    growth: float  # rounding of a sum over the batch, in u of the sizes
    decay: float  # weight decay, added to the product times the weights


class Tolerance(NamedTuple):
    """What an entry may be off by, beside its bar and its radius: atol + rtol |value|."""

    rtol: float
    atol: float
    decay_bar: float  # of the bar, times |W|
    smallest: float  # of every bar, where numbers lose digits


class Levels(NamedTuple):
    """Values in panels ``[level][panel][unit][lane]``."""

    h: Floats  # (units * pitch,)
    s: Floats  # ((units - inputs) * pitch,)


class Packed(NamedTuple):
    """Operands of the products, each from its place in the table ``places`` on."""

    left: Floats  # rows by samples, ``pitch`` apart
    right: Floats  # panels of columns: [panel][sample][lane]


class UnitSizes(NamedTuple):
    """What belongs to a unit."""

    s_sizes: Floats  # (units - inputs,), written
    h_sizes: Floats  # (units,), written
    s_noise: Floats  # (units - inputs,)
    s_radii: Floats  # (units - inputs,): norms of what masks in doubt can add to s
    h_noise: Floats  # (units,)
    bias_sums: Floats  # (units - inputs,), written: sums of s over the batch


class Radius(NamedTuple):
    """Factors of the radii: what masks in doubt can make of an entry; laid out as in `Packed`."""

    left: Floats  # rows by affected samples
    right: Floats  # panels of columns: [panel][affected sample][lane]
    affected: int  # samples


class Collected(NamedTuple):
    """What is found, by tile."""

    summaries: Floats  # (tiles, SUMMARY_COLUMNS)
    cells: Floats  # (cells of all maps,): largest error over what is allowed
    kinks: npt.NDArray[np.bool_]  # likewise: which hold an entry on a kink; () without radii
    samples: Floats  # (tiles * kept, SAMPLE_COLUMNS)
    scales: Floats  # (tiles,), read: makes the products of two entries fit a number
    kept: int  # entries of a tile that are kept as samples


class Expanded(NamedTuple):
    """Rows of an array that are written out."""

    values: Floats  # (rows * columns,)
    radii: Floats  # (rows * columns,)
    first_row: int  # of the array


class TileBars(NamedTuple):
    """Factors of the bars of a tile: row_noise column_size + row_size column_noise."""

    row_noise: Floats  # (BLOCK_ROWS,)
    row_size: Floats  # (BLOCK_ROWS,)
    column_size: Floats  # (TILE_PANELS * NR,)
    column_noise: Floats  # (TILE_PANELS * NR,)
    norms: Floats  # (BLOCK_ROWS,): sizes of the rows' units, without margin


class TileProof(NamedTuple):
    """(s h^T) v against s (h^T v)."""

    v: Floats  # (TILE_PANELS * NR,)
    expected: Floats  # (BLOCK_ROWS,): s (h^T v)
    made: Floats  # (MR,): the product's own rows times v
    projection: Floats  # (pitch,): h^T v


class ChunkScratch(NamedTuple):
    """What the comparison of a chunk needs; ``chunk`` is CHUNK_PANELS * NR."""

    decay_bars: Floats  # (chunk,)
    ratios: Floats  # (chunk,): error over what is allowed
    maxima: Floats  # (TILE_PANELS * NR,): the largest ratio of each column so far
    no_radius: Floats  # (chunk,): zeros
    given: Floats  # (MR * chunk,): given numbers of float32
    lanes: Floats  # (LANE_ROWS * LANES,), as in ``chunk_comparison.py``
    flags: Integers  # (4,), likewise
    bounds: Floats  # (3,), likewise
    frame: Integers  # (FRAME_SIZE,): where the chunk stands, its columns as in ``chunks.py``


class Scratch(NamedTuple):
    """Memory of one thread."""

    strips: Floats  # packed rows
    strip: Floats  # (MR * chunk,): the chunk itself
    radii: Floats  # (MR * chunk,)
    bars: TileBars
    proof: TileProof
    found: Floats  # (SUMMARY_COLUMNS,): the tile's row of the summaries, while it is made
    chunk: ChunkScratch


class Tables(NamedTuple):
    """All groups of one call."""

    product: Product
    tolerance: Tolerance
    levels: Levels
    packed: Packed
    sizes: UnitSizes
    radius: Radius
    collected: Collected
    expanded: Expanded
