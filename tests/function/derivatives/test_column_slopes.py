"""Slopes of all outputs by every entry: bars hold, kinks and steps are seen, few evaluations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastbp.function.array_function import VectorFunction
from fastbp.function.derivatives.column_slopes import measure_columns

pytestmark = pytest.mark.small

N = 60
MATRIX = np.random.default_rng(0).normal(size=(N, N)) / N**0.5


def measured(f: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return slopes, bars and hulls, of shape (outputs, entries), and the evaluations."""
    function = VectorFunction(f, at, "jax", vectorized=False, workers=None)
    before = function.evaluations
    columns = dict(measure_columns(function, 0))
    assert sorted(columns) == [*range(at.size)]
    lines = [columns[place] for place in range(at.size)]
    return (
        np.stack([line.slope for line in lines], axis=1),
        np.stack([line.error_bar for line in lines], axis=1),
        np.stack([line.hull for line in lines], axis=1),
        np.array(function.evaluations - before),
    )


def mixed(x: np.ndarray) -> np.ndarray:
    return np.sin(np.sum(MATRIX * x, axis=1)) + x**3


def mixed_jacobian(x: np.ndarray) -> np.ndarray:
    return np.cos(MATRIX @ x)[:, np.newaxis] * MATRIX + np.diag(3 * x**2)


def test_bars_hold_in_few_evaluations() -> None:
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=N)
        slope, bar, hull, evaluations = measured(mixed, x)
        error = np.abs(slope - mixed_jacobian(x))
        assert np.mean(error > bar + hull) < 1e-3
        assert np.max(error - hull) < 1e-8
        assert np.median(bar) < 1e-9
        assert evaluations < 12 * N


def test_outputs_of_very_different_sizes() -> None:
    scales = np.geomspace(1e-12, 1e9, N)
    x = np.random.default_rng(1).normal(size=N)
    slope, bar, hull, _ = measured(lambda x: scales * mixed(x), x)
    right = scales[:, np.newaxis] * mixed_jacobian(x)
    assert np.mean(np.abs(slope - right) > bar + hull) < 1e-3
    assert np.max(bar / scales[:, np.newaxis]) < 1e-6


def test_a_kink_at_one_entry_is_measured_thoroughly() -> None:
    x = np.random.default_rng(2).normal(size=N)
    x[17] = 0.0
    slope, bar, hull, _ = measured(lambda x: mixed(x) + np.abs(x), x)
    right = mixed_jacobian(x) + np.diag(np.sign(x))
    assert hull[17, 17] == pytest.approx(1.0, abs=1e-6)
    assert np.max(np.abs(slope - right) - bar - hull) < 1e-9


@pytest.mark.parametrize(
    "distance",
    [1e-7, 1e-5, *(pytest.param(distance, marks=pytest.mark.long) for distance in (1e-6, 1e-4))],
)
def test_kinks_beside_the_point_are_not_crossed_unseen(distance: float) -> None:
    x = np.random.default_rng(3).normal(size=N)
    at = x + distance
    slope, bar, hull, _ = measured(lambda x: mixed(x) + np.maximum(x - at, 0.0), x)
    error = np.abs(slope - mixed_jacobian(x))
    assert np.mean(error > bar + hull + 1e-9) < 1e-3


def test_outputs_in_few_digits_are_measured_thoroughly() -> None:
    x = np.random.default_rng(4).normal(size=N)
    slope, bar, hull, evaluations = measured(
        lambda x: mixed(x).astype(np.float32).astype(np.float64), x
    )
    assert np.mean(np.abs(slope - mixed_jacobian(x)) > bar + hull) < 1e-3
    assert evaluations > 12 * N
