"""The losses: against known values, the reference, and one another."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given
from support.rounding import forward_bounds, loss_bound, unit_roundoff
from support.strategies import CUSTOM_LOSS, LAYOUTS, Problem, make_problem, problems

import fastbp
from fastbp.errors import FastbpError

pytestmark = pytest.mark.small


def identity(n: int, **options) -> fastbp.Network:
    """A network that returns its input."""
    return fastbp.Network([np.eye(n)], **options)


@given(problems())
def test_loss_equals_the_reference(problem: Problem):
    net, oracle = problem.network(), problem.reference()
    value = net.loss(problem.x, problem.y)
    assert isinstance(value, float)
    unit = unit_roundoff(problem.dtype) + unit_roundoff(np.float64)
    f, _, error_f, _ = forward_bounds(oracle, problem.x, unit)
    expected = reference.loss(oracle, problem.x, problem.y)
    assert abs(value - expected) <= loss_bound(oracle, f, error_f, problem.y, unit)


def test_least_squares_is_the_plain_sum_of_squares():
    x, y = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.zeros((2, 3))
    assert identity(2).loss(x, y) == 91.0
    assert identity(2, scale=0.5).loss(x, y) == 45.5
    assert identity(2, reduction="mean").loss(x, y) == pytest.approx(91 / 3, rel=1e-15)
    assert identity(2, reduction="mean_entries").loss(x, y) == pytest.approx(91 / 6, rel=1e-15)
    assert identity(2, weight_decay=3.0).loss(x, y) == 91.0 + 1.5 * 2


def test_weight_decay_is_neither_scaled_nor_averaged_and_spares_the_biases():
    weights, biases = [np.array([[2.0]])], [np.array([[5.0]])]
    x = np.zeros((1, 4))
    y = np.full((1, 4), 5.0)
    net = fastbp.Network(weights, biases, reduction="mean", scale=7.0, weight_decay=0.5)
    loss, gradients = net.loss_and_gradients(x, y)
    assert loss == 0.25 * 4.0
    np.testing.assert_array_equal(gradients.weights[0], [[1.0]])
    np.testing.assert_array_equal(gradients.biases[0], [[0.0]])


def test_softmax_cross_entropy_of_equal_logits_is_the_logarithm_of_their_number():
    net = identity(4, loss="softmax_cross_entropy")
    x = np.zeros((4, 3))
    assert net.loss(x, np.array([0, 1, 3])) == pytest.approx(3 * np.log(4), rel=1e-15)
    assert net.loss(x, np.full((4, 3), 0.25)) == pytest.approx(3 * np.log(4), rel=1e-15)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_class_indices_mean_a_one_in_each_column(layout, rng):
    net = identity(4, loss="softmax_cross_entropy", layout=layout)
    x, labels = rng.standard_normal((4, 5)), np.array([3, 0, 1, 1, 2])
    one_hot = np.eye(4)[:, labels]
    if layout != "book":
        x, one_hot = x.T, one_hot.T
    by_index, by_column = net.loss_and_gradients(x, labels), net.loss_and_gradients(x, one_hot)
    assert by_index[0] == pytest.approx(by_column[0], rel=1e-14)
    np.testing.assert_allclose(by_index[1].flat, by_column[1].flat, rtol=1e-13, atol=1e-15)


def test_softmax_cross_entropy_of_a_batch_is_the_sum_of_its_samples(rng):
    net = identity(3, loss="softmax_cross_entropy")
    x, labels = rng.standard_normal((3, 6)), rng.integers(0, 3, 6)
    singles = [net.loss(x[:, n : n + 1], labels[n : n + 1]) for n in range(6)]
    assert net.loss(x, labels) == pytest.approx(sum(singles), rel=1e-14)


def test_softmax_cross_entropy_does_not_mind_a_shift(rng):
    net = identity(3, loss="softmax_cross_entropy")
    x, labels = rng.integers(-4, 5, (3, 6)).astype(float), rng.integers(0, 3, 6)
    assert net.loss(x + 1024.0, labels) == pytest.approx(net.loss(x, labels), rel=1e-12)


@pytest.mark.parametrize("size", [1e3, 1e10, 1e300])
def test_cross_entropies_of_huge_logits_do_not_overflow(size):
    x = np.array([[size, -size], [-size, size]])
    softmax = identity(2, loss="softmax_cross_entropy")
    loss, gradients = softmax.loss_and_gradients(x, np.array([0, 0]))
    assert loss == pytest.approx(2 * size, rel=1e-15)
    np.testing.assert_array_equal(gradients.inputs, [[0, -1], [0, 1]])
    sigmoid = identity(2, loss="sigmoid_cross_entropy")
    loss, gradients = sigmoid.loss_and_gradients(x, np.array([[1.0, 1.0], [0.0, 0.5]]))
    assert loss == pytest.approx(size + 0.5 * size, rel=1e-15)
    np.testing.assert_array_equal(gradients.inputs, [[0, -1], [0, 0.5]])


@pytest.mark.parametrize("output", [-40.0, -1.0, 0.0, 1.0, 40.0])
@pytest.mark.parametrize("target", [0.0, 0.25, 1.0])
def test_sigmoid_cross_entropy_is_that_of_two_classes(output, target):
    """One logit o against 0: the softmax cross-entropy of (o, 0) and (y, 1 - y)."""
    one = identity(1, loss="sigmoid_cross_entropy")
    two = identity(2, loss="softmax_cross_entropy")
    single = one.loss_and_gradients(np.array([[output]]), np.array([[target]]))
    both = two.loss_and_gradients(np.array([[output], [0.0]]), np.array([[target], [1 - target]]))
    assert single[0] == pytest.approx(both[0], rel=1e-14, abs=1e-16)
    assert float(single[1].inputs[0, 0]) == pytest.approx(
        float(both[1].inputs[0, 0]), rel=1e-13, abs=1e-16
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pair_of_callables_sees_the_users_layout(layout):
    seen = []

    def value(output, y):
        seen.append((output.shape, y.shape))
        return float(((output - y) ** 2).sum())

    def gradient(output, y):
        seen.append((output.shape, y.shape))
        return 2 * (output - y)

    problem = make_problem([3, 5, 2], 4, layout=layout, reduction="mean", scale=0.5)
    built_in = problem.network().loss_and_gradients(problem.x, problem.y)
    own = problem.with_options(loss=(value, gradient)).network()
    loss, gradients = own.loss_and_gradients(problem.x, problem.y)
    shape = (2, 4) if layout == "book" else (4, 2)
    assert seen
    assert all(shapes == (shape, shape) for shapes in seen)
    assert loss == pytest.approx(built_in[0], rel=1e-13)
    np.testing.assert_allclose(gradients.flat, built_in[1].flat, rtol=1e-12, atol=1e-14)
    assert own.objective.loss == (value, gradient)


@pytest.mark.parametrize(
    "bad",
    [
        lambda o, y: (o - y)[:, :1],
        lambda o, y: (o - y).T,
        lambda o, y: float((o - y).sum()),
        lambda o, y: np.full_like(o - y, np.nan),
        lambda o, y: (o - y).astype(complex),
        lambda o, y: None if o is not y else o,
    ],
    ids=["narrow", "transposed", "scalar", "nan", "complex", "none"],
)
def test_a_gradient_callable_that_returns_nonsense(bad):
    problem = make_problem([3, 5, 2], 4)
    net = problem.with_options(loss=(CUSTOM_LOSS[0], bad)).network()
    with pytest.raises(FastbpError, match="loss"):
        net.loss_and_gradients(problem.x, problem.y)


@pytest.mark.parametrize("bad", [np.ones(3), None, 1j, "1"])
def test_a_value_callable_that_returns_nonsense(bad):
    problem = make_problem([3, 5, 2], 4)
    net = problem.with_options(loss=(lambda o, y: bad if o is not y else o, CUSTOM_LOSS[1]))
    with pytest.raises(FastbpError, match="loss"):
        net.network().loss(problem.x, problem.y)


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.array(2.0), np.array([2.0])])
def test_a_value_callable_may_return_any_single_real_number(number):
    """In real code the loss comes as a float, a 0-d or a length-1 array."""
    problem = make_problem([3, 5, 2], 4)
    pair = (lambda o, y: number if o is not y else o, CUSTOM_LOSS[1])
    assert problem.with_options(loss=pair).network().loss(problem.x, problem.y) == 2.0


def test_a_loss_callable_cannot_change_what_it_is_given():
    def greedy_value(output, y):
        y = np.asarray(y)
        if y.flags.writeable:
            y[...] = 0
        return float((output - y).sum())

    problem = make_problem([3, 5, 2], 4)
    kept = problem.y.copy()
    net = problem.with_options(loss=(greedy_value, lambda o, y: np.ones_like(o - y))).network()
    net.loss(problem.x, problem.y)
    net.loss_and_gradients(problem.x, problem.y)
    np.testing.assert_array_equal(problem.y, kept)
