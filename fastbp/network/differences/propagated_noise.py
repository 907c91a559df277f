"""What rounding makes of every derivative, for checks by literal differences.

The noise of the kernels' ``rounding_noise`` in NumPy: random numbers of the size of the rounding,
in units of u, go in at every layer, forward and in reverse, and travel on through the same weights
as the values. Beside two losses for every parameter its cost is nothing, and nothing has to be
compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.kernels.sensitivities.loss_noise import UNSURE
from fastbp.network.network import book_weight
from fastbp.network.sensitivities.error_bars import (
    MARGIN,
    LayerNorms,
    bars,
    flat_terms,
    growth,
    norms,
)
from fastbp.network.sensitivities.hull import Hull, hull_of_levels
from fastbp.network.sensitivities.loss_slopes import loss_slopes
from fastbp.network.sensitivities.number_range import faint_samples, out_of_range, smallest_of
from fastbp.network.sensitivities.weight_gradients import add_decay
from fastbp.typing import Array, Floats, Mask

if TYPE_CHECKING:
    from fastbp.network.differences.unperturbed import Unperturbed
    from fastbp.network.network import Network


__all__ = ["Rounding", "rounding_of"]

SEED = 0  # of the noise: the same call gives the same bars
MOST_LIKELY = 0.6  # and above: of a probability, no two of which can be so large


@dataclass(slots=True, eq=False)
class Rounding:
    """Values of a network in float64, and the noise of each in units of u.

    Attributes
    ----------
    network : Network
        In float64.
    levels, level_noise : list of float64, shape (units, batch)
        What feeds each layer, the inputs first.
    sensitivities, sensitivity_noise : list of float64, shape (units, batch)
        dL/df of each layer.
    distances : list of float64, shape (units, batch)
        How far the pre-activations of each hidden layer are from 0.
    doubts : list of bool, shape (units, batch)
        Where that is within their noise.
    problem : str
        Which numbers leave the range, and where; empty if none do.
    roundoff : float
        u of the coarser computation.
    """

    network: Network
    levels: list[Floats]
    level_noise: list[Floats]
    sensitivities: list[Floats]
    sensitivity_noise: list[Floats]
    distances: list[Floats]
    doubts: list[Mask]
    problem: str
    roundoff: float

    def hull(self, doubts: list[Mask]) -> Hull:
        """What the sensitivities may be with those masks in doubt."""
        return hull_of_levels(
            self.network, self.levels, self.sensitivities[-1], doubts, self.roundoff
        )

    def error_bars(self, roundoff: float, hull: Hull) -> Floats:
        """Bars of all parameters, flat, for computations with that u and masks of that hull."""
        net, batch = self.network, self.levels[0].shape[1]
        values = zip(
            self.sensitivities, self.sensitivity_noise, self.levels, self.level_noise, strict=True
        )
        with np.errstate(over="ignore", invalid="ignore"):
            layers = [
                LayerNorms(_norms(s), _norms(z), _norms(h), _norms(xi), batch, roundoff)
                for s, z, h, xi in values
            ]
            if hull.affected:  # no further from s than its width
                layers = [
                    layer._replace(radius=2.0 * norms(radius.T))
                    for layer, radius in zip(layers, hull.radii, strict=True)
                ]
            terms = flat_terms(net.shapes, layers)
        decayed = np.zeros(terms.size)
        add_decay(net, decayed)
        return bars(terms, roundoff, np.abs(decayed))


def rounding_of(base: Unperturbed, roundoff: float) -> Rounding:
    """Let noise of the size of the rounding ride through the network, forward and back.

    Parameters
    ----------
    base : Unperturbed
        The network's pre-activations.
    roundoff : float
        u of the coarser computation: what is within its noise of 0 is in doubt.
    """
    random = np.random.default_rng(SEED)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # `problem` tells
        levels, level_noise, distances, doubts = _forward(base, roundoff, random)
        sensitivities, sensitivity_noise = _back(
            base, roundoff, random, levels, level_noise, doubts
        )
        h, xi, s, z = (
            np.stack([_norms(value.T) for value in values])
            for values in (levels, level_noise, sensitivities, sensitivity_noise)
        )
        widest = [np.max(_norms(book_weight(base.network, k).T)) for k in range(1, len(s))]
        faint = faint_samples(s, np.array(widest))
        problem = out_of_range(h, xi, s, z, faint, smallest=smallest_of(roundoff))
    return Rounding(
        base.network, levels[:-1], level_noise[:-1], sensitivities, sensitivity_noise,
        distances, doubts, problem, roundoff,
    )  # fmt: skip


def _forward(
    base: Unperturbed, roundoff: float, random: np.random.Generator
) -> tuple[list[Floats], list[Floats], list[Floats], list[Mask]]:
    """Return h and its noise of every level, outputs included; |f| and the masks in doubt."""
    net, hidden = base.network, len(base.network.weights) - 1
    rows = base.by_level()
    smallest = smallest_of(roundoff) / roundoff
    levels, noise = [rows[0]], [np.full(rows[0].shape, smallest)]
    distances: list[Floats] = []
    doubts: list[Mask] = []
    for k, f in enumerate(rows[1:]):
        weight = book_weight(net, k)
        least = _underflow_of_sum(weight.shape[1], smallest)
        bias = 0.0 if net.biases is None else np.abs(net.biases[k]).reshape(-1, 1)
        sizes = _norms(weight)[:, None]
        moved = _with_rounding_noise(
            weight @ noise[-1],
            (sizes + least) * (_norms(levels[-1].T) + least)
            + (bias + least + growth(weight.shape[1]) * np.abs(f)),
            sizes * _norms(noise[-1].T) / np.sqrt(weight.shape[1]),
            random,
        )
        if k < hidden:
            distances.append(np.abs(f))
            doubt = distances[-1] <= MARGIN * roundoff * np.abs(moved)
            doubts.append(doubt)
            moved = np.where((f > 0) | doubt, moved, 0.0)
            f = np.maximum(f, 0.0)
        levels.append(f)
        noise.append(moved)
    return levels, noise, distances, doubts


def _back(
    base: Unperturbed,
    roundoff: float,
    random: np.random.Generator,
    levels: list[Floats],
    level_noise: list[Floats],
    doubts: list[Mask],
) -> tuple[list[Floats], list[Floats]]:
    """Return dL/df of every layer and its noise."""
    net = base.network
    s = loss_slopes(net.objective, base.output, base.data) * base.factor
    z = _output_noise(base, roundoff, s, level_noise[-1])
    sensitivities, noise = [s], [z]
    for k in range(len(net.weights) - 1, 0, -1):
        weight = book_weight(net, k)
        least = _underflow_of_sum(weight.shape[0], smallest_of(roundoff) / roundoff)
        s = weight.T @ sensitivities[0]
        sizes = _norms(weight.T)[:, None]
        z = _with_rounding_noise(
            weight.T @ noise[0],
            (sizes + least) * _norms(sensitivities[0].T)
            + (growth(weight.shape[0]) * np.abs(s) + least),
            sizes * _norms(noise[0].T) / np.sqrt(weight.shape[0]),
            random,
        )
        active = levels[k] > 0
        sensitivities.insert(0, np.where(active, s, 0.0))
        noise.insert(0, np.where(active | doubts[k - 1], z, 0.0))
    return sensitivities, noise


def _underflow_of_sum(depth: int, least: float) -> float:
    """What a sum may lose whose products lose ``least`` each, as the kernel of that name."""
    return least * (1.0 + growth(depth))


def _with_rounding_noise(
    carried: Floats, own: Floats, independent: Floats, random: np.random.Generator
) -> Floats:
    """Add a layer's own rounding to what came through it.

    No less than half of what independent errors would make of either: a random number near 0 must
    not pass for exactness.
    """
    moved: Floats = carried + own * random.standard_normal(own.shape)
    return np.copysign(np.maximum(np.abs(moved), 0.5 * np.maximum(own, independent)), moved)


def _output_noise(base: Unperturbed, roundoff: float, s: Floats, moved: Floats) -> Floats:
    """Noise of the derivative by the outputs, as the kernel ``output_noise``."""
    objective, factor = base.network.objective, base.factor
    least, away = smallest_of(roundoff) / roundoff, np.abs(moved)
    if objective.custom is not None:
        size = np.abs(_carried_by_custom(base, moved)) + np.abs(s) + least * (abs(factor) + 1.0)
    elif objective.loss == "least_squares":
        residual = np.abs(base.output - base.data.by_unit(base.data.y))
        size = _scaled_noise(2.0 * (away + residual), factor, least)
    elif factor == 0.0:
        return np.zeros(s.shape)
    else:
        margin, targets = MARGIN * roundoff, base.data.targets_by_unit(s)
        output = base.output
        if objective.loss == "sigmoid_cross_entropy":
            step = _moved_share(-np.logaddexp(0.0, np.abs(output)), margin * away)
            own = np.abs(s / factor + targets)
        else:
            step, own = _moved_softmax(output, away, margin)
        size = _scaled_noise(np.minimum(UNSURE, step) / margin + own + targets, factor, least)
    return np.copysign(size, moved)


def _scaled_noise(size: Floats, factor: float, least: float) -> Floats:
    """Noise of numbers times the factor, where all of them may be too small for their digits."""
    return abs(factor) * (size + least) + (size * least + least)


def _moved_share(logarithm: Floats, reach: Floats) -> Floats:
    """How far a probability can move whose logit moves by ``reach``: p expm1(reach)."""
    small = np.exp(logarithm) * np.expm1(np.minimum(reach, 1.0))
    return np.where(reach < 1.0, small, UNSURE * np.exp(np.minimum(0.0, logarithm + reach)))


def _moved_softmax(output: Floats, away: Floats, margin: float) -> tuple[Floats, Floats]:
    """How far probabilities can move whose logits do, and the probabilities."""
    largest = np.max(np.abs(output), axis=0)
    logarithm = output - np.max(output, axis=0)
    logarithm -= np.log(np.sum(np.exp(logarithm), axis=0))
    share = np.exp(logarithm)
    reach = margin * (away + (np.sum(share * away, axis=0) + 1.0 + largest))
    step, likeliest = _moved_share(logarithm, reach), share >= MOST_LIKELY
    rest, rest_moved = (np.sum(np.where(likeliest, 0.0, a), axis=0) for a in (share, step))
    return np.where(likeliest, rest_moved + np.minimum(rest, margin * largest), step), share


def _carried_by_custom(base: Unperturbed, moved: Floats) -> Floats:
    """What a user's gradient of the loss makes of noise of the outputs: a difference of two."""
    loss, output = base.network.objective.custom, base.output
    assert loss is not None
    largest = float(np.max(np.abs(moved), initial=0.0))
    if not 0.0 < largest < np.inf:
        return np.zeros(moved.shape)
    step = 1e-8 * max(float(np.max(np.abs(output), initial=0.0)), 1e-8) / largest
    near = base.data.custom_gradient(loss, output + step * moved)
    change: Floats = near.astype(np.float64) - base.data.custom_gradient(loss, output)
    return base.factor * change / step


def _norms(rows: Array) -> Floats:
    """Norms of rows, whatever their size."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    scaled = rows / np.where(largest > 0, largest, 1.0)[:, None]
    norms: Floats = largest * np.sqrt(np.square(scaled).sum(axis=1))
    return norms
