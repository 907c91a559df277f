"""A vector-Jacobian and a Jacobian-vector product against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.array_function import VectorFunction, output_name
from fastbp.function.checks.report_assembly import FunctionCheck, finished, report_of
from fastbp.function.methods.directions import random_components
from fastbp.function.real_outputs import real_leaf
from fastbp.report.wording.digits import told_apart
from fastbp.typing import Vector
from fastbp.verdict.rows import bare_row
from fastbp.verdict.tolerance import agreement_of_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.methods.options import Options
    from fastbp.report import Report
    from fastbp.runtime.compilation import Stopwatch


__all__ = ["agreement_of_products", "finished_report"]

OUTPUTS_NAMED = 3


def agreement_of_products(
    function: VectorFunction,
    vjp: Callable[..., Any],
    jvp: Callable[..., Any],
    cotangent: Vector,
    rng: np.random.Generator,
) -> FunctionCheck:
    """Compare <cotangent, jvp(tangent)> with <vjp(cotangent), tangent> for each leaf."""
    backward = function.given_vjp(vjp, cotangent)
    rows = []
    for leaf, numbers in enumerate(function.point.base):
        name = f"jvp against vjp, {function.point.container.names[leaf]}"
        array = backward[leaf]
        tangent = random_components(rng, numbers.size)
        if array is not None and array.size == tangent.size and not cotangent.all():
            # 0 times the infinite derivative of an output that is not finite
            tangent[~np.isfinite(array.reshape(-1))] = 0.0
            if not tangent.any():
                rows.append(bare_row(name, (), 0, "untested", ""))
                continue
        forward = function.given_jvp(jvp, leaf, tangent)
        if array is None or array.size != tangent.size or any(part is None for part in forward):
            rows.append(bare_row(name, (), 0, "failed", "the structures do not fit"))
            continue
        outputs = np.concatenate([real_leaf(part) for part in forward])
        if outputs.size != cotangent.size:
            rows.append(bare_row(name, (), 0, "failed", "the shapes do not fit"))
            continue
        left, right = _products(cotangent, outputs), _products(tangent, array.reshape(-1))
        sums = float(np.sum(left)), float(np.sum(right))
        apart = abs(sums[0] - sums[1])
        single = function.single_products or _any_single(array, forward)
        size = float(np.sum(np.abs(left)) + np.sum(np.abs(right)))
        good = apart <= agreement_of_sums(single) * size
        one, other = told_apart(*sums)
        reason = "" if good else f"<cotangent, jvp> is {one}, but <vjp, tangent> is {other}"
        verdict = "failed" if not good else "passed" if size > 0 else "untested"
        rows.append(bare_row(name, (), 0, verdict, reason))
    return FunctionCheck(others=tuple(rows))


def _products(factors: Vector, numbers: NDArray[Any]) -> Vector:
    """Multiply, where a factor is not 0: what belongs to one that is may be NaN."""
    found: Vector = np.where(factors != 0, factors * numbers, 0.0)
    return found


def _any_single(array: NDArray[Any], outputs: list[NDArray[Any] | None]) -> bool:
    """Tell whether one of the arrays is in single precision."""
    dtypes = [array.dtype, *(part.dtype for part in outputs if part is not None)]
    return any(dtype in (np.float32, np.complex64) for dtype in dtypes)


def _outputs_not_finite(function: VectorFunction) -> list[str]:
    """Say which outputs are not finite at the point: nothing that depends on them is judged."""
    places = np.flatnonzero(~np.isfinite(function.value)).tolist()
    notes = [
        f"{output_name(function, place)} is {function.value[place]} at the point"
        for place in places[:OUTPUTS_NAMED]
    ]
    more = len(places) - OUTPUTS_NAMED
    return notes if more <= 0 else [*notes, f"{more} more outputs are not finite there"]


def finished_report(
    function: VectorFunction,
    checks: list[FunctionCheck],
    what: str,
    options: Options,
    watch: Stopwatch,
) -> Report:
    """Put the checks of a product together, and say which convention was in force.

    An interrupt that ended the check, or what f raised in it, is raised with the report on it.
    """
    f = function.f
    title = f"{what} of {getattr(f, '__name__', type(f).__name__)}({function.name})"
    report = report_of(checks, title, function.point.precision, options, watch)
    complex_somewhere = any(function.complex_output) or any(
        dtype.kind == "c" for dtype in function.point.dtypes
    )
    # That of <w, f> is a note of its own.
    raised = [] if what == "vjp" else function.raised.notes(function.called)
    notes = [*_outputs_not_finite(function), *report.notes, *raised]
    if complex_somewhere:
        pairing = "Re(w z)" if function.convention == "jax" else "Re(conj(w) z)"
        notes.insert(0, f"complex by the convention of {function.convention}: {pairing}")
    report = replace(report, notes=tuple(notes), evaluations=function.evaluations)
    return finished(report, function.account, function.errors)
