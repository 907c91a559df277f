"""Random directions: components between a half and one in size, of either sign.

Two equal errors would cancel along every other direction of +1 and -1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["random_components", "random_direction", "scalar_cotangent"]

# Powers of two, so that dividing by them is exact. Not 1, which hides a derivative that forgets it,
# and negative: training asks with positive ones, so that nobody sees what clamps them, or |g|.
SCALAR_COTANGENTS = (-2.0, -0.5, -0.25)
PARTS = 256  # sizes are multiples of 1 / PARTS


def random_components(rng: np.random.Generator, size: int) -> Vector:
    """Return the components of a random cotangent or tangent."""
    signs = _signs(rng, size)
    components: Vector = signs * _sizes(rng, size) / PARTS
    return components


def random_direction(rng: np.random.Generator, base: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a random direction of an array, in its precision.

    Sizes are drawn before signs here: a direction that equals the cotangent, from a generator of
    the same seed, would hide every antisymmetric error of a Jacobian.
    """
    sizes = _sizes(rng, base.size)
    return (_signs(rng, base.size) * sizes / PARTS).astype(base.dtype)


@lru_cache(maxsize=256)
def scalar_cotangent(seed: int) -> float:
    """Return the cotangent that the backward pass of a function with one result is asked with.

    What comes back is divided by it. It is drawn with a generator of its own, so that no direction
    depends on it.
    """
    return float(np.random.default_rng((seed, 1)).choice(SCALAR_COTANGENTS))


def _sizes(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    return rng.integers(PARTS // 2, PARTS, size, endpoint=True)


def _signs(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    return rng.integers(0, 1, size, endpoint=True) * 2 - 1
