"""Large arrays, block by block, and norms that neither overflow nor underflow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import AnyFloats, Floats

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BLOCK", "blocks", "largest_finite", "norm", "power_below", "powers_below"]

# 2**15 entries of float64 are a quarter of a megabyte: a dozen temporaries stay in the cache.
BLOCK = 1 << 15


def blocks(entries: int) -> Iterator[slice]:
    """Cut so many entries into blocks."""
    for start in range(0, entries, BLOCK):
        yield slice(start, min(start + BLOCK, entries))


def largest_finite(values: AnyFloats) -> float:
    """Return the largest magnitude of the entries that are finite; 0 where none is."""
    largest = 0.0
    for part in blocks(values.size):
        size = np.abs(values[part])
        largest = max(largest, float(size.max(initial=0.0, where=np.isfinite(size))))
    return largest


def norm(values: AnyFloats) -> float:
    """Return the Euclidean norm, divided by the largest entry before anything is squared."""
    size = np.abs(values, dtype=np.float64)
    largest = float(size.max(initial=0.0))
    if not 0.0 < largest < math.inf:
        return largest
    size /= largest
    return largest * math.sqrt(float(np.square(size).sum()))


def power_below(value: float) -> float:
    """Return a power of two that brings a number near 1 when it is multiplied by it.

    Examples
    --------
    >>> power_below(1000.0)
    0.0009765625
    """
    if not 0.0 < value < math.inf:
        return 1.0
    return 2.0 ** -min(1000, max(-1000, math.frexp(value)[1]))


def powers_below(values: Floats) -> Floats:
    """Return `power_below` of each of some numbers.

    Examples
    --------
    >>> powers_below(np.array([1000.0, 0.0])).tolist()
    [0.0009765625, 1.0]
    """
    usable = (values > 0.0) & (values < np.inf)
    exponents = np.clip(np.frexp(np.where(usable, values, 0.5))[1], -1000, 1000)
    powers: Floats = np.ldexp(1.0, -exponents)
    return powers
