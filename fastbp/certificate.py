"""Whether the sensitivities are proved: tangents, differences of real losses, and their range.

Tangents are judged sample by sample: r^T T and the sum of <s_k, v_k> / |s_k| differ by no more than
the rounding of the products that made them, u (g |T_k| |s_k W_k| + g |T_k W_k| |s_k|) summed over
the layers, where g = 1 + sqrt(n) / 4 for sums of n terms, times PROOF_MARGIN.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.kernels import sweeps as kernels
from fastbp.kernels.simd import VECTORS
from fastbp.sweeps import MARGIN, PAIR_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.sweeps import Sweeps

__all__ = ["Certificate", "judge_sweeps", "out_of_range"]

UNIT = float(np.finfo(np.float64).eps) / 2
# The largest discrepancy of 1800 correct networks was 0.81 times the sum without it.
PROOF_MARGIN = 16.0
# A literal difference of two losses is a guard against gross mistakes that both sides share.
GROSS = 1e-3
# Numbers beyond are near the ends of the range, where products lose digits or overflow.
SMALLEST, LARGEST = 1e-290, 1e290


@dataclass(frozen=True, slots=True)
class Certificate:
    """How the sensitivities were proved.

    Attributes
    ----------
    directions : int
        Random tangents through each sample.
    seed : int
        Of every random number: the same seed gives the same bits.
    resolution : float
        The largest threshold: an error of s in one sample, in units of that sample's |s_k| of
        the layer, that is K times as large slips through with probability (0.8 / K)**directions
        (but no less than about 1e-10).
    largest : float
        The largest discrepancy that was found.
    samples : int
        Samples that were proved so.
    differenced : int
        Samples whose loss was also differenced literally, along a random direction of all
        parameters.
    problem : str
        Why it is no proof; empty if it is one.
    """

    directions: int
    seed: int
    resolution: float
    largest: float
    samples: int
    differenced: int
    problem: str


def judge_sweeps(sweeps: Sweeps) -> Certificate:
    """Judge finished sweeps; where a sample fails, say in which layer."""
    thresholds, gaps = _thresholds(sweeps), _gaps(sweeps)
    proved = ~_faint_samples(sweeps)
    differenced, wrong_pairs = _judge_pairs(sweeps, proved)
    with np.errstate(invalid="ignore"):
        failed = ~(gaps <= thresholds) & proved
    problem = out_of_range(sweeps)
    if not problem and not np.isfinite(thresholds[:, proved]).all():
        problem = "overflow: the products that prove the sensitivities leave the range of numbers"
    if not problem and failed.any():
        sample = int(np.argmax(failed.any(axis=0)))
        problem = _blamed(sweeps, sample)
    if not problem:
        problem = _wrong_output_derivative(sweeps)
    if not problem and wrong_pairs:
        problem = (
            f"two real losses of sample {wrong_pairs[0]} differ by another amount than its "
            f"sensitivities say (seed {sweeps.seed}): a defect of fastbp"
        )
    return Certificate(
        directions=sweeps.directions,
        seed=sweeps.seed,
        resolution=float(np.max(thresholds[:, proved], initial=0.0)),
        largest=float(np.max(gaps[:, proved], initial=0.0)),
        samples=int(np.count_nonzero(proved)),
        differenced=differenced,
        problem=problem,
    )


def out_of_range(sweeps: Sweeps) -> str:
    """Say which layer's numbers leave the range 1e-290 to 1e290, if any do.

    Samples whose numbers are smaller than that do not matter beside others that are not.
    """
    alive = slice(0, sweeps.batch)
    for level in range(sweeps.count + 1):
        where = "the inputs" if level == 0 else f"layer {level - 1}"
        sizes = sweeps.h_norms[level, alive]
        if _too_large(sizes) or _too_large(sweeps.x_norms[level, alive]):
            return f"overflow: the pre-activations of {where} leave the range of numbers"
        if np.all((sizes > 0) & (sizes < SMALLEST)):
            return f"underflow: the activations of {where} are below 1e-290"
    faint = np.zeros(sweeps.batch, np.bool_)
    for k in range(sweeps.count - 1, -1, -1):
        if _too_large(sweeps.s_norms[k, alive]) or _too_large(sweeps.z_norms[k, alive]):
            return f"overflow: the sensitivities of layer {k} leave the range of numbers"
        faint |= _faint(sweeps, k)
        if faint.any() and np.all(faint | (sweeps.s_norms[-1, alive] == 0)):
            return f"underflow: the sensitivities of layer {k} are below 1e-290"
    with np.errstate(invalid="ignore"):
        tangents = sweeps.t_norms[:, :, alive][:, :, ~faint]
    for k in range(sweeps.count):
        if _too_large(tangents[k]):
            return f"overflow: the tangents of layer {k} leave the range of numbers"
    return ""


def _faint(sweeps: Sweeps, k: int) -> NDArray[np.bool_]:
    """Tell in which samples s of a layer is below the range, or may have become 0 by that."""
    sizes = sweeps.s_norms[k, : sweeps.batch]
    found: NDArray[np.bool_] = (sizes > 0) & (sizes < SMALLEST)
    if k + 1 < sweeps.count:
        first = sum(sweeps.network.sizes[: k + 1])
        widest = np.max(sweeps.column_norms[first : first + sweeps.network.sizes[k + 1]])
        with np.errstate(over="ignore"):  # what is infinite is not faint
            above = widest * sweeps.s_norms[k + 1, : sweeps.batch]
        found |= (above > 0) & (above < SMALLEST)
    return found


def _faint_samples(sweeps: Sweeps) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.any([_faint(sweeps, k) for k in range(sweeps.count)], axis=0)
    return found


def _too_large(sizes: NDArray[Any]) -> bool:
    return not bool(np.all(sizes <= LARGEST))


def _gaps(sweeps: Sweeps) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        gaps: NDArray[np.float64] = np.abs(sweeps.arrived - sweeps.expected)[:, : sweeps.batch]
    return gaps


def _thresholds(sweeps: Sweeps) -> NDArray[np.float64]:
    """What rounding may make of the discrepancy, (directions, batch)."""
    sizes = sweeps.network.sizes
    growth = np.array([1.0 + 0.25 * np.sqrt(max(i, o)) for i, o in pairwise(sizes)])
    with np.errstate(invalid="ignore", over="ignore"):
        forward = sweeps.t_norms * sweeps.sigmas[:, None]
        back = sweeps.taus * sweeps.s_norms[:, None]
        total = np.einsum("k,kdn->dn", growth, forward + back)
        own = float(np.sum(growth * np.sqrt(sizes[1:])))
        thresholds: NDArray[np.float64] = PROOF_MARGIN * UNIT * (total + own)
    return thresholds[:, : sweeps.batch]


def _judge_pairs(sweeps: Sweeps, proved: NDArray[np.bool_]) -> tuple[int, list[int]]:
    """Compare literal differences with what the sensitivities say of them.

    Returns how many samples were compared, and the samples that disagree. A sample whose masks
    differ along the step, or are in doubt, is left to the hull.
    """
    half = sweeps.width // VECTORS
    samples = (sweeps.chosen[:, None] * half + np.arange(half)).reshape(-1)
    own = np.minimum(samples, sweeps.batch - 1)
    lanes = sweeps.dots[:, :, :, :half].reshape(sweeps.count, kernels.PAIR_DOTS, -1)
    usable = (samples < sweeps.batch) & (sweeps.crossed == 0)
    usable &= (proved & ~_doubtful_samples(sweeps))[own] & _losses_that_fit(sweeps)
    above, below = (
        sweeps.pair_losses[:, :half].reshape(-1),
        sweeps.pair_losses[:, half:].reshape(-1),
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
        if sweeps.network.objective.loss != "least_squares":
            lost = lost + sweeps.facts[kernels.LARGEST_OUTPUT][own]  # of log(sum(exp(o))) - o
        # What is left of the losses without the step is its square: that is known to the step's
        # own size, and to the rounding of the outputs that it moves.
        bend = abs(sweeps.factor) * np.abs(above + below - 2.0 * sweeps.losses[own])
        outputs = sweeps.x_norms[-1][own] * np.sqrt(8.0 * abs(sweeps.factor) * bend)
        noise = 2.0 * rounded.sum(axis=0) + abs(sweeps.factor) * lost + outputs
        noise = MARGIN * UNIT * (noise + sweeps.facts[kernels.RESIDUAL_NOISE][own])
        noise += 16.0 * PAIR_STEP * bend
        wrong = usable & ~(np.abs(difference - expected) <= GROSS * size + noise)
    return int(np.count_nonzero(usable)), [int(n) for n in samples[wrong]]


def _losses_that_fit(sweeps: Sweeps) -> NDArray[np.bool_]:
    """Tell in which samples a loss is neither lost nor infinite."""
    half = sweeps.width // VECTORS
    losses = np.maximum(sweeps.pair_losses[:, :half], sweeps.pair_losses[:, half:]).reshape(-1)
    return np.isfinite(losses) & (np.abs(losses) < LARGEST)


def _doubtful_samples(sweeps: Sweeps) -> NDArray[np.bool_]:
    sizes, pitch = sweeps.network.sizes, sweeps.pitch
    found = np.zeros(sweeps.batch, np.bool_)
    hidden = sweeps.doubt[sizes[0] * pitch : sum(sizes[:-1]) * pitch]
    if hidden.any():
        for level in range(1, sweeps.count):
            found |= sweeps.level(sweeps.doubt, level).any(axis=0)
    return found


def _wrong_output_derivative(sweeps: Sweeps) -> str:
    """Compare two real losses of every sample with the derivative by its outputs."""
    if sweeps.network.objective.custom is not None:
        return ""  # the user's own gradient of the loss has a check of its own
    facts, size = sweeps.facts, abs(sweeps.factor)
    step = facts[kernels.ALONG_STEP]
    curved = 1e-10 if sweeps.network.objective.loss != "least_squares" else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        noise = (128 * UNIT * (1.0 + facts[kernels.LARGEST_OUTPUT]) + curved) * step
        noise += 128 * UNIT * facts[kernels.LOSSES_BESIDE]
        allowed = size * noise + 1e-6 * facts[kernels.ALONG_SIZE]
        gap = np.abs(sweeps.factor * facts[kernels.ALONG_LOSS] - facts[kernels.ALONG_OUTPUT])
    wrong = np.isfinite(facts[kernels.LOSSES_BESIDE]) & ~(gap <= allowed)
    if not wrong.any():
        return ""
    return (
        f"the loss of sample {int(np.argmax(wrong))} differs by another amount than its "
        f"derivative by the outputs says (seed {sweeps.seed}): a defect of fastbp"
    )


def _blamed(sweeps: Sweeps, sample: int) -> str:
    """Try the layers of a sample that fails its certificate one by one."""
    net = sweeps.network
    for k in range(sweeps.count - 2, -1, -1):
        weight = net.weights[k + 1].T if net.layout == "keras" else net.weights[k + 1]
        above = sweeps.sensitivity(k + 1)[:, sample]
        active = sweeps.level(sweeps.h, k + 1)[:, sample] > 0
        expected = np.where(active, weight.T @ above, 0.0)
        rounding = UNIT * (4.0 + len(weight)) * (np.abs(weight).T @ np.abs(above))
        if np.any(~(np.abs(sweeps.sensitivity(k)[:, sample] - expected) <= rounding)):
            return _defect(sweeps, sample, f"of layer {k}")
    return _defect(sweeps, sample, "of some layer")


def _defect(sweeps: Sweeps, sample: int, where: str) -> str:
    return (
        f"the sensitivities {where} fail their certificate in sample {sample} "
        f"(seed {sweeps.seed}): a defect of fastbp"
    )
