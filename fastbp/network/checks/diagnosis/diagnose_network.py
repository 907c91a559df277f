"""The diagnosis of a network's gradient: from a failed check to findings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.checks.diagnosis.given_layers import GivenArray, GivenLayer, given_layers
from fastbp.network.checks.diagnosis.layer_arrays import LayerArrays
from fastbp.network.checks.diagnosis.recorded_pass import RecordedPass, recorded_pass
from fastbp.network.checks.diagnosis.search import Path, search
from fastbp.network.given_gradients import coarser_dtype
from fastbp.report.causes import Cause, Finding, listed
from fastbp.runtime.floating_point import own_errstate
from fastbp.verdict.diagnosis.factors import Named
from fastbp.verdict.diagnosis.likeness import Likeness, residual

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastbp.network.batch import Batch
    from fastbp.network.given_gradients import GivenGradients
    from fastbp.network.network import Network
    from fastbp.report import ArrayReport
    from fastbp.typing import Floats

__all__ = ["diagnose_network"]

# Arrays of more entries are verified by their sampled rows.
VERIFIED_WHOLE = 1 << 22
CARRIED_BY_ONE = 1e-6


@own_errstate
def diagnose_network(
    net: Network, batch: Batch, given: GivenGradients, rows: Sequence[ArrayReport]
) -> list[Finding]:
    """Say what made a gradient wrong, as far as that can be proved.

    Parameters
    ----------
    net : Network
    batch : Batch
    given : GivenGradients
    rows : sequence of ArrayReport
        What the check found of each array.

    Returns
    -------
    list of Finding
        Those that explain most arrays first; empty if no array failed.
    """
    found = [Finding(Cause("accumulated"))] if given.accumulates else []
    if any(row.verdict == "failed" for row in rows):
        found += _of_arrays(net, batch, given, rows)
    return found


def _of_arrays(
    net: Network, batch: Batch, given: GivenGradients, rows: Sequence[ArrayReport]
) -> list[Finding]:
    likeness = Likeness.of(coarser_dtype(net, given))
    best: list[Finding] | None = None
    for right in _passes(net, batch):
        layers = given_layers(net, given.arrays, rows, right)
        arrays = LayerArrays(right, layers, likeness, factors_of(net, batch))
        path = search(arrays)
        found = _findings(arrays, path)
        if not path.unexplained:
            return found
        best = found if best is None else best
    return best or []


def _passes(net: Network, batch: Batch) -> Iterator[RecordedPass]:
    """Yield the backward pass, by each derivative of the ReLU at 0 that may have been taken."""
    own = recorded_pass(net, batch, net.relu_at_zero)
    if own is None:
        return
    yield own
    if any(np.any(f == 0) for f in own.f[:-1]):
        for convention in (0.0, 1.0, 0.5):
            if convention == net.relu_at_zero:
                continue
            other = recorded_pass(net, batch, convention)
            if other is not None:
                yield other


def factors_of(net: Network, batch: Batch) -> list[Named]:
    """Return the numbers that the gradient of a network is likely to be multiplied by."""
    objective = net.objective
    count, outputs, scale = batch.size, net.sizes[-1], objective.scale
    entries, mean = objective.reduction == "mean_entries", objective.reduction != "sum"
    named: list[Named] = []
    if scale not in (0.0, 1.0):
        named += [
            Named(1 / scale, f"the scale of the loss, {scale:g}, is left out"),
            Named(scale, f"the scale of the loss, {scale:g}, is applied twice"),
        ]
    if count > 1:
        is_batch = f"{count} is the batch, "
        named += [
            Named(count, is_batch + ("the mean over it is left out" if mean else "counted twice")),
            Named(1 / count, is_batch + (
                "it is divided by twice" if mean else "a mean over it where the loss sums"
            )),
        ]  # fmt: skip
    if outputs > 1:
        are_outputs = f"{outputs} is the number of outputs, "
        named += [
            Named(outputs, are_outputs
                  + ("the mean over them is left out" if entries else "they are counted twice")),
            Named(1 / outputs, are_outputs
                  + ("it is divided by twice" if entries else "a mean over them in the gradient")),
        ]  # fmt: skip
    if count > 1 and outputs > 1:
        are_both = f"{count * outputs} is batch times outputs, "
        named += [
            Named(count * outputs, f"{are_both}the mean over both is left out"),
            Named(1 / (count * outputs), f"{are_both}a mean over both in the gradient"),
        ]
    if objective.loss == "least_squares":
        named.append(Named(0.5, "the 2 of the derivative of a square is left out"))
    named.append(Named(2.0, "gradients are added to those of an earlier call, or a 2 is too many"))
    return named


def _findings(arrays: LayerArrays, path: Path) -> list[Finding]:
    layers = arrays.layers
    found: list[tuple[int, Finding]] = []
    for cause in dict.fromkeys(cause for _, cause in path.steps):
        made = tuple(layer for layer, one in path.steps if one == cause)
        explained, rest = _explained_by_steps(arrays, path, made)
        if rest is not None:
            found.append((len(explained), _finding(cause, explained, layers, rest, made)))
    by_cause: dict[Cause, list[GivenArray]] = {}
    for k, kind, cause in path.arrays:
        if path.lost is None or k >= path.lost:
            by_cause.setdefault(cause, []).append(layers[k].arrays[kind])
    for cause, those in by_cause.items():
        known = [arrays.residuals.get((one.name, cause)) for one in those]
        proofs = [one for one in known if one is not None]
        found.append((len(those), _finding(cause, those, layers, max(proofs, default=None), ())))
    findings = [_as_mean(arrays, one) for _, one in sorted(found, key=lambda item: -item[0])]
    return findings + _facts(arrays, path)


def _finding(
    cause: Cause,
    those: list[GivenArray],
    layers: list[GivenLayer],
    rest: float | None,
    made: tuple[int, ...],
) -> Finding:
    return Finding(cause, _places(those, layers), rest, tuple(sorted(made)))


def _as_mean(arrays: LayerArrays, found: Finding) -> Finding:
    """A factor of 1/N in the biases alone is a mean that should be a sum."""
    count, cause = arrays.right.batch, found.cause
    only_biases = "weights" not in found.places and "every array" not in found.places
    if cause.kind == "factor" and only_biases and cause.factor == 1 / count and count > 1:
        kind = "mean" if arrays.right.objective.reduction == "sum" else "mean_again"
        mean = Cause(kind, str(count), cause.factor)
        return replace(found, cause=mean)
    return found


def _places(those: list[GivenArray], layers: list[GivenLayer]) -> str:
    """Name arrays: all of a kind in a word."""
    every = [array for layer in layers for array in layer.arrays]
    names = {array.name for array in those}
    if len(every) > 1 and len(names) == len(every):
        return "every array"
    tested = {array.name for array in every if not array.untested}
    if len(tested) > 2 and names == tested:
        return "every array that is not zero"
    for kind in ("weights", "biases"):
        of_kind = {array.name for array in every if array.name.startswith(kind)} & tested
        if len(of_kind) > 1 and names == of_kind:
            return f"all {kind}"
    return listed([array.name for array in every if array.name in names])


def _explained_by_steps(
    arrays: LayerArrays, path: Path, made: tuple[int, ...]
) -> tuple[list[GivenArray], float | None]:
    """Return the failed arrays that wrong errors explain, and what is left; None if they do not."""
    own = {(k, kind) for k, kind, _ in path.arrays} | set(path.unexplained)
    explained, largest = [], 0.0
    for k in range(max(made) + 1):
        for kind, given in enumerate(arrays.layers[k].arrays):
            if (k, kind) in own or not given.failed or given.values is None:
                continue
            left = _left(arrays, path.used[k], k, kind, given.values)
            if left > 1e3 * arrays.likeness.tolerance:
                return [], None
            explained.append(given)
            largest = max(largest, left)
    return explained, largest if explained else None


def _left(arrays: LayerArrays, used: Floats, k: int, kind: int, values: Floats) -> float:
    """Return what an error leaves unexplained of an array, all of it if it is not too large."""
    if kind == 1:
        return residual(values, used.sum(axis=1))
    right, rows = arrays.right, arrays.layers[k].rows
    if values.size <= VERIFIED_WHOLE:
        rows = np.arange(len(values))
    expected = used[rows] @ right.h[k].T
    if right.objective.weight_decay:
        expected += right.objective.weight_decay * right.weights[k][rows]
    return residual(values[rows], expected)


def _facts(arrays: LayerArrays, path: Path) -> list[Finding]:
    """Say of what no mistake explains which arrays are the first, and what is wrong in them."""
    if not path.unexplained:
        return []
    layers, right = arrays.layers, arrays.right
    k = max(layer for layer, _ in path.unexplained)
    kinds = [kind for layer, kind in path.unexplained if layer == k]
    those = [layers[k].arrays[kind] for kind in kinds]
    names = " and ".join(array.name for array in those)
    are = "is" if len(those) == 1 else "are"
    if len(those) == len(layers[k].arrays):
        if k == right.last:
            where = "the output layer is wrong already: look at the derivative of the loss"
        else:
            where = (
                f"all above is right, or explained: the mistake is made where the error goes back "
                f"from layer {k + 1} into layer {k}"
            )
    elif kinds == [0]:
        where = "the error of the layer is right, since its biases are: look at the product with h"
    else:
        where = "the error of the layer is right, since its weights are: look at the sum"
    said = f"{names} {are} the first wrong, counted back from the output; {where}"
    found = [Finding(Cause("first_wrong", said))]
    for kind, array in zip(kinds, those, strict=True):
        if array.values is not None:
            found += _carried_by_one(arrays, path, k, kind, array)
    return found


def _carried_by_one(
    arrays: LayerArrays, path: Path, k: int, kind: int, array: GivenArray
) -> list[Finding]:
    """Tell whether the error of a weight gradient is that of one example alone."""
    right = arrays.right
    values = arrays.sampled_weights(k)
    if kind == 1 or right.batch < 2 or values is None:
        return []
    layer = arrays.layers[k]
    fed = right.h[k][layer.columns]
    off = values - path.used[k][layer.rows] @ fed.T - arrays.sampled_decay(k)
    sizes = np.square(fed).sum(axis=0)
    if min(off.shape) < 2 or not np.any(off):
        return []
    shares = np.square(off @ fed).sum(axis=0) / np.where(sizes > 0, sizes, np.inf)
    n = int(np.argmax(shares))
    if np.square(off).sum() - shares[n] > CARRIED_BY_ONE * np.square(off).sum():
        return []
    return [Finding(Cause("first_wrong", f"{array.name}: example {n} alone is wrong in it"))]
