"""The weight gradients of a batch, made tile by tile: compared with given ones, or written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.kernels.comparison import chunks as compare
from fastbp.kernels.comparison import summary_columns
from fastbp.kernels.comparison import tile_arrays as arrays
from fastbp.kernels.comparison import tiles as kernels
from fastbp.kernels.machine.borrowed_arrays import without_names
from fastbp.kernels.products.matmul import BLOCK_ROWS
from fastbp.network.checks.tile_plan import (
    CELL_COLUMNS,
    CELL_ROWS,
    MAP_COLUMNS,
    MAP_ROWS,
    TILES,
    Plan,
    packing_blocks,
    plan_of,
)
from fastbp.network.network import book_weight
from fastbp.network.sensitivities.error_bars import (
    DECAY_ROUNDINGS,
    MARGIN,
    UNDERFLOWS,
    LayerNorms,
    bars,
    norms,
    sum_growth,
)
from fastbp.network.sensitivities.number_range import smallest_of
from fastbp.network.sensitivities.sweeps import noise_of_levels
from fastbp.report.pictures.picture import CELLS_IN_ALL, MOST_CELLS, Picture
from fastbp.runtime.panels import aligned_zeros, block_count, to_panels, writable
from fastbp.runtime.threads import run_team

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastbp.network.sensitivities.hull import Hull
    from fastbp.network.sensitivities.sweeps import Sweeps
    from fastbp.verdict.tolerance import Tolerance

__all__ = ["Bars", "Compared", "Tiles"]

SAMPLED_PAIRS = 1000
EMPTY, NO_KINKS = np.empty(0), np.empty(0, np.bool_)
EMPTY_NARROW = np.empty(0, np.float32)


@dataclass(slots=True, eq=False)
class Bars:
    """Sizes and noise of every unit, norms over the batch: what error bars are made of.

    ``margin * ((s_noise_i + growth s_i) h_j + s_i h_noise_j)`` is the bar of entry i, j, with
    ``s_i = s_size_i + s_radius_i`` and ``h_j = h_size_j + margin * h_noise_j``.

    Attributes
    ----------
    s_sizes, s_noise, s_radii, bias_sums : float64, shape (units without inputs,)
        s_radii are norms of the hull's.
    h_sizes, h_noise : float64, shape (units,)
    """

    s_sizes: NDArray[np.float64]
    s_noise: NDArray[np.float64]
    s_radii: NDArray[np.float64]
    h_sizes: NDArray[np.float64]
    h_noise: NDArray[np.float64]
    bias_sums: NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Drawing:
    """What the pictures of some layers are made from.

    Attributes
    ----------
    layers : list of int
    maps : list of list of int
        Of each of them, as in `Plan`.
    cells : float64, shape (cells of all layers,)
        The largest error over what is allowed, by cells.
    kinks : bool, shape (cells of all layers,), or None
        Which hold an entry on a kink.
    samples : float64, shape (tiles * kept, SAMPLE_COLUMNS)
        Some entries of each tile.
    kept : int
        How many of each tile.
    """

    layers: list[int]
    maps: list[list[int]]
    cells: NDArray[np.float64]
    kinks: NDArray[np.bool_] | None
    samples: NDArray[np.float64]
    kept: int

    def pictures(self) -> dict[int, Picture]:
        """Make the pictures, by layers."""
        drawn = {}
        tile = cell = 0
        # Parts of what there is for all layers, unless that is more than a report keeps.
        together = self.cells.size <= CELLS_IN_ALL
        for k, own in zip(self.layers, self.maps, strict=True):
            tiles, cells = tile + own[TILES], cell + own[MAP_ROWS] * own[MAP_COLUMNS]
            samples = self.samples[tile * self.kept : tiles * self.kept]
            picture = self._picture(slice(cell, cells), own, samples)
            drawn[k] = picture if together else _copied(picture)
            tile, cell = tiles, cells
        return drawn

    def _picture(self, part: slice, own: list[int], samples: NDArray[np.float64]) -> Picture:
        """Join neighbouring cells until there are few enough."""
        shape = own[MAP_ROWS], own[MAP_COLUMNS]
        cell = own[CELL_ROWS], own[CELL_COLUMNS]
        cells, marked = self.cells[part].reshape(shape), None
        if self.kinks is not None and self.kinks[part].any():
            marked = self.kinks[part].reshape(shape)
        if max(shape) <= MOST_CELLS:
            return Picture(cells, cell, marked, samples)
        steps = [block_count(count, MOST_CELLS) for count in shape]
        for axis, step in enumerate(steps):
            if step > 1:
                starts = range(0, shape[axis], step)
                cells = np.maximum.reduceat(cells, starts, axis=axis)
                if marked is not None:
                    marked = np.logical_or.reduceat(marked, starts, axis=axis)
        return Picture(cells, (cell[0] * steps[0], cell[1] * steps[1]), marked, samples)


@dataclass(slots=True, eq=False)
class Compared:
    """What was found in the weight arrays of some layers.

    Attributes
    ----------
    layers : list of int
    summaries : float64, shape (tiles, SUMMARY_COLUMNS)
        Of every tile (``kernels/comparison/summary_columns.py`` names the columns).
    starts : list of int
        The first tile of each layer.
    drawing : Drawing
        The largest error over what is allowed, by cells, and some entries.
    """

    layers: list[int]
    summaries: NDArray[np.float64]
    starts: list[int]
    drawing: Drawing


class Tiles:
    """The product s h^T of a finished batch, one tile at a time.

    Parameters
    ----------
    sweeps : Sweeps
        With h, s and their noise.
    hull : Hull
        Its centres replace the sensitivities of the affected samples.
    roundoff : float
        u of the coarser of the two computations that are compared.
    tolerance : Tolerance
        What the user allows beyond the bars.
    """

    def __init__(
        self,
        sweeps: Sweeps,
        hull: Hull,
        *,
        roundoff: float,
        tolerance: Tolerance,
    ) -> None:
        self.sweeps, self.hull, self.tolerance = sweeps, hull, tolerance
        self.roundoff = roundoff
        self._net = sweeps.network
        self._transposed = self._net.shapes.transposed
        units, first = sum(self._net.sizes), self._net.sizes[0]
        self.growth = sum_growth(sweeps.batch)
        self.smallest = UNDERFLOWS * smallest_of(roundoff)
        self.bars = Bars(
            np.zeros(units - first),
            norms(sweeps.z_sizes),
            np.zeros(units - first),
            np.zeros(units),
            noise_of_levels(sweeps),
            np.zeros(units - first),
        )
        if hull.affected:
            for k, centre in enumerate(hull.centres):
                sweeps.replace_samples(k, hull.samples, centre)
            self.bars.s_radii[:] = np.concatenate([norms(radius.T) for radius in hull.radii])

    def compare(
        self, layers: list[int], flat: NDArray[Any], offsets: list[int], scales: list[float]
    ) -> Compared:
        """Compare the weight gradients of some layers.

        Parameters
        ----------
        layers : list of int
        flat : float64 or float32, shape (any,)
            The given gradients, each in C order from its offset on.
        offsets : list of int
        scales : list of float
            What makes the products of two entries of a layer fit a number.
        """
        return _Comparison(self, layers, flat, offsets, scales).run()

    def expand(self, k: int, rows: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        """Write out some rows of a weight array as it lies in memory, and their radii.

        Parameters
        ----------
        k : int
        rows : slice
            Beginning at a multiple of ``BLOCK_ROWS``, and so ending but at the last row.
        """
        shape = self._net.shapes.weights[k]
        values = np.empty((rows.stop - rows.start, shape[1]))
        radii = np.zeros(values.shape)
        plan = self._plan([k])
        packed = arrays.Packed(*aligned_zeros(plan.room))
        first, count = rows.start // BLOCK_ROWS, -(-values.shape[0] // BLOCK_ROWS)
        height = block_count(shape[0], BLOCK_ROWS)
        packing = packing_blocks(shape)
        schedule = [(kernels.PACK, k, 0, packing, 0)]
        schedule += [
            (kernels.EXPAND, k, column * height + first, count, packing)
            for column in range(block_count(shape[1], kernels.TILE_PANELS * self.sweeps.width))
        ]
        nothing = arrays.Collected(
            summaries=np.zeros((0, summary_columns.SUMMARY_COLUMNS)),
            cells=EMPTY,
            kinks=NO_KINKS,
            samples=np.zeros((0, compare.SAMPLE_COLUMNS)),
            scales=EMPTY,
            kept=0,
        )
        expanded = arrays.Expanded(
            values=values.reshape(-1), radii=radii.reshape(-1), first_row=rows.start
        )
        self._run(schedule, plan.table.copy(), packed, EMPTY, nothing, expanded, layers=[k])
        return values, radii

    def row_chunks(self, k: int, entries: int) -> Iterator[slice]:
        """Cut the rows of an array into chunks of about so many entries."""
        rows, columns = self._net.shapes.weights[k]
        step = max(1, entries // (columns * BLOCK_ROWS)) * BLOCK_ROWS
        for start in range(0, rows, step):
            yield slice(start, min(rows, start + step))

    def bar_entries(
        self, k: int, units: slice | NDArray[np.int64], inputs: slice | NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Error bars of some entries of layer k, units by inputs."""
        sizes, own = self._net.sizes, self.bars
        outputs = slice(sum(sizes[1 : k + 1]), sum(sizes[1 : k + 2]))
        level = slice(sum(sizes[:k]), sum(sizes[: k + 1]))
        layer = LayerNorms(
            own.s_sizes[outputs], own.s_noise[outputs], own.h_sizes[level], own.h_noise[level],
            self.sweeps.batch, self.roundoff, own.s_radii[outputs],
        )  # fmt: skip
        decay = self._net.objective.weight_decay
        if decay == 0.0:
            return bars(layer.terms(units, inputs), self.roundoff)
        weight = np.abs(book_weight(self._net, k)[units][:, inputs])
        return bars(layer.terms(units, inputs), self.roundoff, decay * weight)

    def bar_rows(self, k: int, rows: slice) -> NDArray[np.float64]:
        """Error bars of some rows of a weight array as it lies in memory."""
        everything = slice(None)
        if self._transposed:
            return np.ascontiguousarray(self.bar_entries(k, everything, rows).T)
        return self.bar_entries(k, rows, everything)

    def bias_bars(self) -> NDArray[np.float64]:
        """Error bars of all biases, layer after layer."""
        own = self.bars
        layers = LayerNorms(
            own.s_sizes, own.s_noise, EMPTY, EMPTY, self.sweeps.batch, self.roundoff, own.s_radii
        )
        return bars(layers.bias_terms(), self.roundoff)

    def bias_radii(self) -> NDArray[np.float64]:
        """Radii of the hull of all biases, layer after layer."""
        if not self.hull.affected:
            return np.zeros(self.bars.s_sizes.shape)
        return np.concatenate([radius.sum(axis=1) for radius in self.hull.radii])

    def _plan(self, layers: list[int]) -> Plan:
        sweeps = self.sweeps
        return plan_of(self._net.shapes.weights, tuple(layers), sweeps.batch, sweeps.width)

    def _radius_operands(self, layers: list[int], table: NDArray[np.int64]) -> arrays.Radius:
        """Pack the radii of the affected samples and the activations that they meet."""
        affected, width = self.hull.affected, self.sweeps.width
        if not affected:
            return arrays.Radius(left=EMPTY, right=EMPTY, affected=0)
        lefts, rights = [], []
        ends = [0, 0]
        for k in layers:
            s, h = self.hull.radii[k], np.abs(self.sweeps.level(self.sweeps.h, k))
            h = h[:, self.hull.samples]
            rows, columns = (h, s) if self._transposed else (s, h)
            lefts.append(rows.reshape(-1))
            rights.append(to_panels(columns.T, width).reshape(-1))
            table[k, compare.RADIUS_LEFT_AT], table[k, compare.RADIUS_RIGHT_AT] = ends
            ends = [ends[0] + lefts[-1].size, ends[1] + rights[-1].size]
        return arrays.Radius(
            left=np.concatenate(lefts), right=np.concatenate(rights), affected=affected
        )

    def _run(
        self,
        schedule: Sequence[tuple[int, ...]] | NDArray[np.int64],
        table: NDArray[np.int64],
        packed: arrays.Packed,
        given: NDArray[Any],
        collected: arrays.Collected,
        expanded: arrays.Expanded,
        *,
        layers: list[int],
    ) -> None:
        sweeps, net, bars = self.sweeps, self._net, self.bars
        decay = net.objective.weight_decay
        tables = arrays.Tables(
            product=arrays.Product(
                transposed=self._transposed,
                samples=sweeps.batch,
                pitch=sweeps.pitch,
                inputs=net.sizes[0],
                roundoff=float(np.finfo(np.float64).eps) / 2,
                margin=MARGIN * self.roundoff,
                growth=self.growth,
                decay=decay,
            ),
            tolerance=arrays.Tolerance(
                rtol=self.tolerance.rtol,
                atol=self.tolerance.atol,
                decay_bar=DECAY_ROUNDINGS * self.roundoff * decay,
                smallest=self.smallest,
            ),
            levels=arrays.Levels(h=sweeps.h, s=sweeps.s),
            packed=packed,
            sizes=arrays.UnitSizes(
                s_sizes=bars.s_sizes,
                h_sizes=bars.h_sizes,
                s_noise=bars.s_noise,
                s_radii=bars.s_radii,
                h_noise=bars.h_noise,
                bias_sums=bars.bias_sums,
            ),
            radius=self._radius_operands(layers, table),
            collected=collected,
            expanded=expanded,
        )
        # One kernel for both types of gradients: compiling takes longer than most checks.
        wide, narrow = (EMPTY, given) if given.dtype == np.float32 else (given, EMPTY_NARROW)
        arguments = (
            np.array(schedule, np.int64), sweeps.layers, table, sweeps.keys,
            writable(net.parameters), wide, narrow, without_names(tables),
        )  # fmt: skip
        weights = int(np.prod([net.shapes.weights[k] for k in layers], axis=1).sum())
        run_team(kernels.tiles, arguments, (2.0 * sweeps.batch + 16.0) * weights)


class _Comparison:
    """One comparison: its schedule, its table of places, and what is collected."""

    def __init__(
        self,
        tiles: Tiles,
        layers: list[int],
        flat: NDArray[Any],
        offsets: list[int],
        scales: list[float],
    ) -> None:
        self.tiles, self.layers, self.flat = tiles, layers, writable(flat)
        self.plan = tiles._plan(layers)
        self.table = self.plan.table.copy()
        self.table[layers, compare.GIVEN_AT] = offsets
        self.packed = arrays.Packed(*aligned_zeros(self.plan.room))
        end = self.plan.tiles
        self.kept = max(1, SAMPLED_PAIRS // end)
        table = np.zeros((end, summary_columns.SUMMARY_COLUMNS))
        table[:, summary_columns.WORST_RATIO] = -1.0  # of no entry yet
        tile_scales = np.repeat(scales, self.plan.maps[:, TILES])
        self.collected = arrays.Collected(
            summaries=table,
            cells=np.zeros(self.plan.cells),
            kinks=np.zeros(self.plan.cells, np.bool_) if tiles.hull.affected else NO_KINKS,
            samples=np.zeros((end * self.kept, compare.SAMPLE_COLUMNS)),
            scales=tile_scales,
            kept=self.kept,
        )

    def run(self) -> Compared:
        """Compare, and return what was found."""
        self.tiles._run(
            self.plan.schedule, self.table, self.packed, self.flat, self.collected,
            arrays.Expanded(values=EMPTY, radii=EMPTY, first_row=0), layers=self.layers,
        )  # fmt: skip
        found = self.collected
        kinks = found.kinks if found.kinks.any() else None
        drawing = Drawing(
            self.layers, self.plan.maps.tolist(), found.cells, kinks, found.samples, found.kept
        )
        return Compared(self.layers, found.summaries, self.plan.starts, drawing)


def _copied(picture: Picture) -> Picture:
    """Copy a picture, since a part of all cells keeps all of them."""
    kinks = None if picture.kinks is None else picture.kinks.copy()
    return Picture(picture.ratios.copy(), picture.cell, kinks, picture.samples.copy())
