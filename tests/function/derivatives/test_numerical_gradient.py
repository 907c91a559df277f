"""numerical_gradient: values, and error bars that hold, on functions smooth and with kinks."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.benchmark_modules import benchmark_module
from support.random_functions import Case, kinked_case, only_single, rounded, single, smooth_case

import fastbp
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError
from fastbp.runtime.account import Account

pytestmark = pytest.mark.small

# Four of each family, and all the others.
EVERYDAY, LONG = range(24), range(24, 1100)
FAMILIES = {"smooth": smooth_case, "kinked": kinked_case}


def errors_and_bars(
    case: Case, *, thorough: bool, exact: Case | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """True errors, and bars (kinks and the rounding of the reference included)."""
    found = fastbp.numerical_gradient(case.f, case.at, thorough=thorough)
    expected = (exact or case).gradient(case.at.astype(np.float64))
    rounding = 2.0**-46 * np.max(np.abs(expected))
    hull = np.abs(found.right - found.left) / 2
    return np.abs(found.value - expected), found.error_bar + hull + rounding


def require_bars_that_hold(make: Any, seeds: range) -> None:
    first = [errors_and_bars(make(seed), thorough=False) for seed in seeds]
    errors, bars = map(np.concatenate, zip(*first, strict=True))
    assert np.isfinite(bars).all()
    assert np.mean(errors <= bars) >= 0.995
    # A dead ReLU gives exactly 0 on both sides; for others the bar must not be far too wide.
    told = errors > 0
    assert np.mean(bars[told] <= 1000 * errors[told]) >= 0.9
    second = [errors_and_bars(make(seed), thorough=True) for seed in seeds]
    errors, bars = map(np.concatenate, zip(*second, strict=True))
    assert np.all(errors <= bars)


@pytest.mark.parametrize("family", FAMILIES)
def test_error_bars_hold(family: str) -> None:
    require_bars_that_hold(FAMILIES[family], EVERYDAY)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_error_bars_hold_for_a_thousand_functions(family: str) -> None:
    require_bars_that_hold(FAMILIES[family], LONG)


@pytest.mark.parametrize("family", FAMILIES)
def test_error_bars_hold_in_float32(family: str) -> None:
    require_bars_that_hold_in_float32(family, EVERYDAY[:12])


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_error_bars_hold_in_float32_for_500_functions(family: str) -> None:
    require_bars_that_hold_in_float32(family, range(12, 600))


def require_bars_that_hold_in_float32(family: str, seeds: range) -> None:
    told: list[np.ndarray] = []
    for seed in seeds:
        case, exact = FAMILIES[family](seed, single), FAMILIES[family](seed, rounded)
        for variant in (case, only_single(case)):
            errors, bars = errors_and_bars(variant, thorough=True, exact=exact)
            assert np.all(errors <= bars), variant.name
        largest = np.max(np.abs(exact.gradient(exact.at)))
        if largest > 0:  # else f is constant
            told.append(bars / largest)
    # Of functions in float32 alone: they tell an entry that is a few percent off.
    assert np.quantile(np.concatenate(told), 0.95) < 0.02


def test_error_bars_hold_on_a_relu_network() -> None:
    """The network on which adaptive libraries are wrong for 0.6 to 72 % of the entries."""
    f, exact, at = benchmark_module("peers.functions").relu_network()
    found = fastbp.numerical_gradient(f, at)
    error = np.abs(found.value - exact)
    assert not found.kinks
    assert np.all(error <= found.error_bar + 2.0**-46 * np.max(np.abs(exact)))
    assert np.all(error <= 1e-5 * (np.abs(exact) + 1e-3 * np.max(np.abs(exact))))


def test_a_relu_network_is_differentiated_to_ten_digits() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.normal(size=(16, 6)) / 3, rng.normal(size=(1, 16)) / 4
    x, y = rng.normal(size=(6, 64)), rng.normal(size=(1, 64))

    def loss(weights: list[np.ndarray]) -> float:
        return float(np.sum((weights[1] @ np.maximum(weights[0] @ x, 0) - y) ** 2))

    hidden = np.maximum(first @ x, 0)
    sensitivity = 2 * (second @ hidden - y)
    exact = [((second.T @ sensitivity) * (first @ x > 0)) @ x.T, sensitivity @ hidden.T]
    found = fastbp.numerical_gradient(loss, [first, second])
    for value, bar, expected in zip(found.value, found.error_bar, exact, strict=True):
        error = np.abs(value - expected)
        assert np.all(error <= bar + 1e-12)
        assert np.mean(error <= 1e-8 * np.max(np.abs(expected))) > 0.99


@pytest.mark.parametrize(
    ("f", "at", "left", "right"),
    [
        (abs, 0.0, -1.0, 1.0),
        (lambda x: max(x, 0.0), 0.0, 0.0, 1.0),
        (lambda x: max(x, 0.0) + max(-3 * x, 0.0) + x**2, 0.0, -3.0, 1.0),
        (lambda x: abs(np.sin(x)), 0.0, -1.0, 1.0),
    ],
)
def test_a_kink_at_the_point_has_two_slopes(f: Any, at: float, left: float, right: float) -> None:
    found = fastbp.numerical_gradient(f, at)
    assert len(found.kinks) == 1
    assert found.left == pytest.approx(left, abs=1e-6)
    assert found.right == pytest.approx(right, abs=1e-6)
    assert found.value == pytest.approx((left + right) / 2, abs=1e-6)


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9, -1e-4, -1e-8])
def test_a_kink_beside_the_point_is_left_out(distance: float) -> None:
    found = fastbp.numerical_gradient(lambda x: abs(x - distance) + 3 * x, 0.5e-12)
    assert found.kinks == []
    assert abs(found.value - (3 - np.sign(distance))) <= found.error_bar < 1e-3


@pytest.mark.parametrize(
    ("f", "at", "slope"),
    [
        (np.log, 1e-9, 1e9),
        (np.log, 3e-12, 1 / 3e-12),
        (lambda x: x**1.5, 0.0, 0.0),
        (lambda x: np.sqrt(x) ** 3 + 2 * x, 0.0, 2.0),
        (lambda x: np.arcsin(x) * np.sqrt(1 - x), 1 - 1e-10, None),
    ],
)
def test_domain_edges_are_differenced_from_inside(f: Any, at: float, slope: float | None) -> None:
    found = fastbp.numerical_gradient(f, np.array([at]))
    assert np.isfinite(found.value[0])
    if slope is not None:
        assert abs(found.value[0] - slope) <= found.error_bar[0] <= 1e-3 * max(1, abs(slope))


def test_noise_is_estimated_and_not_assumed() -> None:
    def noisy(x: np.ndarray) -> float:
        return float(np.sum(x**3)) + 1e-8 * np.sin(1e13 * float(np.sum(x)))

    at = np.linspace(0.5, 1.5, 30)
    found = fastbp.numerical_gradient(noisy, at)
    assert np.all(np.abs(found.value - 3 * at**2) <= found.error_bar)
    assert np.all(found.error_bar < 0.1)


def test_extreme_scales() -> None:
    at = np.array([1e-12, 1.0, 1e12])
    found = fastbp.numerical_gradient(lambda x: float(np.sum(x / [1e-12, 1, 1e12])), at)
    assert np.all(np.abs(found.value - 1 / at) <= found.error_bar + 1e-12 / at)
    assert np.all(found.error_bar[1:] <= 1e-2 / at[1:])


def test_nan_at_the_point_gives_no_derivative() -> None:
    found = fastbp.numerical_gradient(lambda x: float(np.log(-np.sum(x))), np.ones(3))
    assert np.isnan(found.value).all()
    assert np.isinf(found.error_bar).all()


Pair = namedtuple("Pair", "left right")


@dataclass
class Layer:
    weight: Any
    bias: Any = 0.5


def test_every_container_comes_back_in_its_own_structure() -> None:
    at = {
        "layer": Layer(np.arange(6.0).reshape(2, 3)),
        "pair": Pair(np.float32(2.0), [np.ones(2), 3.0]),
        "nothing": None,
    }

    def f(params: Any) -> float:
        assert isinstance(params["layer"], Layer)
        assert isinstance(params["pair"], Pair)
        total = np.sum(params["layer"].weight ** 2) + 3 * params["layer"].bias
        return total + params["pair"].left * params["pair"].right[1] + params["pair"].right[0].sum()

    found = fastbp.numerical_gradient(f, at)
    value = found.value
    assert isinstance(value["layer"], Layer)
    assert value["nothing"] is None
    np.testing.assert_allclose(value["layer"].weight, 2 * at["layer"].weight, atol=1e-7)
    assert value["layer"].bias == pytest.approx(3)
    assert value["pair"].left == pytest.approx(3)
    assert value["pair"].right[1] == pytest.approx(2)
    assert found.error_bar["pair"].right[0].shape == (2,)


def test_the_argument_of_the_caller_never_changes() -> None:
    at = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    before = at.copy()
    fastbp.numerical_gradient(lambda x: float(np.sum(x * x[::-1])), at)
    assert np.array_equal(at, before)


def test_the_same_input_gives_the_same_bits() -> None:
    case = kinked_case(4)
    first, second = (fastbp.numerical_gradient(case.f, case.at) for _ in range(2))
    assert first.value.tobytes() == second.value.tobytes()
    assert first.error_bar.tobytes() == second.error_bar.tobytes()


def test_some_four_evaluations_for_each_entry_of_many_small_arrays() -> None:
    for seed in range(4):
        at = [np.random.default_rng([seed, n]).normal(size=2) for n in range(200)]
        found = fastbp.numerical_gradient(lambda p: float(np.sum(np.sin(np.concatenate(p)))), at)
        assert found.evaluations < 4.5 * 400
        for value, bar, array in zip(found.value, found.error_bar, at, strict=True):
            assert np.all(np.abs(value - np.cos(array)) <= bar)
            assert np.all(bar < 1e-8)


def test_four_evaluations_for_each_entry_of_small_functions() -> None:
    """In the median of smooth functions of 2 to 39 entries, in one array."""
    counts = [
        fastbp.numerical_gradient(case.f, case.at).evaluations / case.at.size
        for case in map(smooth_case, range(100))
    ]
    assert np.median(counts) <= 4


def test_noise_far_above_rounding_is_no_reason_to_measure_every_entry_thoroughly() -> None:
    def f(arrays: list[np.ndarray]) -> float:  # terms that cancel
        return float(np.sum(1e6 + np.sin(np.concatenate(arrays))) - 4e7)

    at = np.linspace(-1, 2, 40)
    found = fastbp.numerical_gradient(f, np.split(at, 20))
    value, bar = np.concatenate(found.value), np.concatenate(found.error_bar)
    assert np.all(np.abs(value - np.cos(at)) <= bar)
    assert np.all(bar < 1e-3)
    assert found.evaluations < 20 * at.size


def test_few_evaluations_for_many_entries() -> None:
    at = np.random.default_rng(0).normal(size=3000)
    found = fastbp.numerical_gradient(lambda x: float(np.sum(np.sin(x))), at)
    assert found.evaluations < 2.2 * at.size


@pytest.mark.parametrize(
    ("at", "error", "message"),
    [
        (np.arange(3), DTypeError, "x must be float64 or float32, not int64."),
        ([np.array([True])], DTypeError, r"x\[0\] must be float64 or float32, not bool."),
        ("text", DTypeError, "x must be an array or a float, not str."),
        (np.ones(2, complex), DTypeError, "Complex arguments are for check_vjp"),
        ({}, ShapeError, "x must hold at least one float, but it is empty."),
        ([np.ones((0, 3)), None], ShapeError, "x must hold at least one float"),
        (np.ones(2, np.float16), DTypeError, "x must be float64 or float32, not float16."),
        (np.ones(2, ">f8"), DTypeError, "x must be float64 or float32, not >f8."),
    ],
)
def test_bad_arguments_are_named(at: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastbp.numerical_gradient(lambda x: 0.0, at)  # noqa: ARG005


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda x: x, ShapeError, r"one number, not an array of shape \(3,\): check_vjp and"),
        (lambda x: None, DTypeError, "f must return a real number, not NoneType."),  # noqa: ARG005
        (lambda x: 1j * x[0], DTypeError, "f must return a real number, not dtype complex128."),
        (lambda x: bool(x[0] > 0), DTypeError, "f must return a real number, not dtype bool."),
        (lambda x: [[1], [1, 2]], DTypeError, "real number, not list"),  # noqa: ARG005
    ],
)
def test_what_f_must_return(f: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastbp.numerical_gradient(f, np.ones(3))


def test_an_array_of_one_entry_is_a_number() -> None:
    found = fastbp.numerical_gradient(lambda x: np.array([[x.sum()]]), np.ones(2))
    np.testing.assert_allclose(found.value, 1, atol=1e-9)


def test_what_f_raises_is_kept_and_the_entry_named() -> None:
    def picky(params: Any) -> float:
        if params["w"][1, 2] != 1:
            raise RuntimeError("solver diverged")
        return float(params["w"].sum())

    with pytest.raises(EvaluationError, match=r"when params\['w'\]\[1, 2\] was .*diverged") as info:
        fastbp.numerical_gradient(picky, {"w": np.ones((2, 3))})
    assert isinstance(info.value.__cause__, RuntimeError)
    with pytest.raises(EvaluationError, match="f raised ZeroDivisionError at the point"):
        fastbp.numerical_gradient(lambda x: 1 / 0, np.ones(2))  # noqa: ARG005


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"progress": "yes"}, "progress must be None, True or False, not 'yes'."),
        ({"thorough": 1}, "thorough must be True or False, not 1."),
    ],
)
def test_senseless_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fastbp.numerical_gradient(lambda x: float(x.sum()), np.ones(2), **options)


@pytest.mark.parametrize("thorough", [False, True])
def test_some_entries_only(thorough: bool) -> None:
    at = {"a": np.linspace(0.5, 1.0, 40), "b": np.ones(3)}

    def f(p: dict[str, np.ndarray]) -> float:
        return float(np.sum(np.sin(p["a"])) + np.sum(p["b"]))

    for entries, count in (("a[7]", 1), ({"a": at["a"] > 0.9, "b": True}, 11), (20, 20)):
        found = fastbp.numerical_gradient(f, at, entries=entries, thorough=thorough)
        known = np.isfinite(found.value["a"])
        assert np.count_nonzero(known) + np.count_nonzero(np.isfinite(found.value["b"])) == count
        assert np.all(np.abs(found.value["a"] - np.cos(at["a"]))[known] < 1e-8)
        assert np.all(np.isinf(found.error_bar["a"]) == ~known)
        again = fastbp.numerical_gradient(f, at, entries=entries, thorough=thorough)
        assert np.array_equal(again.value["a"], found.value["a"], equal_nan=True)
    with pytest.raises(OptionError, match="entries"):
        fastbp.numerical_gradient(f, at, entries="c")


@pytest.mark.parametrize("sizes", [[1], [6], [17], [400], [3] * 40, [400, 1, 1]])
@pytest.mark.parametrize("thorough", [False, True])
def test_the_evaluations_that_are_expected_are_about_those_that_are_made(
    sizes: list[int], thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[float] = []
    monkeypatch.setattr(Account, "expect", lambda _, evaluations: expected.append(evaluations))
    at = [np.random.default_rng(0).normal(size=size) for size in sizes]
    found = fastbp.numerical_gradient(
        lambda p: float(sum(np.sum(np.sin(array)) for array in p)), at, thorough=thorough
    )
    real = found.evaluations - 2
    assert expected[0] / 1.5 <= real <= 1.5 * expected[0]
