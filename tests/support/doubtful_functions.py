"""Random functions as people write them: in few digits, noisy, beside edges, of many scales.

The gradient is that of the function without its noise, in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from support.random_functions import Case, rounded, single, smooth_case


def doubtful_case(seed: int) -> Case:
    """One of all kinds, by the seed."""
    kinds = list(KINDS)
    kind = kinds[seed % len(kinds)]
    case = KINDS[kind](seed // len(kinds), np.random.default_rng([seed, 5]))
    return Case(f"{kind}: {case.name} (doubtful seed {seed})", case.f, case.gradient, case.at)


def _in_float32(seed: int, rng: np.random.Generator) -> Case:
    """All in float32, a Python float outside: what `.item()` and ctypes give."""
    case, exact = smooth_case(seed, single), smooth_case(seed, rounded)
    at = exact.at * (1 + 1e-9 * rng.normal(size=exact.at.size))
    return Case(case.name, lambda x: float(case.f(x.astype(np.float32))), exact.gradient, at)


def _affine_of_float32(seed: int, rng: np.random.Generator) -> Case:
    case = _in_float32(seed, rng)
    factor = 10 ** rng.uniform(-3, 3)
    return Case(
        case.name,
        lambda x: factor * case.f(x) + np.pi,
        lambda x: factor * case.gradient(x),
        case.at,
    )


def _float32_and_decay(seed: int, rng: np.random.Generator) -> Case:
    """A part in float32 and a part in float64: no two values are the same."""
    case = _in_float32(seed, rng)
    decay = 10 ** rng.uniform(-4, -1)
    return Case(
        case.name,
        lambda x: case.f(x) + decay * float(x @ x),
        lambda x: case.gradient(x) + 2 * decay * x,
        case.at,
    )


def _argument_in_float32(seed: int, rng: np.random.Generator) -> Case:
    case = smooth_case(seed)
    at = case.at * (1 + 1e-9 * rng.normal(size=case.at.size))
    return Case(case.name, lambda x: case.f(x.astype(np.float32).astype(float)), case.gradient, at)


def _half_result(seed: int, rng: np.random.Generator) -> Case:  # noqa: ARG001
    case = smooth_case(seed)
    size = max(1.0, abs(float(case.f(case.at))) / 1e3)  # within the range of float16

    def f(x: np.ndarray) -> np.float16:
        return np.float16(case.f(x) / size)

    return Case(case.name, f, lambda x: case.gradient(x) / size, case.at)


def _rounded_result(seed: int, rng: np.random.Generator) -> Case:
    case = smooth_case(seed)
    digits = int(rng.integers(4, 11))
    return Case(
        f"{case.name}, {digits} digits",
        lambda x: float(f"{case.f(x):.{digits}g}"),
        case.gradient,
        case.at,
    )


def _noisy(seed: int, rng: np.random.Generator) -> Case:
    case = smooth_case(seed)
    weights = rng.normal(size=case.at.size)
    noise = 10 ** rng.uniform(-13, -4)
    size = noise * max(abs(float(case.f(case.at))), 1e-3)

    def f(x: np.ndarray) -> float:
        return float(case.f(x)) + size * float(np.sin(1e15 * (weights @ x) / np.linalg.norm(x)))

    return Case(f"{case.name}, noise {noise:.0e}", f, case.gradient, case.at)


def _inner_offset(seed: int, rng: np.random.Generator) -> Case:
    case = smooth_case(seed)
    offset = 10 ** rng.uniform(4, 8)
    return Case(
        f"{case.name}, offset {offset:.0e}",
        lambda x: case.f((x + offset) - offset),
        case.gradient,
        case.at,
    )


def _edges(seed: int, rng: np.random.Generator) -> Case:
    size = int(rng.integers(2, 12))
    near = 10 ** rng.uniform(-13, -1, size=size)
    families: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], np.ndarray]] = {
        "log(1 - p)": (
            lambda p: -np.sum(np.log(1 - p)),
            lambda p: 1 / (1 - p),
            1 - near,
        ),
        "acos": (
            lambda p: np.sum(np.arccos(p)),
            lambda p: -1 / np.sqrt((1 - p) * (1 + p)),
            1 - near,
        ),
        "log": (lambda p: np.sum(np.log(p)), lambda p: 1 / p, near**10),
        "sqrt": (lambda p: np.sum(np.sqrt(p - 2)), lambda p: 0.5 / np.sqrt(p - 2), 2 + near),
        "at the edge": (
            lambda p: np.sum(np.where((p < 0) | (p > 1), np.nan, np.exp(p))),
            np.exp,
            np.where(rng.random(size) < 0.5, 1.0, 0.0),
        ),
    }
    name = list(families)[seed % len(families)]
    f, gradient, at = families[name]
    return Case(name, f, gradient, at)


def _raising(seed: int, rng: np.random.Generator) -> Case:
    case = _edges(seed, rng)

    def f(x: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            value = case.f(x)
        if not np.isfinite(value):
            raise ValueError("math domain error")
        return float(value)

    return Case(case.name, f, case.gradient, case.at)


def _scales(seed: int, rng: np.random.Generator) -> Case:
    """Entries up to 1e15 apart, and all of them from 1e-30 to 1e30."""
    case = smooth_case(seed)
    sizes = 10 ** (rng.uniform(-22, 22) + rng.uniform(-7.5, 7.5, size=case.at.size))
    height = 10 ** rng.uniform(-30, 30)
    return Case(
        case.name,
        lambda x: height * case.f(x / sizes),
        lambda x: height * case.gradient(x / sizes) / sizes,
        case.at * sizes,
    )


def _oscillating(seed: int, rng: np.random.Generator) -> Case:  # noqa: ARG001
    size = int(rng.integers(1, 12))
    x, weights = rng.normal(size=size), rng.normal(size=size)
    frequency = 10 ** rng.uniform(1, 7, size=size)
    return Case(
        "oscillating",
        lambda x: weights @ np.sin(frequency * x),
        lambda x: weights * frequency * np.cos(frequency * x),
        x,
    )


KINDS = {
    "float32": _in_float32,
    "affine of float32": _affine_of_float32,
    "float32 and decay": _float32_and_decay,
    "argument in float32": _argument_in_float32,
    "half": _half_result,
    "rounded": _rounded_result,
    "noisy": _noisy,
    "offset": _inner_offset,
    "edges": _edges,
    "raising": _raising,
    "scales": _scales,
    "oscillating": _oscillating,
}
