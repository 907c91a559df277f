"""Finite differences by replay: the notebook's loop, entry by entry, as the reference has it."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from support import golden as numbers
from support.replays import replay, some_entries
from support.rounding import replay_bounds
from support.strategies import BIAS_KINDS, LAYOUTS, Problem, make_problem, problems

import fastbp

SCHEMES = ("central", "forward")


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


@pytest.mark.long
@given(problems(values=("integers", "sparse"), max_size=17), st.sampled_from(SCHEMES))
def test_quotients_equal_the_loop_where_zeros_are_exact(problem: Problem, scheme: str):
    assert_equals_loop(problem, scheme)


@pytest.mark.long
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
