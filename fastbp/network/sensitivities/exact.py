"""Sensitivities dL/df of every unit and sample, by exact differences."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fastbp.errors import OptionError
from fastbp.kernels.layer_table import OUTPUTS, UNITS_OUT
from fastbp.kernels.perturbation.propagated_differences import exact
from fastbp.kernels.products.matmul import BLOCK_ROWS, DEPTH
from fastbp.kernels.simd.vectors import MR
from fastbp.network.batch import Batch
from fastbp.network.network import Network
from fastbp.network.passes import Passes
from fastbp.network.sensitivities.loss_slopes import loss_slopes
from fastbp.network.sensitivities.sweeps import Sweeps, riding_bytes
from fastbp.network.sensitivities.weight_gradients import PANEL_WIDTH, add_decay, write_products
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.panels import block_count, from_panels, to_panels, writable
from fastbp.runtime.progress import progress_bar
from fastbp.runtime.threads import get_num_threads, run_team
from fastbp.runtime.workers.worker_pool import (
    OPERATIONS_WORTH_SENDING,
    WorkerPool,
    Workers,
    pool_of,
)
from fastbp.typing import Floats, Indices, Mask

if TYPE_CHECKING:
    from fastbp.runtime.workers.task import Task

STRIPS = int(BLOCK_ROWS * (DEPTH + 1))
# Panels of columns that go up together: 24 x 256 rows of them are 768 KB, most of an L2 cache, and
# gathering a strip of W costs 7 % of the 24 products in which it is used.
PANELS = 24
BLOCKS_PER_THREAD = 4  # at least, where there are so many columns: the last ones end together
# Operations of one kernel call, some tenths of a second: then the progress bar moves.
OPERATIONS_PER_CALL = 2e10


@dataclass(slots=True, eq=False)
class Sensitivities:
    """What every unit passes on in every sample, and how the loss answers to it.

    Attributes
    ----------
    network : Network
        In float64.
    x : float64, shape (n_in, batch)
    batch, width, pitch : int
        Samples, lanes of a panel, lanes of all panels.
    activations : float64
        All levels in panels [panel, unit, lane]; an inactive unit is -0.0, one with f exactly 0
        is +0.0.
    flat : float64
        s[k] = dL/df[k] likewise, without the inputs: layer k begins at
        (UNITS_OUT[k] - UNITS_OUT[0]) * pitch.  The lanes that no sample fills are 0.
    """

    network: Network
    x: Floats
    batch: int
    width: int
    pitch: int
    activations: Floats
    flat: Floats

    def of_layer(self, k: int) -> Floats:
        """Copy s[k] out of its panels: (units, batch)."""
        return self._by_unit(self.flat, k, self.network.sizes[0])

    def into_layer(self, k: int) -> Floats:
        """Copy h[k], what feeds layer k, out of its panels: (units, batch)."""
        return self.x if k == 0 else self._by_unit(self.activations, k - 1, 0)

    def _by_unit(self, panels: Floats, k: int, left_out: int) -> Floats:
        """Copy layer k out of its panels, where so many units before are left out."""
        units = self.network.sizes[k + 1]
        first = int(self.network.shapes.layers[k, UNITS_OUT]) - left_out
        part = panels[first * self.pitch : (first + units) * self.pitch]
        return from_panels(part.reshape(-1, units, self.width), self.batch)

    def at_kinks(
        self,
        samples: Indices,
        doubts: list[Mask],
        up: float,
        down: float,
        max_memory: int,
    ) -> list[Floats]:
        """Take one side where masks are in doubt, for some samples.

        Parameters
        ----------
        samples : int64, shape (A,)
        doubts : list of bool, shape (units, A), for each hidden layer
        up, down : float
            The weights of steps up and down, as in ``propagated_differences``.
        max_memory : int

        Returns
        -------
        list of float64, shape (units, A)
            s of each layer.
        """
        net, last = self.network, len(self.network.weights) - 1
        levels = [self.x[:, samples]]
        for k, doubt in enumerate(doubts):
            levels.append(np.where(doubt, 0.0, self.into_layer(k + 1)[:, samples]))
        slopes = self.of_layer(last)[:, samples]
        levels.append(slopes)
        width = min(self.width, max(1, samples.size))
        pitch = block_count(samples.size, width) * width
        activations = np.concatenate([to_panels(level, width).reshape(-1) for level in levels])
        flat = np.empty(activations.size - net.sizes[0] * pitch)
        _put_slopes(flat, slopes, width)
        side = Sensitivities(net, levels[0], samples.size, width, pitch, activations, flat)
        _propagate(side, (up, down), max_memory, False)
        return [side.of_layer(k) for k in range(last + 1)]


def _put_slopes(flat: Floats, slopes: Floats, width: int) -> None:
    """Put s of the outputs, (n_out, batch), at the end of all panels of s, and 0 elsewhere."""
    panels = to_panels(slopes, width).reshape(-1)
    flat[: -panels.size] = 0.0
    flat[-panels.size :] = panels


def exact_sensitivities(
    net: Network,
    batch: Batch,
    *,
    max_memory: int,
    progress: bool | None,
    workers: Workers | None = None,
) -> Sensitivities:
    """Difference the loss by every unit in every sample.

    Parameters
    ----------
    net : Network
        In float64.
    batch : Batch
        Finite, floats in float64.
    max_memory : int
        Bytes of scratch for all threads; they change no bit of the result.
    progress : bool or None
    workers : int, concurrent.futures.Executor or callable, optional
        As in `finite_differences`.
    """
    work = Passes(net.shapes, net.objective, net.relu_at_zero, batch)
    work.forward(net.parameters, batch)
    slopes = loss_slopes(net.objective, work.output(), batch) * work.factor
    flat = np.empty(work.activations.size - net.sizes[0] * work.pitch)
    _put_slopes(flat, slopes, work.width)
    result = Sensitivities(
        net, batch.by_unit(batch.x), batch.size, work.width, work.pitch, work.activations, flat
    )
    _propagate(result, (net.relu_at_zero, net.relu_at_zero), max_memory, progress, workers)
    return result


def replace_sensitivities(
    sweeps: Sweeps, *, max_memory: int, progress: bool | None, workers: Workers | None = None
) -> None:
    """Put differences in place of the sensitivities that finished sweeps hold.

    A unit whose f is exactly 0 counts as off, as in the sweeps: the hull judges it.
    """
    net, batch = sweeps.network, sweeps.data
    require_enough_memory(net.sizes, batch.size, max_memory)
    output = sweeps.level(sweeps.h, sweeps.count)
    _put_slopes(sweeps.s, loss_slopes(net.objective, output, batch) * sweeps.factor, sweeps.width)
    levels = Sensitivities(
        net, batch.by_unit(batch.x), batch.size, sweeps.width, sweeps.pitch, sweeps.h, sweeps.s
    )
    _propagate(levels, (0.0, 0.0), max_memory, progress, workers)


def _count_active(levels: Sensitivities, zeros_change: bool) -> Indices:
    """Count the units that can change: shape (hidden layers, batch)."""
    layers = levels.network.shapes.layers
    counts = np.empty((len(layers) - 1, levels.batch), np.int64)
    for k in range(len(layers) - 1):
        first, units = int(layers[k, UNITS_OUT]), int(layers[k, OUTPUTS])
        part = levels.activations[first * levels.pitch : (first + units) * levels.pitch]
        panels = part.reshape(-1, units, levels.width)
        able = ~(panels <= 0.0)
        if zeros_change:
            able |= (panels == 0.0) & ~np.signbit(panels)
        counts[k] = np.count_nonzero(able, axis=1).reshape(-1)[: levels.batch]
    return counts


def _bytes_of_products(sizes: tuple[int, ...], batch: int) -> int:
    """Scratch for the slopes of the loss, and for s[k], h[k] and their packed product."""
    products = max(m + n + max(m, n) + PANEL_WIDTH for m, n in pairwise(sizes))
    slopes = 6 * sizes[-1]
    return 8 * batch * max(slopes, products)


def _bytes_of_columns(sizes: tuple[int, ...], largest: int, panels: int) -> int:
    """Scratch of one thread for so many panels of columns, at most ``largest`` units active."""
    lists = 2 * sum(sizes[1:]) + len(sizes)
    lines = PANEL_WIDTH * (largest + int(MR) + panels + 1)
    return 8 * (lists + STRIPS + lines + panels * PANEL_WIDTH * (2 * largest + 1))


def require_enough_memory(sizes: tuple[int, ...], batch: int, max_memory: int) -> None:
    """Refuse memory too small for a panel of columns in each thread, or for what comes after.

    Raises
    ------
    OptionError
    """
    one_panel = _bytes_of_columns(sizes, max(1, *sizes[1:]), 1) * get_num_threads()
    least = max(one_panel, _bytes_of_products(sizes, batch), riding_bytes(sizes, batch, 0))
    if least > max_memory:
        raise OptionError(
            f"max_memory must be at least {least} bytes for this network, not {max_memory}."
        )


def _block_size(network: Network, counts: Indices, max_memory: int, threads: int) -> int:
    """Choose how many columns go up together so that all threads stay within bounds."""
    largest = int(counts.max(initial=1))
    most = block_count(int(counts.sum(axis=0).max(initial=1)), PANEL_WIDTH)
    shared = int(counts.sum()) // (PANEL_WIDTH * BLOCKS_PER_THREAD * threads)
    panels = max(1, min(PANELS, most, shared))
    while panels > 1:
        if threads * _bytes_of_columns(network.sizes, largest, panels) <= max_memory:
            break
        panels //= 2
    return panels * PANEL_WIDTH


def _plan_blocks(counts: Indices, outputs: int, size: int) -> tuple[Indices, Floats, Indices]:
    """Cut every sample's columns into blocks, those with most work first.

    Returns
    -------
    blocks : int64, shape (B, 2)
        Sample and first column.
    operations : float64, shape (B,)
    columns : int64, shape (B,)
    """
    totals = counts.sum(axis=0)
    per_sample = -(-totals // size)
    samples = np.repeat(np.arange(totals.size), per_sample)
    ordinal = np.arange(samples.size) - np.repeat(np.cumsum(per_sample) - per_sample, per_sample)
    first = ordinal * size
    columns = np.minimum(size, totals[samples] - first)
    above = np.vstack([counts[1:], np.full(totals.size, outputs)])
    products = 2.0 * (counts * above)
    operations = np.zeros(samples.size)
    ends = np.zeros(totals.size, np.int64)
    for k in range(len(counts)):  # a block passes the layers above its first column
        ends += counts[k]
        operations += np.where(first < ends[samples], products[k][samples], 0.0) * columns
    order = np.argsort(-operations, kind="stable")
    blocks = np.stack([samples, first], axis=1)[order]
    return np.ascontiguousarray(blocks), operations[order], columns[order]


def _propagate(
    levels: Sensitivities,
    at_zero: tuple[float, float],
    max_memory: int,
    progress: bool | None,
    workers: Workers | None = None,
) -> None:
    """Fill in s of the hidden layers, a few calls of the kernel after each other."""
    counts = _count_active(levels, any(at_zero))
    outputs, largest = levels.network.sizes[-1], int(counts.max(initial=1))
    job = ExactJob(levels, at_zero, largest)
    if workers is not None and _all_operations(counts, outputs) > OPERATIONS_WORTH_SENDING:
        with pool_of(workers, "exact differences", job, {"net": levels.network}) as pool:
            assert pool is not None
            threads = pool.concurrency * pool.threads
            size = _block_size(levels.network, counts, max_memory, threads)
            plan = _plan_blocks(counts, outputs, size)
            _propagate_elsewhere(levels, plan, size, progress, pool)
        return
    size = _block_size(levels.network, counts, max_memory, get_num_threads())
    blocks, operations, columns = _plan_blocks(counts, outputs, size)
    if progress is None and operations.sum() <= OPERATIONS_PER_CALL:
        progress = False  # one call: no bar would show
    with progress_bar(progress, int(columns.sum()), "exact") as advance:
        for first, last in pairwise(_cuts(operations, OPERATIONS_PER_CALL)):
            job.run(blocks[first:last], size, float(operations[first:last].sum()))
            advance(int(columns[first:last].sum()))


def _propagate_elsewhere(
    levels: Sensitivities,
    plan: tuple[Indices, Floats, Indices],
    size: int,
    progress: bool | None,
    pool: WorkerPool,
) -> None:
    """Let workers compute some blocks each, and put s where it belongs as they get done."""
    blocks, operations, columns = plan
    budget = pool.operations_per_task(float(operations.sum()))
    parts = list(pairwise(_cuts(operations, budget)))
    alone = pool.threads == 1
    tasks: list[Task] = [
        ("sensitivities", (blocks[first:last], size, float(operations[first:last].sum()), alone))
        for first, last in parts
    ]

    def describe(task: int) -> str:
        return f"in sample {int(blocks[parts[task][0], 0])} and others"

    with (
        progress_bar(progress, int(columns.sum()), "exact") as advance,
        contextlib.closing(pool.results(tasks, None, describe)) as results,
    ):
        for task, (places, values) in results:
            levels.flat[places] = values
            advance(int(columns[slice(*parts[task])].sum()))


class ExactJob:
    """What the kernel reads and writes, in this process or in a worker.

    Parameters
    ----------
    levels : Sensitivities
    at_zero : (float, float)
        Weights of steps up and down where f is exactly 0.
    largest : int
        The most active units of a hidden layer in any sample.
    """

    def __init__(self, levels: Sensitivities, at_zero: tuple[float, float], largest: int) -> None:
        shapes = levels.network.shapes
        self.layers, self.transposed, self.largest = shapes.layers, shapes.transposed, largest
        self.at_zero, self.parameters = np.array(at_zero), writable(levels.network.parameters)
        self.width, self.pitch = levels.width, levels.pitch
        self.activations, self.flat = levels.activations, levels.flat

    def of_a_thread(self) -> ExactJob:
        """Return itself: every block has places of its own in ``flat``."""
        return self

    def run(self, blocks: Indices, size: int, operations: float, alone: bool = False) -> None:
        """Compute some blocks of columns."""
        arguments = (
            blocks, size, self.largest, self.layers, self.transposed, self.at_zero, self.width,
            self.pitch, self.parameters, self.activations, self.flat,
        )  # fmt: skip
        run_team(exact, arguments, operations, alone=alone)

    @own_errstate
    def sensitivities(
        self, blocks: Indices, size: int, operations: float, alone: bool
    ) -> tuple[Indices, Floats]:
        """Compute some blocks of columns, and return their places in ``flat`` and their s."""
        self.run(blocks, size, operations, alone)
        places = np.concatenate(
            [self._places(sample, first, size) for sample, first in blocks.tolist()]
        )
        return places, self.flat[places]

    def _places(self, sample: int, first: int, size: int) -> Indices:
        """Find the active units that are the columns first..first + size of a sample."""
        panel, lane = divmod(sample, self.width)
        places = []
        for layer in self.layers[:-1]:
            at, units = int(layer[UNITS_OUT]) * self.pitch, int(layer[OUTPUTS])
            start = at + panel * units * self.width + lane
            h = self.activations[start : start + units * self.width : self.width]
            able = ~(h <= 0.0)
            if self.at_zero.any():
                able |= (h == 0.0) & ~np.signbit(h)
            before = int(self.layers[0, UNITS_OUT]) * self.pitch
            places.append(start - before + np.flatnonzero(able) * self.width)
        found: Indices = np.concatenate(places)[first : first + size]
        return found


def _all_operations(counts: Indices, outputs: int) -> float:
    """Estimate the operations of all columns, each of which passes the layers above its own."""
    above = np.vstack([counts[1:], np.full(counts.shape[1], outputs)])
    begun = np.cumsum(counts, axis=0)
    return float((2.0 * begun * counts * above).sum())


def _cuts(operations: Floats, budget: float) -> list[int]:
    """Where to cut the blocks into calls of about so much work, both ends included."""
    if operations.size == 0:
        return []
    call = np.cumsum(operations) // budget
    return [0, *(np.flatnonzero(np.diff(call)) + 1).tolist(), operations.size]


def gradient_of(sensitivities: Sensitivities) -> Floats:
    """Multiply out what each unit answers and what feeds it: dL/dW[k] = s[k] h[k]^T.

    Returns
    -------
    float64, shape (parameters,)
        With the weight decay: of the whole objective.
    """
    net = sensitivities.network
    flat = np.empty(net.parameters.size)
    for k in range(len(net.weights)):
        s, h = sensitivities.of_layer(k), sensitivities.into_layer(k)
        write_products(net.shapes, k, s, h, flat)
    add_decay(net, flat)
    return flat
