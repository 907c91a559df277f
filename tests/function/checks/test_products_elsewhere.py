"""check_vjp and check_jvp: every way of evaluation gives the same report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.products import COMPLEX_AT, jvp, mixed_jvp, mixed_vjp_jax, vjp, vjp_of_sine
from support.sent_functions import MATRIX, f, mixed

import fastbp
from fastbp.errors import EvaluationError, OptionError, ShapeError

pytestmark = pytest.mark.small

AT = np.array([0.5, -1.0, 2.0, 0.3])


def f_of_points(x: np.ndarray) -> Any:
    """The same as f, for a row of points: matrix products of one row each, so the same bits."""
    wave = np.stack([np.sin(MATRIX @ row) for row in x])
    return {"wave": wave, "pair": (x[:, :1] * x, np.sum(x**2, axis=1))}


def slipped(x: np.ndarray, w: Any) -> np.ndarray:
    gradient = vjp(x, w)
    gradient[2] += 0.01 * w["wave"][3]
    return gradient


def numbers_of(report: Any) -> list[Any]:
    rows = [(row.name, row.verdict, row.detectable, row.worst) for row in report.arrays]
    return [report.verdict, report.evaluations, report.failures, report.notes, rows]


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("how", ["vectorized", "workers"])
def test_every_way_of_evaluation_gives_the_same_report(method: str, how: str) -> None:
    options: dict[str, Any] = {"method": method, "seed": 1}
    given, other = f, {"vectorized": True}
    if how == "workers":
        pytest.importorskip("joblib")
        other = {"workers": 2}
    else:
        given = f_of_points

    def wrong(x: np.ndarray, v: np.ndarray) -> Any:
        outputs = jvp(x, v)
        outputs["wave"][4] += 0.01 * v[1]
        return outputs

    for check, product in ((fastbp.check_vjp, slipped), (fastbp.check_jvp, wrong)):
        one = check(f, product, AT, **options)
        two = check(given, product, AT, **options, **other)
        assert one.verdict == "failed"
        assert numbers_of(one) == numbers_of(two)


def test_complex_functions_of_many_points_and_elsewhere() -> None:
    pytest.importorskip("joblib")

    def of_points(z: np.ndarray) -> Any:
        return z * np.conj(z[:, :1]) + z**2, np.sum(np.abs(z) ** 2, axis=1)

    for check, first, second in (
        (fastbp.check_vjp, mixed_vjp_jax, {"jvp": mixed_jvp}),
        (fastbp.check_jvp, mixed_jvp, {"vjp": mixed_vjp_jax}),
    ):
        for given, options in ((of_points, {"vectorized": True}), (mixed, {"workers": 2})):
            report = check(given, first, COMPLEX_AT, **second, **options)
            assert report.verdict == "passed", report


def test_a_function_of_many_points_must_return_as_many() -> None:
    with pytest.raises(ShapeError, match=r"f is vectorized: output must have shape \(1, \.\.\.\)"):
        fastbp.check_vjp(lambda x: x.sum(axis=0), vjp_of_sine, AT, vectorized=True)
    with pytest.raises(ShapeError, match="f is vectorized: for 8 points it must return as many"):
        fastbp.check_jvp(lambda x: x[:1], vjp_of_sine, AT, vectorized=True)
    with pytest.raises(ShapeError, match="f is vectorized and must always return the same"):
        fastbp.check_jvp(lambda x: x[:, : 4 - (len(x) > 1)], vjp_of_sine, AT, vectorized=True)
    with pytest.raises(OptionError, match="workers and vectorized exclude each other"):
        fastbp.check_jvp(np.sin, vjp_of_sine, AT, vectorized=True, workers=2)

    def spoiling(x: np.ndarray) -> np.ndarray:
        outputs = np.sin(x)
        x *= 2
        return outputs

    for check in (fastbp.check_vjp, fastbp.check_jvp):
        report = check(spoiling, vjp_of_sine, AT, vectorized=True)
        assert "f changed its argument: x" in [row.reason for row in report.arrays]


@pytest.mark.parametrize("workers", [None, 2])
def test_what_f_raises_in_the_middle_names_the_entry(workers: int | None) -> None:
    if workers:
        pytest.importorskip("joblib")

    def picky(x: np.ndarray) -> np.ndarray:
        if x[2] != AT[2]:
            raise ValueError("not two")
        return np.sin(x)

    for check in (fastbp.check_vjp, fastbp.check_jvp):
        with pytest.raises(EvaluationError, match=r"when x\[2\] was .*not two") as info:
            check(picky, vjp_of_sine, AT, method="every", workers=workers)
        assert isinstance(info.value.__cause__, ValueError)
