"""Every parameter perturbed, and the two real losses beside it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fastbp.errors import OptionError
from fastbp.kernels.layer_table import INPUTS
from fastbp.kernels.perturbation import perturbed_network as kernels
from fastbp.kernels.products.matmul import BLOCK_ROWS, DEPTH
from fastbp.kernels.simd.vectors import MR, panel_width
from fastbp.network.differences.unit_entries import UnitEntries, all_entries, chosen_entries
from fastbp.network.differences.unperturbed import Unperturbed
from fastbp.network.losses import CustomLoss
from fastbp.runtime.panels import block_count
from fastbp.runtime.progress import progress_bar
from fastbp.runtime.threads import get_num_threads, run_team
from fastbp.typing import Floats, Indices, Mask

CHUNK_PANELS = 8  # columns that go through the layers together: 8 panels share a strip of A


# Estimated operations of one kernel call, some 10 to 50 ms: Ctrl-C and the progress bar never
# wait long, and the 100 us that Python takes between two calls do not show.
OPERATIONS_PER_CALL = 2e8
UNITS_PER_THREAD = 4  # at least, in one call: threads share it by units
NO_OUTPUTS = np.empty((0, 0, 0, 0))  # a loss that kernels know needs no perturbed outputs kept
CUSTOM_BYTES_PER_CALL = 2**24  # of perturbed outputs kept for a custom loss


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
    panels: int,
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
        group.units, group.starts, group.columns, steps, panels, perturbed, totals, unmoved,
        flagged,
    )  # fmt: skip
    run_team(kernels.replay, arguments, operations)
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
    panels = _chunk_panels(net.sizes, base.batch, get_num_threads(), max_memory)
    if net.objective.custom is not None and entries is None:
        entries = np.arange(net.parameters.size)
    groups = (
        all_entries(net, costs, OPERATIONS_PER_CALL, UNITS_PER_THREAD * get_num_threads())
        if entries is None
        else chosen_entries(net, entries, costs, _most_entries(base, max(costs), max_memory))
    )
    count = net.parameters.size
    result, kinks = np.empty(count), np.zeros(count, np.bool_)
    largest = 0.0
    size = count if entries is None else entries.size
    if progress is None and size * max(costs) <= OPERATIONS_PER_CALL:
        progress = False  # one call of some milliseconds: no bar would show
    with progress_bar(progress, size, "replay") as advance:
        for group, operations in groups:
            values = base.parameters[group.places]
            steps = _realised_steps(values, scheme, delta)
            _require_moving_steps(base, group.places, steps)
            totals, unmoved, flagged = _replay_chunk(base, group, steps, panels, operations)
            largest = max(largest, float(totals.max()))
            if moved is not None:
                with np.errstate(invalid="ignore", over="ignore"):
                    change = totals - np.repeat(unmoved, group.counts)
                    moved[0, group.places] = np.abs(change).max(axis=0)
                    moved[1, group.places] = np.abs(change.mean(axis=0))
            losses = _decayed(base, group, values, steps, totals * base.factor)
            if scheme == "forward":
                unmoved = unmoved * base.factor + base.decay_term
                losses = np.stack([losses[0], np.repeat(unmoved, group.counts)])
                steps = np.stack([steps[0], np.zeros(steps.shape[1])])
            with np.errstate(invalid="ignore"):  # of infinite losses: NaN says it is no number
                quotients = (losses[0] - losses[1]) / (steps[0] - steps[1])
            result[group.places] = quotients
            kinks[group.places] = flagged
            advance(group.places.size)
    if entries is None:
        return result, kinks, largest
    return result[entries], kinks[entries], largest


def _most_entries(base: Unperturbed, operations: float, max_memory: int) -> int:
    """Entries of one call: as many as keep it short, and a custom loss's outputs small."""
    most = max(1, int(OPERATIONS_PER_CALL / operations))
    if base.network.objective.custom is not None:
        room = min(max_memory, CUSTOM_BYTES_PER_CALL) // 2  # the outputs, and a copy of one
        most = max(1, min(most, room // (16 * base.output.size)))
    return most
