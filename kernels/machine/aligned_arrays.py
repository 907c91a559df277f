"""Arrays that begin at a line of the cache, so that no vector of a panel lies across two.

NumPy begins large arrays 16 bytes beyond such a line, numba 32.
"""

from __future__ import annotations

import numpy as np

from .cache_sizes import LINE_BYTES
from .compile import kernel


@kernel(allocates=True)
def aligned_empty(size):
    """Return an array of float64 that begins at a line of the cache; its numbers are arbitrary."""
    whole = np.empty(size + LINE_BYTES // 8)
    start = -whole.ctypes.data % LINE_BYTES // 8
    return whole[start : start + size]
