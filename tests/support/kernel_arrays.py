"""Arrays for tests of single kernels, and the ways to run a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastbp.kernels.simd.vectors import VECTOR_BYTES
from hypothesis import strategies as st

DTYPES = (np.float64, np.float32)
GUARD = 7.25  # in every place that a kernel must not touch
SEEDS = st.integers(0, 2**32 - 1)


def whole_numbers(rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> np.ndarray:
    """Small integers: their products and sums are exact in any order."""
    return rng.integers(-9, 10, shape).astype(dtype)


def ways(plain: Any, compiled: Any) -> Any:
    """Both ways to run what has a twin in plain Python."""
    return pytest.mark.parametrize("run", [plain, compiled], ids=["plain", "compiled"])


def aligned(size: int, dtype: Any) -> np.ndarray:
    """Memory full of guards that begins where a vector may be written past the caches."""
    itemsize = np.dtype(dtype).itemsize
    roomy = np.full(size + VECTOR_BYTES // itemsize, GUARD, dtype)
    ahead = -roomy.ctypes.data % VECTOR_BYTES // itemsize
    return roomy[ahead : ahead + size]
