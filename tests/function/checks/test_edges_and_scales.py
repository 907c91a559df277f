"""Checks beside and on the edge of a domain, at jumps, and of entries of very different sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small

NEAR_AN_EDGE: dict[str, tuple[Any, Any, np.ndarray]] = {
    "a clipped probability": (
        lambda p: -np.sum(np.log(1 - p)),
        lambda p: 1 / (1 - p),
        np.array([0.3, 1 - 1e-9]),
    ),
    "an angle": (
        lambda x: np.sum(np.arccos(x)),
        lambda x: -1 / np.sqrt((1 - x) * (1 + x)),
        np.array([1 - 1e-7, -0.2]),
    ),
    "a tiny number": (lambda x: np.sum(np.log(x)), lambda x: 1 / x, np.array([1e-180, 2.0])),
    "math.log": (lambda x: math.log(x[0]) + x[1], lambda x: [1 / x[0], 1.0], np.array([1e-9, 2.0])),
}


@pytest.mark.parametrize("name", NEAR_AN_EDGE)
def test_gradients_beside_an_edge_are_judged(name: str) -> None:
    f, gradient, at = NEAR_AN_EDGE[name]
    right = np.array(gradient(at))
    assert fastbp.check_gradient(f, right, at).verdict == "passed"
    wrong = right * [1.1, 1.0]
    assert fastbp.check_gradient(f, wrong, at).verdict == "failed"


def test_f_may_raise_outside_its_domain() -> None:
    def f(x: np.ndarray) -> float:
        if np.any((x < 0) | (x > 1)):
            raise ValueError("outside [0, 1]")
        return float(np.sum(x**3 + x))

    at = np.array([0.0, 0.4, 1.0])
    assert fastbp.check_gradient(f, 3 * at**2 + 1, at).verdict == "passed"
    report = fastbp.check_gradient(f, [1.1, 1.48, 4.0] * np.ones(3), at)
    assert [failure.where for failure in report.failures] == ["x[0]"]


@pytest.mark.parametrize("f", [np.sqrt, np.cbrt, lambda x: x * np.log(x + (x == 0))])
def test_an_infinite_slope_is_inconclusive(f: Any) -> None:
    at = np.array([0.5, 0.0])
    slope = fastbp.numerical_gradient(lambda x: float(f(x[0])), at).value[0]
    for given in (-5.0, 0.0, 1e6):
        report = fastbp.check_gradient(
            lambda x: float(np.sum(f(x))), np.array([slope, given]), at, rtol=1e-6
        )
        assert report.verdict == "inconclusive"
        assert "infinite slope" in report.arrays[0].reason


def test_a_jump_at_the_point_is_inconclusive() -> None:
    at = np.array([1.0, 0.3])
    report = fastbp.check_gradient(lambda x: float(np.sum(x + (x >= 1))), np.array([7.0, 1.0]), at)
    assert report.verdict == "inconclusive"
    assert "f jumps at x[0]" in report.arrays[0].reason
    wrong = fastbp.check_gradient(lambda x: float(np.sum(x + (x >= 1))), np.array([1.0, 1.1]), at)
    assert wrong.verdict == "failed"


def test_an_infinite_entry_is_held_fixed() -> None:
    at = np.array([0.3, -np.inf, 1.0, -0.4])
    weights = np.array([1.0, 2.0, -1.0, 0.5])

    def soft(x: np.ndarray) -> np.ndarray:
        return np.exp(x - x.max()) / np.exp(x - x.max()).sum()

    def gradient(x: np.ndarray) -> np.ndarray:
        return soft(x) * (weights - weights @ soft(x))

    for method in ("every", "probe"):
        report = fastbp.check_gradient(lambda x: weights @ soft(x), gradient, at, method=method)
        assert report.verdict == "passed"
    wrong = gradient(at) + np.array([0, 0, 1e-3, 0])
    assert fastbp.check_gradient(lambda x: weights @ soft(x), wrong, at).verdict == "failed"


def test_entries_of_one_array_may_be_1e18_apart() -> None:
    t = np.linspace(0, 3e-6, 20)

    def discharge(p: np.ndarray) -> float:
        return float(np.sum(np.exp(-t / (p[0] * p[1]))))

    at = np.array([2e6, 1e-12])
    product = at[0] * at[1]
    right = np.sum(np.exp(-t / product) * t / product) / at
    for method in ("every", "probe"):
        report = fastbp.check_gradient(discharge, right, at, method=method, seed=0)
        assert report.verdict == "passed"
    for factors in ([1.0, 0.7], [0.0, 1.0]):
        assert fastbp.check_gradient(discharge, right * factors, at).verdict == "failed"


@pytest.mark.parametrize(("frequency", "at"), [(1.0, 2.7e8), (1e8, 2.1), (3e5, -0.7)])
def test_f_may_vary_on_a_scale_far_shorter_than_its_argument(frequency: float, at: float) -> None:
    x = np.array([at, 1.1 * at])
    right = frequency * np.cos(frequency * x)

    def f(x: np.ndarray) -> float:
        return float(np.sum(np.sin(frequency * x)))

    assert fastbp.check_gradient(f, right, x).verdict == "passed"
    assert fastbp.check_gradient(f, right * [1.0, 1.01], x).verdict == "failed"


@pytest.mark.parametrize(
    ("piece", "scale"),
    [
        (np.round, 1.0), (np.round, 9.0), (np.floor, 9.0), (lambda x: np.round(x, 1), 1.0),
        (np.floor, 100.0), (lambda x: np.round(x, 2), 1.0), (lambda x: np.floor(256 * x), 1.0),
        (lambda x: np.floor(256 * x) / 256, 100.0),
    ],
    ids=[
        "round 1", "round 9", "floor 9", "tenths", "floor 100", "hundredths", "levels",
        "256 levels at 100",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["every", "probe"])
def test_a_gradient_of_zero_is_not_wrong_between_wide_steps(
    piece: Any, scale: float, method: Any
) -> None:
    """Steps of a millionth of the argument may be meant, those of 6e-8 are rounding."""
    for seed in range(3):
        at = np.random.default_rng(seed).uniform(-1, 1, 20) * scale
        report = fastbp.check_gradient(
            lambda x: float(np.sum(piece(x) * np.arange(20.0))), np.zeros(20), at,
            method=method, seed=seed,
        )  # fmt: skip
        assert report.verdict in ("vacuous", "inconclusive")
        assert not report.failures


@pytest.mark.parametrize("method", ["every", "probe"])
def test_a_gradient_of_zero_is_wrong_where_f_computes_in_float32(method: Any) -> None:
    at = np.random.default_rng(0).normal(size=20)
    report = fastbp.check_gradient(
        lambda x: float(np.sum(np.tanh(x.astype(np.float32)))), np.zeros(20), at,
        method=method, seed=0,
    )  # fmt: skip
    assert report.verdict == "failed"


@pytest.mark.parametrize("size", [2, 30, pytest.param(200, marks=pytest.mark.long)])
def test_probe_turns_directions_that_lead_outside_on_both_sides(size: int) -> None:
    def f(x: np.ndarray) -> float:
        if np.any((x < 0) | (x > 1)):
            raise ValueError("outside [0, 1]")
        return float(np.sum(x**3 + x))

    for seed in range(3):
        rng = np.random.default_rng(seed)
        at = rng.choice([0.0, 0.3, 0.8, 1.0], size=size)
        at[:2] = 0, 1
        right = 3 * at**2 + 1
        options = {"f": f, "at": at, "method": "probe", "seed": seed}
        assert fastbp.check_gradient(gradient=right, **options).verdict == "passed"
        right[size // 2] += 0.1
        report = fastbp.check_gradient(gradient=right, **options)
        assert [failure.index for failure in report.failures] == [(size // 2,)]


@pytest.mark.parametrize("method", ["every", "probe"])
def test_a_jvp_of_zero_is_not_wrong_between_steps(method: Any) -> None:
    weights = np.arange(1.0, 9.0)
    for seed, scale in enumerate([1.0, 9.0, 100.0]):
        at = np.random.default_rng(seed).uniform(-1, 1, 8) * scale
        report = fastbp.check_jvp(
            lambda x: np.floor(256 * x) / 256 * weights, lambda x, v: 0 * v, at,  # noqa: ARG005
            method=method, seed=seed,
        )  # fmt: skip
        assert report.verdict in ("vacuous", "inconclusive")
        wrong = fastbp.check_jvp(
            lambda x: x.astype(np.float32).astype(float) * weights, lambda x, v: 0 * v,  # noqa: ARG005
            at, method=method, seed=seed,
        )  # fmt: skip
        assert wrong.verdict == "failed"


@pytest.mark.parametrize("size", [5e-324, 1e-310, 2.3e-308, 1e-300])
def test_denormal_entries_are_measured_with_steps_that_are_not(size: float) -> None:
    at = np.array([size, -size, 0.5])
    report = fastbp.check_gradient(lambda x: float(np.sum(np.sin(x))), np.cos, at)
    assert report.verdict == "passed"
    wrong = np.cos(at) + np.array([0.0, 1e-3, 0.0])
    report = fastbp.check_gradient(lambda x: float(np.sum(np.sin(x))), wrong, at)
    assert [failure.index for failure in report.failures] == [(1,)]


def test_a_denormal_scale_is_inconclusive_for_a_function_that_varies_on_none_such() -> None:
    report = fastbp.check_gradient(
        lambda x: float(np.sum(np.sin(x))), np.cos, np.array([0.0, 0.5]), scale=5e-324
    )
    assert report.verdict == "inconclusive"


def test_a_function_that_is_nan_at_entries_far_apart_is_inconclusive() -> None:
    at = np.array([1e-30, 1.0, 1e10])
    report = fastbp.check_gradient(lambda x: float(np.sum(x) * np.nan), np.ones_like, at)
    assert report.verdict == "inconclusive"


def test_every_column_of_a_jacobian_gets_steps_of_its_own_size() -> None:
    sizes = np.array([1e-15, 1e-5, 1.0, 1e7, 1e15])
    at = sizes * [0.3, 0.7, 1.1, -0.4, 0.9]
    jacobian = np.diag(np.cos(at / sizes) / sizes)
    report = fastbp.check_jacobian(lambda x: np.sin(x / sizes), jacobian, at, method="every")
    assert report.verdict == "passed"
    jacobian[0, 0] *= 1.001
    report = fastbp.check_jacobian(lambda x: np.sin(x / sizes), jacobian, at, method="every")
    assert [failure.where for failure in report.failures] == ["jacobian[0, 0]"]


@pytest.mark.parametrize(
    ("dtype", "tiny"), [(np.float64, 5e-324), (np.float64, 1e-310), (np.float32, 1e-45)]
)
def test_an_entry_below_the_range_of_numbers_gets_steps_of_the_usual_size(
    dtype: type, tiny: float
) -> None:
    def f(x: np.ndarray) -> np.ndarray:
        assert x.dtype == dtype
        return 3 * x

    at = np.array([1.0, tiny, 2.0], dtype)
    assert fastbp.check_jacobian(f, 3 * np.eye(3), at, method="every").verdict == "passed"


@pytest.mark.parametrize("method", ["every", "probe"])
def test_f_may_vary_far_faster_than_its_argument_is_large(method: str) -> None:
    origin = 1.7e9  # seconds since 1970
    at = origin + np.array([0.3, 0.8])
    right = np.cos(at - origin)

    def f(x: np.ndarray) -> float:
        return float(np.sum(np.sin(x - origin)))

    assert fastbp.check_gradient(f, right, at, method=method, seed=0).verdict == "passed"
    wrong = right * [1.0, 1.01]
    assert fastbp.check_gradient(f, wrong, at, method=method, seed=0).verdict == "failed"


def _raises_outside(x: np.ndarray) -> np.ndarray:
    if (x < 0).any() or (x > 1).any():
        raise ValueError("outside")
    return np.sin(3 * x)


def _nan_outside(x: np.ndarray) -> np.ndarray:
    return np.sin(3 * x) if ((x >= 0) & (x <= 1)).all() else np.full(x.shape, np.nan)


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("f", [_raises_outside, _nan_outside])
def test_a_probed_jacobian_is_judged_in_a_corner_of_its_domain(f: Any, bounds: Any) -> None:
    at = np.array([0.0, 1.0, 0.5])
    right = np.diag(3 * np.cos(3 * at))
    report = fastbp.check_jacobian(f, right, at, method="probe", seed=0, bounds=bounds)
    assert report.verdict == "passed"
    wrong = right.copy()
    wrong[1, 1] *= 1.01
    report = fastbp.check_jacobian(f, wrong, at, method="probe", seed=0, bounds=bounds)
    assert [failure.where for failure in report.failures] == ["jacobian[1, 1]"]


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("f", [_raises_outside, _nan_outside])
def test_a_jvp_is_probed_in_a_corner_of_the_domain(f: Any, bounds: Any) -> None:
    at = np.array([0.0, 1.0, 0.5])
    slope = 3 * np.cos(3 * at)
    options = {"method": "probe", "seed": 0, "bounds": bounds}
    assert fastbp.check_jvp(f, lambda _, v: slope * v, at, **options).verdict == "passed"
    wrong = slope * [1.0, 1.01, 1.0]
    report = fastbp.check_jvp(f, lambda _, v: wrong * v, at, **options)
    assert report.verdict == "failed"
    assert [failure.index for failure in report.failures] == [(1,)]


@pytest.mark.parametrize("f", [_raises_outside, _nan_outside])
def test_a_vjp_of_one_output_alone_is_judged_in_a_corner_of_the_domain(f: Any) -> None:
    """It ignores the second output where no other one has a cotangent."""
    at = np.array([0.0, 1.0, 0.5])
    slope = 3 * np.cos(3 * at)

    def two(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return f(x), 2 * f(x)

    def vjp(_: np.ndarray, v: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        second = 2 * v[1] if v[0].any() else 0 * v[1]
        return slope * (v[0] + second)

    report = fastbp.check_vjp(two, vjp, at, seed=0)
    assert report.verdict == "failed"
    assert any("along a random tangent" in row.reason for row in report.arrays)


@pytest.mark.parametrize("f", [_raises_outside, _nan_outside])
def test_columns_that_share_no_row_are_judged_together_in_a_corner_of_the_domain(f: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    at = np.array([0.0, 1.0, 0.5])
    right = 3 * np.cos(3 * at)
    report = fastbp.check_jacobian(f, sparse.diags_array(right).tocsc(), at, method="every")
    assert report.verdict == "passed"
    wrong = right * [1.0, 1.01, 1.0]
    report = fastbp.check_jacobian(f, sparse.diags_array(wrong).tocsc(), at, method="every")
    assert [failure.where for failure in report.failures] == ["jacobian[1, 1]"]


@pytest.mark.parametrize("scale", [1e300, 1e-300])
@pytest.mark.parametrize("names", ["a", "ab"])
def test_squares_of_derivatives_may_leave_the_range_of_numbers(scale: float, names: str) -> None:
    at = {name: np.array([0.3, -1.2, 2.0]) for name in names}

    def f(p: dict[str, np.ndarray]) -> float:
        return float(scale * sum(np.sum(array**2) for array in p.values()))

    right = {name: 2 * scale * array for name, array in at.items()}
    assert fastbp.check_gradient(f, right, at, method="probe", seed=0).verdict == "passed"
    wrong = {**right, "a": right["a"] * [1.0, 1.01, 1.0]}
    report = fastbp.check_gradient(f, wrong, at, method="probe", seed=0)
    assert [failure.where for failure in report.failures] == ["p['a'][1]"]


def _log_or_raise(x: np.ndarray) -> np.ndarray:
    if (x <= 0).any() or (x >= 1).any():
        raise ValueError("outside")
    return np.log(1 - x)


@pytest.mark.parametrize("f", [_log_or_raise, lambda x: np.log(1 - x)], ids=["raises", "nan"])
def test_jacobians_beside_an_edge_are_judged_with_steps_that_stay_inside(f: Any) -> None:
    at = np.array([0.3, 1 - 1e-12])
    slope = -1 / (1 - at)
    options = {"at": at, "method": "every"}
    report = fastbp.check_jacobian(f, np.diag(slope), **options)
    assert report.verdict == "passed"
    assert fastbp.check_jvp(f, lambda _, v: slope * v, **options).verdict == "passed"
    wrong = np.diag(slope * [1.0, 1.2])
    report = fastbp.check_jacobian(f, wrong, **options)
    assert [failure.where for failure in report.failures] == ["jacobian[1, 1]"]


@pytest.mark.parametrize(
    ("power", "tiny"), [(2, 1e-200), (2, 1e-160), (3, 1e-120), (3, 1e-108)], ids=str
)
def test_a_jacobian_whose_outputs_underflow_is_not_wrong(power: int, tiny: float) -> None:
    """1e-200 squared is 0, and so is everything within a step of that size."""
    at = np.array([tiny, 1.0])
    right = np.diag(power * at ** (power - 1))

    def f(x: np.ndarray) -> np.ndarray:
        return x**power

    assert fastbp.check_jacobian(f, right, at, method="every").verdict == "passed"
    wrong = right + np.array([[1e-20, 0.0], [0.0, 0.0]])
    report = fastbp.check_jacobian(f, wrong, at, method="every")
    assert [failure.where for failure in report.failures] == ["jacobian[0, 0]"]


def test_derivatives_below_the_normal_numbers_may_be_rounded_to_zero() -> None:
    at = np.array([740.0, 1.0])
    given = np.diag([0.0, -np.exp(-1.0)])  # the first is -4e-322
    report = fastbp.check_jacobian(lambda x: np.exp(-x), given, at, method="every")
    assert report.verdict == "passed"


def test_derivatives_of_very_different_sizes_do_not_overflow() -> None:
    at = np.array([-700.0, 0.0, 700.0, 50.0])
    report = fastbp.check_vjp(np.exp, lambda x, v: np.exp(x) * v, at, method="every", seed=0)
    assert report.verdict == "passed"


BESIDE_AN_EDGE: dict[str, tuple[Any, Any, float]] = {
    "an angle": (np.arccos, lambda x: -1 / np.sqrt((1 - x) * (1 + x)), 1 - 1e-12),
    "a logarithm": (lambda x: np.log(1 - x), lambda x: -1 / (1 - x), 1 - 1e-12),
    "a tiny number": (np.log, lambda x: 1 / x, 1e-200),
    "a root": (np.sqrt, lambda x: 0.5 / np.sqrt(x), 1e-20),
    "an entropy": (lambda x: x * np.log(x), lambda x: np.log(x) + 1, 1e-30),
}


# The first two tell most.
ONE_BESIDE_AN_EDGE = [
    pytest.param(name, marks=[pytest.mark.long] * (place >= 2))
    for place, name in enumerate(BESIDE_AN_EDGE)
]


def _one_of_150_beside_an_edge(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
    f, slope, entry = BESIDE_AN_EDGE[name]
    at = np.random.default_rng(0).uniform(0.2, 0.8, 150)
    at[50] = entry
    return f, slope(at), at


@pytest.mark.parametrize("name", ONE_BESIDE_AN_EDGE)
def test_an_entry_beside_an_edge_is_judged_alone_by_probe(name: str) -> None:
    """No step fits it and the others together."""
    f, right, at = _one_of_150_beside_an_edge(name)
    options = {"f": lambda x: float(np.sum(f(x))), "at": at, "method": "probe", "seed": 0}
    report = fastbp.check_gradient(gradient=right, **options)
    hidden = name == "an entropy"  # of 7e-29 in a sum of 40
    assert report.verdict == ("inconclusive" if hidden else "passed")
    wrong = right.copy()
    wrong[50] = right[50] + 3 * max(report.detectable, abs(right[50]))
    report = fastbp.check_gradient(gradient=wrong, **options)
    assert [failure.index for failure in report.failures] == [(50,)]


@pytest.mark.parametrize("name", ONE_BESIDE_AN_EDGE)
def test_a_column_beside_an_edge_is_judged_alone_along_tangents(name: str) -> None:
    f, slope, at = _one_of_150_beside_an_edge(name)
    options: dict[str, Any] = {"at": at, "method": "probe", "seed": 0}
    assert fastbp.check_jacobian(f, np.diag(slope), **options).verdict == "passed"
    assert fastbp.check_jvp(f, lambda _, v: slope * v, **options).verdict == "passed"
    wrong = slope.copy()
    wrong[[7, 50]] *= 1.2
    report = fastbp.check_jacobian(f, np.diag(wrong), **options)
    assert sorted(failure.index for failure in report.failures) == [(7, 7), (50, 50)]
    wrong[7] = slope[7]
    report = fastbp.check_jvp(f, lambda _, v: wrong * v, **options)
    assert [failure.index for failure in report.failures] == [(50,)]


def test_columns_of_a_group_beside_an_edge_are_measured_alone() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    f, slope, at = _one_of_150_beside_an_edge("an angle")
    for place in (None, 50, 7):
        given = slope.copy()
        if place is not None:
            given[place] *= 1.2
        report = fastbp.check_jacobian(f, sparse.diags_array(given).tocsc(), at, method="every")
        wrong = [] if place is None else [(place, place)]
        assert [failure.index for failure in report.failures] == wrong
        assert report.verdict == ("failed" if wrong else "passed")


def test_the_entries_of_a_jvp_move_by_their_own_sizes() -> None:
    sizes = np.array([1e-15, 1e-5, 1.0, 1e7, 1e15])
    at = sizes * [0.3, 0.7, 1.1, -0.4, 0.9]
    slope = np.cos(at / sizes) / sizes
    for wrong in (None, 0, 4):
        given = slope.copy()
        if wrong is not None:
            given[wrong] *= 1.01
        report = fastbp.check_jvp(
            lambda x: np.sin(x / sizes), lambda _, v: given * v, at,  # noqa: B023
            method="probe", seed=0,
        )  # fmt: skip
        assert [failure.index for failure in report.failures] == (
            [] if wrong is None else [(wrong,)]
        )
        assert report.verdict == ("passed" if wrong is None else "failed")


def test_columns_below_their_bars_pass_beside_larger_ones() -> None:
    at = np.array([1e-200, 1.0])
    report = fastbp.check_jvp(lambda x: x**2, lambda x, v: 2 * x * v, at, method="every")
    assert report.verdict == "passed"
    report = fastbp.check_jvp(lambda x: x**2, lambda x, v: 2 * x * v, at[:1], method="every")
    assert report.verdict == "inconclusive"


@pytest.mark.parametrize("method", ["every", "probe"])
def test_a_gradient_may_be_off_by_what_a_rounded_entry_does_to_it(method: str) -> None:
    """x - mean(x) near 1e8 is known to 1e-8, and so is the gradient of the variance."""
    at = 1e8 + np.random.default_rng(7).normal(size=8)
    right = 2 * (at - np.mean(at)) / at.size
    options = {"f": lambda x: float(np.var(x)), "at": at, "method": method, "seed": 0}
    assert fastbp.check_gradient(gradient=right + 1e-9, **options).verdict == "passed"
    wrong = right.copy()
    wrong[3] += 1e-6
    report = fastbp.check_gradient(gradient=wrong, **options)
    assert [failure.index for failure in report.failures] == [(3,)]


def test_an_array_passes_only_if_an_error_as_large_as_its_derivatives_would_show() -> None:
    """Of values in half precision the bars are within twice the derivatives here, or beyond."""
    for seed in range(8):
        at = np.random.default_rng(seed).normal(size=12)
        report = fastbp.check_gradient(
            lambda x: float(np.sum(x.astype(np.float16) ** 2, dtype=np.float16)), 2 * at, at,
            method="every", seed=0,
        )  # fmt: skip
        assert report.verdict in ("passed", "inconclusive")
        if report.verdict == "passed":
            assert report.detectable <= 2.0 * np.max(np.abs(2 * at))


def test_a_curvature_beyond_the_range_of_numbers_widens_no_bar() -> None:
    """That of log is 1e400 at 1e-200."""
    at = np.array([1e-200, 1.0])
    f = lambda x: float(np.sum(np.log(x)))  # noqa: E731
    wrong = 1 / at
    wrong[0] += 10 * fastbp.numerical_gradient(f, at).error_bar[0]
    report = fastbp.check_gradient(f, wrong, at, method="every")
    assert [failure.index for failure in report.failures] == [(0,)]
