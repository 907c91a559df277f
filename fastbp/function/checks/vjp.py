"""Checking the vector-Jacobian product of a function with array results.

It is the gradient of a scalar function, <cotangent, f>: with a random cotangent it is checked like
any gradient. Where it is wrong, bisection over the cotangent tells by which outputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.array_function import output_name, real_given
from fastbp.function.backends.choose import make_function
from fastbp.function.checks.scalar_check import check_scalar
from fastbp.function.derivatives.output_slopes import measure_outputs
from fastbp.function.given_gradient import given_leaves
from fastbp.typing import Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.checks.check_gradient import FunctionCheck, Options
    from fastbp.function.derivatives.line_slopes import Lines


__all__ = ["check_cotangent"]

OUTPUTS_NAMED = 3


def check_cotangent(
    function: VectorFunction, vjp: Callable[..., Any], cotangent: Vector, options: Options
) -> FunctionCheck:
    """Check a vjp as the gradient of <cotangent, f>, and say in which outputs it is wrong."""
    scalar = make_function(
        function.paired_with(cotangent),
        function.point,
        "f",
        vectorized=options.vectorized,
        workers=options.workers,
    )
    with scalar:
        given = given_leaves(vjp, function.point, "vjp", function.nested_output(cotangent))
        check = check_scalar(scalar, real_given(given, function), options)
    function.evaluations += scalar.evaluations
    return _named_outputs(check, function, vjp, cotangent)


def _named_outputs(
    check: FunctionCheck, function: VectorFunction, vjp: Callable[..., Any], cotangent: Vector
) -> FunctionCheck:
    """Say in which outputs the worst wrong entry is wrong."""
    failures = [failure for some in check.failures for failure in some]
    if not failures or not np.isfinite(failures[0].given):
        return check
    worst = max(failures, key=lambda failure: failure.error)
    leaf = function.point.row_names.index(worst.array)
    entry = int(np.ravel_multi_index(worst.index, function.point.row_shapes[leaf]))
    tangent = np.zeros(function.point.base[leaf].size)
    tangent[entry] = 1.0
    lines = measure_outputs(function, leaf, tangent)
    search = _OutputSearch(function, vjp, leaf, entry, cotangent, lines)
    search.follow(0, function.value.size)
    where = function.point.entry_name(leaf, entry)
    notes = [f"by {where}, {found}" for found in search.found]
    return replace(check, notes=(*check.notes, *notes))


class _OutputSearch:
    """Bisection over the outputs, for one entry of the argument: calls of vjp only."""

    def __init__(
        self,
        function: VectorFunction,
        vjp: Callable[..., Any],
        leaf: int,
        entry: int,
        cotangent: Vector,
        lines: Lines,
    ) -> None:
        self.function, self.vjp, self.leaf, self.entry = function, vjp, leaf, entry
        self.cotangent, self.lines = cotangent, lines
        self.found: list[str] = []

    def follow(self, start: int, stop: int) -> None:
        """Go down to the outputs whose part of the vjp disagrees with the differences."""
        if len(self.found) >= OUTPUTS_NAMED:
            return
        weights = np.zeros_like(self.cotangent)
        weights[start:stop] = self.cotangent[start:stop]
        given = self._given(weights)
        numerical = float(np.nansum(weights * self.lines.slope))
        bars = self.lines.error_bar + self.lines.hull + 2.0**-40 * np.abs(self.lines.slope)
        allowed = float(np.sum(np.abs(weights[start:stop]) * bars[start:stop]))
        if abs(given - numerical) <= allowed + 2.0**-40 * abs(given):
            return
        if stop - start == 1:
            weight = float(weights[start])
            name = output_name(self.function, start)
            self.found.append(
                f"{name} is wrong: given {given / weight:.9g}, numerical {numerical / weight:.9g}"
            )
            return
        middle = (start + stop) // 2
        self.follow(start, middle)
        self.follow(middle, stop)

    def _given(self, weights: Vector) -> float:
        array = self.function.given_vjp(self.vjp, weights)[self.leaf]
        return float("nan") if array is None else float(array.reshape(-1)[self.entry])
