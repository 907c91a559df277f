"""check_network: what may be given, what is found, what is refused. MISTAKES: test_mistakes.py."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from support.strategies import LOSSES, make_problem

import fastbp
from fastbp.errors import DTypeError, NonFiniteError, OptionError, ShapeError
from fastbp.network.checks.check_network import check_network
from fastbp.network.differences.propagated_noise import rounding_of
from fastbp.network.differences.replay import entry_name
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import float64_copy

pytestmark = pytest.mark.small

SIZES = (3, 5, 4, 2)
BATCH = 6
NAMES = ["weights[0]", "biases[0]", "weights[1]", "biases[1]", "weights[2]", "biases[2]"]


def example(dtype=np.float64, layout="book", seed=3, **options):
    """A small network and data of its dtype and layout."""
    net = fastbp.Network.random(SIZES, seed=seed, dtype=dtype, layout=layout, **options)
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((3, BATCH)), rng.standard_normal((2, BATCH))
    if layout != "book":
        x, y = x.T, y.T
    return net, np.ascontiguousarray(x, dtype), np.ascontiguousarray(y, dtype)


@pytest.fixture
def problem():
    """Network, data and the correct gradient, of which the lists may be edited."""
    net, x, y = example()
    _, own = net.loss_and_gradients(x, y)
    return net, x, y, own


def rows(report):
    return {row.name: row for row in report.arrays}


def one_unit(bias: float):
    """1-1-1 with the pre-activation `bias` in its hidden unit, beside a sample far from it."""
    weights = [np.ones((1, 1)), np.full((1, 1), 3.0)]
    net = fastbp.Network(weights, [np.full((1, 1), bias), np.ones((1, 1))])
    return net, np.array([[0.0, 2.0]]), np.array([[5.0, -1.0]])


# ---- the report of a correct gradient ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_our_own_backward_pass_passes(dtype, layout):
    net, x, y = example(dtype, layout)
    report = check_network(net, x, y)
    assert report.verdict == "passed", str(report)
    assert [row.name for row in report.arrays] == NAMES
    assert report.failures == ()
    arrays = [array for pair in zip(net.weights, net.biases, strict=True) for array in pair]
    assert [row.shape for row in report.arrays] == [array.shape for array in arrays]
    assert [row.entries for row in report.arrays] == [array.size for array in arrays]
    assert (report.sizes, report.batch, report.layout) == (SIZES, BATCH, layout)
    assert (report.dtype, report.method, report.scheme) == (
        np.dtype(dtype).name,
        "certified",
        None,
    )
    assert (report.delta, report.rtol, report.atol) == (None, None, None)
    assert report.evaluations >= 2 * BATCH + 2
    assert 0 < report.seconds < 600
    proof = report.certificate
    assert (proof.directions, proof.samples, proof.problem) == (2, BATCH, "")
    assert 0 < proof.resolution < 1e-10
    assert proof.differenced >= 1
    assert report.doubtful == (0,) * (len(net.weights) - 1)


def test_our_own_backward_pass_passes_a_replay():
    net, x, y = example()
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    assert (report.method, report.scheme, report.delta) == ("replay", "central", 1e-6)
    assert report.evaluations == 4 * net.parameters.size
    assert report.certificate is None


def test_a_network_without_biases():
    full, x, y = example()
    net = fastbp.Network(full.weights)
    _, own = net.loss_and_gradients(x, y)
    for given in (None, own, (own.weights, None), (own.weights, []), own.flat):
        report = check_network(net, x, y, given)
        assert report.verdict == "passed"
        assert [row.name for row in report.arrays] == NAMES[::2]


def test_what_is_said_to_be_detectable_is_detected(problem):
    net, x, y, own = problem
    report = check_network(net, x, y, seed=0)
    assert report.detectable == max(row.detectable for row in report.arrays)
    assert report.detectable < 1e-4
    for place in range(own.flat.size):
        given = own.flat.copy()
        given[place] += 1.01 * report.detectable
        assert check_network(net, x, y, given, seed=0).wrong == 1


def test_a_report_holds_copies(problem):
    net, x, y, own = problem
    own.weights[1][2, 3] += 1
    report = check_network(net, x, y, own)
    before = report.to_dict()
    for array in (own.flat, net.parameters, x, y):
        array[...] = 7
    assert report.to_dict() == before


def test_nothing_of_the_callers_changes(problem):
    net, x, y, own = problem
    arrays = (net.parameters, x, y, own.flat)
    kept = [array.copy() for array in arrays]
    for given in (None, own, lambda *_: (own.weights, own.biases)):
        check_network(net, x, y, given)
    for array, copy in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


# ---- the forms of a gradient ----


FORMS = {
    "Gradients": lambda own: own,
    "pair": lambda own: (own.weights, own.biases),
    "lists": lambda own: [tuple(own.weights), tuple(own.biases)],
    "flat": lambda own: own.flat,
    "strided": lambda own: np.repeat(own.flat, 2)[::2],
    "float32": lambda own: own.flat.astype(np.float32),
    "big-endian": lambda own: own.flat.astype(">f8"),
    "Fortran": lambda own: ([np.asfortranarray(w) for w in own.weights], own.biases),
    "nested lists": lambda own: ([w.tolist() for w in own.weights], own.biases),
    "function of a pair": lambda own: lambda *_: (own.weights, own.biases),
    "function of Gradients": lambda own: lambda *_: own,
    "function of a vector": lambda own: lambda *_: own.flat,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_passes_and_a_wrong_entry_is_found_in_each(problem, form):
    net, x, y, own = problem
    assert check_network(net, x, y, FORMS[form](own)).verdict == "passed"
    own.biases[1][2, 0] += 0.25
    report = check_network(net, x, y, FORMS[form](own))
    assert [failure.where for failure in report.failures] == ["biases[1][2, 0]"]
    assert report.failures[0].error == pytest.approx(0.25, rel=1e-5)
    assert rows(report)["biases[1]"].worst == report.failures[0]
    assert {name: row.wrong for name, row in rows(report).items() if row.wrong} == {"biases[1]": 1}


def test_tensors_are_arrays(problem):
    torch = pytest.importorskip("torch")
    net, x, y, own = problem
    lists = [[torch.tensor(array) for array in part] for part in (own.weights, own.biases)]
    assert check_network(net, x, y, lists).verdict == "passed"
    assert check_network(net, x, y, torch.tensor(own.flat)).verdict == "passed"


def test_a_tensor_that_still_needs_its_gradient_is_refused(problem):
    torch = pytest.importorskip("torch")
    net, x, y, own = problem
    lists = ([torch.tensor(w, requires_grad=True) for w in own.weights], own.biases)
    with pytest.raises(
        DTypeError, match=r"the gradient of weights\[0\] must be an array of floats"
    ):
        check_network(net, x, y, lists)


def test_a_function_gets_the_arguments_as_the_user_sees_them():
    net, x, y = example(layout="keras")
    seen = []

    def gradient(weights, biases, x, y):
        seen.append((weights, biases, x, y))
        return net.loss_and_gradients(x, y)[1]

    assert check_network(net, x, y, gradient).verdict == "passed"
    assert len(seen) == 2
    for weights, biases, own_x, own_y in seen:
        expected = [*net.weights, *net.biases, x, y]
        for array, original in zip([*weights, *biases, own_x, own_y], expected, strict=True):
            np.testing.assert_array_equal(array, original)
            assert not np.shares_memory(array, original)


def test_a_function_sees_none_where_there_are_no_biases():
    full, x, y = example()
    net = fastbp.Network(full.weights)

    def gradient(_, biases, x, y):
        assert biases is None
        return net.loss_and_gradients(x, y)[1].weights, None

    assert check_network(net, x, y, gradient).verdict == "passed"


def test_a_function_may_round_differently_the_second_time(problem):
    net, x, y, own = problem
    calls = []

    def gradient(*_):
        calls.append(1)
        return own.flat * (1 + len(calls) * 1e-15)

    assert check_network(net, x, y, gradient).verdict == "passed"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (lambda own: 2 * own, "an accumulation"),
        (lambda own: 3 * own, "two different results"),
        (lambda own: own * np.where(np.arange(own.size) == 3, np.nan, 1), "two different results"),
        (lambda own: own.astype(np.int64), "two different results"),
    ],
    ids=["doubled", "trebled", "nan", "integers"],
)
def test_a_function_that_answers_differently_fails(problem, second, reason):
    net, x, y, own = problem
    answers = [own.flat, second(own.flat)]
    report = check_network(net, x, y, lambda *_: answers.pop(0))
    assert report.verdict == "failed"
    assert all(row.verdict == "passed" for row in report.arrays[:-1])
    assert report.arrays[-1].name == "gradients"
    assert report.arrays[-1].reason.startswith("called twice, it gave two different results")
    assert reason in report.arrays[-1].reason


def test_a_function_that_changes_its_arguments_fails_with_their_names(problem):
    net, x, y, own = problem

    def gradient(weights, biases, _, y):
        weights.append(0)
        biases[1] += 1
        y[0, 0] = np.nan
        return own

    reason = check_network(net, x, y, gradient).arrays[-1].reason
    assert reason == "the function changed its arguments: weights, biases[1], y"


# ---- findings that are no numbers ----


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.T, "must have shape (5, 3), not (3, 5)"),
        (lambda a: a[:, :1], "must have shape (5, 3), not (5, 1)"),
        (lambda _: 1.0, "must have shape (5, 3), not ()"),
        (lambda a: a.astype(np.int64), "must have dtype float64 or float32, not int64"),
        (lambda a: a.astype(np.float16), "must have dtype float64 or float32, not float16"),
        (lambda a: a + 0j, "must have dtype float64 or float32, not complex128"),
        (lambda a: a > 0, "must have dtype float64 or float32, not bool"),
    ],
)
def test_an_array_that_cannot_be_compared_is_a_failed_row(problem, change, reason):
    net, x, y, own = problem
    weights = list(own.weights)
    weights[0] = change(weights[0])
    report = check_network(net, x, y, (weights, own.biases))
    row = rows(report)["weights[0]"]
    assert (row.verdict, row.reason) == ("failed", reason)
    assert (row.entries, row.wrong, row.worst, row.factor) == (15, 15, None, None)
    assert math.isfinite(row.detectable)
    assert [row.verdict for row in report.arrays[1:]] == ["passed"] * 5
    assert report.verdict == "failed"
    assert report.failures == ()
    assert f"weights[0]: {reason}" in str(report)


def test_a_flat_vector_of_integers_fails_everywhere(problem):
    net, x, y, own = problem
    report = check_network(net, x, y, np.zeros(own.flat.size, dtype=np.int32))
    assert {row.reason for row in report.arrays} == {
        "must have dtype float64 or float32, not int32"
    }


def test_a_nan_is_the_worst_of_its_array(problem):
    net, x, y, own = problem
    own.weights[0][1, 2] = np.nan
    own.weights[0][4, 0] += 1e9
    report = check_network(net, x, y, own)
    assert [failure.where for failure in report.failures] == [
        "weights[0][1, 2]",
        "weights[0][4, 0]",
    ]
    assert report.failures[0].error == math.inf
    assert rows(report)["weights[0]"].reason == "2 of 15 entries are wrong, 1 of them not finite"


# ---- kinks ----


def test_a_step_that_crosses_a_kink_is_made_smaller():
    net, x, y = one_unit(3e-7)
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    assert report.kinks == 0
    assert report.evaluations > 4 * net.parameters.size - 2


def test_a_wrong_entry_whose_step_was_made_smaller_is_found():
    net, x, y = one_unit(3e-7)
    _, own = net.loss_and_gradients(x, y)
    own.biases[0][...] += 1e-3
    report = check_network(net, x, y, own, method="replay")
    assert [failure.where for failure in report.failures] == ["biases[0][0, 0]"]
    errors = {name: row.worst.error_bar for name, row in rows(report).items()}
    assert errors["biases[0]"] > errors["biases[1]"]


METHODS = ("certified", "exact", "replay")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_what_a_convention_can_produce_passes_and_no_more(share, method):
    """The ReLU's derivative at exactly 0 is anything from 0 to 1, for one entry of a bias."""
    net, x, y = one_unit(0.0)
    _, off = net.loss_and_gradients(x, y)
    on = fastbp.Network(net.weights, net.biases, relu_at_zero=1.0)
    _, active = on.loss_and_gradients(x, y)
    assert off.biases[0] != active.biases[0]
    between = (1 - share) * off.flat + share * active.flat
    report = check_network(net, x, y, between, method=method)
    assert report.verdict == "passed", str(report)
    assert rows(report)["biases[0]"].kinks == 1
    assert report.doubtful == (1,)
    assert report.convention == {0.0: "0", 0.25: "none", 1.0: "1"}[share]
    kink = report.kink
    assert (kink.where, kink.given) == ("biases[0][0, 0]", between[1])
    assert (kink.left, kink.right) == pytest.approx((off.flat[1], active.flat[1]))
    assert (
        kink.remark
        == {
            0.0: "which is the slope to the left",
            0.25: "which lies between them",
            1.0: "which is the slope to the right",
        }[share]
    )
    assert f"{kink.where} is on a kink: slopes 48 to the left, 24 to the right" in str(report)
    assert report.to_dict()["kink"]["right"] == kink.right
    beyond = off.flat + 1.001 * (active.flat - off.flat)
    report = check_network(net, x, y, beyond, method=method)
    assert report.verdict == "failed"
    assert rows(report)["biases[0]"].wrong == 1
    assert report.kink.remark == "which no convention gives"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_a_convention_may_miss_a_derivative_that_exists(layout, method):
    """relu(b) - relu(-b) is b: there is a derivative at 0, but 0 and 1 as masks give other ones."""
    weights = [np.ones((1, 1)), np.array([[1.0], [-1.0]]), np.array([[1.0, -1.0]])]
    biases = [np.ones((1, 1)), np.array([[-1.0], [1.0]]), np.zeros((1, 1))]
    if layout == "keras":
        weights = [weight.T for weight in weights]
    x, y = np.zeros((1, 1)), np.full((1, 1), 5.0)
    for convention in (0.0, 0.5, 1.0):
        net = fastbp.Network(weights, biases, layout=layout, relu_at_zero=convention)
        report = check_network(net, x, y, method=method)
        assert report.verdict == "passed", str(report)
        assert (report.kink.left, report.kink.right) == pytest.approx((-10, -10))
        assert report.kink.given == -20 * convention
        assert report.kink.remark == (
            "which is the derivative"
            if convention == 0.5
            else "which follows a convention, but is not the derivative here"
        )
        assert report.kink.remark in " ".join(str(report).split())


@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_the_slopes_of_a_kink_are_those_of_the_exact_differences(layout):
    """And of two real losses, where the loss is a parabola on each side."""
    seen = 0
    for seed in range(12):
        problem = make_problem([4, 6, 5, 3], 5, seed=seed, values="integers", layout=layout)
        net = problem.network()
        report = check_network(net, problem.x, problem.y, seed=0)
        if report.kink is None:
            assert report.kinks == 0
            continue
        differences = fastbp.finite_differences(net, problem.x, problem.y)
        place = next(
            place for place in range(net.parameters.size)
            if entry_name(net, place) == report.kink.where
        )  # fmt: skip
        beside = differences.left.flat[place], differences.right.flat[place]
        assert (report.kink.left, report.kink.right) == pytest.approx(beside, rel=1e-12)
        for side, slope in zip((-1, 1), beside, strict=True):
            losses = [net.loss(problem.x, problem.y)]
            for step in (2.0**-20, 2.0**-19):
                moved = problem.network()
                moved.parameters[place] += side * step
                losses.append(moved.loss(problem.x, problem.y))
            # Exact for a parabola; what is left is rounding of losses divided by the step.
            literal = side * (4 * losses[1] - 3 * losses[0] - losses[2]) / 2.0**-19
            assert slope == pytest.approx(literal, rel=1e-5, abs=1e-5 * losses[0])
        seen += 1
    assert seen >= 6


@pytest.mark.parametrize("bias", [10.0**-n for n in range(5, 17)])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_replay_near_a_kink_takes_the_right_side_or_the_hull(bias, side):
    """The step shrinks until masks agree; where rounding forbids that, both sides are accepted."""
    net, x, y = one_unit(side * bias)
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    _, own = net.loss_and_gradients(x, y)
    other = own.flat.copy()
    other[1] = check_network(*one_unit(-side * 1e-3)).arrays[1].worst.given
    judged = check_network(net, x, y, other, method="replay")
    assert judged.verdict == ("passed" if report.kinks else "failed")
    assert report.kinks == 0 or bias < 1e-12
    other[1] += np.sign(other[1] - own.flat[1])
    assert check_network(net, x, y, other, method="replay").verdict == "failed"


def test_a_replay_believes_two_losses_more_than_the_recursion():
    """The user's derivative of the loss is wrong, and with it everything that comes from it."""
    net, x, y = one_unit(0.0)
    loss = (lambda output, y: float(np.sum((output - y) ** 2)), lambda output, y: output - y)
    custom = fastbp.Network(net.weights, net.biases, loss=loss)
    assert check_network(custom, x, y, method="replay").arrays[1].verdict == "failed"


def test_parameters_so_large_that_the_usual_step_would_not_move_them():
    weights = [np.array([[1e12], [0.5]]), np.array([[1e-12, 1.0]])]
    net = fastbp.Network(weights, [np.ones((2, 1)), np.ones((1, 1))])
    x, y = np.array([[1.0, 2.0]]), np.array([[0.5, 0.25]])
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    _, own = net.loss_and_gradients(x, y)
    own.weights[0][1, 0] *= 1.01
    report = check_network(net, x, y, own, method="replay")
    assert [failure.where for failure in report.failures] == ["weights[0][1, 0]"]


def test_a_large_parameter_stops_the_shrinking_and_stays_a_kink():
    weights = [np.array([[1e9]]), np.array([[1e-9]])]
    net = fastbp.Network(weights, [np.zeros((1, 1)), np.ones((1, 1))])
    x, y = np.array([[0.0, 1e-16]]), np.array([[0.5, 0.25]])
    report = check_network(net, x, y, method="replay")
    assert report.verdict != "failed", str(report)


# ---- tolerances ----


def test_rtol_and_atol_replace_the_default_and_not_the_error_bar(problem):
    net, x, y, own = problem
    given = own.flat * (1 + 1e-4)
    assert check_network(net, x, y, given).verdict == "failed"
    assert check_network(net, x, y, given, rtol=2e-4).verdict == "passed"
    assert check_network(net, x, y, given, atol=1e3).verdict == "passed"
    assert check_network(net, x, y, given, atol=1e-12).verdict == "failed"
    report = check_network(net, x, y, own, rtol=0.0, atol=0.0)
    assert report.verdict == "passed", str(report)
    assert (report.rtol, report.atol) == (0.0, 0.0)


def test_a_float32_gradient_of_a_float64_network_is_judged_as_float32(problem):
    net, x, y, own = problem
    rounded = own.flat.astype(np.float32)
    assert check_network(net, x, y, rounded).verdict == "passed"
    assert check_network(net, x, y, rounded.astype(np.float64)).detectable < 1e-4
    assert check_network(net, x, y, rounded * np.float32(1.001)).verdict == "failed"


# ---- rounding ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-7, 1e-4])
def test_a_nearly_fitted_network_raises_no_false_alarm(dtype, distance):
    """The residual, and so the gradient, is mostly rounding."""
    for seed in range(5):
        net, x, _ = example(dtype, seed=seed)
        y = (net.forward(x).output * (1 + distance)).astype(dtype)
        report = check_network(net, x, y)
        assert report.verdict != "failed", str(report)


def test_a_wrong_gradient_of_a_nearly_fitted_network_is_found():
    net, x, _ = example()
    y = net.forward(x).output * (1 + 1e-7)
    _, own = net.loss_and_gradients(x, y)
    assert check_network(net, x, y, 1.01 * own.flat).verdict == "failed"
    assert check_network(net, x, y, 0 * own.flat).verdict == "failed"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", ["book", "torch", "keras"])
def test_the_bars_of_a_replay_are_those_of_the_noise_columns(loss, layout):
    """The same noise in NumPy as in the kernels, but for the random numbers."""
    ratios = []
    for seed in range(20):
        problem = make_problem(
            [7, 9, 8, 4], 12, seed=seed, loss=loss, layout=layout, weight_decay=0.1 * (seed % 2)
        )
        net = problem.network()
        found = rounding_of(evaluate(net, *net.validated(problem.x, problem.y)), 2.0**-53)
        expected = fastbp.finite_differences(net, problem.x, problem.y).error_bar.flat
        ratios.append(found.error_bars(2.0**-53) / expected)
    logarithms = np.log(np.concatenate(ratios))
    assert abs(np.mean(logarithms)) < 0.25
    assert np.max(np.abs(logarithms)) < np.log(32)


def test_float32_gradients_are_within_the_bars_of_a_replay():
    net, x, y = example(np.float32)
    _, single = net.loss_and_gradients(x, y)
    exact = float64_copy(net)
    _, double = exact.loss_and_gradients(x.astype(np.float64), y.astype(np.float64))
    error = np.abs(single.flat - double.flat)
    bars = rounding_of(evaluate(net, x, y), 2.0**-24).error_bars(2.0**-24)
    assert np.all(error <= bars)
    assert np.max(bars) < 1e4 * np.max(error)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_what_a_difference_cuts_off_is_in_its_error_bar(loss):
    """A step of 1e-6 moves the outputs by a tenth where inputs are 1e5: a smaller one is taken."""
    rng = np.random.default_rng(0)
    net = fastbp.Network([1e-5 * rng.standard_normal((2, 3))], loss=loss)
    x, y = 1e5 * rng.standard_normal((3, 6)), np.array([[0.25], [0.75]]) * np.ones(6)
    report = check_network(net, x, y, method="replay")
    assert report.verdict == "passed", str(report)
    assert report.arrays[0].worst.error < report.arrays[0].worst.allowed < 1
    assert report.evaluations > 4 * 6


# ---- overflow ----


def test_a_loss_that_overflows_is_never_a_pass():
    net = fastbp.Network([np.full((1, 1), 1e200)], [np.zeros((1, 1))])
    try:
        report = check_network(net, np.full((1, 2), 1e3), np.zeros((1, 2)))
    except NonFiniteError as error:
        assert "overflow" in str(error)  # noqa: PT017
    else:
        assert report.verdict == "inconclusive", str(report)


# ---- custom losses ----


def absolute(output, y):
    return float(np.abs(output - y).sum())


def sign(output, y):
    return np.sign(output - y)


def squares(output, y):
    return float(np.square(output - y).sum())


def slope_of_squares(output, y):
    return 2 * (output - y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", ["book", "torch"])
@pytest.mark.parametrize(
    "pair", [(absolute, sign), (squares, slope_of_squares)], ids=["absolute", "squares"]
)
def test_a_correct_custom_loss_has_a_passed_row(dtype, layout, pair):
    net, x, y = example(dtype, layout, loss=pair, reduction="mean", scale=3.0)
    report = check_network(net, x, y)
    assert report.verdict == "passed", str(report)
    row = report.arrays[-1]
    assert (row.name, row.shape, row.entries, row.kinks) == ("loss", y.shape, y.size, 0)
    assert row.detectable < 1e-3
    assert report.evaluations > 4 * y.size


def test_a_loss_with_a_name_has_no_row(problem):
    net, x, y, _ = problem
    assert "loss" not in rows(check_network(net, x, y))


@pytest.mark.parametrize("layout", ["book", "torch"])
def test_a_wrong_entry_of_a_loss_gradient_is_found_where_it_is(layout):
    place = (1, 4) if layout == "book" else (4, 1)

    def wrong(output, y):
        slope = slope_of_squares(output, y)
        slope[place] += 0.01
        return slope

    net, x, y = example(layout=layout, loss=(squares, wrong))
    report = check_network(net, x, y)
    found = [failure for failure in report.failures if failure.array == "loss"]
    assert [failure.index for failure in found] == [place]
    assert found[0].error == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("slope_at_zero", [-1.0, 0.0, 1.0])
def test_a_kink_of_a_custom_loss_is_not_judged(slope_at_zero):
    def slope(output, y):
        return np.where(output == y, slope_at_zero, np.sign(output - y))

    net, x, y = example(loss=(absolute, slope))
    y[0, 2] = net.forward(x).output[0, 2]
    row = rows(check_network(net, x, y))["loss"]
    assert (row.verdict, row.kinks) == ("passed", 1)


@pytest.mark.parametrize("distance", np.linspace(-3, 3, 25))
def test_a_kink_near_the_output_raises_no_false_alarm(distance):
    net, x, y = example(loss=(absolute, sign))
    y[0, 2] = net.forward(x).output[0, 2] + distance * 6e-6
    assert rows(check_network(net, x, y))["loss"].verdict == "passed"


def test_a_loss_that_mixes_samples_says_what_does_not_add_up():
    def mixed(output, y):
        return squares(output, y) / output.size

    net, x, y = example(loss=(mixed, slope_of_squares))
    row = rows(check_network(net, x, y))["loss"]
    assert row.verdict == "failed"
    assert re.search(
        r"the value of the batch is \S+, but the values of its samples sum to", row.reason
    )


@pytest.mark.parametrize("given", [True, False])
def test_a_loss_gradient_of_the_wrong_shape_is_refused(given):
    def summed(output, y):
        return slope_of_squares(output, y).sum(axis=1)

    good, x, y = example(loss=(squares, slope_of_squares))
    _, own = good.loss_and_gradients(x, y)
    net, _, _ = example(loss=(squares, summed))
    with pytest.raises(ShapeError, match=r"must have shape \(2, 6\), not \(2,\)"):
        check_network(net, x, y, own if given else None)


def test_a_loss_gradient_that_is_always_float32_is_judged_as_such():
    def single(output, y):
        return slope_of_squares(output, y).astype(np.float32)

    net, x, y = example(np.float32, loss=(squares, single))
    assert check_network(net, x, y).verdict == "passed"
    wrong, _, _ = example(np.float32, loss=(squares, lambda o, y: single(o, y) * np.float32(1.01)))
    assert rows(check_network(wrong, x, y))["loss"].verdict == "failed"


# ---- refusals ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "exactly"},
            "method must be one of 'certified', 'exact', 'replay', not 'exactly'.",
        ),
        ({"method": None}, "method must be one of 'certified', 'exact', 'replay', not None."),
        ({"rtol": -1.0}, "rtol must be None or a finite number of at least 0, not -1.0."),
        ({"rtol": math.nan}, "rtol must be None or a finite number of at least 0, not nan."),
        ({"atol": math.inf}, "atol must be None or a finite number of at least 0, not inf."),
        ({"atol": "1"}, "atol must be None or a finite number of at least 0, not '1'."),
        ({"atol": True}, "atol must be None or a finite number of at least 0, not True."),
        ({"directions": 0}, "directions must be an integer of at least 1, not 0."),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1."),
        ({"max_memory": 1000}, "max_memory must be at least"),
        ({"progress": "yes"}, "progress must be None, True or False, not 'yes'."),
    ],
)
def test_senseless_options(problem, options, message):
    net, x, y, _ = problem
    with pytest.raises(OptionError) as caught:
        check_network(net, x, y, **options)
    assert str(caught.value).startswith(message)


def test_senseless_memory(problem):
    net, x, y, _ = problem
    with pytest.raises(OptionError, match="max_memory"):
        check_network(net, x, y, max_memory=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda _: "gradient",
            DTypeError,
            "gradients must be None, Gradients, a pair (dweights, dbiases) of lists, a flat "
            "vector, or a function that returns one of these, not str.",
        ),
        (
            lambda _: lambda *_: None,
            DTypeError,
            "gradients must be None, Gradients, a pair (dweights, dbiases) of lists, a flat "
            "vector, or a function that returns one of these, not NoneType.",
        ),
        (
            lambda own: list(own.weights),
            ShapeError,
            "gradients must be a pair (dweights, dbiases), not a list of length 3.",
        ),
        (
            lambda own: own.flat[:-1],
            ShapeError,
            "gradients must have shape (54,), not (53,).",
        ),
        (
            lambda own: own.flat[:, np.newaxis],
            ShapeError,
            "gradients must have shape (54,), not (54, 1).",
        ),
        (
            lambda own: (own.weights[:2], own.biases),
            ShapeError,
            "gradients must hold 3 weight gradients, not 2.",
        ),
        (
            lambda own: (own.weights, own.biases * 2),
            ShapeError,
            "gradients must hold 3 bias gradients, not 6.",
        ),
        (
            lambda own: (own.weights, None),
            DTypeError,
            "the bias gradients must be a list of 3 arrays, not None.",
        ),
        (
            lambda own: (own.weights[0], own.biases),
            DTypeError,
            "the weight gradients must be a list of 3 arrays, not ndarray.",
        ),
        (
            lambda own: (own.weights, ["a", "b", "c"]),
            DTypeError,
            "the gradient of biases[0] must be an array of floats, not one of dtype <U1.",
        ),
        (
            lambda own: (own.weights, [own.biases[0], own.biases[1], None]),
            DTypeError,
            "the gradient of biases[2] must be an array of floats, not NoneType.",
        ),
        (
            lambda own: (own.weights, [own.biases[0], [[1.0], [2.0, 3.0]], own.biases[2]]),
            DTypeError,
            "the gradient of biases[1] must be an array of floats: setting an array element",
        ),
    ],
    ids=[
        "string",
        "function of nothing",
        "no pair",
        "short vector",
        "column",
        "too few weights",
        "too many biases",
        "no biases",
        "one array for all",
        "strings",
        "none",
        "ragged",
    ],
)
def test_what_cannot_be_assigned_to_the_parameters_is_refused(problem, make, error, message):
    net, x, y, own = problem
    with pytest.raises(error) as caught:
        check_network(net, x, y, make(own))
    assert str(caught.value).startswith(message)


def test_bias_gradients_for_a_network_that_has_none(problem):
    full, x, y, own = problem
    net = fastbp.Network(full.weights)
    message = (
        "the bias gradients must be None, since the network has no biases, not list of length 3."
    )
    with pytest.raises(ShapeError) as caught:
        check_network(net, x, y, (list(own.weights), list(own.biases)))
    assert str(caught.value) == message


def test_the_gradients_of_another_network_are_refused_or_found(problem):
    net, x, y, _ = problem
    deeper = fastbp.Network.random([3, 5, 4, 4, 2])
    with pytest.raises(ShapeError, match="gradients must hold 3 weight gradients, not 4"):
        check_network(net, x, y, deeper.loss_and_gradients(x, y)[1])
    wider = fastbp.Network.random([3, 6, 4, 2])
    report = check_network(net, x, y, wider.loss_and_gradients(x, y)[1])
    assert rows(report)["weights[0]"].reason == "must have shape (5, 3), not (6, 3)"


def test_bad_data_is_named(problem):
    net, x, y, _ = problem
    with pytest.raises(ShapeError, match="y must have shape"):
        check_network(net, x, y[:1])
    bad = x.copy()
    bad[1, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"x\[1, 2\]"):
        check_network(net, bad, y)
    net.weights[1][0, 3] = np.inf
    with pytest.raises(NonFiniteError, match=r"weights\[1\]\[0, 3\]"):
        check_network(net, x, y)


def test_progress_reaches_the_differences(problem, capsys):
    net, x, y, _ = problem
    check_network(net, x, y, method="replay", progress=True)
    assert capsys.readouterr().err
    check_network(net, x, y, method="replay", progress=False)
    assert not capsys.readouterr().err
