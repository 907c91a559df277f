"""Tensors of every kind as arrays; sparse patterns; the precision that operations compute in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastbp.torch.autodiff.precision import InDouble, WithRounding  # noqa: E402
from fastbp.torch.autodiff.sparse import SparsePattern, is_sparse  # noqa: E402
from fastbp.torch.tensors import array_of, dense  # noqa: E402

# What torch says of its own sparse tensors and half complex numbers, once in a process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse"),
    pytest.mark.filterwarnings("ignore:ComplexHalf"),
]
LAYOUTS = {
    "coo": {"layout": torch.sparse_coo},
    "csr": {"layout": torch.sparse_csr},
    "csc": {"layout": torch.sparse_csc},
    "bsr": {"layout": torch.sparse_bsr, "blocksize": (2, 2)},
    "bsc": {"layout": torch.sparse_bsc, "blocksize": (2, 2)},
}


def sparse(layout: str) -> tuple[Any, Any]:
    """Return a dense tensor with zeros, and the same in a sparse layout."""
    x = torch.randn(4, 6, dtype=torch.float64).relu()
    x[0] = 0
    return x, x.to_sparse(**LAYOUTS[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_tensors_become_dense_arrays(layout: str) -> None:
    x, s = sparse(layout)
    assert np.array_equal(array_of(s), x.numpy())
    assert dense(s).layout is torch.strided
    assert torch.equal(dense(s), x)


def test_every_kind_of_tensor_is_read() -> None:
    zero = torch._efficientzerotensor((3,), dtype=torch.float64)
    assert np.array_equal(array_of(zero), np.zeros(3))
    assert dense(zero).untyped_storage().nbytes() == 24
    for dtype, read in (
        (torch.float16, np.float32), (torch.bfloat16, np.float32), (torch.complex32, np.complex64),
        (torch.float32, np.float32), (torch.complex128, np.complex128),
    ):  # fmt: skip
        array = array_of(torch.tensor([0.5, -1.25], requires_grad=True).to(dtype))
        assert array.dtype == read
        assert array.tolist() == [0.5, -1.25]
    z = torch.tensor([1 + 2j]).conj()
    assert array_of(z).tolist() == [1 - 2j]
    assert array_of(z.imag).tolist() == [-2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pattern_gives_its_numbers_and_takes_others(layout: str) -> None:
    x, s = sparse(layout)
    pattern = SparsePattern(s)
    assert is_sparse(s)
    again = pattern.rebuilt(2 * pattern.values)
    assert again.layout is s.layout
    assert torch.equal(again.to_dense(), 2 * x)
    assert torch.equal(pattern.stored(x), pattern.values)


def test_patterns_that_are_not_coalesced_or_have_dense_axes() -> None:
    twice = torch.sparse_coo_tensor([[0, 0, 1], [1, 1, 2]], torch.tensor([1.0, 2.0, 3.0]), (2, 3))
    pattern = SparsePattern(twice)
    assert not pattern.rebuilt(pattern.values).is_coalesced()
    assert pattern.stored(twice.to_dense()).tolist() == [3.0, 3.0, 3.0]
    rows = torch.sparse_coo_tensor([[2, 0]], torch.randn(2, 3), (3, 3))
    pattern = SparsePattern(rows)
    assert torch.equal(pattern.stored(rows.to_dense()), pattern.values)


def test_constants_and_dtypes_are_widened() -> None:
    weight = torch.randn(3, 2).bfloat16()
    with InDouble():
        product = torch.randn(4, 3).half() @ weight.float()
        assert product.dtype == torch.float64
        assert torch.ones(2, dtype=torch.float16).dtype == torch.float64
    assert weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_is_of_the_size_of_that_of_the_precision(dtype: Any) -> None:
    x = torch.randn(200, dtype=torch.float64)
    with WithRounding(dtype, 0):
        product, viewed = x * 3, x.view(20, 10)
    off = (product - 3 * x).abs() / (3 * x).abs()
    assert torch.all((off / (torch.finfo(dtype).eps / 2) - 1).abs() < 1e-9)
    assert torch.equal(viewed.reshape(-1), x)
    info = torch.finfo(dtype)
    tiny, most = (torch.full((4,), size).double() for size in (info.smallest_normal, info.max))
    with WithRounding(dtype, 0):
        small, large, added = tiny * 1e-3, most * 2, torch.zeros(4, dtype=torch.float64).add_(1.0)
    assert torch.allclose((small - tiny * 1e-3).abs(), tiny * info.eps / 2, atol=0)
    assert torch.all(torch.isinf(large))
    assert torch.all(added != 1)
