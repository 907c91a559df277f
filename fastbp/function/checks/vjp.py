"""Checking the vector-Jacobian product of a function with array results.

It is the gradient of a scalar function, <cotangent, f>: with a random cotangent it is checked like
any gradient. Where it is wrong, bisection over the cotangent tells by which outputs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import EvaluationError
from fastbp.function.array_function import output_name, real_given
from fastbp.function.backends.choose import make_function
from fastbp.function.checks.matrices.measured_entries import measure_inward, tangent_sizes
from fastbp.function.checks.scalar_check import check_scalar
from fastbp.function.containers.calls import Watched
from fastbp.function.containers.given_gradient import given_leaves
from fastbp.function.derivatives.output_slopes import measure_outputs
from fastbp.function.domain import domain_of
from fastbp.function.methods.directions import random_components
from fastbp.function.methods.search.bisection import bisect, halved
from fastbp.function.methods.unjudged import first_named, is_zero_within_rounding
from fastbp.report.wording.digits import told_apart
from fastbp.typing import Mask, Vector
from fastbp.verdict.rows import bare_row, worst_first
from fastbp.verdict.tolerance import Tolerance, agreement_of_sums, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.checks.report_assembly import FunctionCheck
    from fastbp.function.containers.given_gradient import GivenLeaves
    from fastbp.function.methods.options import Options
    from fastbp.report import ArrayReport


__all__ = ["check_cotangent", "of_finite_outputs"]

OUTPUTS_NAMED, OUTPUTS_ALONE = 3, 20
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
        account=function.account,
    )
    scalar.domain = domain_of(function.point, options.bounds, options.scale)
    scalar.allow_noise(options.noise * float(np.sum(np.abs(cotangent))))
    with scalar:
        watched = Watched(vjp, "cotangent")
        given = given_leaves(
            watched, function.point, "vjp", function.nested_output(cotangent), noise=options.noise
        )
        if watched.changed:
            given.findings.append(f"vjp changed its cotangent: {', '.join(watched.changed)}")
        given = real_given(given, function)
        unknown = _given_by_outputs_not_finite(function, given)
        check = check_scalar(scalar, given, options, unknown)
        check = _noting_outputs_not_finite(check, function, unknown)
    function.evaluations += scalar.evaluations
    function.errors = scalar.raised.errors
    if function.account.stopped is not None or function.errors:
        return check
    with function.account.until_stopped():
        if not any(row.verdict == "failed" for row in (*check.rows, *check.others)):
            alone = _each_output_alone(function, vjp, cotangent, given, options)
            check = replace(check, others=(*check.others, *alone))
        return _named_outputs(check, function, vjp, cotangent)
    note = f"outputs not looked at alone: {function.why_stopped}"
    return replace(check, notes=(*check.notes, note))


def of_finite_outputs(cotangent: Vector, function: VectorFunction) -> Vector:
    """Return a cotangent that leaves out the outputs that are not finite, if any of them is."""
    finite = function.finite_outputs()
    return np.where(finite, cotangent, 0.0) if finite.any() else cotangent


def _given_by_outputs_not_finite(function: VectorFunction, given: GivenLeaves) -> list[Mask] | None:
    """Return which given entries are not finite, where that may come from such outputs alone.

    0 times an infinite derivative is NaN. None where all outputs are finite, or none is.
    """
    finite = function.finite_outputs()
    if finite.all() or not finite.any():
        return None
    masks = []
    for base, array in zip(function.point.base, given.arrays, strict=True):
        mask = np.zeros(base.size, dtype=bool)
        if array is not None and array.size == base.size and array.dtype.kind == "f":
            mask = ~np.isfinite(array.reshape(-1))
        masks.append(mask)
    return masks


def _noting_outputs_not_finite(
    check: FunctionCheck, function: VectorFunction, unknown: list[Mask] | None
) -> FunctionCheck:
    """Add a row for outputs that are not judged, and say which entries are not for them."""
    if unknown is None:
        return check
    names = first_named(~function.finite_outputs(), lambda place: output_name(function, place))
    why = f"what is given is not finite, as {names}"
    rows, notes = list(check.rows), list(check.notes)
    for leaf, mask in enumerate(unknown):
        if mask.size and mask.all():
            rows[leaf] = replace(rows[leaf], verdict="inconclusive", reason=why)
        elif mask.any():
            named = first_named(mask, partial(function.point.entry_name, leaf))
            notes.append(f"{named} not judged: {why}")
    row = bare_row(names, (), 0, "inconclusive", "not finite at the point: not judged")
    return replace(check, rows=tuple(rows), others=(*check.others, row), notes=tuple(notes))


def _each_output_alone(
    function: VectorFunction,
    vjp: Callable[..., Any],
    cotangent: Vector,
    together: GivenLeaves,
    options: Options,
) -> list[ArrayReport]:
    """Ask for each output alone, others with a cotangent of 0: the sum must be that for all."""
    groups = _groups_of_outputs(function.output_parts(), options.seed)
    if len(groups) < 2 or any(array is None for array in together.arrays):
        return []
    products = []
    for parts in groups:
        weights = np.zeros_like(cotangent)
        for part in parts:
            weights[part] = cotangent[part]
        try:
            arrays = function.given_vjp(vjp, weights)
        except EvaluationError as error:
            reason = f"{_asked_for(function, parts)}, {error}"
            return [bare_row("vjp", (), 0, "failed", reason)]
        products.append((parts, weights, arrays))
    names = function.point.container.names
    for leaf, whole in enumerate(together.arrays):
        alone = [arrays[leaf] for _, _, arrays in products]
        given = [array for array in (whole, *alone) if array is not None]
        if all(is_zero_within_rounding(array, together.largest) for array in given):
            continue  # what rounding leaves of 0 adds up to anything
        if whole is None or _adds_up(
            whole, alone, function.single_products, options.noise * (len(alone) + 1)
        ):
            continue
        wrong = ""
        with function.account.until_stopped():
            wrong = _wrong_alone(function, leaf, products)
        reason = wrong or "asked for each output alone, its products do not add up to that for all"
        return [bare_row("vjp", (), 0, "failed", f"{reason}: {names[leaf]}")]
    return []


def _groups_of_outputs(parts: list[slice], seed: int) -> list[list[slice]]:
    """Return outputs, each alone; beyond `OUTPUTS_ALONE`, random ones, and the others together."""
    parts = [part for part in parts if part.stop > part.start]
    if len(parts) <= OUTPUTS_ALONE:
        return [[part] for part in parts]
    order = np.random.default_rng((seed, 2)).permutation(len(parts)).tolist()
    alone, others = order[:OUTPUTS_ALONE], order[OUTPUTS_ALONE:]
    return [*([parts[place]] for place in alone), [parts[place] for place in others]]


def _adds_up(
    whole: NDArray[Any], alone: list[NDArray[Any] | None], single: bool, noise: float
) -> bool:
    """Tell whether products of single outputs add up to that of all, where that is finite."""
    total, size = np.zeros(whole.shape), 0.0
    for array in alone:
        if array is None or array.shape != whole.shape:
            return False
        total = total + array
        size += float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))
    single = single or any(array is not None and array.dtype == np.float32 for array in alone)
    finite = np.isfinite(whole)
    apart = np.abs(total[finite] - whole[finite])
    return bool(np.all(apart <= agreement_of_sums(single) * size + noise))


def _asked_for(function: VectorFunction, parts: list[slice]) -> str:
    place = [part.start for part in function.output_parts()].index(parts[0].start)
    others = " and some others" if len(parts) > 1 else ""
    return f"asked for {function.output.names[place]}{others} alone"


def _wrong_alone(
    function: VectorFunction,
    leaf: int,
    products: list[tuple[list[slice], Vector, list[NDArray[Any] | None]]],
) -> str:
    """Say which output has a wrong product, along one tangent; empty if none is seen to."""
    tangent = random_components(np.random.default_rng(0), function.point.base[leaf].size)
    tangent *= tangent_sizes(function, leaf)
    tangent, lines = measure_inward(function, leaf, tangent)
    each = allowed_difference(lines.slope, lines.error_bar, Tolerance(ROUNDING, 0.0), lines.hull)
    for parts, weights, arrays in products:
        array = arrays[leaf]
        used = weights != 0
        numerical = float(np.sum(weights[used] * lines.slope[used]))
        allowed = float(np.sum(np.abs(weights[used]) * each[used]))
        given = float("nan") if array is None else float(np.sum(array.reshape(-1) * tangent))
        if not abs(given - numerical) <= allowed + ROUNDING * abs(given):
            one, other = told_apart(given, numerical)
            found = f"along a random tangent it gives {one}, numerical {other}"
            return f"{_asked_for(function, parts)}, it is wrong ({found})"
    return ""


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
        used = weights != 0
        allowed = float(np.sum(np.abs(weights[used]) * each[used]))
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
