"""Second derivatives of twenty functions beside check_grads: five of them are wrong or zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import fastbp.jax  # noqa: E402

AT = np.linspace(0.3, 1.1, 4)
MATRIX = np.eye(4) + 0.1 * np.outer(AT, AT)
fixed = jax.lax.stop_gradient


def powered(backward: Any) -> Any:
    """Return x³ with a backward pass that is right, but may have a wrong one itself."""

    @jax.custom_vjp
    def power(x: Any) -> Any:
        return x**3

    power.defvjp(lambda x: (x**3, x), lambda x, w: (backward(x, w),))
    return power


@jax.custom_vjp
def scaled(x: Any, w: Any) -> Any:
    """Return 3 x² w, whose own backward pass is off by a factor."""
    return 3 * x**2 * w


scaled.defvjp(
    lambda x, w: (3 * x**2 * w, (x, w)),
    lambda kept, w: (5 * kept[0] * kept[1] * w, 3 * kept[0] ** 2 * w),
)

RIGHT = {
    "sin": jnp.sin, "exp": jnp.exp, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid,
    "softmax": jax.nn.softmax, "logsumexp": jax.nn.logsumexp, "cumprod": jnp.cumprod,
    "norm": jnp.linalg.norm, "solve": lambda x: jnp.linalg.solve(MATRIX + jnp.diag(x), AT),
    "cholesky": lambda x: jnp.linalg.cholesky(MATRIX + jnp.diag(x)),
    "logdet": lambda x: jnp.linalg.slogdet(MATRIX + jnp.diag(x))[1],
    "convolution": lambda x: jnp.convolve(x, x[:2] ** 2),
    "layer norm": lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1e-5),
    "products": lambda x: jnp.outer(x, x**2), "cube": powered(lambda x, w: 3 * x**2 * w),
}  # fmt: skip
WRONG = {
    "constant": powered(lambda x, w: 3 * fixed(x) ** 2 * w),
    "constant cotangent": powered(lambda x, w: 3 * x**2 * fixed(w)),
    "factor": powered(scaled),
    "half of it constant": powered(lambda x, w: 3 * x * fixed(x) * w),
    "one entry constant": powered(
        lambda x, w: 3 * jnp.concatenate([fixed(x[:1]), x[1:]]) ** 2 * w
    ),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("f", RIGHT.values(), ids=RIGHT)
def test_right_second_derivatives_pass(f: Any) -> None:
    report = fastbp.jax.check(f, AT, order=2, seed=0)
    assert report.verdict == "passed", str(report)


@pytest.mark.long
@pytest.mark.parametrize("f", WRONG.values(), ids=WRONG)
def test_wrong_second_derivatives_are_found(f: Any) -> None:
    with jax.enable_x64(True), pytest.raises(AssertionError):
        check_grads(f, (jnp.asarray(AT),), order=2, modes=["rev"])
    assert fastbp.jax.check(f, AT, seed=0).verdict == "passed"
    report = fastbp.jax.check(f, AT, order=2, seed=0)
    assert report.verdict == "failed"
    assert all(
        row.name.startswith("backward by ") for row in report.arrays if row.verdict == "failed"
    )


def test_the_wrong_entry_of_a_second_derivative_is_named() -> None:
    report = fastbp.jax.check(WRONG["one entry constant"], AT, order=2, seed=0)
    assert [failure.where for failure in report.failures] == ["backward by args[0][0]"]
