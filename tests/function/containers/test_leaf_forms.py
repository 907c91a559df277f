"""Points, gradients and results that are no plain arrays: tensors, JAX, sparse ones, matrices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import torch

import fastbp

pytestmark = pytest.mark.small

AT = np.array([1.0, 2.0, 3.0])
KINDS = {
    "torch": lambda array: torch.tensor(array),
    "torch, float32": lambda array: torch.tensor(array, dtype=torch.float32),
    "torch, requires_grad": lambda array: torch.tensor(array, requires_grad=True),
    "jax": jnp.asarray,
    "memmap": lambda array: array.view(np.memmap),
}
FORMATS = ["csr", "csc", "coo", "bsr", "dia"]


def squares(x: Any) -> Any:
    return (x**2).sum()


def sparse(kind: str, *, array: bool = True) -> Any:
    matrix = scipy.sparse.random(4, 5, 0.4, format="csr", random_state=0)
    return (scipy.sparse.csr_array(matrix) if array else matrix).asformat(kind)


def sum_of_squares(matrix: Any) -> float:
    return float((matrix.toarray() ** 2).sum())


@pytest.mark.parametrize("kind", KINDS)
class TestArraysOfOthers:
    def test_a_right_gradient_passes(self, kind: str) -> None:
        at = KINDS[kind](AT)
        assert fastbp.check_gradient(squares, lambda x: 2 * x, at).verdict == "passed"

    def test_a_wrong_gradient_fails(self, kind: str) -> None:
        at = KINDS[kind](AT)
        report = fastbp.check_gradient(squares, lambda x: 2.001 * x, at)
        assert (report.verdict, report.wrong) == ("failed", 3)

    def test_a_value_is_taken_for_a_gradient(self, kind: str) -> None:
        at = KINDS[kind](AT)
        assert fastbp.check_gradient(squares, 2 * at, at)

    def test_the_numerical_gradient_is_of_numpy(self, kind: str) -> None:
        found = fastbp.numerical_gradient(squares, KINDS[kind](AT))
        assert type(found.value) is np.ndarray
        assert found.value == pytest.approx(2 * AT, rel=1e-6)

    def test_products_get_the_same_kind(self, kind: str) -> None:
        at = KINDS[kind](AT)
        seen: list[type] = []

        def vjp(x: Any, w: Any) -> Any:
            seen.extend((type(x), type(w)))
            return 2 * w * x

        def jvp(x: Any, v: Any) -> Any:
            seen.extend((type(x), type(v)))
            return 2 * v * x

        assert fastbp.check_vjp(lambda x: x**2, vjp, at)
        assert fastbp.check_jvp(lambda x: x**2, jvp, at)
        expected = np.ndarray if kind == "memmap" else type(at)
        assert set(seen) == {expected}


def test_jax_is_differenced_in_64_bits() -> None:
    at = jnp.asarray(AT)
    assert at.dtype == jnp.float32
    found = fastbp.numerical_gradient(squares, at)
    assert np.max(found.error_bar) < 1e-8
    steps = fastbp.taylor_test(squares, jax.grad(squares), at, seed=0)
    assert steps.verdict == "passed"
    assert steps.noise < 1e-14
    assert not jax.config.jax_enable_x64


def test_random_numbers_of_jax_are_those_of_its_own_mode() -> None:
    at = {"key": jax.random.key(0), "x": jnp.asarray(AT)}

    def f(p: Any) -> Any:
        return (p["x"] * jax.random.normal(p["key"], (3,))).sum()

    def gradient(p: Any) -> Any:
        return {"key": None, "x": jax.random.normal(p["key"], (3,))}

    assert fastbp.check_gradient(f, gradient, at)


def test_a_tensor_that_is_changed_in_place_is_a_finding() -> None:
    def f(x: Any) -> Any:
        x.mul_(2)
        return squares(x) / 4

    report = fastbp.check_gradient(f, lambda x: 2 * x, torch.tensor(AT))
    assert report.arrays[-1].reason == "f changed its argument: x"


def test_a_view_of_a_tensor_is_read_before_it_changes() -> None:
    assert fastbp.check_gradient(
        lambda x: x[0], lambda x: torch.tensor([1.0, 0, 0], dtype=x.dtype), torch.tensor(AT)
    )


def test_a_function_may_keep_its_tensor() -> None:
    memory: list[Any] = []

    def f(x: Any) -> Any:
        if not memory or not torch.equal(memory[0], x):
            memory[:] = [x, squares(x)]
        return memory[1]

    assert fastbp.check_gradient(f, lambda x: 2 * x, torch.tensor(AT))


def test_sparse_gradients_of_torch_are_filled_with_zeros() -> None:
    assert fastbp.check_gradient(squares, lambda x: (2 * x).to_sparse(), torch.tensor(AT))


def test_tensors_that_are_refused_say_why() -> None:
    half = torch.ones(3, dtype=torch.bfloat16)
    with pytest.raises(fastbp.DTypeError, match=r"x must be float64 or float32, not bfloat16\."):
        fastbp.check_gradient(squares, lambda x: 2 * x, half)
    with pytest.raises(fastbp.DTypeError, match=r"x must be a dense tensor: use \.to_dense\(\)\."):
        fastbp.check_gradient(squares, lambda x: 2 * x, torch.eye(3).to_sparse())


def test_an_array_within_jit_is_refused() -> None:
    def inside(x: Any) -> Any:
        fastbp.check_gradient(squares, lambda x: 2 * x, x)
        return x

    with pytest.raises(fastbp.DTypeError, match="x must be an array of numbers: "):
        jax.jit(inside)(jnp.ones(3))


@pytest.mark.parametrize("kind", FORMATS)
class TestSparse:
    @pytest.mark.parametrize("array", [True, False])
    def test_its_data_are_checked_against_a_sparse_gradient(self, kind: str, array: bool) -> None:
        at = sparse(kind, array=array)
        report = fastbp.check_gradient(sum_of_squares, lambda s: 2 * s, at)
        assert (report.verdict, report.arrays[0].name) == ("passed", "matrix.data")

    def test_its_data_are_checked_against_a_dense_gradient(self, kind: str) -> None:
        at = sparse(kind)
        assert fastbp.check_gradient(sum_of_squares, lambda s: 2 * s.toarray(), at)

    def test_its_data_are_checked_against_their_own_derivative(self, kind: str) -> None:
        at = sparse(kind)
        gradient = 2 * at.data
        if kind == "dia":  # whose data reach beyond the matrix
            gradient = (2 * at).data
        assert fastbp.check_gradient(sum_of_squares, lambda _: gradient, at, atol=1e-6)

    def test_a_wrong_entry_is_found(self, kind: str) -> None:
        at = sparse(kind)

        def wrong(matrix: Any) -> Any:
            dense = 2 * matrix.toarray()
            dense[np.unravel_index(np.argmax(dense), dense.shape)] *= 1.01
            return dense

        report = fastbp.check_gradient(sum_of_squares, wrong, at)
        assert (report.verdict, report.wrong) == ("failed", 1)

    def test_the_numerical_gradient_keeps_the_structure(self, kind: str) -> None:
        at = sparse(kind)
        found = fastbp.numerical_gradient(sum_of_squares, at)
        assert found.value.format == kind
        assert found.value.toarray() == pytest.approx(2 * at.toarray(), abs=1e-8)

    def test_the_function_gets_the_format_and_explicit_zeros(self, kind: str) -> None:
        at = sparse(kind)
        at.data.flat[0] = 0.0
        seen: set[tuple[str, int]] = set()

        def f(matrix: Any) -> float:
            seen.add((matrix.format, matrix.data.size))
            return sum_of_squares(matrix)

        fastbp.check_gradient(f, lambda s: 2 * s, at).raise_unless_passed()
        assert seen == {(kind, at.data.size)}


def test_derivatives_outside_of_a_sparse_structure_are_noted() -> None:
    at, vector = sparse("csr"), np.arange(1.0, 6.0)
    report = fastbp.check_gradient(
        lambda s: float((s @ vector).sum()), lambda _: np.outer(np.ones(4), vector), at
    )
    assert report.verdict == "passed"
    assert report.notes[0] == (
        "12 numbers of gradient lie outside the structure of what is sparse: they are derivatives "
        "by what is no parameter, and not compared"
    )


def test_a_sparse_gradient_of_another_shape_is_a_finding() -> None:
    report = fastbp.check_gradient(sum_of_squares, lambda s: 2 * s[:2], sparse("csr"))
    assert report.arrays[0].reason == "must have shape (8,), not (2, 5)"


def test_a_sparse_gradient_of_a_dense_point_is_compared_whole() -> None:
    at = sparse("csr").toarray()
    assert fastbp.check_gradient(squares, lambda x: scipy.sparse.csr_array(2 * x), at)
    missing = fastbp.check_gradient(
        lambda x: x.sum(), lambda x: scipy.sparse.csr_array(x != 0) * 1.0, at
    )
    assert (missing.verdict, missing.wrong) == ("failed", 12)


class TestSparseResults:
    matrix = sparse("csr")
    at = np.random.default_rng(0).normal(size=(4, 5))

    def f(self, x: Any) -> Any:
        return self.matrix.multiply(x).tocsr()

    def test_right_products_pass(self) -> None:
        back = lambda x, w: self.matrix.multiply(w).toarray()  # noqa: ARG005, E731
        forward = lambda x, v: self.matrix.multiply(v).tocsr()  # noqa: ARG005, E731
        assert fastbp.check_vjp(self.f, back, self.at, jvp=forward)
        assert fastbp.check_jvp(self.f, lambda _, v: self.matrix.multiply(v).toarray(), self.at)

    def test_a_wrong_product_fails(self) -> None:
        report = fastbp.check_vjp(
            self.f, lambda _, w: 1.1 * self.matrix.multiply(w).toarray(), self.at
        )
        assert (report.verdict, report.wrong) == ("failed", 8)

    def test_a_structure_that_changes_is_an_error(self) -> None:
        def f(x: Any) -> Any:
            return scipy.sparse.csr_array(np.where(np.abs(x - self.at) > 0, x, 0.0) + np.eye(4, 5))

        with pytest.raises(fastbp.ShapeError, match="f must always return the same structure"):
            fastbp.check_vjp(f, lambda _, w: w.toarray(), self.at)


def test_other_sparse_formats_are_refused() -> None:
    with pytest.raises(fastbp.DTypeError, match=r"not LIL: use \.tocsr\(\)\."):
        fastbp.check_gradient(sum_of_squares, lambda s: 2 * s, sparse("lil"))
    with pytest.raises(fastbp.DTypeError, match=r"f must return a real number, not csr_array\."):
        fastbp.check_gradient(lambda x: scipy.sparse.csr_array([[x.sum()]]), np.ones_like, AT)


def test_sparse_arrays_have_no_axis_for_many_points() -> None:
    with pytest.raises(fastbp.ShapeError, match=r"x\.data must be an array for a vectorized"):
        fastbp.check_gradient(lambda x: x, lambda x: x, sparse("csr"), vectorized=True)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_stays_a_matrix() -> None:
    at = np.array([[1.0, 2.0], [3.0, 4.0]]).view(np.matrix)

    def f(m: Any) -> float:
        return float((m * m).sum())  # a product of matrices

    def gradient(m: Any) -> Any:
        ones = np.ones((2, 2))
        return ones @ m.T + m.T @ ones

    assert fastbp.check_gradient(f, gradient, at)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (np.ma.masked_array(AT, [0, 1, 0]), r"not MaskedArray: what is masked has no derivative"),
        (AT.view(type("Own", (np.ndarray,), {})), r"must be a plain array, not Own: use np\.asarr"),
        (AT.astype(object), "must be float64 or float32, not object"),
        (AT.astype(np.float16), "must be float64 or float32, not float16"),
        (AT.astype(">f8"), "must be float64 or float32, not >f8"),
        (AT.astype(np.longdouble), "must be float64 or float32, not float128"),
        (np.rec.fromarrays([AT]), "must be float64 or float32, not "),
    ],
)
def test_arrays_that_are_refused_say_why(at: Any, message: str) -> None:
    with pytest.raises(fastbp.DTypeError, match=message):
        fastbp.check_gradient(squares, lambda x: 2 * x, at)


def test_a_frame_is_refused_with_advice() -> None:
    series = type("Series", (), {"__module__": "pandas.core.series"})()
    with pytest.raises(fastbp.DTypeError, match=r"not Series\. Use \.to_numpy\(\)\."):
        fastbp.check_gradient(squares, lambda x: 2 * x, series)


@pytest.mark.parametrize(
    "at",
    [
        np.array(3.0),
        np.broadcast_to(AT, (2, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        AT[::-1],
    ],
    ids=["0-d", "read-only", "Fortran", "reversed"],
)
def test_arrays_of_every_layout_are_taken(at: Any) -> None:
    former = at.copy()
    assert fastbp.check_gradient(squares, lambda x: 2 * x, at)
    assert np.array_equal(at, former)
