"""JAX, jitted: one compiled function for value and gradient, one for the loop over the entries."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import Array
from .problem import Problem, flatten

NAME = "JAX"


def prepare(threads: int) -> str:  # noqa: ARG001 - XLA counts the cores it may use: __main__
    """Allow float64; return name and version."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    return f"JAX {jax.__version__}"


class _Model:
    """Parameters and batch on the device; weights (n_in, n_out), rows are examples."""

    def __init__(self, problem: Problem) -> None:
        self.jax = importlib.import_module("jax")
        self.jnp = importlib.import_module("jax.numpy")
        put = self.jax.device_put
        self.weights = [put(np.ascontiguousarray(weight.T)) for weight in problem.weights]
        self.biases = [put(bias.ravel()) for bias in problem.biases]
        self.x = put(np.ascontiguousarray(problem.x.T))
        self.y = put(np.ascontiguousarray(problem.y.T))

    def loss(self, weights: list[Any], biases: list[Any], x: Any, y: Any) -> Any:
        h = x
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            h = self.jax.nn.relu(h @ weight + bias)
        return self.jnp.sum((h @ weights[-1] + biases[-1] - y) ** 2)


class Step:
    """One forward and backward pass."""

    def __init__(self, problem: Problem) -> None:
        model = self.model = _Model(problem)
        self.arguments = model.weights, model.biases, model.x, model.y
        self.value_and_gradients = model.jax.jit(
            model.jax.value_and_grad(model.loss, argnums=(0, 1))
        )
        self()

    def __call__(self) -> None:
        loss, gradients = self.value_and_gradients(*self.arguments)
        self.gradients = self.model.jax.block_until_ready(gradients)
        self.loss = float(loss)

    def gradient(self) -> Array:
        """Return the gradient of the last step: W0, b0, W1, b1, ..."""
        dweights, dbiases = self.gradients
        return flatten([np.asarray(dw).T for dw in dweights], [np.asarray(db) for db in dbiases])


class Replay:
    """A compiled loop over the entries."""

    def __init__(self, problem: Problem, entries: NDArray[np.int64], delta: float) -> None:
        model = self.model = _Model(problem)
        jax, jnp = model.jax, model.jnp
        shapes = [weight.shape for weight in problem.weights]
        starts = np.cumsum([0] + [n_out * (n_in + 1) for n_out, n_in in shapes])

        def loss_of_flat(theta: Any, x: Any, y: Any) -> Any:
            weights, biases = [], []
            for (n_out, n_in), start in zip(shapes, starts[:-1], strict=True):
                middle = start + n_out * n_in
                weights.append(theta[start:middle].reshape(n_out, n_in).T)
                biases.append(theta[middle : middle + n_out])
            return model.loss(weights, biases, x, y)

        @jax.jit
        def quotients(theta: Any, x: Any, y: Any, entries: Any) -> Any:
            def quotient(entry: Any) -> Any:
                plus, minus = theta[entry] + delta, theta[entry] - delta
                loss_plus = loss_of_flat(theta.at[entry].set(plus), x, y)
                loss_minus = loss_of_flat(theta.at[entry].set(minus), x, y)
                return (loss_plus - loss_minus) / (plus - minus)

            return jax.lax.map(quotient, entries)

        self.quotients = quotients
        theta = jax.device_put(flatten(problem.weights, problem.biases))
        self.arguments = theta, model.x, model.y, jnp.asarray(entries)
        self()

    def __call__(self) -> NDArray[np.float64]:
        return np.asarray(self.quotients(*self.arguments))
