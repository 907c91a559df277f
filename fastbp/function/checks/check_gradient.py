"""Checking the gradient of any function: every entry, or by random directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from fastbp.function.backends.choose import make_function
from fastbp.function.checks.report_assembly import finished, report_of
from fastbp.function.checks.scalar_check import check_scalar
from fastbp.function.checks.symmetric_hint import with_symmetric_hint
from fastbp.function.containers.calls import MemberOfPair, Unpacked, member_names
from fastbp.function.containers.given_gradient import given_leaves
from fastbp.function.containers.point import argument_name, make_point
from fastbp.function.domain import domain_of
from fastbp.function.methods.identity import problem_of
from fastbp.function.methods.options import CheckOptions, checked_options, takes_check_options
from fastbp.function.structured.substitution import Substitution
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.floating_point import own_errstate
from fastbp.runtime.validation import require_bool, require_callable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.methods.options import Options
    from fastbp.report import Report
    from fastbp.runtime.account import Account

__all__ = ["check_gradient"]


@own_errstate
@takes_check_options
def check_gradient(
    f: Callable[..., Any],
    gradient: Any,
    at: Any,
    *,
    unpack: bool = False,
    **options: Unpack[CheckOptions],
) -> Report:
    """Check the gradient of a scalar function.

    Parameters
    ----------
    f : callable
        ``f(at)`` returns a number. It gets a copy of `at`, in float64 if it takes that, else in
        its own precision.
    gradient : callable, nesting, or True
        ``gradient(at)``, or its value at `at`: in the structure of `at`, with arrays of the same
        shapes. A function is called twice, on fresh copies. True: `f` returns (value, gradient),
        as with ``jac=True`` in SciPy.
    at : array, float, or nesting of lists, tuples, dicts, named tuples and dataclasses of these
        Where; of float64 or float32. An array of it may be marked by `fastbp.symmetric`,
        `positive_definite`, `simplex`, `sphere` or `parametrised`: no difference then leaves that
        set, and derivatives are compared along it.
        Also tensors, arrays of JAX and sparse arrays, and classes registered with JAX or optree.
        Integers and booleans beside floats are held fixed.
    unpack : bool
        `at` is a tuple of arguments, or a dict by name: ``f(*at)`` and ``gradient(*at)`` are
        called, or ``f(**at)``; the report calls the arrays as `f` does. The gradient is a tuple or
        dict like `at`.
    **options

    Returns
    -------
    Report
        A verdict for every array and for the whole, the wrong entries, and how large an error
        would have been seen. It also fails, with a row of its own, where `f` or `gradient`
        changes its argument, or returns something else when it is called again.

    Raises
    ------
    DTypeError, ShapeError
        If `at` holds no floats or something else; if `f` does not return one real number; if
        `gradient` is neither callable nor of the structure of `at`.
    EvaluationError
        If `f` or `gradient` raises: the message says with which entry changed. Where `f` raises
        beside the point, and not as a rule, it has (here and in `check_vjp`) an attribute `report`
        with all the rest. What `f` raises only once or on one side of an entry is a note.
    OptionError
        If an option is unknown or senseless.

    Notes
    -----
    *every* takes 2 evaluations of f for each entry, *probe* some 30 for all arrays together (60
    where directions cross kinks everywhere), and 30 for each array that is wrong or too faint
    beside the others, and 2 log2(n) + 50 for each wrong entry. At a kink
    (``|x|`` at 0) the derivative of a black box is whatever lies between its left and right slope.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> def loss(params):
    ...     return np.sum((params["weight"] @ params["x"]) ** 2)
    >>> def gradient(params):
    ...     residual = 2 * params["weight"] @ params["x"]
    ...     return {"weight": np.outer(residual, params["x"]), "x": residual @ params["weight"]}
    >>> at = {"weight": np.arange(6.0).reshape(2, 3), "x": np.array([1.0, -2.0, 0.5])}
    >>> fastbp.check_gradient(loss, gradient, at).verdict
    'passed'
    >>> wrong = gradient(at)
    >>> wrong["weight"][1, 2] += 0.01
    >>> report = fastbp.check_gradient(loss, wrong, at)
    >>> report.verdict, report.failures[0].where
    ('failed', "params['weight'][1, 2]")
    """
    watch = Stopwatch()
    require_callable(f, "f")
    own = checked_options(options, keeps_values=True)
    require_bool(unpack, "unpack")
    with own.account() as account:
        return _checked(f, gradient, at, unpack, own, account, watch)


def _checked(
    f: Callable[[Any], Any],
    gradient: Any,
    at: Any,
    unpack: bool,
    own: Options,
    account: Account,
    watch: Stopwatch,
) -> Report:
    title = getattr(f, "__name__", type(f).__name__)
    members = member_names(f, at) if unpack else {}
    name = ", ".join(members.values()) if unpack else argument_name(f)
    if unpack:
        f = Unpacked(f)
        gradient = Unpacked(gradient) if callable(gradient) else gradient
    if gradient is True:
        f, gradient = MemberOfPair(f, 0), MemberOfPair(f, 1)
    places = Substitution(at)
    places.require_one_by_one(own.vectorized)
    of_coordinates = places.function(f)
    point = make_point(
        of_coordinates, places.coordinates, name, vectorized=own.vectorized, members=members
    )
    function = make_function(
        of_coordinates, point, "f", vectorized=own.vectorized, workers=own.workers, account=account
    )
    function.domain = domain_of(point, own.bounds, own.scale)
    function.allow_noise(own.noise)
    function.notes += places.notes(name)
    with function:
        given = given_leaves(places.derivative(gradient), point, noise=own.noise)
        given = places.with_bars(given, point)
        if own.checkpoint is not None:
            own.checkpoint.require(problem_of(function, given, own))
        found = check_scalar(function, given, own)
    if not places.points and account.stopped is None:
        found = with_symmetric_hint(found, f, function, given, own)
    report = report_of([found], f"gradient of {title}({name})", point.precision, own, watch)
    return finished(report, account, function.raised.errors)
