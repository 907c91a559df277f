"""Rounding of a quotient of two losses."""

from __future__ import annotations

import numpy as np

from fastbp.network.differences.unperturbed import Unperturbed
from fastbp.network.sensitivities.error_bars import UNIT_ROUNDOFF
from fastbp.network.sensitivities.number_range import SMALLEST
from fastbp.typing import Floats, Vector

__all__ = ["NOISE_MARGIN", "noise_of_long_steps", "quotient_noise"]

# From the estimated spread of a rounding error to what no quotient exceeds: the bar was 9 to 33
# times the largest error on five random networks of 15 to 26 122 entries.
NOISE_MARGIN = 16.0
# Equal losses, added one after the other, may all round the same way: two sums of n are then off by
# n u of themselves at most, and their difference by that.
ALIKE_IN_MARGIN = 16.0
ALIKE = 2.0**-44  # of the largest output: what outputs that round alike may differ by


def quotient_noise(base: Unperturbed, scheme: str, delta: float, largest: float = 0.0) -> float:
    """Estimate the error of one quotient of two losses by rounding.

    Parameters
    ----------
    base : Unperturbed
    scheme : {"central", "forward"}
    delta : float
    largest : float
        The largest loss of a perturbed network: where outputs nearly equal targets, it is
        the step that makes the residual, and so its rounding.

    Returns
    -------
    float
        NOISE_MARGIN times the spread of a loss over the step (twice delta for central
        differences): an estimate, not a bound.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinity, as the loss
        variance = _output_variance(base) * _samples_alike(base.output)
        spread = float(np.sqrt(np.sum(np.square(_slope(base, largest)) * variance)))
        total = max(abs(base.total), largest) * _growth_of_sum(base)
        magnitude = abs(base.factor) * (spread + total)
    magnitude += abs(base.decay_term)
    span = 2.0 * delta if scheme == "central" else delta
    return NOISE_MARGIN * UNIT_ROUNDOFF * magnitude / span


def noise_of_long_steps(base: Unperturbed, moved: Vector, steps: Vector) -> Vector:
    """Estimate what `quotient_noise` lacks where a step moves the losses far.

    Parameters
    ----------
    base : Unperturbed
    moved, steps : float64, shape (n,)
        How far single central steps move the sum of the losses, and how long they are.

    Returns
    -------
    float64, shape (n,)
        Losses that are larger by so much round by more, and residuals of least squares that
        grow to the root of it pass on more of the outputs' rounding.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinity, as the loss
        size = moved * _growth_of_sum(base)
        if base.network.objective.loss == "least_squares":
            size = size + 2.0 * np.sqrt(moved * float(np.sum(_output_variance(base))))
        noise: Floats = size * (abs(base.factor) / (2.0 * steps))
    return NOISE_MARGIN * UNIT_ROUNDOFF * noise


def _samples_alike(output: Floats) -> Vector:
    """Count the samples with the outputs of each: they round alike, and their errors add up.

    So do those whose outputs differ in a few last digits only.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.rint(output / (ALIKE * max(float(np.abs(output).max()), SMALLEST)))
    _, place, counts = np.unique(rounded, axis=1, return_inverse=True, return_counts=True)
    alike: Vector = counts[place.reshape(-1)].astype(np.float64)
    return alike


def _growth_of_sum(base: Unperturbed) -> float:
    """How much more than its size, and beyond the margin, the sum of the losses may be off by.

    Losses that differ by less than a last digit of their sum are rounded alike as they are added.
    """
    digits = np.rint(base.losses[:-1] / np.spacing(abs(base.total)))
    _, counts = np.unique(digits[digits != 0.0], return_counts=True)
    return float(np.max(counts / ALIKE_IN_MARGIN, initial=1.0))


def _output_variance(base: Unperturbed) -> Floats:
    """Variance of the outputs (n_out, batch) by rounding, in units of u squared.

    Every layer adds that of its own terms, and passes on what came in through its weights:
    values that are large inside and cancel at the output count.
    """
    net = base.network
    level, *preactivations = base.by_level()
    variance = np.zeros(level.shape)
    biases = net.shapes.bias_views(base.parameters)
    for k, f in enumerate(preactivations):
        squares = np.square(net.shapes.by_unit(net.shapes.weight_views(base.parameters)[k]))
        variance = squares @ (variance + np.square(level)) + np.square(f)
        if biases is not None:
            variance += np.square(biases[k]).reshape(-1, 1)
        level = np.maximum(f, 0.0)
        if k < len(preactivations) - 1:
            variance *= f > 0
    return variance


def _slope(base: Unperturbed, largest: float) -> Floats:
    """Size of the loss's derivative by the outputs (n_out, batch), before the reduction."""
    objective, output, batch = base.network.objective, base.output, base.data
    if objective.custom is not None:
        return np.abs(batch.custom_gradient(objective.custom, output)).astype(np.float64)
    if objective.loss == "least_squares":
        residual: Floats = np.abs(output - batch.by_unit(batch.y))
        residual += np.sqrt(largest)
        return 2.0 * residual
    return np.ones(output.shape)
