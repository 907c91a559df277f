"""check_jacobian: dense, in blocks, sparse and as an operator; right and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from support.derivative_cases import (
    integrated,
    reaction,
    reaction_jacobian,
    sensitivities,
    softmax,
    softmax_jacobian,
    solved,
    solved_jacobian,
)

import fastbp
from fastbp.errors import DTypeError, EvaluationError, OptionError, ShapeError

pytestmark = pytest.mark.small

METHODS = ["every", "probe"]


# ---- dense ----


@pytest.mark.parametrize("method", METHODS)
def test_sensitivities_of_an_integrator(method: str) -> None:
    y = np.random.default_rng(1).normal(size=4)
    report = fastbp.check_jacobian(integrated, sensitivities, y, method=method, seed=0)
    assert report.verdict == "passed", report
    assert fastbp.check_jacobian(integrated, sensitivities(y), y, method=method, seed=0)
    wrong = sensitivities(y)
    wrong[2, 1] += 1e-6
    report = fastbp.check_jacobian(integrated, wrong, y, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["jacobian[2, 1]"]
    assert "jacobian[2, 1] is output[2] by y[1]" in report.notes
    assert report.failures[0].error == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_jacobian_of_arrays_of_two_axes_in_both_shapes(method: str) -> None:
    z = np.random.default_rng(2).normal(size=(3, 4))
    full = softmax_jacobian(z)
    flat = full.reshape(12, 12)
    for right in (full, flat):
        assert fastbp.check_jacobian(softmax, right, z, method=method, seed=0), right.shape
    full[1, 2, 1, 3] *= 1.001
    report = fastbp.check_jacobian(softmax, full, z, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["jacobian[1, 2, 1, 3]"]
    assert report.arrays[0].shape == (3, 4, 3, 4)
    report = fastbp.check_jacobian(softmax, full.reshape(12, 12), z, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["jacobian[6, 7]"]
    assert "jacobian[6, 7] is output[1, 2] by z[1, 3]" in report.notes


@pytest.mark.parametrize("method", METHODS)
def test_blocks_for_several_arrays(method: str) -> None:
    rng = np.random.default_rng(3)
    at = {"K": rng.normal(size=(3, 3)), "y": rng.normal(size=3)}
    report = fastbp.check_jacobian(solved, solved_jacobian, at, method=method, seed=0)
    assert report.verdict == "passed", report
    assert [(row.name, row.shape) for row in report.arrays] == [
        ("jacobian['K']", (3, 3, 3)),
        ("jacobian['y']", (3, 3)),
    ]
    wrong = solved_jacobian(at)
    wrong["K"][0, 2, 1] += 0.01
    report = fastbp.check_jacobian(solved, wrong, at, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["jacobian['K'][0, 2, 1]"]
    assert report.arrays[1].verdict == "passed"
    flat = np.concatenate([wrong["K"].reshape(3, 9), wrong["y"]], axis=1)
    report = fastbp.check_jacobian(solved, flat, at, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["jacobian[0, 7]"]
    assert "jacobian[0, 7] is output[0] by params['K'][2, 1]" in report.notes


def test_results_of_several_arrays_have_a_block_each() -> None:
    def f(x: np.ndarray) -> dict[str, Any]:
        return {"sine": np.sin(x), "sum": np.sum(x**2)}

    x = np.array([0.3, -0.2])
    right = {"sine": np.diag(np.cos(x)), "sum": 2 * x}
    assert fastbp.check_jacobian(f, right, x)
    wrong = right | {"sum": 2 * x + [0.0, 1.0]}
    report = fastbp.check_jacobian(f, wrong, x)
    assert [failure.where for failure in report.failures] == ["jacobian['sum'][1]"]
    mixed = {"sine": sparse.diags_array(np.cos(x)), "sum": 2 * x}
    report = fastbp.check_jacobian(f, mixed, x)
    assert report.verdict == "passed", report
    mixed["sine"] = sparse.csr_array((2, 2))
    report = fastbp.check_jacobian(f, mixed, x)
    assert sorted(failure.where for failure in report.failures) == [
        "jacobian['sine'][0, 0]",
        "jacobian['sine'][1, 1]",
    ]


def test_a_scalar_result_has_a_gradient_as_jacobian() -> None:
    x = np.array([1.0, 2.0, 3.0])
    for right in (3 * x**2, (3 * x**2).reshape(1, 3)):
        assert fastbp.check_jacobian(lambda x: np.sum(x**3), right, x)
    assert fastbp.check_jacobian(lambda t: t * np.ones(2), np.ones((2,)), 0.5)
    assert fastbp.check_jacobian(lambda t: t * np.ones(2), np.ones((2, 1)), 0.5)


def test_rows_of_very_different_sizes_are_judged_by_themselves() -> None:
    scales = np.array([1e-12, 1.0, 1e9])
    x = np.array([0.5, 0.7])

    def f(x: np.ndarray) -> np.ndarray:
        return scales * np.array([np.sin(x[0]), x[0] * x[1], np.exp(x[1])])

    right = scales[:, np.newaxis] * np.array([[np.cos(0.5), 0], [0.7, 0.5], [0, np.exp(0.7)]])
    assert fastbp.check_jacobian(f, right, x)
    wrong = right.copy()
    wrong[0, 0] *= 1.0001
    for method in METHODS:
        report = fastbp.check_jacobian(f, wrong, x, method=method, seed=1)
        assert [failure.where for failure in report.failures] == ["jacobian[0, 0]"], report


@pytest.mark.parametrize("method", METHODS)
def test_kinks_pass_with_what_lies_between(method: str) -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0.0)

    x = np.array([-1.0, 0.0, 2.0])
    for at_zero in (0.0, 0.5, 1.0):
        right = np.diag([0.0, at_zero, 1.0])
        report = fastbp.check_jacobian(f, right, x, method=method, seed=0)
        assert report.verdict == "passed", report
    assert fastbp.check_jacobian(f, np.diag([0.0, 1.5, 1.0]), x, method=method).verdict == "failed"


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_inside_raises_no_alarm(method: str) -> None:
    def f(z: np.ndarray) -> np.ndarray:
        return softmax(z.astype(np.float32)).astype(np.float64)

    for seed in range(5):
        z = np.random.default_rng(seed).normal(size=(2, 3))
        right = softmax_jacobian(z)
        report = fastbp.check_jacobian(f, right, z, method=method, seed=seed)
        assert report.verdict in ("passed", "inconclusive"), report
        right[0, 1, 0, 1] *= 1.5
        report = fastbp.check_jacobian(f, right, z, method=method, seed=seed)
        assert report.verdict == "failed", report


def test_a_jacobian_in_single_precision() -> None:
    z = np.random.default_rng(4).normal(size=(2, 3)).astype(np.float32)
    right = softmax_jacobian(z).astype(np.float32)
    assert fastbp.check_jacobian(softmax, right, z)
    right[0, 1, 0, 1] *= 1.01
    assert fastbp.check_jacobian(softmax, right, z).verdict == "failed"


def test_zero_on_both_sides_is_vacuous() -> None:
    for method in METHODS:
        report = fastbp.check_jacobian(lambda x: 0 * x, np.zeros((3, 3)), np.ones(3), method=method)
        assert report.verdict == "vacuous", report


def test_what_is_not_finite_is_named() -> None:
    x = np.array([1.0, 2.0])
    wrong = np.diag(np.cos(x))
    wrong[0, 1] = np.nan
    for method in METHODS:
        report = fastbp.check_jacobian(np.sin, wrong, x, method=method)
        assert [failure.where for failure in report.failures] == ["jacobian[0, 1]"], report
    report = fastbp.check_jacobian(lambda x: x * [1.0, np.nan], np.eye(2), x)
    assert report.verdict == "inconclusive", report
    assert "output[1] is nan at the point" in report.notes


# ---- sparse ----


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dia"])
def test_sparse_jacobians_of_every_format(form: str, method: str) -> None:
    u = np.random.default_rng(5).normal(size=9)
    right = reaction_jacobian(u).asformat(form)
    report = fastbp.check_jacobian(reaction, right, u, method=method, seed=0)
    assert report.verdict == "passed", report


def test_a_tridiagonal_jacobian_takes_as_many_evaluations_for_every_size() -> None:
    evaluations = []
    for size in (100, 1000):
        u = np.random.default_rng(6).normal(size=size)
        report = fastbp.check_jacobian(reaction, reaction_jacobian, u, method="every", seed=0)
        assert report.verdict == "passed", report
        assert f"{size} columns in 3 groups that share no row" in report.notes
        evaluations.append(report.evaluations)
    assert max(evaluations) < 250


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_and_a_missing_entry_of_a_sparse_jacobian(method: str) -> None:
    u = np.random.default_rng(7).normal(size=200)
    jacobian = reaction_jacobian(u).tolil()
    jacobian[50, 51] = 0.0
    jacobian[120, 120] *= 1.01
    wrong = jacobian.tocsr()
    wrong.eliminate_zeros()
    report = fastbp.check_jacobian(reaction, wrong, u, method=method, seed=0)
    assert {failure.where for failure in report.failures} == {
        "jacobian[50, 51]",
        "jacobian[120, 120]",
    }, report
    assert not report.at_least
    missing = next(failure for failure in report.failures if failure.index == (50, 51))
    assert missing.given == 0.0
    assert missing.numerical == pytest.approx((201.0) ** 2 / 100)
    if method == "every":
        assert "the sparsity pattern misses 1 entry" in report.arrays[0].reason


@pytest.mark.long
def test_a_pattern_that_misses_two_diagonals_does_not_blame_the_third() -> None:
    u = np.random.default_rng(8).normal(size=150)
    diagonal = sparse.diags_array(reaction_jacobian(u).diagonal()).tocsr()
    report = fastbp.check_jacobian(reaction, diagonal, u, method="every", seed=0)
    assert report.verdict == "failed"
    assert report.at_least
    assert {abs(failure.index[0] - failure.index[1]) for failure in report.failures} == {1}
    assert any("could not be judged: they share their row" in note for note in report.notes)


def test_an_empty_pattern() -> None:
    x = np.array([1.0, 2.0])
    report = fastbp.check_jacobian(np.sin, sparse.csr_array((2, 2)), x)
    assert sorted(failure.where for failure in report.failures) == [
        "jacobian[0, 0]",
        "jacobian[1, 1]",
    ]
    report = fastbp.check_jacobian(lambda x: 0 * x, sparse.csr_array((2, 2)), x)
    assert report.verdict == "vacuous", report


def test_stored_zeros_are_judged_like_other_entries() -> None:
    x = np.array([1.0, 2.0])
    stored = sparse.csr_array((np.array([0.0, np.cos(2.0)]), ([0, 1], [0, 1])), shape=(2, 2))
    report = fastbp.check_jacobian(np.sin, stored, x)
    assert [failure.where for failure in report.failures] == ["jacobian[0, 0]"]


# ---- operators ----


def operator(forward: np.ndarray, backward: np.ndarray | None) -> LinearOperator:
    return LinearOperator(
        forward.shape,
        matvec=lambda v: forward @ v,
        rmatvec=None if backward is None else lambda u: backward.T @ u,
        dtype=np.float64,
    )


@pytest.mark.parametrize("method", METHODS)
def test_operators_and_their_transposes(method: str) -> None:
    y = np.random.default_rng(9).normal(size=4)
    right = sensitivities(y)
    wrong = right.copy()
    wrong[3, 0] -= 0.5
    report = fastbp.check_jacobian(integrated, operator(right, right), y, method=method, seed=0)
    assert report.verdict == "passed", report
    assert report.arrays[-1].name == "jacobian.rmatvec against matvec"
    report = fastbp.check_jacobian(integrated, operator(wrong, wrong), y, method=method, seed=0)
    assert [failure.where for failure in report.failures] == ["jacobian[3, 0]"], report
    assert report.arrays[-1].verdict == "passed"
    report = fastbp.check_jacobian(integrated, operator(right, wrong), y, method=method, seed=0)
    assert report.arrays[0].verdict == "passed"
    assert report.arrays[-1].verdict == "failed"
    assert report.arrays[-1].reason.startswith("entry [3, 0] is ")
    report = fastbp.check_jacobian(integrated, operator(right, None), y, method=method, seed=0)
    assert report.verdict == "passed"
    assert "jacobian has no rmatvec: matvec alone was checked" in report.notes


def test_an_rmatvec_that_raises_is_named() -> None:
    def raises(_: np.ndarray) -> np.ndarray:
        raise ValueError("no transpose today")

    matrix = np.diag([2.0, 3.0])
    given = LinearOperator((2, 2), matvec=lambda v: matrix @ v, rmatvec=raises, dtype=np.float64)
    with pytest.raises(
        EvaluationError, match=r"^jacobian\.rmatvec raised ValueError at the point: no transpose"
    ):
        fastbp.check_jacobian(lambda x: matrix @ x, given, np.ones(2))


def test_an_operator_of_a_sparse_matrix() -> None:
    u = np.random.default_rng(10).normal(size=30)
    for method in METHODS:
        report = fastbp.check_jacobian(
            reaction, lambda u: aslinearoperator(reaction_jacobian(u)), u, method=method, seed=0
        )
        assert report.verdict == "passed", report


# ---- what misbehaves ----


def sines(x: np.ndarray) -> np.ndarray:
    return np.sin(x)  # of a ufunc older versions of NumPy do not know the argument's name


def test_a_jacobian_function_that_misbehaves_fails() -> None:
    x = np.array([1.0, 2.0])

    def changes_its_argument(x: np.ndarray) -> np.ndarray:
        right = np.diag(np.cos(x))
        x += 1
        return right

    calls = iter([1.0, 2.0])
    cases = {
        "jacobian changed its argument: x": changes_its_argument,
        "jacobian, called twice, gave two": lambda x: np.diag(np.cos(x)) * next(calls),
        "must have shape (2, 2), not (3,)": lambda _: np.ones(3),
        "must be float64 or float32, not int64": lambda _: np.ones((2, 2), dtype=int),
        "must have shape (2, 2), not (2,)": lambda _: sparse.coo_array(np.ones(2)),
        "must be a plain array, not MaskedArray": lambda _: np.ma.array(np.ones((2, 2))),
        "must be an array, a sparse array, a LinearOperator or a function": lambda _: None,
    }
    for reason, jacobian in cases.items():
        report = fastbp.check_jacobian(sines, jacobian, x)
        assert report.verdict == "failed"
        assert any(row.reason.startswith(reason) for row in report.arrays), report


def test_a_function_that_changes_its_argument_fails() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        x *= 2
        return x.copy()

    report = fastbp.check_jacobian(f, 2 * np.eye(2), np.ones(2))
    assert report.verdict == "failed"
    assert report.arrays[-1].name == "f"


@pytest.mark.parametrize(
    ("f", "jacobian", "kind", "message"),
    [
        (np.sin, np.ones((2, 3)), ShapeError, r"jacobian must have shape \(2, 2\), not \(2, 3\)"),
        (lambda x: np.append(x, 1.0), np.ones((2, 3)), ShapeError,
         r"jacobian must have shape \(3, 2\), not \(2, 3\). It seems to be transposed"),
        (lambda x: np.outer(x, x)[:, :, np.newaxis], np.ones((2, 2, 2, 1)), ShapeError,
         r"jacobian must have shape \(2, 2, 1, 2\) or \(4, 2\), not \(2, 2, 2, 1\). It seems to"),
        (np.sin, sparse.csr_array((3, 2)), ShapeError, r"must have shape \(2, 2\), not \(3, 2\)"),
        (np.sin, aslinearoperator(np.ones((3, 2))), ShapeError, r"must have shape \(2, 2\), not"),
        (np.sin, LinearOperator((2, 2), matvec=lambda v: v, dtype=np.complex128), DTypeError,
         "jacobian must be an operator of real numbers, not of complex128"),
        (np.sin, np.ones((2, 2), dtype=int), DTypeError, "must be float64 or float32, not int64"),
        (np.sin, sparse.csr_array((2, 2), dtype=int), DTypeError, "must be float64 or float32"),
        (np.sin, "J", DTypeError, "jacobian must be an array, a sparse array, a LinearOperator or"),
        (np.sin, {"a": np.ones((2, 2))}, ShapeError, "there is none for jacobian"),
        (lambda x: {"a": x}, {"a": np.ones((2, 2)), "b": 1.0}, ShapeError,
         r"jacobian must not hold jacobian\['b'\]"),
        (lambda x: {"a": x}, {"a": aslinearoperator(np.ones((2, 2)))}, DTypeError,
         r"jacobian\['a'\] must be an array or a sparse array, not an operator"),
        (np.sin, LinearOperator((2, 2), matvec=lambda v: 1 / 0, dtype=float), EvaluationError,  # noqa: ARG005
         r"jacobian\.matvec raised ZeroDivisionError"),
        (np.sin, lambda x: x / "a", EvaluationError, "jacobian raised"),
        (lambda x: 1 / 0, np.ones((2, 2)), EvaluationError, "f raised ZeroDivisionError"),  # noqa: ARG005
        (lambda x: x * 1j, np.ones((2, 2)), DTypeError, "check_jacobian is for real functions"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_jacobian_is_refused(
    f: Any, jacobian: Any, kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        fastbp.check_jacobian(f, jacobian, np.array([1.0, 2.0]))


def test_structured_points_and_unknown_options_are_refused() -> None:
    with pytest.raises(OptionError, match="check_jacobian takes no structured points"):
        fastbp.check_jacobian(np.sin, np.eye(2), fastbp.sphere(np.ones(2)))
    with pytest.raises(OptionError):
        fastbp.check_jacobian(np.sin, np.eye(2), np.ones(2), steps=3)


# ---- the rest ----


@pytest.mark.parametrize("method", METHODS)
def test_tolerances_of_the_user(method: str) -> None:
    x = np.array([1.0, 2.0])
    near = np.diag(np.cos(x)) * (1 + 1e-6)
    assert fastbp.check_jacobian(np.sin, near, x, method=method).verdict == "failed"
    assert fastbp.check_jacobian(np.sin, near, x, method=method, rtol=1e-5)
    assert fastbp.check_jacobian(np.sin, near, x, method=method, rtol=1e-7).verdict == "failed"


def test_vectorized_and_workers_give_the_same() -> None:
    x = np.array([0.5, 1.0, 2.0])
    plain = fastbp.check_jacobian(np.sin, np.diag(np.cos(x)), x, seed=0)
    many = fastbp.check_jacobian(np.sin, np.diag(np.cos(x)), x, seed=0, vectorized=True)
    assert plain.arrays == many.arrays


def test_bounds_are_kept() -> None:
    seen = []

    def f(x: np.ndarray) -> np.ndarray:
        seen.append(x.copy())
        return np.sqrt(x)

    x = np.array([1.0, 4.0])
    report = fastbp.check_jacobian(f, np.diag(0.5 / np.sqrt(x)), x, bounds=(1.0, 4.0))
    assert report.verdict == "passed", report
    assert np.min(seen) >= 1
    assert np.max(seen) <= 4


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bits(method: str) -> None:
    u = np.random.default_rng(11).normal(size=20)
    wrong = reaction_jacobian(u) * 1.001
    reports = [
        fastbp.check_jacobian(reaction, wrong, u, method=method, seed=3).to_dict() for _ in range(2)
    ]
    for report in reports:
        del report["seconds"], report["made"]
    assert reports[0] == reports[1]


@pytest.mark.long
@given(
    st.sampled_from([(), (1,), (3,), (2, 2), (5, 1)]),
    st.sampled_from([(), (1,), (3,), (2, 3), (7,)]),
    st.sampled_from(METHODS),
    st.integers(0, 1000),
)
def test_results_and_arguments_of_every_shape(
    output: tuple[int, ...], argument: tuple[int, ...], method: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    at = rng.normal(size=argument)
    m, n = int(np.prod(output)), int(np.prod(argument))
    matrix = rng.normal(size=(m, n))

    def f(x: Any) -> np.ndarray:
        return np.sin(np.einsum("ij,j->i", matrix, np.reshape(x, -1))).reshape(output)

    inner = matrix @ np.reshape(at, -1)
    right = (np.cos(inner)[:, np.newaxis] * matrix).reshape((*output, *argument))
    at = at if argument else float(at)
    report = fastbp.check_jacobian(f, right, at, method=method, seed=seed)
    assert report.verdict == "passed", report
    wrong = right.copy()
    place = np.unravel_index(int(rng.integers(m * n)), right.shape)
    wrong[place] += 0.1
    report = fastbp.check_jacobian(f, wrong, at, method=method, seed=seed)
    assert [failure.index for failure in report.failures] == [tuple(map(int, place))], report


def test_arrays_without_entries_have_empty_blocks() -> None:
    def f(params: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {"empty": params[0][:0], "sine": np.sin(params[0])}

    at = [np.array([0.5, 1.0]), np.zeros((0, 3))]
    right = {
        "empty": [np.zeros((0, 2)), np.zeros((0, 0, 3))],
        "sine": [np.diag(np.cos(at[0])), np.zeros((2, 0, 3))],
    }
    for method in METHODS:
        report = fastbp.check_jacobian(f, right, at, method=method)
        assert report.verdict == "passed", report
        assert [row.verdict for row in report.arrays].count("untested") == 3


def test_a_limit_of_evaluations_chooses_probe() -> None:
    x = np.random.default_rng(12).normal(size=50)
    report = fastbp.check_jacobian(np.sin, np.diag(np.cos(x)), x, max_evaluations=100, seed=0)
    assert report.verdict == "passed", report
    assert report.method == "probe"
    assert report.evaluations <= 100
    report = fastbp.check_jacobian(np.sin, np.diag(np.cos(x)), x, seed=0)
    assert report.method == "every"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csc_array, aslinearoperator])
def test_some_columns_only(method: str, form: Any) -> None:
    def f(p: dict[str, np.ndarray]) -> np.ndarray:
        return np.sin(p["a"]) * p["b"]

    at = {"a": np.linspace(0.5, 1.0, 4), "b": np.ones(4)}
    right = np.hstack([np.diag(np.cos(at["a"])), np.diag(np.sin(at["a"]))])
    wrong = right.copy()
    wrong[1, 1], wrong[2, 6] = 3.0, 4.0
    options: Any = {"method": method, "seed": 0}
    report = fastbp.check_jacobian(f, form(wrong), at, entries=["a[0]", "a[2]", "b[1]"], **options)
    assert report.verdict == "passed", report
    assert report.entries == (3 if form is sparse.csc_array and method == "every" else 12)
    assert "3 of 8 entries were chosen; the others are not judged" in report.notes
    report = fastbp.check_jacobian(f, form(wrong), at, entries="a", **options)
    assert [failure.where for failure in report.failures] == ["jacobian[1, 1]"]
    report = fastbp.check_jacobian(f, form(wrong), at, entries=8, **options)
    places = sorted(failure.where for failure in report.failures)
    assert places == ["jacobian[1, 1]", "jacobian[2, 6]"]


@pytest.mark.parametrize("method", METHODS)
def test_blocks_of_which_no_column_is_chosen(method: str) -> None:
    at = {"a": np.ones(2), "b": np.ones(2)}
    blocks = {"a": np.eye(2), "b": -7 * np.eye(2)}
    report = fastbp.check_jacobian(
        lambda p: p["a"] + p["b"], blocks, at, entries="a", method=method, seed=0
    )
    assert [row.verdict for row in report.arrays] == ["passed", "untested"]
    assert report.arrays[1].reason == "none of its entries was chosen"


def test_a_list_of_rows_is_a_matrix() -> None:
    x = np.array([1.0, 2.0])
    for jacobian in (np.diag(np.cos(x)).tolist(), lambda x: np.diag(np.cos(x)).tolist()):
        assert fastbp.check_jacobian(sines, jacobian, x).verdict == "passed"
    assert fastbp.check_jacobian(lambda x: x[::-1], [[0, 1], [1, 0]], x).verdict == "passed"
    with pytest.raises(ShapeError, match=r"^jacobian must be a list of rows of one length\.$"):
        fastbp.check_jacobian(sines, [[1.0], [0.0, 1.0]], x)
    with pytest.raises(DTypeError, match=r"^jacobian must hold numbers in the range of float64\.$"):
        fastbp.check_jacobian(sines, [[10**400, 0], [0, 1]], x)
