"""Checking a Jacobian: dense, sparse, in blocks, or as an operator."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastbp.errors import DTypeError, FastbpError
from fastbp.function.array_function import VectorFunction
from fastbp.function.checks.matrices.given_matrix import (
    GivenMatrix,
    Sides,
    is_function,
    product_of,
    read_matrix,
)
from fastbp.function.checks.matrices.matrix_check import check_matrix
from fastbp.function.checks.matrices.measured_entries import precision_of
from fastbp.function.checks.matrices.product_pairs import unequal_entry
from fastbp.function.checks.report_assembly import FunctionCheck, unless_stopped
from fastbp.function.checks.vjp_against_jvp import finished_report
from fastbp.function.methods.options import (
    CheckOptions,
    Options,
    checked_options,
    takes_check_options,
)
from fastbp.function.structured.substitution import Substitution
from fastbp.report.wording.digits import told_apart
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.validation import require_callable
from fastbp.verdict.rows import bare_row
from fastbp.verdict.tolerance import agreement_of_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.report import Report
    from fastbp.runtime.account import Account
    from fastbp.typing import Vector

__all__ = ["check_jacobian", "matrix_or_findings", "real_function"]


@own_errstate
@takes_check_options
def check_jacobian(
    f: Callable[[Any], Any], jacobian: Any, at: Any, **options: Unpack[CheckOptions]
) -> Report:
    """Check the Jacobian of a function with array results.

    Parameters
    ----------
    f : callable
        ``f(at)`` returns an array, a number, or any nesting of these; real.
    jacobian : array, sparse array, LinearOperator, nesting of arrays, or callable
        One of:

        - an array of shape ``output.shape + input.shape``, or flattened, of shape (output.size,
          input.size): both in C order, so where the two shapes are equal they mean the same;
        - a sparse array or matrix of SciPy, of the flattened shape;
        - a ``scipy.sparse.linalg.LinearOperator`` of the flattened shape. `rmatvec`, if it has
          one, is checked against `matvec`;
        - for several arrays in result or argument, a nesting of the structure of ``f(at)``, in
          each leaf one of the structure of `at`, as ``jax.jacobian`` returns; or one flattened
          matrix, with the arrays one after the other in the order of their names in a report;
        - a function that returns one of these at ``at``. It is called twice.
    at : array, number, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; real.
    **options

    Returns
    -------
    Report
        A row for each array that was given, its wrong entries by row and column; a note says which
        output by which entry of `at` those of flattened arrays are. An entry that a sparse pattern
        misses is a wrong entry, given as 0.

    Raises
    ------
    DTypeError, ShapeError
        If something is complex, or `jacobian` of another type or shape; what a function of the
        user returns is a finding, and fails.
    EvaluationError, OptionError
        As in `check_gradient`.

    Notes
    -----
    "every" takes some 25 evaluations of f for each of 4 to 14 columns of a dense matrix, 4 for each
    other one, and 25 for each group of columns that share no row of a sparse one (Curtis, Powell &
    Reid, 1974): 3 groups for a tridiagonal matrix of any size. A column with a wrong entry is
    measured twice more. The pattern itself is tested along two random tangents, 25
    evaluations each, and an entry that it misses takes 25 (log2(columns) + 2) more. "probe" does
    that with the whole matrix.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def f(x):
    ...     return np.array([x[0] * x[1], np.sin(x[1]), x[0]])
    >>> def jacobian(x):
    ...     return np.array([[x[1], x[0]], [0.0, np.cos(x[1])], [1.0, 0.0]])
    >>> at = np.array([0.5, -1.0])
    >>> fastbp.check_jacobian(f, jacobian, at).verdict
    'passed'
    >>> wrong = jacobian(at)
    >>> wrong[1, 1] *= -1
    >>> [failure.where for failure in fastbp.check_jacobian(f, wrong, at).failures]
    ['jacobian[1, 1]']
    """
    watch = Stopwatch()
    require_callable(f, "f")
    own = checked_options(options)
    with own.account() as account:
        function = real_function(f, at, own, account, "check_jacobian")
        with function:
            matrix, checks = matrix_or_findings(jacobian, "jacobian", function, own)
            if matrix is not None:
                checks.append(check_matrix(function, matrix, own).check)
                if matrix.form == "operator":
                    transposed = partial(_transposed_product, function, matrix, own)
                    checks.append(unless_stopped(account, transposed, f"{matrix.name}.rmatvec"))
        return finished_report(function, checks, "jacobian", own, watch)


def real_function(
    f: Callable[[Any], Any],
    at: Any,
    options: Options,
    account: Account,
    check: str,
    called: str = "f",
    result: str = "output",
) -> VectorFunction:
    """Return f at a point; raise where something is complex."""
    Substitution(at).require_plain(check)
    function = VectorFunction(
        f, at, "jax", vectorized=options.vectorized, workers=options.workers, noise=options.noise,
        called=called, result=result, account=account,
    )  # fmt: skip
    if any(function.complex_output) or any(dtype.kind == "c" for dtype in function.point.dtypes):
        raise DTypeError(
            f"{check} is for real functions: complex ones are for check_vjp and check_jvp."
        )
    return function


def matrix_or_findings(
    given: Any, name: str, function: VectorFunction, options: Options
) -> tuple[GivenMatrix | None, list[FunctionCheck]]:
    """Read a given matrix; what a function returns is a finding where it does not fit."""
    sides = Sides.of(function)
    try:
        return read_matrix(given, name, sides, function.point, options.noise), []
    except FastbpError as error:
        if not is_function(given) or error.__cause__ is not None:
            raise
        rows, columns = sides.shape
        reason = str(error).removeprefix(f"{name} ").removesuffix(".")
        row = bare_row(name, sides.shape, rows * columns, "failed", reason)
        return None, [FunctionCheck(rows=(row,), method="every")]


def _transposed_product(
    function: VectorFunction, matrix: GivenMatrix, options: Options
) -> FunctionCheck:
    """Compare rmatvec of an operator with matvec."""
    operator, (rows, columns) = matrix.matrix, matrix.shape
    name = f"{matrix.name}.rmatvec"
    if not _has_rmatvec(operator, rows):
        return FunctionCheck(notes=(f"{matrix.name} has no rmatvec: matvec alone was checked",))

    def backward(vector: Vector) -> Vector:
        return product_of(operator.rmatvec, vector, columns, name)

    single = precision_of(function, matrix) == np.float32
    share = options.rtol or agreement_of_sums(single)
    rng = np.random.default_rng((options.seed, 3))
    found = unequal_entry(
        matrix.times, backward, matrix.shape, rng, share, options.noise,
        (True, function.chosen_numbers),
    )  # fmt: skip
    if found is None:
        verdict = "passed" if rows and columns else "untested"
        row = bare_row(f"{name} against matvec", (), 0, verdict, "")
    else:
        i, j, one, other = found
        forward, back = told_apart(one, other)
        reason = f"entry [{i}, {j}] is {forward} by matvec, but {back} by rmatvec"
        row = bare_row(f"{name} against matvec", (), 0, "failed", reason)
    return FunctionCheck(others=(row,))


def _has_rmatvec(operator: Any, rows: int) -> bool:
    """Tell whether an operator has a transposed product: one of SciPy's tells when it is called."""
    if not hasattr(operator, "rmatvec"):
        return False
    try:
        operator.rmatvec(np.zeros(rows))
    except NotImplementedError:
        return False
    except Exception:  # it is called again, by what names it in the error
        return True
    return True
