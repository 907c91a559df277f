"""The points at which mistakes are planted, and correct gradients there."""

from __future__ import annotations

from typing import Any

import numpy as np
import reference
from support.strategies import (
    Problem,
    make_problem,
)

Lists = tuple[list[np.ndarray], list[np.ndarray]]

# A point that lets no mistake of shape hide, a square one for transposes, batches of 1 and 4.
POINTS = {
    "distinct sizes": make_problem([3, 7, 6, 2], 4, seed=11),
    "one sample": make_problem([3, 7, 6, 2], 1, seed=17),
    "square": make_problem([5, 5, 5, 5], 4, seed=12),
    "softmax": make_problem(
        [4, 8, 7, 3], 4, seed=13, loss="softmax_cross_entropy", reduction="mean", weight_decay=0.3
    ),
    "mean of entries": make_problem(
        [4, 8, 7, 3], 5, seed=14, reduction="mean_entries", scale=0.5, weight_decay=0.1
    ),
    "float32": make_problem([4, 8, 7, 3], 5, seed=15, dtype=np.float32, loss="custom", scale=0.25),
}


def interleaved(weights: list[Any], biases: list[Any]) -> list[Any]:
    """In flat order: W0, b0, W1, b1, ..."""
    return [array for pair in zip(weights, biases, strict=True) for array in pair]


def correct_lists(problem: Problem) -> Lists:
    _, truth = reference.loss_and_gradients(problem.reference(), problem.x, problem.y)
    return list(truth.weights), list(truth.biases)
