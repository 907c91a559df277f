"""Problem files: what goes in comes out."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import LOSSES, Problem, make_problem, problems

from fastbp import (
    DTypeError,
    Network,
    NonFiniteError,
    OptionError,
    ProblemFileError,
    ShapeError,
    load_problem,
    save_problem,
)

pytestmark = pytest.mark.small

NAMED_LOSSES = tuple(loss for loss in LOSSES if loss != "custom")


@pytest.fixture
def net_and_batch():
    return Network.random([2, 3, 1]), np.ones((2, 4)), np.zeros((1, 4))


def equal(first, second):
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and np.array_equal(first, second)
    )


# ---- round trips ----


@given(problems(losses=NAMED_LOSSES, max_size=9, max_batch=5), st.booleans())
def test_round_trip(tmp_path_factory, problem: Problem, with_gradients: bool):
    path = tmp_path_factory.mktemp("round") / "trip.npz"
    net = problem.network()
    gradients = net.loss_and_gradients(problem.x, problem.y)[1] if with_gradients else None
    save_problem(path, net, problem.x, problem.y, gradients)
    loaded = load_problem(path)
    assert loaded.net.sizes == net.sizes
    assert loaded.net.dtype == net.dtype
    assert loaded.net.layout == net.layout
    assert loaded.net.objective == net.objective
    assert loaded.net.relu_at_zero == net.relu_at_zero
    assert equal(loaded.net.parameters, net.parameters)
    assert [w.shape for w in loaded.net.weights] == [w.shape for w in problem.weights]
    assert (loaded.net.biases is None) == (problem.biases is None)
    if problem.biases is not None:
        assert [b.shape for b in loaded.net.biases] == [b.shape for b in problem.biases]
    assert equal(loaded.x, problem.x)
    assert equal(loaded.y, problem.y)
    assert loaded.net.loss(loaded.x, loaded.y) == net.loss(problem.x, problem.y)
    if gradients is None:
        assert loaded.gradients is None
    else:
        dweights, dbiases = loaded.gradients
        assert all(map(equal, dweights, gradients.weights))
        assert (dbiases is None) == (gradients.biases is None)
        if dbiases is not None:
            assert all(map(equal, dbiases, gradients.biases))


def test_class_indices_stay_integers(path):
    problem = make_problem([3, 4, 5], 6, loss="softmax_cross_entropy")
    save_problem(path, problem.network(), problem.x, problem.y.astype(np.int32))
    assert load_problem(path).y.dtype == np.int32


@pytest.mark.parametrize("kind", ["Gradients", "pair", "flat", "lists"])
def test_every_way_to_give_a_gradient(path, net_and_batch, kind):
    net, x, y = net_and_batch
    gradients = net.loss_and_gradients(x, y)[1]
    given_as = {
        "Gradients": gradients,
        "pair": (gradients.weights, gradients.biases),
        "flat": gradients.flat,
        "lists": [[w.tolist() for w in gradients.weights], [b.tolist() for b in gradients.biases]],
    }
    save_problem(path, net, x, y, given_as[kind])
    dweights, dbiases = load_problem(path).gradients
    assert all(map(np.array_equal, dweights, gradients.weights))
    assert all(map(np.array_equal, dbiases, gradients.biases))


def test_a_gradient_keeps_its_wrong_shape(path, net_and_batch):
    net, x, y = net_and_batch
    dweights = [np.zeros((2, 3)), np.array([[1, 2, 3]])]
    save_problem(path, net, x, y, (dweights, [np.full((3, 4), np.nan), np.zeros(1)]))
    loaded_weights, loaded_biases = load_problem(path).gradients
    assert [w.shape for w in loaded_weights] == [(2, 3), (1, 3)]
    assert loaded_weights[1].dtype.kind == "i"
    assert np.isnan(loaded_biases[0]).all()


def test_a_file_of_plain_numpy(path, arrays):
    np.savez_compressed(path, loss="least_squares", scale=2, layout=b"book", **arrays)
    problem = load_problem(path)
    assert problem.net.sizes == (2, 3, 1)
    assert problem.net.objective.scale == 2.0
    assert problem.net.objective.reduction == "sum"
    assert problem.net.layout == "book"
    assert problem.gradients is None


def test_the_byte_order_is_the_files_alone(path, arrays):
    foreign = ">" if sys.byteorder == "little" else "<"
    swapped = {key: array.astype(f"{foreign}f8", order="F") for key, array in arrays.items()}
    np.savez(path, **swapped)
    assert np.array_equal(load_problem(path).net.weights[0], arrays["weights_0"])


# ---- writing ----


def test_the_name_is_used_as_it_is(tmp_path, net_and_batch):
    save_problem(tmp_path / "problem", *net_and_batch)
    save_problem(os.fspath(tmp_path / "other.npz"), *net_and_batch)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other.npz", "problem"]


def test_writing_is_all_or_nothing(path, net_and_batch, monkeypatch):
    save_problem(path, *net_and_batch)
    before = path.read_bytes()

    def full_disk(file, **_):
        file.write(b"PK\x03\x04 half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(ProblemFileError, match=r"cannot be written: No space left on device\."):
        save_problem(path, *net_and_batch)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_missing(tmp_path, net_and_batch):
    with pytest.raises(ProblemFileError, match=r"problem\.npz cannot be written: No such file"):
        save_problem(tmp_path / "nowhere" / "problem.npz", *net_and_batch)


def test_a_loss_without_a_name_cannot_be_saved(path):
    problem = make_problem([2, 3, 1], 4, loss="custom")
    with pytest.raises(OptionError, match=r"loss is a pair of functions, and a problem file holds"):
        save_problem(path, problem.network(), problem.x, problem.y)
    assert not path.exists()


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        (lambda *_: None, OptionError, "gradients must be arrays to be saved, not a function: "),
        (np.zeros(12), ShapeError, "gradients must have shape (13,), not (12,)."),
        (([np.zeros((3, 2))], []), ShapeError, "gradients must hold 2 weight gradients, not 1."),
        (([None, None], []), DTypeError, "the gradient of weights[0] must be an array of floats"),
        (5, DTypeError, "gradients must be "),
    ],
)
def test_gradients_that_are_none(path, net_and_batch, gradients, error, message):
    with pytest.raises(error) as caught:
        save_problem(path, *net_and_batch, gradients)
    assert str(caught.value).startswith(message)
    assert not path.exists()


def test_the_gradient_of_a_network_without_biases(path):
    problem = make_problem([2, 3, 1], 4, bias="none")
    dweights = [np.zeros((3, 2)), np.zeros((1, 3))]
    save_problem(path, problem.network(), problem.x, problem.y, (dweights, None))
    assert load_problem(path).gradients[1] is None


def test_data_that_do_not_fit_are_not_saved(path, net_and_batch):
    net, x, y = net_and_batch
    with pytest.raises(ShapeError):
        save_problem(path, net, x.T, y)
    with pytest.raises(NonFiniteError):
        save_problem(path, net, np.full_like(x, np.nan), y)
    assert not path.exists()
