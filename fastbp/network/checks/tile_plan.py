"""How the tiles of some layers are compared: phases, places of packed operands, and of cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastbp.kernels.backprop.phases import PACK_ROWS
from fastbp.kernels.comparison import chunks as compare
from fastbp.kernels.comparison import tiles as kernels
from fastbp.kernels.products.matmul import BLOCK_ROWS
from fastbp.kernels.simd.vectors import MR
from fastbp.report.pictures.picture import MOST_CELLS
from fastbp.runtime.panels import block_count
from fastbp.typing import Indices

__all__ = [
    "CELL_COLUMNS",
    "CELL_ROWS",
    "MAP_COLUMNS",
    "MAP_ROWS",
    "TILES",
    "Plan",
    "packing_blocks",
    "plan_of",
]

GROUPED_NUMBERS = 1 << 16  # of operands that are packed together: half of a core's own cache
# What is known of the picture of a layer: how many tiles the array has, rows and columns of cells,
# rows and columns of the array that a cell covers.
TILES, MAP_ROWS, MAP_COLUMNS, CELL_ROWS, CELL_COLUMNS = range(5)

Matrix = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What depends on nothing but the shapes: made once, and read only.

    Attributes
    ----------
    table : int64, shape (all layers, PLACES)
        As kernels take it, without the places of the given gradients.
    room : list of int
        How many numbers the packed operands take, left and right.
    schedule : int64, shape (phases, 5)
        Packing and comparison, group by group.
    maps : int64, shape (layers, 5)
        Of the picture of each layer: TILES and so on.
    starts : list of int
        The first tile of each layer.
    tiles, cells : int
        How many there are.
    """

    table: Indices
    room: list[int]
    schedule: Indices
    maps: Indices
    starts: list[int]
    tiles: int
    cells: int


@lru_cache(maxsize=64)
def plan_of(shapes: tuple[Matrix, ...], layers: tuple[int, ...], samples: int, width: int) -> Plan:
    """Plan the comparison of some layers of a network.

    Parameters
    ----------
    shapes : tuple of (int, int)
        Of the weights of all layers, as they lie in memory.
    layers : tuple of int
        The ones to compare.
    samples, width : int
        The size of the batch, and the lanes of a panel.
    """
    own = [shapes[k] for k in layers]
    operands = _operand_sizes(own, samples, width)
    lengths = _lengths_of_groups(operands)
    maps = np.array([_map_of(shape, width) for shape in own], np.int64)
    cells = maps[:, MAP_ROWS] * maps[:, MAP_COLUMNS]
    starts, room = _places(operands, lengths)
    table = np.zeros((len(shapes), compare.PLACES), np.int64)
    for place, column in (
        (compare.LEFT_AT, starts[0]),
        (compare.RIGHT_AT, starts[1]),
        (compare.TILES_AT, np.cumsum(maps[:, TILES]) - maps[:, TILES]),
        (compare.MAP_AT, np.cumsum(cells) - cells),
        (compare.MAP_COLUMNS, maps[:, MAP_COLUMNS]),
        (compare.CELL_ROWS, maps[:, CELL_ROWS]),
        (compare.CELL_COLUMNS, maps[:, CELL_COLUMNS]),
    ):
        table[list(layers), place] = column
    return Plan(
        table,
        room,
        _schedule(layers, own, lengths, maps[:, TILES].tolist()),
        maps,
        table[list(layers), compare.TILES_AT].tolist(),
        int(maps[:, TILES].sum()),
        int(cells.sum()),
    )


def packing_blocks(shape: Matrix) -> int:
    """How many blocks the operands of a layer are packed in."""
    return block_count(shape[0], PACK_ROWS) + block_count(shape[1], PACK_ROWS)


def _operand_sizes(shapes: list[Matrix], samples: int, width: int) -> Indices:
    """How many numbers the packed operands of each layer are, left and right: (2, layers)."""
    rows, columns = np.array(shapes, np.int64).T
    panels = -(-columns // width)
    return np.stack([rows * (block_count(samples, width) * width), panels * (width * samples)])


def _lengths_of_groups(operands: Indices) -> list[int]:
    """Join neighbouring layers whose packed operands stay in a cache together."""
    lengths: list[int] = []
    size = 0
    for own in operands.sum(axis=0).tolist():
        if not lengths or size + own > GROUPED_NUMBERS:
            lengths.append(0)
            size = 0
        lengths[-1] += 1
        size += own
    return lengths


def _places(operands: Indices, lengths: list[int]) -> tuple[Indices, list[int]]:
    """Place packed operands: two groups of layers in turn, while one is packed one is read."""
    firsts: Indices = np.cumsum(lengths, dtype=np.int64) - np.array(lengths)
    starts = np.cumsum(operands, axis=1) - operands
    starts -= np.repeat(starts[:, firsts], lengths, axis=1)  # within the group
    together = np.add.reduceat(operands, firsts, axis=1)
    even, odd = together[:, ::2].max(axis=1), together[:, 1::2].max(axis=1, initial=0)
    starts += even[:, None] * np.repeat(np.arange(len(lengths)) % 2, lengths)
    return starts, (even + odd).tolist()


def _schedule(
    layers: tuple[int, ...], shapes: list[Matrix], lengths: list[int], tiles: list[int]
) -> Indices:
    """Pack and compare, group by group: a group is packed while the one before is compared."""
    schedule: list[tuple[int, int, int, int, int]] = []
    done = packed = first = 0
    for length in lengths:
        group = range(first, first + length)
        # Group g is packed into the buffers of group g - 2. That one is certainly compared
        # once group g - 1 is packed: a phase can only wait for a count of blocks.
        free = packed
        for i in group:
            blocks = packing_blocks(shapes[i])
            schedule.append((kernels.PACK, layers[i], 0, blocks, free))
            done += blocks
        packed = done
        for i in group:
            schedule.append((kernels.COMPARE, layers[i], 0, tiles[i], packed))
            done += tiles[i]
        first += length
    return np.array(schedule, np.int64)


def _map_of(shape: Matrix, width: int) -> tuple[int, int, int, int, int]:
    """Say how many tiles an array has, how many rows and columns of cells, and of what shape."""
    (rows, columns), across = shape, kernels.TILE_PANELS * width
    height, length = _cell_size(rows, BLOCK_ROWS, MR), _cell_size(columns, across, 1)
    tiles = block_count(rows, BLOCK_ROWS) * block_count(columns, across)
    return tiles, block_count(rows, height), block_count(columns, length), height, length


def _cell_size(entries: int, tile: int, least: int) -> int:
    """Entries of one side of a cell: few enough cells, and a divisor of a tile's.

    A multiple of ``least``, or one where there are not so many entries.
    """
    if entries < least:
        return 1
    for size in range(least, tile, least):
        if tile % size == 0 and block_count(entries, size) <= MOST_CELLS:
            return size
    return tile
