"""Inputs and targets that are refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.good_parameters import good
from support.strategies import make_problem

import fastbp
from fastbp.errors import DTypeError, FastbpError, NonFiniteError, ShapeError
from fastbp.network.network import require_batch, require_finite_batch

pytestmark = pytest.mark.small

CALLS = [fastbp.Network.loss, fastbp.Network.loss_and_gradients, require_finite_batch]


def forward(net, x, _):
    return net.forward(x)


@pytest.mark.parametrize("call", [forward, *CALLS])
@pytest.mark.parametrize("shape", [(4, 6), (6, 3), (3,), (3, 6, 1), (), (3, 0)])
def test_x_of_another_shape(call, shape):
    weights, biases, _, y = good()
    net = fastbp.Network(weights, biases)
    with pytest.raises(ShapeError, match=r"^x .*3"):
        call(net, np.zeros(shape), y)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shape", [(2, 5), (6, 2), (2,), (6,), (2, 1), (2, 6, 1), (1, 6)])
def test_y_of_another_shape(call, shape):
    weights, biases, x, _ = good()
    net = fastbp.Network(weights, biases)
    with pytest.raises(ShapeError, match=r"^y .*\(2, 6\)"):
        call(net, x, np.zeros(shape))


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


@pytest.mark.parametrize("require", [require_batch, require_finite_batch])
def test_a_batch_holds_the_arrays_of_the_caller(require):
    problem = make_problem([3, 5, 2], 4)
    batch = require(problem.network(), problem.x, problem.y)
    assert batch.x is problem.x
    assert batch.y is problem.y


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
