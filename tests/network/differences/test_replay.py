"""Finite differences by replay: the notebook's loop, entry by entry, as the reference has it."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import golden as numbers
from support.rounding import gradient_bounds, replay_bounds
from support.strategies import BIAS_KINDS, LAYOUTS, Problem, make_problem, problems

import fastbp
from fastbp.errors import FastbpError, OptionError
from fastbp.network.differences.replay import replay_entries

SCHEMES = ("central", "forward")


def replay(
    network: fastbp.Network, x: np.ndarray, y: np.ndarray, **options: Any
) -> fastbp.Differences:
    return fastbp.finite_differences(network, x, y, **{"method": "replay", **options})


def some_entries(problem: Problem, number: int, seed: int = 0) -> np.ndarray:
    """At most this many of the flat indices, in random order."""
    size = problem.reference().flat.size
    return np.random.default_rng(seed).permutation(size)[:number]


def assert_equals_loop(
    problem: Problem, scheme: str, delta: float = 1e-6, *, number: int = 60
) -> None:
    """Quotients within the rounding of two such loops, and the same kinks away from ties."""
    entries = some_entries(problem, number)
    options = {"scheme": scheme, "delta": delta}
    result = replay(problem.network(), problem.x, problem.y, **options)
    oracle = problem.reference()
    quotients, kinks = reference.finite_differences(
        oracle, problem.x, problem.y, entries=entries, **options
    )
    bounds, doubts = replay_bounds(oracle, problem.x, problem.y, entries=entries, **options)
    assert result.flat.dtype == np.float64
    assert np.all(np.abs(result.flat[entries] - quotients) <= bounds)
    own_kinks = np.zeros(result.flat.size, bool) if result.kinks is None else result.kinks.flat
    assert own_kinks.dtype == bool
    np.testing.assert_array_equal(own_kinks[entries][~doubts], kinks[~doubts])


# ---- against the loop ----


@pytest.mark.small
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_notebooks_network_equals_the_loop(golden, scheme):
    problem = Problem(*golden)
    assert_equals_loop(problem, scheme, number=187)
    result = replay(problem.network(), problem.x, problem.y, scheme=scheme)
    assert result.kinks is None
    for own, expected in zip(result.biases, numbers.GOLDEN_D_BIASES, strict=True):
        # Forward differences of this loss are off by delta times its curvature, up to 5e-5 or so.
        tolerance = 1e-6 if scheme == "central" else 1e-3
        np.testing.assert_allclose(own.ravel(), expected, rtol=0, atol=tolerance)


@given(problems(values=("normal",)), st.sampled_from(SCHEMES))
def test_quotients_equal_the_loop(problem: Problem, scheme: str):
    assert_equals_loop(problem, scheme)


@given(problems(values=("integers", "sparse"), max_size=17), st.sampled_from(SCHEMES))
def test_quotients_equal_the_loop_where_zeros_are_exact(problem: Problem, scheme: str):
    assert_equals_loop(problem, scheme)


@given(
    problems(values=("normal",), max_size=17, max_batch=17),
    st.sampled_from(SCHEMES),
    st.sampled_from([0.5, 0.1, 1e-2, 1e-3, 1e-8]),
)
def test_large_steps_cross_kinks_and_still_equal_the_loop(problem: Problem, scheme: str, delta):
    assert_equals_loop(problem, scheme, delta)


@pytest.mark.small
@settings(max_examples=12)
@given(
    problems(values=("normal",), max_size=3, max_batch=3, max_layers=3),
    st.sampled_from(SCHEMES),
    st.sampled_from([0.5, 1e-6]),
)
def test_tiny_problems_equal_the_loop(problem: Problem, scheme: str, delta: float):
    assert_equals_loop(problem, scheme, delta, number=30)


@pytest.mark.parametrize(
    ("sizes", "batch"),
    [([64, 128, 128, 10], 64), ([1, 300, 1], 5), ([200, 1, 200], 2), ([5, 4, 3, 2, 1], 257)],
    ids=str,
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_large_and_odd_shapes_equal_the_loop(sizes, batch, scheme):
    assert_equals_loop(make_problem(sizes, batch), scheme, number=15)


@pytest.mark.small
@pytest.mark.parametrize("bias", BIAS_KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_differences_come_in_the_users_shapes_as_float64(dtype, layout, bias):
    problem = make_problem([3, 4, 2], 3, dtype=dtype, layout=layout, bias=bias)
    result = replay(problem.network(), problem.x, problem.y)
    assert [g.shape for g in result.weights] == [w.shape for w in problem.weights]
    assert all(g.dtype == np.float64 for g in result.weights)
    if bias == "none":
        assert result.biases is None
    else:
        assert [g.shape for g in result.biases] == [b.shape for b in problem.biases]
    assert [g.shape for g in result.error_bar.weights] == [w.shape for w in problem.weights]
    assert result.left is None
    assert result.right is None
    _, expected = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    np.testing.assert_allclose(result.flat, expected.flat, rtol=1e-5, atol=1e-6)


# ---- kinks ----


def one_unit(preactivation: float) -> fastbp.Network:
    """One hidden unit with this pre-activation for x = 1; the loss of y = 0 moves with it."""
    return fastbp.Network(
        [np.zeros((1, 1)), np.ones((1, 1))], [np.array([preactivation]), np.ones(1)]
    )


@pytest.mark.small
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("preactivation", "flagged"),
    [(0.0, SCHEMES), (-5e-7, SCHEMES), (5e-7, ("central",)), (2e-6, ()), (-2e-6, ())],
)
def test_a_step_across_a_kink_is_flagged(preactivation, flagged, scheme):
    one = np.ones((1, 1))
    result = replay(one_unit(preactivation), one, 0 * one, scheme=scheme)
    if scheme not in flagged:
        assert result.kinks is None
        return
    assert result.kinks.weights[0][0, 0]
    assert result.kinks.biases[0][0]
    assert not result.kinks.weights[1][0, 0]
    assert not result.kinks.biases[1][0]


@pytest.mark.small
@pytest.mark.parametrize(("relu_at_zero", "flagged"), [(0.0, False), (0.5, True), (1.0, True)])
def test_leaving_zero_downwards_is_a_kink_unless_the_mask_at_zero_is_zero(relu_at_zero, flagged):
    """The masks compared are those of the network, with its own convention at exactly 0."""
    one = np.ones((1, 1))
    net = fastbp.Network([0 * one, one], relu_at_zero=relu_at_zero)
    result = replay(net, -one, one, scheme="forward")
    assert (result.kinks is not None) == flagged
    assert result.weights[0][0, 0] == 0.0
    if flagged:
        np.testing.assert_array_equal(result.kinks.flat, [True, False])


@pytest.mark.small
def test_the_quotient_at_a_kink_is_still_that_of_two_losses():
    one = np.ones((1, 1))
    central = replay(one_unit(0.0), one, 0 * one, scheme="central", delta=1e-3)
    forward = replay(one_unit(0.0), one, 0 * one, scheme="forward", delta=1e-3)
    # The loss is (1 + max(t, 0))^2.
    assert float(central.biases[0][0]) == pytest.approx((1.001**2 - 1) / 2e-3, rel=1e-10)
    assert float(forward.biases[0][0]) == pytest.approx((1.001**2 - 1) / 1e-3, rel=1e-10)


@pytest.mark.small
def test_a_zero_that_does_not_move_is_no_kink():
    """Inputs and biases of 0: the pre-activations stay at 0 as long as only weights move."""
    weights = [np.ones((3, 2)), np.ones((1, 3))]
    net = fastbp.Network(weights)
    result = replay(net, np.zeros((2, 4)), np.ones((1, 4)))
    assert result.kinks is None
    np.testing.assert_array_equal(result.flat, 0.0)


# ---- the error bar ----


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("loss", ["least_squares", "softmax_cross_entropy"])
def test_the_error_bar_covers_the_rounding_and_is_not_absurd(scheme, loss):
    ratios = []
    for seed in range(30):
        problem = make_problem([6, 12, 9, 3], 5, seed=seed, loss=loss)
        net, oracle = problem.network(), problem.reference()
        result = replay(net, problem.x, problem.y, scheme=scheme)
        assert np.all(result.error_bar.flat > 0)
        entries = some_entries(problem, 40, seed)
        exact = _exact_quotients(oracle, problem, scheme, entries)
        error = np.abs(result.flat[entries] - exact)
        ratios.append(error.max() / result.error_bar.flat[entries].min())
    assert max(ratios) <= 1.0
    assert np.median(ratios) > 1e-4


def _exact_quotients(oracle, problem, scheme, entries):
    """The loop in long double, where its rounding is two thousand times smaller."""
    exact = []
    for plus, minus, step in reference.perturbations(
        oracle, scheme=scheme, delta=1e-6, entries=entries
    ):
        losses = [_loss_in_long_double(net, problem) for net in (plus, minus)]
        exact.append(float((losses[0] - losses[1]) / np.longdouble(step)))
    return np.array(exact)


def _loss_in_long_double(net, problem):
    h = problem.x.astype(np.longdouble)
    for k in range(len(net.weights)):
        f = net.book_bias(k) + net.book_weight(k).astype(np.longdouble) @ h
        h = np.maximum(f, 0)
    if problem.options["loss"] == "least_squares":
        return ((f - problem.y) ** 2).sum()
    top = f.max(axis=0)
    chosen = f[problem.y, np.arange(f.shape[1])]
    return (top + np.log(np.exp(f - top).sum(axis=0)) - chosen).sum()


@given(problems(values=("normal",), losses=("least_squares",), max_batch=9))
def test_central_differences_of_squares_are_the_gradient(problem: Problem):
    """Between two kinks least squares are a parabola: a central difference has only rounding."""
    oracle = problem.reference()
    bound, _, doubt = gradient_bounds(oracle, problem.x, problem.y, 2.0**-53)
    assume(not doubt)
    result = replay(problem.network(), problem.x, problem.y)
    _, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
    judged = np.ones(bound.size, bool) if result.kinks is None else ~result.kinks.flat
    error = np.abs(result.flat - expected.flat)
    assert np.all(error[judged] <= (result.error_bar.flat + bound)[judged])


# ---- memory, threads, entries ----


def least_memory(problem: Problem) -> int:
    """What the library says that it needs when it gets one byte."""
    with pytest.raises(OptionError, match=r"max_memory must be at least \d+ bytes") as caught:
        replay(problem.network(), problem.x, problem.y, max_memory=1)
    return int(re.search(r"at least (\d+)", str(caught.value)).group(1))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "custom"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_little_memory_gives_the_same_bits(scheme, loss):
    problem = make_problem([17, 33, 31, 9], 45, layout="torch", loss=loss)
    net = problem.network()
    plenty = replay(net, problem.x, problem.y, scheme=scheme)
    least = least_memory(problem)
    assert least < 2**18
    for max_memory in (least, 2 * least, 2**20):
        little = replay(net, problem.x, problem.y, scheme=scheme, max_memory=max_memory)
        np.testing.assert_array_equal(little.flat, plenty.flat)
        assert (little.kinks is None) == (plenty.kinks is None)


def peak_of_replay(problem: Problem, entries: int, max_memory: int) -> int:
    """The bytes that NumPy holds at the worst moment."""
    net = problem.network()
    tracemalloc.start()
    try:
        replay_entries(
            net, problem.x, problem.y, np.arange(entries),
            scheme="central", delta=1e-6, max_memory=max_memory, progress=None,
        )  # fmt: skip
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sizes", [[30, 10], [300, 4]], ids=str)
def test_a_custom_loss_keeps_within_the_memory_too(sizes):
    """It is called from Python with whole outputs: those of all entries would be many."""
    problem = make_problem(sizes, 2000, loss="custom")
    peak_of_replay(problem, 1, 2**22)  # whatever is made once is made now
    least = peak_of_replay(problem, 1, 2**22)
    assert peak_of_replay(problem, 200, 2**22) <= least + 2**22


@pytest.mark.small
def test_an_overflow_is_silent_and_undecided():
    net = fastbp.Network([np.full((2, 3), 1e90), np.full((1, 2), 1e90)])
    x, y = np.ones((3, 2)), np.ones((1, 2))
    assert net.loss(x, y) == np.inf
    report = fastbp.check_network(net, x, y)
    assert report.verdict == "inconclusive", str(report)


@pytest.mark.parametrize("max_memory", [0, -1, 1.5, "1GB", None, np.nan])
def test_senseless_memory(max_memory):
    problem = make_problem([2, 2], 1)
    with pytest.raises(FastbpError, match="max_memory"):
        replay(problem.network(), problem.x, problem.y, max_memory=max_memory)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_number_of_threads_gives_the_same_bits(threads):
    problem = make_problem([65, 33, 31, 9], 33)
    net = problem.network()
    differences = replay(net, problem.x, problem.y)
    loss, gradients = net.loss_and_gradients(problem.x, problem.y)
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(threads)
    try:
        assert fastbp.get_num_threads() == threads
        again = replay(net, problem.x, problem.y)
        loss_again, gradients_again = net.loss_and_gradients(problem.x, problem.y)
    finally:
        fastbp.set_num_threads(before)
    np.testing.assert_array_equal(again.flat, differences.flat)
    assert loss_again == loss
    np.testing.assert_array_equal(gradients_again.flat, gradients.flat)


@pytest.mark.small
@pytest.mark.parametrize("scheme", SCHEMES)
def test_chosen_entries_give_the_bits_of_the_whole(scheme):
    problem = make_problem([3, 5, 4, 2], 3)
    net = problem.network()
    whole = replay(net, problem.x, problem.y, scheme=scheme)
    entries = some_entries(problem, 17).astype(np.int64)
    quotients, kinks = replay_entries(
        net, problem.x, problem.y, entries,
        scheme=scheme, delta=1e-6, max_memory=2**30, progress=None,
    )  # fmt: skip
    np.testing.assert_array_equal(quotients, whole.flat[entries])
    assert kinks.shape == quotients.shape
    assert kinks.dtype == bool


@pytest.mark.small
def test_nothing_of_the_callers_changes():
    problem = make_problem([3, 4, 2], 3, order="strided")
    net = problem.network()
    kept = [array.copy() for array in [*problem.arrays, net.parameters]]
    replay(net, problem.x, problem.y)
    for array, copy in zip([*problem.arrays, net.parameters], kept, strict=True):
        np.testing.assert_array_equal(array, copy)


# ---- options ----


@pytest.mark.small
def test_the_defaults_are_central_and_a_millionth():
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    plain = replay(net, problem.x, problem.y)
    spelt_out = replay(net, problem.x, problem.y, scheme="central", delta=1e-6)
    np.testing.assert_array_equal(plain.flat, spelt_out.flat)


@pytest.mark.small
@pytest.mark.parametrize("method", ["secant", "Replay", None, 1])
def test_unknown_methods(method):
    problem = make_problem([2, 2], 1)
    net = problem.network()
    with pytest.raises(OptionError, match=r"method.*replay"):
        replay(net, problem.x, problem.y, method=method)
    with pytest.raises(OptionError, match=r"method.*replay"):
        fastbp.check_network(net, problem.x, problem.y, method=method)


@pytest.mark.small
@pytest.mark.parametrize("scheme", ["backward", "Central", 1])
def test_unknown_schemes(scheme):
    problem = make_problem([2, 2], 1)
    with pytest.raises(OptionError, match=r"scheme.*central.*forward"):
        replay(problem.network(), problem.x, problem.y, scheme=scheme)


@pytest.mark.small
@pytest.mark.parametrize(
    "delta", [0, 0.0, -1e-6, np.nan, np.inf, -np.inf, "1e-6", 1e-6 + 0j, [1e-6], 1e-20, 1e-300]
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_senseless_steps(delta, scheme):
    problem = make_problem([3, 4, 2], 3)
    with pytest.raises(FastbpError, match="delta"):
        replay(problem.network(), problem.x, problem.y, delta=delta, scheme=scheme)


@pytest.mark.small
def test_a_step_that_one_large_parameter_swallows():
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    net.weights[1][1, 2] = 1e11
    with pytest.raises(OptionError, match=r"delta.*weights\[1\]"):
        replay(net, problem.x, problem.y)


@pytest.mark.small
def test_bad_data_is_named():
    problem = make_problem([3, 4, 2], 5)
    with pytest.raises(FastbpError, match=r"^x .*3"):
        replay(problem.network(), problem.x.T, problem.y.T)


# ---- progress ----


@pytest.mark.small
@pytest.mark.parametrize("progress", [None, False])
def test_no_bar_where_there_is_no_terminal(capfd, progress):
    problem = make_problem([3, 4, 2], 3)
    replay(problem.network(), problem.x, problem.y, progress=progress)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


@pytest.mark.small
def test_a_bar_on_stderr_when_asked_for(capsys):
    problem = make_problem([3, 4, 2], 3)
    net = problem.network()
    quiet = replay(net, problem.x, problem.y, progress=False)
    loud = replay(net, problem.x, problem.y, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err
    np.testing.assert_array_equal(loud.flat, quiet.flat)


@pytest.mark.small
@pytest.mark.parametrize("progress", ["yes", 2])
def test_senseless_progress(progress):
    problem = make_problem([2, 2], 1)
    with pytest.raises(OptionError, match="progress"):
        replay(problem.network(), problem.x, problem.y, progress=progress)


@pytest.mark.small
def test_the_network_is_called_net_as_in_every_other_function():
    net = fastbp.Network.random([2, 2], seed=1)
    x, y = np.ones((2, 1)), np.zeros((2, 1))
    by_name = fastbp.finite_differences(net=net, x=x, y=y, method="replay")
    assert by_name.flat.tobytes() == replay(net, x, y).flat.tobytes()
