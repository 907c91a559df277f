"""Random functions whose gradient is known in closed form: smooth ones, and ones with corners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    name: str
    f: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    at: np.ndarray


def smooth_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    x, matrix, weights = _ingredients(rng)
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
        "tanh network": _tanh_network(rng, x.size),
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


def cornered_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    x, matrix, weights = _ingredients(rng)
    order = np.arange(x.size) / x.size

    def sorted_gradient(y: np.ndarray) -> np.ndarray:
        gradient = np.empty(y.size)
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
        "relu network": _relu_network(rng, x.size),
        "clip": (
            lambda y: np.sum(np.clip(matrix @ y, -0.5, 0.5) ** 2),
            lambda y: matrix.T @ (2 * np.clip(matrix @ y, -0.5, 0.5) * (np.abs(matrix @ y) < 0.5)),
        ),
    }
    return _chosen(families, seed, x)


def _chosen(families: dict[str, Any], seed: int, x: np.ndarray) -> Case:
    name = list(families)[seed % len(families)]
    return Case(f"{name}, seed {seed}", *families[name], x)


def _ingredients(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = int(rng.integers(1, 40))
    x = rng.normal(size=size) * 10 ** rng.uniform(-1, 1)
    matrix = rng.normal(size=(7, size)) / np.sqrt(size)
    return x, matrix, rng.normal(size=7) * 10.0 ** rng.integers(-3, 4)


def _tanh_network(rng: np.random.Generator, size: int) -> Any:
    first, second = rng.normal(size=(9, size)) / np.sqrt(size), rng.normal(size=9)
    return (
        lambda y: (second @ np.tanh(first @ y) - 1) ** 2,
        lambda y: (
            2
            * (second @ np.tanh(first @ y) - 1)
            * (first.T @ (second * (1 - np.tanh(first @ y) ** 2)))
        ),
    )


def _relu_network(rng: np.random.Generator, size: int) -> Any:
    first, second = rng.normal(size=(60, size)) / np.sqrt(size), rng.normal(size=60)
    bias = 0.1 * rng.normal(size=60)
    return (
        lambda y: (second @ np.maximum(first @ y + bias, 0) - 1) ** 2,
        lambda y: (
            2
            * (second @ np.maximum(first @ y + bias, 0) - 1)
            * (first.T @ (second * (first @ y + bias > 0)))
        ),
    )
