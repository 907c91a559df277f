"""Parameters and options of a network that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from support.good_parameters import good

import fastbp
from fastbp.errors import DTypeError, FastbpError, NonFiniteError, OptionError, ShapeError
from fastbp.network.network import require_finite_batch

pytestmark = pytest.mark.small


# ---- bad parameters ----


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
        require_finite_batch,
        lambda net, x, y: fastbp.finite_differences(net, x, y),
        lambda net, x, y: fastbp.check_network(net, x, y),
    ],
    ids=["forward", "loss", "loss_and_gradients", "batch", "finite_differences", "check"],
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


@pytest.mark.parametrize("sizes", [[10**12, 10**12], [10**400, 3], [2**62, 4], [10**7, 10**7]])
def test_networks_beyond_all_memory_are_refused(sizes):
    with pytest.raises(OptionError, match="sizes must leave room for the parameters"):
        fastbp.Network.random(sizes, seed=0)
