"""Whether the sensitivities are proved: products, differences of real losses, and their range.

The way back is proved layer by layer and sample by sample: for a random v, <U_n, v> and <s_n, W v>
differ by no more than the rounding that made U = W^T s, W v and the two sums ::

    u (|W|_F |s_n| + g (|U_n| + 2 |(|W_i| s_in)_i|)),   g = 1 + n / 16 for sums of n terms

times PROOF_MARGIN, and what numbers below the range may lose; and the next s is U, masked, to the
bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.kernels.products.matmul import DEPTH
from fastbp.kernels.sensitivities import network_pairs as kernels
from fastbp.kernels.sensitivities import sweep_arrays as arrays
from fastbp.network.sensitivities.error_bars import MARGIN, UNIT_ROUNDOFF, norms
from fastbp.network.sensitivities.loss_slopes import loss_slopes
from fastbp.network.sensitivities.number_range import (
    LARGEST,
    SMALLEST,
    faint_samples,
    out_of_range,
)
from fastbp.network.sensitivities.sweeps import PAIR_STEP
from fastbp.report.model import Certificate
from fastbp.typing import Floats, Indices, Mask, Vector

if TYPE_CHECKING:
    from fastbp.network.sensitivities.sweeps import Sweeps

__all__ = ["judge_sweeps", "judge_values"]

# The largest gap of 2 000 correct networks was 2.7 times the sum without it
# (benchmarks/calibration.py).
PROOF_MARGIN = 16.0
# A literal difference of two losses is a guard against gross mistakes that both sides share.
GROSS = 1e-3
# How far the outputs of a pair may move, squared, beside their size (or 1, of logits): as far as
# their answer is straight.
STRAIGHT = 1e-6
# How far outputs may be off a straight line, beside how far they move: what else bends is the
# square of that.
BENT = 1e-2


def judge_values(sweeps: Sweeps) -> str:
    """Say what is wrong with sweeps that were not proved; empty if nothing."""
    return _leaves_range(sweeps, _faint(sweeps)) or _wrong_output_derivative(sweeps)


def judge_sweeps(sweeps: Sweeps) -> Certificate:
    """Judge proved sweeps; where a sample fails, say in which layer."""
    thresholds, gaps = _thresholds(sweeps), sweeps.gaps[1:, :, : sweeps.batch]
    faint = _faint(sweeps)
    proved: Mask = np.logical_not(faint.any(axis=0))
    differenced, wrong_pairs = _judge_pairs(sweeps, proved)
    problem = _leaves_range(sweeps, faint)
    if not problem and not np.isfinite(thresholds[:, proved]).all():
        problem = "overflow: the products that prove the sensitivities leave the range of numbers"
    problem = problem or _failed_proof(sweeps, thresholds, gaps) or _wrong_output_derivative(sweeps)
    if not problem and wrong_pairs:
        problem = (
            f"two real losses of sample {wrong_pairs[0]} differ by another amount than its "
            f"sensitivities say (seed {sweeps.seed}): a defect of fastbp"
        )
    return Certificate(
        directions=sweeps.directions,
        seed=sweeps.seed,
        resolution=_resolution(sweeps, thresholds, proved),
        closest=_closest(thresholds, gaps, proved),
        samples=int(np.count_nonzero(proved)),
        differenced=differenced,
        problem=problem,
    )


def _faint(sweeps: Sweeps) -> Mask:
    """Tell where s is below the range, or may have become 0 by that: (layers, batch)."""
    widest = np.empty(0)
    if sweeps.count > 1:
        starts = np.cumsum(sweeps.network.sizes[:-2])
        widest = np.maximum.reduceat(sweeps.column_norms, starts)
    return faint_samples(sweeps.s_norms[:, : sweeps.batch], widest)


def _leaves_range(sweeps: Sweeps, faint: Mask) -> str:
    """Say which numbers overflow or underflow, if any do."""
    alive = slice(0, sweeps.batch)
    problem = out_of_range(
        sweeps.h_norms[:, alive], sweeps.xi_norms[:, alive],
        sweeps.s_norms[:, alive], sweeps.z_norms[:, alive], faint, smallest=sweeps.smallest,
    )  # fmt: skip
    finite = np.isfinite(sweeps.losses[alive])
    if not problem and not finite.all():
        sample = int(np.argmin(finite))
        problem = f"overflow: the loss of sample {sample} leaves the range of numbers"
    return problem


def _thresholds(sweeps: Sweeps) -> Floats:
    """What rounding may make of the gaps, (layers but the first, batch)."""
    sizes = np.array(sweeps.network.sizes)
    # Of equal terms every rounding may go the same way, in blocks of at most DEPTH; W v is a sum
    # in vectors, however long.
    depth = np.maximum(sizes[1:-1], sizes[2:])
    growth = 1.0 + np.maximum(np.minimum(depth, DEPTH) / 16.0, depth / 256.0)
    starts = np.cumsum(sizes[1:])[:-1]
    alive = slice(0, sweeps.batch)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.maximum.reduceat(sweeps.weight_norms, starts)
        safe = np.where((scale > 0) & (scale < np.inf), scale, 1.0)
        squares = np.square(sweeps.weight_norms[sizes[1] :] / np.repeat(safe, sizes[2:]))
        starts = starts - sizes[1]
        frobenius = safe * np.sqrt(np.add.reduceat(squares, starts))
        total = frobenius[:, None] * sweeps.s_norms[1:, alive]
        sums = sweeps.unmasked_norms[1:, alive] + 2.0 * sweeps.weighted_s_norms[1:, alive]
        thresholds: Floats = PROOF_MARGIN * UNIT_ROUNDOFF * (total + growth[:, None] * sums)
        thresholds += SMALLEST * np.maximum(1.0, frobenius)[:, None]
    return thresholds


def _resolution(sweeps: Sweeps, thresholds: Floats, proved: Mask) -> float:
    """Return the largest threshold, in units of |s| of its layer over the batch."""
    sizes = np.where(proved, sweeps.s_norms[:-1, : sweeps.batch], 0.0)
    largest = sizes.max(axis=1, initial=0.0)[:, None]
    there = (largest > 0) & proved
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        norms = largest * np.sqrt(np.square(sizes / largest).sum(axis=1, keepdims=True))
        relative = thresholds / norms
    return float(np.max(relative, initial=0.0, where=there))


def _closest(thresholds: Floats, gaps: Floats, proved: Mask) -> float:
    """Return the largest gap over its threshold."""
    with np.errstate(invalid="ignore", over="ignore"):
        ratios = gaps.max(axis=1, initial=0.0) / np.where(thresholds > 0, thresholds, np.inf)
    return float(np.max(ratios, initial=0.0, where=proved))


def _judge_pairs(sweeps: Sweeps, proved: Mask) -> tuple[int, list[int]]:
    """Compare literal differences with what the sensitivities say of them.

    Returns how many samples were compared, and the samples that disagree. A sample whose masks
    differ along the step, or are in doubt, is left to the hull.
    """
    half = sweeps.pair_samples
    samples = (sweeps.chosen[:, None] * half + np.arange(half)).reshape(-1)
    own = np.minimum(samples, sweeps.batch - 1)
    lanes = sweeps.dots[:, :, :, :half].reshape(sweeps.count, kernels.PAIR_DOTS, -1)
    usable = (samples < sweeps.batch) & (sweeps.crossed == 0)
    usable &= (proved & ~_doubtful_samples(sweeps))[own] & _losses_that_fit(sweeps)
    above, below = (
        sweeps.pair_losses[:, :half].reshape(-1),
        sweeps.pair_losses[:, half : 2 * half].reshape(-1),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        terms = lanes[:, kernels.A_S] * lanes[:, kernels.B_H], lanes[:, kernels.C_S]
        expected = 2.0 * (terms[0] + terms[1]).sum(axis=0)
        size = 2.0 * (np.abs(terms[0]) + np.abs(terms[1])).sum(axis=0)
        rounded = np.abs(lanes[:, kernels.A_Z] * lanes[:, kernels.B_H]) + np.abs(
            lanes[:, kernels.C_Z]
        )
        difference = sweeps.factor * (above - below)
        lost = np.abs(above) + np.abs(below)
        scale = np.square(sweeps.h_norms[-1, : sweeps.batch])[own]
        if sweeps.network.objective.loss != "least_squares":
            lost = lost + sweeps.facts[arrays.LARGEST_OUTPUT][own]  # of log(sum(exp(o))) - o
        # What is left of the losses without the step is its square: that is known to the step's
        # own size, and to the rounding of the outputs that it moves.
        bend = abs(sweeps.factor) * np.abs(above + below - 2.0 * sweeps.losses[own])
        outputs = sweeps.xi_norms[-1][own] * np.sqrt(8.0 * abs(sweeps.factor) * bend)
        noise = 2.0 * rounded.sum(axis=0) + abs(sweeps.factor) * lost + outputs
        noise = MARGIN * UNIT_ROUNDOFF * (noise + sweeps.facts[arrays.RESIDUAL_NOISE][own])
        # A convex loss of the outputs differs from a straight line by no more than its bend:
        # |L(1) - L(-1) - 2 L'(0)| <= L(1) + L(-1) - 2 L(0).  Of saturated logits the bend is small
        # even where they move by 1.  A square has no odd part but its slope.
        squares = sweeps.network.objective.loss == "least_squares"
        noise += (16.0 * PAIR_STEP if squares else 1.0) * bend
        # A step that is no small one for some rows of W makes the network bend: nothing to compare.
        reach = STRAIGHT * (scale if squares else 1.0)
        usable &= bend <= abs(sweeps.factor) * reach
        gap, allowed = np.abs(difference - expected), GROSS * size + noise
        wrong = usable & ~(gap <= allowed)
        if wrong.any():
            bent, curvature = _bends_of_outputs(sweeps, own)
            usable &= ~(wrong & bent)
            wrong &= usable & ~(gap <= allowed + abs(sweeps.factor) * curvature)
    return int(np.count_nonzero(usable)), [int(n) for n in samples[wrong]]


def _bends_of_outputs(sweeps: Sweeps, own: Indices) -> tuple[Mask, Vector]:
    """Compare how the outputs of both networks of a pair bend with how they move, d and q.

    With outputs o + q +- d the difference of two squares is 4 (o - y + q) d: what the curvature q
    of the network adds to it is at most 4 |q| |d|. Where layers undo each other a product of
    them need not be straight to PAIR_STEP, and q may be as large as the residual is.

    Returns where q is so large beside d that its cubic companion may be too, and 4 |q| |d|.
    """
    half, output = sweeps.pair_samples, sweeps.level(sweeps.h, sweeps.count)[:, own]
    pairs = sweeps.pair_outputs().transpose(1, 0, 2)
    above, below = (
        pairs[:, :, part].reshape(len(output), -1) for part in (slice(half), slice(half, 2 * half))
    )
    moved = norms(np.abs(above - below) / 2.0)
    bent = norms(np.abs((above + below) / 2.0 - output))
    rounding = MARGIN * UNIT_ROUNDOFF * sweeps.xi_norms[-1][own]
    return ~(bent <= BENT * moved + rounding), 4.0 * bent * moved


def _losses_that_fit(sweeps: Sweeps) -> Mask:
    """Tell in which samples a loss is neither lost nor infinite."""
    half = sweeps.pair_samples
    above, below = sweeps.pair_losses[:, :half], sweeps.pair_losses[:, half : 2 * half]
    losses = np.maximum(above, below).reshape(-1)
    return np.isfinite(losses) & (np.abs(losses) < LARGEST)


def _doubtful_samples(sweeps: Sweeps) -> Mask:
    sizes, pitch = sweeps.network.sizes, sweeps.pitch
    found = np.zeros(sweeps.batch, np.bool_)
    hidden = sweeps.doubt[sizes[0] * pitch : sum(sizes[:-1]) * pitch]
    if hidden.any():
        for level in range(1, sweeps.count):
            found |= sweeps.level(sweeps.doubt, level).any(axis=0)
    return found


def _wrong_output_derivative(sweeps: Sweeps) -> str:
    """Compare two real losses of every sample, and exact differences, with what came of them."""
    if sweeps.network.objective.custom is not None:
        return ""  # the user's own gradient of the loss has a check of its own
    facts, size = sweeps.facts, abs(sweeps.factor)
    step, convex = facts[arrays.ALONG_STEP], sweeps.network.objective.loss != "least_squares"
    curved = 1e-10 if convex else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        noise = (128 * UNIT_ROUNDOFF * (1.0 + facts[arrays.LARGEST_OUTPUT]) + curved) * step
        noise += 128 * UNIT_ROUNDOFF * facts[arrays.LOSSES_BESIDE]
        if convex:  # log(sum(exp(o))) - y o: what is subtracted may be larger than what is left
            noise += 16 * UNIT_ROUNDOFF * facts[arrays.LARGEST_OUTPUT]
        allowed = size * noise + 1e-6 * facts[arrays.ALONG_SIZE]
        gap = np.abs(sweeps.factor * facts[arrays.ALONG_LOSS] - facts[arrays.ALONG_OUTPUT])
    wrong = np.isfinite(facts[arrays.LOSSES_BESIDE]) & ~(gap <= allowed)
    wrong |= _wrong_slopes(sweeps)
    if not wrong.any():
        return ""
    return (
        f"the loss of sample {int(np.argmax(wrong))} differs by another amount than its "
        f"derivative by the outputs says (seed {sweeps.seed}): a defect of fastbp"
    )


def _wrong_slopes(sweeps: Sweeps) -> Mask:
    """Tell in which samples s of the outputs is not what differences that cancel nothing give."""
    net, output = sweeps.network, sweeps.level(sweeps.h, sweeps.count)
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = loss_slopes(net.objective, output, sweeps.data) * sweeps.factor
        own = sweeps.sensitivity(sweeps.count - 1)
        allowed = np.abs(own)
        if net.objective.loss != "least_squares":  # p - y, of a p that is off by u of its logits
            allowed = abs(sweeps.factor) * (1.0 + np.abs(output).max(axis=0))
        wrong: Mask = (~(np.abs(slopes - own) <= 64 * UNIT_ROUNDOFF * allowed)).any(axis=0)
    return wrong


def _failed_proof(sweeps: Sweeps, thresholds: Floats, gaps: Floats) -> str:
    """Name the first layer on the way back whose proof fails, and a sample."""
    with np.errstate(invalid="ignore"):
        failed = (~(gaps <= thresholds[:, None])).any(axis=1)
    failed &= np.isfinite(thresholds)
    failed |= sweeps.flipped[1:, : sweeps.batch] > 0
    if not failed.any():
        return ""
    layer = len(failed) - 1 - int(np.argmax(failed[::-1].any(axis=1)))
    sample = int(np.argmax(failed[layer]))
    return (
        f"the sensitivities of layer {layer} fail their certificate in sample {sample} "
        f"(seed {sweeps.seed}): a defect of fastbp"
    )
