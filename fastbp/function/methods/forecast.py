"""How many evaluations a check will take: what it takes for smooth functions of that size, or more.

Nothing is counted by hand here. The methods themselves are run on two functions that cost nothing,
on leaves of the same sizes; of what is large or many, a part tells about the rest. Where functions
with kinks take twice as much, the forecast is between.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.array_function import VectorFunction
from fastbp.function.containers.given_gradient import GivenLeaves
from fastbp.function.containers.point import DOUBLE_UNIT, Point
from fastbp.function.derivatives.numerical_gradient import measure_everything
from fastbp.function.derivatives.output_slopes import measure_outputs
from fastbp.function.evaluation import Function
from fastbp.function.methods.judged import Judged
from fastbp.function.methods.options import checked_options
from fastbp.function.methods.probe import probe_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastbp.function.methods.options import Options

__all__ = ["chosen_method", "evaluations_per_tangent", "forecast"]

# Of larger arrays, and of more of them, so many are measured: what comes then costs the same each.
ENTRIES, LEAVES = 192, 10
# Where there are few entries, kinks and valleys take up to 1.9 times as many evaluations as smooth
# functions (2 to 16 entries of Rosenbrock's function and of sums of ReLU), and so do directions
# across many. The square root of that is off by no more than itself for either kind.
BETWEEN = 1.35
FEW_ENTRIES, KINKS_ACROSS = (2, 16), 20
AT_THE_POINT = 2


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
    Right within 1.5 times as a rule for a right gradient, and within a tenth or so for a smooth
    function of many entries. Where many entries are in doubt (noise of another size, wrong
    entries), some 24 more are spent on each.

    Examples
    --------
    >>> forecast("every", [100_000]) // 100_000, forecast("probe", [100_000]) < 100
    (2, True)
    """
    sizes = [size for size in sizes if size]
    if not sizes:
        return 0
    some, entries = sizes[:LEAVES], sum(sizes)
    if method == "probe":
        between = BETWEEN if entries >= KINKS_ACROSS else 1.0
        least = _evaluations(method, tuple(min(size, ENTRIES) for size in some), unit)
        return round(between * least)
    spent = _every(some, unit)
    if FEW_ENTRIES[0] <= entries <= FEW_ENTRIES[1]:
        spent *= BETWEEN
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
    rng = np.random.default_rng(0)
    for term, slope in ((np.sin, np.cos), (np.exp, np.exp)):
        at = [rng.normal(size=size) for size in sizes]
        model = Function(_Sum(term), Point(at, "at"), "f")
        model.unit = unit
        if method == "every":
            for _ in measure_everything(model):
                pass
        else:
            gradient = GivenLeaves([slope(base) for base in model.point.base])
            probe_arrays(Judged(), model, gradient, checked_options({"seed": 0}))
        spent += model.evaluations - AT_THE_POINT
    return spent / 2


@lru_cache(maxsize=8)
def evaluations_per_tangent(unit: float) -> float:
    """Return how many evaluations it takes to difference all outputs along a tangent.

    Parameters
    ----------
    unit : float
        As in `forecast`.

    Examples
    --------
    >>> 10 < evaluations_per_tangent(DOUBLE_UNIT) < 40
    True
    """
    spent = []
    dtype = np.float32 if unit > DOUBLE_UNIT else np.float64
    at = np.random.default_rng(0).normal(size=4).astype(dtype)
    for term in (np.sin, np.exp):
        f = _rounded(term, dtype)
        model = VectorFunction(f, at, "jax", vectorized=False, workers=None)
        before = model.evaluations
        measure_outputs(model, 0, np.ones(at.size))
        spent.append(model.evaluations - before)
    return sum(spent) / len(spent)


def chosen_method(
    function: VectorFunction, options: Options, expected: Mapping[str, float]
) -> tuple[str, list[str]]:
    """Choose the method by what each will take, and say that on the account; return its notes."""
    every = expected["every"]
    seconds = every * function.seconds / function.concurrency
    method, notes = options.method_for(seconds, every, expected["probe"] < every)
    function.account.expect(expected[method])
    return method, notes


def _rounded(term: np.ufunc, dtype: type[np.floating[Any]]) -> Callable[[Any], Any]:
    return lambda x: term(x).astype(dtype)


class _Sum:
    """The sum of a function of each entry."""

    def __init__(self, term: np.ufunc) -> None:
        self.term = term

    def __call__(self, at: list[Any]) -> float:
        return float(sum(self.term(array).sum() for array in at))
