"""Properties of loss and gradients: batches, layouts, zeros, overflow."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import reference
from support.against_reference import assert_equals_reference
from support.strategies import LAYOUTS, make_problem

import fastbp


@pytest.mark.small
@pytest.mark.parametrize("loss", ["least_squares", "softmax_cross_entropy"])
def test_a_batch_is_the_sum_of_its_samples(loss):
    """A batch of one takes a path of its own; here it meets the other one."""
    problem = make_problem([5, 9, 8, 3], 7, loss=loss)
    net = problem.network()
    loss_of_all, gradients = net.loss_and_gradients(problem.x, problem.y)
    total, flat = 0.0, np.zeros_like(gradients.flat)
    for n in range(7):
        one = net.loss_and_gradients(problem.x[:, n : n + 1], problem.y[..., n : n + 1])
        total += one[0]
        flat += one[1].flat
        np.testing.assert_allclose(
            one[1].inputs, gradients.inputs[:, n : n + 1], rtol=1e-12, atol=1e-14
        )
    assert total == pytest.approx(loss_of_all, rel=1e-13)
    np.testing.assert_allclose(flat, gradients.flat, rtol=1e-11, atol=1e-13)


@pytest.mark.small
def test_the_layouts_agree():
    results = []
    for layout in LAYOUTS:
        problem = make_problem([5, 9, 3], 4, layout=layout)
        loss, gradients = problem.network().loss_and_gradients(problem.x, problem.y)
        weights = [w.T if layout == "keras" else w for w in gradients.weights]
        inputs = reference.as_columns(layout, gradients.inputs)
        results.append([np.float64(loss), *weights, *gradients.biases, inputs])
    for other in results[1:]:
        for own, first in zip(other, results[0], strict=True):
            np.testing.assert_allclose(own, first, rtol=1e-12, atol=1e-14)


@pytest.mark.small
@pytest.mark.parametrize("bias", ["flat", "none"])
def test_one_affine_layer(bias):
    problem = make_problem([4, 3], 5, bias=bias)
    assert_equals_reference(problem)


@pytest.mark.small
@pytest.mark.parametrize("relu_at_zero", [0.0, 0.25, 0.5, 1.0])
def test_the_mask_at_exactly_zero_is_what_was_asked_for(relu_at_zero):
    net = fastbp.Network(
        [np.ones((1, 1)), np.full((1, 1), 3.0)],
        [np.zeros(1), np.ones(1)],
        relu_at_zero=relu_at_zero,
    )
    _, gradients = net.loss_and_gradients(np.array([[0.0]]), np.array([[0.0]]))
    assert gradients.biases[0][0] == 6.0 * relu_at_zero
    assert gradients.inputs[0, 0] == 6.0 * relu_at_zero
    assert gradients.weights[1][0, 0] == 0.0


@pytest.mark.small
@pytest.mark.parametrize("bias", [None, 0.0, -0.0])
@pytest.mark.parametrize("x", [0.0, -0.0])
@pytest.mark.parametrize("weight", [1.0, -1.0, 0.0, -0.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_minus_zero_is_exactly_zero_too(batch, weight, x, bias):
    weights = [np.full((1, 1), weight), np.full((1, 1), 3.0)]
    biases = None if bias is None else [np.full(1, bias), np.zeros(1)]
    net = fastbp.Network(weights, biases, relu_at_zero=0.5)
    inputs, y = np.full((1, batch), x), np.ones((1, batch))
    result = net.forward(inputs)
    assert not np.signbit(result.activations[1]).any()
    _, gradients = net.loss_and_gradients(inputs, y)
    np.testing.assert_array_equal(gradients.inputs, -2.0 * 3.0 * 0.5 * weight)
    if biases is not None:
        assert gradients.biases[0][0] == -2.0 * 3.0 * 0.5 * batch


@pytest.mark.small
def test_a_dead_network_has_gradients_in_its_last_bias_alone():
    net = fastbp.Network([-np.ones((4, 3)), np.ones((2, 4))], [-np.ones(4), np.ones(2)])
    x, y = np.ones((3, 5)), np.zeros((2, 5))
    loss, gradients = net.loss_and_gradients(x, y)
    assert loss == 10.0
    assert np.count_nonzero(gradients.flat) == 2
    np.testing.assert_array_equal(gradients.biases[1], [10.0, 10.0])


@pytest.mark.small
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_overflow_is_infinite_and_silent(dtype):
    size = dtype(np.sqrt(np.finfo(dtype).max))
    net = fastbp.Network([np.full((2, 3), size), np.full((1, 2), size)])
    loss, gradients = net.loss_and_gradients(np.ones((3, 2), dtype), np.ones((1, 2), dtype))
    assert loss == np.inf
    assert not np.isfinite(gradients.flat).all()


@pytest.mark.small
def test_parameters_may_be_inputs_too():
    """A view of the network's own vector as x."""
    problem = make_problem([3, 5, 2], 4)
    net = problem.network()
    x = net.parameters[:12].reshape(3, 4)
    expected = net.loss_and_gradients(x.copy(), problem.y)
    own = net.loss_and_gradients(x, problem.y)
    assert own[0] == expected[0]
    np.testing.assert_array_equal(own[1].flat, expected[1].flat)


@pytest.mark.small
def test_read_only_parameters_are_enough():
    problem = make_problem([3, 5, 2], 4)
    net = problem.network()
    before = net.loss_and_gradients(problem.x, problem.y)
    net.parameters.setflags(write=False)
    after = net.loss_and_gradients(problem.x, problem.y)
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1].flat, before[1].flat)


@pytest.mark.small
@pytest.mark.parametrize("by_pickle", [False, True])
def test_copies_of_a_network_are_independent(by_pickle):
    problem = make_problem([3, 5, 2], 4, loss="softmax_cross_entropy", scale=0.5)
    net = problem.network()
    twin = pickle.loads(pickle.dumps(net)) if by_pickle else copy.deepcopy(net)
    assert twin.loss(problem.x, problem.y) == net.loss(problem.x, problem.y)
    twin.weights[0][...] = 0.0
    assert np.all(net.weights[0] != 0)
    assert np.all(twin.parameters[: net.weights[0].size] == 0)
