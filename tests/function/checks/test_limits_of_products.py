"""budget=, max_evaluations= and Ctrl-C, for checks of functions with array results."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator

import fastbp
from fastbp.function.array_function import VectorFunction
from fastbp.function.checks.matrices.given_matrix import Sides, read_matrix
from fastbp.function.checks.matrices.matrix_check import _expected, groups_of
from fastbp.function.methods.forecast import evaluations_per_tangent

pytestmark = pytest.mark.small

MATRIX = np.random.default_rng(0).normal(size=(5, 8))
AT = np.random.default_rng(1).normal(size=8)
SECOND = MATRIX.T @ MATRIX


def tanh(x: np.ndarray) -> Any:
    return np.tanh(MATRIX @ x)


def jacobian(x: np.ndarray) -> Any:
    return (1 - np.tanh(MATRIX @ x) ** 2)[:, np.newaxis] * MATRIX


def quartic_gradient(x: np.ndarray) -> Any:
    return SECOND @ x + x**3


def quartic_hessian(x: np.ndarray) -> Any:
    return SECOND + np.diag(3 * x**2)


CHECKS = {
    "vjp": (fastbp.check_vjp, tanh, lambda x, w: jacobian(x).T @ w),
    "jvp": (fastbp.check_jvp, tanh, lambda x, v: jacobian(x) @ v),
    "jacobian": (fastbp.check_jacobian, tanh, jacobian),
    "sparse jacobian": (
        fastbp.check_jacobian, lambda x: x**3, lambda x: scipy.sparse.diags_array(3 * x**2),
    ),
    "hessian": (fastbp.check_hessian, quartic_gradient, quartic_hessian),
    "hvp": (fastbp.check_hvp, quartic_gradient, lambda x, v: quartic_hessian(x) @ v),
}  # fmt: skip
all_checks = pytest.mark.parametrize(("check", "f", "derivative"), CHECKS.values(), ids=CHECKS)


class Counted:
    """A function that counts its calls, waits in each, and may be interrupted in one of them."""

    def __init__(self, f: Any, seconds: float = 0.0, interrupted_in: int = 0) -> None:
        self.f, self.seconds, self.interrupted_in = f, seconds, interrupted_in
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        time.sleep(self.seconds)
        if self.calls == self.interrupted_in:
            raise KeyboardInterrupt
        return self.f(x)


@all_checks
@pytest.mark.parametrize("method", ["auto", "every", "probe"])
@pytest.mark.parametrize("most", [1, 30, 70, 5000])
def test_no_more_evaluations_are_made_than_are_allowed(
    check: Any, f: Any, derivative: Any, method: str, most: int
) -> None:
    counted = Counted(f)
    report = check(counted, derivative, AT, method=method, max_evaluations=most, seed=0)
    at_the_point = 4 if check is fastbp.check_vjp else 2
    assert counted.calls == report.evaluations <= max(most, at_the_point)
    left = [row for row in report.arrays if row.reason.startswith("not judged")]
    assert all(row.reason.endswith(f"max_evaluations = {most} are spent") for row in left)
    assert report.verdict == ("inconclusive" if left else "passed")
    assert report.at_least == bool(left)
    assert most < 5000 or not left
    assert most > 1 or left


@all_checks
def test_a_budget_is_kept(check: Any, f: Any, derivative: Any) -> None:
    counted = Counted(f, 0.01)
    report = check(counted, derivative, AT, method="every", budget=0.2, seed=0)
    assert 0.01 * counted.calls <= 0.24
    assert report.verdict == "inconclusive"


@all_checks
@pytest.mark.parametrize("method", ["every", "probe"])
def test_an_interrupt_carries_what_was_judged(
    check: Any, f: Any, derivative: Any, method: str
) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        check(Counted(f, interrupted_in=20), derivative, AT, method=method, seed=0)
    report = vars(caught.value)["report"]
    assert report.verdict == "inconclusive"
    assert any(row.reason.endswith("interrupted") for row in report.arrays)


class Interrupts:
    """A function that is interrupted in its last call, of those that it gets otherwise."""

    def __init__(self, f: Any, check: Any) -> None:
        self.f, self.calls, self.last = f, 0, 0
        check(self)
        self.last, self.calls = self.calls, 0

    def __call__(self, *given: Any) -> Any:
        self.calls += 1
        if self.calls == self.last:
            raise KeyboardInterrupt
        return self.f(*given)


def vjp(x: Any, w: Any) -> Any:
    return jacobian(x).T @ w


def jvp(x: Any, v: Any) -> Any:
    return jacobian(x) @ v


def pair(x: Any) -> Any:
    return np.sin(x), x**2


def pair_vjp(x: Any, w: Any) -> Any:
    return w[0] * np.cos(x) + 2 * w[1] * x


def of_rmatvec(rmatvec: Any) -> Any:
    matrix = jacobian(AT)
    given = LinearOperator((5, 8), matvec=matrix.__matmul__, rmatvec=rmatvec, dtype=np.float64)
    return fastbp.check_jacobian(tanh, given, AT)


def of_matvec(matvec: Any) -> Any:
    given = LinearOperator((8, 8), matvec=matvec, dtype=np.float64)
    return fastbp.check_hessian(quartic_gradient, given, AT, method="probe")


@pytest.mark.parametrize(
    ("derivative", "check", "note"),
    [
        (jvp, lambda jvp: fastbp.check_vjp(tanh, vjp, AT, jvp=jvp), "jvp against vjp not checked"),
        (pair_vjp, lambda vjp: fastbp.check_vjp(pair, vjp, AT), "outputs not looked at alone"),
        (
            lambda x, v: quartic_hessian(x) @ v,
            lambda hvp: fastbp.check_hvp(quartic_gradient, hvp, AT),
            "symmetry not checked",
        ),
        (lambda u: jacobian(AT).T @ u, of_rmatvec, "jacobian.rmatvec not checked"),
        (lambda v: quartic_hessian(AT) @ v, of_matvec, "symmetry not checked"),
    ],
    ids=["jvp", "vjp", "hvp", "rmatvec", "matvec"],
)
def test_an_interrupt_of_the_last_comparison_leaves_the_others(
    derivative: Any, check: Any, note: str
) -> None:
    interrupted = Interrupts(derivative, check)
    with pytest.raises(KeyboardInterrupt) as caught:
        check(interrupted)
    report = vars(caught.value)["report"]
    assert report.verdict == "passed"
    assert f"{note}: interrupted" in report.notes


def test_products_are_not_compared_where_nothing_may_be_spent() -> None:
    jvp = Counted(tanh)
    report = fastbp.check_vjp(tanh, vjp, AT, jvp=jvp, max_evaluations=10)
    assert jvp.calls == 0
    assert "jvp against vjp not checked: max_evaluations = 10 are spent" in report.notes


def test_columns_that_were_judged_stay() -> None:
    """A wrong entry counts where it was measured twice; one that was not is no wrong one yet."""
    wrong = jacobian(AT)
    wrong[:, :] *= -1
    some = fastbp.check_jacobian(tanh, wrong, AT, method="every", max_evaluations=240, seed=0)
    every = fastbp.check_jacobian(tanh, wrong, AT, method="every", seed=0)
    assert every.wrong == 40
    assert some.verdict == "failed"
    assert 0 < some.wrong < 40
    assert some.at_least
    none = fastbp.check_jacobian(tanh, wrong, AT, method="every", max_evaluations=80, seed=0)
    assert (none.verdict, none.wrong) == ("inconclusive", 0)

    def wrong_jvp(x: Any, v: Any) -> Any:
        return -jacobian(x) @ v

    some = fastbp.check_jvp(tanh, wrong_jvp, AT, method="every", max_evaluations=120, seed=0)
    assert some.verdict == "failed"
    assert some.arrays[0].reason.startswith("at least ")
    assert some.arrays[0].entries == 40
    assert 0 < some.arrays[0].wrong < 40


def test_a_wrong_tangent_fails_though_its_entry_is_not_found() -> None:
    wrong = jacobian(AT)
    wrong[2, 3] += 0.1
    report = fastbp.check_jacobian(tanh, wrong, AT, method="probe", max_evaluations=100, seed=0)
    assert report.verdict == "failed"
    assert "no single entry stands out" in report.arrays[0].reason


@pytest.mark.parametrize("size", [1, 3, 12, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "f", [np.sin, np.exp, lambda x: x**3 - x, lambda x: x * x[::-1]], ids=range(4)
)
def test_a_forecast_of_columns_is_right_within_half(f: Any, size: int) -> None:
    at = np.random.default_rng(0).normal(size=size)
    function = VectorFunction(f, at, "jax", vectorized=False, workers=None)
    dense = np.zeros((size, size))
    for matrix in (dense, scipy.sparse.csc_array(dense + np.eye(size))):
        given = read_matrix(matrix, "jacobian", Sides.of(function), function.point, 0.0)
        groups = len(groups_of(function, given))
        for method, predicted in _expected(function, given, groups).items():
            options: Any = {"method": method, "seed": 0, "rtol": 1e3, "atol": 1e3}
            real = fastbp.check_jacobian(f, matrix, at, **options).evaluations - 2
            assert real <= 1.5 * predicted + 24
            assert predicted <= 1.5 * real + 24
    tangents = evaluations_per_tangent(2.0**-53) * size
    options = {"method": "every", "seed": 0, "rtol": 1e3, "atol": 1e3}
    real = fastbp.check_jvp(f, lambda _, v: 0 * v, at, **options).evaluations - 2
    assert tangents <= 1.5 * real + 24
    assert real <= 1.5 * tangents + 24
