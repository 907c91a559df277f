"""Bad problem files are refused by name, never unpickled."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp import (
    DTypeError,
    FastbpError,
    NonFiniteError,
    OptionError,
    ProblemFileError,
    ShapeError,
    load_problem,
)

pytestmark = pytest.mark.small


def refused(path, message):
    with pytest.raises(ProblemFileError) as caught:
        load_problem(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file(path):
    refused(path, "problem.npz cannot be read: No such file or directory.")


def test_a_folder(tmp_path):
    refused(tmp_path, "cannot be read: ")


@pytest.mark.parametrize("content", [b"", b"PK", b"hello, world", b"\x80\x04N.", b"\x1f\x8b\x08"])
def test_no_npz(path, content):
    path.write_bytes(content)
    refused(path, "is not an .npz file.")


def test_a_single_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    refused(path, "is a single .npy array, not an .npz file: write it with numpy.savez.")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file(path, arrays, share, compressed):
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "is truncated: the directory at its end is missing.")


def test_a_damaged_array(path, arrays):
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    at = bytes(content).index(arrays["weights_1"].tobytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    refused(path, "key 'weights_1' is damaged: Bad CRC-32")


def test_a_damaged_directory(path, arrays):
    np.savez(path, **arrays)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
    refused(path, "is damaged: ")


def write_members(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_member_that_is_no_array(path, arrays):
    write_members(path, {f"{k}.npy": npy(a) for k, a in arrays.items()} | {"x.npy": b"text"})
    refused(path, "key 'x' is not an array.")


def test_a_member_that_promises_more_than_it_holds(path, arrays):
    header = npy(np.zeros((9, 9)))[:-8]
    write_members(path, {f"{k}.npy": npy(a) for k, a in arrays.items()} | {"x.npy": header})
    refused(path, "key 'x' is damaged: ")


@given(st.data())
def test_damage_inside_a_member_is_never_a_crash(tmp_path_factory, data):
    """Valid zip, arbitrary bytes in one array file: one of our errors, or a valid problem."""
    path = tmp_path_factory.mktemp("damage") / "problem.npz"
    members = {
        f"{key}.npy": bytearray(npy(array))
        for key, array in {"weights_0": np.eye(2), "x": np.eye(2), "y": np.eye(2)}.items()
    }
    content = members[data.draw(st.sampled_from(sorted(members)))]
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    write_members(path, {name: bytes(content) for name, content in members.items()})
    with contextlib.suppress(FastbpError):
        load_problem(path)


class Trap:
    """A pickle of this would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("key", ["weights_1", "x", "y", "loss", "dbiases_0"])
def test_pickles_are_never_loaded(path, arrays, key):
    trap = path.parent / "sprung"
    objects = np.empty(1, dtype=object)
    objects[0] = Trap(str(trap))
    np.savez(path, **(arrays | {key: objects}))
    refused(path, f"key '{key}' holds Python objects. They are pickled, and fastbp never loads a")
    assert not trap.exists()


@pytest.mark.parametrize(
    "key", ["lr", "weights", "weights_00", "weights_-1", "weights_x", "X", "weights_0.bak"]
)
def test_an_unknown_key(path, arrays, key):
    np.savez(path, **arrays, **{key: np.zeros(1)})
    refused(path, f"unknown key '{key}'. The known keys are weights_0.., biases_0.., ")


@pytest.mark.parametrize("key", ["weights_0", "biases_0", "biases_1", "x", "y"])
def test_a_missing_key(path, arrays, key):
    del arrays[key]
    np.savez(path, **arrays)
    refused(path, f"key '{key}' is missing.")


def test_an_empty_archive(path):
    np.savez(path)
    refused(path, "key 'weights_0' is missing.")


@pytest.mark.parametrize("kept", ["dweights_0", "dweights_1", "dbiases_0", "dbiases_1"])
def test_half_a_gradient(path, arrays, kept):
    np.savez(path, **arrays, **{kept: np.zeros(1)})
    refused(path, "is missing.")


@pytest.mark.parametrize("name", ["biases", "dweights", "dbiases"])
def test_one_array_too_many(path, arrays, name):
    for group in ("dweights", "dbiases"):
        arrays |= {f"{group}_{layer}": np.zeros(1) for layer in range(2)}
    np.savez(path, **arrays, **{f"{name}_2": np.zeros(1)})
    refused(path, f"key '{name}_2' is one too many: there are 2 weights.")


def test_a_gap_in_the_weights(path, arrays):
    np.savez(path, **arrays, weights_3=np.zeros((1, 1)))
    refused(path, "key 'weights_2' is missing.")


def test_a_far_index_is_a_gap_too(path, arrays):
    np.savez(path, **arrays, weights_999999999=np.zeros((1, 1)))
    refused(path, "key 'weights_2' is missing.")


def test_bias_gradients_without_biases(path, arrays):
    del arrays["biases_0"], arrays["biases_1"]
    gradient = {f"dweights_{k}": arrays[f"weights_{k}"] for k in range(2)}
    np.savez(path, **arrays, **gradient, dbiases_0=np.zeros(3))
    refused(path, "key 'biases_0' is missing, but there is a dbiases.")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("loss", np.float64(1), "key 'loss' must hold text, not float64."),
        ("scale", "two", "key 'scale' must hold numbers, not <U3."),
        ("dweights_0", "none", "key 'dweights_0' must hold numbers, not <U4."),
        ("scale", np.ones(1), "key 'scale' must be a 0-d array, one real number or one text, not "
                              "float64 of shape (1,)."),
        ("loss", np.array(["least_squares"]), "key 'loss' must be a 0-d array"),
        ("weight_decay", 1j, "key 'weight_decay' must be a 0-d array, one real number or one"),
        ("relu_at_zero", True, "key 'relu_at_zero' must be a 0-d array, one real number or one"),
    ],
)  # fmt: skip
def test_a_key_of_the_wrong_kind(path, arrays, key, value, message):
    np.savez(path, **arrays, **{key: value})
    refused(path, message)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"loss": "hinge"}, OptionError, "hinge"),
        ({"layout": "caffe"}, OptionError, "caffe"),
        ({"reduction": "max"}, OptionError, "max"),
        ({"scale": np.nan}, OptionError, "scale"),
        ({"relu_at_zero": 2.0}, OptionError, "relu_at_zero"),
        ({"weights_1": np.zeros((3, 1))}, ShapeError, "weights[1]"),
        ({"biases_0": np.zeros((1, 3))}, ShapeError, "biases[0]"),
        ({"x": np.zeros((3, 4))}, ShapeError, "x"),
        ({"y": np.zeros((1, 5))}, ShapeError, "y"),
        ({"x": np.zeros((2, 4), int)}, DTypeError, "x"),
        ({"weights_0": np.zeros((3, 2), complex)}, DTypeError, "weights[0]"),
        ({"x": np.full((2, 4), np.inf)}, NonFiniteError, "x"),
    ],
)
def test_arrays_that_make_no_problem(path, arrays, changes, error, message):
    np.savez(path, **(arrays | changes))
    with pytest.raises(error) as caught:
        load_problem(path)
    assert message in str(caught.value)
