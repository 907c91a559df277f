"""Which entries of the parameter vector belong to one unit: the order in which replay works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np

from fastbp.kernels.layer_table import BIASES, INPUTS, OUTPUTS, WEIGHTS
from fastbp.network.network import Network
from fastbp.typing import Indices

UnitRange = tuple[int, int, int]  # a layer, its first unit, and the one behind its last

_WHOLE: WeakKeyDictionary[Network, UnitEntries] = WeakKeyDictionary()


@dataclass(frozen=True)
class UnitEntries:
    """Entries grouped by unit.

    Attributes
    ----------
    units : int64, shape (U, 2)
        Layer and unit of each group.
    starts : int64, shape (U + 1,)
        Where its entries begin.
    columns : int64, shape (E,)
        Which input of the unit an entry weighs; n_in stands for its bias.
    places : int64, shape (E,)
        The entries' places in the parameter vector.
    """

    units: Indices
    starts: Indices
    columns: Indices
    places: Indices

    @cached_property
    def counts(self) -> Indices:
        """How many entries each unit has."""
        return np.diff(self.starts)

    def operations(self, each: tuple[float, ...]) -> float:
        """Operations of all entries, from those of one entry of each layer."""
        return float(np.take(each, self.units[:, 0]) @ self.counts)


def _places(network: Network, k: int, units: Indices, columns: Indices) -> Indices:
    layer = network.shapes.layers[k]
    inputs, outputs = int(layer[INPUTS]), int(layer[OUTPUTS])
    if network.shapes.transposed:
        weights = layer[WEIGHTS] + columns * outputs + units
    else:
        weights = layer[WEIGHTS] + units * inputs + columns
    places: Indices = np.where(columns == inputs, layer[BIASES] + units, weights)
    return places


def _of_units(network: Network, k: int, first: int, last: int) -> UnitEntries:
    """All entries of the units first..last of layer k."""
    inputs = int(network.shapes.layers[k, INPUTS])
    each = inputs + (1 if network.shapes.layers[k, BIASES] >= 0 else 0)
    numbers = np.arange(first, last, dtype=np.int64)
    units = np.stack([np.full(last - first, k, np.int64), numbers], axis=1)
    columns = np.tile(np.arange(each, dtype=np.int64), last - first)
    places = _places(network, k, np.repeat(numbers, each), columns)
    starts = np.arange(last - first + 1, dtype=np.int64) * each
    return UnitEntries(units, starts, columns, places)


def _joined(groups: list[UnitEntries]) -> UnitEntries:
    if len(groups) == 1:
        return groups[0]
    ends = np.cumsum([0] + [group.columns.size for group in groups])
    starts = [group.starts[:-1] + end for group, end in zip(groups, ends[:-1], strict=True)]
    return UnitEntries(
        np.concatenate([group.units for group in groups]),
        np.concatenate([*starts, ends[-1:]]).astype(np.int64),
        np.concatenate([group.columns for group in groups]),
        np.concatenate([group.places for group in groups]),
    )


@lru_cache
def all_operations(sizes: tuple[int, ...], operations: tuple[float, ...]) -> float:
    """Operations of all entries, from those of one entry of each layer."""
    entries = [outputs * (inputs + 1) for inputs, outputs in pairwise(sizes)]
    return sum(n * each for n, each in zip(entries, operations, strict=True))


def _whole(network: Network) -> UnitEntries:
    """All entries of a network in one chunk, made once: for a tiny one it is half of the time."""
    entries = _WHOLE.get(network)
    if entries is None:
        outputs = network.shapes.layers[:, OUTPUTS]
        entries = _joined([_of_units(network, k, 0, int(n)) for k, n in enumerate(outputs)])
        _WHOLE[network] = entries
    return entries


def all_entries(
    network: Network, operations: tuple[float, ...], budget: float, fewest: int
) -> Iterator[tuple[UnitEntries, float]]:
    """Yield every entry once, in chunks of about ``budget`` operations, and how many they are.

    Parameters
    ----------
    network : Network
    operations : tuple of float
        Floating-point operations that one entry of each layer costs.
    budget : float
        A chunk ends once it is reached, but never inside a unit.
    fewest : int
        Units of one layer that go together, if it has so many: threads share a chunk by units.
    """
    together = all_operations(network.sizes, operations)
    if together <= budget:
        yield _whole(network), together
        return
    for ranges, spent in unit_ranges(network, operations, budget, fewest):
        yield entries_of_ranges(network, ranges), spent


def entries_of_ranges(network: Network, ranges: list[UnitRange]) -> UnitEntries:
    """Return all entries of some ranges of units."""
    return _joined([_of_units(network, *units) for units in ranges])


def unit_ranges(
    network: Network, operations: tuple[float, ...], budget: float, fewest: int
) -> Iterator[tuple[list[UnitRange], float]]:
    """Yield all units in the chunks of `all_entries`, and how many operations they are."""
    ranges: list[UnitRange] = []
    spent = 0.0
    for k, layer in enumerate(network.shapes.layers):
        each = operations[k] * (int(layer[INPUTS]) + 1)
        first, outputs = 0, int(layer[OUTPUTS])
        while first < outputs:
            last = min(outputs, first + max(fewest, int((budget - spent) / each)))
            ranges.append((k, first, last))
            spent += each * (last - first)
            first = last
            if spent >= budget:
                yield ranges, spent
                ranges, spent = [], 0.0
    if ranges:
        yield ranges, spent


def chosen_entries(
    network: Network, places: Indices, operations: tuple[float, ...], most: int
) -> Iterator[tuple[UnitEntries, float]]:
    """Yield the entries at ``places``, at most so many at a time, and their operations."""
    for first in range(0, places.size, most):
        group = grouped_by_unit(network, places[first : first + most])
        yield group, group.operations(operations)


def grouped_by_unit(network: Network, places: Indices) -> UnitEntries:
    """Sort any entries of the parameter vector (each named once) by unit."""
    layer_of, unit_of, column_of = (np.empty(places.size, np.int64) for _ in range(3))
    for k, layer in enumerate(network.shapes.layers):
        inputs, outputs = int(layer[INPUTS]), int(layer[OUTPUTS])
        inside = places - layer[WEIGHTS]
        weights = (inside >= 0) & (inside < inputs * outputs)
        if network.shapes.transposed:
            column_of[weights], unit_of[weights] = np.divmod(inside[weights], outputs)
        else:
            unit_of[weights], column_of[weights] = np.divmod(inside[weights], inputs)
        layer_of[weights] = k
        if layer[BIASES] >= 0:
            inside = places - layer[BIASES]
            biases = (inside >= 0) & (inside < outputs)
            layer_of[biases], unit_of[biases], column_of[biases] = (
                k,
                inside[biases],
                inputs,
            )
    order = np.lexsort((column_of, unit_of, layer_of))
    pairs = np.stack([layer_of[order], unit_of[order]], axis=1)
    changes = np.flatnonzero((pairs[1:] != pairs[:-1]).any(axis=1)) + 1
    begins = np.concatenate([[0], changes])
    return UnitEntries(
        pairs[begins],
        np.concatenate([begins, [places.size]]).astype(np.int64),
        column_of[order],
        places[order],
    )
