"""What check_network refuses, with the argument named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.small_networks import rows

import fastbp
from fastbp.errors import DTypeError, NonFiniteError, OptionError, ShapeError
from fastbp.network.checks.check_network import check_network

pytestmark = pytest.mark.small


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "exactly"},
            "method must be one of 'certified', 'exact', 'replay', not 'exactly'.",
        ),
        ({"method": None}, "method must be one of 'certified', 'exact', 'replay', not None."),
        ({"rtol": -1.0}, "rtol must be None or a finite number of at least 0, not -1.0."),
        ({"rtol": math.nan}, "rtol must be None or a finite number of at least 0, not nan."),
        ({"atol": math.inf}, "atol must be None or a finite number of at least 0, not inf."),
        ({"atol": "1"}, "atol must be None or a finite number of at least 0, not '1'."),
        ({"atol": True}, "atol must be None or a finite number of at least 0, not True."),
        ({"directions": 0}, "directions must be an integer of at least 1, not 0."),
        ({"seed": -1}, "seed must be an integer of at least 0, not -1."),
        ({"max_memory": 1000}, "max_memory must be at least"),
        ({"progress": "yes"}, "progress must be None, True or False, not 'yes'."),
    ],
)
def test_senseless_options(problem, options, message):
    net, x, y, _ = problem
    with pytest.raises(OptionError) as caught:
        check_network(net, x, y, **options)
    assert str(caught.value).startswith(message)


def test_senseless_memory(problem):
    net, x, y, _ = problem
    with pytest.raises(OptionError, match="max_memory"):
        check_network(net, x, y, max_memory=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda _: "gradient",
            DTypeError,
            "gradients must be None, Gradients, a pair (dweights, dbiases) of lists, a flat "
            "vector, or a function that returns one of these, not str.",
        ),
        (
            lambda _: lambda *_: None,
            DTypeError,
            "gradients must return Gradients, a pair (dweights, dbiases) of lists or a flat "
            "vector, not NoneType.",
        ),
        (
            lambda own: list(own.weights),
            ShapeError,
            "gradients must be a pair (dweights, dbiases), not a list of length 3.",
        ),
        (
            lambda own: own.flat[:-1],
            ShapeError,
            "gradients must have shape (54,), not (53,).",
        ),
        (
            lambda own: own.flat[:, np.newaxis],
            ShapeError,
            "gradients must have shape (54,), not (54, 1).",
        ),
        (
            lambda own: (own.weights[:2], own.biases),
            ShapeError,
            "gradients must hold 3 weight gradients, not 2.",
        ),
        (
            lambda own: (own.weights, own.biases * 2),
            ShapeError,
            "gradients must hold 3 bias gradients, not 6.",
        ),
        (
            lambda own: (own.weights, None),
            DTypeError,
            "the bias gradients must be a list of 3 arrays, not None.",
        ),
        (
            lambda own: (own.weights[0], own.biases),
            DTypeError,
            "the weight gradients must be a list of 3 arrays, not ndarray.",
        ),
        (
            lambda own: (own.weights, ["a", "b", "c"]),
            DTypeError,
            "the gradient of biases[0] must be an array of floats, not str.",
        ),
        (
            lambda own: (own.weights, [["a"], ["b"], ["c"]]),
            DTypeError,
            "the gradient of biases[0] must be an array of floats, not one of dtype <U1.",
        ),
        (
            lambda own: (own.weights, [own.biases[0], own.biases[1], None]),
            DTypeError,
            "the gradient of biases[2] must be an array of floats, not NoneType.",
        ),
        (
            lambda own: (own.weights, [own.biases[0], [[1.0], [2.0, 3.0]], own.biases[2]]),
            DTypeError,
            "the gradient of biases[1] must be an array of floats: setting an array element",
        ),
    ],
    ids=[
        "string",
        "function of nothing",
        "no pair",
        "short vector",
        "column",
        "too few weights",
        "too many biases",
        "no biases",
        "one array for all",
        "strings",
        "lists of strings",
        "none",
        "ragged",
    ],
)
def test_what_cannot_be_assigned_to_the_parameters_is_refused(problem, make, error, message):
    net, x, y, own = problem
    with pytest.raises(error) as caught:
        check_network(net, x, y, make(own))
    assert str(caught.value).startswith(message)


def test_bias_gradients_for_a_network_that_has_none(problem):
    full, x, y, own = problem
    net = fastbp.Network(full.weights)
    message = (
        "the bias gradients must be None, since the network has no biases, not list of length 3."
    )
    with pytest.raises(ShapeError) as caught:
        check_network(net, x, y, (list(own.weights), list(own.biases)))
    assert str(caught.value) == message


def test_the_gradients_of_another_network_are_refused_or_found(problem):
    net, x, y, _ = problem
    deeper = fastbp.Network.random([3, 5, 4, 4, 2])
    with pytest.raises(ShapeError, match="gradients must hold 3 weight gradients, not 4"):
        check_network(net, x, y, deeper.loss_and_gradients(x, y)[1])
    wider = fastbp.Network.random([3, 6, 4, 2])
    report = check_network(net, x, y, wider.loss_and_gradients(x, y)[1])
    assert rows(report)["weights[0]"].reason == "must have shape (5, 3), not (6, 3)"


def test_bad_data_is_named(problem):
    net, x, y, _ = problem
    with pytest.raises(ShapeError, match="y must have shape"):
        check_network(net, x, y[:1])
    bad = x.copy()
    bad[1, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"x\[1, 2\]"):
        check_network(net, bad, y)
    net.weights[1][0, 3] = np.inf
    with pytest.raises(NonFiniteError, match=r"weights\[1\]\[0, 3\]"):
        check_network(net, x, y)


def test_progress_reaches_the_differences(problem, capsys):
    net, x, y, _ = problem
    check_network(net, x, y, method="replay", progress=True)
    assert capsys.readouterr().err
    check_network(net, x, y, method="replay", progress=False)
    assert not capsys.readouterr().err


def test_what_is_no_network_is_refused():
    x = np.ones((2, 3))
    for call in (
        lambda: fastbp.check_network(x, x, x),
        lambda: fastbp.finite_differences(x, x, x),
        lambda: fastbp.save_problem("unused.npz", x, x, x),
    ):
        with pytest.raises(DTypeError, match=r"net must be a fastbp\.Network, not ndarray"):
            call()


def test_what_is_no_path_is_refused():
    with pytest.raises(DTypeError, match="path must be a path, not int"):
        fastbp.load_problem(3)
