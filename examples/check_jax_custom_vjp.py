"""A jax.custom_vjp, checked: a logarithm of a sum of exponentials that is safe at any size."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fastbp.jax


@jax.custom_vjp
def log_sum_exp(x: Any) -> Any:
    """log(sum(exp(x))) over the last axis."""
    largest = jnp.max(x, axis=-1)
    return largest + jnp.log(jnp.sum(jnp.exp(x - largest[..., None]), axis=-1))


def forward(x: Any) -> Any:
    """Return the value, and what the backward pass needs."""
    return log_sum_exp(x), x


def backward(x: Any, cotangent: Any) -> Any:
    """Multiply by the softmax."""
    return (cotangent[..., None] * jax.nn.softmax(x, axis=-1),)


def backward_over_the_wrong_axis(x: Any, cotangent: Any) -> Any:
    """Multiply by a softmax over the first axis: it shows in a matrix alone."""
    return (cotangent[..., None] * jax.nn.softmax(x, axis=0),)


def main() -> None:
    """Check both backward passes."""
    x = np.random.default_rng(0).normal(size=(4, 5))
    for rule in (backward, backward_over_the_wrong_axis):
        log_sum_exp.defvjp(forward, rule)
        report = fastbp.jax.check(log_sum_exp, x, seed=0)
        print(report.verdict, f"{report.wrong} of {report.entries}")


if __name__ == "__main__":
    main()
