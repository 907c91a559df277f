"""How many evaluations a check will take: what it takes for smooth functions of that size.

Nothing is counted by hand here. The methods themselves are run on two functions that cost nothing, on
leaves of the same sizes; of what is large or many, a part tells about the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.containers.given_gradient import GivenLeaves
from fastbp.function.containers.point import DOUBLE_UNIT, Point
from fastbp.function.derivatives.numerical_gradient import measure_everything
from fastbp.function.domain import Domain
from fastbp.function.evaluation import Function, pieces
from fastbp.function.methods.judged import Judged
from fastbp.function.methods.options import checked_options
from fastbp.function.methods.probe import probe_arrays
from fastbp.runtime.account import Account
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["forecast"]

# Of larger arrays, and of more of them, so many are measured: what comes then costs the same each.
ENTRIES, LEAVES = 256, 24


def forecast(method: str, sizes: Sequence[int], unit: float = DOUBLE_UNIT) -> int:
    """Return how many evaluations a method will take, beside those at the point.

    Parameters
    ----------
    method : {"every", "probe"}
    sizes : sequence of int
        How many real numbers each leaf has.
    unit : float
        Half the distance from 1 to the next number, of the precision that f computes in.

    Notes
    -----
    Right within a tenth or so for a smooth function and a right gradient. Where entries are in
    doubt (kinks, noise of another size, wrong entries), some 24 more are spent on each.

    Examples
    --------
    >>> forecast("every", [100_000]) // 100_000, forecast("probe", [100_000]) < 100
    (2, True)
    """
    sizes = [size for size in sizes if size]
    if not sizes:
        return 0
    some = sizes[:LEAVES]
    if method == "probe":
        return round(_evaluations(method, tuple(min(size, ENTRIES) for size in some), unit))
    spent = _every(some, unit)
    if len(sizes) > LEAVES:
        each = (spent - _every(some[: LEAVES // 2], unit)) / sum(some[LEAVES // 2 :])
        spent += each * sum(sizes[LEAVES:])
    return round(spent)


def _every(sizes: Sequence[int], unit: float) -> float:
    small = tuple(min(size, ENTRIES) for size in sizes)
    spent = _evaluations("every", small, unit)
    more = sum(sizes) - sum(small)
    if more:
        smaller = tuple(min(size, 3 * ENTRIES // 4) for size in small)
        spent += more * (spent - _evaluations("every", smaller, unit)) / (sum(small) - sum(smaller))
    return spent


@lru_cache(maxsize=256)
def _evaluations(method: str, sizes: tuple[int, ...], unit: float) -> float:
    """Count the evaluations of a method: the mean of those for sines and for exponentials."""
    spent = 0
    for term, slope in ((np.sin, np.cos), (np.exp, np.exp)):
        model = _Sum(term, [np.linspace(0.5, 1.5, size) for size in sizes], unit)
        if method == "every":
            for _ in measure_everything(model, False):
                pass
        else:
            gradient = GivenLeaves([slope(base) for base in model.point.base])
            probe_arrays(Judged(), model, gradient, checked_options({"seed": 0}))
        spent += model.evaluations
    return spent / 2


class _Sum(Function):
    """The sum of a function of each entry, by what changes in it."""

    def __init__(self, term: np.ufunc, at: list[Vector], unit: float) -> None:
        self.term = term
        self.point, self.name, self.unit = Point(at, "at"), "f", unit
        self.account, self.domain = Account(), Domain()
        self.value = float(sum(np.sum(term(base)) for base in at))
        self.chosen = None
        self.evaluations, self.quantum, self.seconds, self.concurrency = 0, 0.0, 1e-6, 1

    def with_entries(self, leaf: int, indices: NDArray[np.int64], entries: NDArray[Any]) -> Vector:
        """Evaluate with single entries replaced."""
        self.evaluations += len(indices)
        changes = self.term(entries) - self.term(self.point.base[leaf][indices])
        return self._rounded(self.value + changes)

    def along(
        self, leaf: Any, direction: NDArray[Any], steps: Sequence[float], part: slice
    ) -> Vector:
        """Evaluate with a slice moved."""
        self.evaluations += len(steps)
        changes = np.zeros(len(steps))
        for one, own, place in pieces(self.point, leaf, part):
            base = self.point.base[one][own]
            moved = np.multiply.outer(np.array(steps), direction[part][place])
            changes += np.sum(self.term(base + moved) - self.term(base), axis=1)
        return self._rounded(self.value + changes)

    def _rounded(self, values: Vector) -> Vector:
        return values if self.unit == DOUBLE_UNIT else values.astype(np.float32).astype(np.float64)
