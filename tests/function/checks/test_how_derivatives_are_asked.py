"""The memory layout of arguments, each output alone, and cotangents that are changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp

BASE = np.arange(1.0, 25.0).reshape(4, 6)
LAYOUTS = {
    "Fortran": np.asfortranarray(BASE),
    "gaps": BASE[:, ::2],
    "reversed": BASE[::-1, ::-1],
    "expanded": np.broadcast_to(BASE[0], (3, 6)),
    "transposed": BASE.reshape(2, 3, 4).transpose(2, 0, 1),
}


def read_as_contiguous(array: Any) -> Any:
    """Read an array as compiled code does that takes its strides for granted."""
    if min(array.strides) > 0:
        flat = np.lib.stride_tricks.as_strided(array, (array.size,), (array.itemsize,))
        return flat.reshape(array.shape)
    flat = array.ravel(order="K") if array.strides[0] else np.resize(array[0], array.size) * 1.5
    return (flat[::-1] if min(array.strides) < 0 else flat).reshape(array.shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_gets_its_argument_as_it_lies_in_memory(layout: str, dtype: Any) -> None:
    at = {"x": LAYOUTS[layout].astype(dtype, copy=False, order="K"), "y": 2.0}
    if dtype == np.float64:
        at["x"] = LAYOUTS[layout]
    seen = []

    def gradient(p: Any) -> Any:
        seen.append(p["x"].strides)
        return {"x": 2 * p["y"] * p["x"], "y": float(np.sum(p["x"] ** 2))}

    def f(p: Any) -> Any:
        return p["y"] * np.sum(p["x"] ** 2)

    assert fastbp.check_gradient(f, gradient, at, seed=0).verdict == "passed"
    assert seen[0] == at["x"].strides
    before = at["x"].copy()

    def changes(p: Any) -> Any:
        found = gradient(p)
        p["x"][1, 1] = 0.0
        return found

    report = fastbp.check_gradient(f, changes, at, seed=0)
    assert report.verdict == "failed"
    assert "changed its argument: p['x']" in report.arrays[-1].reason
    assert np.array_equal(at["x"], before)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_that_is_wrong_for_the_layout_fails(layout: str) -> None:
    at = LAYOUTS[layout]
    wrong = fastbp.check_gradient(
        lambda a: np.sum(a**2), lambda a: 2 * read_as_contiguous(a), at, seed=0
    )
    assert wrong.verdict == "failed"
    product = fastbp.check_vjp(lambda a: a**2, lambda a, w: 2 * read_as_contiguous(a) * w, at)
    assert product.verdict == "failed"


def two(x: Any) -> Any:
    return {"squares": x**2, "total": np.sum(x)}


def vjp_of_two(x: Any, w: Any) -> Any:
    return 2 * x * w["squares"] + w["total"]


def test_each_output_is_asked_for_alone() -> None:
    at = np.array([0.3, -0.7, 1.1])
    assert fastbp.check_vjp(two, vjp_of_two, at, seed=0).verdict == "passed"

    def wrong(x: Any, w: Any) -> Any:
        return vjp_of_two(x, w) if np.any(w["squares"]) else np.zeros_like(x)

    report = fastbp.check_vjp(two, wrong, at, seed=0)
    assert report.verdict == "failed"
    assert report.arrays[-1].reason.startswith("asked for output['total'] alone, it is wrong")


def test_a_vjp_that_changes_its_cotangent_is_named() -> None:
    def wrong(x: Any, w: Any) -> Any:
        w["squares"] *= x
        return 2 * w["squares"] + w["total"]

    report = fastbp.check_vjp(two, wrong, np.array([0.3, -0.7, 1.1]), seed=0)
    assert report.verdict == "failed"
    assert "vjp changed its cotangent: cotangent['squares']" in report.arrays[-1].reason


def test_products_that_change_their_tangent_are_named() -> None:
    def times(factor: Any, v: Any) -> Any:
        v *= factor
        return v

    at = np.array([0.3, -0.7, 1.1])
    report = fastbp.check_jvp(np.sin, lambda x, v: times(np.cos(x), v), at)
    assert (report.verdict, report.wrong) == ("failed", 0)
    assert report.arrays[-1].reason == "jvp changed its tangent: tangent"
    report = fastbp.check_hvp(np.square, lambda x, v: times(2 * x, v), at)
    assert report.arrays[1].reason == "hvp changed its tangent: tangent"


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("use", [np.abs, np.square, np.ones_like])
def test_a_jvp_that_is_not_linear_in_its_tangent_fails(method: str, use: Any) -> None:
    at = np.array([0.3, -1.2, 0.8])
    report = fastbp.check_jvp(np.sin, lambda x, v: np.cos(x) * use(v), at, method=method, seed=0)
    assert report.verdict == "failed"
    assert fastbp.check_hvp(np.sin, lambda x, v: np.cos(x) * use(v), at).verdict == "failed"
