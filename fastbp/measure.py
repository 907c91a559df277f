"""The numerical gradient that a check compares with, with steps that shrink before kinks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from fastbp.differences import quotient_noise, replay_entries
from fastbp.outcome import Outcome
from fastbp.rounding import Sensitivity, gradient_sensitivity
from fastbp.rows import Numerical, judged_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastbp.given import GivenGradients
    from fastbp.network import Network
    from fastbp.verdict import Tolerance

    Replayed: TypeAlias = tuple[NDArray[np.float64], NDArray[np.bool_]]

__all__ = ["Measured", "check_by_replay", "measure_by_replay", "split_by_array"]

SCHEME: Literal["central"] = "central"
DELTA = 1e-6
# Where the masks differ along a step it is divided by this, and so many times.
SHRINKING = 16.0
SHRINKINGS = 3
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
        Error by the rounding of the losses and by the length of the steps.
    sensitivity : Sensitivity
        How the entries answer to the rounding of everything else.
    kinks : ndarray of bool, shape (P,)
        The entries whose masks differ along the smallest step too.
    delta : float
        The step that every entry began with.
    evaluations : int
        How many losses were evaluated.
    """

    quotients: NDArray[np.float64]
    noise: NDArray[np.float64]
    sensitivity: Sensitivity
    kinks: NDArray[np.bool_]
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
    """

    def replay(entries: NDArray[np.int64] | None, step: float) -> Replayed:
        # Some entries once more: a bar only if it takes long after all.
        shown = None if entries is not None and progress else progress
        return replay_entries(
            net, x, y, entries, scheme=SCHEME, delta=step, max_memory=max_memory, progress=shown
        )

    delta = max(DELTA, smallest_step(net.parameters))
    quotients, kinks = replay(None, delta)
    noise = np.full(quotients.shape, quotient_noise(net, x, y, scheme=SCHEME, delta=delta))
    sensitivity = gradient_sensitivity(net, x, y)
    measured = Measured(quotients, noise, sensitivity, kinks, delta, 2 * quotients.size)
    _add_wobble(measured, _array_slices(net), lambda entries: replay(entries, delta / 2)[0])
    step = delta
    for _ in range(SHRINKINGS):
        step /= SHRINKING
        crossing = np.flatnonzero(kinks)
        if crossing.size == 0 or step < smallest_step(net.parameters[crossing]):
            break
        quotients[crossing], kinks[crossing] = replay(crossing, step)
        noise[crossing] *= SHRINKING
        measured.evaluations += 2 * crossing.size
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
    measured = measure_by_replay(net, x, y, max_memory=max_memory, progress=progress)
    judged = [
        judged_row(array, numerical, net.dtype, tolerance)
        for array, numerical in zip(given.arrays, split_by_array(net, measured), strict=True)
    ]
    return Outcome(
        [row for row, _ in judged], [wrong for _, wrong in judged], measured.evaluations,
        scheme=SCHEME, delta=measured.delta,
    )  # fmt: skip


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


def split_by_array(net: Network, measured: Measured) -> Iterator[Numerical]:
    """Cut the flat gradient into those of the arrays, in the order of the parameters."""
    for name, shape, part in zip(
        net.parameter_names(), _shapes(net), _array_slices(net), strict=True
    ):
        yield Numerical(
            name,
            shape,
            measured.quotients[part],
            measured.noise[part],
            measured.kinks[part],
            measured.sensitivity[part],
        )


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
    usable: NDArray[np.int64] = part.start + np.flatnonzero(~measured.kinks[part])
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
