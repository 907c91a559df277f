"""Noise of the derivative of a loss by its outputs, in units of u: what rounding makes of it."""

from __future__ import annotations

import math

from ..backprop.sample_losses import LEAST_SQUARES, SOFTMAX
from ..machine.compile import kernel
from ..simd.vectors import panel_width

MOST_LIKELY = math.log(0.5)  # and above: of a probability


@kernel(inline=True)
def target_of(targets, labels, i, sample, t_row, t_column):
    """Target of an output: a number, or 1 for the sample's own class."""
    if labels.size > 0:
        return 1.0 if labels[sample] == i else 0.0
    return targets[i * t_row + sample * t_column]


@kernel(inline=True)
def moved_share(logarithm, reach):
    """How far a probability can move whose logit moves by ``reach``: p expm1(reach), at most 1.

    From log p, since p itself may be 0 where exp(reach) is infinite.
    """
    if reach < 1.0:
        return math.exp(logarithm) * math.expm1(reach)
    return math.exp(min(0.0, logarithm + reach))


@kernel
def softmax_noise(
    lane, factor, margin, least, outputs, sample, targets, t_row, t_column, labels, o_at, h,
    xi_at, xi, z,
):  # fmt: skip
    """Noise of p - y of one sample.

    Logits move by their noise and by the rounding of exp and log, u of the largest. What is
    likelier than all others together moves by as much as these do, and by the rounding of 1 - p.
    """
    width = panel_width(h)
    top, largest = h[o_at + lane], 0.0
    for i in range(outputs):
        top = max(top, h[o_at + i * width + lane])
        largest = max(largest, abs(h[o_at + i * width + lane]))
    total, mean = 0.0, 0.0
    for i in range(outputs):
        share = math.exp(h[o_at + i * width + lane] - top)
        total += share
        mean += share * abs(xi[xi_at + i * width + lane])
    everywhere, shift = mean / total + 1.0 + largest, top + math.log(total)
    rest, rest_moved = 0.0, 0.0
    for i in range(outputs):
        logarithm = h[o_at + i * width + lane] - shift
        if logarithm < MOST_LIKELY:
            rest += math.exp(logarithm)
            reach = margin * (abs(xi[xi_at + i * width + lane]) + everywhere)
            rest_moved += moved_share(logarithm, reach)
    for i in range(outputs):
        moved = xi[xi_at + i * width + lane]
        logarithm = h[o_at + i * width + lane] - shift
        step = rest_moved + min(rest, margin * largest)
        if logarithm < MOST_LIKELY:
            step = moved_share(logarithm, margin * (abs(moved) + everywhere))
        own = math.exp(logarithm) + target_of(targets, labels, i, sample, t_row, t_column)
        size = abs(factor) * (min(1.0, step) / margin + own) + least
        z[i * width + lane] = math.copysign(size, moved)


@kernel
def output_noise(
    loss, factor, margin, least, outputs, at, panel, targets, t_row, t_column, labels, batch,
    o_at, h, s, xi, xi_at, z,
):  # fmt: skip
    """Noise of the derivative by the outputs: what their noise makes of it, and its own rounding.

    The usual formulas lose what p - y does, and numbers below ``least`` lose their digits.
    """
    width = panel_width(h)
    for lane in range(width):
        sample = panel * width + lane
        if sample >= batch:
            continue
        if loss == SOFTMAX and factor != 0:
            softmax_noise(
                lane, factor, margin, least, outputs, sample, targets, t_row, t_column, labels,
                o_at, h, xi_at, xi, z,
            )  # fmt: skip
            continue
        for i in range(outputs):
            r = s[at + i * width + lane]
            moved = xi[xi_at + i * width + lane]
            if loss == LEAST_SQUARES:
                size = abs(2.0 * factor * moved) + abs(r) + least
            elif factor == 0:
                size = 0.0
            else:
                target = target_of(targets, labels, i, sample, t_row, t_column)
                # The less likely of the two outcomes moves as much as the other.
                away = abs(h[o_at + i * width + lane])
                step = moved_share(-away - math.log1p(math.exp(-away)), margin * abs(moved))
                own = abs(r / factor + target) + target
                size = abs(factor) * (min(1.0, step) / margin + own) + least
            z[i * width + lane] = math.copysign(size, moved)
