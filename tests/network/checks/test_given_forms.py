"""The forms in which a gradient may be given, and functions that compute it."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_networks import example, rows

import fastbp
from fastbp.errors import DTypeError, EvaluationError
from fastbp.network.checks.check_network import check_network

pytestmark = pytest.mark.small

FORMS = {
    "Gradients": lambda own: own,
    "pair": lambda own: (own.weights, own.biases),
    "lists": lambda own: [tuple(own.weights), tuple(own.biases)],
    "flat": lambda own: own.flat,
    "strided": lambda own: np.repeat(own.flat, 2)[::2],
    "float32": lambda own: own.flat.astype(np.float32),
    "big-endian": lambda own: own.flat.astype(">f8"),
    "Fortran": lambda own: ([np.asfortranarray(w) for w in own.weights], own.biases),
    "nested lists": lambda own: ([w.tolist() for w in own.weights], own.biases),
    "function of a pair": lambda own: lambda *_: (own.weights, own.biases),
    "function of Gradients": lambda own: lambda *_: own,
    "function of a vector": lambda own: lambda *_: own.flat,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_passes_and_a_wrong_entry_is_found_in_each(problem, form):
    net, x, y, own = problem
    assert check_network(net, x, y, FORMS[form](own)).verdict == "passed"
    own.biases[1][2, 0] += 0.25
    report = check_network(net, x, y, FORMS[form](own))
    assert [failure.where for failure in report.failures] == ["biases[1][2, 0]"]
    assert report.failures[0].error == pytest.approx(0.25, rel=1e-5)
    assert rows(report)["biases[1]"].worst == report.failures[0]
    assert {name: row.wrong for name, row in rows(report).items() if row.wrong} == {"biases[1]": 1}


def test_tensors_are_arrays(problem):
    torch = pytest.importorskip("torch")
    net, x, y, own = problem
    lists = [[torch.tensor(array) for array in part] for part in (own.weights, own.biases)]
    assert check_network(net, x, y, lists).verdict == "passed"
    assert check_network(net, x, y, torch.tensor(own.flat)).verdict == "passed"


def test_a_tensor_that_still_needs_its_gradient_is_refused(problem):
    torch = pytest.importorskip("torch")
    net, x, y, own = problem
    lists = ([torch.tensor(w, requires_grad=True) for w in own.weights], own.biases)
    with pytest.raises(
        DTypeError, match=r"the gradient of weights\[0\] must be an array of floats"
    ):
        check_network(net, x, y, lists)


def test_a_function_gets_the_arguments_as_the_user_sees_them():
    net, x, y = example(layout="keras")
    seen = []

    def gradient(weights, biases, x, y):
        seen.append((weights, biases, x, y))
        return net.loss_and_gradients(x, y)[1]

    assert check_network(net, x, y, gradient).verdict == "passed"
    assert len(seen) == 2
    for weights, biases, own_x, own_y in seen:
        expected = [*net.weights, *net.biases, x, y]
        for array, original in zip([*weights, *biases, own_x, own_y], expected, strict=True):
            np.testing.assert_array_equal(array, original)
            assert not np.shares_memory(array, original)


def test_a_function_sees_none_where_there_are_no_biases():
    full, x, y = example()
    net = fastbp.Network(full.weights)

    def gradient(_, biases, x, y):
        assert biases is None
        return net.loss_and_gradients(x, y)[1].weights, None

    assert check_network(net, x, y, gradient).verdict == "passed"


def test_a_function_may_round_differently_the_second_time(problem):
    net, x, y, own = problem
    calls = []

    def gradient(*_):
        calls.append(1)
        return own.flat * (1 + len(calls) * 1e-15)

    assert check_network(net, x, y, gradient).verdict == "passed"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (lambda own: 2 * own, "an accumulation"),
        (lambda own: 3 * own, "two different results"),
        (lambda own: own * np.where(np.arange(own.size) == 3, np.nan, 1), "two different results"),
        (lambda own: own.astype(np.int64), "two different results"),
    ],
    ids=["doubled", "trebled", "nan", "integers"],
)
def test_a_function_that_answers_differently_fails(problem, second, reason):
    net, x, y, own = problem
    answers = [own.flat, second(own.flat)]
    report = check_network(net, x, y, lambda *_: answers.pop(0))
    assert report.verdict == "failed"
    assert all(row.verdict == "passed" for row in report.arrays[:-1])
    assert report.arrays[-1].name == "gradients"
    assert report.arrays[-1].reason.startswith("called twice, it gave two different results")
    assert reason in report.arrays[-1].reason


def test_a_function_that_changes_its_arguments_fails_with_their_names(problem):
    net, x, y, own = problem

    def gradient(weights, biases, _, y):
        weights.append(0)
        biases[1] += 1
        y[0, 0] = np.nan
        return own

    reason = check_network(net, x, y, gradient).arrays[-1].reason
    assert reason == "the function changed its arguments: weights, biases[1], y"


def test_a_mask_of_a_given_gradient_is_never_dropped(problem):
    """NumPy's own conversion would: what is masked would be compared all the same."""
    net, x, y, own = problem
    hidden = np.ma.masked_array(own.flat, mask=own.flat > 0)
    with pytest.raises(DTypeError, match="an array without a mask, not MaskedArray"):
        fastbp.check_network(net, x, y, hidden)
    weights = [np.ma.masked_array(w) for w in own.weights]
    with pytest.raises(DTypeError, match="an array without a mask, not MaskedArray"):
        fastbp.check_network(net, x, y, (weights, own.biases))


def test_what_a_function_raises_is_the_cause_of_an_error_that_names_it(problem):
    net, x, y, _ = problem
    with pytest.raises(EvaluationError) as caught:
        check_network(net, x, y, lambda *_: {}["dweights"])
    assert str(caught.value) == "gradients raised KeyError at the point: 'dweights'"
    assert isinstance(caught.value.__cause__, KeyError)
