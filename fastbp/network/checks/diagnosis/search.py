"""The search for what explains a wrong gradient: back from the output, layer by layer.

The error that reaches a layer is known from the layers above, mistakes included. If the layer's
arrays are not what it makes, either they have a mistake of their own (`layer_arrays.py`), or the
error has one (`output_errors.py`, `way_back.py`): each way is followed, and the one with the fewest
different mistakes is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from fastbp.network.checks.diagnosis import way_back
from fastbp.network.checks.diagnosis.layer_arrays import (
    UNEXPLAINED,
    Explained,
    LayerArrays,
)
from fastbp.network.checks.diagnosis.output_errors import output_errors
from fastbp.network.checks.diagnosis.recorded_pass import EVERY
from fastbp.network.checks.diagnosis.way_back import Step
from fastbp.report.causes import Cause
from fastbp.verdict.diagnosis.factors import AGREEING, is_telling
from fastbp.verdict.diagnosis.likeness import fitted_multiple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.network.checks.diagnosis.way_back import Way
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
    """Return the path with the fewest unexplained arrays, then the fewest mistakes.

    No path becomes cheaper on its way down: the cheapest one is followed first, and the first to
    arrive at layer 0 is the best.
    """
    right = arrays.right
    true = right.s[right.last]
    order = count()
    open_paths = [
        (path.cost, right.last, next(order), path)
        for path in _at_the_output(arrays, Path(Step(None, true, true, true)))
    ]
    heapify(open_paths)
    followed = [0] * len(arrays.layers)
    while True:
        _, k, _, path = heappop(open_paths)
        if k == 0:
            return path
        followed[k] += 1
        if followed[k] <= KEPT:
            for longer in _one_layer_down(arrays, k - 1, path):
                heappush(open_paths, (longer.cost, k - 1, next(order), longer))


def _explained(
    arrays: LayerArrays, k: int, step: Step, above: Floats | None
) -> tuple[Explained, Explained]:
    return arrays.weights(k, step, above), arrays.biases(k, step, above)


def _at_the_output(arrays: LayerArrays, start: Path) -> list[Path]:
    right, k = arrays.right, arrays.right.last
    plain = start.step
    found = _explained(arrays, k, plain, None)
    paths = [start.extended(k, plain, found)]
    if found == (None, None) or _settled(arrays, k, paths[0], start):
        return paths
    paths += _with_a_factor(arrays, k, start, plain, None)
    for cause, error in output_errors(right):
        if arrays.fits(k, error):
            whole = error(EVERY)
            paths += _extended(arrays, k, start, Step(cause, whole, whole, whole), None)
    return paths if any(not path.unexplained for path in paths) else [_lost(paths[0], k, found)]


def _one_layer_down(arrays: LayerArrays, k: int, path: Path) -> list[Path]:
    """Go on from layer k + 1 to layer k."""
    right = arrays.right
    carried, above = path.step.carried, path.used[0]
    plain = way_back.plain_step(right, k + 1, carried)
    if carried is right.s[k + 1]:
        plain = Step(None, plain.raw, right.s[k], right.s[k])
    if path.steps and path.lost is None and not arrays.fits(k, plain.used.__getitem__):
        again = _by_the_last_mistake(arrays, k, path, plain, above)
        if again:
            return again
    found = _explained(arrays, k, plain, above)
    paths = [path.extended(k, plain, found)]
    if path.lost is not None or _nothing_new(paths[0], path):
        return paths
    if _settled(arrays, k, paths[0], path):
        return paths
    for tried in (_with_a_factor, _with_another_mask, _with_the_mask_not_carried,
                  _with_other_weights, _with_updated_weights):  # fmt: skip
        paths += tried(arrays, k, path, plain, above)
        if _cheap(paths, path):
            return paths
    both = found[0] is UNEXPLAINED and (found[1] is UNEXPLAINED or found[1] is None)
    if both and len(paths) == 1:
        return [_lost(paths[0], k, found)]
    return paths


def _by_the_last_mistake(
    arrays: LayerArrays, k: int, path: Path, plain: Step, above: Floats | None
) -> list[Path]:
    """Try the mistake of the layer above again: who makes it in one layer makes it in all."""
    cause = path.steps[-1][1]
    tried = WHERE_TRIED.get(cause.kind, _with_another_mask)
    return [
        longer
        for longer in tried(arrays, k, path, plain, above, cause)
        if _nothing_new(longer, path)
    ][:1]


def _nothing_new(path: Path, before: Path) -> bool:
    """Tell whether a layer is right, or wrong by mistakes that are known from those above."""
    return path.cost[:2] == before.cost[:2]


def _settled(arrays: LayerArrays, k: int, path: Path, before: Path) -> bool:
    """Tell whether one array of a layer has a mistake of its own, and the other is right.

    An error that is wrong would show in both, unless the other is zero.
    """
    if path.unexplained != before.unexplained or len(path.arrays) != len(before.arrays) + 1:
        return False
    both = arrays.layers[k].arrays
    return len(both) == 2 and not any(array.untested for array in both)


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
    if not arrays.fits(k, step.used.__getitem__):
        return []
    return _extended(arrays, k, path, step, above, made_at)


def _extended(
    arrays: LayerArrays,
    k: int,
    path: Path,
    step: Step,
    above: Floats | None,
    made_at: int | None = None,
) -> list[Path]:
    """Extend a path by a step that makes one of the arrays, if all of the layer is explained."""
    found = _explained(arrays, k, step, above)
    return [] if UNEXPLAINED in found else [path.extended(k, step, found, made_at)]


def _fitting(
    arrays: LayerArrays,
    k: int,
    path: Path,
    above: Floats | None,
    ways: Iterator[Way],
    only: Cause | None,
) -> list[Path]:
    """Extend a path by each mistake that fits, or by one of them alone."""
    return [
        longer
        for way in ways
        if only is None or way.cause == only
        if arrays.fits(k, lambda units, way=way: way.step(units).used)  # type: ignore[misc]
        for longer in _extended(arrays, k, path, way.step(EVERY), above)
    ]


def _with_a_factor(
    arrays: LayerArrays, k: int, path: Path, plain: Step, above: Floats | None,
    only: Cause | None = None,
) -> list[Path]:  # fmt: skip
    """Try whether the error is a multiple of what it should be: of both arrays, or of none."""
    del above
    kind = "delta_factor"
    if k == arrays.right.last:
        kind = "output_factor" if arrays.right.objective.weight_decay else "factor"
    for factor in _factors(arrays, k, plain):
        cause = arrays.factor_cause(kind, factor)
        if cause.factor == 1.0 or (only is not None and cause != only):
            continue
        step = Step(cause, factor * plain.raw, factor * plain.used, factor * plain.carried)
        if arrays.fits_all(k, step.used):
            return [path.extended(k, step, (None, None))]
    return []


def _factors(arrays: LayerArrays, k: int, plain: Step) -> Iterator[float]:
    """Yield the factors by which the arrays of a layer are larger than the error makes them."""
    biases, values = arrays.layers[k].biases, arrays.sampled_weights(k)
    fitted = []
    if biases is not None and biases.values is not None:
        fitted.append(fitted_multiple(biases.values, plain.used.sum(axis=1)))
    if values is not None:
        product = arrays.product(k, plain.used)
        fitted.append(fitted_multiple(values - arrays.sampled_decay(k), product))
    for found in fitted:
        if found is not None and found.factor not in (0.0, 1.0):
            yield found.factor


def _with_another_mask(
    arrays: LayerArrays, k: int, path: Path, plain: Step, above: Floats | None,
    only: Cause | None = None,
) -> list[Path]:  # fmt: skip
    ways = way_back.masked_ways(arrays.right, k + 1, plain.raw)
    return _fitting(arrays, k, path, above, ways, only)


def _with_the_mask_not_carried(
    arrays: LayerArrays, k: int, path: Path, plain: Step, above: Floats | None,
    only: Cause | None = None,
) -> list[Path]:  # fmt: skip
    """Try whether the error went on from layer k + 1 as it was before its mask."""
    del plain, only
    if path.step.raw is path.step.used:
        return []
    step = way_back.plain_step(arrays.right, k + 1, path.step.raw)
    step = step._replace(cause=Cause("mask_not_carried"))
    return _if_it_fits(arrays, k, path, step, above, made_at=k + 1)


def _with_other_weights(
    arrays: LayerArrays, k: int, path: Path, plain: Step, above: Floats | None,
    only: Cause | None = None,
) -> list[Path]:  # fmt: skip
    del plain
    given = arrays.layers[k + 1].weights.values
    ways = way_back.weighted_ways(arrays.right, k + 1, path.step.carried, given)
    return _fitting(arrays, k, path, above, ways, only)


def _with_updated_weights(
    arrays: LayerArrays, k: int, path: Path, plain: Step, above: Floats | None,
    only: Cause | None = None,
) -> list[Path]:  # fmt: skip
    """Fit the step of weights that were updated before the error went back through them."""
    layer, right = arrays.layers[k], arrays.right
    carried, given = path.step.carried, arrays.layers[k + 1].weights.values
    values = arrays.sampled_weights(k)
    paths: list[Path] = []
    for raw, used in way_back.updated_steps(right, k + 1, carried, given):
        if values is not None:
            now = arrays.product(k, plain.used) + arrays.sampled_decay(k)
            found = fitted_multiple(now - values, arrays.product(k, used))
        elif layer.biases is not None and layer.biases.values is not None:
            sums = plain.used.sum(axis=1)
            found = fitted_multiple(sums - layer.biases.values, used.sum(axis=1))
        else:
            continue
        if found is None or found.informative < AGREEING or found.factor == 0.0:
            continue
        rate = found.factor
        cause = Cause("updated_weights", "", float(f"{rate:.3g}"))
        if only is not None and cause != only:
            continue
        moved = plain.used - rate * used
        step = Step(cause, plain.raw - rate * raw, moved, moved)
        paths += _if_it_fits(arrays, k, path, step, above)
        if paths and only is not None:
            break
    return paths


# By the kind of a mistake where it is tried; all others are wrong masks.
WHERE_TRIED = {
    "factor": _with_a_factor,
    "output_factor": _with_a_factor,
    "delta_factor": _with_a_factor,
    "mask_not_carried": _with_the_mask_not_carried,
    "not_transposed": _with_other_weights,
    "gradient_for_weights": _with_other_weights,
    "other_weights": _with_other_weights,
    "updated_weights": _with_updated_weights,
}
