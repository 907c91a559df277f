"""Checking the vector-Jacobian product of a function with array results.

It is the gradient of a scalar function, <cotangent, f>: with a random cotangent it is checked like
any gradient. Where it is wrong, bisection over the cotangent tells by which outputs.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastbp.agreement import agreement_of_products, finished_report
from fastbp.backends import make_function
from fastbp.check_function import FunctionCheck, check_scalar, checked_options
from fastbp.evaluation import Point
from fastbp.given_function import given_leaves, leaves_of
from fastbp.validate import require_choice
from fastbp.vector_function import (
    CONVENTIONS,
    VectorFunction,
    call_with,
    measure_outputs,
    output_name,
    real_given,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.lines import Lines
    from fastbp.report import Report

    Vector: TypeAlias = NDArray[np.float64]

__all__ = ["check_vjp"]

OUTPUTS_NAMED = 3


def check_vjp(
    f: Callable[[Any], Any],
    vjp: Callable[[Any, Any], Any],
    at: Any,
    *,
    jvp: Callable[[Any, Any], Any] | None = None,
    convention: str = "jax",
    method: str = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    budget: float = 10.0,
    most: int = 10,
    seed: int | None = None,
    progress: bool | None = None,
) -> Report:
    """Check a vector-Jacobian product (reverse mode) of a function with array results.

    Parameters
    ----------
    f : callable
        ``f(at)`` returns an array, a number, or any nesting of these, real or complex.
    vjp : callable
        ``vjp(at, cotangent)``, the cotangent in the structure of ``f(at)``, returns something in
        the structure of `at`.
    at : array, number, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; real or complex, in single or double precision.
    jvp : callable, optional
        ``jvp(at, tangent)``, the tangent in the structure of `at`, returns something in the
        structure of ``f(at)``: the two are then checked against each other too.
    convention : {"jax", "torch"}
        What a complex cotangent means: JAX pairs it with the output as Re(w z), PyTorch as
        Re(conj(w) z). Without complex numbers there is no difference.
    method, rtol, atol, budget, most, seed, progress
        As in `check_gradient`.

    Returns
    -------
    Report
        A row for each array of `at`; complex arrays have one more axis, of real and imaginary
        part. Where an entry is wrong, a note says in which outputs.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient`.

    Notes
    -----
    One random cotangent, its components between a half and one in size; then as `check_gradient`.
    Each output that is named takes log2(outputs) calls of `vjp`.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> matrix = np.arange(6.0).reshape(2, 3)
    >>> at = np.array([1.0, 2.0, 3.0])
    >>> fastbp.check_vjp(lambda x: matrix @ x, lambda x, w: matrix.T @ w, at).verdict
    'passed'
    >>> report = fastbp.check_vjp(lambda x: np.tanh(x), lambda x, w: w / np.cosh(x), at, seed=0)
    >>> report.verdict, report.wrong
    ('failed', 3)
    """
    started = time.perf_counter()
    require_choice(convention, "convention", CONVENTIONS)
    options = checked_options(method, rtol, atol, budget, most, seed, False, None, progress)
    function = VectorFunction(f, at, convention, options.seed)
    cotangent = function.random_cotangent()
    paired = function.paired_with(cotangent)
    scalar = make_function(paired, function.point, "f", vectorized=False, workers=None)
    with scalar:
        given = given_leaves(vjp, function.point, "vjp", function.nested_output(cotangent))
        check = check_scalar(scalar, real_given(given, function), options)
    check = _named_outputs(check, function, vjp, cotangent)
    checks = [check]
    if jvp is not None:
        checks.append(agreement_of_products(function, vjp, jvp, cotangent))
    return finished_report(function, checks, "vjp", options, started)


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
        copy = Point(self.function.point.at, self.function.name, double=False)
        nested = self.function.nested_output(weights)
        result = call_with(self.vjp, "vjp", copy.argument, nested)
        given = real_given(leaves_of(result, self.function.point, "vjp"), self.function)
        array = given.arrays[self.leaf]
        return float("nan") if array is None else float(array.reshape(-1)[self.entry])
