"""Functions that vary on a scale far shorter than their argument: no `scale=` is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fastbp

SINCE_1970 = 1.7e9 + 0.1234


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize(
    ("angular", "at"),
    [
        (2 * np.pi * 50, [SINCE_1970]),
        (2 * np.pi * 50, [SINCE_1970, SINCE_1970 + 1.003, SINCE_1970 + 77.7]),
        (2 * np.pi, [SINCE_1970]),
        (1e10, [0.7]),  # the first steps are nearly whole periods
        (1e11, [0.7, 0.123, 0.4]),
        (1e12, [0.7]),
    ],
)
def test_a_sine_is_measured_on_its_own_scale(angular: float, at: list[float], method: str) -> None:
    def f(x: np.ndarray) -> float:
        return float(np.sin(angular * x).sum())

    point = np.array(at)
    gradient = angular * np.cos(angular * point)
    right = fastbp.check_gradient(f, gradient, point, method=method, seed=0)
    assert right.verdict == "passed"
    assert right.arrays[0].detectable < angular / 3
    wrong = gradient.copy()
    wrong[-1] += angular / 2
    assert fastbp.check_gradient(f, wrong, point, method=method, seed=0).verdict == "failed"


def test_a_ripple_that_is_a_thousandth_of_f_counts() -> None:
    """Nearly all of its derivative: 0.3 beside 1e-9."""
    angular = 2 * np.pi * 50
    point = np.array([SINCE_1970])
    gradient = 1e-9 + 1e-3 * angular * np.cos(angular * point)

    def f(t: np.ndarray) -> float:
        return float(t[0] / 1e9 + 1e-3 * np.sin(angular * t[0]))

    assert fastbp.check_gradient(f, gradient, point, method="every").verdict == "passed"
    report = fastbp.check_gradient(f, 1.1 * gradient, point, method="every")
    assert report.verdict == "failed"


@dataclass
class Fast:
    """A random function of this kind, its gradient, and the size of its derivatives."""

    f: Callable[[np.ndarray], float]
    at: np.ndarray
    gradient: np.ndarray


def random_function(random: np.random.Generator) -> Fast:
    """Sines of arguments up to 1e11 radians, in one to forty entries, beside a constant."""
    count = int(random.choice([1, 1, 2, 3, 8, 40]))
    size = 10.0 ** random.uniform(-3, 10)
    scattered = random.random() < 0.3
    at = size * (random.standard_normal(count) if scattered else 1 + random.random(count))
    radians = 10.0 ** random.uniform(0, 11)
    angular = radians / size * (1 + 0.3 * random.random(count) * random.integers(2))
    constant = 10.0 ** random.uniform(-6, 1.5) * random.integers(2)
    fast = np.arange(count) % 2 == 0
    kinds: list[tuple[Any, Any]] = [
        (lambda x: np.sin(angular * x), lambda x: angular * np.cos(angular * x)),
        (
            lambda x: x * np.sin(angular * x),
            lambda x: np.sin(angular * x) + angular * x * np.cos(angular * x),
        ),
        (
            lambda x: np.exp(np.cos(angular * x)),
            lambda x: -angular * np.sin(angular * x) * np.exp(np.cos(angular * x)),
        ),
        (
            lambda x: np.where(fast, np.sin(angular * x), (x / size) ** 2),
            lambda x: np.where(fast, angular * np.cos(angular * x), 2 * x / size**2),
        ),
    ]
    term, slope = kinds[random.integers(len(kinds))]
    return Fast(lambda x: float(term(x).sum() + constant), at, slope(at))


@pytest.mark.long
@pytest.mark.parametrize("method", ["every", "probe"])
def test_three_hundred_fast_functions_are_judged_rightly(method: str) -> None:
    random = np.random.default_rng(19)
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for _ in range(300):
        fast = random_function(random)
        given = fast.gradient
        right[fastbp.check_gradient(fast.f, given, fast.at, method=method, seed=0).verdict] += 1
        given = given.copy()
        given[random.integers(given.size)] += 0.4 * np.abs(given).max()
        wrong[fastbp.check_gradient(fast.f, given, fast.at, method=method, seed=0).verdict] += 1
    assert right["failed"] == 0
    assert right["passed"] >= 297
    assert wrong["failed"] >= 297
