"""Functions that are sent to other processes: these import them, and must find their module."""

from __future__ import annotations

import time

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
