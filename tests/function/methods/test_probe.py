"""method="probe": few evaluations judge and find many entries."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support.gradient_checks import square

import fastbp

pytestmark = pytest.mark.small


def network_and_gradient(sizes: list[int], batch: int, seed: int) -> tuple[Any, Any, list[Any]]:
    """Mean square loss of a ReLU network in NumPy, its gradient, and parameters."""
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(size=(n_out, n_in)) * np.sqrt(2 / n_in) for n_in, n_out in pairwise(sizes)
    ]
    at = [*weights, *(0.1 * rng.normal(size=size) for size in sizes[1:])]
    x, y = rng.normal(size=(sizes[0], batch)), rng.normal(size=(sizes[-1], batch))
    layers = len(weights)

    def activations(params: list[Any]) -> list[Any]:
        levels = [x]
        for k in range(layers):
            f = params[k] @ levels[-1] + params[layers + k][:, np.newaxis]
            levels.append(np.maximum(f, 0) if k + 1 < layers else f)
        return levels

    def loss(params: list[Any]) -> float:
        return float(np.mean((activations(params)[-1] - y) ** 2))

    def gradient(params: list[Any]) -> list[Any]:
        levels = activations(params)
        slope = 2 * (levels[-1] - y) / y.size
        of_weights, of_biases = [], []
        for k in reversed(range(layers)):
            of_weights.insert(0, slope @ levels[k].T)
            of_biases.insert(0, slope.sum(axis=1))
            slope = (params[k].T @ slope) * (levels[k] > 0)
        return of_weights + of_biases

    return loss, gradient, at


def require_probe_judges_networks(sizes: list[int], batch: int, seeds: range) -> None:
    for seed in seeds:
        loss, gradient, at = network_and_gradient(sizes, batch, seed)
        options = {"method": "probe", "seed": seed}
        report = fastbp.check_gradient(loss, gradient, at, **options)
        assert report.verdict == "passed", report
        wrong = gradient(at)
        layer = seed % (len(sizes) - 1)
        place = np.unravel_index(1234 % wrong[layer].size, wrong[layer].shape)
        wrong[layer][place] += 1.01 * report.arrays[layer].detectable
        report = fastbp.check_gradient(loss, wrong, at, **options)
        assert report.verdict == "failed", report
        typical = np.sqrt(np.mean(gradient(at)[layer] ** 2))
        assert report.arrays[layer].detectable < 1e-2 * typical


@pytest.mark.long
def test_probe_judges_a_large_relu_network() -> None:
    require_probe_judges_networks([100, 250, 250, 100, 10], 64, range(2))  # 114 110 parameters


@pytest.mark.long
@pytest.mark.parametrize(
    ("sizes", "batch"), [([100, 250, 250, 100, 10], 64), ([20, 300, 300, 1], 512)], ids=str
)
def test_probe_judges_many_large_relu_networks(sizes: list[int], batch: int) -> None:
    require_probe_judges_networks(sizes, batch, range(2, 4))


@pytest.mark.long
def test_one_entry_of_a_million_is_found_in_150_evaluations() -> None:
    rng = np.random.default_rng(11)
    at = rng.normal(size=(1000, 1000))
    gradient = np.tanh(at)
    typical = np.sqrt(np.mean(gradient**2))
    gradient[123, 456] += 1e-3 * typical
    f = lambda x: float(np.sum(np.logaddexp(x, -x)))  # noqa: E731
    report = fastbp.check_gradient(f, gradient, at, method="probe", seed=5)
    assert report.verdict == "failed"
    assert [failure.where for failure in report.failures] == ["x[123, 456]"]
    assert not report.at_least
    assert report.evaluations < 150
    assert report.detectable < 1e-3 * typical
    gradient[123, 456] = np.tanh(at[123, 456])
    report = fastbp.check_gradient(f, gradient, at, method="probe", seed=5)
    assert report.verdict == "passed"
    assert report.evaluations < 80


def test_probe_finds_several_entries_and_says_at_least() -> None:
    at = np.random.default_rng(0).normal(size=5000)
    gradient = at.copy()
    wrong = [3, 77, 78, 2500, 4999]
    gradient[wrong] += 0.01
    report = fastbp.check_gradient(square, gradient, at, method="probe", seed=1)
    assert sorted(failure.index[0] for failure in report.failures) == wrong
    assert not report.at_least
    report = fastbp.check_gradient(square, gradient, at, method="probe", seed=1, most=2)
    assert report.at_least
    assert "at least 2" in report.arrays[0].reason
    assert "at least 2 wrong" in str(report)


def test_probe_names_a_common_factor() -> None:
    at = np.random.default_rng(0).normal(size=100)
    report = fastbp.check_gradient(square, 2 * at, at, method="probe", seed=1, most=1)
    assert report.arrays[0].factor == pytest.approx(2)
    assert report.diagnosis[0].startswith("x: 2 times what it should be")


def test_two_equal_errors_of_opposite_sign_do_not_cancel() -> None:
    at = np.random.default_rng(3).normal(size=500)
    for seed in range(20):
        gradient = at.copy()
        gradient[[seed, 400]] += [0.1, -0.1]
        report = fastbp.check_gradient(square, gradient, at, method="probe", seed=seed)
        assert report.verdict == "failed"
        assert {failure.index[0] for failure in report.failures} == {seed, 400}


def test_probe_reports_errors_too_small_to_be_single_ones() -> None:
    at = np.random.default_rng(4).normal(size=200_000)
    gradient = at * (1 + 1e-11)
    passed = fastbp.check_gradient(square, gradient, at, method="probe", seed=0)
    assert passed.verdict == "passed"
    assert any("may be missed" in note for note in passed.notes)


def test_auto_keeps_to_its_budget() -> None:
    at = np.ones(300)
    assert fastbp.check_gradient(square, at, at).method == "every"
    report = fastbp.check_gradient(square, at, at, budget=0)
    assert report.method == "probe"
    assert "the budget is 0 s" in report.notes[0]


def test_the_seed_decides() -> None:
    at = np.linspace(-1, 1, 50)
    first, second = (
        fastbp.check_gradient(square, at, at, method="probe", seed=9) for _ in range(2)
    )
    assert first.arrays == second.arrays
    assert "seed 9" in str(first)


def test_wrong_entries_are_not_counted_as_zero_too() -> None:
    at = np.zeros(5)
    report = fastbp.check_gradient(lambda x: float(np.sum(x)), at, at, method="probe", seed=0)
    assert (report.arrays[0].entries, report.arrays[0].wrong, report.arrays[0].zero) == (5, 5, 0)
    assert "5 entries, 5 wrong, 0 on kinks" in str(report)


def test_an_array_that_is_zero_along_every_direction_counts_as_zero() -> None:
    at = {"a": np.ones(3), "b": np.ones(4)}
    f = lambda p: float(np.sum(p["a"]))  # noqa: E731
    report = fastbp.check_gradient(f, {"a": np.ones(3), "b": np.zeros(4)}, at, method="probe")
    assert [(row.verdict, row.wrong, row.zero) for row in report.arrays] == [
        ("passed", 0, 0),
        ("untested", 0, 4),
    ]


@pytest.mark.parametrize("seed", [1, 23, 34])
def test_a_direction_between_two_steps_of_f_says_nothing_once_these_are_known(seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix, weights, at = random.normal(size=(4, 4)), random.normal(size=4), random.normal(size=4)

    def f(x: np.ndarray) -> float:
        return float(np.float32(np.sum(weights * (matrix @ x) ** 2) + 1e6))  # steps of 1/16

    def gradient(x: np.ndarray) -> np.ndarray:
        return 2 * matrix.T @ (weights * (matrix @ x))

    assert fastbp.check_gradient(f, gradient, at, method="probe", seed=seed).verdict != "failed"


KINKS = {  # f, its derivative at a point, the point, and an entry that is on no kink
    "abs": (lambda x: np.sum(np.abs(x)), [0, 1, -1], [0.0, 2.0, -1.0], 1),
    "clip": (lambda x: np.sum(np.clip(x, 0, 1)), [0, 0, 1], [1.0, 0.0, 0.5], 2),
    "maximum": (lambda x: np.max(x) + np.sum(x), [2, 1, 1], [1.0, 1.0, 0.0], 2),
    "norm": (lambda x: np.linalg.norm(x[:2]) + x[2] ** 2, [0, 0, 2], [0.0, 0.0, 1.0], 2),
}


@pytest.mark.parametrize("kind", list(KINKS))
@pytest.mark.parametrize("seed", range(3))
def test_entries_on_kinks_do_not_hide_the_others(kind: str, seed: int) -> None:
    f, derivative, point, entry = KINKS[kind]
    at, given = np.array(point), np.array(derivative, dtype=float)
    report = fastbp.check_gradient(f, given, at, method="probe", seed=seed)
    assert report.verdict == "passed"
    assert report.detectable < 2.001  # what a kink lets its own entry be
    given[entry] += 0.25
    report = fastbp.check_gradient(f, given, at, method="probe", seed=seed)
    assert [failure.where for failure in report.failures] == [f"x[{entry}]"]


def test_all_entries_may_be_on_kinks() -> None:
    report = fastbp.check_gradient(np.linalg.norm, np.zeros(3), np.zeros(3), method="probe", seed=0)
    assert (report.verdict, report.kinks) == ("passed", 3)


DIVERGING = {
    "f jumps at x[0]": lambda x: np.sum(np.floor(x) + x),
    "f has an infinite slope at x[0]": lambda x: np.sum(np.cbrt(x - [2, 0, 0]) + x),
}


@pytest.mark.parametrize("reason", list(DIVERGING))
def test_entries_without_a_derivative_are_named(reason: str) -> None:
    f, at = DIVERGING[reason], np.array([2.0, 0.3, 1.7])
    given = np.ones(3) if "jumps" in reason else 1 + np.array([9, 0.3, 1.7]) ** (-2 / 3) / 3
    report = fastbp.check_gradient(f, given, at, method="probe", seed=0)
    assert (report.verdict, report.arrays[0].reason) == ("inconclusive", reason)
    given[1] += 0.01
    report = fastbp.check_gradient(f, given, at, method="probe", seed=0)
    assert [failure.where for failure in report.failures] == ["x[1]"]
