"""JAX's own derivatives of a function, against differences. Needs jax.

``import jax`` here means the package: all imports in fastbp are absolute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import jax
import numpy as np

from fastbp.function.checks.check_gradient import check_gradient
from fastbp.function.checks.check_products import check_vjp
from fastbp.function.checks.report_assembly import noting_scalar_cotangent
from fastbp.function.methods.directions import scalar_cotangent
from fastbp.function.methods.options import CheckOptions, checked_options, takes_check_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.report import Report

__all__ = ["check", "check_function"]


@takes_check_options
def check_function(f: Callable[..., Any], *args: Any, **options: Unpack[CheckOptions]) -> Report:
    """Check what ``jax.grad``, ``jax.vjp`` and ``jax.jvp`` make of a function.

    Parameters
    ----------
    f : callable
        ``f(*args)`` returns arrays, in any nesting. Custom derivatives are what is checked.
    *args : array, float, or nesting of these
        Where; bind what is no float to `f`. float32 is differenced in float64.
    **options

    Returns
    -------
    Report
        Of the gradient, or of the vjp, with the jvp against it where f has one: a ``custom_vjp``
        has none.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient` and `check_vjp`.

    Notes
    -----
    As `check_gradient` where f returns one real number of real arguments, else as `check_vjp`; the
    cotangent is random, and never 1. In
    64-bit mode for as long as it takes; complex numbers by JAX's convention.

    Examples
    --------
    >>> import fastbp.jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> fastbp.jax.check_function(lambda x: jnp.sum(jnp.tanh(x)), np.ones(3)).verdict
    'passed'
    """
    with jax.enable_x64(True):
        evaluate = _named(lambda args: _to_numpy(f(*_to_jax(args))), f)
        if _is_scalar(f(*_to_jax(args))) and not any(map(np.iscomplexobj, jax.tree.leaves(args))):
            # Not with 1: a backward pass that forgets its cotangent would pass.
            seed = checked_options(options).seed
            options["seed"] = seed
            cotangent = scalar_cotangent(seed)

            def gradient(args: Any) -> Any:
                value, pullback = jax.vjp(lambda at: f(*at), _to_jax(args))
                [product] = pullback(jax.numpy.full_like(value, cotangent))
                return _to_numpy(jax.tree.map(lambda leaf: leaf / cotangent, product))

            report = check_gradient(evaluate, gradient, args, **options)
            return noting_scalar_cotangent(report, cotangent)

        def vjp(args: Any, cotangent: Any) -> Any:
            return _to_numpy(jax.vjp(lambda at: f(*at), _to_jax(args))[1](_to_jax(cotangent))[0])

        def jvp(args: Any, tangent: Any) -> Any:
            return _to_numpy(jax.jvp(lambda at: f(*at), (_to_jax(args),), (_to_jax(tangent),))[1])

        forward = jvp if _has_jvp(f, args) else None
        return check_vjp(evaluate, vjp, args, jvp=forward, convention="jax", **options)


check = check_function


def _named(evaluate: Callable[[Any], Any], f: Callable[..., Any]) -> Callable[[Any], Any]:
    evaluate.__name__ = getattr(f, "__name__", type(f).__name__)
    return evaluate


def _to_jax(nested: Any) -> Any:
    return jax.tree.map(jax.numpy.asarray, nested)


def _to_numpy(nested: Any) -> Any:
    return jax.tree.map(np.asarray, nested)


def _is_scalar(result: Any) -> bool:
    return isinstance(result, jax.Array) and result.size == 1 and result.dtype.kind == "f"


def _has_jvp(f: Callable[..., Any], args: Any) -> bool:
    tangent = jax.tree.map(jax.numpy.ones_like, _to_jax(args))
    try:
        jax.jvp(lambda at: f(*at), (_to_jax(args),), (tangent,))
    except TypeError:  # "can't apply forward-mode autodiff (jvp) to a custom_vjp function"
        return False
    return True
