"""The jac that one hands to scipy.optimize, checked before the optimiser gets lost with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

import fastbp

TIMES = np.linspace(0.0, 4.0, 30)
MEASURED = 2.5 * np.exp(-1.3 * TIMES) + 0.4


def misfit(parameters: np.ndarray) -> float:
    """Sum of squares between a decay and what was measured."""
    amplitude, rate, offset = parameters
    return float(np.sum((amplitude * np.exp(-rate * TIMES) + offset - MEASURED) ** 2))


def gradient(parameters: np.ndarray, *, forgotten: bool = False) -> np.ndarray:
    """Its gradient; with the mistake, the rate misses the inner derivative by the time."""
    amplitude, rate, offset = parameters
    decay = np.exp(-rate * TIMES)
    residual = 2 * (amplitude * decay + offset - MEASURED)
    inner = 1.0 if forgotten else TIMES
    return np.array([residual @ decay, -amplitude * (residual @ (inner * decay)), residual.sum()])


def main() -> None:
    """Check at the starting point, then fit."""
    start: Any = np.array([1.0, 1.0, 0.0])
    report = fastbp.check_gradient(misfit, lambda p: gradient(p, forgotten=True), start)
    print(report.verdict, report.failures[0].where)
    print(fastbp.check_gradient(misfit, gradient, start).verdict)
    print(minimize(misfit, start, jac=gradient).x.round(4))


if __name__ == "__main__":
    main()
