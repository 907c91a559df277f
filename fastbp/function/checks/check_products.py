"""Checking vector-Jacobian and Jacobian-vector products: what both have in common."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastbp.function.array_function import CONVENTIONS, VectorFunction
from fastbp.function.checks.jvp import check_tangents
from fastbp.function.checks.report_assembly import FunctionCheck, unless_stopped
from fastbp.function.checks.vjp import check_cotangent, of_finite_outputs
from fastbp.function.checks.vjp_against_jvp import agreement_of_products, finished_report
from fastbp.function.containers.calls import Unpacked, member_names
from fastbp.function.methods.directions import random_components
from fastbp.function.methods.options import CheckOptions, checked_options, takes_check_options
from fastbp.function.structured.substitution import Substitution
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.validation import require_bool, require_callable, require_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.report import Report
    from fastbp.typing import Vector

__all__ = ["check_jvp", "check_vjp"]


@own_errstate
@takes_check_options
def check_vjp(
    f: Callable[[Any], Any],
    vjp: Callable[[Any, Any], Any],
    at: Any,
    *,
    jvp: Callable[[Any, Any], Any] | None = None,
    convention: str = "jax",
    unpack: bool = False,
    **options: Unpack[CheckOptions],
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
        Where; real or complex, in single or double precision. Also tensors, arrays of JAX and
        sparse arrays, and classes registered with JAX or optree. Integers and booleans beside
        floats are held fixed.
    jvp : callable, optional
        ``jvp(at, tangent)``, the tangent in the structure of `at`, returns something in the
        structure of ``f(at)``: the two are then checked against each other too.
    convention : {"jax", "torch"}
        What a complex cotangent means: JAX pairs it with the output as Re(w z), PyTorch as
        Re(conj(w) z). Without complex numbers there is no difference.
    unpack : bool
        `at` is a tuple of arguments, or a dict by name: ``f(*at)`` and ``vjp(*at, cotangent)`` are
        called, or ``f(**at)`` and ``vjp(cotangent, **at)``; a jvp gets its tangent so.
    **options

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
    Then for each array of the result alone (20 of them at most, at random), which must add up.
    Each output that is named takes log2(outputs) calls of `vjp`. A vectorized `f` returns every
    leaf of its result with one more axis, the first, too; `vjp` and `jvp` are called here, as they
    are, also with `workers`.

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
    return _checked("vjp", f, vjp, jvp, at, convention, options, unpack=unpack)


@own_errstate
@takes_check_options
def check_jvp(
    f: Callable[[Any], Any],
    jvp: Callable[[Any, Any], Any],
    at: Any,
    *,
    vjp: Callable[[Any, Any], Any] | None = None,
    convention: str = "jax",
    unpack: bool = False,
    **options: Unpack[CheckOptions],
) -> Report:
    """Check a Jacobian-vector product (forward mode) of a function with array results.

    Parameters
    ----------
    f, jvp, at, vjp, convention, unpack
        As in `check_vjp`; a jvp means the same by both conventions.
    **options

    Returns
    -------
    Report
        A row for each array of the result by each array of `at`, as ``output by x``. With "probe"
        it has the shape of the output; a note says by which entries of `at` it is wrong. With
        "every" it has that of the Jacobian.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient`.

    Notes
    -----
    "every" goes along every entry of `at`, "probe" along one random tangent for each array of `at`,
    with bisection to the entries of a wrong one. Some 25 evaluations of `f` and one of `jvp` for
    each tangent; no Jacobian is stored. Workers share the evaluations along one tangent: 8 at the
    same time at first, then 2.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> at = np.array([1.0, 2.0])
    >>> fastbp.check_jvp(np.sin, lambda x, v: np.cos(x) * v, at).verdict
    'passed'
    >>> report = fastbp.check_jvp(np.sin, lambda x, v: -np.cos(x) * v, at, method="every")
    >>> report.verdict, sorted(failure.where for failure in report.failures)
    ('failed', ['output by x[0, 0]', 'output by x[1, 1]'])
    """
    return _checked("jvp", f, vjp, jvp, at, convention, options, unpack=unpack)


def _checked(
    what: str,
    f: Callable[[Any], Any],
    vjp: Any,
    jvp: Any,
    at: Any,
    convention: str,
    given: CheckOptions,
    *,
    unpack: bool,
) -> Report:
    """Check one product, and both against each other where both are given."""
    watch = Stopwatch()
    require_callable(f, "f")
    for product, name in ((vjp, "vjp"), (jvp, "jvp")):
        if product is not None or name == what:
            require_callable(product, name)
    require_choice(convention, "convention", CONVENTIONS)
    options = checked_options(given)
    require_bool(unpack, "unpack")
    members = member_names(f, at) if unpack else None
    if unpack:
        f = Unpacked(f)
        vjp, jvp = (None if one is None else Unpacked(one) for one in (vjp, jvp))
    places = Substitution(at)
    if what == "jvp" or jvp is not None:
        places.require_plain("check_vjp with a jvp" if what == "vjp" else "check_jvp")
    places.require_projections("check_vjp")
    places.require_one_by_one(options.vectorized)
    with options.account() as account:
        function = VectorFunction(
            places.function(f), places.coordinates, convention, vectorized=options.vectorized,
            workers=options.workers, noise=options.noise, members=members, account=account,
        )  # fmt: skip
        vjp = None if vjp is None else places.derivative(vjp)
        rng = np.random.default_rng(options.seed)
        cotangent = of_finite_outputs(_random_cotangent(rng, function.value.size), function)
        with function:
            if what == "vjp":
                checks = [check_cotangent(function, vjp, cotangent, options)]
            else:
                checks = [check_tangents(function, jvp, options, rng)]
        checks.append(FunctionCheck(notes=tuple(places.notes(function.name))))
        if vjp is not None and jvp is not None:
            check = partial(agreement_of_products, function, vjp, jvp, cotangent, rng)
            checks.append(unless_stopped(account, check, "jvp against vjp"))
        return finished_report(function, checks, what, options, watch)


def _random_cotangent(rng: np.random.Generator, size: int) -> Vector:
    """Return a cotangent; that of a single number is negative, as `scalar_cotangent` is."""
    components = random_components(rng, size)
    return components if size > 1 else -np.abs(components)
