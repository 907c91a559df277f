"""Gradients as they come back: shapes, `out`, and whose memory it is."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given
from support.strategies import BIAS_KINDS, LAYOUTS, Problem, make_problem, problems

import fastbp
from fastbp.errors import FastbpError, ShapeError


@pytest.mark.small
@pytest.mark.parametrize("bias", BIAS_KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_come_in_the_users_shapes(layout, bias):
    problem = make_problem([3, 5, 4, 2], 6, layout=layout, bias=bias)
    _, gradients = problem.network().loss_and_gradients(problem.x, problem.y)
    assert [g.shape for g in gradients.weights] == [w.shape for w in problem.weights]
    if bias == "none":
        assert gradients.biases is None
    else:
        assert [g.shape for g in gradients.biases] == [b.shape for b in problem.biases]
    assert gradients.inputs.shape == problem.x.shape
    assert gradients.flat.shape == (problem.reference().flat.size,)
    _, expected = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    for own, known in zip(gradients.weights, expected.weights, strict=True):
        np.testing.assert_allclose(own, known, rtol=1e-11, atol=1e-13)


@pytest.mark.small
def test_inputs_are_left_out_when_not_wanted():
    problem = make_problem([3, 5, 2], 6)
    net = problem.network()
    loss, without = net.loss_and_gradients(problem.x, problem.y, inputs=False)
    same_loss, with_inputs = net.loss_and_gradients(problem.x, problem.y)
    assert without.inputs is None
    assert loss == same_loss
    np.testing.assert_array_equal(without.flat, with_inputs.flat)


@pytest.mark.small
def test_out_is_written_into_and_returned():
    problem = make_problem([3, 5, 2], 6)
    net = problem.network()
    loss, fresh = net.loss_and_gradients(problem.x, problem.y)
    _, out = net.loss_and_gradients(-problem.x, problem.y)
    memory = out.flat
    again, returned = net.loss_and_gradients(problem.x, problem.y, out=out)
    assert returned is out
    assert again == loss
    assert returned.flat is memory
    assert np.shares_memory(returned.weights[0], memory)
    np.testing.assert_array_equal(out.flat, fresh.flat)
    np.testing.assert_array_equal(out.inputs, fresh.inputs)
    np.testing.assert_array_equal(out.weights[0], fresh.weights[0])


@pytest.mark.small
def test_out_follows_the_batch():
    problem = make_problem([3, 5, 2], 6)
    net = problem.network()
    _, out = net.loss_and_gradients(problem.x, problem.y)
    for batch in (2, 1, 6):
        x, y = problem.x[:, :batch], problem.y[:, :batch]
        loss, fresh = net.loss_and_gradients(x, y)
        assert net.loss_and_gradients(x, y, out=out)[0] == loss
        np.testing.assert_array_equal(out.flat, fresh.flat)
        np.testing.assert_array_equal(out.inputs, fresh.inputs)
    net.loss_and_gradients(problem.x, problem.y, out=out, inputs=False)
    assert out.inputs is None


@pytest.mark.small
def test_out_of_another_network_is_refused():
    problem, other = make_problem([3, 5, 2], 6), make_problem([3, 4, 2], 6)
    net = problem.network()
    _, foreign = other.network().loss_and_gradients(other.x, other.y)
    with pytest.raises(ShapeError, match="out"):
        net.loss_and_gradients(problem.x, problem.y, out=foreign)
    single = make_problem([3, 5, 2], 6, dtype=np.float32)
    _, narrow = single.network().loss_and_gradients(single.x, single.y)
    with pytest.raises(FastbpError, match="out"):
        net.loss_and_gradients(problem.x, problem.y, out=narrow)
    with pytest.raises(FastbpError, match="out"):
        net.loss_and_gradients(problem.x, problem.y, out=np.zeros(net.parameters.size))
    quotients = fastbp.finite_differences(net, problem.x, problem.y)
    with pytest.raises(FastbpError, match="out"):
        net.loss_and_gradients(problem.x, problem.y, out=quotients)


@pytest.mark.small
def test_flat_and_arrays_are_the_same_memory():
    problem = make_problem([3, 5, 2], 6)
    _, gradients = problem.network().loss_and_gradients(problem.x, problem.y)
    gradients.weights[1][0, 0] = 99.0
    assert 99.0 in gradients.flat


@pytest.mark.small
@given(problems(max_size=9, max_batch=5))
def test_the_callers_arrays_never_change(problem: Problem):
    kept = [array.copy() for array in problem.arrays]
    net = problem.network()
    parameters = net.parameters.copy()
    first = net.loss_and_gradients(problem.x, problem.y)
    second = net.loss_and_gradients(problem.x, problem.y)
    for array, before in zip(problem.arrays, kept, strict=True):
        np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(net.parameters, parameters)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1].flat, second[1].flat)
    assert not np.shares_memory(first[1].flat, second[1].flat)


@pytest.mark.small
def test_gradients_of_another_network_may_be_overwritten_too():
    x, y = np.ones((3, 5)), np.zeros((2, 5))
    first, second = (fastbp.Network.random([3, 4, 2], seed=seed) for seed in (1, 2))
    _, out = first.loss_and_gradients(x, y)
    expected_loss, expected = second.loss_and_gradients(x, y)
    loss, gradients = second.loss_and_gradients(x, y, out)
    assert gradients is out
    assert loss == expected_loss
    np.testing.assert_array_equal(out.flat, expected.flat)
    np.testing.assert_array_equal(out.inputs, expected.inputs)
