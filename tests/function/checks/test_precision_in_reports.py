"""Every report says of which precision arrays are, and in which they are differenced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small


def only_single(x: Any) -> Any:
    if x.dtype != np.float32:
        raise TypeError("f takes float32")
    return np.sin(x)


CHECKS = {
    "gradient": (fastbp.check_gradient, lambda f: lambda x: np.sum(f(x)), lambda x: np.cos(x)),
    "vjp": (fastbp.check_vjp, lambda f: f, lambda x, w: w * np.cos(x)),
    "jvp": (fastbp.check_jvp, lambda f: f, lambda x, v: v * np.cos(x)),
    "jacobian": (fastbp.check_jacobian, lambda f: f, lambda x: np.diag(np.cos(x))),
    "hessian": (fastbp.check_hessian, lambda f: f, lambda x: np.diag(np.cos(x))),
    "Taylor": (fastbp.taylor_test, lambda f: lambda x: np.sum(f(x)), lambda x: np.cos(x)),
}


@pytest.mark.parametrize(("check", "made_of", "derivative"), CHECKS.values(), ids=CHECKS)
def test_the_precision_is_said(check: Any, made_of: Any, derivative: Any, tmp_path: Path) -> None:
    at = np.linspace(0.5, 1.0, 3)
    for f, dtype, said in (
        (np.sin, np.float64, "float64"),
        (np.sin, np.float32, "float32, differenced in float64"),
        (only_single, np.float32, "float32"),
    ):
        report = check(made_of(f), derivative, at.astype(dtype), seed=0)
        assert report.dtype == said
        assert f", {said}" in str(report).splitlines()[0]
        if check is not fastbp.taylor_test:
            report.to_json(tmp_path / "report.json")
            assert json.loads((tmp_path / "report.json").read_text())["dtype"] == said


def test_of_several_arrays_and_complex_ones() -> None:
    report = fastbp.check_gradient(
        lambda p: np.sum(p["a"]) + np.sum(p["b"] ** 2),
        lambda p: {"a": np.ones_like(p["a"]), "b": 2 * p["b"]},
        {"a": np.ones(2, np.float32), "b": np.ones(2)},
    )
    assert report.dtype == "float32, float64, differenced in float64"
    at = np.ones(2, np.complex64)
    report = fastbp.check_vjp(lambda z: z**2, lambda z, w: 2 * z * w, at)
    assert report.dtype == "float32, differenced in float64"
