"""Large arrays, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import AnyFloats, Mask, Radius

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


# 2**16 entries of float64 are half a megabyte: a handful of such temporaries stays in the cache.
BLOCK = 1 << 16


def _scaled(values: AnyFloats, used: Mask, scale: float) -> NDArray[np.float64]:
    return values[used].astype(np.float64) / scale


def _errors(given: AnyFloats, numerical: AnyFloats) -> NDArray[np.float64]:
    # Infinity less infinity is a NaN, and the difference of huge numbers overflows: both are
    # errors that count as infinite, not accidents.
    with np.errstate(invalid="ignore", over="ignore"):
        difference: NDArray[np.float64] = np.subtract(given, numerical, dtype=np.float64)
    return np.abs(difference, out=difference)


def _largest_finite(values: AnyFloats) -> float:
    return _largest_among(values, np.isfinite(values))


def _largest_among(values: AnyFloats, used: Mask) -> float:
    largest = 0.0
    for part in _blocks(values.size):
        size = np.abs(values[part])
        largest = max(largest, float(np.max(size, initial=0.0, where=used[part])))
    return largest


def _cut(radius: Radius, part: slice) -> Radius:
    return radius[part] if isinstance(radius, np.ndarray) else radius


def _blocks(entries: int) -> Iterator[slice]:
    for start in range(0, entries, BLOCK):
        yield slice(start, min(start + BLOCK, entries))
