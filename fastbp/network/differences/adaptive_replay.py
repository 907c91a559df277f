"""A replay with steps that shrink where a kink is nearer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from fastbp.network.differences.quotient_noise import noise_of_long_steps, quotient_noise
from fastbp.network.differences.replay import replay
from fastbp.network.differences.unperturbed import Unperturbed
from fastbp.runtime.workers.worker_pool import WorkerPool
from fastbp.typing import AnyFloats, Floats, Indices, Mask, Vector

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["Measured", "measure_by_replay"]


Replayed: TypeAlias = tuple[Floats, Mask, Mask]
SCHEME: Literal["central"] = "central"
DELTA = 1e-6


# Where the masks differ along a step it is divided by this.
SHRINKING = 16.0


# A step is too long for a cross-entropy if its sum moves by more than FAR; once it is known to be,
# it shrinks to NEAR. All steps to NEAR would cost ordinary networks digits that they need not lose.
FAR, NEAR, CURVED = 1e-3, 1e-5, ("softmax_cross_entropy", "sigmoid_cross_entropy")


# Twice as many entries of each array are differenced with half the step as well.
SAMPLE = 16


# Margin from the sampled truncation error to that of the whole array, and from that of an entry as
# two steps tell it to what it is.
TRUNCATION_MARGIN = 8.0


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
    crossing: Mask
    steps: Floats
    evaluations: int


def measure_by_replay(
    base: Unperturbed, *, max_memory: int, progress: bool | None, pool: WorkerPool | None = None
) -> Measured:
    """Difference every parameter; then again, with smaller steps, those that cross a kink.

    Parameters
    ----------
    base : Unperturbed
    max_memory, progress : int, bool or None
        As in `check_network`.
    pool : WorkerPool, optional
        As in `replay`.

    Notes
    -----
    A step is made smaller at least once, and then as long as its masks differ, it still moves the
    parameter, and the rounding of the losses stays below the quotient. Where the loss bends so much
    that what a central difference cuts off is above what rounding would be with the next smaller
    step, that is taken, too: the one falls by the square of `SHRINKING`, the other grows by it.
    """
    net = base.network
    curved, parabola = net.objective.loss in CURVED, net.objective.loss == "least_squares"
    moved = np.empty((2, net.parameters.size))

    def difference(entries: Indices, own_steps: Floats, far: float) -> Replayed:
        """Difference some entries, all those of one step together."""
        quotients, kinked = np.empty(entries.size), np.empty(entries.size, np.bool_)
        for step in np.unique(own_steps).tolist():
            part = np.flatnonzero(own_steps == step)
            everything = part.size == net.parameters.size
            # Some entries once more: a bar only if it takes long after all.
            shown = None if progress and not everything else progress
            quotients[part], kinked[part], _ = replay(
                base, None if everything else entries[part], scheme=SCHEME, delta=step,
                max_memory=max_memory, progress=shown, moved=moved, pool=pool,
            )  # fmt: skip
        too_far = moved[0, entries] > far if curved else np.zeros(entries.size, np.bool_)
        return quotients, kinked, too_far

    shortest = smallest_steps(base.parameters)
    steps = first_steps(shortest)
    quotients, kinked, too_far = difference(np.arange(steps.size), steps, FAR)
    crossing = kinked | too_far
    noise = quotient_noise(base, SCHEME, DELTA) * (DELTA / steps)
    first_moved = moved.copy()
    measured = Measured(quotients, noise, crossing, steps.copy(), 2 * quotients.size)
    cut = _truncation_error(
        measured,
        moved[1],
        [array.part for array in net.shapes.arrays],
        lambda entries: difference(entries, steps[entries] / 2, FAR)[0],
    )
    if parabola:  # nothing is cut off: what shows is rounding
        noise += cut
        cut[:] = 0.0
    cut[too_far] = np.inf
    moved[:] = first_moved
    for n in count(1):
        with np.errstate(invalid="ignore", over="ignore"):
            above_noise = (SHRINKING * noise < np.abs(quotients)) | (n == 1)
            too_long = np.where(crossing, above_noise, cut > SHRINKING * noise)
        smaller = steps * SHRINKING**-n
        again = np.flatnonzero(too_long & (smaller >= shortest))
        if again.size == 0:
            break
        before, kinked_before = quotients[again], kinked[again]
        quotients[again], kinked[again], too_far = difference(again, smaller[again], NEAR)
        crossing[again] = kinked[again] | too_far
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.abs(quotients[again] - before)
        change[~np.isfinite(change)] = 0.0
        cut[again] = np.where(
            kinked_before, cut[again] / SHRINKING**2,
            TRUNCATION_MARGIN * change / (SHRINKING**2 - 1.0),
        )  # fmt: skip
        cut[again] = np.where(crossing[again], change, 0.0 if parabola else cut[again])
        noise[again] *= SHRINKING
        measured.steps[again] = smaller[again]
        measured.evaluations += 2 * again.size
    noise += np.where(np.isfinite(cut), cut, 0.0)
    if curved:
        noise += _slopes_between(base, moved, measured.steps)
    noise += noise_of_long_steps(base, moved[0], measured.steps)
    return measured


def _slopes_between(base: Unperturbed, moved: Floats, steps: Floats) -> Vector:
    """Bound the error of steps that are too far to the end, since noise forbade shorter ones.

    An output is affine in a single parameter and its loss convex: the slope lies between those of
    both sides, which the loss bends by as much as the mean of both losses moves.
    """
    far = moved[0] > FAR
    bound: Vector = np.where(far, abs(base.factor) * moved[1] / steps, 0.0)
    return bound


def smallest_steps(parameters: AnyFloats) -> Floats:
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


def _truncation_error(
    measured: Measured,
    bends: Vector,
    arrays: list[slice],
    replay_half: Callable[[Indices], Floats],
) -> Floats:
    """Estimate of every entry how much its quotient would change with a smaller step.

    From how much some quotients of each array change when the step is halved. That shows what a
    central difference cuts off, which grows as the cube of the activations where the loss is no
    parabola, and whatever rounding the estimated noise does not know of.
    """
    cut = np.zeros(measured.quotients.shape)
    samples = [_sample(measured, bends, part) for part in arrays]
    everywhere = np.concatenate(samples)
    if everywhere.size == 0:
        return cut
    # Where the loss overflows there is no quotient, and no verdict; the others keep theirs.
    with np.errstate(invalid="ignore", over="ignore"):
        changes = np.abs(replay_half(everywhere) - measured.quotients[everywhere])
    changes[~np.isfinite(changes)] = 0.0
    measured.evaluations += 2 * everywhere.size
    ends = np.cumsum([sample.size for sample in samples])[:-1]
    for part, change in zip(arrays, np.split(changes, ends), strict=True):
        cut[part] = TRUNCATION_MARGIN * np.max(change, initial=0.0)
    return cut


def _sample(measured: Measured, bends: Vector, part: slice) -> Indices:
    """Choose entries of one array: of the largest quotients and bends, and some spread over it."""
    usable: Indices = part.start + np.flatnonzero(~measured.crossing[part])
    if usable.size <= 2 * SAMPLE:
        return usable
    half = SAMPLE // 2
    largest = [
        np.argpartition(sizes, -half)[-half:]
        for sizes in (np.abs(measured.quotients[usable]), bends[usable])
    ]
    spread = np.linspace(0, usable.size - 1, SAMPLE).astype(np.int64)
    chosen: Indices = usable[np.unique(np.concatenate([*largest, spread]))]
    return chosen
