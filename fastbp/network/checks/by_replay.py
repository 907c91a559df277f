"""The numerical gradient that a check by replay compares with: its steps shrink before kinks.

What still crosses a kink with the smallest step that rounding leaves is judged by the hull
(``hull.py``), and its quotient must be one that masks in doubt along the step explain.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from fastbp.network.checks.conventions import Seen, fitting_convention, worst_kink
from fastbp.network.checks.dead_units import count_dead_units, note_on_dead_units
from fastbp.network.checks.outcome import Outcome
from fastbp.network.checks.rounded_gradients import no_less_than_bars, noise_of_arrays
from fastbp.network.differences.adaptive_replay import DELTA, SCHEME, Measured, measure_by_replay
from fastbp.network.differences.propagated_noise import Rounding, rounding_of
from fastbp.network.differences.quotient_noise import NOISE_MARGIN
from fastbp.network.differences.replay import replay_pool
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.given_gradients import coarser_dtype
from fastbp.network.network import book_weight
from fastbp.network.sensitivities.error_bars import UNIT_ROUNDOFF, unit_roundoff
from fastbp.network.sensitivities.hull import Hull
from fastbp.network.sensitivities.weight_gradients import add_decay, write_products
from fastbp.typing import Array, Floats, Mask
from fastbp.verdict.blocks import norm
from fastbp.verdict.rows import Numerical, judged_row, unjudged_rows, unusable_reason
from fastbp.verdict.rows_to_come import Rows
from fastbp.verdict.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.network.batch import Batch
    from fastbp.network.given_gradients import GivenGradients
    from fastbp.network.gradients import ParameterArray
    from fastbp.network.network import Network
    from fastbp.runtime.workers.worker_pool import Workers


__all__ = ["check_by_replay"]


def check_by_replay(
    net: Network,
    batch: Batch,
    given: GivenGradients,
    tolerance: Tolerance | None,
    *,
    max_memory: int,
    progress: bool | None,
    workers: Workers | None = None,
) -> Outcome:
    """Compare a given gradient with a replay, entry by entry; arguments as of `check_network`."""
    coarser = unit_roundoff(coarser_dtype(net, given))
    base = evaluate(net, batch)
    rounding = rounding_of(base, coarser)
    if rounding.problem:
        shapes = [array.shape for array in net.shapes.arrays]
        rows = unjudged_rows(net.parameter_names(), shapes, given.arrays, rounding.problem)
        return Outcome(Rows.of(rows), [], 0, {"scheme": SCHEME, "delta": DELTA})
    with replay_pool(base, workers) as pool:
        measured = measure_by_replay(base, max_memory=max_memory, progress=progress, pool=pool)
    own = coarser if tolerance is None else UNIT_ROUNDOFF
    hull = rounding.hull(rounding.doubts)
    own_bars = rounding.error_bars(own, hull)
    values, radii, bars = _judged_by_hull(net, rounding, hull, measured, own_bars)
    allowed = tolerance or Tolerance(0.0, 0.0)
    judged, seen = [], []

    @cache
    def rounded() -> list[float]:
        return noise_of_arrays(base.network, base.data, own)

    def noise(place: ParameterArray) -> float:
        """Rounding of an array as a whole, and of the quotients that it is compared with."""
        of_quotients = norm(measured.noise[place.part]) / NOISE_MARGIN
        of_array = rounded()[net.shapes.arrays.index(place)]
        if hull.affected:
            of_array = no_less_than_bars(of_array, own_bars[place.part])
        return math.hypot(of_array, of_quotients)

    for place, array in zip(net.shapes.arrays, given.arrays, strict=True):
        part = place.part
        numerical = Numerical(
            place.name, place.shape, values[part], bars[part], radii[part],
            noise=partial(noise, place),
        )  # fmt: skip
        row, wrong = judged_row(array, numerical, net.dtype, allowed)
        judged.append((row, wrong))
        if row.kinks and not unusable_reason(array, place.shape):
            seen.append(_seen(net, place, array, numerical))
    convention, kink = "", None
    if seen:
        looked_at = (rounding.network, hull, seen, allowed)
        convention, kink = fitting_convention(*looked_at), worst_kink(*looked_at)
    hidden = zip(rounding.levels[1:], rounding.doubts, strict=True)
    dead = [count_dead_units(*layer) for layer in hidden]
    return Outcome(
        Rows.of([row for row, _ in judged]), [wrong for _, wrong in judged],
        measured.evaluations,
        {"scheme": SCHEME, "delta": DELTA, "doubtful": hull.doubtful, "convention": convention,
         "kink": kink, "notes": note_on_dead_units(dead, net.sizes[1:-1])},
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
        own = net.shapes.by_unit(weights[k])
        size = np.abs(rounding.levels[k])
        reach = np.abs(book_weight(rounding.network, k)) @ reach
        for unit in np.flatnonzero(own.any(axis=1)):
            reach[unit] += np.max(own[unit][:, None] * size, axis=0)
        if biases is not None:
            reach += biases[k].reshape(-1, 1)
        yield reach


def _judged_by_hull(
    net: Network,
    rounding: Rounding,
    hull: Hull,
    measured: Measured,
    own_bars: Floats,
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
        middles, widths = _products_of_hull(rounding, rounding.hull(doubts))
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
            write_products(net.shapes, k, hull.radii[k], np.abs(hull.inputs[k]), radii)
        write_products(net.shapes, k, s, rounding.levels[k], values)
    add_decay(net, values)
    return values, radii


def _seen(net: Network, array: ParameterArray, given: Array, numerical: Numerical) -> Seen:
    """All entries of an array, units by inputs."""
    parts = (given, numerical.values, numerical.error_bar, numerical.hull)
    units = net.sizes[array.layer + 1]
    if array.kind == "biases":
        columns, tables = None, [np.reshape(part, (units, 1)) for part in parts]
    else:
        columns = np.arange(net.sizes[array.layer])
        tables = [net.shapes.by_unit(np.reshape(part, array.shape)) for part in parts]
    return Seen(array.name, array.shape, array.layer, np.arange(units), columns, *tables)
