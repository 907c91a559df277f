"""check_hessian and check_hvp: right and wrong, symmetric or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from support.derivative_cases import rosenbrock_gradient, rosenbrock_hessian, softmax

import fastbp
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError

pytestmark = pytest.mark.small

METHODS = ["every", "probe"]


def hvp(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return rosenbrock_hessian(x) @ v


def log_determinant_gradient(a: np.ndarray) -> np.ndarray:
    return np.linalg.inv(a).T


def log_determinant_hessian(a: np.ndarray) -> np.ndarray:
    """-A⁻¹[l, i] A⁻¹[j, k] by A[k, l] of the derivative by A[i, j]."""
    inverse = np.linalg.inv(a)
    return -np.einsum("li,jk->ijkl", inverse, inverse)


def cross_entropy_gradient(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of -log softmax(W x)[0] by W and x."""
    residual = softmax(params["W"] @ params["x"]) - np.eye(3)[0]
    return {"W": np.outer(residual, params["x"]), "x": params["W"].T @ residual}


def cross_entropy_hvp(
    params: dict[str, np.ndarray], v: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    p = softmax(params["W"] @ params["x"])
    residual = p - np.eye(3)[0]
    z = v["W"] @ params["x"] + params["W"] @ v["x"]
    moved = p * z - p * (p @ z)
    return {
        "W": np.outer(moved, params["x"]) + np.outer(residual, v["x"]),
        "x": v["W"].T @ residual + params["W"].T @ moved,
    }


def cross_entropy_hessian(params: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    names, hessian = ("W", "x"), {}
    for one in names:
        hessian[one] = {}
        for other in names:
            columns = []
            for place in np.ndindex(params[other].shape):
                v = {name: np.zeros_like(array) for name, array in params.items()}
                v[other][place] = 1.0
                columns.append(cross_entropy_hvp(params, v)[one])
            shape = (*params[one].shape, *params[other].shape)
            hessian[one][other] = np.stack(columns, axis=-1).reshape(shape)
    return hessian


def classifier(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"W": rng.normal(size=(3, 2)), "x": rng.normal(size=2)}


# ---- check_hessian ----


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, aslinearoperator])
def test_the_hessian_of_rosenbrock_in_every_form(form: Any, method: str) -> None:
    x = np.random.default_rng(0).normal(size=6)
    right = rosenbrock_hessian(x)
    report = fastbp.check_hessian(rosenbrock_gradient, form(right), x, method=method, seed=0)
    assert report.verdict == "passed", report
    assert fastbp.check_hessian(
        rosenbrock_gradient, lambda x: form(rosenbrock_hessian(x)), x, method=method, seed=0
    )
    wrong = right.copy()
    wrong[2, 3] = wrong[3, 2] = 1.001 * right[2, 3]
    report = fastbp.check_hessian(rosenbrock_gradient, form(wrong), x, method=method, seed=0)
    assert sorted(failure.where for failure in report.failures) == [
        "hessian[2, 3]",
        "hessian[3, 2]",
    ], report
    assert "hessian[2, 3] is gradient[2] by x[3]" in report.notes
    assert report.arrays[-1].name == "hessian, symmetry"
    assert report.arrays[-1].verdict == "passed"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, aslinearoperator])
def test_an_asymmetric_hessian_is_named_by_both_entries(form: Any, method: str) -> None:
    x = np.random.default_rng(1).normal(size=6)
    wrong = rosenbrock_hessian(x)
    wrong[4, 3] += 7.0
    report = fastbp.check_hessian(rosenbrock_gradient, form(wrong), x, method=method, seed=0)
    row = report.arrays[-1]
    assert row.verdict == "failed"
    assert "hessian[3, 4] is " in row.reason
    assert "hessian[4, 3] is " in row.reason
    assert [failure.where for failure in report.failures] == ["hessian[4, 3]"]


def test_asymmetry_that_no_difference_shows_is_found() -> None:
    rng = np.random.default_rng(2)

    def noisy(x: np.ndarray) -> np.ndarray:
        return rosenbrock_gradient(x) + 1e-9 * rng.normal(size=x.size)

    x = np.random.default_rng(3).normal(size=4)
    report = fastbp.check_hessian(noisy, rosenbrock_hessian, x, noise=1e-6, seed=0)
    assert report.verdict == "passed", report


@pytest.mark.parametrize("method", METHODS)
def test_a_hessian_by_a_matrix_in_both_shapes(method: str) -> None:
    rng = np.random.default_rng(4)
    root = rng.normal(size=(3, 3))
    a = root @ root.T + np.eye(3)
    full = log_determinant_hessian(a)
    for right in (full, full.reshape(9, 9)):
        report = fastbp.check_hessian(log_determinant_gradient, right, a, method=method, seed=0)
        assert report.verdict == "passed", report
    wrong = np.swapaxes(full, 2, 3)
    wrong = wrong.copy()
    report = fastbp.check_hessian(log_determinant_gradient, wrong + 1.0, a, method=method, seed=0)
    assert report.verdict == "failed"
    assert len(report.failures[0].index) == 4


@pytest.mark.parametrize("method", METHODS)
def test_blocks_for_several_arrays(method: str) -> None:
    at = classifier(5)
    report = fastbp.check_hessian(
        cross_entropy_gradient, cross_entropy_hessian, at, method=method, seed=0
    )
    assert report.verdict == "passed", report
    assert [(row.name, row.shape) for row in report.arrays[:4]] == [
        ("hessian['W']['W']", (3, 2, 3, 2)),
        ("hessian['W']['x']", (3, 2, 2)),
        ("hessian['x']['W']", (2, 3, 2)),
        ("hessian['x']['x']", (2, 2)),
    ]
    wrong = cross_entropy_hessian(at)
    wrong["x"]["W"][1, 2, 0] += 0.5
    report = fastbp.check_hessian(cross_entropy_gradient, wrong, at, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["hessian['x']['W'][1, 2, 0]"]
    assert "hessian['W']['x'][2, 0, 1] is " in report.arrays[-1].reason
    assert "hessian['x']['W'][1, 2, 0] is " in report.arrays[-1].reason


def test_a_gradient_of_no_function_is_a_finding() -> None:
    matrix = np.array([[1.0, 2.0], [0.0, 1.0]])

    def rotated(x: np.ndarray) -> np.ndarray:
        return np.array([x[0] + 2 * x[1], x[1]])

    symmetric = (matrix + matrix.T) / 2
    report = fastbp.check_hessian(rotated, symmetric, np.array([0.5, -1.0]))
    assert report.verdict == "failed"
    finding = next(row for row in report.arrays if row.name == "gradient")
    assert finding.reason.startswith("it is the gradient of no function: by x[1] the derivative")


def test_a_gradient_in_single_precision() -> None:
    def single(x: np.ndarray) -> np.ndarray:
        return rosenbrock_gradient(x.astype(np.float32)).astype(np.float64)

    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=4)
        report = fastbp.check_hessian(single, rosenbrock_hessian, x, seed=seed)
        assert report.verdict in ("passed", "inconclusive"), report
        report = fastbp.check_hessian(single, lambda x: 1.5 * rosenbrock_hessian(x), x, seed=seed)
        assert report.verdict == "failed", report


@pytest.mark.parametrize(
    ("gradient", "hessian", "kind", "message"),
    [
        (np.sin, np.ones((3, 3)), ShapeError, r"hessian must have shape \(2, 2\), not \(3, 3\)"),
        (lambda x: np.append(x, 1), np.ones((3, 2)), ShapeError,
         r"gradient must return the structure of x, x of shape \(2,\), not gradient of shape"),
        (lambda x: {"x": x}, np.ones((2, 2)), ShapeError, r"not gradient\['x'\] of shape \(2,\)"),
        (lambda x: 1 / 0, np.ones((2, 2)), EvaluationError, "gradient raised ZeroDivisionError"),  # noqa: ARG005
        (lambda x: x + 1j, np.ones((2, 2)), DTypeError, "check_hessian is for real functions"),
        (np.sin, [np.ones(2)] * 2, ShapeError, "hessian must be one matrix, or hold an array for"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_hessian_is_refused(
    gradient: Any, hessian: Any, kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        fastbp.check_hessian(gradient, hessian, np.array([1.0, 2.0]))


def test_structured_points_are_refused() -> None:
    at = fastbp.sphere(np.ones(2))
    with pytest.raises(OptionError, match="check_hessian takes no structured points"):
        fastbp.check_hessian(np.sin, np.eye(2), at)
    with pytest.raises(OptionError, match="check_hvp takes no structured points"):
        fastbp.check_hvp(np.sin, lambda x, v: np.cos(x) * v, at)


@pytest.mark.long
@given(
    st.sampled_from([(), (1,), (3,), (2, 3), (7,)]), st.sampled_from(METHODS), st.integers(0, 1000)
)
def test_points_of_every_shape(shape: tuple[int, ...], method: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = rng.normal(size=shape)
    n = at.size
    root = rng.normal(size=(n, n))
    matrix = root + root.T

    def gradient(x: Any) -> Any:
        flat = np.reshape(x, -1)
        found = (np.einsum("ij,j->i", matrix, flat) + flat**3).reshape(shape)
        return found if shape else float(found)

    right = matrix + np.diag(3 * np.reshape(at, -1) ** 2)
    point = at if shape else float(at)
    report = fastbp.check_hessian(
        gradient, right.reshape((*shape, *shape)), point, method=method, seed=seed
    )
    assert report.verdict == "passed", report
    wrong = right.copy()
    i, j = (int(place) for place in rng.integers(n, size=2))
    wrong[i, j] += 0.1
    report = fastbp.check_hessian(gradient, wrong, point, method=method, seed=seed)
    assert [failure.index for failure in report.failures] == [(i, j)], report
    assert (report.arrays[-1].verdict == "failed") == (i != j) or method == "every"


# ---- check_hvp ----


@pytest.mark.parametrize("method", METHODS)
def test_products_with_a_hessian(method: str) -> None:
    x = np.random.default_rng(6).normal(size=6)
    report = fastbp.check_hvp(rosenbrock_gradient, hvp, x, method=method, seed=0)
    assert report.verdict == "passed", report
    assert [row.name for row in report.arrays] == ["gradient by x", "hvp, symmetry"]

    def wrong(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        product = hvp(x, v)
        product[2] += 0.5 * v[4]
        return product

    report = fastbp.check_hvp(rosenbrock_gradient, wrong, x, method=method, seed=0)
    assert report.verdict == "failed"
    assert report.failures[0].where.startswith("gradient by x[2")
    assert report.arrays[-1].reason in (
        "hvp[2, 4] is 0.5, but hvp[4, 2] is 0",
        "hvp[4, 2] is 0, but hvp[2, 4] is 0.5",
    )


@pytest.mark.parametrize("method", METHODS)
def test_products_for_several_arrays(method: str) -> None:
    at = classifier(7)
    report = fastbp.check_hvp(cross_entropy_gradient, cross_entropy_hvp, at, method=method, seed=0)
    assert report.verdict == "passed", report

    def forgets_the_residual(params: Any, v: Any) -> dict[str, np.ndarray]:
        right = cross_entropy_hvp(params, v)
        residual = softmax(params["W"] @ params["x"]) - np.eye(3)[0]
        return right | {"x": right["x"] - v["W"].T @ residual}

    report = fastbp.check_hvp(
        cross_entropy_gradient, forgets_the_residual, at, method=method, seed=0
    )
    assert report.verdict == "failed"
    assert report.arrays[-1].verdict == "failed"  # the other block still has it


def sines(x: np.ndarray) -> np.ndarray:
    return np.sin(x)  # of a ufunc older versions of NumPy do not know the argument's name


def test_products_that_misbehave() -> None:
    x = np.array([1.0, 2.0])

    def changes(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        product = np.cos(x) * v
        x += 1
        return product

    report = fastbp.check_hvp(sines, changes, x)
    assert report.verdict == "failed"
    assert any(row.reason == "hvp changed its argument: x" for row in report.arrays)
    report = fastbp.check_hvp(sines, lambda x, v: np.ones(3), x)  # noqa: ARG005
    assert report.verdict == "failed"
    with pytest.raises(EvaluationError, match="hvp raised ZeroDivisionError"):
        fastbp.check_hvp(sines, lambda x, v: 1 / 0, x)  # noqa: ARG005


def test_the_same_seed_gives_the_same_bits() -> None:
    x = np.random.default_rng(8).normal(size=5)
    for method in METHODS:
        reports = [
            fastbp.check_hvp(rosenbrock_gradient, hvp, x, method=method, seed=3).to_dict()
            for _ in range(2)
        ]
        for report in reports:
            del report["seconds"], report["made"]
        assert reports[0] == reports[1]


def test_an_operator_that_is_not_symmetric() -> None:
    x = np.random.default_rng(9).normal(size=5)
    wrong = rosenbrock_hessian(x)
    wrong[0, 4] = 3.0
    operator = LinearOperator((5, 5), matvec=lambda v: wrong @ v, dtype=np.float64)
    report = fastbp.check_hessian(rosenbrock_gradient, operator, x, seed=0)
    assert "hessian[0, 4]" in report.arrays[-1].reason
    assert [failure.where for failure in report.failures] == ["hessian[0, 4]"]


def test_a_vectorized_gradient_of_another_form_is_named_as_such() -> None:
    with pytest.raises(
        ShapeError,
        match=r"^gradient is vectorized: gradient must have shape \(1, \.\.\.\) for 1 point, not",
    ):
        fastbp.check_hessian(lambda x: 2 * x[0], 2 * np.eye(2), np.ones(2), vectorized=True)


def test_a_product_of_another_form_is_named_and_not_looked_at_for_symmetry() -> None:
    x = np.array([1.0, 2.0])
    for hvp, reason in (
        (lambda *_: None, "is not given"),
        (lambda _, v: v[:1], "must have shape (2,), not (1,)"),
    ):
        report = fastbp.check_hvp(lambda x: x, hvp, x)
        assert [(row.name, row.reason) for row in report.arrays] == [("gradient by x", reason)]
    with pytest.raises(DTypeError, match=r"^hvp must be an array of floats, not str\.$"):
        fastbp.check_hvp(lambda x: x, lambda *_: "none", x)
