"""Noise of the derivative of a loss by its outputs, in units of u: what rounding makes of it."""

from __future__ import annotations

import math

from ..backprop.sample_losses import LEAST_SQUARES, SOFTMAX
from ..layer_table import INPUTS, OUTPUTS, UNITS_OUT
from ..machine.compile import kernel
from ..simd.vectors import panel_width
from .sweep_arrays import kept_start, panel_start

MOST_LIKELY = math.log(0.6)  # and above: of a probability, no two of which can be so large
# A probability moves by 1 at most, which leaves no margin where those of several outputs do so, all
# with the signs of the weights that they meet.
UNSURE = 4.0


@kernel(inline=True)
def target_of(i, sample, loss):
    """Target of an output: a number, or 1 for the sample's own class."""
    if loss.labels.size > 0:
        return 1.0 if loss.labels[sample] == i else 0.0
    return loss.targets[i * loss.target_row + sample * loss.target_column]


@kernel(inline=True)
def moved_share(logarithm, reach):
    """How far a probability can move whose logit moves by ``reach``: p expm1(reach).

    From log p, since p itself may be 0 where exp(reach) is infinite. What moves by as much as all
    of itself has UNSURE times that: at most UNSURE.
    """
    if reach < 1.0:
        return math.exp(logarithm) * math.expm1(reach)
    return UNSURE * math.exp(min(0.0, logarithm + reach))


@kernel(inline=True)
def scaled_noise(size, loss, noise):
    """Noise of a number times the factor, where all three may be too small for their digits."""
    factor, least = abs(loss.factor), noise.least
    return factor * (size + least) + size * least + least


@kernel
def softmax_noise(sample, outputs, loss, h, h_at, noise, xi_at, z_at, width):
    """Noise of p - y of one sample, whose outputs and noise stand ``width`` apart.

    Logits move by their noise and by the rounding of exp and log, u of the largest. What is
    likelier than all others together moves by as much as these do, and by the rounding of 1 - p.
    """
    xi, margin = noise.xi, noise.margin
    top, largest = h[h_at], 0.0
    for i in range(outputs):
        top = max(top, h[h_at + i * width])
        largest = max(largest, abs(h[h_at + i * width]))
    total, mean = 0.0, 0.0
    for i in range(outputs):
        share = math.exp(h[h_at + i * width] - top)
        total += share
        mean += share * abs(xi[xi_at + i * width])
    # top + of_all may round to top.
    everywhere, of_all = mean / total + 1.0 + largest, math.log(total)
    rest, rest_moved = 0.0, 0.0
    for i in range(outputs):
        logarithm = h[h_at + i * width] - top - of_all
        if logarithm < MOST_LIKELY:
            rest += math.exp(logarithm)
            reach = margin * (abs(xi[xi_at + i * width]) + everywhere)
            rest_moved += moved_share(logarithm, reach)
    for i in range(outputs):
        moved = xi[xi_at + i * width]
        logarithm = h[h_at + i * width] - top - of_all
        step = rest_moved + min(rest, margin * largest)
        if logarithm < MOST_LIKELY:
            step = moved_share(logarithm, margin * (abs(moved) + everywhere))
        own = math.exp(logarithm) + target_of(i, sample, loss)
        own += min(UNSURE, step) / margin
        noise.z[z_at + i * width] = math.copysign(scaled_noise(own, loss, noise), moved)


@kernel(inline=True)
def residual_noise(i, sample, output, residual, moved, loss, noise):
    """Size of the noise of ``residual``, the derivative by one output that moves by ``moved``."""
    if loss.code == LEAST_SQUARES:
        size = scaled_noise(
            2.0 * (abs(moved) + abs(output - target_of(i, sample, loss))), loss, noise
        )
    elif loss.factor == 0:
        size = 0.0
    else:
        target = target_of(i, sample, loss)
        # The less likely of the two outcomes moves as much as the other.
        away = abs(output)
        step = moved_share(-away - math.log1p(math.exp(-away)), noise.margin * abs(moved))
        own = abs(residual / loss.factor + target) + target
        size = scaled_noise(min(UNSURE, step) / noise.margin + own, loss, noise)
    return size


@kernel
def output_noise(panel, sweep):
    """Noise of the derivative by the outputs: what their noise makes of it, and its own rounding.

    The usual formulas lose what p - y does, and numbers below ``least`` lose their digits.
    """
    layers, batch, loss, noise = sweep.network.layers, sweep.batch, sweep.loss, sweep.noise
    h, s, xi = sweep.levels.h, sweep.levels.s, noise.xi
    width = panel_width(h)
    last, all_panels = layers.shape[0] - 1, batch.pitch // width
    outputs, before = layers[last, OUTPUTS], layers[last, UNITS_OUT]
    h_at = panel_start(before, outputs, panel, batch.pitch, width)
    s_at = panel_start(before - layers[0, INPUTS], outputs, panel, batch.pitch, width)
    xi_at = kept_start(xi, last + 1, panel, all_panels)
    z_at = kept_start(noise.z, last, panel, all_panels)
    for lane in range(width):
        sample = panel * width + lane
        if sample >= batch.samples:
            continue
        if loss.code == SOFTMAX and loss.factor != 0:
            softmax_noise(
                sample, outputs, loss, h, h_at + lane, noise, xi_at + lane, z_at + lane, width
            )
            continue
        for i in range(outputs):
            place = i * width + lane
            moved = xi[xi_at + place]
            size = residual_noise(i, sample, h[h_at + place], s[s_at + place], moved, loss, noise)
            noise.z[z_at + place] = math.copysign(size, moved)
