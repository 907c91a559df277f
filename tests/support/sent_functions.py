"""Functions that are sent to other processes: these import them, and must find their module."""

from __future__ import annotations

import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np


def plain(x: np.ndarray) -> float:
    return float(np.sum(np.sin(x)) * x[0])


def gradient(x: np.ndarray) -> np.ndarray:
    result = np.cos(x) * x[0]
    result[0] += np.sum(np.sin(x))
    return result


def slowly(x: np.ndarray) -> float:
    time.sleep(0.01)
    return float(np.sum(np.sin(x)))


def divided(p: Any) -> float:
    return float(np.sum(p["a"][0] ** 2) / p["a"][1] * p["b"][0])


class Counted:
    """A linear function with a large table, which notes in a file who has unpacked it."""

    def __init__(self, table: np.ndarray, notes: Path) -> None:
        self.table, self.notes = table, notes

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()}-{threading.get_ident()}\n")

    def __call__(self, x: np.ndarray) -> float:
        time.sleep(0.001)
        return float(self.table[: x.size] @ x)


class Program:
    """As one finds it: arrays in attributes, changed in place, and functions without arguments."""

    def __init__(self) -> None:
        self.weights = [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0.5, -0.5])]
        self.x = np.array([0.3, -0.7])

    def loss(self) -> float:
        return float(np.sum(np.tanh(self.weights[0] @ self.x + self.weights[1])))

    def gradient(self) -> list[np.ndarray]:
        slope = 1 - np.tanh(self.weights[0] @ self.x + self.weights[1]) ** 2
        return [np.outer(slope, self.x), slope]


MATRIX = np.random.default_rng(0).normal(size=(6, 4))


def f(x: np.ndarray) -> Any:
    """Return arrays and a number."""
    return {"wave": np.sin(MATRIX @ x), "pair": (x[0] * x, float(np.sum(x**2)))}


def mixed(z: np.ndarray) -> Any:
    """Neither holomorphic nor real, with a real and a complex result."""
    return z * np.conj(z[0]) + z**2, np.sum(np.abs(z) ** 2)


def raises_above_one(x: np.ndarray) -> np.ndarray:
    if x[1] > 1.0:
        raise ValueError("too large")
    return np.sin(x)


def careful(x: np.ndarray) -> float:
    if x[0] > 0.3:
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
    return float(np.sum(np.sin(x)))


def divides_by_zero(x: np.ndarray) -> float:
    return float(np.array(0.0) / np.array(0.0 if x[0] > 1.0 else 1.0))
