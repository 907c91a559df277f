"""Second derivatives of twenty functions, five of them wrong: fastbp beside JAX's check_grads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .available import installed
from .report import Section, duration
from .timing import ROUNDS, interleaved

AT = np.linspace(0.3, 1.1, 4)
Function = Callable[[Any], Any]
QUICK = ("sin", "a constant factor")


def compare_second_order(rounds: int = ROUNDS, *, quick: bool = False) -> list[Section]:
    """Time both checks of order 2 on every function, and say what each finds."""
    if not installed("jax"):
        return []
    section = Section(
        "Second derivatives", ["function", "fastbp", "jax check_grads", "fastbp", "jax", "ratio"]
    )
    import jax

    with jax.enable_x64(True):
        for name, f in {**right_functions(), **wrong_functions()}.items():
            if quick and name not in QUICK:
                continue
            calls = {"fastbp": _ours(f), "jax": _theirs(f)}
            found = [call() for call in calls.values()]
            times = interleaved(calls, rounds)
            ratio = times["fastbp"].median / times["jax"].median
            shown = [duration(times[who]) for who in calls]
            section.rows.append([name, *map(str, found), *shown, f"{ratio:.1f}"])
    section.notes.append(
        "check_grads takes two values along one direction, to 3 digits; fastbp measures the noise "
        "and bars of each direction, of three, and names what is wrong."
    )
    return [section]


def _ours(f: Function) -> Callable[[], str]:
    from fastbp.jax import check

    return lambda: check(f, AT, order=2, seed=0, progress=False).verdict


def _theirs(f: Function) -> Callable[[], str]:
    import jax
    from jax.test_util import check_grads

    def check() -> str:
        try:
            check_grads(f, (jax.numpy.asarray(AT),), order=2, modes=["rev"])
        except AssertionError:
            return "failed"
        return "passed"

    return check


def right_functions() -> dict[str, Function]:
    """Return the functions whose second derivatives JAX computes rightly."""
    import jax
    import jax.numpy as jnp

    matrix = np.eye(4) + 0.1 * np.outer(AT, AT)
    return {
        "sin": jnp.sin, "exp": jnp.exp, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid,
        "softmax": jax.nn.softmax, "logsumexp": jax.nn.logsumexp, "cumprod": jnp.cumprod,
        "norm": jnp.linalg.norm, "solve": lambda x: jnp.linalg.solve(matrix + jnp.diag(x), AT),
        "cholesky": lambda x: jnp.linalg.cholesky(matrix + jnp.diag(x)),
        "logdet": lambda x: jnp.linalg.slogdet(matrix + jnp.diag(x))[1],
        "convolution": lambda x: jnp.convolve(x, x[:2] ** 2),
        "layer norm": lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1e-5),
        "products": lambda x: jnp.outer(x, x**2), "cube": _cube(lambda x, w: 3 * x**2 * w),
    }  # fmt: skip


def wrong_functions() -> dict[str, Function]:
    """Return cubes whose first derivative is right, but wrong when it is differentiated."""
    import jax
    import jax.numpy as jnp

    fixed = jax.lax.stop_gradient
    scaled = jax.custom_vjp(lambda x, w: 3 * x**2 * w)
    scaled.defvjp(
        lambda x, w: (3 * x**2 * w, (x, w)),
        lambda kept, w: (5 * kept[0] * kept[1] * w, 3 * kept[0] ** 2 * w),
    )

    def partly_fixed(x: Any) -> Any:
        return jnp.concatenate([fixed(x[:1]), x[1:]])

    return {
        "a constant factor": _cube(lambda x, w: 3 * fixed(x) ** 2 * w),
        "a constant cotangent": _cube(lambda x, w: 3 * x**2 * fixed(w)),
        "off by a factor": _cube(scaled),
        "half constant": _cube(lambda x, w: 3 * x * fixed(x) * w),
        "one entry constant": _cube(lambda x, w: 3 * partly_fixed(x) ** 2 * w),
    }


def _cube(backward: Callable[[Any, Any], Any]) -> Function:
    """Return x³ with this backward pass of x and the cotangent."""
    import jax

    power = jax.custom_vjp(lambda x: x**3)
    power.defvjp(lambda x: (x**3, x), lambda x, w: (backward(x, w),))
    return power
