"""fastbp: into gradients that exist already, and without those of the inputs."""

from __future__ import annotations

import importlib.metadata

import numpy as np
from numpy.typing import NDArray

import fastbp

from ..common import Array
from .problem import Problem

NAME = "fastbp"


def prepare(threads: int) -> str:
    """Use that many threads; return name and version."""
    fastbp.set_num_threads(threads)
    return f"fastbp {importlib.metadata.version('fastbp')}"


class Step:
    """One forward and backward pass."""

    def __init__(self, problem: Problem) -> None:
        self.network = fastbp.Network(problem.weights, problem.biases)
        self.x, self.y = problem.x, problem.y
        self.loss, self.gradients = self.network.loss_and_gradients(self.x, self.y, inputs=False)

    def __call__(self) -> None:
        self.loss, _ = self.network.loss_and_gradients(
            self.x, self.y, out=self.gradients, inputs=False
        )

    def gradient(self) -> Array:
        """Return the gradient of the last step: W0, b0, W1, b1, ..."""
        return self.gradients.flat


class Replay:
    """Central differences of all entries, from Python."""

    def __init__(self, problem: Problem, delta: float) -> None:
        self.network = fastbp.Network(problem.weights, problem.biases)
        self.x, self.y, self.delta = problem.x, problem.y, delta

    def __call__(self) -> NDArray[np.float64]:
        differences = fastbp.finite_differences(
            self.network, self.x, self.y, method="replay", scheme="central", delta=self.delta,
            progress=False,
        )  # fmt: skip
        return differences.flat
