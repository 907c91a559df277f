"""Products of a Jacobian."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.sent_functions import MATRIX


def vjp(x: np.ndarray, w: Any) -> np.ndarray:
    gradient = MATRIX.T @ (w["wave"] * np.cos(MATRIX @ x)) + w["pair"][0] * x[0]
    gradient[0] += w["pair"][0] @ x
    return gradient + 2 * x * w["pair"][1]


def jvp(x: np.ndarray, v: np.ndarray) -> Any:
    wave = np.cos(MATRIX @ x) * (MATRIX @ v)
    return {"wave": wave, "pair": (v[0] * x + x[0] * v, float(2 * x @ v))}


COMPLEX_AT = np.array([1 + 2j, 0.5 - 1j, -0.3 + 0.1j])


def mixed_jvp(z: np.ndarray, v: np.ndarray) -> Any:
    first = v * np.conj(z[0]) + z * np.conj(v[0]) + 2 * z * v
    return first, np.sum(2 * np.real(np.conj(z) * v))


def mixed_vjp_jax(z: np.ndarray, w: Any) -> np.ndarray:
    gradient = w[0] * (np.conj(z[0]) + 2 * z) + 2 * np.conj(z) * w[1]
    gradient[0] += np.conj(np.sum(w[0] * z))
    return gradient


def vjp_of_sine(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.cos(x) * w
