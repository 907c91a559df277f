"""Functions with gradients, Jacobians and Hessians written by hand, of five kinds of programs."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


def rosenbrock_gradient(x: np.ndarray) -> np.ndarray:
    inner = x[1:] - x[:-1] ** 2
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * inner * x[:-1] - 2 * (1 - x[:-1])
    gradient[1:] += 200 * inner
    return gradient


def rosenbrock_hessian(x: np.ndarray) -> np.ndarray:
    hessian = np.zeros((x.size, x.size))
    diagonal = np.zeros(x.size)
    diagonal[:-1] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    diagonal[1:] += 200
    hessian[np.diag_indices(x.size)] = diagonal
    index = np.arange(x.size - 1)
    hessian[index, index + 1] = hessian[index + 1, index] = -400 * x[:-1]
    return hessian


def integrated(y: np.ndarray) -> np.ndarray:
    """The end of an explicit Euler integration of y' = tanh(W y)."""
    for _ in range(20):
        y = y + 0.05 * np.tanh(FLOW @ y)
    return y


FLOW = np.random.default_rng(0).normal(size=(4, 4))


def sensitivities(y: np.ndarray) -> np.ndarray:
    """The Jacobian of `integrated`, carried along."""
    carried = np.eye(4)
    for _ in range(20):
        slope = 1 - np.tanh(FLOW @ y) ** 2
        carried = carried + 0.05 * slope[:, np.newaxis] * (FLOW @ carried)
        y = y + 0.05 * np.tanh(FLOW @ y)
    return carried


def solved(params: dict[str, np.ndarray]) -> np.ndarray:
    """K⁻¹ y by a Cholesky factorisation."""
    lower = np.linalg.cholesky(params["K"] @ params["K"].T + np.eye(3))
    return np.linalg.solve(lower.T, np.linalg.solve(lower, params["y"]))


def solved_jacobian(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """d x = -K⁻¹ dA x, A = K Kᵀ + 1."""
    inverse = np.linalg.inv(params["K"] @ params["K"].T + np.eye(3))
    x, root = inverse @ params["y"], params["K"]
    by_k = -np.einsum("ik,l->ikl", inverse, root.T @ x)
    by_k -= np.einsum("im,ml,k->ikl", inverse, root, x)
    return {"K": by_k, "y": inverse}


def softmax(z: np.ndarray) -> np.ndarray:
    exponentials = np.exp(z - z.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def softmax_jacobian(z: np.ndarray) -> np.ndarray:
    """Of shape (rows, n, rows, n)."""
    p = softmax(z)
    rows, n = p.shape
    jacobian = np.zeros((rows, n, rows, n))
    for row in range(rows):
        jacobian[row, :, row, :] = np.diag(p[row]) - np.outer(p[row], p[row])
    return jacobian


def reaction(u: np.ndarray) -> np.ndarray:
    """A residual of u'' + exp(u) = 0 by finite differences, zero beyond the ends."""
    laplacian = -2 * u
    laplacian[1:] += u[:-1]
    laplacian[:-1] += u[1:]
    return laplacian * (u.size + 1.0) ** 2 / 100 + np.exp(u)


def reaction_jacobian(u: np.ndarray) -> Any:
    weight = (u.size + 1.0) ** 2 / 100
    beside = np.full(max(u.size - 1, 0), weight)
    diagonals = [beside, -2 * weight + np.exp(u), beside]
    return sparse.diags_array(diagonals, offsets=[-1, 0, 1], shape=(u.size, u.size)).tocsr()
