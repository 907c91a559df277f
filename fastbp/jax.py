"""JAX's own derivatives of a function, against differences. Needs jax.

``import jax`` here means the package: all imports in fastbp are absolute.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from fastbp.errors import DTypeError
from fastbp.function.checks.check_gradient import check_gradient
from fastbp.function.checks.check_products import check_vjp
from fastbp.function.checks.report_assembly import (
    followed_by,
    limits_left,
    noting_scalar_cotangent,
    with_probe,
    with_rows,
)
from fastbp.function.containers.calls import keywords_of
from fastbp.function.methods.directions import random_components, scalar_cotangent
from fastbp.function.methods.options import DEFAULTS, checked_options, takes_check_options
from fastbp.runtime.progress import outer_progress_bar
from fastbp.runtime.user_code import calling
from fastbp.runtime.validation import require_callable, require_order
from fastbp.verdict.rows import bare_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastbp.report import Report

__all__ = ["check", "check_function"]

COTANGENT = "cotangent"
# A function is compiled if an evaluation takes longer, as where JAX compiles its loops in each
# call, and all of them together longer than compiling it and its derivatives does: in seconds of
# the processor, which is what compiling takes.
COMPILED_BEYOND, COMPILING = 0.003, 1.0
# A rule may compute the value in another way than the function: off by so many roundings.
ROUNDINGS = 1024
# About how many evaluations there are: some, and so many for each entry.
EVALUATIONS, EVALUATIONS_EACH = 24, 2


@takes_check_options
def check_function(
    f: Callable[..., Any],
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    order: int = 1,
    **options: Any,
) -> Report:
    """Check what ``jax.grad``, ``jax.vjp`` and ``jax.jvp`` make of a function.

    Parameters
    ----------
    f : callable
        ``f(*args, **kwargs)`` returns arrays, in any nesting. Custom derivatives are what is
        checked.
    *args : array, float, nesting of these, or anything else
        Where. Checked is the derivative by floats, real or complex; all else is held fixed and
        given to f as it is: integers, booleans, keys of random generators, strings, functions.
    kwargs : mapping, optional
        Keyword arguments of f, alike. A keyword that is no option of this check may also be given
        as it is.
    order : {1, 2}
        2: also the derivative of the backward pass, by the arguments and by a random cotangent,
        as ``jax.test_util.check_grads(order=2)``; along random directions, and from there to the
        wrong entries, unless `method` says otherwise.
    **options

    Returns
    -------
    Report
        Of the gradient, or of the vjp, with the jvp against it where f has one: a ``custom_vjp``
        has none. Rows are named as ``args[0]`` or ``args['name']``.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient` and `check_vjp`.

    Notes
    -----
    As `check_gradient` where f returns one real number of real arguments, else as `check_vjp`; the
    cotangent is random, and never 1. Complex numbers by JAX's convention.

    JAX differentiates in the mode in which it is, and f is differenced in 64 bits for as long as it
    takes; where f is another function there, as where it draws random numbers, in its own
    precision. An argument in double precision has all of it done in 64 bits. Arrays stay on their
    devices.

    The value that a rule of a ``custom_vjp`` or ``custom_jvp`` returns beside its derivative must
    be that of f, up to rounding, `noise`, `atol` and `rtol`.

    Examples
    --------
    >>> import fastbp.jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> fastbp.jax.check_function(lambda x: jnp.sum(jnp.tanh(x)), np.ones(3)).verdict
    'passed'
    >>> report = fastbp.jax.check_function(jnp.cumsum, np.ones(3), axis=0, order=2, seed=0)
    >>> report.verdict, [row.name for row in report.arrays if row.entries][-1]
    ('passed', "backward by args['cotangent']")
    """
    keywords, options = keywords_of(f, kwargs, options, DEFAULTS)
    require_callable(f, "f")
    require_order(order)
    seed = options["seed"] = checked_options(options).seed  # type: ignore[arg-type]
    arguments = [*enumerate(args), *keywords.items()]
    wide = any(map(_is_double, jax.tree.leaves(arguments)))
    with jax.enable_x64(True) if wide else nullcontext():
        with outer_progress_bar(options.get("progress"), "evaluations"):
            function = _OfFloats(f, OrderedDict(arguments), len(args))
            report = _checked(function, options)
        if order == 2:
            left = with_probe(limits_left(options, report))
            with outer_progress_bar(options.get("progress"), "evaluations"):
                report = followed_by(
                    report, lambda: _checked(_backward_pass(function, seed), left), "backward by "
                )
    return report


check = check_function


class _OfFloats:
    """A function of the floats among its arguments, the others held fixed.

    Attributes
    ----------
    at : OrderedDict
        The floats, as arrays of JAX, in the structure of all arguments by place and name; None
        for what is held.
    """

    def __init__(self, f: Callable[..., Any], arguments: Any, positional: int) -> None:
        self.f, self.positional = f, positional
        self.__name__ = getattr(f, "__name__", type(f).__name__)
        leaves, self._structure = jax.tree.flatten(arguments)
        floats = [_is_float(leaf) for leaf in leaves]
        if not any(floats):
            kinds = {str(getattr(leaf, "dtype", type(leaf).__name__)) for leaf in leaves}
            only = f", not only {', '.join(sorted(kinds))}" if kinds else ""
            raise DTypeError(f"args must hold at least one float{only}.")
        self._held = [None if own else leaf for own, leaf in zip(floats, leaves, strict=True)]
        self._floats = floats
        self.at = jax.tree.unflatten(
            self._structure,
            [_on_device(leaf) if own else None for own, leaf in zip(floats, leaves, strict=True)],
        )
        self._evaluate = self._called
        with calling("f"):
            self.result = jax.tree.map(_form_of, _finished(self(self.at)))
            started = time.process_time()
            _finished(self(self.at))
            seconds = time.process_time() - started
        entries = sum(leaf.size for leaf in jax.tree.leaves(self.at))
        count = EVALUATIONS + EVALUATIONS_EACH * entries
        if seconds > max(COMPILED_BEYOND, COMPILING / count):
            self._evaluate = _compiled(self._called)

    def __call__(self, args: Any) -> Any:
        """Evaluate it."""
        return self._evaluate(args)

    def _called(self, args: Any) -> Any:
        given = iter(jax.tree.leaves(args))
        leaves = [
            next(given) if own else held for own, held in zip(self._floats, self._held, strict=True)
        ]
        arguments = list(jax.tree.unflatten(self._structure, leaves).items())
        positional = [value for _, value in arguments[: self.positional]]
        return self.f(*positional, **dict(arguments[self.positional :]))

    @property
    def real_and_scalar(self) -> bool:
        """Tell whether it returns one real number of real arguments."""
        results, arguments = jax.tree.leaves(self.result), jax.tree.leaves(self.at)
        return (
            isinstance(self.result, jax.ShapeDtypeStruct)
            and results[0].size == 1
            and np.dtype(results[0].dtype).kind == "f"
            and not any(map(np.iscomplexobj, arguments))
        )

    def vjp(self, args: Any, cotangent: Any) -> Any:
        """Return JAX's product with a cotangent, in the structure of the floats."""
        _, pullback = jax.vjp(self, args)
        return pullback(jax.tree.map(_cotangent_like, self.result, cotangent))[0]

    def other_values(self, atol: float, rtol: float) -> list[str]:
        """Say which rules give another value than the function has, by more than rounding.

        Those of a ``custom_vjp`` or ``custom_jvp`` return the value beside what they are for.
        `atol` and `rtol` are allowed beside rounding.
        """
        value = self(self.at)
        values = {"jax.vjp": jax.vjp(self, self.at)[0]}
        if self.has_jvp:
            tangent = jax.tree.map(jax.numpy.zeros_like, self.at)
            values["jax.jvp"] = jax.jvp(self, (self.at,), (tangent,))[0]
        found = []
        for rule, other in values.items():
            differing = _difference(value, other, atol, rtol)
            if differing and not _difference(value, other, atol, rtol, self(self._rounded())):
                differing = ""  # terms that cancel
            if differing:
                found.append(f"{rule} gives another value than f: {differing}")
        return found

    def _rounded(self) -> Any:
        """Return the arguments, each number off by one rounding."""
        return jax.tree.map(lambda leaf: leaf * (1 + _eps_of(leaf)), self.at)

    def jvp(self, args: Any, tangent: Any) -> Any:
        """Return JAX's product with a tangent."""
        return jax.jvp(self, (args,), (tangent,))[1]

    @cached_property
    def has_jvp(self) -> bool:
        """Tell whether JAX has a forward mode: not of a custom_vjp."""
        try:
            self.jvp(self.at, jax.tree.map(jax.numpy.ones_like, self.at))
        except Exception:  # "can't apply forward-mode autodiff (jvp) to a custom_vjp function"
            return False  # what else it raises the vjp raises too, which needs the forward mode
        return True


def _checked(function: _OfFloats, options: dict[str, Any]) -> Report:
    """Check the derivatives of one function, and the values that come with them."""
    report = _checked_derivatives(function, options)
    atol = options.get("noise", 0.0) + (options.get("atol") or 0.0)
    with calling("f"):
        found = function.other_values(atol, options.get("rtol") or 0.0)
    return with_rows(report, [bare_row("f", (), 0, "failed", reason) for reason in found])


def _checked_derivatives(function: _OfFloats, options: dict[str, Any]) -> Report:
    """Check the derivatives of one function."""

    def evaluate(args: Any) -> Any:
        return function(args)

    evaluate.__name__ = function.__name__
    if not function.real_and_scalar:
        forward = function.jvp if function.has_jvp else None
        return check_vjp(
            evaluate, function.vjp, function.at, jvp=forward, convention="jax", **options
        )
    # Not with 1: a backward pass that forgets its cotangent would pass.
    cotangent = scalar_cotangent(options["seed"])

    def gradient(args: Any) -> Any:
        result = function.result
        product = function.vjp(args, jax.numpy.full(result.shape, cotangent, result.dtype))
        return jax.tree.map(lambda leaf: leaf / cotangent, product)

    report = check_gradient(evaluate, gradient, function.at, **options)
    return noting_scalar_cotangent(report, cotangent)


def _backward_pass(function: _OfFloats, seed: int) -> _OfFloats:
    """Return the backward pass as a function of the floats and of a random cotangent."""
    rng = np.random.default_rng((seed, 6))

    def random(result: Any) -> Any:
        if not _is_float(result):
            return None
        parts = [random_components(rng, result.size).reshape(result.shape) for _ in range(2)]
        numbers = parts[0] + 1j * parts[1] if np.dtype(result.dtype).kind == "c" else parts[0]
        return jax.numpy.asarray(numbers, result.dtype)

    cotangent = jax.tree.map(random, function.result)

    def backward(args: Any, cotangent: Any) -> Any:
        _, pullback = jax.vjp(function, args)
        whole = jax.tree.map(
            _cotangent_like, function.result, cotangent, is_leaf=lambda leaf: leaf is None
        )
        return pullback(whole)[0]

    backward.__name__ = f"backward pass of {function.__name__}"
    return _Backward(backward, function, cotangent)


class _Backward(_OfFloats):
    """The backward pass; its arguments are those of the function, and the cotangent by name."""

    def __init__(self, backward: Callable[..., Any], function: _OfFloats, cotangent: Any) -> None:
        arguments = OrderedDict([*function.at.items(), (COTANGENT, cotangent)])
        super().__init__(backward, arguments, 0)

    def _called(self, args: Any) -> Any:
        own = OrderedDict(args)
        cotangent = own.pop(COTANGENT)
        return self.f(own, cotangent)


def _difference(value: Any, other: Any, atol: float, rtol: float, beside: Any = None) -> str:
    """Return two numbers that differ by more than rounding explains; empty if there are none.

    `beside` is the value for arguments that are off by a rounding: what that makes of the value is
    allowed too.
    """
    trees = (value, other, value if beside is None else beside)
    for leaf, *others in zip(*map(jax.tree.leaves, trees), strict=True):
        if not _is_float(leaf):
            continue
        first, second, third = (_in_double(array) for array in (leaf, *others))
        finite = np.isfinite(first)
        largest = float(np.max(np.abs(first[finite]), initial=0.0))
        rounding = ROUNDINGS * (_eps_of(leaf) * largest + np.abs(third - first))
        allowed = rounding + atol + rtol * largest
        apart = np.where(finite, np.abs(second - first), 0.0)
        apart[np.isnan(apart)] = np.inf  # a value that is not finite, in place of one that is
        if np.any(apart > allowed):
            worst = np.unravel_index(np.argmax(apart - allowed), apart.shape)
            return f"{second[worst]:.9g} in place of {first[worst]:.9g}"
    return ""


def _eps_of(leaf: Any) -> float:
    """Return the distance from 1 to the next number, in the precision of a leaf."""
    return float(jax.numpy.finfo(np.asarray(leaf).dtype).eps)  # type: ignore[no-untyped-call]


def _in_double(array: Any) -> Any:
    numbers = np.asarray(array)
    return numbers.astype(np.complex128 if numbers.dtype.kind == "c" else np.float64)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that is evaluated often; where it looks at values, leave it."""
    compiled: Callable[..., Any] = jax.jit(function)

    def call(*arguments: Any) -> Any:
        nonlocal compiled
        if compiled is not function:
            try:
                return compiled(*arguments)
            except jax.errors.ConcretizationTypeError:
                compiled = function
        return function(*arguments)

    return call


def _finished(result: Any) -> Any:
    """Return a result when it is there."""
    return jax.block_until_ready(result)  # type: ignore[no-untyped-call]


def _form_of(leaf: Any) -> Any:
    """Return shape and dtype of a result."""
    array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
    return jax.ShapeDtypeStruct(array.shape, array.dtype)  # type: ignore[no-untyped-call]


def _is_float(leaf: Any) -> bool:
    """Tell whether JAX differentiates by a leaf."""
    if isinstance(leaf, float | complex):
        return True
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and bool(jax.numpy.issubdtype(dtype, np.inexact))


def _is_double(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype in (np.float64, np.complex128) and not isinstance(leaf, float | complex)


def _on_device(leaf: Any) -> Any:
    """Return a leaf as an array of JAX: as it is, or a copy."""
    if isinstance(leaf, jax.Array):
        return leaf
    dtype = getattr(leaf, "dtype", np.dtype(np.float64))
    if not dtype.isnative or dtype in (np.longdouble, np.clongdouble):
        raise DTypeError(f"args must be of dtypes that JAX has, not {dtype}.")
    return jax.numpy.array(leaf)


def _cotangent_like(result: Any, cotangent: Any) -> Any:
    """Return a cotangent; of what is no float it must be of a dtype without numbers."""
    if _is_float(result):
        return cotangent
    return np.zeros(result.shape, jax.dtypes.float0)
