"""Finite differences of a problem by replay."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.strategies import Problem

import fastbp


def replay(
    network: fastbp.Network, x: np.ndarray, y: np.ndarray, **options: Any
) -> fastbp.Differences:
    return fastbp.finite_differences(network, x, y, **{"method": "replay", **options})


def some_entries(problem: Problem, number: int, seed: int = 0) -> np.ndarray:
    """At most this many of the flat indices, in random order."""
    size = problem.reference().flat.size
    return np.random.default_rng(seed).permutation(size)[:number]
