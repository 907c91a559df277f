"""The given gradient by layer, as a diagnosis looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbp.network.checks.diagnosis.recorded_pass import RecordedPass
    from fastbp.network.network import Network
    from fastbp.report import ArrayReport
    from fastbp.typing import Array, Floats, Indices

__all__ = ["GivenArray", "GivenLayer", "given_layers"]

# Of a large layer so many rows and columns are compared with what each hypothesis makes.
SAMPLED = 64
ALL_UP_TO = 1 << 16  # entries


@dataclass(frozen=True, slots=True, eq=False)
class GivenArray:
    """One given array.

    Attributes
    ----------
    name : str
    array : ndarray
        As it was given.
    values : float64, shape (n_out, n_in) or (n_out,), or None
        By unit; None where its shape or type is wrong.
    failed, judged : bool
        Whether the check called it wrong; whether it could tell.
    untested : bool
        Whether it is zero on both sides.
    transposed : bool
        Whether `values` are the transpose of what was given.
    """

    name: str
    array: Array
    values: Floats | None
    failed: bool
    judged: bool
    untested: bool
    transposed: bool


@dataclass(frozen=True, slots=True, eq=False)
class GivenLayer:
    """The arrays of one layer, and the entries that hypotheses are tried on."""

    weights: GivenArray
    biases: GivenArray | None
    rows: Indices
    columns: Indices

    @property
    def arrays(self) -> list[GivenArray]:
        """The arrays that there are."""
        return [self.weights] if self.biases is None else [self.weights, self.biases]

    @property
    def failed(self) -> bool:
        """Whether one of them is wrong."""
        return any(array.failed for array in self.arrays)


def given_layers(
    net: Network, arrays: Sequence[Array], rows: Sequence[ArrayReport], right: RecordedPass
) -> list[GivenLayer]:
    """Take the given arrays apart by layers.

    Parameters
    ----------
    net : Network
    arrays : sequence of ndarray
        In the order of the parameters.
    rows : sequence of ArrayReport
        What the check found of each.
    right : RecordedPass
    """
    found: dict[str, list[GivenArray]] = {"weights": [], "biases": []}
    worst: list[tuple[int, ...]] = []
    for place, array, row in zip(net.shapes.arrays, arrays, rows, strict=True):
        found[place.kind].append(_given(net, place, array, row))
        if place.kind == "weights":
            index = () if row.worst is None else row.worst.index
            worst.append(index[::-1] if net.shapes.transposed else index)
    layers = []
    for k, weights in enumerate(found["weights"]):
        biases = found["biases"][k] if found["biases"] else None
        shape = right.weights[k].shape
        layers.append(GivenLayer(weights, biases, *_sample(shape, worst[k])))
    return layers


def _given(net: Network, place: Any, array: Array, row: ArrayReport) -> GivenArray:
    values = None
    if array.dtype.kind == "f" and array.shape == place.shape:
        numbers = array.astype(np.float64, copy=False)
        if np.isfinite(numbers).all():
            values = net.shapes.by_unit(numbers) if place.kind == "weights" else numbers.reshape(-1)
    judged = row.verdict in ("passed", "failed", "untested")
    return GivenArray(
        place.name,
        array,
        values,
        failed=row.verdict == "failed",
        judged=judged,
        untested=row.verdict == "untested",
        transposed=net.shapes.transposed and place.kind == "weights",
    )


def _sample(shape: tuple[int, ...], worst: tuple[int, ...]) -> tuple[Indices, Indices]:
    """Return rows and columns that are spread over an array, all of them if it is small.

    Those of the worst entry are among them: without it, an array with a single wrong entry would
    be explained by whatever changes nothing.
    """
    if shape[0] * shape[1] <= ALL_UP_TO:
        return np.arange(shape[0]), np.arange(shape[1])
    rows, columns = (
        np.unique(np.linspace(0, length - 1, min(length, SAMPLED)).astype(np.int64))
        for length in shape
    )
    if worst:
        rows, columns = np.union1d(rows, worst[:1]), np.union1d(columns, worst[1:])
    return rows, columns
