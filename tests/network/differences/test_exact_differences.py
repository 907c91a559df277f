"""Exact differences: against the reference's backward pass, replay, and the rule itself."""

from __future__ import annotations

import decimal
import re
import tracemalloc

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import golden as numbers
from support.rounding import gradient_bounds, replay_bounds
from support.strategies import BIAS_KINDS, LAYOUTS, LOSSES, Problem, make_problem, problems

import fastbp
from fastbp.errors import FastbpError, OptionError
from fastbp.network.losses import Objective
from fastbp.network.sensitivities.exact import exact_sensitivities
from fastbp.network.sensitivities.loss_slopes import loss_slopes

CLOSE = 1e-13  # of the largest entry of |s| |h|^T


def exact(problem: Problem, **options) -> fastbp.Differences:
    return fastbp.finite_differences(problem.network(), problem.x, problem.y, **options)


def reference_sensitivities(
    oracle: reference.Reference, x: np.ndarray, y: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """s[k] = dL/df[k] by the book's recursion, and h[k]; columns are examples."""
    f, h = reference.forward(oracle, x)
    book_y = reference.as_columns(oracle.layout, y)
    s = [reference.factor(oracle, f[-1]) * reference.d_summed_loss(oracle, f[-1], book_y)]
    for k in range(len(f) - 1, 0, -1):
        mask = reference.mask_of(f[k - 1], oracle.relu_at_zero)
        s.insert(0, mask * (oracle.book_weight(k).T @ s[0]))
    return s, h


def assert_equals_backward_pass(problem: Problem) -> None:
    """Within 1e-13 of what cancels at most in each array."""
    oracle = problem.reference()
    _, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
    s, h = reference_sensitivities(oracle, problem.x, problem.y)
    result = exact(problem)
    assert result.flat.dtype == np.float64
    assert result.flat.shape == expected.flat.shape
    for k, (own, wanted) in enumerate(zip(result.weights, expected.weights, strict=True)):
        assert own.shape == wanted.shape
        size = (np.abs(s[k]) @ np.abs(h[k]).T).max()
        decay = oracle.weight_decay * np.abs(oracle.weights[k]).max()
        assert np.abs(own - wanted).max() <= CLOSE * (size + decay)
        if oracle.biases is not None:
            difference = result.biases[k] - expected.biases[k]
            assert np.abs(difference).max() <= CLOSE * np.abs(s[k]).sum(axis=1).max()


def masks_are_certain(problem: Problem) -> bool:
    """Whether no rounding decides a mask; small integers are computed without any."""
    oracle = problem.reference()
    return not gradient_bounds(oracle, problem.x, problem.y, 2.0**-53).masks_in_doubt


# ---- against the backward pass ----


@given(problems(values=("integers",)))
def test_differences_equal_the_backward_pass_where_zeros_are_exact(problem: Problem):
    assert_equals_backward_pass(problem)


@given(problems(values=("normal", "sparse")))
def test_differences_equal_the_backward_pass(problem: Problem):
    assume(masks_are_certain(problem))
    assert_equals_backward_pass(problem)


@pytest.mark.small
@settings(max_examples=15)
@given(problems(max_size=5, max_batch=3, max_layers=3, values=("integers",)))
def test_tiny_problems_equal_the_backward_pass(problem: Problem):
    assert_equals_backward_pass(problem)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        ([64, 128, 128, 10], 64),
        ([1, 300, 1], 5),
        ([5, 4, 3, 2, 1], 257),
        ([20, 700, 650, 4], 3),  # more active units than one block of the depth
        ([3, 40, 30, 700], 2),  # more outputs than units below: taken in parts
        ([6, *[9] * 60, 2], 4),
    ],
    ids=str,
)
def test_large_and_odd_shapes_equal_the_backward_pass(sizes, batch, layout):
    assert_equals_backward_pass(make_problem(sizes, batch, layout=layout))


@pytest.mark.small
def test_the_notebooks_network(golden):
    weights, biases, x, y = golden
    net = fastbp.Network(weights, biases)
    result = fastbp.finite_differences(net, x, y)
    for own, expected in zip(result.biases, numbers.GOLDEN_D_BIASES, strict=True):
        np.testing.assert_allclose(own.ravel(), expected, rtol=0, atol=1e-11)
    for own, norm in zip(result.weights, numbers.GOLDEN_NORMS, strict=True):
        assert np.linalg.norm(own) == pytest.approx(float(norm), rel=1e-11)


@pytest.mark.small
@pytest.mark.parametrize("bias", BIAS_KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_differences_come_in_the_users_shapes_as_float64(dtype, layout, bias):
    problem = make_problem([3, 4, 2], 3, dtype=dtype, layout=layout, bias=bias)
    result = exact(problem)
    assert [g.shape for g in result.weights] == [w.shape for w in problem.weights]
    assert all(g.dtype == np.float64 for g in result.weights)
    if bias == "none":
        assert result.biases is None
    else:
        assert [g.shape for g in result.biases] == [b.shape for b in problem.biases]
    assert [g.shape for g in result.error_bar.weights] == [w.shape for w in problem.weights]


@pytest.mark.small
@pytest.mark.parametrize("batch", [1, 3])
def test_a_float32_network_is_converted_exactly(batch):
    narrow = make_problem([5, 7, 6, 2], batch, dtype=np.float32)
    wide = Problem(
        [w.astype(np.float64) for w in narrow.weights],
        [b.astype(np.float64) for b in narrow.biases],
        narrow.x.astype(np.float64),
        narrow.y.astype(np.float64),
        narrow.options,
    )
    np.testing.assert_array_equal(exact(narrow).flat, exact(wide).flat)


# ---- against replay, and against the rule taken literally ----


@settings(max_examples=25)
@given(problems(values=("normal",), max_size=17, max_batch=9, dtypes=(np.float64,)))
def test_differences_equal_replay_within_its_error_bar(problem: Problem):
    replayed = exact(problem, method="replay")
    assume(replayed.kinks is None)
    assume(masks_are_certain(problem))
    rounding, _ = replay_bounds(
        problem.reference(), problem.x, problem.y, scheme="central", delta=1e-6
    )
    error = np.abs(exact(problem).flat - replayed.flat)
    assert np.all(error <= np.maximum(replayed.error_bar.flat, rounding))


def literal_difference(
    oracle: reference.Reference, f: list[np.ndarray], layer: int, unit: int, step: float
) -> np.ndarray:
    """How the outputs differ, sample by sample, where one pre-activation has moved by step."""
    df = np.zeros_like(f[layer])
    df[unit] = step
    for k in range(layer, len(f) - 1):
        dh = np.where(f[k] > 0, np.maximum(df, -f[k]), np.maximum(f[k] + df, 0.0))
        df = oracle.book_weight(k + 1) @ dh
    return df


@pytest.mark.small
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_it_is_the_networks_own_rule_for_a_step_below_every_kink(batch, layout):
    problem = make_problem([4, 6, 5, 7, 2], batch, layout=layout)
    oracle = problem.reference()
    f, _ = reference.forward(oracle, problem.x)
    step = 2.0**-300  # no f comes near 0; products and sums of it round as those of 1
    residual = f[-1] - reference.as_columns(layout, problem.y)
    net = problem.network()
    sensitivities = exact_sensitivities(net, problem.x, problem.y, max_memory=2**30, progress=False)
    for layer in range(len(f)):
        own = sensitivities.of_layer(layer)
        for unit in range(len(f[layer])):
            moved = literal_difference(oracle, f, layer, unit, step)
            loss = (moved * (2.0 * residual + moved)).sum(axis=0)  # no loss is subtracted
            np.testing.assert_allclose(
                own[unit], loss / step, rtol=1e-12, atol=1e-13 * np.abs(own).max()
            )


@pytest.mark.small
def test_sensitivities_are_zero_where_a_unit_is_off_and_where_no_sample_is():
    problem = make_problem([4, 6, 5, 2], 19)
    net = problem.network()
    result = exact_sensitivities(net, problem.x, problem.y, max_memory=2**30, progress=False)
    expected, h = reference_sensitivities(problem.reference(), problem.x, problem.y)
    for k, wanted in enumerate(expected):
        np.testing.assert_allclose(result.of_layer(k), wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(result.into_layer(k), h[k], rtol=1e-12, atol=1e-13)
        if k + 1 < len(expected):
            np.testing.assert_array_equal(result.of_layer(k)[h[k + 1] == 0.0], 0.0)
    lanes = np.arange(result.pitch).reshape(-1, result.width)
    first = 0
    for units in net.sizes[1:]:
        panels = result.flat[first * result.pitch :][: units * result.pitch]
        by_lane = panels.reshape(-1, units, result.width).transpose(1, 0, 2)
        assert not by_lane[:, lanes >= result.batch].any()
        first += units
    assert result.flat.size == first * result.pitch


# ---- kinks ----


@pytest.mark.small
@pytest.mark.parametrize("at_zero", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_at_exactly_zero_the_convention_weighs_both_sides(batch, at_zero):
    """Loss (1 + max(t, 0))^2 at t = 0: slopes 0 and 2."""
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, one], [0 * one, one], relu_at_zero=at_zero)
    x = np.ones((1, batch))
    result = fastbp.finite_differences(net, x, 0 * x)
    assert result.weights[0][0, 0] == 2.0 * at_zero * batch
    assert result.biases[0][0, 0] == 2.0 * at_zero * batch
    assert result.weights[1][0, 0] == 0.0
    assert result.biases[1][0, 0] == 2.0 * batch


@pytest.mark.small
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_zero_biases_and_zero_inputs(at_zero):
    problem = make_problem([3, 5, 6, 2], 4, bias="none", relu_at_zero=at_zero)
    still = Problem(problem.weights, None, 0 * problem.x, problem.y, problem.options)
    assert_equals_backward_pass(still)


@pytest.mark.small
def test_a_dead_layer_answers_to_nothing():
    problem = make_problem([3, 5, 6, 2], 4)
    problem.biases[1][...] = -100.0
    result = exact(problem)
    for k in (0, 1):
        np.testing.assert_array_equal(result.weights[k], 0.0)
        np.testing.assert_array_equal(result.biases[k], 0.0)
    np.testing.assert_array_equal(result.weights[2], 0.0)
    assert result.biases[2].all()


@given(problems(values=("integers", "normal", "sparse"), max_size=17, max_batch=9))
def test_kinks_are_where_conventions_differ_and_sides_are_one_sided_slopes(problem: Problem):
    """Against forward and backward differences of real losses, along each flagged entry."""
    result = exact(problem)
    if result.kinks is None:
        assert result.left is None
        assert result.right is None
        return
    kinks = result.kinks.flat
    assert kinks.dtype == bool
    np.testing.assert_array_equal(result.left.flat[~kinks], result.flat[~kinks])
    np.testing.assert_array_equal(result.right.flat[~kinks], result.flat[~kinks])
    if problem.dtype == np.float32:  # its zeros are exact, but a step of it is not small
        return
    oracle = problem.reference()
    entries = np.flatnonzero(kinks)[:20]
    step = 1e-7
    base = reference.loss(oracle, problem.x, problem.y)
    steps = reference.perturbations(oracle, scheme="central", delta=step, entries=entries)
    for entry, (plus, minus, _) in zip(entries, steps, strict=True):
        theta = oracle.flat[entry]
        above, below = plus.flat[entry] - theta, theta - minus.flat[entry]
        right = (reference.loss(plus, problem.x, problem.y) - base) / above
        left = (base - reference.loss(minus, problem.x, problem.y)) / below
        curved = 1e-3 * (1.0 + np.abs(result.flat).max() + abs(base)) ** 2
        assert abs(result.right.flat[entry] - right) <= curved
        assert abs(result.left.flat[entry] - left) <= curved


@pytest.mark.small
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_one_sided_slopes_at_a_known_kink(layout, at_zero):
    """Loss (1 + max(w x + b, 0))^2 at w = b = 0, for x = 3 and for x = -3."""
    one = np.ones((1, 1))
    for x in (3.0, -3.0):
        net = fastbp.Network(
            [0 * one, one], [np.zeros(1), np.ones(1)], relu_at_zero=at_zero, layout=layout
        )
        result = fastbp.finite_differences(net, x * one, 0 * one)
        np.testing.assert_array_equal(result.kinks.flat, [True, True, False, False])
        slope = 2.0 * x
        assert result.right.weights[0][0, 0] == max(slope, 0.0)
        assert result.left.weights[0][0, 0] == min(slope, 0.0)
        assert (result.left.biases[0][0], result.right.biases[0][0]) == (0.0, 2.0)
        assert result.weights[0][0, 0] == at_zero * slope
        assert result.right.biases[1][0] == result.left.biases[1][0] == 2.0


@pytest.mark.small
def test_continuous_data_has_no_kinks():
    result = exact(make_problem([6, 9, 8, 3], 7))
    assert result.kinks is None
    assert result.left is None
    assert result.right is None


# ---- error bars ----


@given(problems(values=("normal", "sparse"), max_size=33))
def test_the_error_bar_covers_another_correct_computation(problem: Problem):
    assume(masks_are_certain(problem))
    result = exact(problem)
    bars = result.error_bar.flat
    assert np.all(bars >= 0)
    _, expected = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    assert np.all(np.abs(result.flat - expected.flat) <= bars)


def test_the_error_bar_is_not_absurd():
    problem = make_problem([20, 40, 30, 5], 16)
    result = exact(problem)
    s, h = reference_sensitivities(problem.reference(), problem.x, problem.y)
    for k, bars in enumerate(result.error_bar.weights):
        size = np.linalg.norm(s[k], axis=1)[:, None] * np.linalg.norm(h[k], axis=1)
        assert np.all(bars <= 1e-10 * size + 1e-280)


@pytest.mark.small
def test_what_is_known_stays_as_it_was_when_the_network_is_edited():
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, one], [0 * one, one], weight_decay=0.5)
    x = 3 * one
    result = fastbp.finite_differences(net, x, 0 * one)
    before = [part.flat.copy() for part in (result.error_bar, result.left, result.right)]
    net.parameters[...] = 17.0
    x[...] = -5.0
    for part, copy in zip((result.error_bar, result.left, result.right), before, strict=True):
        np.testing.assert_array_equal(part.flat, copy)


# ---- in a check ----


@given(problems(values=("normal", "integers")))
def test_a_check_passes_a_correct_gradient_and_finds_a_changed_entry(problem: Problem):
    net = problem.network()
    options = {"method": "exact", "progress": False}
    _, given_gradient = net.loss_and_gradients(problem.x, problem.y)
    report = fastbp.check_network(net, problem.x, problem.y, given_gradient, **options)
    assert report.method == "exact"
    assert report.verdict in ("passed", "vacuous"), str(report)
    report = fastbp.check_network(net, problem.x, problem.y, given_gradient, **options)
    place = given_gradient.flat.size // 2
    wrong = 10.0 * max(row.detectable for row in report.arrays)
    given_gradient.flat[place] += problem.dtype.type(wrong + 1e-6)
    report = fastbp.check_network(net, problem.x, problem.y, given_gradient, **options)
    assert report.verdict == "failed"
    assert "exact" in str(report)


# ---- losses ----


def loss_in_decimal(
    loss: str, output: list[decimal.Decimal], y: list[decimal.Decimal]
) -> decimal.Decimal:
    if loss == "least_squares":
        return sum((o - t) ** 2 for o, t in zip(output, y, strict=True))
    if loss == "softmax_cross_entropy":
        total = sum(o.exp() for o in output).ln()
        return sum(t * (total - o) for o, t in zip(output, y, strict=True))
    return sum((1 + o.exp()).ln() - t * o for o, t in zip(output, y, strict=True))


def slopes_in_decimal(loss: str, output: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Central differences of whole losses at 400 digits."""
    with decimal.localcontext(prec=400):
        step = decimal.Decimal(10) ** -60
        columns = []
        for o, t in zip(output.T, y.T, strict=True):
            values, wanted = ([decimal.Decimal(float(v)) for v in part] for part in (o, t))
            column = []
            for k in range(len(values)):
                above, below = values.copy(), values.copy()
                above[k] += step
                below[k] -= step
                change = loss_in_decimal(loss, above, wanted) - loss_in_decimal(loss, below, wanted)
                column.append(float(change / (2 * step)))
            columns.append(column)
    return np.array(columns).T


@pytest.mark.small
@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
@pytest.mark.parametrize(
    "loss", ["least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy"]
)
def test_slopes_keep_their_digits_where_the_loss_saturates(loss, scale):
    """Against 400 digits: also where p - y, as a float, has lost them all."""
    rng = np.random.default_rng(0)
    output = scale * rng.standard_normal((4, 6))
    y = np.zeros((4, 6))
    y[output.argmax(axis=0), np.arange(6)] = 1.0  # confident, and right
    expected = slopes_in_decimal(loss, output, y)
    slopes = loss_slopes(Objective(loss), output, y, 0)
    np.testing.assert_allclose(slopes, expected, rtol=1e-13, atol=1e-300)
    if loss == "softmax_cross_entropy":
        labels = output.argmax(axis=0)
        by_label = loss_slopes(Objective(loss), output, labels, 0)
        np.testing.assert_allclose(by_label, expected, rtol=1e-13, atol=1e-300)
    transposed = loss_slopes(Objective(loss), output.T.copy(), y.T.copy(), 1)
    np.testing.assert_array_equal(transposed, slopes)


@pytest.mark.small
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_slopes_for_probabilities(outputs):
    rng = np.random.default_rng(1)
    output = rng.standard_normal((outputs, 6))
    y = rng.dirichlet(np.ones(outputs), size=6).T
    expected = slopes_in_decimal("softmax_cross_entropy", output, y)
    slopes = loss_slopes(Objective("softmax_cross_entropy"), output, y, 0)
    np.testing.assert_allclose(slopes, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.small
def test_a_saturated_softmax_keeps_its_tiny_gradient():
    """1 - p is below the roundoff, and so would p - y be."""
    weights = [np.eye(3), 60.0 * np.eye(3)]
    net = fastbp.Network(weights, loss="softmax_cross_entropy")
    x = np.array([[1.0], [0.25], [0.0]])
    result = fastbp.finite_differences(net, x, np.array([0]))
    assert result.weights[1][1, 0] == pytest.approx(np.exp(-45.0), rel=1e-13)
    assert result.weights[1][0, 0] == pytest.approx(-np.exp(-45.0) - np.exp(-60.0), rel=1e-13)


@pytest.mark.small
def test_an_overflow_is_silent_and_no_number():
    net = fastbp.Network([np.full((2, 3), 1e200), np.full((1, 2), 1e200)])
    result = fastbp.finite_differences(net, np.ones((3, 2)), np.ones((1, 2)))
    assert not np.isfinite(result.flat).any()


# ---- memory, threads ----


def least_memory(problem: Problem) -> int:
    """What the library says that it needs when it gets one byte."""
    with pytest.raises(OptionError, match=r"max_memory must be at least \d+ bytes") as caught:
        exact(problem, max_memory=1)
    return int(re.search(r"at least (\d+)", str(caught.value)).group(1))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 45])
def test_little_memory_and_every_number_of_threads_give_the_same_bits(batch, layout, loss):
    problem = make_problem([17, 65, 61, 70, 9], batch, layout=layout, loss=loss)
    plenty = exact(problem)
    before = fastbp.get_num_threads()
    try:
        for threads in (1, 2, 3):
            fastbp.set_num_threads(threads)
            least = least_memory(problem)
            for max_memory in (least, 2 * least, 2**30):
                result = exact(problem, max_memory=max_memory)
                np.testing.assert_array_equal(result.flat, plenty.flat)
    finally:
        fastbp.set_num_threads(before)


@pytest.mark.parametrize(("sizes", "batch"), [([30, 400, 300, 10], 40), ([30, 2000, 3], 200)])
def test_the_work_stays_within_the_memory(sizes, batch):
    """Beyond network, results, and 16 bytes for each unit and sample."""
    problem = make_problem(sizes, batch)
    net = problem.network()
    least = max(least_memory(problem), 2**20)
    fastbp.finite_differences(net, problem.x, problem.y)
    held = []
    for max_memory in (least, 2**25):
        tracemalloc.start()
        fastbp.finite_differences(net, problem.x, problem.y, max_memory=max_memory)
        held.append(tracemalloc.get_traced_memory()[1] - max_memory)
        tracemalloc.stop()
    pitch = -(-batch // 16) * 16
    activations = 16 * sum(sizes) * pitch
    # Scratch of the backward pass is set aside with the forward pass and never touched.
    untouched = 8 * (4 * max(sizes) * pitch + 16 * batch)
    assert max(held) <= activations + untouched + 8 * net.parameters.size + 2**17


@pytest.mark.parametrize("max_memory", [0, -1, 1.5, "1GB", None, np.nan])
def test_senseless_memory(max_memory):
    problem = make_problem([2, 2], 1)
    with pytest.raises(FastbpError, match="max_memory"):
        exact(problem, max_memory=max_memory)


@pytest.mark.small
def test_nothing_of_the_callers_changes():
    problem = make_problem([3, 4, 2], 3, order="strided")
    net = problem.network()
    kept = [array.copy() for array in [*problem.arrays, net.parameters]]
    fastbp.finite_differences(net, problem.x, problem.y)
    for array, copy in zip([*problem.arrays, net.parameters], kept, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.small
def test_read_only_parameters():
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    expected = fastbp.finite_differences(net, problem.x, problem.y).flat
    net.parameters.flags.writeable = False
    result = fastbp.finite_differences(net, problem.x, problem.y)
    np.testing.assert_array_equal(result.flat, expected)


# ---- options ----


@pytest.mark.small
def test_exact_is_the_default():
    problem = make_problem([3, 4, 2], 3)
    np.testing.assert_array_equal(exact(problem).flat, exact(problem, method="exact").flat)
    assert (exact(problem).flat != exact(problem, method="replay").flat).any()


@pytest.mark.small
@pytest.mark.parametrize(
    "options", [{"scheme": "central"}, {"scheme": "other"}, {"delta": 1e-6}, {"delta": -1}]
)
def test_scheme_and_delta_belong_to_replay(options):
    problem = make_problem([3, 4, 2], 3)
    (name,) = options
    with pytest.raises(OptionError, match=rf"{name} must be None with method=\"exact\""):
        exact(problem, **options)


@pytest.mark.small
@pytest.mark.parametrize("method", ["secant", "Exact", None, 1])
def test_unknown_methods(method):
    problem = make_problem([2, 2], 1)
    with pytest.raises(OptionError, match=r"method.*'exact'.*'replay'"):
        exact(problem, method=method)


@pytest.mark.small
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named(value, name, loss):
    problem = make_problem([3, 4, 2], 3, loss=loss, class_indices=False)
    getattr(problem, name)[1, 1] = value
    with pytest.raises(FastbpError, match=f"^{name} must"):
        exact(problem)


@pytest.mark.small
@given(st.sampled_from([(3, 2), (4, 3)]))
def test_data_of_another_shape_is_named(shape):
    problem = make_problem([4, 4, 2], 2)
    with pytest.raises(FastbpError, match=r"^x .*4"):
        fastbp.finite_differences(problem.network(), np.ones(shape)[:3], problem.y)


# ---- progress ----


@pytest.mark.small
@pytest.mark.parametrize("progress", [None, False])
def test_no_bar_where_there_is_no_terminal(capfd, progress):
    exact(make_problem([3, 4, 2], 3), progress=progress)
    assert capfd.readouterr() == ("", "")


@pytest.mark.small
def test_a_bar_on_stderr_when_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(
        "fastbp.network.sensitivities.exact.OPERATIONS_PER_CALL", 1.0
    )  # every block for itself
    problem = make_problem([3, 4, 5, 2], 3)
    quiet = exact(problem, progress=False)
    loud = exact(problem, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err
    np.testing.assert_array_equal(loud.flat, quiet.flat)


@pytest.mark.small
@pytest.mark.parametrize("progress", ["yes", 2])
def test_senseless_progress(progress):
    with pytest.raises(OptionError, match="progress"):
        exact(make_problem([2, 2], 1), progress=progress)
