"""The options `bounds` and `scale`: where f may be evaluated, and over which length it varies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.errors import OptionError

pytestmark = pytest.mark.small


class Watched:
    """sum(exp(p)) that remembers the smallest and the largest entry it has seen."""

    def __init__(self) -> None:
        self.lowest, self.highest = np.inf, -np.inf

    def __call__(self, p: np.ndarray) -> float:
        self.lowest = min(self.lowest, float(np.min(p)))
        self.highest = max(self.highest, float(np.max(p)))
        return float(np.sum(np.exp(p)))


class Bounds:
    """As scipy.optimize.Bounds."""

    def __init__(self, lb: Any, ub: Any) -> None:
        self.lb, self.ub = lb, ub


AT = np.array([0.0, 0.25, 1.0, 0.9999999])


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("bounds", [(0, 1), (np.zeros(4), 1.0), Bounds(0.0, np.ones(4)), [0, 1]])
def test_f_is_not_evaluated_beyond_its_bounds(method: str, bounds: Any) -> None:
    f = Watched()
    report = fastbp.check_gradient(f, np.exp, AT, bounds=bounds, method=method, seed=0)
    assert report.verdict == "passed"
    assert (f.lowest, f.highest) == (0.0, 1.0)


def test_an_entry_on_its_bound_is_judged_from_inside() -> None:
    wrong = np.exp(AT) * [1.001, 1, 1, 1]
    report = fastbp.check_gradient(Watched(), wrong, AT, bounds=(0, 1))
    assert [failure.where for failure in report.failures] == ["p[0]"]


def test_the_numerical_gradient_keeps_to_bounds_of_one_side() -> None:
    f = Watched()
    found = fastbp.numerical_gradient(f, AT, bounds=(None, 1))
    assert np.all(np.abs(found.value - np.exp(AT)) <= found.error_bar)
    assert f.lowest < 0
    assert f.highest == 1


def test_bounds_have_the_structure_of_the_argument() -> None:
    at = {"a": np.array([0.5, 0.0]), "b": 2.0}

    def f(p: Any) -> float:
        assert np.all(p["a"] >= 0)
        assert p["b"] >= -1
        return float(np.sum(p["a"] ** 2) * p["b"])

    lower = {"a": np.zeros(2), "b": -1.0}
    found = fastbp.numerical_gradient(f, at, bounds=(lower, None))
    np.testing.assert_allclose(found.value["a"], [2.0, 0.0], atol=1e-6)


def test_products_keep_to_bounds() -> None:
    def f(p: np.ndarray) -> np.ndarray:
        assert np.all((p >= 0) & (p <= 1))
        return p**2 + p

    def vjp(p: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        return (2 * p + 1) * cotangent

    assert fastbp.check_vjp(f, vjp, AT, bounds=(0, 1)).verdict == "passed"
    assert fastbp.check_jvp(f, vjp, AT, bounds=(0, 1), method="every").verdict == "passed"


@pytest.mark.parametrize("scale", [1e-9, np.full(2, 1e-9)])
def test_a_scale_sets_the_steps(scale: Any) -> None:
    at = np.array([3.3, 3.7])
    seen: list[float] = []

    def f(x: np.ndarray) -> float:
        seen.append(float(np.max(np.abs(x - at))))
        return float(np.sum(np.sin(1e8 * x)))

    report = fastbp.check_gradient(f, lambda x: 1e8 * np.cos(1e8 * x), at, scale=scale)
    assert report.verdict == "passed"
    assert max(seen) < 1e-9


def test_a_long_scale_serves_a_small_argument() -> None:
    at = np.array([1e-20, 3e-20])
    found = fastbp.numerical_gradient(lambda x: float(np.sum(np.exp(x))), at, scale=1.0)
    assert np.all(np.abs(found.value - 1) <= found.error_bar)
    assert np.all(found.error_bar < 1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": 1.0}, r"bounds must be None or \(lower, upper\), not 1.0"),
        ({"bounds": (0.1, 1)}, r"bounds: p\[0\] must be within 0.1 and 1.0, but it is 0.0"),
        ({"bounds": (np.zeros(3), 1)}, r"bounds\[0\] must be a real number or an array of shape"),
        ({"bounds": ({"a": 0}, 1)}, r"bounds\[0\] must be a number or of the structure of p"),
        (
            {"bounds": (1, 0)},
            r"bounds must be \(lower, upper\), but for p\[0\] they are 1.0 and 0.0",
        ),
        ({"bounds": (np.nan, 1)}, r"but for p\[0\] they are nan and 1.0"),
        ({"bounds": (-(10**400), 1)}, r"bounds\[0\] must be a number, not an integer beyond 1e308"),
        ({"scale": 0.0}, r"scale must be positive and finite, not 0.0 for p\[0\]"),
        ({"scale": "long"}, "scale must be a real number"),
    ],
)
def test_senseless_bounds_and_scales(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fastbp.check_gradient(Watched(), np.exp, AT, **options)
    with pytest.raises(OptionError, match=message):
        fastbp.numerical_gradient(lambda p: float(np.sum(p)), AT, **options)
