"""Five programs as people bring them: right gradients pass, planted mistakes are found."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch

import fastbp
import fastbp.jax

pytestmark = pytest.mark.small


# ---- Rosenbrock's function: a list of numbers, value and gradient in one call, as for SciPy ----


def rosenbrock(x: Any, sign: float = 1.0) -> Any:
    x = np.asarray(x)
    value = np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    slope = np.zeros_like(x)
    slope[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - sign * 2 * (1 - x[:-1])
    slope[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return value, slope


@pytest.mark.parametrize("method", ["every", "probe"])
def test_rosenbrock(method: str) -> None:
    at = [1.3, 0.7, 0.8, 1.9, 1]
    fastbp.check_gradient(rosenbrock, True, at, method=method).raise_unless_passed()
    report = fastbp.check_gradient(lambda x: rosenbrock(x, -1.0), True, at, method=method)
    assert report.verdict == "failed"
    assert {failure.where for failure in report.failures} == {"x[0]", "x[1]", "x[2]", "x[3]"}


# ---- an ordinary differential equation: its discrete adjoint; the steps are an integer ----


class Field(NamedTuple):
    weight: Any
    bias: Any


def final_state(state: Any, field: Any, steps: int) -> Any:
    """Return what Euler's method makes of a state, and all states before."""
    states = [state]
    for _ in range(steps):
        states.append(states[-1] + np.tanh(field.weight @ states[-1] + field.bias) / steps)
    return states


def ode_loss(state: Any, field: Any, steps: int) -> Any:
    return np.sum(final_state(state, field, steps)[-1] ** 2)


def ode_adjoint(state: Any, field: Any, steps: int, *, forgotten: bool = False) -> Any:
    *states, last = final_state(state, field, steps)
    adjoint = 2 * last
    weight, bias = np.zeros_like(field.weight), np.zeros_like(field.bias)
    for before in reversed(states):
        slope = 1 - np.tanh(field.weight @ before + field.bias) ** 2
        flow = adjoint * slope / steps
        weight += np.outer(flow, before)
        bias += flow
        adjoint = field.weight.T @ flow if forgotten else adjoint + field.weight.T @ flow
    return adjoint, Field(weight, bias), None


def test_a_neural_ode() -> None:
    rng = np.random.default_rng(0)
    at = (rng.normal(size=3), Field(rng.normal(size=(3, 3)), rng.normal(size=3)), 10)
    report = fastbp.check_gradient(ode_loss, ode_adjoint, at, unpack=True)
    report.raise_unless_passed()
    assert [row.name for row in report.arrays] == ["state", "field.weight", "field.bias"]

    def wrong(*arguments: Any) -> Any:
        return ode_adjoint(*arguments, forgotten=True)

    assert fastbp.check_gradient(ode_loss, wrong, at, unpack=True).verdict == "failed"


# ---- a solve by Cholesky's factors: the product with a cotangent, of a matrix and a vector ----


def cholesky_solve(p: Any) -> Any:
    return scipy.linalg.cho_solve(scipy.linalg.cho_factor(p["root"] @ p["root"].T), p["right"])


def cholesky_vjp(p: Any, w: Any, *, one_sided: bool = False) -> Any:
    factor = scipy.linalg.cho_factor(p["root"] @ p["root"].T)
    solution, adjoint = (scipy.linalg.cho_solve(factor, one) for one in (p["right"], w))
    by_matrix = -np.outer(adjoint, solution)
    both = by_matrix if one_sided else by_matrix + by_matrix.T
    return {"right": adjoint, "root": both @ p["root"]}


@pytest.mark.parametrize("method", ["every", "probe"])
def test_a_cholesky_solve(method: str) -> None:
    rng = np.random.default_rng(1)
    at = {"right": rng.normal(size=4), "root": rng.normal(size=(4, 4)) + 3 * np.eye(4)}
    fastbp.check_vjp(cholesky_solve, cholesky_vjp, at, method=method).raise_unless_passed()
    report = fastbp.check_vjp(
        cholesky_solve, lambda p, w: cholesky_vjp(p, w, one_sided=True), at, method=method
    )
    assert [row.verdict for row in report.arrays[:2]] == ["passed", "failed"]
    chosen = fastbp.check_vjp(
        cholesky_solve, lambda p, w: cholesky_vjp(p, w, one_sided=True), at, method=method,
        entries="right",
    )  # fmt: skip
    assert chosen.verdict == "passed"


# ---- attention: tensors of torch in a dict, with a mask of booleans ----


def attention(p: Any) -> Any:
    scores = p["query"] @ p["key"].T / p["key"].shape[1] ** 0.5
    weights = torch.softmax(scores.masked_fill(~p["mask"], -torch.inf), dim=1)
    return (weights @ p["value"]).pow(2).sum()


def attention_gradient(p: Any, *, unscaled: bool = False) -> Any:
    root = p["key"].shape[1] ** 0.5
    scores = p["query"] @ p["key"].T / root
    weights = torch.softmax(scores.masked_fill(~p["mask"], -torch.inf), dim=1)
    result = 2 * (weights @ p["value"])
    by_weights = result @ p["value"].T
    by_scores = weights * (by_weights - (by_weights * weights).sum(1, keepdim=True))
    by_scores = by_scores if unscaled else by_scores / root
    return {
        "query": by_scores @ p["key"], "key": by_scores.T @ p["query"],
        "value": weights.T @ result,
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_attention(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    at = {
        name: torch.randn((4, 3), generator=generator, dtype=dtype)
        for name in ("key", "query", "value")
    }
    at["mask"] = torch.ones(4, 4).tril().bool()
    report = fastbp.check_gradient(attention, attention_gradient, at)
    report.raise_unless_passed()
    assert "p['mask'] is held fixed: bool has no derivative" in report.notes
    wrong = fastbp.check_gradient(attention, lambda p: attention_gradient(p, unscaled=True), at)
    failed = [row.name for row in wrong.arrays if row.verdict == "failed"]
    assert failed == ["p['key']", "p['query']"]


@pytest.mark.long
def test_attention_in_jax_to_second_order() -> None:
    at = np.random.default_rng(2).normal(size=(3, 4, 2))

    def of_jax(p: Any) -> Any:
        scores = p["query"] @ p["key"].T / np.sqrt(2)
        weights = jax.nn.softmax(jnp.where(p["mask"], scores, -jnp.inf), axis=1)
        return jnp.sum((weights @ p["value"]) ** 2)

    names = dict(zip(("key", "query", "value"), at, strict=True))
    point = {**names, "mask": np.tri(4, dtype=bool)}
    fastbp.jax.check(of_jax, point, order=2).raise_unless_passed()


# ---- the residual of a differential equation: a sparse operator as a point ----


def laplacian(size: int) -> Any:
    return scipy.sparse.diags_array(
        [np.full(size - 1, 1.0), np.full(size, -2.0), np.full(size - 1, 1.0)], offsets=[-1, 0, 1]
    ).tocsr()


def residual_loss(p: Any) -> Any:
    return np.sum((p["operator"] @ p["u"] + p["u"] ** 3 - 1) ** 2) / 2


def residual_gradient(p: Any, *, transposed: bool = True) -> Any:
    residual = p["operator"] @ p["u"] + p["u"] ** 3 - 1
    operator = p["operator"].T if transposed else p["operator"]
    by_operator = p["operator"].copy()
    row, column = by_operator.tocoo().coords
    by_operator.data = residual[row] * p["u"][column]
    return {"operator": by_operator, "u": operator @ residual + 3 * p["u"] ** 2 * residual}


@pytest.mark.parametrize("method", ["every", "probe"])
def test_the_residual_of_a_differential_equation(method: str) -> None:
    rng = np.random.default_rng(3)
    operator = laplacian(12)
    operator.data *= rng.uniform(0.5, 1.5, operator.nnz)  # no symmetry that hides a transpose
    at = {"operator": operator, "u": rng.normal(size=12)}
    fastbp.check_gradient(residual_loss, residual_gradient, at, method=method).raise_unless_passed()
    report = fastbp.check_gradient(
        residual_loss, lambda p: residual_gradient(p, transposed=False), at, method=method
    )
    assert [row.verdict for row in report.arrays] == ["passed", "failed"]
