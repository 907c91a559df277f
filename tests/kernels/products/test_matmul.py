"""Matrix products: every shape, exact whole numbers, the same bits for any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastbp.kernels.machine.cache_sizes import L1_BYTES, WAY_BYTES
from fastbp.kernels.machine.compile import JIT_DISABLED
from fastbp.kernels.products.matmul import (
    BLOCK_ROWS,
    DEPTH,
    GROUP,
    PANELS_WORTH_PACKING,
    ROWS_WITHOUT_PACKING,
    product,
)
from fastbp.kernels.simd.vectors import MR, panel_width
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kernel_arrays import DTYPES, GUARD
from support.processes import environment, run_program

import fastbp
from fastbp.runtime.threads import run_team

pytestmark = pytest.mark.processor

MANY_OPERATIONS = 1e8  # makes a team of any work


def multiply(a: np.ndarray, b: np.ndarray, operations: float = MANY_OPERATIONS) -> np.ndarray:
    """A B by the kernel, where A and B may be transposed; C stands between guards."""
    (m, depth), n = a.shape, b.shape[1]
    width = panel_width(a)
    packed = np.full(-(-n // width) * depth * width, np.nan, a.dtype)
    c = np.full(m * n + 64, GUARD, a.dtype)
    strides = [[s // a.itemsize for s in array.strides] for array in (a, b)]
    flat = [array.ravel(order="K") for array in (a, b)]
    arguments = (m, n, depth, flat[0], *strides[0], flat[1], *strides[1], packed, c)
    run_team(product, arguments, operations)
    assert np.all(c[m * n :] == GUARD)
    return c[: m * n].reshape(m, n)


def operands(
    rng: np.random.Generator, m: int, n: int, depth: int, dtype: Any, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Random normal A and B, one of them a transposed view if asked."""
    a = rng.standard_normal((depth, m) if kind == "At.B" else (m, depth)).astype(dtype)
    b = rng.standard_normal((n, depth) if kind == "A.Bt" else (depth, n)).astype(dtype)
    return (a.T if kind == "At.B" else a), (b.T if kind == "A.Bt" else b)


def assert_is_the_product(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Within the rounding of any order of summation: depth u |A| |B| (Higham, eq. 3.13)."""
    a, b, depth = a.astype(np.longdouble), b.astype(np.longdouble), a.shape[1]
    unit = np.finfo(c.dtype).eps / 2
    assert np.all(np.abs(c - a @ b) <= 1.01 * depth * unit * (np.abs(a) @ np.abs(b)))


WIDTHS = sorted({panel_width(np.empty(0, dtype)) for dtype in DTYPES})


def near(*sizes: int) -> st.SearchStrategy[int]:
    """One, the sizes and their neighbours, or any small number."""
    edges = sorted({max(1, size + d) for size in sizes for d in (-1, 0, 1)} | {1, 2, 3})
    return st.sampled_from(edges) | st.integers(1, 40)


KINDS = st.sampled_from(["A.B", "At.B", "A.Bt"])


@pytest.mark.small
@settings(max_examples=60)
@given(
    m=st.integers(1, 2 * MR + 3),
    n=st.integers(1, 2 * max(WIDTHS) + 1),
    depth=st.integers(1, 20),
    dtype=st.sampled_from(DTYPES),
    kind=KINDS,
    seed=st.integers(0, 2**32 - 1),
)
def test_small_products(m, n, depth, dtype, kind, seed):
    a, b = operands(np.random.default_rng(seed), m, n, depth, dtype, kind)
    assert_is_the_product(multiply(a, b, operations=0), a, b)


@settings(max_examples=120)
@given(
    m=near(MR, 4, 2 * MR, BLOCK_ROWS, 2 * BLOCK_ROWS),
    n=near(*WIDTHS, *(w // 2 for w in WIDTHS), *(GROUP * w for w in WIDTHS)),
    depth=near(DEPTH, 2 * DEPTH),
    dtype=st.sampled_from(DTYPES),
    kind=KINDS,
    seed=st.integers(0, 2**32 - 1),
)
def test_products_about_the_block_sizes(m, n, depth, dtype, kind, seed):
    a, b = operands(np.random.default_rng(seed), m, n, depth, dtype, kind)
    assert_is_the_product(multiply(a, b), a, b)


def assert_exact(a: np.ndarray, b: np.ndarray) -> None:
    """Of whole numbers, whose products and sums are exact in any order."""
    a, b = np.rint(3 * a), np.rint(3 * b)
    np.testing.assert_array_equal(multiply(a, b), a @ b)


def around_a_page(dtype: Any) -> list[int]:
    """Leading dimensions at which rows do, or just do not, share their places in an L1 cache."""
    page = WAY_BYTES // np.dtype(dtype).itemsize
    return [page - 33, page - 8, page, page + 8, page + 33]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("panels", [PANELS_WORTH_PACKING - 1, PANELS_WORTH_PACKING])
@pytest.mark.parametrize("rows", [2 * MR + 3, BLOCK_ROWS + 2])
def test_products_of_rows_about_a_page_apart(rows, panels, dtype, rng):
    """Whether A is copied or read where it stands."""
    columns = panels * panel_width(np.empty(0, dtype))
    for depth in around_a_page(dtype):
        for kind in ("A.B", "A.Bt"):
            a, b = operands(rng, rows, columns, depth, dtype, kind)
            assert_exact(a, b)
    for wide in around_a_page(dtype)[1:4]:  # columns of A: strips of them are copied or not
        for depth in (MR, DEPTH + 3):
            a, b = operands(rng, wide, columns, depth, dtype, "At.B")
            assert_exact(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [ROWS_WITHOUT_PACKING, ROWS_WITHOUT_PACKING + 1, BLOCK_ROWS + 1])
def test_products_about_where_b_is_packed(rows, dtype, rng):
    """B just within an L1 cache and just beyond it, in whole, half and broken panels."""
    width = panel_width(np.empty(0, dtype))
    most = L1_BYTES // np.dtype(dtype).itemsize
    for columns in (width // 2, 2 * width, 2 * width + width // 2, 3 * width - 1, 3 * width + 1):
        for depth in (most // columns, most // columns + 1):
            a, b = operands(rng, rows, columns, depth, dtype, "A.B")
            assert_exact(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["A.B", "At.B", "A.Bt"])
def test_products_of_whole_numbers_are_exact(dtype, kind, rng):
    a, b = operands(rng, 2 * BLOCK_ROWS + 5, 3 * max(WIDTHS) + 5, DEPTH + 9, dtype, kind)
    assert_exact(a, b)


@pytest.mark.long
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["A.B", "At.B", "A.Bt"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1),
        pytest.param((11, 21, 5), marks=pytest.mark.small),  # tickets in plain Python, too
        (203, 190, 601),
        (1, 400, 300),
    ],
)
def test_products_have_the_same_bits_for_any_number_of_threads(shape, kind, dtype, rng, threads):
    a, b = operands(rng, *shape, dtype, kind)
    alone = multiply(a, b, operations=0)
    for count in (1, 2, 3, 4):
        threads(count)
        for _ in range(3):
            np.testing.assert_array_equal(multiply(a, b), alone)


@pytest.fixture
def threads():
    """Set the number of threads; the old one comes back."""
    before = fastbp.get_num_threads()
    yield fastbp.set_num_threads
    fastbp.set_num_threads(before)


@pytest.mark.small
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_products_pass_nan_and_infinity_through(value, rng):
    a, b = np.abs(rng.standard_normal((9, 5))), np.abs(rng.standard_normal((5, 21)))
    a[3, 2] = value
    with np.errstate(invalid="ignore"):
        c = multiply(a, b, operations=0)
    assert not np.isfinite(c[3]).any()
    assert np.isfinite(np.delete(c, 3, axis=0)).all()
    a[3, 2], b[1, 20] = 1.0, value
    with np.errstate(invalid="ignore"):
        c = multiply(a, b, operations=0)
    assert not np.isfinite(c[:, 20]).any()
    assert np.isfinite(c[:, :20]).all()


PRINT_DIGEST = """
import hashlib
import numpy as np
from fastbp.kernels.products.matmul import PANEL_STAYS, product
from fastbp.kernels.simd.vectors import panel_width
from fastbp.runtime.threads import run_team

m, n, depth = 150, 203, 517
rng = np.random.default_rng(5)
digest = hashlib.sha256()
for dtype in (np.float64, np.float32):
    a = rng.standard_normal(m * depth).astype(dtype)
    b = rng.standard_normal(depth * n).astype(dtype)
    width = panel_width(a)
    packed, c = np.empty(-(-n // width) * width * depth, dtype), np.empty(m * n, dtype)
    for strides in ((depth, 1, n, 1), (1, m, n, 1), (depth, 1, 1, depth)):
        arguments = (m, n, depth, a, *strides[:2], b, *strides[2:], packed, c)
        run_team(product, arguments, 0)
        digest.update(c.tobytes())
print(PANEL_STAYS, digest.hexdigest())
"""


@pytest.mark.long
@pytest.mark.skipif(JIT_DISABLED, reason="an order of tiles is slow in plain Python, and the same")
def test_bits_do_not_depend_on_which_operand_stays_in_the_cache():
    outputs = [
        run_program(PRINT_DIGEST, env=environment(FASTBP_PRODUCT_ORDER=order)).split()
        for order in ("panel", "strip")
    ]
    assert [stays for stays, _ in outputs] == ["True", "False"]
    assert outputs[0][1] == outputs[1][1]
