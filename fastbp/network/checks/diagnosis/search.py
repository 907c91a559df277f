"""The search for what explains a wrong gradient: back from the output, layer by layer.

The error that reaches a layer is known from the layers above, mistakes included. If the layer's
arrays are not what it makes, either they have a mistake of their own (`layer_arrays.py`), or the
error has one (`output_errors.py`, `way_back.py`): each way is followed, and the one with the fewest
different mistakes is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.checks.diagnosis import way_back
from fastbp.network.checks.diagnosis.layer_arrays import (
    UNEXPLAINED,
    Explained,
    LayerArrays,
)
from fastbp.network.checks.diagnosis.output_errors import output_errors
from fastbp.network.checks.diagnosis.way_back import Step
from fastbp.report.causes import Cause
from fastbp.verdict.diagnosis.factors import AGREEING, is_telling
from fastbp.verdict.diagnosis.likeness import fitted_multiple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.typing import Floats

__all__ = ["Path", "search"]

KEPT = 6  # paths


@dataclass(slots=True, eq=False)
class Path:
    """What was found on the way from the output down to a layer.

    Attributes
    ----------
    step : Step
        The error of the layer that it has reached.
    steps : list of (int, Cause)
        The layers whose error is made wrongly, the output layer's too.
    arrays : list of (int, int, Cause)
        Layer, 0 for weights or 1 for biases, and the mistake of this array alone.
    unexplained : list of (int, int)
    lost : int or None
        The layer below which nothing is known, since no mistake explains its error.
    used : list of float64
        The errors of the layers from this one on to the output.
    """

    step: Step
    steps: list[tuple[int, Cause]] = field(default_factory=list)
    arrays: list[tuple[int, int, Cause]] = field(default_factory=list)
    unexplained: list[tuple[int, int]] = field(default_factory=list)
    lost: int | None = None
    used: list[Floats] = field(default_factory=list)

    @property
    def cost(self) -> tuple[int, int, int]:
        """Unexplained arrays, different mistakes, and how often they are made.

        A factor that nothing is known to stand for explains less than a mistake with a name.
        """
        causes = {cause for _, cause in self.steps} | {cause for *_, cause in self.arrays}
        unnamed = sum(map(is_unnamed_factor, causes))
        return len(self.unexplained), len(causes) + unnamed, len(self.steps) + len(self.arrays)

    def extended(
        self, k: int, step: Step, found: tuple[Explained, Explained], made_at: int | None = None
    ) -> Path:
        """Return the path with the findings of one more layer."""
        layer = k if made_at is None else made_at
        steps = self.steps if step.cause is None else [*self.steps, (layer, step.cause)]
        arrays, unexplained = list(self.arrays), list(self.unexplained)
        for kind, one in enumerate(found):
            if isinstance(one, Cause):
                arrays.append((k, kind, one))
            elif one is not None:
                unexplained.append((k, kind))
        return Path(step, steps, arrays, unexplained, self.lost, [step.used, *self.used])


def is_unnamed_factor(cause: Cause) -> bool:
    """Tell whether a cause is a number that is neither simple nor has a meaning."""
    if cause.kind not in ("factor", "loss_factor", "delta_factor", "output_factor"):
        return False
    return not is_telling(cause)


def search(arrays: LayerArrays) -> Path:
    """Return the path with the fewest unexplained arrays, then the fewest mistakes."""
    right = arrays.right
    true = right.s[right.last]
    start = Path(Step(None, true, true, true))
    paths = _best(_at_the_output(arrays, start))
    for k in range(right.last - 1, -1, -1):
        paths = _best([one for path in paths for one in _one_layer_down(arrays, k, path)])
    return paths[0]


def _best(paths: list[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.cost)[:KEPT]


def _explained(
    arrays: LayerArrays, k: int, step: Step, above: Floats | None
) -> tuple[Explained, Explained]:
    return arrays.weights(k, step, above), arrays.biases(k, step, above)


def _at_the_output(arrays: LayerArrays, start: Path) -> list[Path]:
    right, k = arrays.right, arrays.right.last
    plain = start.step
    found = _explained(arrays, k, plain, None)
    paths = [start.extended(k, plain, found)]
    if found == (None, None):
        return paths
    kind = "output_factor" if right.objective.weight_decay else "factor"
    paths += _with_a_factor(arrays, k, start, plain, kind, None)
    for cause, error in output_errors(right):
        paths += _if_it_fits(arrays, k, start, Step(cause, error, error, error), None)
    return paths if any(not path.unexplained for path in paths) else [_lost(paths[0], k, found)]


def _one_layer_down(arrays: LayerArrays, k: int, path: Path) -> list[Path]:
    """Go on from layer k + 1 to layer k."""
    right = arrays.right
    carried, above = path.step.carried, path.used[0]
    on_truth = carried is right.s[k + 1]
    plain = way_back.plain_step(right, k + 1, carried)
    if on_truth:
        plain = Step(None, plain.raw, right.s[k], right.s[k])
    found = _explained(arrays, k, plain, above)
    paths = [path.extended(k, plain, found)]
    if path.lost is not None or _nothing_new(paths[0], path):
        return paths
    paths += _with_a_factor(arrays, k, path, plain, "delta_factor", above)
    paths += _with_another_mask(arrays, k, path, plain.raw, above)
    paths += _with_the_mask_not_carried(arrays, k, path, above)
    if _cheap(paths, path):
        return paths
    given = arrays.layers[k + 1].weights.values
    steps = way_back.weighted_steps(right, k + 1, carried, given)
    paths += _fitting(arrays, k, path, above, steps)
    if not _cheap(paths, path):
        paths += _with_updated_weights(arrays, k, path, plain, above)
    both = found[0] is UNEXPLAINED and (found[1] is UNEXPLAINED or found[1] is None)
    if both and len(paths) == 1:
        return [_lost(paths[0], k, found)]
    return paths


def _nothing_new(path: Path, before: Path) -> bool:
    """Tell whether a layer is right, or wrong by mistakes that are known from those above."""
    return path.cost[:2] == before.cost[:2]


def _lost(path: Path, k: int, found: tuple[Explained, Explained]) -> Path:
    """Mark the layer at which nothing fits: the layers below are compared with the truth."""
    if UNEXPLAINED in found:
        path.lost = k
    return path


def _cheap(paths: list[Path], before: Path) -> bool:
    """Tell whether a way was found that explains the layer by one more mistake at most."""
    unexplained, causes, _ = before.cost
    return any(path.cost[0] == unexplained and path.cost[1] <= causes + 1 for path in paths[1:])


def _if_it_fits(
    arrays: LayerArrays,
    k: int,
    path: Path,
    step: Step,
    above: Floats | None,
    made_at: int | None = None,
) -> list[Path]:
    """Extend a path by a step if that makes one of the layer's arrays as it was given."""
    if not _fits(arrays, k, step.used):
        return []
    found = _explained(arrays, k, step, above)
    if UNEXPLAINED in found:
        return []
    return [path.extended(k, step, found, made_at)]


def _with_a_factor(
    arrays: LayerArrays, k: int, path: Path, plain: Step, kind: str, above: Floats | None
) -> list[Path]:
    """Try whether the error is a multiple of what it should be."""
    layer = arrays.layers[k]
    candidates: list[float] = []
    if layer.biases is not None and layer.biases.values is not None:
        found = fitted_multiple(layer.biases.values, plain.used.sum(axis=1))
        candidates += [] if found is None else [found.factor]
    values = arrays.sampled_weights(k)
    if values is not None:
        product = plain.used[layer.rows] @ arrays.right.h[k][layer.columns].T
        found = fitted_multiple(values - arrays.sampled_decay(k), product)
        candidates += [] if found is None else [found.factor]
    for factor in candidates:
        if factor in (0.0, 1.0) or not np.isfinite(factor):
            continue
        cause = arrays.factor_cause(kind, factor)
        if cause.factor == 1.0:
            continue
        step = Step(cause, factor * plain.raw, factor * plain.used, factor * plain.carried)
        fitting = _if_it_fits(arrays, k, path, step, above)
        if fitting and _all_plain(fitting[0], path):
            return fitting
    return []


def _all_plain(path: Path, before: Path) -> bool:
    """A factor explains both arrays of a layer, or it is that of one array."""
    return len(path.arrays) == len(before.arrays)


def _with_another_mask(
    arrays: LayerArrays, k: int, path: Path, raw: Floats, above: Floats | None
) -> list[Path]:
    right, layer = arrays.right, arrays.layers[k]
    every = np.arange(raw.shape[0])
    if layer.rows.size == every.size:
        return _fitting(arrays, k, path, above, way_back.masked_steps(right, k + 1, raw, every))
    likely = {
        step.cause
        for step in way_back.masked_steps(right, k + 1, raw[layer.rows], layer.rows)
        if _fits(arrays, k, step.used, sampled=True)
    }
    if not likely:
        return []
    steps = way_back.masked_steps(right, k + 1, raw, every)
    return _fitting(arrays, k, path, above, (step for step in steps if step.cause in likely))


def _with_the_mask_not_carried(
    arrays: LayerArrays, k: int, path: Path, above: Floats | None
) -> list[Path]:
    """Try whether the error went on from layer k + 1 as it was before its mask."""
    if path.step.raw is path.step.used:
        return []
    plain = way_back.plain_step(arrays.right, k + 1, path.step.raw)
    step = plain._replace(cause=Cause("mask_not_carried"))
    return _if_it_fits(arrays, k, path, step, above, made_at=k + 1)


def _fits(arrays: LayerArrays, k: int, used: Floats, *, sampled: bool = False) -> bool:
    """Tell whether an error makes one of the arrays of a layer as it was given.

    Of a sampled error the rows are those of the layer's sample.
    """
    layer = arrays.layers[k]
    rows = slice(None) if sampled else layer.rows
    if layer.biases is not None and layer.biases.values is not None:
        given = layer.biases.values[layer.rows]
        if arrays.likeness.alike(given, used[rows].sum(axis=1)):
            return True
    values = arrays.sampled_weights(k)
    if values is None:
        return False
    fed = arrays.right.h[k][layer.columns]
    return arrays.likeness.alike(values, used[rows] @ fed.T + arrays.sampled_decay(k))


def _fitting(
    arrays: LayerArrays, k: int, path: Path, above: Floats | None, steps: Iterator[Step]
) -> list[Path]:
    return [one for step in steps for one in _if_it_fits(arrays, k, path, step, above)]


def _with_updated_weights(
    arrays: LayerArrays, k: int, path: Path, plain: Step, above: Floats | None
) -> list[Path]:
    """Fit the step of weights that were updated before the error went back through them."""
    layer, right = arrays.layers[k], arrays.right
    carried, given = path.step.carried, arrays.layers[k + 1].weights.values
    values = arrays.sampled_weights(k)
    paths: list[Path] = []
    for raw, used in way_back.updated_steps(right, k + 1, carried, given):
        if values is not None:
            fed = right.h[k][layer.columns].T
            now = plain.used[layer.rows] @ fed + arrays.sampled_decay(k)
            found = fitted_multiple(now - values, used[layer.rows] @ fed)
        elif layer.biases is not None and layer.biases.values is not None:
            sums = plain.used.sum(axis=1)
            found = fitted_multiple(sums - layer.biases.values, used.sum(axis=1))
        else:
            continue
        if found is None or found.informative < AGREEING or found.factor == 0.0:
            continue
        rate = found.factor
        cause = Cause("updated_weights", "", float(f"{rate:.3g}"))
        moved = plain.used - rate * used
        step = Step(cause, plain.raw - rate * raw, moved, moved)
        paths += _if_it_fits(arrays, k, path, step, above)
    return paths
