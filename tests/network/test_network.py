"""The network object: what it holds, what it shares, what it computes."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given
from support.rounding import forward_bounds, unit_roundoff
from support.strategies import BIAS_KINDS, LAYOUTS, MEMORY_ORDERS, Problem, make_problem, problems

import fastbp
from fastbp.errors import DTypeError, FastbpError, ShapeError
from fastbp.network import parameters

pytestmark = pytest.mark.small


# ---- what it holds ----


@pytest.mark.parametrize("order", MEMORY_ORDERS)
@pytest.mark.parametrize("bias", BIAS_KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_come_back_as_given(dtype, layout, bias, order):
    problem = make_problem([3, 5, 4, 2], 4, dtype=dtype, layout=layout, bias=bias, order=order)
    net = problem.network()
    assert net.sizes == (3, 5, 4, 2)
    assert net.dtype == dtype
    assert net.layout == layout
    for own, given_array in zip(net.weights, problem.weights, strict=True):
        assert own.dtype == dtype
        np.testing.assert_array_equal(own, given_array, strict=True)
    if problem.biases is None:
        assert net.biases is None
    else:
        for own, given_array in zip(net.biases, problem.biases, strict=True):
            np.testing.assert_array_equal(own, given_array, strict=True)


@pytest.mark.parametrize("bias", BIAS_KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_flat_vector_holds_the_arrays_in_order(layout, bias):
    problem = make_problem([3, 5, 2], 1, layout=layout, bias=bias)
    net, oracle = problem.network(), problem.reference()
    assert net.parameters.shape == (oracle.flat.size,)
    assert net.parameters.flags.c_contiguous
    np.testing.assert_array_equal(net.parameters, oracle.flat)
    assert net.parameter_names() == oracle.names


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_and_biases_are_views_into_the_flat_vector(layout):
    problem = make_problem([3, 5, 2], 2, layout=layout)
    net = problem.network()
    for array in [*net.weights, *net.biases]:
        assert np.shares_memory(array, net.parameters)
        assert array.flags.writeable
    net.weights[1][0, 1] = 42.0
    net.biases[0][2] = -7.0
    assert 42.0 in net.parameters
    assert -7.0 in net.parameters
    net.parameters[:] = 1.0
    assert all(np.all(array == 1.0) for array in [*net.weights, *net.biases])


def test_edits_are_seen_by_every_call():
    problem = make_problem([3, 5, 2], 4)
    net = problem.network()
    before = net.loss(problem.x, problem.y)
    net.weights[1][0, 1] += 1.0
    edited = Problem(list(net.weights), list(net.biases), problem.x, problem.y, problem.options)
    expected = reference.loss(edited.reference(), problem.x, problem.y)
    assert net.loss(problem.x, problem.y) == pytest.approx(expected, rel=1e-13)
    assert net.loss(problem.x, problem.y) != before
    assert net.loss_and_gradients(problem.x, problem.y)[0] == net.loss(problem.x, problem.y)


def test_the_callers_arrays_are_copied_not_shared():
    problem = make_problem([3, 5, 2], 4)
    kept = [array.copy() for array in problem.arrays]
    net = problem.network()
    net.parameters[:] = 0.5
    for array, copy in zip(problem.arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_objective_is_told():
    net = fastbp.Network.random(
        [2, 3], loss="softmax_cross_entropy", reduction="mean", scale=0.5, weight_decay=0.1
    )
    assert net.objective.loss == "softmax_cross_entropy"
    assert net.objective.reduction == "mean"
    assert net.objective.scale == 0.5
    assert net.objective.weight_decay == 0.1
    assert fastbp.Network.random([2, 3], relu_at_zero=0.5).relu_at_zero == 0.5


def test_unflatten_gives_views_in_the_users_shapes():
    problem = make_problem([3, 5, 2], 1, layout="keras", bias="flat")
    net = problem.network()
    vector = np.arange(net.parameters.size)
    arrays = net.unflatten(vector)
    assert [w.shape for w in arrays.weights] == [w.shape for w in problem.weights]
    assert [b.shape for b in arrays.biases] == [b.shape for b in problem.biases]
    assert arrays.inputs is None
    assert arrays.weights[0].dtype == vector.dtype
    arrays.biases[1][0] = -1
    assert vector[net.parameter_names().index("biases[1]")] != -1  # it is the last but one entry
    assert vector[-2] == -1


def test_unflatten_refuses_another_length():
    net = fastbp.Network.random([3, 2])
    with pytest.raises(ShapeError, match=r"\(8,\).*\(9,\)"):
        net.unflatten(np.zeros(9))


# ---- random networks ----


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_random_networks_are_he_initialised(dtype, layout):
    net = fastbp.Network.random([400, 300, 10], seed=3, dtype=dtype, layout=layout)
    shape = (400, 300) if layout == "keras" else (300, 400)
    assert net.weights[0].shape == shape
    assert net.dtype == dtype
    # 120 000 draws: the sample's deviation is within 1 % of the true one, five sigma and more.
    assert float(net.weights[0].std()) == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert abs(float(net.weights[0].mean())) < 0.01
    assert np.any(net.biases[0] != 0)
    assert float(np.abs(net.biases[0]).max()) < 1.0


def test_random_networks_follow_their_seed():
    same, again, other = (fastbp.Network.random([3, 4, 2], seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(same.parameters, again.parameters)
    assert not np.array_equal(same.parameters, other.parameters)


def test_small_random_networks_come_from_one_generator():
    rng = np.random.default_rng(7)
    w0, b0, w1, b1 = (rng.standard_normal(shape) for shape in [(4, 3), (4, 1), (2, 4), (2, 1)])
    arrays = [w0 * np.sqrt(2 / 3), 0.1 * b0, w1 * np.sqrt(2 / 4), 0.1 * b1]
    net = fastbp.Network.random([3, 4, 2], seed=7)
    np.testing.assert_array_equal(net.parameters, np.concatenate([a.ravel() for a in arrays]))


@pytest.fixture
def drawn_in_blocks(monkeypatch):
    """Small networks are drawn as large ones are: 5 rows at a time of the first layer."""
    monkeypatch.setattr(parameters, "ONE_STREAM", 0)
    monkeypatch.setattr(parameters, "BLOCK_ENTRIES", 40)
    before = fastbp.get_num_threads()
    yield
    fastbp.set_num_threads(before)


@pytest.mark.usefixtures("drawn_in_blocks")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_random_networks_are_the_same_for_every_number_of_threads(threads):
    fastbp.set_num_threads(threads)
    net = fastbp.Network.random([7, 23, 2], seed=3)
    block = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(0, 2)))
    weight = np.sqrt(2 / 7) * block.standard_normal((5, 7))  # rows 10 to 14
    np.testing.assert_array_equal(net.weights[0][10:15], weight)
    bias = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(3, 0)))
    np.testing.assert_array_equal(net.biases[1], 0.1 * bias.standard_normal((2, 1)))
    assert np.unique(net.parameters).size == net.parameters.size


@pytest.mark.usefixtures("drawn_in_blocks")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_networks_in_every_layout_and_dtype_are_the_same_network(layout):
    book = fastbp.Network.random([7, 23, 2], seed=3)
    net = fastbp.Network.random([7, 23, 2], seed=3, layout=layout, dtype=np.float32)
    for one, other in zip(net.weights, book.weights, strict=True):
        same = other.T if layout == "keras" else other
        np.testing.assert_array_equal(one, same.astype(np.float32))
    for one, other in zip(net.biases, book.biases, strict=True):
        np.testing.assert_array_equal(one.ravel(), other.ravel().astype(np.float32))


def test_random_leaves_numpys_global_generator_alone():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    fastbp.Network.random([3, 4, 2])
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("sizes", [[], [3], [3, 0, 2], [0, 2], [3, -1], [3, 2.5], "ab", None])
def test_random_refuses_bad_sizes(sizes):
    with pytest.raises(FastbpError, match="sizes"):
        fastbp.Network.random(sizes)


@pytest.mark.parametrize("dtype", [np.int64, np.complex128, np.float16, object, "nonsense"])
def test_random_refuses_other_dtypes(dtype):
    with pytest.raises(DTypeError, match="dtype"):
        fastbp.Network.random([3, 2], dtype=dtype)


# ---- forward ----


@given(problems())
def test_forward_equals_the_reference(problem: Problem):
    net = problem.network()
    kept = [array.copy() for array in problem.arrays]
    result = net.forward(problem.x)
    f, h, error_f, error_h = forward_bounds(
        problem.reference(), problem.x, unit_roundoff(problem.dtype) + unit_roundoff(np.float64)
    )
    assert len(result.preactivations) == len(result.activations) == len(f)
    layout = problem.options["layout"]
    for own, expected, bound in [
        *zip(result.preactivations, f, error_f, strict=True),
        *zip(result.activations, h, error_h, strict=True),
    ]:
        assert own.dtype == problem.dtype
        assert own.shape == reference.as_user(layout, expected).shape
        difference = np.abs(reference.as_columns(layout, own) - expected)
        assert np.all(difference <= bound)
    np.testing.assert_array_equal(result.output, result.preactivations[-1])
    np.testing.assert_array_equal(result.activations[0], problem.x)
    for array, copy in zip(problem.arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_forward_results_do_not_share_memory_with_the_input():
    problem = make_problem([3, 4, 2], 2)
    result = problem.network().forward(problem.x)
    result.output[...] = 0
    result.activations[0][...] = 0
    assert np.any(problem.x != 0)
