"""A wrong gradient of a function is diagnosed, by each method; a right one never."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small

AT = {"w": np.arange(1.0, 10.0).reshape(3, 3) / 7, "x": np.array([1.0, -2.0, 0.5])}


def loss(params):
    return float(np.sum((params["w"] @ params["x"]) ** 2) / 3)


def gradient(params):
    residual = 2 * params["w"] @ params["x"] / 3
    return {"w": np.outer(residual, params["x"]), "x": residual @ params["w"]}


def diagnosed(change, method: str = "every") -> tuple[str, ...]:
    report = fastbp.check_gradient(loss, lambda p: change(gradient(p)), AT, method=method)
    return report.diagnosis


@pytest.mark.parametrize("method", ["every", "probe"])
def test_factors_and_zeros_are_named_by_each_method(method):
    def start(change) -> str:
        return diagnosed(change, method)[0].split(" (residual")[0]

    assert start(lambda g: {k: -v for k, v in g.items()}) == "every array: the wrong sign"
    assert start(lambda g: {**g, "x": 0 * g["x"]}) == "params['x']: left at zero"
    assert start(lambda g: {k: 3 * v for k, v in g.items()}) == (
        "every array: 3 times what it should be: 3 is the length of axis 0 of params['w'], a sum "
        "in place of a mean"
    )


def test_a_transposed_array_is_named():
    (said,) = diagnosed(lambda g: {**g, "w": g["w"].T})
    assert said.startswith("params['w']: transposed (residual 1e-")


def test_a_gradient_that_accumulates_is_named():
    total = np.zeros(3)

    def accumulating(x):
        total[:] += 2 * x
        return total

    report = fastbp.check_gradient(lambda x: np.sum(x**2), accumulating, np.ones(3))
    assert report.diagnosis == (
        "the second call returns twice the first: gradients are added to arrays that are not set "
        "to zero before",
    )


@pytest.mark.parametrize("method", ["every", "probe"])
def test_a_right_gradient_has_no_diagnosis(method):
    assert diagnosed(lambda g: g, method) == ()
