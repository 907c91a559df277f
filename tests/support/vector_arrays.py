"""Arrays for tests of vector code."""

from __future__ import annotations

import numpy as np


def whole_numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Small integers: their products and sums are exact in any order."""
    return rng.integers(-9, 10, shape).astype(np.float64)
