"""Checking the vector-Jacobian product of a function with array results.

It is the gradient of a scalar function, <cotangent, f>: with a random cotangent it is checked like
any gradient. Where it is wrong, bisection over the cotangent tells by which outputs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.array_function import output_name, real_given
from fastbp.function.backends.choose import make_function
from fastbp.function.checks.scalar_check import check_scalar
from fastbp.function.derivatives.output_slopes import measure_outputs
from fastbp.function.domain import domain_of
from fastbp.function.given_gradient import given_leaves
from fastbp.function.methods.bisection import bisect, halved
from fastbp.runtime.digits import told_apart
from fastbp.typing import Vector
from fastbp.verdict.rows import worst_first
from fastbp.verdict.tolerance import Tolerance, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.checks.report_assembly import FunctionCheck
    from fastbp.function.methods.options import Options


__all__ = ["check_cotangent"]

OUTPUTS_NAMED = 3
ROUNDING = 2.0**-40  # what a correct product may be off by, relative to each of its terms


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
    scalar.domain = domain_of(function.point, options.bounds, options.scale)
    with scalar:
        given = given_leaves(vjp, function.point, "vjp", function.nested_output(cotangent))
        check = check_scalar(scalar, real_given(given, function), options)
    function.evaluations += scalar.evaluations
    return _named_outputs(check, function, vjp, cotangent)


def _named_outputs(
    check: FunctionCheck, function: VectorFunction, vjp: Callable[..., Any], cotangent: Vector
) -> FunctionCheck:
    """Say in which outputs the worst wrong entry is wrong."""
    failures = worst_first(failure for some in check.failures for failure in some)
    if not failures or not np.isfinite(failures[0].given):
        return check
    worst = failures[0]
    leaf = function.point.row_names.index(worst.array)
    entry = int(np.ravel_multi_index(worst.index, function.point.row_shapes[leaf]))
    tangent = np.zeros(function.point.base[leaf].size)
    tangent[entry] = 1.0
    lines = measure_outputs(function, leaf, tangent)
    where = function.point.entry_name(leaf, entry)
    notes: list[str] = []

    @cache
    def measured(outputs: range) -> tuple[float, float, float]:
        """Return the vjp of some outputs, its numerical value, and what they may differ by."""
        part = slice(outputs.start, outputs.stop)
        weights = np.zeros_like(cotangent)
        weights[part] = cotangent[part]
        array = function.given_vjp(vjp, weights)[leaf]
        given = float("nan") if array is None else float(array.reshape(-1)[entry])
        numerical = float(np.nansum(weights * lines.slope))
        each = allowed_difference(
            lines.slope, lines.error_bar, Tolerance(ROUNDING, 0.0), lines.hull
        )
        allowed = float(np.sum(np.abs(weights[part]) * each[part]))
        return given, numerical, allowed + ROUNDING * abs(given)

    def disagrees(outputs: range) -> bool:
        if len(notes) >= OUTPUTS_NAMED:
            return False
        given, numerical, allowed = measured(outputs)
        return not abs(given - numerical) <= allowed

    def examine(output: int) -> None:
        given, numerical, _ = measured(range(output, output + 1))
        weight = float(cotangent[output])
        one, other = told_apart(given / weight, numerical / weight)
        notes.append(
            f"by {where}, {output_name(function, output)} is wrong: given {one}, numerical {other}"
        )

    bisect(range(function.value.size), halved, disagrees, examine)
    return replace(check, notes=(*check.notes, *notes))
