"""The numerical gradient that a check by replay compares with: its steps shrink before kinks.

What still crosses a kink with the smallest step that rounding leaves is judged by the hull, where
every mask that such a step can change is in doubt (``hull.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from fastbp.certified import coarser_dtype
from fastbp.conventions import Seen, fitting_convention, worst_corner
from fastbp.differences import quotient_noise, replay_entries
from fastbp.exact import outer_product
from fastbp.hull import Hull, book_weight, hull_of_levels
from fastbp.outcome import Outcome
from fastbp.report import ArrayReport
from fastbp.rounding import Rounding, rounding_of
from fastbp.rows import Numerical, judged_row, unusable_reason
from fastbp.sweeps import MARGIN
from fastbp.unperturbed import evaluate
from fastbp.verdict import Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastbp.given import GivenGradients
    from fastbp.network import Network

    Floats = NDArray[np.float64]
    Replayed: TypeAlias = tuple[Floats, NDArray[np.bool_]]

__all__ = ["Measured", "check_by_replay", "measure_by_replay"]

SCHEME: Literal["central"] = "central"
DELTA = 1e-6
# Where the masks differ along a step it is divided by this, and so many times at most: after that
# the rounding of the losses is as large as any quotient.
SHRINKING = 16.0
SHRINKINGS = 8
# Twice as many entries of each array are differenced with half the step as well.
SAMPLE = 16
# From the largest change in that sample to the largest error of the array.
WOBBLE_MARGIN = 8.0


@dataclass(slots=True, eq=False)
class Measured:
    """The numerical gradient of a network by all its parameters, flat.

    Attributes
    ----------
    quotients : ndarray of float64, shape (P,)
        Central differences.
    noise : ndarray of float64, shape (P,)
        Error by the rounding of the losses and by the length of the steps; across a kink, where
        the curvature of the two sides does not cancel, that is what the last shrinking changed.
    crossing : ndarray of bool, shape (P,)
        The entries whose masks differ along the smallest step too.
    steps : ndarray of float64, shape (P,)
        The last step of each entry.
    delta : float
        The step that every entry began with.
    evaluations : int
        How many losses were evaluated.
    """

    quotients: Floats
    noise: Floats
    crossing: NDArray[np.bool_]
    steps: Floats
    delta: float
    evaluations: int


def measure_by_replay(
    net: Network,
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    max_memory: int,
    progress: bool | None,
) -> Measured:
    """Difference every parameter; then again, with smaller steps, those that cross a kink.

    Parameters
    ----------
    net, x, y : Network, ndarray, ndarray
        The network and validated data.
    max_memory, progress : int, bool or None
        As in `check_network`.

    Notes
    -----
    A step is made smaller at least once, and then as long as its masks differ, it still moves the
    parameter, and the rounding of the losses stays below the quotient.
    """

    def replay(entries: NDArray[np.int64] | None, step: float) -> Replayed:
        # Some entries once more: a bar only if it takes long after all.
        shown = None if entries is not None and progress else progress
        return replay_entries(
            net, x, y, entries, scheme=SCHEME, delta=step, max_memory=max_memory, progress=shown
        )

    delta = max(DELTA, smallest_step(net.parameters))
    quotients, crossing = replay(None, delta)
    noise = np.full(quotients.shape, quotient_noise(net, x, y, scheme=SCHEME, delta=delta))
    steps = np.full(quotients.shape, delta)
    measured = Measured(quotients, noise, crossing, steps, delta, 2 * quotients.size)
    _add_wobble(measured, _array_slices(net), lambda entries: replay(entries, delta / 2)[0])
    bend = np.zeros(quotients.shape)
    for n in range(1, SHRINKINGS + 1):
        step = delta / SHRINKING**n
        with np.errstate(invalid="ignore", over="ignore"):
            heard = (SHRINKING * noise <= np.abs(quotients)) | (n == 1)
        again = np.flatnonzero(crossing & heard)
        again = again[step >= 4 * np.spacing(np.abs(net.parameters[again].astype(np.float64)))]
        if again.size == 0:
            break
        before = quotients[again]
        quotients[again], crossing[again] = replay(again, step)
        with np.errstate(invalid="ignore", over="ignore"):
            bend[again] = np.where(crossing[again], np.abs(quotients[again] - before), 0.0)
        noise[again] *= SHRINKING
        steps[again] = step
        measured.evaluations += 2 * again.size
    noise += np.where(np.isfinite(bend), bend, 0.0)
    return measured


def check_by_replay(
    net: Network,
    x: NDArray[Any],
    y: NDArray[Any],
    given: GivenGradients,
    tolerance: Tolerance | None,
    *,
    max_memory: int,
    progress: bool | None,
) -> Outcome:
    """Compare a given gradient with a replay, entry by entry; arguments as of `check_network`."""
    coarser = float(np.finfo(coarser_dtype(net, given)).eps) / 2
    rounding = rounding_of(evaluate(net, x, y), coarser)
    names, shapes = net.parameter_names(), [array.shape for array in net.arrays()]
    if rounding.problem:
        rows = [
            _unmeasured_row(*known, rounding.problem)
            for known in zip(names, shapes, given.arrays, strict=True)
        ]
        return Outcome(rows, [], 0, scheme=SCHEME, delta=DELTA)
    measured = measure_by_replay(net, x, y, max_memory=max_memory, progress=progress)
    own = coarser if tolerance is None else float(np.finfo(np.float64).eps) / 2
    own_bars = rounding.error_bars(own)
    hull = _hull_of_steps(net, rounding, measured)
    values, radii, bars = _judged_by_hull(rounding, hull, measured, own_bars)
    kinks = radii > bars
    allowed = tolerance or Tolerance(0.0, 0.0)
    judged, seen = [], []
    parts = zip(names, shapes, given.arrays, _array_slices(net), strict=True)
    for name, shape, array, part in parts:
        numerical = Numerical(
            name, shape, values[part], bars[part], np.zeros(values[part].shape, np.bool_),
            radii[part], MARGIN,
        )  # fmt: skip
        row, wrong = judged_row(array, numerical, net.dtype, allowed)
        judged.append((replace(row, kinks=int(np.count_nonzero(kinks[part]))), wrong))
        if kinks[part].any() and not unusable_reason(array, shape):
            seen.append(_seen(net, name, array, numerical))
    convention, corner = "", None
    if seen:
        looked_at = (rounding.network, hull, seen, allowed)
        convention, corner = fitting_convention(*looked_at), worst_corner(*looked_at)
    return Outcome(
        [row for row, _ in judged], [wrong for _, wrong in judged], measured.evaluations,
        scheme=SCHEME, delta=measured.delta,
        doubtful=tuple(int(np.count_nonzero(doubt)) for doubt in rounding.doubts),
        convention=convention, corner=corner,
    )  # fmt: skip


def _unmeasured_row(
    name: str, shape: tuple[int, ...], array: NDArray[Any], problem: str
) -> ArrayReport:
    """Return an inconclusive row; what cannot be compared at all still fails."""
    reason, entries = unusable_reason(array, shape), math.prod(shape)
    return ArrayReport(
        name=name,
        shape=shape,
        entries=entries,
        wrong=entries if reason else 0,
        zero=0,
        kinks=0,
        worst=None,
        factor=None,
        residual=None,
        detectable=math.inf,
        verdict="failed" if reason else "inconclusive",
        reason=reason or problem,
    )


def _hull_of_steps(net: Network, rounding: Rounding, measured: Measured) -> Hull:
    """Carry back masks that are in doubt by rounding, or that a step which crosses can change."""
    doubts = rounding.doubts
    if measured.crossing.any():
        reaches = _reaches(net, rounding, np.where(measured.crossing, measured.steps, 0.0))
        doubts = [
            doubt | (distance <= reach)
            for doubt, distance, reach in zip(doubts, rounding.distances, reaches, strict=True)
        ]
    return hull_of_levels(rounding.network, rounding.levels, rounding.sensitivities[-1], doubts)


def _reaches(net: Network, rounding: Rounding, steps: Floats) -> Iterator[Floats]:
    """How far steps of single parameters can move the pre-activations of each hidden layer.

    The ReLU moves nothing further than it is moved itself: |W| carries a bound upwards.
    """
    weights, biases = net.shapes.weight_views(steps), net.shapes.bias_views(steps)
    reach = np.zeros(rounding.levels[0].shape)
    for k in range(len(rounding.doubts)):
        own = weights[k].T if net.layout == "keras" else weights[k]
        size = np.abs(rounding.levels[k])
        reach = np.abs(book_weight(rounding.network, k)) @ reach
        for unit in np.flatnonzero(own.any(axis=1)):
            reach[unit] += np.max(own[unit][:, None] * size, axis=0)
        if biases is not None:
            reach += biases[k].reshape(-1, 1)
        yield reach


def _judged_by_hull(
    rounding: Rounding, hull: Hull, measured: Measured, own_bars: Floats
) -> tuple[Floats, Floats, Floats]:
    """Put the middle of the hull in place of quotients that depend on masks in doubt.

    Returns values, radii and bars. Quotients that lie outside of the hull by more than their
    noise stay: two real losses are what is believed.
    """
    quotients, bars = measured.quotients, measured.noise + own_bars
    if not hull.affected:
        return quotients, np.zeros(quotients.shape), bars
    net = rounding.network
    radii, values = np.empty(quotients.shape), np.empty(quotients.shape)
    for k, s in enumerate(rounding.sensitivities):
        own = s.copy()
        own[:, hull.samples] = hull.centres[k]
        _write_products(net, k, own, rounding.levels[k], values)
        _write_products(net, k, hull.radii[k], np.abs(hull.inputs[k]), radii)
    for part, weight in zip(net.shapes.weight_views(values), net.weights, strict=True):
        part += net.objective.weight_decay * weight
    with np.errstate(invalid="ignore"):
        inside = np.abs(quotients - values) <= radii + bars
    inside &= (radii > 0) | measured.crossing
    return (
        np.where(inside, values, quotients), radii,
        np.where(inside & measured.crossing, own_bars, bars),
    )  # fmt: skip


def _write_products(net: Network, k: int, s: Floats, h: Floats, flat: Floats) -> None:
    """Write s h^T into the weights of layer k, and the sums of s into its biases."""
    left, right = (h, s) if net.layout == "keras" else (s, h)
    outer_product(left, right, net.shapes.weight_views(flat)[k].reshape(-1))
    biases = net.shapes.bias_views(flat)
    if biases is not None:
        biases[k].reshape(-1)[:] = s.sum(axis=1)


def _seen(net: Network, name: str, given: NDArray[Any], numerical: Numerical) -> Seen:
    """All entries of an array, units by inputs."""
    k = int(name.split("[")[1][:-1])
    parts = (given, numerical.values, numerical.error_bar, numerical.hull)
    units, inputs = net.sizes[k + 1], net.sizes[k]
    if name.startswith("biases"):
        columns, tables = None, [np.reshape(part, (units, 1)) for part in parts]
    else:
        columns = np.arange(inputs)
        tables = [np.reshape(part, numerical.shape) for part in parts]
        if net.layout == "keras":
            tables = [table.T for table in tables]
    return Seen(name, numerical.shape, k, np.arange(units), columns, *tables)


def smallest_step(parameters: NDArray[Any]) -> float:
    """Return a step that still moves the largest of these parameters, in float64.

    Examples
    --------
    >>> theta = np.array([1e12, -3.0])
    >>> bool(theta[0] + smallest_step(theta) > theta[0])
    True
    """
    largest = np.max(np.abs(parameters), initial=0.0)
    return 4 * float(np.spacing(np.float64(largest)))


def _add_wobble(
    measured: Measured,
    arrays: list[slice],
    replay_half: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> None:
    """Widen the noise by how much some quotients of each array change when the step is halved.

    That shows what a central difference cuts off, which grows as the cube of the activations
    where the loss is no parabola, and whatever rounding the estimated noise does not know of.
    """
    samples = [_sample(measured, part) for part in arrays]
    everywhere = np.concatenate(samples)
    if everywhere.size == 0:
        return
    # Where the loss overflows there is no quotient, and no verdict; the others keep theirs.
    with np.errstate(invalid="ignore", over="ignore"):
        changes = np.abs(replay_half(everywhere) - measured.quotients[everywhere])
    changes[~np.isfinite(changes)] = 0.0
    measured.evaluations += 2 * everywhere.size
    ends = np.cumsum([sample.size for sample in samples])[:-1]
    for part, change in zip(arrays, np.split(changes, ends), strict=True):
        measured.noise[part] += WOBBLE_MARGIN * np.max(change, initial=0.0)


def _sample(measured: Measured, part: slice) -> NDArray[np.int64]:
    """Choose entries of one array: those of the largest quotients, and some spread over it."""
    usable: NDArray[np.int64] = part.start + np.flatnonzero(~measured.crossing[part])
    if usable.size <= 2 * SAMPLE:
        return usable
    largest = np.argpartition(np.abs(measured.quotients[usable]), -SAMPLE)[-SAMPLE:]
    spread = np.linspace(0, usable.size - 1, SAMPLE).astype(np.int64)
    chosen: NDArray[np.int64] = usable[np.union1d(largest, spread)]
    return chosen


def _array_slices(net: Network) -> list[slice]:
    """Return where each array is in the flat vector."""
    ends = np.cumsum([math.prod(shape) for shape in _shapes(net)]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _shapes(net: Network) -> list[tuple[int, ...]]:
    weights = [array.shape for array in net.weights]
    if net.biases is None:
        return weights
    biases = [array.shape for array in net.biases]
    return [shape for layer in zip(weights, biases, strict=True) for shape in layer]
