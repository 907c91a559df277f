"""The numerical gradient that a check by replay compares with: its steps shrink before kinks.

What still crosses a kink with the smallest step that rounding leaves is judged by the hull
(``hull.py``), and its quotient must be one that masks in doubt along the step explain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from fastbp.network.checks.by_sensitivities import coarser_dtype
from fastbp.network.checks.conventions import Seen, fitting_convention, worst_corner
from fastbp.network.checks.outcome import Outcome
from fastbp.network.differences.finite_differences import replay_entries
from fastbp.network.differences.propagated_noise import Rounding, rounding_of
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.sensitivities.exact import outer_product
from fastbp.network.sensitivities.hull import Hull, book_weight, hull_of_levels
from fastbp.network.sensitivities.sweeps import MARGIN
from fastbp.typing import Floats, Mask
from fastbp.verdict.entries import Tolerance
from fastbp.verdict.rows import Numerical, judged_row, unjudged_rows, unusable_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastbp.network.given_gradients import GivenGradients
    from fastbp.network.network import Network

    Replayed: TypeAlias = tuple[Floats, NDArray[np.bool_]]

__all__ = ["Measured", "check_by_replay", "measure_by_replay"]

SCHEME: Literal["central"] = "central"
DELTA = 1e-6
# Where the masks differ along a step it is divided by this.
SHRINKING = 16.0
# A step is too long for a cross-entropy if its sum moves by more than FAR; once it is known to be,
# it shrinks to NEAR. All steps to NEAR would cost ordinary networks digits that they need not lose.
FAR, NEAR, CURVED = 1e-3, 1e-5, ("softmax_cross_entropy", "sigmoid_cross_entropy")
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
    evaluations : int
        How many losses were evaluated.
    """

    quotients: Floats
    noise: Floats
    crossing: NDArray[np.bool_]
    steps: Floats
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
    base = evaluate(net, x, y)
    curved = net.objective.loss in CURVED
    moved = np.empty(net.parameters.size)

    def replay(entries: NDArray[np.int64], own_steps: Floats, far: float) -> Replayed:
        """Difference some entries, all those of one step together."""
        quotients, crossing = np.empty(entries.size), np.empty(entries.size, np.bool_)
        for step in np.unique(own_steps).tolist():
            part = np.flatnonzero(own_steps == step)
            everything = part.size == net.parameters.size
            # Some entries once more: a bar only if it takes long after all.
            shown = None if progress and not everything else progress
            quotients[part], crossing[part] = replay_entries(
                net, x, y, None if everything else entries[part], scheme=SCHEME, delta=step,
                max_memory=max_memory, progress=shown, moved=moved,
            )  # fmt: skip
        if curved:
            crossing |= moved[entries] > far
        return quotients, crossing

    shortest = smallest_steps(net.parameters)
    steps = first_steps(shortest)
    quotients, crossing = replay(np.arange(steps.size), steps, FAR)
    noise = base.quotient_noise(SCHEME, DELTA) * (DELTA / steps)
    first_moved = moved.copy()
    measured = Measured(quotients, noise, crossing, steps.copy(), 2 * quotients.size)
    _add_wobble(
        measured, _array_slices(net), lambda entries: replay(entries, steps[entries] / 2, FAR)[0]
    )
    moved[:] = first_moved
    bend = np.zeros(quotients.shape)
    for n in count(1):
        with np.errstate(invalid="ignore", over="ignore"):
            heard = (SHRINKING * noise < np.abs(quotients)) | (n == 1)
        smaller = steps * SHRINKING**-n
        again = np.flatnonzero(crossing & heard & (smaller >= shortest))
        if again.size == 0:
            break
        before = quotients[again]
        quotients[again], crossing[again] = replay(again, smaller[again], NEAR)
        with np.errstate(invalid="ignore", over="ignore"):
            bend[again] = np.where(crossing[again], np.abs(quotients[again] - before), 0.0)
        noise[again] *= SHRINKING
        measured.steps[again] = smaller[again]
        measured.evaluations += 2 * again.size
    noise += np.where(np.isfinite(bend), bend, 0.0)
    noise += base.noise_of_long_steps(moved, measured.steps)
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
        rows = unjudged_rows(net, given.arrays, rounding.problem)
        return Outcome(rows, [], 0, scheme=SCHEME, delta=DELTA)
    measured = measure_by_replay(net, x, y, max_memory=max_memory, progress=progress)
    own = coarser if tolerance is None else float(np.finfo(np.float64).eps) / 2
    own_bars = rounding.error_bars(own)
    hull = hull_of_levels(
        rounding.network, rounding.levels, rounding.sensitivities[-1], rounding.doubts
    )
    values, radii, bars = _judged_by_hull(net, rounding, hull, measured, own_bars)
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
        scheme=SCHEME, delta=DELTA,
        doubtful=hull.doubtful,
        convention=convention, corner=corner,
    )  # fmt: skip


def _doubts_of_steps(net: Network, rounding: Rounding, measured: Measured) -> list[Mask]:
    """Which masks are in doubt by rounding, or can be changed by a step that crosses one."""
    reaches = _reaches(net, rounding, np.where(measured.crossing, measured.steps, 0.0))
    return [
        doubt | ~(distance > reach)
        for doubt, distance, reach in zip(rounding.doubts, rounding.distances, reaches, strict=True)
    ]


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
    net: Network, rounding: Rounding, hull: Hull, measured: Measured, own_bars: Floats
) -> tuple[Floats, Floats, Floats]:
    """Put the middle of the hull in place of quotients that depend on masks in doubt.

    A step that crosses a kink measures a mean of slopes: its quotient must lie within what the
    masks can make that it can change, and the entry is judged by those in doubt by rounding
    alone. Quotients that do not lie where they must stay: two real losses are what is believed.

    Returns values, radii and bars.
    """
    quotients, crossing, bars = measured.quotients, measured.crossing, measured.noise + own_bars
    if not hull.affected and not crossing.any():
        return quotients, np.zeros(quotients.shape), bars
    values, radii = _products_of_hull(rounding, hull)
    middles, widths = values, radii
    if crossing.any():
        doubts = _doubts_of_steps(net, rounding, measured)
        middles, widths = _products_of_hull(
            rounding,
            hull_of_levels(rounding.network, rounding.levels, rounding.sensitivities[-1], doubts),
        )
    with np.errstate(invalid="ignore", over="ignore"):
        inside = np.where(
            crossing,
            np.abs(quotients - middles) <= widths + bars,
            (radii > 0) & (np.abs(quotients - values) <= radii + bars),
        )
    return (
        np.where(inside, values, quotients), radii, np.where(inside & crossing, own_bars, bars),
    )  # fmt: skip


def _products_of_hull(rounding: Rounding, hull: Hull) -> tuple[Floats, Floats]:
    """All derivatives with the middle of the hull, and their radii."""
    net = rounding.network
    values, radii = np.empty(net.parameters.size), np.zeros(net.parameters.size)
    for k, s in enumerate(rounding.sensitivities):
        if hull.affected:
            s = s.copy()
            s[:, hull.samples] = hull.centres[k]
            _write_products(net, k, hull.radii[k], np.abs(hull.inputs[k]), radii)
        _write_products(net, k, s, rounding.levels[k], values)
    for part, weight in zip(net.shapes.weight_views(values), net.weights, strict=True):
        part += net.objective.weight_decay * weight
    return values, radii


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


def smallest_steps(parameters: NDArray[Any]) -> Floats:
    """Return for each parameter a step that still moves it, in float64.

    Examples
    --------
    >>> theta = np.array([1e12, -3.0])
    >>> (theta + smallest_steps(theta) > theta).tolist()
    [True, True]
    """
    spacings: Floats = np.spacing(np.abs(parameters).astype(np.float64))
    return 4.0 * spacings


def first_steps(shortest: Floats) -> Floats:
    """Return the usual step, made longer in powers where a parameter is too large for it."""
    longer = np.maximum(0.0, np.ceil(np.log2(shortest / DELTA) / np.log2(SHRINKING)))
    steps: Floats = DELTA * SHRINKING**longer
    return steps


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
