"""The notebook's functions: parameters, golden numbers, batches."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import reference
from support import golden as numbers
from support.notebook_networks import batch_network

from fastbp import DTypeError, NonFiniteError, OptionError, ShapeError, notebook

pytestmark = pytest.mark.small


@pytest.fixture
def forward(golden):
    """All arguments of a backward pass of the default network."""
    weights, biases, x, y = golden
    _, all_f, all_h = notebook.compute_network_output(x, weights, biases)
    return weights, biases, all_f, all_h, y


# ---- init_params ----


def test_default_parameters_are_the_notebooks(golden):
    weights, biases, _, _ = golden
    all_weights, all_biases = notebook.init_params()
    for ours, expected in zip([*all_weights, *all_biases], [*weights, *biases], strict=True):
        assert np.array_equal(ours, expected)
    assert sum(array.size for array in [*all_weights, *all_biases]) == 187
    first = [float(f"{value:.8f}") for value in all_weights[0][:3, 0]]
    assert first == [1.76405235, 0.40015721, 0.97873798]
    assert f"{all_weights[5][0, 0]:.8f}" == "0.95008842"
    assert f"{all_biases[0][0, 0]:.8f}" == "0.76103773"
    assert f"{all_biases[5].item():.7f}" == "0.3130677"


def test_init_params_leaves_the_global_generator_alone():
    np.random.seed(7)
    before = np.random.get_state(legacy=False)["state"]
    notebook.init_params()
    notebook.init_params(3, 4, 2.0)
    after = np.random.get_state(legacy=False)["state"]
    assert before["pos"] == after["pos"]
    assert np.array_equal(before["key"], after["key"])


def test_init_params_with_a_variance_is_that_of_notebook_7_3():
    all_weights, all_biases = notebook.init_params(3, 4, 0.25)
    draw = np.random.RandomState(0).normal
    expected = {k: 0.5 * draw(size=shape) for k, shape in
                [(0, (4, 1)), (3, (1, 4)), (1, (4, 4)), (2, (4, 4))]}  # fmt: skip
    for k, weight in enumerate(all_weights):
        assert np.array_equal(weight, expected[k])
    assert [bias.shape for bias in all_biases] == [(4, 1)] * 3 + [(1, 1)]
    assert not any(bias.any() for bias in all_biases)


def test_init_params_with_one_hidden_layer_and_other_sizes():
    all_weights, all_biases = notebook.init_params(1, 3, D_i=2, D_o=4)
    assert [array.shape for array in all_weights] == [(3, 2), (4, 3)]
    assert [array.shape for array in all_biases] == [(3, 1), (4, 1)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"K": 0}, OptionError, "K must be at least 1, not 0."),
        ({"D": -2}, OptionError, "D must be at least 1, not -2."),
        ({"D_i": 0}, OptionError, "D_i must be at least 1, not 0."),
        ({"D_o": 1.0}, DTypeError, "D_o must be an integer, not 1.0."),
        ({"sigma_sq_omega": -1.0}, OptionError, "sigma_sq_omega must be finite and at least 0"),
        ({"sigma_sq_omega": np.nan}, OptionError, "sigma_sq_omega must be finite and at least 0"),
        ({"sigma_sq_omega": "2"}, DTypeError, "sigma_sq_omega must be a real number, not '2'."),
    ],
)
def test_init_params_refuses(arguments, error, message):
    with pytest.raises(error) as caught:
        notebook.init_params(**arguments)
    assert str(caught.value).startswith(message)


# ---- the elementwise functions and the loss ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_relu_and_indicator_keep_shape_and_dtype(dtype):
    values = np.array([[-2, 0, 3]], dtype)
    for function, expected in [
        (notebook.ReLU, [[0, 0, 3]]),
        (notebook.indicator_function, [[0, 1, 1]]),
    ]:
        result = function(values)
        assert result.dtype == dtype
        assert result.tolist() == expected
        assert not np.shares_memory(result, values)
    assert values.tolist() == [[-2, 0, 3]]


def test_relu_and_indicator_at_the_edges():
    values = np.array([np.nan, -0.0, np.inf, -np.inf])
    rectified = notebook.ReLU(values)
    assert np.isnan(rectified[0])
    assert not np.signbit(rectified[1])
    assert rectified[2:].tolist() == [np.inf, 0.0]
    active = notebook.indicator_function(values)
    assert np.isnan(active[0])
    assert active[1:].tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("function", [notebook.ReLU, notebook.indicator_function])
@pytest.mark.parametrize("value", [np.array([1j]), np.array(["a"]), np.array([None])])
def test_relu_and_indicator_refuse_what_is_not_real(function, value):
    with pytest.raises(DTypeError, match=r"must hold real numbers, not "):
        function(value)


def test_loss_is_a_sum_over_all_entries():
    output, y = np.array([[1.0, 4.0], [0.0, 1.0]]), np.array([[2.0, 2.0], [0.0, 4.0]])
    loss = notebook.least_squares_loss(output, y)
    assert type(loss) is float
    assert loss == 14.0
    assert notebook.d_loss_d_output(output, y).tolist() == [[-2.0, 4.0], [0.0, -6.0]]


@pytest.mark.parametrize("function", [notebook.least_squares_loss, notebook.d_loss_d_output])
def test_loss_never_broadcasts(function):
    with pytest.raises(ShapeError, match=r"y must have shape \(1, 4\), not \(1, 1\)\."):
        function(np.ones((1, 4)), np.ones((1, 1)))
    with pytest.raises(DTypeError, match=r"y must be float64 or float32, not uint8\."):
        function(np.ones((1, 1)), np.ones((1, 1), np.uint8))
    with pytest.raises(DTypeError, match=r"y must be float64 like net_output, not float32\."):
        function(np.ones((1, 1)), np.ones((1, 1), np.float32))
    with pytest.raises(DTypeError, match=r"net_output must be float64 or float32, not int"):
        function(np.ones((1, 1), np.int64), np.ones((1, 1)))


# ---- forward and backward ----


def test_golden_numbers(forward):
    weights, biases, all_f, all_h, y = forward
    output = all_f[5]
    assert abs(output.item() - numbers.GOLDEN_OUTPUT) < 1e-14
    assert abs(notebook.least_squares_loss(output, y) - numbers.GOLDEN_LOSS) < 1e-12
    assert "%3.3f" % output.item() == "1.907"  # noqa: UP031  (how the notebook prints it)
    dweights, dbiases = notebook.backward_pass(weights, biases, all_f, all_h, y)
    for d_bias, expected in zip(dbiases, numbers.GOLDEN_D_BIASES, strict=True):
        np.testing.assert_allclose(d_bias.ravel(), expected, rtol=0, atol=6e-13)
    np.testing.assert_allclose(dweights[0].ravel(), numbers.GOLDEN_D_FIRST_WEIGHTS, atol=6e-9)
    np.testing.assert_allclose(dweights[5].ravel(), numbers.GOLDEN_D_LAST_WEIGHTS, atol=6e-13)
    for d_weight, norm in zip(dweights, numbers.GOLDEN_NORMS, strict=True):
        assert float(f"{np.linalg.norm(d_weight):.12g}") == float(norm)
    active = [int(notebook.indicator_function(f).sum()) for f in all_f[:5]]
    assert active == numbers.GOLDEN_ACTIVE_UNITS


def test_the_lists_follow_the_notebooks_convention():
    weights, biases, x, _ = batch_network()
    output, all_f, all_h = notebook.compute_network_output(x, weights, biases)
    assert len(all_f) == len(all_h) == len(weights)
    assert np.array_equal(all_h[0], x)
    assert np.array_equal(output, all_f[-1])
    for k, weight in enumerate(weights):
        np.testing.assert_allclose(all_f[k], biases[k] + weight @ all_h[k], rtol=1e-13, atol=1e-13)
    for k in range(1, len(weights)):
        assert np.array_equal(all_h[k], notebook.ReLU(all_f[k - 1]))


@pytest.mark.parametrize("batch", [1, 4, 17])
@pytest.mark.parametrize("K", [1, 2, 4])
def test_a_batch_equals_the_reference(K, batch):
    weights, biases, x, y = batch_network(K=K, batch=batch)
    copies = [array.copy() for array in [*weights, *biases, x, y]]
    output, all_f, all_h = notebook.compute_network_output(x, weights, biases)
    dweights, dbiases = notebook.backward_pass(weights, biases, all_f, all_h, y)
    net = reference.Reference(weights, biases, relu_at_zero=1.0)
    loss, gradients = reference.loss_and_gradients(net, x, y)
    assert notebook.least_squares_loss(output, y) == pytest.approx(loss, rel=1e-12)
    for ours, expected in zip([*dweights, *dbiases], [*gradients.weights, *gradients.biases],
                              strict=True):  # fmt: skip
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10 * abs(expected).max())
    for array, copy in zip([*weights, *biases, x, y], copies, strict=True):
        assert np.array_equal(array, copy)


def test_without_biases():
    weights, _, x, y = batch_network()
    _, all_f, all_h = notebook.compute_network_output(x, weights, None)
    dweights, dbiases = notebook.backward_pass(weights, None, all_f, all_h, y)
    expected = reference.loss_and_gradients(reference.Reference(weights), x, y)[1]
    assert dbiases is None
    for ours, array in zip(dweights, expected.weights, strict=True):
        np.testing.assert_allclose(ours, array, rtol=1e-11, atol=1e-11)


def test_the_backward_pass_takes_the_activations_that_it_is_given(forward):
    weights, biases, all_f, all_h, y = forward
    silent = [*all_f[:4], np.full_like(all_f[4], -1.0), all_f[5]]
    dweights, dbiases = notebook.backward_pass(weights, biases, silent, all_h, y)
    assert dbiases[5].any()
    assert not any(array.any() for array in [*dweights[:5], *dbiases[:5]])


def test_at_exactly_zero_the_derivative_is_one():
    weights = [np.array([[1.0]]), np.array([[3.0]])]
    biases = [np.zeros((1, 1)), np.zeros((1, 1))]
    x, y = np.zeros((1, 1)), np.ones((1, 1))
    _, all_f, all_h = notebook.compute_network_output(x, weights, biases)
    _, dbiases = notebook.backward_pass(weights, biases, all_f, all_h, y)
    assert dbiases[0].item() == -6.0


def test_bad_arguments_are_named(forward):
    weights, biases, all_f, all_h, y = forward
    with pytest.raises(ShapeError, match=r"all_f must hold 6 arrays, not 5\."):
        notebook.backward_pass(weights, biases, all_f[:5], all_h, y)
    with pytest.raises(ShapeError, match=r"all_h must hold 6 arrays, not 0\."):
        notebook.backward_pass(weights, biases, all_f, [], y)
    flipped = [all_h[0], all_h[1].T, *all_h[2:]]
    with pytest.raises(ShapeError, match=r"all_h\[1\] must have shape \(6, 1\), not \(1, 6\)\."):
        notebook.backward_pass(weights, biases, all_f, flipped, y)
    shorter = [all_f[0][:5], *all_f[1:]]
    with pytest.raises(ShapeError, match=r"all_f\[0\] must have shape \(6, 1\), not \(5, 1\)\."):
        notebook.backward_pass(weights, biases, shorter, all_h, y)
    with pytest.raises(ShapeError, match=r"y must have shape \(1, 1\), not \(1, 2\)\."):
        notebook.backward_pass(weights, biases, all_f, all_h, np.ones((1, 2)))
    broken = [bias.copy() for bias in biases]
    broken[2][3] = np.nan
    with pytest.raises(NonFiniteError, match=r"biases\[2\]"):
        notebook.compute_network_output(all_h[0], weights, broken)


def test_integer_parameters_say_what_to_do():
    with pytest.raises(DTypeError, match=r"weights\[0\]"):
        notebook.compute_network_output(np.ones((1, 1)), [np.ones((1, 1), int)], None)


# ---- check_derivatives: a learner's own function ----


def test_signatures_are_the_notebooks():
    names = {
        "ReLU": ["preactivation"],
        "compute_network_output": ["net_input", "all_weights", "all_biases"],
        "least_squares_loss": ["net_output", "y"],
        "d_loss_d_output": ["net_output", "y"],
        "indicator_function": ["x"],
        "backward_pass": ["all_weights", "all_biases", "all_f", "all_h", "y"],
    }
    for name, arguments in names.items():
        assert list(inspect.signature(getattr(notebook, name)).parameters) == arguments
    assert list(inspect.signature(notebook.init_params).parameters)[:3] == [
        "K",
        "D",
        "sigma_sq_omega",
    ]
