"""The network object: what it holds, what it shares, and what it refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
import reference
from hypothesis import given
from support.rounding import forward_bounds, unit_roundoff
from support.strategies import BIAS_KINDS, LAYOUTS, MEMORY_ORDERS, Problem, make_problem, problems

import fastbp
from fastbp.errors import DTypeError, FastbpError, NonFiniteError, OptionError, ShapeError

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


# ---- bad parameters ----


def good() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    problem = make_problem([3, 5, 4, 2], 6)
    return problem.weights, problem.biases, problem.x, problem.y


def test_no_weights():
    with pytest.raises(ShapeError, match="weights"):
        fastbp.Network([])


@pytest.mark.parametrize("weights", [None, 3.0, "weights"])
def test_weights_must_be_a_list(weights):
    with pytest.raises(FastbpError, match="weights"):
        fastbp.Network(weights)


def test_layers_that_do_not_fit():
    weights, biases, *_ = good()
    weights[1] = weights[1].T.copy()
    with pytest.raises(ShapeError, match=r"weights\[1\] must have shape \(.*5\).*\(5, 4\)"):
        fastbp.Network(weights, biases)


def test_layers_that_do_not_fit_in_the_keras_layout():
    weights, *_ = good()
    with pytest.raises(ShapeError, match=r"weights\[1\]"):
        fastbp.Network(weights, layout="keras")


@pytest.mark.parametrize("shape", [(5,), (5, 3, 1), (), (0, 3), (5, 0)])
def test_weights_need_two_axes_and_no_empty_one(shape):
    with pytest.raises(ShapeError, match=r"weights\[0\]"):
        fastbp.Network([np.zeros(shape)])


@pytest.mark.parametrize("shape", [(1, 5), (4,), (4, 1), (5, 2), (), (5, 1, 1), (1,)])
def test_biases_of_another_shape(shape):
    weights, biases, *_ = good()
    biases[0] = np.zeros(shape)
    with pytest.raises(ShapeError, match=r"biases\[0\] must have shape .*\(5, 1\)"):
        fastbp.Network(weights, biases)


@pytest.mark.parametrize("number", [0, 2, 4])
def test_wrong_number_of_biases(number):
    weights, biases, *_ = good()
    biases = [*biases, biases[0]][:number]
    with pytest.raises(ShapeError, match=r"biases.*3.*" + str(number)):
        fastbp.Network(weights, biases)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.complex128, object, np.float16])
def test_parameters_of_another_dtype(dtype):
    weights, biases, *_ = good()
    weights[1] = np.ones((4, 5)).astype(dtype)
    with pytest.raises(DTypeError, match=rf"weights\[1\].*{np.dtype(dtype)}"):
        fastbp.Network(weights, biases)
    weights, biases, *_ = good()
    biases[2] = np.ones((2, 1)).astype(dtype)
    with pytest.raises(DTypeError, match=rf"biases\[2\].*{np.dtype(dtype)}"):
        fastbp.Network(weights, biases)


def test_integers_are_told_to_become_floats():
    with pytest.raises(DTypeError, match="float"):
        fastbp.Network([np.ones((2, 3), dtype=np.int64)])


def test_parameters_of_two_float_types():
    weights, biases, *_ = good()
    biases[1] = biases[1].astype(np.float32)
    with pytest.raises(DTypeError, match=r"biases\[1\].*float(32|64).*float(32|64)"):
        fastbp.Network(weights, biases)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite(value):
    weights, biases, *_ = good()
    weights[2][1, 3] = value
    with pytest.raises(NonFiniteError, match=r"weights\[2\].*(\[|\()1, 3(\]|\))"):
        fastbp.Network(weights, biases)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "call",
    [
        lambda net, x, y: net.forward(x) and y,
        lambda net, x, y: net.loss(x, y),
        lambda net, x, y: net.loss_and_gradients(x, y),
        lambda net, x, y: net.validated(x, y),
        lambda net, x, y: fastbp.finite_differences(net, x, y),
        lambda net, x, y: fastbp.check_network(net, x, y),
    ],
    ids=["forward", "loss", "loss_and_gradients", "validated", "finite_differences", "check"],
)
def test_an_edit_that_is_not_finite_is_found_by_the_next_call(call, value):
    weights, biases, x, y = good()
    net = fastbp.Network(weights, biases)
    net.biases[1][2] = value
    with pytest.raises(NonFiniteError, match=r"biases\[1\].*(\[|\()2, 0(\]|\))"):
        call(net, x, y)


# ---- bad options ----


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [
        ("loss", "mse", "least_squares.*softmax_cross_entropy|softmax_cross_entropy"),
        ("loss", 3, "least_squares"),
        ("loss", (len,), "least_squares|callable"),
        ("loss", (len, 3), "least_squares|callable"),
        ("reduction", "max", "mean_entries"),
        ("reduction", None, "mean_entries"),
        ("layout", "tf", "keras"),
        ("layout", 1, "keras"),
        ("scale", np.nan, "finite"),
        ("scale", np.inf, "finite"),
        ("scale", "2", "number|float|finite"),
        ("weight_decay", np.nan, "finite"),
        ("weight_decay", -1.0, ""),
        ("weight_decay", None, "number|float|finite"),
        ("relu_at_zero", -0.1, "1"),
        ("relu_at_zero", 1.1, "1"),
        ("relu_at_zero", np.nan, "1"),
        ("relu_at_zero", "0", "1"),
    ],
)
def test_bad_options(option, value, known):
    weights, biases, *_ = good()
    with pytest.raises(FastbpError, match=rf"{option}.*({known})"):
        fastbp.Network(weights, biases, **{option: value})


def test_unknown_options_name_all_known_ones():
    with pytest.raises(OptionError) as caught:
        fastbp.Network.random([2, 3], loss="hinge")
    for name in ("least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy", "hinge"):
        assert name in str(caught.value)
    with pytest.raises(OptionError) as caught:
        fastbp.Network.random([2, 3], layout="pytorch")
    for name in ("book", "torch", "keras", "pytorch"):
        assert name in str(caught.value)


# ---- bad data ----


@pytest.mark.parametrize("call", ["forward", "loss", "loss_and_gradients", "validated"])
@pytest.mark.parametrize("shape", [(4, 6), (6, 3), (3,), (3, 6, 1), (), (3, 0)])
def test_x_of_another_shape(call, shape):
    weights, biases, _, y = good()
    net = fastbp.Network(weights, biases)
    arguments = (np.zeros(shape),) if call == "forward" else (np.zeros(shape), y)
    with pytest.raises(ShapeError, match=r"^x .*3"):
        getattr(net, call)(*arguments)


@pytest.mark.parametrize("call", ["loss", "loss_and_gradients", "validated"])
@pytest.mark.parametrize("shape", [(2, 5), (6, 2), (2,), (6,), (2, 1), (2, 6, 1), (1, 6)])
def test_y_of_another_shape(call, shape):
    weights, biases, x, _ = good()
    net = fastbp.Network(weights, biases)
    with pytest.raises(ShapeError, match=r"^y .*\(2, 6\)"):
        getattr(net, call)(x, np.zeros(shape))


def test_an_empty_batch():
    weights, biases, *_ = good()
    net = fastbp.Network(weights, biases)
    with pytest.raises(ShapeError, match="x"):
        net.loss(np.zeros((3, 0)), np.zeros((2, 0)))


@pytest.mark.parametrize("layout", ["torch", "keras"])
def test_examples_are_rows_in_the_other_layouts(layout):
    problem = make_problem([3, 5, 2], 6, layout=layout)
    net = problem.network()
    assert net.forward(problem.x).output.shape == (6, 2)
    with pytest.raises(ShapeError, match=r"^x .*3"):
        net.loss(problem.x.T, problem.y)
    with pytest.raises(ShapeError, match=r"^y .*\(6, 2\)"):
        net.loss(problem.x, problem.y.T)


@pytest.mark.parametrize("dtype", [np.int64, bool, np.complex128, object, np.float32, np.float16])
def test_data_of_another_dtype(dtype):
    weights, biases, x, y = good()
    net = fastbp.Network(weights, biases)
    with pytest.raises(DTypeError, match=rf"^x .*{np.dtype(dtype)}"):
        net.loss(np.ones((3, 6)).astype(dtype), y)
    with pytest.raises(DTypeError, match=rf"^y .*{np.dtype(dtype)}"):
        net.loss(x, np.ones((2, 6)).astype(dtype))
    with pytest.raises(DTypeError, match=r"^x "):
        net.forward(np.ones((3, 6)).astype(dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_is_not_finite(value):
    weights, biases, x, y = good()
    net = fastbp.Network(weights, biases)
    bad = x.copy()
    bad[1, 4] = bad[2, 5] = value
    with pytest.raises(NonFiniteError, match=r"^x.*(\[|\()1, 4(\]|\))"):
        net.loss(bad, y)
    bad = y.copy()
    bad[1, 3] = value
    with pytest.raises(NonFiniteError, match=r"^y.*(\[|\()1, 3(\]|\))"):
        net.loss_and_gradients(x, bad)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, -1, 2, 0]])
def test_class_indices_out_of_range(labels):
    net = fastbp.Network.random([2, 3], loss="softmax_cross_entropy")
    bad = next(label for label in labels if not 0 <= label < 3)
    with pytest.raises(FastbpError, match=rf"^y.*{bad}"):
        net.loss(np.ones((2, 4)), np.array(labels))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_class_indices_of_any_integer_type(dtype):
    net = fastbp.Network.random([2, 3], loss="softmax_cross_entropy")
    labels = np.array([0, 2, 1])
    assert net.loss(np.ones((2, 3)), labels.astype(dtype)) == net.loss(np.ones((2, 3)), labels)


@pytest.mark.parametrize("y", [np.zeros(4), np.zeros(4, bool), np.zeros(4, complex)])
def test_class_indices_must_be_integers(y):
    net = fastbp.Network.random([2, 3], loss="softmax_cross_entropy")
    with pytest.raises(FastbpError, match=r"^y"):
        net.loss(np.ones((2, 4)), y)


@pytest.mark.parametrize("shape", [(3,), (5,), (1, 4), (4, 1), ()])
def test_class_indices_of_another_shape(shape):
    net = fastbp.Network.random([2, 3], loss="softmax_cross_entropy")
    with pytest.raises(FastbpError, match=r"^y"):
        net.loss(np.ones((2, 4)), np.zeros(shape, dtype=np.int64))


@pytest.mark.parametrize(
    "column", [[0.5, 0.5, 0.5], [0.2, 0.2, 0.2], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0]]
)
def test_probabilities_that_do_not_sum_to_one(column):
    net = fastbp.Network.random([2, 3], loss="softmax_cross_entropy")
    y = np.full((3, 4), 1 / 3)
    net.loss(np.ones((2, 4)), y)
    y[:, 2] = column
    with pytest.raises(FastbpError, match=r"^y"):
        net.loss(np.ones((2, 4)), y)


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_sigmoid_targets_outside_of_the_unit_interval(value):
    net = fastbp.Network.random([2, 3], loss="sigmoid_cross_entropy")
    y = np.full((3, 4), 0.5)
    y[1, 2] = value
    with pytest.raises(FastbpError, match=r"^y"):
        net.loss(np.ones((2, 4)), y)


def test_validated_gives_back_the_data():
    problem = make_problem([3, 5, 2], 4)
    x, y = problem.network().validated(problem.x, problem.y)
    np.testing.assert_array_equal(x, problem.x)
    np.testing.assert_array_equal(y, problem.y)


def test_nested_lists_are_not_arrays():
    """Nothing is cast: not even a list of floats."""
    with pytest.raises(DTypeError, match=r"weights\[0\] must be a NumPy array, not list"):
        fastbp.Network([[[1.0, 2.0]]])
    net = fastbp.Network.random([2, 1])
    with pytest.raises(DTypeError, match=r"x must be a NumPy array, not list"):
        net.loss([[1.0], [1.0]], np.ones((1, 1)))
    with pytest.raises(DTypeError, match=r"y must be a NumPy array, not list"):
        net.loss(np.ones((2, 1)), [[10.0]])


@pytest.mark.parametrize("argument", ["weights[0]", "biases[0]", "x", "y"])
def test_masked_arrays_are_refused(argument):
    """Their mask would be silently skipped."""
    weights, biases, x, y = good()
    hide = np.ma.masked_array
    weights[0] = hide(weights[0]) if argument == "weights[0]" else weights[0]
    biases[0] = hide(biases[0]) if argument == "biases[0]" else biases[0]
    with pytest.raises(DTypeError, match=f"^{re.escape(argument)} "):
        fastbp.Network(weights, biases).loss(
            hide(x) if argument == "x" else x, hide(y) if argument == "y" else y
        )


def test_arrays_of_the_other_byte_order_are_refused():
    weights, biases, x, y = good()
    with pytest.raises(DTypeError, match=r"^x .*>f8"):
        fastbp.Network(weights, biases).loss(x.astype(">f8"), y)


def test_nothing_is_changed_by_a_refusal():
    weights, biases, x, _ = good()
    net = fastbp.Network(weights, biases)
    before = net.parameters.copy()
    kept = [array.copy() for array in [*weights, *biases, x]]
    with pytest.raises(ShapeError):
        net.loss_and_gradients(x, np.zeros((3, 3)))
    np.testing.assert_array_equal(net.parameters, before)
    for array, copy in zip([*weights, *biases, x], kept, strict=True):
        np.testing.assert_array_equal(array, copy)
