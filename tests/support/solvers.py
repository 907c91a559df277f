"""Functions that iterate until a tolerance is met, and the gradients of the exact solutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["SOLVERS", "Solver"]

Vector = np.ndarray
EXACT = 1e-15


class Solver(NamedTuple):
    """``value(x, tolerance)`` and its gradient as the tolerance goes to 0, at a point."""

    value: Callable[[Vector, float], float]
    gradient: Callable[[Vector], Vector]
    at: Vector


def numbers(count: int, seed: int) -> Vector:
    return np.random.default_rng(seed).normal(size=count)


def newton(total: float, start: float, tolerance: float, damping: float = 1.0) -> float:
    """The root of y³ + y = total."""
    y, step = start, 1.0
    for _ in range(1000):
        if abs(step) < tolerance:
            break
        step = damping * (y**3 + y - total) / (3 * y * y + 1)
        y -= step
    return y


def secant(total: float, tolerance: float) -> float:
    """The same by secants, to a tolerance."""
    before, y = 0.5, 1.5
    for _ in range(100):
        if abs(y - before) < tolerance:
            break
        slope = (y**3 + y - before**3 - before) / (y - before)
        before, y = y, y - (y**3 + y - total) / slope
    return y


def of_root(total: float) -> float:
    """The derivative of that root by the total."""
    return 1 / (3 * newton(total, 1.0, EXACT) ** 2 + 1)


def iterated(step: Callable[[Vector], Vector], start: Vector, tolerance: float) -> Vector:
    y, z = start, step(start)
    for _ in range(100_000):
        if np.max(np.abs(z - y)) < tolerance:
            break
        y, z = z, step(z)
    return z


def anomaly(x: Vector, tolerance: float) -> float:
    """Kepler's equation by a fixed point."""
    return float(iterated(lambda e: x[0] + x[1] * np.sin(e), x[:1], tolerance)[0])


def of_anomaly(x: Vector) -> Vector:
    e = anomaly(x, EXACT)
    return np.array([1.0, np.sin(e)]) / (1 - x[1] * np.cos(e))


LAYER = 0.4 * numbers(25, 4).reshape(5, 5) / np.sqrt(5)


def equilibrium(x: Vector, tolerance: float) -> Vector:
    return iterated(lambda z: np.tanh(LAYER @ z + x), np.zeros(5), tolerance)


def of_equilibrium(x: Vector) -> Vector:
    z = equilibrium(x, EXACT)
    slopes = 1 - z**2
    return slopes * np.linalg.solve(np.eye(5) - LAYER.T * slopes, 2 * z)


DESIGN = numbers(40, 11).reshape(8, 5)
RIDGE = DESIGN.T @ DESIGN + 0.1 * np.eye(5)


def descended(x: Vector, tolerance: float) -> float:
    """Ridge regression by gradient descent, some 1 000 steps."""
    rate = 1 / np.linalg.norm(RIDGE, 2)
    target = DESIGN.T @ x
    w = iterated(lambda w: w - rate * (RIDGE @ w - target), np.zeros(5), tolerance * rate)
    return float(np.sum(w**2))


COUPLING = numbers(25, 10).reshape(5, 5) / 4
COUPLING = COUPLING + COUPLING.T


def eigenvalue(x: Vector, tolerance: float) -> float:
    """The largest one by power iteration, as a Rayleigh quotient and the first component."""
    matrix = COUPLING + np.diag(x)

    def step(v: Vector) -> Vector:
        w = matrix @ v
        return w / np.linalg.norm(w)

    v = iterated(step, np.full(5, 5**-0.5), tolerance)
    return float(v[0] ** 2 + v @ matrix @ v)


def of_eigenvalue(x: Vector) -> Vector:
    values, vectors = np.linalg.eigh(COUPLING + np.diag(x))
    v, others = vectors[:, -1], vectors[:, :-1]
    moved = others * v[:, np.newaxis] / (values[-1] - values[:-1])  # of the entries, along others
    return v**2 + 2 * v[0] * (moved @ others[0])


SOLVERS = {
    "Kepler": Solver(anomaly, of_anomaly, np.array([1.1, 0.4])),
    "secants": Solver(
        lambda x, tolerance: secant(float(np.sum(np.exp(x))), tolerance),
        lambda x: np.exp(x) * of_root(float(np.sum(np.exp(x)))),
        numbers(5, 1) / 2,
    ),
    "Newton": Solver(
        lambda x, tolerance: newton(float(np.sum(np.exp(x))), 1.0, tolerance),
        lambda x: np.exp(x) * of_root(float(np.sum(np.exp(x)))),
        numbers(50, 2) / 2 - 2,
    ),
    "damped Newton": Solver(
        lambda x, tolerance: newton(float(np.sum(np.exp(x))), 1.0, tolerance, 0.6),
        lambda x: np.exp(x) * of_root(float(np.sum(np.exp(x)))),
        numbers(5, 3) / 2,
    ),
    "equilibrium": Solver(
        lambda x, tolerance: float(np.sum(equilibrium(x, tolerance) ** 2)),
        of_equilibrium,
        numbers(5, 5),
    ),
    "gradient descent": Solver(
        descended,
        lambda x: DESIGN @ np.linalg.solve(RIDGE, 2 * np.linalg.solve(RIDGE, DESIGN.T @ x)),
        numbers(8, 12),
    ),
    "power iteration": Solver(
        eigenvalue, of_eigenvalue, np.array([3.0, 2.2, 1.5, 1.0, 0.4])
    ),
}  # fmt: skip
