"""The certificate, to the last digit: which numbers are proved, which are not, and what it says."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from fastbp.kernels.products.matmul import DEPTH
from fastbp.kernels.sensitivities import network_pairs, sweep_arrays

import fastbp
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.certificate import judge_sweeps, judge_values
from fastbp.network.sensitivities.sweeps import PAIR_STEP, Sweeps

pytestmark = pytest.mark.small

UNIT = 2.0**-53
SIZES = [2, 3, 2, 4]  # three layers
BATCH, PITCH, PAIRS, WIDTH = 3, 4, 2, 4  # the last lane holds no sample


def lanes(*rows):
    """Numbers of three samples, and what may be anything in the lane that is none."""
    return np.array([[*row, math.nan] for row in rows])


def plain_sweeps(sizes=SIZES, loss="least_squares", **other):
    """Numbers of which everything is proved, with gaps of 0."""
    count, units = len(sizes) - 1, sum(sizes[1:])
    found = SimpleNamespace(
        network=SimpleNamespace(
            sizes=sizes, objective=SimpleNamespace(loss=loss, custom="its own check")
        ),
        batch=BATCH, pitch=PITCH, count=count, directions=2, seed=7, factor=-0.5,
        weight_norms=np.linspace(1.0, 2.0, units),
        column_norms=np.linspace(0.5, 1.5, sum(sizes[:-1])),
        h_norms=lanes(*np.full((count + 1, BATCH), 2.0)),
        xi_norms=lanes(*np.full((count + 1, BATCH), 3.0)),
        s_norms=lanes(*[np.array([3.0, 4.0, 12.0]) * (k + 1) for k in range(count)]),
        z_norms=lanes(*np.ones((count, BATCH))),
        unmasked_norms=lanes(*np.full((count, BATCH), 5.0)),
        weighted_s_norms=lanes(*np.full((count, BATCH), 7.0)),
        gaps=np.zeros((count, 2, PITCH)), flipped=np.zeros((count, PITCH), np.int64),
        losses=np.array([1.0, 2.0, 3.0, math.nan]),
        facts=np.zeros((sweep_arrays.SAMPLE_FACTS, BATCH)),
        pair_samples=WIDTH // 2, chosen=np.array([0, 1]),
        dots=np.zeros((count, network_pairs.PAIR_DOTS, PAIRS, WIDTH)),
        crossed=np.zeros(PAIRS * WIDTH // 2, np.uint8),
        pair_losses=np.array([[1.0, 2.0, 1.0, 2.0], [3.0, 5.0, 3.0, 1.0]]),
        doubt=np.zeros(sum(sizes) * PITCH, np.uint8), h=np.zeros(sum(sizes) * PITCH),
        smallest=1e-290, pair_outputs=lambda: np.zeros((PAIRS, sizes[-1], WIDTH)),
    )  # fmt: skip
    found.level = lambda array, level: array.reshape(-1, PITCH)[
        sum(sizes[:level]) : sum(sizes[: level + 1]), :BATCH
    ]
    vars(found).update(other)
    return found


def thresholds(sweeps):
    """What the module says above all: (layers but the first, batch)."""
    sizes, found = sweeps.network.sizes, []
    for k in range(1, sweeps.count):
        rows = sweeps.weight_norms[sum(sizes[1 : k + 1]) :][: sizes[k + 1]]
        frobenius = math.sqrt(math.fsum(rows**2))
        depth = max(sizes[k], sizes[k + 1])
        growth = 1 + max(min(depth, DEPTH) / 16, depth / 256)
        s, u, weighted = (
            norms[k, :BATCH]
            for norms in (sweeps.s_norms, sweeps.unmasked_norms, sweeps.weighted_s_norms)
        )
        rounding = 16 * UNIT * (frobenius * s + growth * (u + 2 * weighted))
        found.append(rounding + 1e-290 * max(1, frobenius))
    return np.array(found)


# ---- products ----


def test_what_is_proved_is_said_in_numbers():
    sweeps = plain_sweeps()
    limits = thresholds(sweeps)
    sweeps.gaps[2, 1, 0] = limits[1, 0] / 4
    sweeps.gaps[1, 0, 1] = limits[0, 1] / 8
    certificate = judge_sweeps(sweeps)
    assert certificate.problem == ""
    assert (certificate.samples, certificate.differenced) == (3, 3)
    assert (certificate.directions, certificate.seed) == (2, 7)
    assert certificate.closest == pytest.approx(0.25, rel=1e-14, abs=0)
    sizes = np.array([13.0, 26.0])  # of s of the two layers below, over the batch
    assert certificate.resolution == pytest.approx(
        np.max(limits / sizes[:, None]), rel=1e-14, abs=0
    )


@pytest.mark.parametrize("sizes", [SIZES, [2, 40, 2, 4], [1, 2, 1000, 3], [1, 1, 1, 5000]])
@pytest.mark.parametrize(("layer", "direction", "sample"), [(1, 0, 0), (1, 1, 2), (2, 1, 1)])
def test_gaps_are_proved_up_to_their_threshold(sizes, layer, direction, sample):
    sweeps = plain_sweeps(sizes)
    limit = thresholds(sweeps)[layer - 1, sample]
    sweeps.gaps[layer, direction, sample] = limit * (1 - 1e-12)
    assert judge_sweeps(sweeps).problem == ""
    sweeps.gaps[layer, direction, sample] = limit * (1 + 1e-12)
    assert judge_sweeps(sweeps).problem == (
        f"the sensitivities of layer {layer - 1} fail their certificate in sample {sample} "
        "(seed 7): a defect of fastbp"
    )


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e200])
def test_weights_of_any_size_have_their_threshold(size):
    sweeps = plain_sweeps()
    sweeps.weight_norms = sweeps.weight_norms * size
    sweeps.column_norms = sweeps.column_norms * max(size, 1.0)
    certificate = judge_sweeps(sweeps)
    assert certificate.problem == ""
    expected = np.max(thresholds_of_scaled(sweeps, size) / np.array([[13.0], [26.0]]))
    assert certificate.resolution == pytest.approx(expected, rel=1e-13, abs=0)


def thresholds_of_scaled(sweeps, size):
    if size < 1e200:
        return thresholds(sweeps)
    sweeps.weight_norms = sweeps.weight_norms / size  # its square is infinite
    plain = thresholds(sweeps)
    sweeps.s_norms = sweeps.s_norms * 0
    sums = thresholds(sweeps)
    return (plain - sums) * size


@pytest.mark.parametrize("size", [0.5, 3.0])
def test_what_numbers_below_the_range_lose_is_no_defect(size):
    """Of products of weights that are smaller than 1 as well."""
    sweeps = plain_sweeps()
    sweeps.weight_norms[:] = size / math.sqrt(2)
    for norms in (sweeps.unmasked_norms, sweeps.weighted_s_norms):
        norms[:] = 0.0
    sweeps.s_norms[1] = 1e-280
    for share, proved in ((0.99, True), (1.01, False)):
        sweeps.gaps[1, 0, 0] = share * 1e-290 * max(1.0, size)
        assert (judge_sweeps(sweeps).problem == "") == proved


@pytest.mark.parametrize("size", [1e-3, 1e200])
def test_a_resolution_is_relative_to_s_of_any_size(size):
    sweeps = plain_sweeps()
    for norms in (sweeps.s_norms, sweeps.unmasked_norms, sweeps.weighted_s_norms):
        norms *= size
    expected = np.max(thresholds(sweeps) / (size * np.array([[13.0], [26.0]])))
    assert judge_sweeps(sweeps).resolution == pytest.approx(expected, rel=1e-13, abs=0)


def test_a_layer_without_sensitivities_has_no_resolution():
    sweeps = plain_sweeps()
    sweeps.s_norms[:2] = 0.0
    assert judge_sweeps(sweeps).resolution == 0.0


def test_a_sample_that_is_not_proved_has_no_part_in_the_resolution():
    sweeps = plain_sweeps()
    for norms in (sweeps.s_norms, sweeps.unmasked_norms, sweeps.weighted_s_norms):
        norms *= 1e-3
    sweeps.s_norms[:, 0] = 1e-295
    sizes = 1e-3 * math.hypot(4.0, 12.0) * np.array([[1.0], [2.0]])
    expected = np.max(thresholds(sweeps)[:, 1:] / sizes)
    certificate = judge_sweeps(sweeps)
    assert certificate.samples == 2
    assert certificate.resolution == pytest.approx(expected, rel=1e-13, abs=0)


def test_one_layer_has_nothing_to_prove():
    certificate = judge_sweeps(plain_sweeps([2, 3]))
    assert (certificate.problem, certificate.samples, certificate.differenced) == ("", 3, 3)
    assert (certificate.resolution, certificate.closest) == (0.0, 0.0)


def test_what_comes_first_is_said():
    """A range that is left, then products that overflow, then a proof, then two losses."""
    sweeps = plain_sweeps()
    set_losses(sweeps, 0, 2.0, 1.0, 1.5)
    assert "two real losses" in judge_sweeps(sweeps).problem
    sweeps.gaps[1, 0, 1] = 1.0
    assert "fail their certificate" in judge_sweeps(sweeps).problem
    sweeps.weighted_s_norms[2, 2] = math.inf
    assert "overflow: the products" in judge_sweeps(sweeps).problem
    sweeps.s_norms[0, 0] = 1e291
    assert "overflow: the sensitivities of layer 0" in judge_sweeps(sweeps).problem


def test_nan_proves_nothing():
    sweeps = plain_sweeps()
    sweeps.gaps[1, 0, 2] = math.nan
    assert "layer 0 fail their certificate in sample 2" in judge_sweeps(sweeps).problem


def test_the_last_wrong_layer_is_named_since_its_error_goes_on():
    sweeps = plain_sweeps()
    sweeps.gaps[1, 0, 0] = sweeps.gaps[2, 0, 1] = 1.0
    assert "layer 1 fail their certificate in sample 1" in judge_sweeps(sweeps).problem


@pytest.mark.parametrize("layer", [1, 2])
def test_a_flipped_mask_is_a_defect_however_small(layer):
    sweeps = plain_sweeps()
    sweeps.flipped[:, BATCH] = 1  # of no sample
    assert judge_sweeps(sweeps).problem == ""
    sweeps.flipped[layer, 2] = 1
    assert f"layer {layer - 1} fail their certificate in sample 2" in judge_sweeps(sweeps).problem


# ---- range ----


def test_products_that_overflow_are_no_defect():
    sweeps = plain_sweeps()
    sweeps.weighted_s_norms[1, 1] = math.inf
    sweeps.gaps[1, :, 1] = math.inf
    assert judge_sweeps(sweeps).problem == (
        "overflow: the products that prove the sensitivities leave the range of numbers"
    )


def test_an_infinite_loss_is_an_overflow():
    sweeps = plain_sweeps()
    sweeps.losses[1] = math.inf
    sweeps.gaps[1, 0, 0] = 1.0  # and no defect
    expected = "overflow: the loss of sample 1 leaves the range of numbers"
    assert judge_sweeps(sweeps).problem == judge_values(sweeps) == expected


def test_a_layer_out_of_range_comes_before_its_loss():
    sweeps = plain_sweeps()
    sweeps.losses[1] = math.inf
    sweeps.h_norms[2, 0] = 1e291
    assert (
        judge_sweeps(sweeps).problem
        == judge_values(sweeps)
        == ("overflow: the pre-activations of layer 1 leave the range of numbers")
    )


def test_a_faint_sample_is_not_counted_as_proved():
    sweeps = plain_sweeps()
    sweeps.s_norms[:, 1] = 1e-300
    sweeps.unmasked_norms[:, 1] = sweeps.weighted_s_norms[:, 1] = 1e-300
    sweeps.gaps[1, 0, 1] = 1e-291
    certificate = judge_sweeps(sweeps)
    assert (certificate.problem, certificate.samples, certificate.differenced) == ("", 2, 2)
    assert certificate.closest == 0.0


def test_the_widest_column_tells_what_underflows_between_two_layers():
    """|s| is above the range in both layers, |W|^T s below it in one sample."""
    sweeps = plain_sweeps()
    sweeps.column_norms[:] = 1e-150
    sweeps.column_norms[SIZES[0]] = 1e-100  # of the second layer
    sweeps.s_norms[:2, 0], sweeps.s_norms[2, 0] = 1.0, 1e-145
    assert judge_sweeps(sweeps).samples == 2
    sweeps.column_norms[SIZES[0] + SIZES[1]] = 1e-100  # of the third
    assert judge_sweeps(sweeps).samples == 3
    sweeps.s_norms[1, 0] = 1e-195
    assert judge_sweeps(sweeps).samples == 2


# ---- two real losses ----


def pair_problem(sweeps):
    found = judge_sweeps(sweeps)
    return found.problem, found.differenced


def of_pair(sweeps, sample, row, value, layer=0):
    pair, lane = divmod(sample, WIDTH // 2)
    sweeps.dots[layer, row, pair, lane] = value


def set_losses(sweeps, sample, above, below, middle):
    pair, lane = divmod(sample, WIDTH // 2)
    sweeps.pair_losses[pair, lane] = above
    sweeps.pair_losses[pair, lane + WIDTH // 2] = below
    sweeps.losses[sample] = middle


def rounding(sweeps, sample):
    """The rounding of both losses, of the outputs that a bend moves, and of the residuals."""
    pair, lane = divmod(sample, WIDTH // 2)
    factor = abs(sweeps.factor)
    above, below = sweeps.pair_losses[pair, [lane, lane + WIDTH // 2]]
    lost = abs(above) + abs(below)
    squares = sweeps.network.objective.loss == "least_squares"
    if not squares:
        lost += sweeps.facts[sweep_arrays.LARGEST_OUTPUT, sample]
    bend = factor * abs(above + below - 2 * sweeps.losses[sample])
    outputs = sweeps.xi_norms[-1, sample] * math.sqrt(8 * factor * bend)
    dots = sweeps.dots[:, :, pair, lane]
    moved = np.abs(dots[:, network_pairs.A_Z] * dots[:, network_pairs.B_H])
    moved += np.abs(dots[:, network_pairs.C_Z])
    noise = 2 * moved.sum() + factor * lost + outputs
    noise += sweeps.facts[sweep_arrays.RESIDUAL_NOISE, sample]
    return 32 * UNIT * noise + (16 * PAIR_STEP if squares else 1.0) * bend


TERMS_OF_NOISE = ("a", "c", "losses", "outputs", "residual")


def filled_pair(loss, sample, largest):
    """A pair whose terms are all there, and what its losses must differ by."""
    rng = np.random.default_rng(sample)
    sweeps = plain_sweeps(loss=loss)
    scale = 1.0 if largest == "size" else 1e-12
    for layer in range(3):
        for row in range(network_pairs.PAIR_DOTS):
            of_pair(sweeps, sample, row, rng.normal() * scale, layer)
        of_pair(sweeps, sample, network_pairs.B_H, rng.normal(), layer)
    usual = 1e9 if largest in (*TERMS_OF_NOISE, "none") else 1.0
    noise = {name: 1e13 if name == largest else usual for name in TERMS_OF_NOISE}
    for name, row in (("a", network_pairs.A_Z), ("c", network_pairs.C_Z)):
        for layer in range(3):
            of_pair(sweeps, sample, row, rng.normal() * noise[name], layer)
    sweeps.facts[sweep_arrays.LARGEST_OUTPUT, sample] = noise["losses"]
    sweeps.facts[sweep_arrays.RESIDUAL_NOISE, sample] = noise["residual"]
    sweeps.xi_norms[-1, sample] = noise["outputs"] * 1e4
    pair, lane = divmod(sample, WIDTH // 2)
    dots = sweeps.dots[:, :, pair, lane]
    terms = np.array(
        [dots[:, network_pairs.A_S] * dots[:, network_pairs.B_H], dots[:, network_pairs.C_S]]
    )
    return sweeps, 2 * terms.sum(), 2 * np.abs(terms).sum()


@pytest.mark.parametrize("loss", ["least_squares", "softmax_cross_entropy"])
@pytest.mark.parametrize("sample", range(3))
@pytest.mark.parametrize("largest", ["size", "bend", "both losses", "none", *TERMS_OF_NOISE])
def test_two_losses_differ_by_what_the_sensitivities_say(loss, sample, largest):
    """Where one part of what they may be off by is larger than all others, and where none is."""
    sweeps, expected, size = filled_pair(loss, sample, largest)
    middle, bend = 0.75, {"bend": 9e-7, "outputs": 1e-8}.get(largest, 0.0)
    if largest == "both losses":
        middle = 1e7
        sweeps.facts[sweep_arrays.LARGEST_OUTPUT, sample] = 1e7
    for share, wrong in ((0.9, False), (1.1, True)):
        for sign in (1.0, -1.0):
            off = 0.0
            for _ in range(20):  # the losses are part of their own rounding
                half = (expected + sign * share * off) / sweeps.factor / 2
                above, below = middle + bend / 2 + half, middle + bend / 2 - half
                set_losses(sweeps, sample, above, below, middle)
                off = 1e-3 * size + rounding(sweeps, sample)
            problem, differenced = pair_problem(sweeps)
            assert differenced == 3
            assert problem == (
                f"two real losses of sample {sample} differ by another amount than its "
                "sensitivities say (seed 7): a defect of fastbp"
                if wrong
                else ""
            )


def move_outputs(sweeps, moved, bent):
    """Let two outputs of every sample move, and bend, as said, from where they are."""
    where = np.arange(1.0, 5.0)[:, None] * np.array([1.0, -7.0, 9.0, 0.0])
    sweeps.h = np.concatenate([np.zeros((sum(SIZES[:-1]), PITCH)), where]).reshape(-1)
    found = np.zeros((PAIRS, SIZES[-1], WIDTH))
    for sample in range(BATCH):
        pair, lane = divmod(sample, WIDTH // 2)
        for at, sign in ((lane, 1.0), (lane + WIDTH // 2, -1.0)):
            found[pair, :, at] = where[:, sample]
            found[pair, :2, at] += np.array(bent) + sign * np.array(moved)
    sweeps.pair_outputs = lambda: found


@pytest.mark.parametrize("sample", range(3))
def test_what_bends_the_outputs_moves_two_losses_apart(sample):
    """An answer of 300 and 400 either way that is off by 3 and 4 from a straight line."""
    sweeps, expected, size = filled_pair("least_squares", sample, "none")
    move_outputs(sweeps, [300.0, -400.0], [3.0, 4.0])
    curvature = 4 * 500 * 5 * abs(sweeps.factor)
    for share, wrong in ((0.9, False), (1.1, True)):
        for _ in range(20):  # the losses are part of their own rounding
            off = 1e-3 * size + rounding(sweeps, sample) + curvature
            half = (expected + share * off) / sweeps.factor / 2
            set_losses(sweeps, sample, half, -half, 0.0)
        problem, differenced = pair_problem(sweeps)
        assert (differenced, "two real losses" in problem) == (3, wrong)


def test_outputs_that_bend_by_a_hundredth_of_their_way_are_left_out():
    sweeps, sample = filled_pair("least_squares", 1, "none")[0], 1
    set_losses(sweeps, sample, 1e9, -1e9, 0.0)
    rounding_of_outputs = 32 * UNIT * sweeps.xi_norms[-1, sample]
    for bent, differenced in (
        (5.0 + 0.9 * rounding_of_outputs, 3),
        (5.01 + rounding_of_outputs, 2),
    ):
        move_outputs(sweeps, [300.0, -400.0], [0.0, bent])
        problem, count = pair_problem(sweeps)
        assert (count, problem != "") == (differenced, differenced == 3)


def test_two_losses_that_say_nothing_are_left_out():
    def differenced(change):
        sweeps = plain_sweeps()
        for sample in range(BATCH):
            set_losses(sweeps, sample, 2.0, 1.0, 1.5)  # wrong wherever they are compared
        change(sweeps)
        problem, compared = pair_problem(sweeps)
        assert (problem != "") == (compared > 0)
        return compared

    assert differenced(lambda _: None) == 3
    assert differenced(lambda sweeps: sweeps.crossed.__setitem__(1, 1)) == 2
    assert differenced(lambda sweeps: set_losses(sweeps, 0, 1e291, 1e291, 1e291)) == 2
    assert differenced(lambda sweeps: set_losses(sweeps, 0, 1.0, math.inf, 1.5)) == 2
    first, end = SIZES[0] * PITCH, sum(SIZES[:-1]) * PITCH
    assert differenced(lambda sweeps: sweeps.doubt.__setitem__(first + 1, 1)) == 2
    assert differenced(lambda sweeps: sweeps.doubt.__setitem__(end - 2, 1)) == 2
    assert differenced(lambda sweeps: sweeps.doubt.__setitem__(first - 2, 1)) == 3
    assert differenced(lambda sweeps: sweeps.doubt.__setitem__(end, 1)) == 3


@pytest.mark.parametrize(
    ("loss", "most"), [("least_squares", 1e-6 * 4.0), ("sigmoid_cross_entropy", 1e-6)]
)
def test_a_step_along_which_the_network_bends_is_left_out(loss, most):
    for share, differenced in ((0.99, 3), (1.01, 2)):
        sweeps = plain_sweeps(loss=loss)
        set_losses(sweeps, 1, 1.0 + share * most / 2, 1.0 + share * most / 2, 1.0)
        assert pair_problem(sweeps) == ("", differenced)


# ---- the derivative of the loss ----


def real_sweeps(loss, labels=False):
    rng = np.random.default_rng(3)
    net = fastbp.Network.random([3, 4, 3], seed=1, loss=loss, scale=-3.0)
    y = np.array([0, 2]) if labels else rng.random((3, 2))
    if not labels and loss == "softmax_cross_entropy":
        y /= y.sum(axis=0)
    batch = require_batch(net, rng.standard_normal((3, 2)), y)
    sweeps = Sweeps(net, batch, roundoff=UNIT, directions=2, seed=7, max_memory=2**30)
    sweeps.forward()
    sweeps.reverse()
    sweeps.prove()
    return sweeps


# What the two may be apart by: each part alone, then all.
PARTS = {
    "one": {"ALONG_STEP": 1e3},
    "largest output": {"ALONG_STEP": 1.0, "LARGEST_OUTPUT": 1e6},
    "losses": {"LOSSES_BESIDE": 1e4},
    "size": {"ALONG_SIZE": 1e-3},
    "all": {"ALONG_STEP": 1e-3, "LARGEST_OUTPUT": 50.0, "LOSSES_BESIDE": 2e4, "ALONG_SIZE": 1e-7},
}


@pytest.mark.parametrize("loss", ["least_squares", "softmax_cross_entropy"])
@pytest.mark.parametrize("part", PARTS)
def test_the_loss_moves_by_what_its_derivative_says(loss, part):
    sweeps, sample = real_sweeps(loss), 1
    facts = sweeps.facts
    names = ("ALONG_STEP", "LARGEST_OUTPUT", "LOSSES_BESIDE", "ALONG_SIZE")
    step, largest, beside, along = (PARTS[part].get(name, 0.0) for name in names)
    for name, value in zip(names, (step, largest, beside, along), strict=True):
        facts[getattr(sweep_arrays, name), sample] = value
    facts[sweep_arrays.ALONG_LOSS, sample] = 0.25
    curved = 0.0 if loss == "least_squares" else 1e-10
    noise = (128 * UNIT * (1 + largest) + curved) * step + 128 * UNIT * beside
    noise += 0.0 if loss == "least_squares" else 16 * UNIT * largest  # what the loss subtracts
    allowed = abs(sweeps.factor) * noise + 1e-6 * along
    for share in (0.9, -0.9):
        facts[sweep_arrays.ALONG_OUTPUT, sample] = 0.25 * sweeps.factor + share * allowed
        assert judge_values(sweeps) == ""
    for share in (1.1, -1.1, math.nan):
        facts[sweep_arrays.ALONG_OUTPUT, sample] = 0.25 * sweeps.factor + share * allowed
        assert (
            judge_values(sweeps)
            == judge_sweeps(sweeps).problem
            == (
                f"the loss of sample {sample} differs by another amount than its derivative by the "
                "outputs says (seed 7): a defect of fastbp"
            )
        )
    facts[sweep_arrays.LOSSES_BESIDE, sample] = math.inf
    assert judge_values(sweeps) == ""


@pytest.mark.parametrize(
    ("loss", "labels"),
    [("least_squares", False), ("softmax_cross_entropy", True), ("softmax_cross_entropy", False),
     ("sigmoid_cross_entropy", False)],
)  # fmt: skip
def test_a_derivative_of_the_loss_is_right_to_64_roundings(loss, labels):
    for sample in (0, 1):
        sweeps = real_sweeps(loss, labels)
        own = sweeps.sensitivity(1)[:, [sample]].copy()
        output = sweeps.level(sweeps.h, 2)[:, sample]
        allowed = np.abs(own[2])
        if loss != "least_squares":
            allowed += abs(sweeps.factor) * (1 + np.abs(output).max())
        for share, wrong in ((50, False), (80, True)):
            moved = own.copy()
            moved[2] += share * UNIT * allowed
            sweeps.replace_samples(1, np.array([sample]), moved)
            found = judge_values(sweeps)
            assert found.startswith(f"the loss of sample {sample} differs") == wrong
            assert (found == "") != wrong
