"""The kernels by themselves: the vector tile, the products, the losses, the tickets."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, localcontext
from typing import Any

import numba
import numpy as np
import pytest
from fastbp.kernels.backprop import sample_losses as losses
from fastbp.kernels.machine.cache_sizes import L1_BYTES, WAY_BYTES
from fastbp.kernels.machine.tickets import DONE, DRAWN, NON_FINITE, STOP, new_control
from fastbp.kernels.products.matmul import (
    BLOCK_ROWS,
    DEPTH,
    GROUP,
    PANELS_WORTH_COPYING,
    ROWS_WITHOUT_PACKING,
    product,
)
from fastbp.kernels.simd.tile import multiply_rows
from fastbp.kernels.simd.vectors import MR, ROW_COUNTS, VECTORS, panel_width
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbp
from fastbp.runtime.threads import run_team

DTYPES = (np.float64, np.float32)
GUARD = 7.25  # in every place that a kernel must not touch
MANY_OPERATIONS = 1e8  # makes a team of any work


# ---- the vector tile and its plain-Python twin ----


@numba.njit
def tile_by_kernel(
    rows, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add
):
    multiply_rows(
        rows, vectors, depth, a, a_at, a_row, a_column, b, b_at, b_row, c, c_at, c_row, add
    )


def whole_numbers(rng: np.random.Generator, size: int, dtype: Any) -> np.ndarray:
    """Small integers: their products and sums are exact in any order."""
    return rng.integers(-9, 10, size).astype(dtype)


def tile_case(
    rng: np.random.Generator, rows: int, depth: int, dtype: Any, *, by_columns: bool
) -> tuple[list[Any], np.ndarray]:
    """Arguments from depth to c_row, with margins about every operand, and C itself."""
    width = panel_width(np.empty(0, dtype))
    a = whole_numbers(rng, 3 + (rows + 2) * (depth + 2), dtype)
    b_row = width + 1
    b = whole_numbers(rng, 5 + depth * b_row, dtype)
    c_row = width + 3
    c = np.full(2 + rows * c_row + width, GUARD, dtype)
    strides = (1, rows + 2) if by_columns else (depth + 2, 1)
    return [depth, a, 3, *strides, b, 5, b_row, c, 2, c_row], c


def expected_tile(
    rows: int, vectors: int, arguments: list[Any], before: np.ndarray, add: int
) -> np.ndarray:
    depth, a, a_at, a_row, a_column, b, b_at, b_row, _, c_at, c_row = arguments
    width = panel_width(b)
    result = before.copy()
    for r in range(rows):
        for lane in range(width * vectors // VECTORS):
            total = float(before[c_at + r * c_row + lane]) if add else 0.0
            for p in range(depth):
                factor = float(a[a_at + r * a_row + p * a_column])
                total += factor * float(b[b_at + p * b_row + lane])
            result[c_at + r * c_row + lane] = total
    return result


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [multiply_rows, tile_by_kernel], ids=["plain", "compiled"])
@pytest.mark.parametrize("rows", sorted(set(ROW_COUNTS)))
def test_tile_is_the_product_and_touches_nothing_else(run, rows, dtype, rng):
    for vectors in (1, VECTORS):
        for depth in (0, 1, 2, 7):
            for add in (0, 1, 256):
                for by_columns in (False, True):
                    arguments, c = tile_case(rng, rows, depth, dtype, by_columns=by_columns)
                    expected = expected_tile(rows, vectors, arguments, c, add)
                    run(rows, vectors, *arguments, add)
                    np.testing.assert_array_equal(c, expected)


@pytest.mark.small
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("run", [multiply_rows, tile_by_kernel], ids=["plain", "compiled"])
def test_tile_passes_nan_and_infinity_through(run, value, dtype, rng):
    """They reach the row or the column that they belong to, and no other."""
    depth, rows = 5, MR
    width = panel_width(np.empty(0, dtype))
    for place in ("a", "b"):
        arguments, c = tile_case(rng, rows, depth, dtype, by_columns=False)
        a, b = arguments[1], arguments[5]
        a[:], b[:] = 1, 2
        if place == "a":
            a[arguments[2] + arguments[3] * (rows - 1) + 1] = value
        else:
            b[arguments[6] + 3 * arguments[7] + width - 1] = value
        with np.errstate(invalid="ignore"):
            run(rows, VECTORS, *arguments, 0)
        result = c[2 : 2 + rows * arguments[10]].reshape(rows, -1)[:, :width]
        expected = np.full((rows, width), 2.0 * depth)
        expected[(rows - 1, slice(None)) if place == "a" else (slice(None), width - 1)] = value
        np.testing.assert_array_equal(result, expected)


# ---- products ----


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
@pytest.mark.parametrize("panels", [PANELS_WORTH_COPYING - 1, PANELS_WORTH_COPYING])
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


# ---- tickets ----


class TeamWork:
    """One product whose control block we hold: A (m, depth) of ones, B (depth, n) of twos."""

    def __init__(self, m: int, n: int, depth: int) -> None:
        self.control = new_control()
        width = panel_width(np.empty(0))
        self.c = np.full(m * n, GUARD)
        packed = np.empty(-(-n // width) * depth * width)
        a, b = np.ones(m * depth), np.full(depth * n, 2.0)
        self.arguments = (m, n, depth, a, depth, 1, b, n, 1, packed, self.c)
        row_blocks, column_blocks = -(-m // BLOCK_ROWS), -(-n // (GROUP * width))
        self.blocks = -(-depth // DEPTH) + row_blocks * column_blocks
        self.expected = 2.0 * depth

    def join(self) -> None:
        """What each thread of the team does."""
        product(self.control, *self.arguments)


@pytest.mark.parametrize("members", [1, 2, 8])
def test_every_ticket_is_drawn_and_done_once(members):
    for _ in range(30):
        work = TeamWork(3 * BLOCK_ROWS + 1, 2 * GROUP * max(WIDTHS) + 1, 2 * DEPTH + 1)
        together = threading.Barrier(members)

        def join(work=work, together=together):
            together.wait()
            work.join()
            assert np.all(work.c == work.expected)  # whoever leaves finds all of it done

        with ThreadPoolExecutor(members) as pool:
            for future in [pool.submit(join) for _ in range(members)]:
                future.result()
        assert work.control[DONE] == work.blocks
        assert work.control[DRAWN] >= work.blocks + members  # each draws one that is no block
        assert work.control[STOP] == work.control[NON_FINITE] == 0


@pytest.mark.small
def test_one_thread_alone_does_everything():
    work = TeamWork(BLOCK_ROWS + 1, 5, 7)
    work.join()
    assert np.all(work.c == work.expected)
    assert work.control[DONE] == work.blocks


@pytest.mark.small
def test_a_late_thread_does_nothing():
    work = TeamWork(BLOCK_ROWS + 1, 5, 7)
    work.join()
    work.c[:] = GUARD
    work.join()
    assert np.all(work.c == GUARD)
    assert work.control[DONE] == work.blocks


@pytest.mark.small
def test_a_stopped_team_computes_nothing_and_ends():
    work = TeamWork(BLOCK_ROWS + 1, 5, 7)
    work.control[STOP] = 1
    work.join()
    assert np.all(work.c == GUARD)
    assert work.control[DONE] == work.blocks


# ---- losses ----

SOFTMAX, SIGMOID, LEAST_SQUARES = losses.SOFTMAX, losses.SIGMOID, losses.LEAST_SQUARES
EPS = float(np.finfo(np.float64).eps)


@numba.njit
def loss_by_kernel(loss, outputs, targets, labels):
    return losses.sample_loss(loss, outputs.size, outputs, 0, 1, targets, 0, 1, labels, 0)


@numba.njit
def sensitivity_by_kernel(loss, outputs, targets, labels, factor, result):
    losses.sample_sensitivity(
        loss, outputs.size, outputs, 0, 1, targets, 0, 1, labels, 0, factor, result
    )


NO_LABELS = np.empty(0, np.int64)
NO_TARGETS = np.empty(0)


def exactly(values: np.ndarray) -> list[Decimal]:
    return [Decimal(float(value)) for value in values]


def exact_softmax(outputs: np.ndarray, targets: list[Decimal]) -> tuple[Decimal, list[Decimal]]:
    """sum_k y_k (log sum_j exp(o_j) - o_k), and p_k sum(y) - y_k."""
    logits = exactly(outputs)
    largest = max(logits)
    powers = [(value - largest).exp() for value in logits]
    total = sum(powers, Decimal(0))
    mass = sum(targets, Decimal(0))
    loss = sum(
        (y * (total.ln() - (o - largest)) for y, o in zip(targets, logits, strict=True)),
        Decimal(0),
    )
    slope = [p / total * mass - y for p, y in zip(powers, targets, strict=True)]
    return loss, slope


def exact_sigmoid(outputs: np.ndarray, targets: list[Decimal]) -> tuple[Decimal, list[Decimal]]:
    """sum_k log(1 + exp(o_k)) - y_k o_k, and 1 / (1 + exp(-o_k)) - y_k."""
    logits = exactly(outputs)
    loss = sum(
        ((1 + o.exp()).ln() - y * o for y, o in zip(targets, logits, strict=True)), Decimal(0)
    )
    return loss, [1 / (1 + (-o).exp()) - y for y, o in zip(targets, logits, strict=True)]


def exact_squares(outputs: np.ndarray, targets: list[Decimal]) -> tuple[Decimal, list[Decimal]]:
    residuals = [o - y for o, y in zip(exactly(outputs), targets, strict=True)]
    return sum((r * r for r in residuals), Decimal(0)), [2 * r for r in residuals]


EXACT = {SOFTMAX: exact_softmax, SIGMOID: exact_sigmoid, LEAST_SQUARES: exact_squares}
DIGITS = 700  # enough to see exp(-745) beside 1


def by_kernel(
    loss: int, outputs: np.ndarray, targets: np.ndarray, labels: np.ndarray, factor: float = 1.0
) -> tuple[float, np.ndarray]:
    result = np.full(outputs.size, np.nan, outputs.dtype)
    sensitivity_by_kernel(loss, outputs, targets, labels, factor, result)
    return float(loss_by_kernel(loss, outputs, targets, labels)), result


def assert_close(value: float, exact: Decimal, *, relative: float, absolute: float) -> None:
    """Against a number of many digits; the smallest subnormals are as good as 0."""
    assert np.isfinite(value)
    allowed = Decimal(relative) * abs(exact) + Decimal(absolute) + Decimal("5e-323")
    assert abs(Decimal(value) - exact) <= allowed


LOGITS = st.lists(
    st.floats(-1e3, 1e3) | st.sampled_from([0.0, -0.0, 1e4, -1e4, 745.0, -745.0, 37.0, -37.0]),
    min_size=1,
    max_size=6,
)


def differences_lose(outputs: np.ndarray) -> float:
    """Relative error of exp(o_j - o_k): half an ulp of a difference that matters, 745 at most."""
    return EPS * (8 + outputs.size + min(745.0, 2 * float(np.abs(outputs).max())))


@pytest.mark.small
@given(logits=LOGITS, data=st.data())
def test_softmax_of_a_class_keeps_its_digits(logits, data):
    """However confident the network is: to relative precision, where 1 - p would be 0."""
    outputs = np.array(logits)
    label = data.draw(st.integers(0, outputs.size - 1))
    value, slope = by_kernel(SOFTMAX, outputs, NO_TARGETS, np.array([label]))
    with localcontext(prec=DIGITS):
        one_hot = [Decimal(int(k == label)) for k in range(outputs.size)]
        exact, exact_slope = exact_softmax(outputs, one_hot)
        relative = differences_lose(outputs)
        assert_close(value, exact, relative=relative, absolute=0)
        for own, expected in zip(slope, exact_slope, strict=True):
            assert_close(own, expected, relative=relative, absolute=0)


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
@given(logits=LOGITS, data=st.data())
def test_losses_with_targets(loss, logits, data):
    outputs = np.array(logits)
    size = outputs.size
    targets = np.array(data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size)))
    value, slope = by_kernel(loss, outputs, targets, NO_LABELS)
    with localcontext(prec=DIGITS):
        exact, exact_slope = EXACT[loss](outputs, exactly(targets))
        relative = differences_lose(outputs)
        reach = float(np.abs(outputs).max())
        assert_close(value, exact, relative=relative, absolute=4 * EPS * size * (1 + reach))
        for own, expected in zip(slope, exact_slope, strict=True):
            assert_close(own, expected, relative=relative, absolute=4 * EPS * size)


@pytest.mark.small
def test_confident_networks_by_number():
    """A margin of 100: the loss is exp(-100), not 0; the wrong way round it is 100."""
    outputs = np.array([100.0, 0.0])
    value, slope = by_kernel(SOFTMAX, outputs, NO_TARGETS, np.array([0]))
    assert value == pytest.approx(np.exp(-100.0), rel=1e-14)
    np.testing.assert_allclose(slope, [-np.exp(-100.0), np.exp(-100.0)], rtol=1e-14)
    value, slope = by_kernel(SOFTMAX, outputs, NO_TARGETS, np.array([1]))
    assert value == 100.0
    np.testing.assert_allclose(slope, [1.0, -1.0], rtol=1e-15)
    value, _ = by_kernel(SIGMOID, np.array([100.0, -100.0]), np.array([1.0, 0.0]), NO_LABELS)
    assert value == pytest.approx(2 * np.exp(-100.0), rel=1e-14)
    value, slope = by_kernel(SIGMOID, np.array([-1e4, 1e4]), np.array([1.0, 0.0]), NO_LABELS)
    assert value == 2e4
    np.testing.assert_array_equal(slope, [-1.0, 1.0])


@pytest.mark.small
def test_equal_logits_divide_evenly():
    value, slope = by_kernel(SOFTMAX, np.full(4, -3e3), NO_TARGETS, np.array([2]))
    assert value == pytest.approx(np.log(4.0), rel=1e-15)
    np.testing.assert_allclose(slope, [0.25, 0.25, -0.75, 0.25], rtol=1e-15)


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
def test_float32_outputs_are_computed_in_float64(loss, rng):
    outputs = rng.standard_normal(5).astype(np.float32)
    targets = rng.random(5).astype(np.float32)
    value, slope = by_kernel(loss, outputs, targets, NO_LABELS, factor=0.25)
    exact, exact_slope = by_kernel(
        loss, outputs.astype(float), targets.astype(float), NO_LABELS, factor=0.25
    )
    assert value == exact
    assert slope.dtype == np.float32
    np.testing.assert_array_equal(slope, exact_slope.astype(np.float32))


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
def test_losses_read_and_write_with_their_strides(loss, rng):
    """A sample is one lane of a panel; what lies between is not touched."""
    outputs, targets = rng.standard_normal(4), rng.random(4)
    value, slope = by_kernel(loss, outputs, targets, NO_LABELS)
    spread = np.full(2 + 4 * 3, GUARD)
    spread[2::3] = outputs
    spread_targets = np.full(1 + 4 * 5, GUARD)
    spread_targets[1::5] = targets
    result = np.full(spread.size, GUARD)
    arguments = (loss, 4, spread, 2, 3, spread_targets, 1, 5, NO_LABELS, 0)
    assert strided_loss(*arguments) == value
    strided_sensitivity(*arguments, 1.0, result)
    np.testing.assert_array_equal(result[2::3], slope)
    result[2::3] = GUARD
    assert np.all(result == GUARD)


@numba.njit
def strided_loss(*arguments):
    return losses.sample_loss(*arguments)


@numba.njit
def strided_sensitivity(*arguments):
    losses.sample_sensitivity(*arguments)


@pytest.mark.small
@pytest.mark.parametrize("loss", [SOFTMAX, SIGMOID, LEAST_SQUARES])
def test_losses_of_nan_are_nan(loss):
    value, slope = by_kernel(loss, np.array([np.nan, 1.0]), np.array([0.5, 0.5]), NO_LABELS)
    assert np.isnan(value)
    assert np.isnan(slope[0])
