"""Every parameter perturbed, and the two real losses beside it."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp.errors import OptionError
from fastbp.kernels.layer_table import INPUTS
from fastbp.kernels.perturbation import perturbed_network as kernels
from fastbp.kernels.products.matmul import BLOCK_ROWS, DEPTH
from fastbp.kernels.simd.vectors import MR, panel_width
from fastbp.network.differences.unit_entries import (
    UnitEntries,
    UnitRange,
    all_entries,
    all_operations,
    chosen_entries,
    entries_of_ranges,
    grouped_by_unit,
    unit_ranges,
)
from fastbp.network.differences.unperturbed import Unperturbed
from fastbp.network.losses import CustomLoss
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.panels import block_count
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
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from fastbp.runtime.workers.task import Task

CHUNK_PANELS = 8  # columns that go through the layers together: 8 panels share a strip of A


# Estimated operations of one kernel call, some 10 to 50 ms: Ctrl-C and the progress bar never
# wait long, and the 100 us that Python takes between two calls do not show.
OPERATIONS_PER_CALL = 2e8
UNITS_PER_THREAD = 4  # at least, in one call: threads share it by units
NO_OUTPUTS = np.empty((0, 0, 0, 0))  # a loss that kernels know needs no perturbed outputs kept
CUSTOM_BYTES_PER_CALL = 2**24  # of perturbed outputs kept for a custom loss


class Options(NamedTuple):
    """How entries are replayed."""

    scheme: str
    delta: float
    panels: int  # of columns that go through the layers together
    keeps_moved: bool  # whether it is wanted how far the losses move
    alone: bool  # whether a call keeps to one thread


class ReplayedPart(NamedTuple):
    """Some entries, replayed."""

    places: Indices  # (E,): in the parameter vector
    quotients: Floats  # (E,)
    kinks: Mask  # (E,)
    moved: Floats | None  # (2, E), as `replay` says
    largest: float


def _realised_steps(values: Floats, scheme: str, delta: float) -> Floats:
    """(theta + delta) - theta and, for central differences, (theta - delta) - theta."""
    plus = values + delta
    plus -= values
    if scheme == "forward":
        return plus.reshape(1, -1)
    minus = values - delta
    minus -= values
    return np.stack((plus, minus))


def _require_moving_steps(base: Unperturbed, places: Indices, steps: Floats) -> None:
    if not steps.all():
        place = int(places[np.argmax((steps == 0.0).any(axis=0))])
        raise OptionError(
            f"delta must change every parameter, but {base.network.shapes.entry_name(place)} = "
            f"{float(base.parameters[place])} stays the same when it is added."
        )


@lru_cache
def _operations_per_entry(sizes: tuple[int, ...], batch: int, signs: int) -> tuple[float, ...]:
    """Of each layer: about half of the samples go through the layers above, and their losses."""
    costs = []
    for k in range(len(sizes) - 1):
        above = sum(2.0 * sizes[m] * sizes[m + 1] for m in range(k + 2, len(sizes) - 1))
        rank_one = 8.0 * sizes[min(k + 2, len(sizes) - 1)]
        costs.append(signs * batch * (0.5 * (above + rank_one) + 10.0 * sizes[-1] + 10.0))
    return tuple(costs)


@lru_cache
def _chunk_panels(sizes: tuple[int, ...], batch: int, threads: int, max_memory: int) -> int:
    """Choose how many panels of columns go together so that all threads stay within bounds."""
    largest, above = max(sizes[1:]), sum(sizes[1:])
    width = panel_width(np.empty(0))
    strips = block_count(min(BLOCK_ROWS, largest), MR) * MR * min(DEPTH, largest)
    pitch = min(kernels.SAMPLE_BLOCK, batch) + width
    fixed = strips + pitch * (above + sizes[-1] + 2) + 2 * largest + width
    panels = CHUNK_PANELS
    while True:
        needed = threads * 8 * (fixed + panels * width * (2 * largest + 2))
        if needed <= max_memory:
            return panels
        if panels == 1:
            raise OptionError(
                f"max_memory must be at least {needed} bytes for this network, not {max_memory}."
            )
        panels //= 2


def _custom_totals(base: Unperturbed, loss: CustomLoss, perturbed: Floats) -> Floats:
    """Call a custom loss once for every perturbed network."""
    totals = np.empty(perturbed.shape[:2])
    for place in np.ndindex(totals.shape):
        totals[place] = base.data.custom_value(loss, perturbed[place])
    return totals


def _replay_chunk(
    base: Unperturbed,
    group: UnitEntries,
    steps: Floats,
    options: Options,
    operations: float,
) -> tuple[Floats, Floats, Mask]:
    """Replay a chunk of entries.

    Returns
    -------
    totals : float64, shape (signs, entries)
        Summed losses of the perturbed networks.
    unmoved : float64, shape (units,)
        Those of the unperturbed one, added in the same order, so that no change is exactly 0.
    flagged : bool, shape (entries,)
    """
    net, objective = base.network, base.network.objective
    totals, unmoved = np.zeros(steps.shape), np.zeros(len(group.units))
    flagged = np.zeros(group.columns.size, np.bool_)
    perturbed = NO_OUTPUTS
    if objective.custom is not None:
        output = base.output
        perturbed = np.broadcast_to(output, (*steps.shape, *output.shape)).copy()
    targets, target_row, target_column, labels = base.targets
    arguments = (
        net.shapes.layers, net.shapes.transposed, net.relu_at_zero, objective.code, base.batch,
        base.parameters, base.levels, base.losses, targets, target_row, target_column, labels,
        group.units, group.starts, group.columns, steps, options.panels, perturbed, totals,
        unmoved, flagged,
    )  # fmt: skip
    run_team(kernels.replay, arguments, operations, alone=options.alone)
    if objective.custom is not None:
        totals = _custom_totals(base, objective.custom, perturbed)
        unmoved = np.full(unmoved.shape, base.total)
    return totals, unmoved, flagged


def _decayed(
    base: Unperturbed,
    group: UnitEntries,
    values: Floats,
    steps: Floats,
    losses: Floats,
) -> Floats:
    """Add the weight decay of each perturbed network to its loss."""
    decay = base.network.objective.weight_decay
    if decay == 0.0:
        return losses
    inputs = base.network.shapes.layers[:, INPUTS][np.repeat(group.units[:, 0], group.counts)]
    is_weight = group.columns < inputs
    with np.errstate(over="ignore", invalid="ignore"):  # infinity, as the loss
        change = 0.5 * decay * steps * (2.0 * values + steps)
        return losses + (base.decay_term + np.where(is_weight, change, 0.0))


def replay(
    base: Unperturbed,
    entries: Indices | None,
    *,
    scheme: str,
    delta: float,
    max_memory: int,
    progress: bool | None,
    moved: Floats | None = None,
    pool: WorkerPool | None = None,
) -> tuple[Floats, Mask, float]:
    """Replay some entries of the parameter vector, or all.

    Parameters
    ----------
    base : Unperturbed
    entries : int64, shape (E,), or None
        Places in ``network.parameters``, each once; None for all.
    scheme : {"central", "forward"}
    delta : float
    max_memory : int
        Bytes of scratch for all threads.
    progress : bool or None
    moved : float64, shape (2, P), optional
        At the places of the entries it gets how far their steps move the sum of the losses,
        before reduction and scale; and how far the mean of both signs does: how much it bends.
    pool : WorkerPool, optional
        Workers that have a `ReplayJob` of this network.

    Returns
    -------
    quotients : float64, shape (E,)
    kinks : bool, shape (E,)
        Along whose step a mask changes.
    largest : float
        The largest sum of losses that was seen.
    """
    net = base.network
    costs = _operations_per_entry(net.sizes, base.batch, 2 if scheme == "central" else 1)
    threads = get_num_threads() if pool is None else pool.concurrency * pool.threads
    options = Options(
        scheme, delta, _chunk_panels(net.sizes, base.batch, threads, max_memory),
        moved is not None, pool is not None and pool.threads == 1,
    )  # fmt: skip
    count = net.parameters.size
    result, kinks = np.empty(count), np.zeros(count, np.bool_)
    largest = 0.0
    size = count if entries is None else entries.size
    if progress is None and size * max(costs) <= OPERATIONS_PER_CALL:
        progress = False  # one call of some milliseconds: no bar would show
    custom = net.objective.custom is not None
    if pool is None or (not custom and size * max(costs) <= OPERATIONS_WORTH_SENDING):
        parts = _parts_here(base, entries, costs, options._replace(alone=False), max_memory)
    else:
        parts = _parts_elsewhere(base, entries, costs, options, max_memory, pool)
    with progress_bar(progress, size, "replay") as advance, contextlib.closing(parts):
        for part in parts:
            result[part.places], kinks[part.places] = part.quotients, part.kinks
            largest = max(largest, part.largest)
            if moved is not None:
                moved[:, part.places] = part.moved
            advance(part.places.size)
    if entries is None:
        return result, kinks, largest
    return result[entries], kinks[entries], largest


def _parts_here(
    base: Unperturbed,
    entries: Indices | None,
    costs: tuple[float, ...],
    options: Options,
    max_memory: int,
) -> Generator[ReplayedPart, None, None]:
    """Replay entries chunk by chunk, each by all threads."""
    net = base.network
    if net.objective.custom is not None and entries is None:
        entries = np.arange(net.parameters.size)
    groups = (
        all_entries(net, costs, OPERATIONS_PER_CALL, UNITS_PER_THREAD * get_num_threads())
        if entries is None
        else chosen_entries(
            net, entries, costs, _most_entries(base, max(costs), OPERATIONS_PER_CALL, max_memory)
        )
    )
    for group, operations in groups:
        yield _replay_part(base, group, options, operations)


def _parts_elsewhere(
    base: Unperturbed,
    entries: Indices | None,
    costs: tuple[float, ...],
    options: Options,
    max_memory: int,
    pool: WorkerPool,
) -> Generator[ReplayedPart, None, None]:
    """Let workers replay entries, as they get done: tasks name their units, or places."""
    net, crew = base.network, pool.concurrency
    together = all_operations(net.sizes, costs) if entries is None else entries.size * max(costs)
    budget = pool.operations_per_task(together)
    tasks: list[Task]
    first: list[int]
    if entries is None and net.objective.custom is None:
        ranges = [
            units for units, _ in unit_ranges(net, costs, budget, UNITS_PER_THREAD * pool.threads)
        ]
        tasks = [("units", (units, costs, options)) for units in ranges]
        first = [int(entries_of_ranges(net, [units[0]]).places[0]) for units in ranges]
    else:
        places = np.arange(net.parameters.size) if entries is None else entries
        most = _most_entries(base, max(costs), budget, max_memory // crew)
        cut = [places[start : start + most] for start in range(0, places.size, most)]
        tasks = [("entries", (some, costs, options)) for some in cut]
        first = [int(some[0]) for some in cut]

    def describe(task: int) -> str:
        return f"with {net.shapes.entry_name(first[task])} and others changed"

    with contextlib.closing(pool.results(tasks, None, describe)) as results:
        for _, part in results:
            yield part


def replay_pool(
    base: Unperturbed, workers: Workers | None
) -> AbstractContextManager[WorkerPool | None]:
    """Open a pool of workers for `replay`; None where there are none."""
    net = base.network
    parts: dict[str, object] = {"the loss": net.objective.custom, "net": net}
    return pool_of(workers, "the replay", ReplayJob(base), parts)


class ReplayJob:
    """A network beside which workers replay entries.

    Parameters
    ----------
    base : Unperturbed
    """

    def __init__(self, base: Unperturbed) -> None:
        self.base = base

    def of_a_thread(self) -> ReplayJob:
        """Return itself: nothing in it is changed."""
        return self

    @own_errstate
    def units(
        self, ranges: list[UnitRange], costs: tuple[float, ...], options: Options
    ) -> ReplayedPart:
        """Replay all entries of some units."""
        group = entries_of_ranges(self.base.network, ranges)
        return _replay_part(self.base, group, options, group.operations(costs))

    @own_errstate
    def entries(self, places: Indices, costs: tuple[float, ...], options: Options) -> ReplayedPart:
        """Replay the entries at some places."""
        group = grouped_by_unit(self.base.network, places)
        return _replay_part(self.base, group, options, group.operations(costs))


def _replay_part(
    base: Unperturbed, group: UnitEntries, options: Options, operations: float
) -> ReplayedPart:
    """Replay the entries of one call of the kernel, and take their quotients."""
    scheme, values = options.scheme, base.parameters[group.places]
    steps = _realised_steps(values, scheme, options.delta)
    _require_moving_steps(base, group.places, steps)
    totals, unmoved, flagged = _replay_chunk(base, group, steps, options, operations)
    largest = float(totals.max())
    moved = None
    if options.keeps_moved:
        with np.errstate(invalid="ignore", over="ignore"):
            change = totals - np.repeat(unmoved, group.counts)
            moved = np.stack((np.abs(change).max(axis=0), np.abs(change.mean(axis=0))))
    losses = _decayed(base, group, values, steps, totals * base.factor)
    if scheme == "forward":
        unmoved = unmoved * base.factor + base.decay_term
        losses = np.stack([losses[0], np.repeat(unmoved, group.counts)])
        steps = np.stack([steps[0], np.zeros(steps.shape[1])])
    with np.errstate(invalid="ignore"):  # of infinite losses: NaN says it is no number
        quotients = (losses[0] - losses[1]) / (steps[0] - steps[1])
    return ReplayedPart(group.places, quotients, flagged, moved, largest)


def _most_entries(base: Unperturbed, operations: float, budget: float, max_memory: int) -> int:
    """Entries of one call: as many as keep it short, and a custom loss's outputs small."""
    most = max(1, int(budget / operations))
    if base.network.objective.custom is not None:
        room = min(max_memory, CUSTOM_BYTES_PER_CALL) // 2  # the outputs, and a copy of one
        most = max(1, min(most, room // (16 * base.output.size)))
    return most
