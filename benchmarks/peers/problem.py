"""What is computed: a network, a batch, and how much work one step on it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .. import common
from ..common import Array

NETWORKS = (
    ("1-6^5-1", 1),
    ("10-32-32-10", 16),
    ("64-128-128-10", 64),
    ("784-512-512-10", 1),
    ("784-512-512-10", 64),
    ("784-512^5-10", 64),
    ("2048^4-10", 16),
)
BEYOND_CACHES = ("4096^5", 1)  # half a gigabyte of weights, and as much of gradients
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Problem:
    """A network of a common name such as ``"784-512^5-10"`` and a batch for it."""

    name: str
    batch: int
    dtype: str = "float64"

    @property
    def label(self) -> str:
        """How the tables name it."""
        return f"{self.name}, batch {self.batch}, {self.dtype}"

    @property
    def weights(self) -> list[Array]:
        """Read-only weights (n_out, n_in)."""
        return common.parameters(self.name, self.dtype)[0]

    @property
    def biases(self) -> list[Array]:
        """Read-only biases (n_out, 1)."""
        return common.parameters(self.name, self.dtype)[1]

    @property
    def x(self) -> Array:
        """Inputs (n_in, batch)."""
        return common.examples(self.name, self.batch, self.dtype)[0]

    @property
    def y(self) -> Array:
        """Targets (n_out, batch)."""
        return common.examples(self.name, self.batch, self.dtype)[1]

    @property
    def entries(self) -> int:
        """Number of parameters."""
        return common.count_parameters(self.name)

    @property
    def flops(self) -> int:
        """Multiplications and additions of one step: three products per layer, two in the first."""
        first, *others = self._weight_counts()
        return 2 * self.batch * (2 * first + 3 * sum(others))

    @property
    def weight_bytes_moved(self) -> int:
        """Each weight read on the way forward and back (the first layer's only forward: nobody
        asks for the gradient of the inputs), each gradient written once.
        """
        first, *others = self._weight_counts()
        return np.dtype(self.dtype).itemsize * (2 * first + 3 * sum(others))

    @property
    def resident_bytes(self) -> int:
        """Size of parameters and gradients together."""
        return 2 * self.entries * np.dtype(self.dtype).itemsize

    def _weight_counts(self) -> list[int]:
        sizes = common.layer_sizes(self.name)
        return [n_in * n_out for n_in, n_out in pairwise(sizes)]


def flatten(weights: Sequence[Array], biases: Sequence[Array]) -> Array:
    """Return W0, b0, W1, b1, ... in one vector."""
    pairs = zip(weights, biases, strict=True)
    return np.concatenate([np.ravel(array) for pair in pairs for array in pair])


def relative_distance(given: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Return |given - expected| / |expected|."""
    difference = given.astype(np.float64) - expected.astype(np.float64)
    return float(np.linalg.norm(difference) / np.linalg.norm(expected.astype(np.float64)))
