"""Symmetric and positive definite matrices, simplices, spheres, and charts of the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbp
from fastbp.errors import DTypeError, EvaluationError, NonFiniteError, OptionError, ShapeError

pytestmark = pytest.mark.small

METHODS = ["every", "probe"]


def spd(rng: np.random.Generator, n: int) -> np.ndarray:
    root = rng.normal(size=(n, n))
    return root @ root.T + n * np.eye(n)


# ---- a Gaussian process: Cholesky solve and log-determinant ----


def evidence(params: dict[str, np.ndarray]) -> float:
    """-2 log p(y) of N(0, K) but for a constant; the factorisation reads one triangle."""
    lower = np.linalg.cholesky(params["K"])
    white = np.linalg.solve(lower, params["y"])
    return float(white @ white + 2 * np.sum(np.log(np.diagonal(lower))))


def evidence_gradient(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    inverse = np.linalg.inv(params["K"])
    solved = inverse @ params["y"]
    return {"K": inverse - np.outer(solved, solved), "y": 2 * solved}


@pytest.mark.parametrize("mark", [fastbp.symmetric, fastbp.positive_definite])
@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_a_cholesky_solve_passes_where_the_matrix_is_marked(
    mark: Any, method: str
) -> None:
    rng = np.random.default_rng(0)
    kernel, y = spd(rng, 5), rng.normal(size=5)
    at = {"K": mark(kernel), "y": y}
    report = fastbp.check_gradient(evidence, evidence_gradient, at, method=method, seed=1)
    assert report.verdict == "passed", report
    assert [row.name for row in report.arrays] == ["params['K']", "params['y']"]
    assert any(note.startswith("params['K']: along ") for note in report.notes)
    value = evidence_gradient({"K": kernel, "y": y})
    assert fastbp.check_gradient(evidence, value, at, method=method, seed=1)

    def forgets_the_solve(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return evidence_gradient(params) | {"K": np.linalg.inv(params["K"])}

    wrong = fastbp.check_gradient(evidence, forgets_the_solve, at, method=method, seed=1)
    assert wrong.verdict == "failed"
    assert wrong.arrays[0].verdict == "failed"
    assert wrong.arrays[1].verdict == "passed"


@pytest.mark.parametrize("method", METHODS)
def test_one_wrong_entry_is_wrong_by_half_in_both_places(method: str) -> None:
    rng = np.random.default_rng(1)
    kernel, y = spd(rng, 4), rng.normal(size=4)
    value = evidence_gradient({"K": kernel, "y": y})
    value["K"][1, 3] += 0.25
    at = {"K": fastbp.symmetric(kernel), "y": y}
    report = fastbp.check_gradient(evidence, value, at, method=method, seed=0)
    assert sorted(failure.where for failure in report.failures) == [
        "params['K'][1, 3]",
        "params['K'][3, 1]",
    ]
    assert [failure.error for failure in report.failures] == pytest.approx([0.125, 0.125])


def test_an_ill_conditioned_matrix_stays_positive_definite() -> None:
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    matrix = basis @ np.diag([1.0, 1e-2, 1e-4, 1e-8]) @ basis.T
    matrix = (matrix + matrix.T) / 2

    def f(a: np.ndarray) -> float:
        return float(np.linalg.slogdet(a)[1] / 2 + np.sum(np.linalg.cholesky(a)))

    def gradient(a: np.ndarray) -> np.ndarray:
        # Of sum(L): Murray, "Differentiation of the Cholesky decomposition", 2016.
        lower = np.linalg.cholesky(a)
        middle = np.tril(lower.T @ np.tril(np.ones_like(a)))
        middle[np.diag_indices_from(middle)] /= 2
        half = np.linalg.solve(lower.T, middle) @ np.linalg.inv(lower)
        return np.linalg.inv(a) / 2 + (half + half.T) / 2

    report = fastbp.check_gradient(f, gradient, fastbp.positive_definite(matrix), seed=0, rtol=1e-6)
    assert report.verdict == "passed", report


# ---- attention: rows of probabilities ----


def attended(p: np.ndarray) -> float:
    values = np.sin(np.arange(12.0)).reshape(4, 3)
    return float(np.sum((p @ values) ** 2) - np.sum(np.where(p > 0, p * np.log(p + (p == 0)), 0)))


def attended_gradient(p: np.ndarray) -> np.ndarray:
    values = np.sin(np.arange(12.0)).reshape(4, 3)
    logarithms = np.log(np.where(p > 0, p, 1.0))
    return 2 * (p @ values) @ values.T - logarithms  # without the -1 of the entropy: normal


def softmax(z: np.ndarray) -> np.ndarray:
    exponentials = np.exp(z - z.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_along_the_simplex(method: str) -> None:
    p = softmax(np.random.default_rng(3).normal(size=(5, 4)) * 2)
    at = fastbp.simplex(p)
    report = fastbp.check_gradient(attended, attended_gradient, at, method=method, seed=0)
    assert report.verdict == "passed", report
    assert fastbp.check_gradient(attended, attended_gradient, p, method=method).verdict == "failed"
    wrong = attended_gradient(p)
    wrong[2, 1] *= 1.01
    report = fastbp.check_gradient(attended, wrong, at, method=method, seed=0)
    assert report.verdict == "failed"
    assert report.failures[0].where == "p[2, 1]"
    assert {failure.index[0] for failure in report.failures} == {2}


def test_zeros_of_a_simplex_stay_zero_and_are_noted() -> None:
    p = np.array([[0.0, 0.25, 0.75, 0.0], [0.5, 0.5, 0.0, 0.0]])
    report = fastbp.check_gradient(attended, attended_gradient, fastbp.simplex(p))
    assert report.verdict == "passed", report
    assert any("4 entries of 0 stay 0 and are not compared" in note for note in report.notes)


def test_a_simplex_along_another_axis() -> None:
    p = softmax(np.random.default_rng(4).normal(size=(5, 4)))
    transposed = fastbp.simplex(np.ascontiguousarray(p.T), axis=0)
    assert fastbp.check_gradient(
        lambda q: attended(q.T), lambda q: attended_gradient(q.T).T, transposed
    )


# ---- spheres ----


def test_quaternions_row_by_row() -> None:
    rng = np.random.default_rng(5)
    q = rng.normal(size=(6, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    target = rng.normal(size=(6, 4))

    def f(q: np.ndarray) -> float:
        return float(np.sum(np.sin(q * target)))

    def tangential(q: np.ndarray) -> np.ndarray:
        gradient = target * np.cos(q * target)
        return gradient - q * np.sum(q * gradient, axis=1, keepdims=True)

    assert fastbp.check_gradient(f, tangential, fastbp.sphere(q, axis=1))
    assert fastbp.check_gradient(f, tangential, fastbp.sphere(q)).verdict == "failed"
    assert fastbp.check_gradient(f, tangential, q).verdict == "failed"


def test_the_norm_of_a_point_is_kept() -> None:
    x = np.array([3.0, 4.0])
    norms = []

    def f(x: np.ndarray) -> float:
        norms.append(np.linalg.norm(x))
        return float(x[0] ** 3)

    assert fastbp.check_gradient(f, lambda x: np.array([3 * x[0] ** 2, 0.0]), fastbp.sphere(x))
    np.testing.assert_allclose(norms, 5.0, rtol=1e-15)


# ---- charts ----


def rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_a_gradient_by_a_rotation_is_compared_by_its_angle() -> None:
    def f(r: np.ndarray) -> float:
        return float(np.sum(r**3 * np.arange(4.0).reshape(2, 2)))

    def gradient(r: np.ndarray) -> np.ndarray:
        return 3 * r**2 * np.arange(4.0).reshape(2, 2)

    at = fastbp.parametrised(rotation, 0.3)
    report = fastbp.check_gradient(f, gradient, at)
    assert report.verdict == "passed", report
    assert [(row.name, row.shape) for row in report.arrays] == [("r", ())]

    def with_something_normal(r: np.ndarray) -> np.ndarray:
        return gradient(r) + r  # <r, dr> = 0 along rotations

    assert fastbp.check_gradient(f, with_something_normal, at)
    assert fastbp.check_gradient(f, lambda r: 1.001 * gradient(r), at).verdict == "failed"


@pytest.mark.parametrize("method", METHODS)
def test_a_chart_of_nested_coordinates(method: str) -> None:
    """A matrix of low rank: U Vᵀ."""
    rng = np.random.default_rng(6)
    coordinates = {"U": rng.normal(size=(5, 2)), "V": rng.normal(size=(3, 2))}
    target = rng.normal(size=(5, 3))

    def f(params: list[Any]) -> float:
        return float(np.sum((params[0] - target) ** 2) * params[1])

    def gradient(params: list[Any]) -> list[Any]:
        return [
            2 * (params[0] - target) * params[1],
            float(np.sum((params[0] - target) ** 2)),
        ]

    at = [fastbp.parametrised(lambda c: c["U"] @ c["V"].T, coordinates), 0.5]
    report = fastbp.check_gradient(f, gradient, at, method=method, seed=0)
    assert report.verdict == "passed", report
    assert [row.name for row in report.arrays] == [
        "params[0]['U']",
        "params[0]['V']",
        "params[1]",
    ]
    wrong = gradient([coordinates["U"] @ coordinates["V"].T, 0.5])
    wrong[0][4, 1] += 0.01
    report = fastbp.check_gradient(f, wrong, at, method=method, seed=0)
    assert {failure.where for failure in report.failures} == {
        "params[0]['U'][4, 0]", "params[0]['U'][4, 1]",
        "params[0]['V'][1, 0]", "params[0]['V'][1, 1]",
    }  # fmt: skip


def test_a_gradient_that_is_nan_fails_by_every_coordinate() -> None:
    at = fastbp.parametrised(rotation, 0.3)
    report = fastbp.check_gradient(lambda r: float(r[0, 0]), lambda r: r * np.nan, at)
    assert report.verdict == "failed"
    assert np.isnan(report.failures[0].given)


# ---- the rest of the interface ----


def test_numerical_gradients_are_projections() -> None:
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    found = fastbp.numerical_gradient(lambda a: a[1, 0] ** 2, fastbp.symmetric(matrix))
    np.testing.assert_allclose(found.value, [[0.0, 0.5], [0.5, 0.0]], atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_a_vjp_is_pulled_back(method: str) -> None:
    matrix = spd(np.random.default_rng(7), 3)

    def vjp(a: np.ndarray, w: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(a)
        return -inverse.T @ w @ inverse.T

    at = fastbp.positive_definite(matrix)
    report = fastbp.check_vjp(np.linalg.inv, vjp, at, method=method, seed=0)
    assert report.verdict == "passed", report
    assert fastbp.check_vjp(np.linalg.inv, lambda a, w: -vjp(a, w), at).verdict == "failed"


def test_single_precision_stays_single_for_the_users_gradient() -> None:
    matrix = spd(np.random.default_rng(8), 3).astype(np.float32)
    seen = set()

    def gradient(a: np.ndarray) -> np.ndarray:
        seen.add(a.dtype)
        return np.linalg.inv(a)

    def f(a: np.ndarray) -> float:
        return float(np.linalg.slogdet(a)[1])

    for mark in (fastbp.symmetric, fastbp.positive_definite):
        assert fastbp.check_gradient(f, gradient, mark(matrix))
    assert np.dtype(np.float32) in seen


def test_a_gradient_of_another_shape_is_a_finding() -> None:
    at = fastbp.symmetric(np.eye(2))
    report = fastbp.check_gradient(lambda a: float(np.sum(a**2)), lambda _: np.ones(3), at)
    assert report.verdict == "failed"
    assert "must have shape (2, 2), not (3,)" in str(report)


def test_the_callers_array_does_not_change_and_is_not_kept() -> None:
    matrix = np.eye(3)
    at = fastbp.symmetric(matrix)
    matrix[0, 0] = 7.0
    assert at.point[0, 0] == 1.0
    fastbp.check_gradient(lambda a: float(np.sum(a**2)), lambda a: 2 * a, at)
    np.testing.assert_array_equal(at.point, np.eye(3))


def test_the_same_seed_gives_the_same_bits() -> None:
    at = fastbp.positive_definite(spd(np.random.default_rng(9), 4))
    reports = [
        fastbp.check_gradient(
            lambda a: float(np.linalg.slogdet(a)[1]), np.linalg.inv, at, method="probe", seed=3
        ).to_dict()
        for _ in range(2)
    ]
    for report in reports:
        del report["seconds"], report["made"]
    assert reports[0] == reports[1]


@given(
    st.sampled_from([(0, 0), (1, 1), (2, 0, 0), (3, 1, 1), (2, 3, 3), (5, 5)]),
    st.sampled_from([np.float64, np.float32]),
    st.integers(0, 1000),
)
def test_symmetric_matrices_of_every_shape(shape: tuple[int, ...], dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=shape)
    matrix = (matrix + np.swapaxes(matrix, -1, -2)).astype(dtype)
    weights = rng.normal(size=shape)
    scale = np.float64(1.5)

    def f(params: list[Any]) -> float:
        return float(np.sum(np.tril(params[0]) * weights * params[1]) + params[1] ** 2)

    def gradient(params: list[Any]) -> list[Any]:
        return [
            (np.tril(weights) * params[1]).astype(params[0].dtype),
            np.float64(np.sum(np.tril(params[0]) * weights) + 2 * params[1]),
        ]

    report = fastbp.check_gradient(f, gradient, [fastbp.symmetric(matrix), scale])
    assert report.verdict == "passed", report


# ---- recognised without a mark ----


@pytest.mark.parametrize("method", METHODS)
def test_a_symmetric_matrix_that_is_perturbed_entry_by_entry_is_recognised(method: str) -> None:
    rng = np.random.default_rng(10)
    at = {"K": spd(rng, 4), "y": rng.normal(size=4)}
    report = fastbp.check_gradient(evidence, evidence_gradient, at, method=method, seed=0)
    assert report.verdict == "failed"
    assert any("fastbp.symmetric(params['K'])" in note for note in report.notes), report
    assert "numerical + its transpose = given + its transpose" in " ".join(report.notes)


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_that_is_wrong_along_symmetric_matrices_too_is_not_recognised(
    method: str,
) -> None:
    rng = np.random.default_rng(11)
    at = {"K": spd(rng, 4), "y": rng.normal(size=4)}

    def wrong(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: 1.1 * array for name, array in evidence_gradient(params).items()}

    report = fastbp.check_gradient(evidence, wrong, at, method=method, seed=0)
    assert report.verdict == "failed"
    assert not any("symmetric" in note for note in report.notes)


def in_the_lower_triangle(a: np.ndarray) -> float:
    return float(np.sum(np.tril(a) ** 2) + np.sum(np.tril(a, -1) ** 2))


class Watched:
    """A function that remembers where it was evaluated, and may be interrupted."""

    def __init__(self, last: int | None = None) -> None:
        self.arguments: list[np.ndarray] = []
        self.last = last

    def __call__(self, a: np.ndarray) -> float:
        self.arguments.append(a.copy())
        if len(self.arguments) == self.last:
            raise KeyboardInterrupt
        return in_the_lower_triangle(a)


def test_a_matrix_is_recognised_within_the_bounds_of_f() -> None:
    at = np.array([[3.0, 0.5], [0.5, 3.0]])
    upper = np.array([[3.0, 0.75], [0.5, 3.0]])
    f = Watched()
    report = fastbp.check_gradient(f, lambda a: 2 * a, at, bounds=(-3.0, upper), seed=0)
    assert any("fastbp.symmetric(a)" in note for note in report.notes), report
    assert all(np.all((a >= -3.0) & (a <= upper)) for a in f.arguments)


def test_a_matrix_is_recognised_with_the_evaluations_that_are_left() -> None:
    at = np.array([[3.0, 0.5], [0.5, 3.0]])
    whole = fastbp.check_gradient(in_the_lower_triangle, lambda a: 2 * a, at, seed=0)
    recognised = []
    for most in range(whole.evaluations - 40, whole.evaluations + 60, 10):
        f = Watched()
        report = fastbp.check_gradient(f, lambda a: 2 * a, at, max_evaluations=most, seed=0)
        assert len(f.arguments) == report.evaluations <= most
        recognised.append(any("fastbp.symmetric" in note for note in report.notes))
    assert not recognised[0]
    assert recognised[-1]


def test_ctrl_c_while_a_matrix_is_recognised_brings_the_report() -> None:
    at = np.array([[3.0, 0.5], [0.5, 3.0]])
    whole = fastbp.check_gradient(in_the_lower_triangle, lambda a: 2 * a, at, seed=0)
    with pytest.raises(KeyboardInterrupt) as caught:
        fastbp.check_gradient(Watched(whole.evaluations - 5), lambda a: 2 * a, at, seed=0)
    report = caught.value.report
    assert report.arrays == whole.arrays
    assert not any("symmetric" in note for note in report.notes)


def test_a_matrix_is_recognised_where_f_keeps_its_argument() -> None:
    class KeepsLast:
        argument: Any = None
        result = 0.0

        def __call__(self, a: np.ndarray) -> float:
            if self.argument is None or not np.array_equal(self.argument, a):
                self.argument, self.result = a, in_the_lower_triangle(a)
            return self.result

    at = np.array([[3.0, 0.5], [0.5, 3.0]])
    report = fastbp.check_gradient(KeepsLast(), lambda a: 2 * a, at, seed=0)
    assert any("fastbp.symmetric" in note for note in report.notes), report


# ---- refusals ----


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: fastbp.symmetric([[1.0]]), DTypeError,
         "symmetric takes an array of float64 or float32, not list."),
        (lambda: fastbp.sphere(np.ones(3, dtype=int)), DTypeError,
         "sphere takes an array of float64 or float32, not int64."),
        (lambda: fastbp.symmetric(np.ones((2, 3))), ShapeError,
         "symmetric: the matrix must have shape (..., n, n), not (2, 3)."),
        (lambda: fastbp.symmetric(np.array([[1.0, 2.0], [3.0, 4.0]])), OptionError,
         "symmetric: the matrix must be symmetric, but entry [0, 1] is 2 and entry [1, 0] is 3."),
        (lambda: fastbp.positive_definite(np.diag([1.0, -2.0])), OptionError,
         "positive_definite: the matrix must be positive definite, but its smallest eigenvalue is "
         "-2."),
        (lambda: fastbp.positive_definite(np.zeros((1, 1))), OptionError,
         "positive_definite: the matrix must be positive definite, but its smallest eigenvalue is "
         "0."),
        (lambda: fastbp.symmetric(np.full((1, 1), np.nan)), NonFiniteError,
         "symmetric: the array must be finite."),
        (lambda: fastbp.simplex(np.array([0.5, 0.6])), OptionError,
         "simplex: probabilities must have a sum of 1, but it is 1.1."),
        (lambda: fastbp.simplex(np.array([1.5, -0.5])), OptionError,
         "simplex: probabilities must be at least 0, but there is -0.5."),
        (lambda: fastbp.simplex(np.array([1.0]), axis=1), ShapeError,
         "simplex: axis must be an axis of an array of shape (1,), not 1."),
        (lambda: fastbp.simplex(np.array(1.0)), ShapeError,
         "simplex: axis must be an axis of an array of shape (), not -1."),
        (lambda: fastbp.sphere(np.ones((2, 2)), axis=True), ShapeError,
         "sphere: axis must be an axis of an array of shape (2, 2), not True."),
        (lambda: fastbp.sphere(np.array([[1.0, 0.0], [0.0, 0.0]]), axis=1), OptionError,
         "sphere: the norm must not be 0."),
        (lambda: fastbp.parametrised(3, 0.0), DTypeError,
         "parametrised takes a function from coordinates to a point, not int."),
        (lambda: fastbp.parametrised(lambda t: [np.ones(2) * t, t], 1.0), DTypeError,
         "parametrised: chart must return one array of float64 or float32, not a nesting."),
        (lambda: fastbp.parametrised(lambda t: np.ones(2) * t * 1j, 1.0), DTypeError,
         "parametrised: chart must return one array of float64 or float32, not complex128."),
        (lambda: fastbp.parametrised(lambda _: 1 / 0, 1.0), EvaluationError,
         "chart raised ZeroDivisionError"),
    ],
)  # fmt: skip
def test_what_is_no_point_of_the_set_is_refused(make: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind) as error:
        make()
    assert str(error.value).startswith(message)


def test_structured_points_are_refused_where_they_have_no_use() -> None:
    at = fastbp.symmetric(np.eye(2))
    with pytest.raises(OptionError, match="vectorized must be False where at holds a structured"):
        fastbp.check_gradient(np.sum, np.ones_like, at, vectorized=True)
    with pytest.raises(OptionError, match="vectorized must be False where at holds a structured"):
        fastbp.numerical_gradient(np.sum, at, vectorized=True)
    with pytest.raises(OptionError, match=r"check_jvp takes no structured points, but at holds"):
        fastbp.check_jvp(np.sin, lambda x, v: np.cos(x) * v, at)
    chart = fastbp.parametrised(rotation, 0.3)
    with pytest.raises(OptionError, match=r"check_vjp takes no point of fastbp\.parametrised"):
        fastbp.check_vjp(np.sin, lambda x, w: np.cos(x) * w, chart)


def test_a_structured_point_says_what_it_is() -> None:
    assert repr(fastbp.sphere(np.ones(3))) == "<fastbp.sphere: a point of shape (3,), float64>"
