"""budget= and max_evaluations= are kept, what is left out is said, and forecasts come true."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.errors import OptionError
from fastbp.function import array_function, evaluation
from fastbp.function.containers.point import Point
from fastbp.function.methods.forecast import forecast
from fastbp.runtime.account import Account

pytestmark = pytest.mark.small


def waits(seconds: float) -> Any:
    def f(x: np.ndarray) -> float:
        time.sleep(seconds)
        return float(np.sum(np.sin(x)))

    return f


SMOOTH = {
    "sines": lambda v: np.sum(np.sin(v)),
    "exponentials": lambda v: np.sum(np.exp(v)),
    "log-sum-exp": lambda v: np.log(np.sum(np.exp(v))),
    "Rosenbrock": lambda v: np.sum((v[1:] - v[:-1] ** 2) ** 2) + np.sum((1 - v) ** 2),
    "softplus": lambda v: np.sum(np.logaddexp(v, -v)),
}


@pytest.mark.parametrize("size", [1, 2, 6, 17, 100, pytest.param(1500, marks=pytest.mark.long)])
@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("f", SMOOTH.values(), ids=SMOOTH)
def test_a_forecast_is_right_within_half(f: Any, method: str, size: int) -> None:
    at = np.random.default_rng(1).normal(size=size)
    numerical = fastbp.numerical_gradient(f, at).value
    options = {"method": method, "seed": 1, "rtol": 1e-4, "atol": 1e-4}
    real = fastbp.check_gradient(f, numerical, at, **options).evaluations - 2
    predicted = forecast(method, [size])
    # One more thorough measurement counts where there are few.
    assert predicted <= 1.5 * real + 24
    assert real <= 1.5 * predicted + 24


@pytest.mark.parametrize("sizes", [[3] * 40, [2] * 150, [400, 1, 1], [50] * 10])
def test_a_forecast_for_many_arrays_is_right_within_half(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    at = [rng.normal(size=size) for size in sizes]
    f = lambda p: float(np.sum(np.sin(np.concatenate(p))))  # noqa: E731
    for method in ("every", "probe"):
        report = fastbp.check_gradient(
            f, lambda p: [np.cos(array) for array in p], at, method=method, seed=0
        )
        predicted, real = forecast(method, sizes), report.evaluations - 2
        assert predicted <= 1.5 * real + 4
        assert real <= 1.5 * predicted + 4


def test_nothing_is_predicted_of_nothing() -> None:
    assert forecast("every", [0, 0]) == forecast("probe", []) == 0


@pytest.mark.parametrize("method", ["auto", "every", "probe"])
@pytest.mark.parametrize("budget", [0.3, pytest.param(0.8, marks=pytest.mark.long)])
def test_a_budget_is_kept_and_what_is_left_out_is_said(method: str, budget: float) -> None:
    at = np.linspace(1, 2, 300)
    began = time.perf_counter()
    report = fastbp.check_gradient(
        waits(0.02), np.cos(at), at, method=method, budget=budget, seed=0
    )
    assert report.evaluations * 0.02 <= 1.2 * budget
    assert time.perf_counter() - began >= report.evaluations * 0.02
    if method == "every":
        assert report.verdict == "inconclusive"
        assert report.arrays[0].reason == f"not judged: the budget of {budget:g} s is spent"
        assert f"1 of 1 array not judged: the budget of {budget:g} s is spent" in report.notes
        assert report.at_least


@pytest.mark.parametrize("method", ["auto", "every", "probe"])
@pytest.mark.parametrize("most", [1, 5, 30, 5000])
def test_no_more_evaluations_are_made_than_are_allowed(method: str, most: int) -> None:
    at, calls = [np.linspace(1, 2, 40), np.ones(3)], [0]

    def f(p: list[np.ndarray]) -> float:
        calls[0] += 1
        return float(np.sum(np.sin(p[0])) + np.sum(p[1] ** 2))

    report = fastbp.check_gradient(
        f, [np.cos(at[0]), 2 * at[1]], at, method=method, max_evaluations=most, seed=0
    )
    assert calls[0] == report.evaluations <= max(most, 2)  # two at the point, whatever is allowed
    left = [row for row in report.arrays if row.reason.startswith("not judged")]
    assert all(row.reason == f"not judged: max_evaluations = {most} are spent" for row in left)
    assert report.verdict == ("inconclusive" if left else "passed")
    assert most < 5000 or not left


def test_probe_judges_what_every_does_not_get_done() -> None:
    """Entries that bend far more than those that were sampled take far more evaluations."""
    at = {"a": np.linspace(1, 2, 500), "b": np.zeros(60)}
    rates = np.random.default_rng(0).permutation(np.geomspace(1, 1000, 60))

    def f(p: dict[str, np.ndarray]) -> float:
        return float(np.sum(np.sin(p["a"])) + np.sum(np.sin(rates * p["b"])))

    gradient = {"a": np.cos(at["a"]), "b": rates}
    every = forecast("every", [500, 60])
    report = fastbp.check_gradient(f, gradient, at, max_evaluations=round(1.15 * every), seed=0)
    assert report.method == "every"
    assert report.verdict == "passed"
    assert [row.verdict for row in report.arrays] == ["passed", "passed"]
    assert any("longer than was expected" in note for note in report.notes)


@pytest.mark.parametrize("most", [0, -1, 2.5, True])
def test_a_senseless_limit_is_refused(most: Any) -> None:
    with pytest.raises(OptionError, match="max_evaluations"):
        fastbp.check_gradient(np.sum, np.ones(2), np.ones(2), max_evaluations=most)


def test_what_was_seen_of_an_array_that_was_not_finished_is_said() -> None:
    at = np.linspace(1, 2, 4000)
    given = np.cos(at)
    options: dict[str, Any] = {"method": "every", "max_evaluations": 3000, "seed": 0}
    report = fastbp.check_gradient(lambda x: np.sum(np.sin(x)), given, at, **options)
    assert report.verdict == "inconclusive"
    [seen, left] = report.notes
    assert left == "1 of 1 array not judged: max_evaluations = 3000 are spent"
    measured = int(seen.removeprefix("x: ").split(" of 4,000 ")[0].replace(",", ""))
    assert seen == f"x: {measured:,} of 4,000 entries were measured, and agree"
    assert 12 <= measured < 1500
    # The largest entry is one of those by which the function gets known.
    given[-1] = 9.0
    report = fastbp.check_gradient(lambda x: np.sum(np.sin(x)), given, at, **options)
    assert report.verdict == "inconclusive"
    assert report.notes[0].endswith("; x[3999] disagrees, but there was no second measurement")


def rosenbrock(v: np.ndarray) -> Any:
    return np.sum(100 * (v[1:] - v[:-1] ** 2) ** 2) + np.sum((1 - v) ** 2)


def rosenbrock_slopes(v: np.ndarray) -> np.ndarray:
    valley = v[1:] - v[:-1] ** 2
    slopes = -2 * (1 - v)
    slopes[:-1] -= 400 * v[:-1] * valley
    slopes[1:] += 200 * valley
    return slopes


def rectified(v: np.ndarray) -> Any:
    return np.sum(np.maximum(v, 0) * np.arange(1, v.size + 1))


def rectified_slopes(v: np.ndarray) -> np.ndarray:
    return (v > 0) * np.arange(1.0, v.size + 1)


# Functions, their derivatives, and how many entries they are of.
OF_ALL_SIZES: list[tuple[Any, Any, int]] = [
    (lambda v: np.sum(np.exp(v)), np.exp, 1), (lambda v: np.sum(v**4), lambda v: 4 * v**3, 1),
    (rosenbrock, rosenbrock_slopes, 2), (lambda v: np.sum(np.sin(v)), np.cos, 3),
    (np.prod, lambda v: np.prod(v) / v, 4), (lambda v: np.sum(v**4), lambda v: 4 * v**3, 5),
    (rectified, rectified_slopes, 5), (np.linalg.norm, lambda v: v / np.linalg.norm(v), 8),
    (rosenbrock, rosenbrock_slopes, 10), (np.sum, np.ones_like, 12),
    (lambda v: np.log(np.sum(np.exp(v))), lambda v: np.exp(v) / np.sum(np.exp(v)), 20),
    (lambda v: v @ v / 2, np.copy, 30),
    (lambda v: np.sum(np.log(1 + v * v)), lambda v: 2 * v / (1 + v * v), 40),
    (lambda v: np.sum(v**4 - v**2), lambda v: 4 * v**3 - 2 * v, 50),
    (rosenbrock, rosenbrock_slopes, 100), (np.sum, np.ones_like, 300),
    (rosenbrock, rosenbrock_slopes, 400), (rectified, rectified_slopes, 500),
    (lambda v: np.sum(np.exp(v)), np.exp, 1000),
    (lambda v: np.sum(np.tanh(v)), lambda v: 1 / np.cosh(v) ** 2, 2000),
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("place", range(20))
def test_the_bar_predicts_the_evaluations_within_half(
    monkeypatch: pytest.MonkeyPatch, method: str, place: int
) -> None:
    """In the median of three points: kinks, and entries that bend far more, are where they are."""
    f, slopes, size = OF_ALL_SIZES[place]
    predicted: list[float] = []
    expect = Account.expect

    def note(account: Account, evaluations: float) -> None:
        predicted.append(account.spent + evaluations)
        expect(account, evaluations)

    monkeypatch.setattr(Account, "expect", note)
    factors = []
    for seed in range(3):
        predicted.clear()
        at = np.random.default_rng(seed).normal(size=size)
        # Of a limit that is never met: without any, nothing is predicted of what takes no time.
        report = fastbp.check_gradient(
            lambda v: float(f(v)), slopes, at, method=method, max_evaluations=10**6, seed=seed
        )
        assert report.verdict == "passed"
        factors.append(max(predicted[0] / report.evaluations, report.evaluations / predicted[0]))
    assert np.median(factors) <= 1.5


@pytest.mark.long
@pytest.mark.parametrize("method", ["auto", "every", "probe"])
@pytest.mark.parametrize("place", range(20))
def test_budgets_are_kept_for_functions_of_all_sizes(method: str, place: int) -> None:
    f, slopes, size = OF_ALL_SIZES[place]
    at = np.random.default_rng(0).normal(size=size)

    def slow(v: np.ndarray) -> float:
        time.sleep(0.002)
        return float(f(v))

    report = fastbp.check_gradient(slow, slopes, at, method=method, budget=0.06, seed=0)
    assert report.evaluations * 0.002 <= 1.2 * 0.06


class Clock:
    """Shows these times, one after the other."""

    def __init__(self, *times: float) -> None:
        self.times = iter(times)

    def perf_counter(self) -> float:
        return next(self.times)


@pytest.mark.parametrize("times", [(0.0, 5.0, 5.0, 5.5), (0.0, 0.5, 2.0, 7.0)])
def test_an_evaluation_takes_as_long_as_the_shorter_of_two(
    times: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one may compile f, and another program may hold up the second."""
    at = np.ones(3)
    monkeypatch.setattr(evaluation, "time", Clock(*times))
    assert evaluation.Function(lambda p: float(p[0] @ p[0]), Point([at], "p"), "f").seconds == 0.5
    monkeypatch.setattr(array_function, "time", Clock(*times))
    function = array_function.VectorFunction(np.sin, at, "jax", vectorized=False, workers=None)
    assert function.seconds == 0.5
