"""Random functions whose gradient is known in closed form: smooth ones, and ones with kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Cast = Callable[[np.ndarray], np.ndarray]


def double(array: np.ndarray) -> np.ndarray:
    return array


def single(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


def rounded(array: np.ndarray) -> np.ndarray:
    """The numbers of `single`, to compute with in float64."""
    return array.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Case:
    name: str
    f: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    at: np.ndarray


def smooth_case(seed: int, cast: Cast = double) -> Case:
    rng = np.random.default_rng(seed)
    x, matrix, weights = _ingredients(rng, cast)
    families = {
        "sines": (
            lambda y: np.sum(weights * np.sin(matrix @ y)),
            lambda y: matrix.T @ (weights * np.cos(matrix @ y)),
        ),
        "logsumexp": (
            lambda y: np.log(np.sum(np.exp(matrix @ y - 3))),
            lambda y: matrix.T @ (np.exp(matrix @ y) / np.sum(np.exp(matrix @ y))),
        ),
        "cubes": (
            lambda y: np.sum(weights * (matrix @ y) ** 3),
            lambda y: matrix.T @ (3 * weights * (matrix @ y) ** 2),
        ),
        "cauchy": (
            lambda y: np.sum(weights / (1 + (matrix @ y) ** 2)),
            lambda y: matrix.T @ (-2 * weights * (matrix @ y) / (1 + (matrix @ y) ** 2) ** 2),
        ),
        "entrywise": (
            lambda y: np.sum(np.exp(-(y**2)) + 0.1 * np.cos(3 * y)),
            lambda y: -2 * y * np.exp(-(y**2)) - 0.3 * np.sin(3 * y),
        ),
        "tanh network": _tanh_network(rng, x.size, cast),
        "quadratic": (
            lambda y: 0.5 * np.sum((matrix @ y) ** 2),
            lambda y: matrix.T @ (matrix @ y),
        ),
        "logarithms": (
            lambda y: np.sum(np.log(np.abs(y) + 0.01)),
            lambda y: np.sign(y) / (np.abs(y) + 0.01),
        ),
    }
    return _chosen(families, seed, x)


def kinked_case(seed: int, cast: Cast = double) -> Case:
    rng = np.random.default_rng(seed)
    x, matrix, weights = _ingredients(rng, cast)
    order = cast(np.arange(x.size) / x.size)

    def sorted_gradient(y: np.ndarray) -> np.ndarray:
        gradient = np.empty(y.size, y.dtype)
        gradient[np.argsort(y)] = order
        return gradient

    families = {
        "relu": (
            lambda y: np.sum(weights * np.maximum(matrix @ y, 0)),
            lambda y: matrix.T @ (weights * (matrix @ y > 0)),
        ),
        "abs": (
            lambda y: np.sum(np.abs(matrix @ y)),
            lambda y: matrix.T @ np.sign(matrix @ y),
        ),
        "max": (lambda y: np.max(matrix @ y), lambda y: matrix[np.argmax(matrix @ y)]),
        "sort": (lambda y: np.sum(order * np.sort(y)), sorted_gradient),
        "relu network": _relu_network(rng, x.size, cast),
        "clip": (
            lambda y: np.sum(np.clip(matrix @ y, -0.5, 0.5) ** 2),
            lambda y: matrix.T @ (2 * np.clip(matrix @ y, -0.5, 0.5) * (np.abs(matrix @ y) < 0.5)),
        ),
    }
    return _chosen(families, seed, x)


def _chosen(families: dict[str, Any], seed: int, x: np.ndarray) -> Case:
    name = list(families)[seed % len(families)]
    return Case(f"{name}, seed {seed}", *families[name], x)


def only_single(case: Case) -> Case:
    """The same function, which now refuses float64 and so computes in float32 throughout."""

    def f(y: np.ndarray) -> Any:
        if y.dtype != np.float32:
            raise TypeError("float32 only")
        return case.f(y)

    return Case(f"{case.name}, float32 only", f, case.gradient, case.at)


def _ingredients(rng: np.random.Generator, cast: Cast) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = int(rng.integers(2, 40))
    x = rng.normal(size=size) * 10 ** rng.uniform(-1, 1)
    matrix = rng.normal(size=(7, size)) / np.sqrt(size)
    weights = rng.normal(size=7) * 10.0 ** rng.integers(-3, 4)
    return cast(x), cast(matrix), cast(weights)


def _tanh_network(rng: np.random.Generator, size: int, cast: Cast) -> Any:
    first, second = rng.normal(size=(9, size)) / np.sqrt(size), rng.normal(size=9)
    first, second = cast(first), cast(second)
    return (
        lambda y: (second @ np.tanh(first @ y) - 1) ** 2,
        lambda y: (
            2
            * (second @ np.tanh(first @ y) - 1)
            * (first.T @ (second * (1 - np.tanh(first @ y) ** 2)))
        ),
    )


def _relu_network(rng: np.random.Generator, size: int, cast: Cast) -> Any:
    first, second = rng.normal(size=(60, size)) / np.sqrt(size), rng.normal(size=60)
    bias = cast(0.1 * rng.normal(size=60))
    first, second = cast(first), cast(second)
    return (
        lambda y: (second @ np.maximum(first @ y + bias, 0) - 1) ** 2,
        lambda y: (
            2
            * (second @ np.maximum(first @ y + bias, 0) - 1)
            * (first.T @ (second * (first @ y + bias > 0)))
        ),
    )
