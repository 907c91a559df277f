"""Checking second derivatives: a Hessian, or products with it, by differences of a gradient."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastbp.errors import ShapeError
from fastbp.function.checks.check_jacobian import matrix_or_findings, real_function
from fastbp.function.checks.jvp import check_tangents
from fastbp.function.checks.matrices.given_matrix import Sides
from fastbp.function.checks.matrices.matrix_check import check_matrix
from fastbp.function.checks.matrices.symmetry import symmetry_of_matrix, symmetry_of_product
from fastbp.function.checks.report_assembly import unless_stopped
from fastbp.function.checks.vjp_against_jvp import finished_report
from fastbp.function.methods.options import CheckOptions, checked_options, takes_check_options
from fastbp.function.real_outputs import real_leaf
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.user_code import calling
from fastbp.runtime.validation import require_callable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.array_function import VectorFunction
    from fastbp.function.methods.options import Options
    from fastbp.report import ArrayReport, Report
    from fastbp.runtime.account import Account
    from fastbp.typing import Vector

__all__ = ["check_hessian", "check_hvp"]


@own_errstate
@takes_check_options
def check_hessian(
    gradient: Callable[[Any], Any], hessian: Any, at: Any, **options: Unpack[CheckOptions]
) -> Report:
    """Check a Hessian against differences of a gradient, and that it is symmetric.

    Parameters
    ----------
    gradient : callable
        ``gradient(at)`` returns the gradient, in the structure of `at`. It is taken for right:
        `check_gradient` checks it.
    hessian : array, sparse array, LinearOperator, nesting of arrays, or callable
        As `jacobian` of `check_jacobian`, for the Jacobian of the gradient: of shape ``at.shape +
        at.shape`` or (at.size, at.size); for several arrays a nesting of the structure of `at`, in
        each leaf one of the structure of `at`, as ``jax.hessian`` returns, or one flattened
        matrix; or a function that returns one of these at ``at``.
    at : array, number, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; real.
    **options

    Returns
    -------
    Report
        As `check_jacobian` does, and a row for the symmetry: where it is broken, an entry (i, j) is
        named beside (j, i). A gradient whose differences are not symmetric is a finding too: it is
        the gradient of no function.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_jacobian`.

    Notes
    -----
    The cost is that of `check_jacobian`: evaluations are calls of `gradient`. Two entries (i, j)
    and (j, i) may differ by rounding, by `rtol` and `atol`, and by their error bars.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def gradient(x):
    ...     inner = x[1] - x[0] ** 2
    ...     return np.array([-400 * inner * x[0] - 2 * (1 - x[0]), 200 * inner])
    >>> def hessian(x):
    ...     return np.array([[1200 * x[0] ** 2 - 400 * x[1] + 2, -400 * x[0]], [-400 * x[0], 200]])
    >>> at = np.array([-1.2, 1.0])
    >>> fastbp.check_hessian(gradient, hessian, at).verdict
    'passed'
    >>> wrong = hessian(at)
    >>> wrong[0, 1] = 0
    >>> report = fastbp.check_hessian(gradient, wrong, at)
    >>> [failure.where for failure in report.failures], report.arrays[-1].reason
    (['hessian[0, 1]'], 'hessian[0, 1] is 0, but hessian[1, 0] is 480')
    """
    watch = Stopwatch()
    require_callable(gradient, "gradient")
    own = checked_options(options)
    with own.account() as account:
        function = _gradient_function(gradient, at, own, account, "check_hessian")
        with function:
            matrix, checks = matrix_or_findings(hessian, "hessian", function, own)
            if matrix is not None:
                found = check_matrix(function, matrix, own)
                symmetry = partial(symmetry_of_matrix, function, matrix, found, own)
                by_products = matrix.form == "operator"
                checks += [
                    found.check,
                    unless_stopped(account, symmetry, "symmetry") if by_products else symmetry(),
                ]
        return finished_report(function, checks, "hessian, by differences", own, watch)


@own_errstate
@takes_check_options
def check_hvp(
    gradient: Callable[[Any], Any],
    hvp: Callable[[Any, Any], Any],
    at: Any,
    **options: Unpack[CheckOptions],
) -> Report:
    """Check products with a Hessian against differences of a gradient, and their symmetry.

    Parameters
    ----------
    gradient : callable
        ``gradient(at)`` returns the gradient, in the structure of `at`. It is taken for right:
        `check_gradient` checks it.
    hvp : callable
        ``hvp(at, v)``, v in the structure of `at`, returns H v in that structure.
    at : array, number, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; real.
    **options

    Returns
    -------
    Report
        A row for each array of the product by each array of `at`, as ``gradient by x``, as in
        `check_jvp`, and one for the symmetry, <u, H v> = <v, H u>: where it is broken, an entry
        (i, j) of H is named beside (j, i), of all arrays one after the other.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient`.

    Notes
    -----
    The cost is that of `check_jvp`; the symmetry takes four calls of `hvp`, and 2 log2(n) to find
    an entry.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def gradient(x):  # of sum(x) ** 3 / 3
    ...     return np.full(x.shape, np.sum(x) ** 2)
    >>> def hvp(x, v):
    ...     return np.full(x.shape, 2 * np.sum(x) * np.sum(v))
    >>> fastbp.check_hvp(gradient, hvp, np.array([0.5, 1.0, -0.3])).verdict
    'passed'
    >>> fastbp.check_hvp(gradient, lambda x, v: 2 * np.sum(x) * v, np.array([0.5, 1.0])).verdict
    'failed'
    """
    watch = Stopwatch()
    require_callable(gradient, "gradient")
    require_callable(hvp, "hvp")
    own = checked_options(options)
    with own.account() as account:
        function = _gradient_function(gradient, at, own, account, "check_hvp")
        rng = np.random.default_rng(own.seed)
        product = _Named(hvp)
        with function:
            checks = [check_tangents(function, product, own, rng, "hvp")]
        if not any(map(_is_unusable, (*checks[0].rows, *checks[0].others))):
            symmetry = partial(
                symmetry_of_product,
                _flattened(function, product), function.chosen_numbers, "hvp",
                function.single_products, own,
            )  # fmt: skip
            checks.append(unless_stopped(account, symmetry, "symmetry"))
        return finished_report(function, checks, "hvp, by differences", own, watch)


def _gradient_function(
    gradient: Callable[[Any], Any], at: Any, options: Options, account: Account, check: str
) -> VectorFunction:
    function = real_function(gradient, at, options, account, check, "gradient", "gradient")
    sides = Sides.of(function)
    if sides.outputs != sides.inputs or sides.output_shapes != sides.input_shapes:
        came = ", ".join(
            f"gradient{name} of shape {shape}"
            for name, shape in zip(sides.outputs, sides.output_shapes, strict=True)
        )
        wanted = ", ".join(
            f"{function.name}{name} of shape {shape}"
            for name, shape in zip(sides.inputs, sides.input_shapes, strict=True)
        )
        raise ShapeError(
            f"gradient must return the structure of {function.name}, {wanted}, not {came}."
        )
    return function


def _is_unusable(row: ArrayReport) -> bool:
    """Tell whether a row failed for another reason than its entries: its form, for example."""
    return row.verdict == "failed" and row.worst is None


class _Named:
    """A product of the user's under its own name in messages."""

    def __init__(self, hvp: Callable[[Any, Any], Any]) -> None:
        self.hvp = hvp

    def __call__(self, at: Any, vector: Any) -> Any:
        with calling("hvp"):
            return self.hvp(at, vector)


def _flattened(
    function: VectorFunction, product: Callable[[Any, Any], Any]
) -> Callable[[Vector], Vector]:
    """Return H v for vectors of all real numbers."""

    def times(vector: Vector) -> Vector:
        total = np.zeros(function.value.size)
        for leaf, part in enumerate(function.point.parts):
            if not vector[part].any():
                continue
            given = function.given_jvp(product, leaf, vector[part], "hvp")
            arrays = [np.zeros(0) if array is None else real_leaf(array) for array in given]
            whole = np.concatenate(arrays)
            total += whole if whole.size == total.size else np.nan
        return total

    return times
