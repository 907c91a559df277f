"""Random directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["random_components"]


def random_components(rng: np.random.Generator, size: int) -> Vector:
    """Return random numbers between a half and one in size, of either sign."""
    signs = rng.integers(0, 1, size, endpoint=True) * 2 - 1
    components: Vector = signs * rng.integers(128, 256, size, endpoint=True) / 256
    return components


# Components are between a half and one: two equal errors would cancel along every other
# direction of +1 and -1.
COMPONENT_BITS = 256


def _random_direction(rng: np.random.Generator, base: NDArray[np.floating]) -> NDArray[np.floating]:
    sizes = rng.integers(COMPONENT_BITS // 2, COMPONENT_BITS, base.size, endpoint=True)
    signs = rng.integers(0, 1, base.size, endpoint=True) * 2 - 1
    return (signs * sizes / COMPONENT_BITS).astype(base.dtype)


def _signs(given: Vector, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    return np.where(given < 0, -1, 1).astype(dtype)
