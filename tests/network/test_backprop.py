"""Loss and gradients: the golden numbers, the reference on all shapes, and the bits."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from support import golden as numbers
from support.rounding import forward_bounds, gradient_bounds, loss_bound, unit_roundoff
from support.strategies import BIAS_KINDS, LAYOUTS, Problem, make_problem, problems

import fastbp
from fastbp.errors import FastbpError, NonFiniteError, ShapeError


def rounding_of(problem: Problem) -> float:
    """That of the library and that of the reference."""
    return unit_roundoff(problem.dtype) + unit_roundoff(np.float64)


def rounding_decides_a_mask(problem: Problem) -> bool:
    return gradient_bounds(
        problem.reference(), problem.x, problem.y, rounding_of(problem)
    ).masks_in_doubt


def assert_equals_reference(problem: Problem) -> None:
    """Loss and all gradients within the computed rounding of two correct evaluations."""
    oracle, net, unit = problem.reference(), problem.network(), rounding_of(problem)
    bound, bound_inputs, _ = gradient_bounds(oracle, problem.x, problem.y, unit)
    loss, gradients = net.loss_and_gradients(problem.x, problem.y)
    expected_loss, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
    f, _, error_f, _ = forward_bounds(oracle, problem.x, unit)
    assert abs(loss - expected_loss) <= loss_bound(oracle, f, error_f, problem.y, unit)
    assert gradients.flat.dtype == problem.dtype
    assert gradients.flat.shape == expected.flat.shape
    assert np.all(np.abs(gradients.flat - expected.flat) <= bound)
    assert gradients.inputs.shape == problem.x.shape
    difference = reference.as_columns(oracle.layout, gradients.inputs - expected.inputs)
    assert np.all(np.abs(difference) <= bound_inputs)


# ---- golden numbers ----


@pytest.mark.small
def test_golden_numbers(golden):
    weights, biases, x, y = golden
    net = fastbp.Network(weights, biases)
    result = net.forward(x)
    # The last digit known, the fifteenth, is one of rounding: a unit of it is 5 units of the float.
    assert abs(float(result.output[0, 0]) - numbers.GOLDEN_OUTPUT) < 1e-15
    assert f"{float(result.output[0, 0]):.3f}" == "1.907"
    loss, gradients = net.loss_and_gradients(x, y)
    assert f"{loss:.13f}" == f"{numbers.GOLDEN_LOSS:.13f}"
    for d_bias, expected in zip(gradients.biases, numbers.GOLDEN_D_BIASES, strict=True):
        assert [f"{v + 0.0:.12f}" for v in d_bias.ravel()] == [f"{v:.12f}" for v in expected]
    first = [f"{v + 0.0:.8f}" for v in gradients.weights[0].ravel()]
    assert first == [f"{v:.8f}" for v in numbers.GOLDEN_D_FIRST_WEIGHTS]
    last = [f"{v + 0.0:.12f}" for v in gradients.weights[-1].ravel()]
    assert last == [f"{v:.12f}" for v in numbers.GOLDEN_D_LAST_WEIGHTS]
    for d_weight, printed in zip(gradients.weights, numbers.GOLDEN_NORMS, strict=True):
        places = len(printed.split(".")[1])
        assert f"{np.linalg.norm(d_weight):.{places}f}" == printed
    active = [int((f > 0).sum()) for f in result.preactivations[:-1]]
    assert active == numbers.GOLDEN_ACTIVE_UNITS
    smallest = min(float(np.abs(f).min()) for f in result.preactivations[:-1])
    assert f"{smallest:.3f}" == "0.602"


# ---- against the reference ----


@pytest.mark.small
@given(problems(max_size=9, max_batch=5))
def test_small_problems_equal_the_reference(problem: Problem):
    assume(not rounding_decides_a_mask(problem))
    assert_equals_reference(problem)


@given(problems())
def test_problems_around_the_tile_sizes_equal_the_reference(problem: Problem):
    assume(not rounding_decides_a_mask(problem))
    assert_equals_reference(problem)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        ([784, 128, 10], 1),
        ([784, 129, 10], 65),
        ([1, 1000, 1], 7),
        ([1000, 1, 1000], 3),
        ([257, 255, 256, 3], 130),
        ([3, 2], 2049),
        ([64, 512, 512, 10], 64),
    ],
    ids=str,
)
def test_large_and_odd_shapes_equal_the_reference(sizes, batch, dtype):
    problem = make_problem(sizes, batch, dtype=dtype)
    if rounding_decides_a_mask(problem):
        # So it is in a large float32 net, whatever the seed. Small weights and large biases
        # leave no doubt: each unit is far on or far off.
        for weight, bias in zip(problem.weights, problem.biases, strict=True):
            weight *= 0.05
            bias += np.where(bias > 0, 20, -20).astype(dtype)
    assert not rounding_decides_a_mask(problem)
    assert_equals_reference(problem)


@pytest.mark.small
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("relu_at_zero", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_integers_give_the_very_same_bits(layout, relu_at_zero, dtype):
    """Small integers are summed exactly in every order; many pre-activations are exactly 0."""
    for seed in range(8):
        problem = make_problem(
            [3, 5, 7, 4, 2], 9, seed=seed, dtype=dtype, layout=layout, values="integers",
            relu_at_zero=relu_at_zero, scale=0.5, weight_decay=0.25,
        )  # fmt: skip
        oracle = problem.reference()
        f, _ = reference.forward(oracle, problem.x)
        assert any(np.any(v == 0) for v in f[:-1])
        loss, gradients = problem.network().loss_and_gradients(problem.x, problem.y)
        expected_loss, expected = reference.loss_and_gradients(oracle, problem.x, problem.y)
        assert loss == expected_loss
        np.testing.assert_array_equal(gradients.flat, expected.flat)
        np.testing.assert_array_equal(gradients.inputs, expected.inputs)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "sizes",
    [[130, 129, 257, 3], [3, 2050, 5, 2], [2050, 130, 1], [1, 300, 2049, 1]],
    ids=str,
)
def test_one_sample_through_wide_layers_equals_the_reference(sizes, layout, dtype):
    """Over 128 rows there are several partial sums, over 2048 columns several pieces of each."""
    problem = make_problem([*sizes], 1, layout=layout, dtype=dtype, weight_decay=0.25)
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        weight *= 0.05
        bias += np.where(bias > 0, 20, -20).astype(dtype)  # each unit is far on or far off
    f, _ = reference.forward(problem.reference(), problem.x)
    assert all(np.any(v < 0) for v in f[:-1] if v.size > 9)
    assert all(np.any(v > 0) for v in f[:-1] if v.size > 9)
    assert not rounding_decides_a_mask(problem)
    assert_equals_reference(problem)


@pytest.mark.small
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_nan_behind_a_unit_that_is_off_is_noticed(layout, batch):
    """Although its row adds nothing: in every layout and batch alike."""
    problem = make_problem([3, 4, 2], batch, layout=layout)
    net = problem.network()
    net.biases[0][...] = -100.0
    net.weights[1][...] = np.nan
    with pytest.raises(NonFiniteError, match=r"weights\[1\]"):
        net.loss_and_gradients(problem.x, problem.y)


# ---- what comes back ----


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


# ---- properties ----


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
