"""All arrays of an argument, or some of them, as one: what moves along a direction across them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.containers.chosen_entries import Chosen
from fastbp.function.containers.point import consecutive
from fastbp.function.derivatives.entry_slopes import entry_sizes, is_spread, typical
from fastbp.function.domain import Domain
from fastbp.function.evaluation import Function
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["JoinedArrays"]


class JoinedArrays(Function):
    """A function whose argument is one vector: the real numbers of some arrays, in their order.

    Each array moves by steps of its own size, so that arrays of 1e-6 and of 1e3 are tested alike.

    Parameters
    ----------
    function : Function
        The function itself, which is evaluated and which counts.
    leaves : tuple of int
        Which leaves of its argument.
    """

    def __init__(self, function: Function, leaves: tuple[int, ...]) -> None:
        self.whole, self.leaves = function, leaves
        self.unit, self.value, self.name = function.unit, function.value, function.name
        self.quantum, self.jumps = function.quantum, function.jumps
        base = [function.point.base[leaf] for leaf in leaves]
        self.point: Any = _Vector(np.concatenate([one.astype(np.float64) for one in base]))
        domain = function.domain
        scales = np.concatenate([_lengths(function, leaf) for leaf in leaves])
        bounds = [
            None if of_all is None else [np.concatenate([of_all[leaf] for leaf in leaves])]
            for of_all in (domain.lower, domain.upper)
        ]
        self.domain = Domain(bounds[0], bounds[1], [scales])
        chosen = function.chosen
        self.chosen = None
        if chosen is not None:
            self.chosen = Chosen([np.concatenate([chosen.masks[leaf] for leaf in leaves])])
        self.slices = consecutive(one.size for one in base)

    @property
    def varies(self) -> bool:  # type: ignore[override]
        """Whether any value beside the point was another one than that at the point."""
        return self.whole.varies

    @property
    def first_values(self) -> list[float]:  # type: ignore[override]
        """The first finite values beside the point."""
        return self.whole.first_values

    def along(
        self, _leaf: Any, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        """Evaluate with a slice of the vector moved."""
        return self.whole.along(self.leaves, direction, steps, part)

    def raise_if_it_raised_along(self, _leaf: Any, direction: NDArray[Any], step: float) -> None:
        """Raise what f raises on both sides of the point along a direction, if it does."""
        self.whole.raise_if_it_raised_along(self.leaves, direction, step)

    def learn_steps(self, noise: Vector) -> None:
        """Remember how noisy f is where it takes steps."""
        self.whole.learn_steps(noise)
        self.quantum = self.whole.quantum


class _Vector:
    """A point that is one vector."""

    def __init__(self, numbers: Vector) -> None:
        self.base = [numbers]


def _lengths(function: Function, leaf: int) -> Vector:
    """Return over which length each entry of a leaf moves, as it would on its own."""
    base = function.point.base[leaf]
    size = typical(base)
    if function.domain.scale(leaf) is None and not is_spread(base):
        return np.full(base.size, size)
    return entry_sizes(function, leaf, np.arange(base.size), size, own_sizes=is_spread(base))
