"""Kernels that take half precision alone: gross mistakes are found all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastbp.torch  # noqa: E402
from fastbp.torch.autodiff import few_digits  # noqa: E402

MISTAKES = {
    "a factor": lambda x, w, g: (g @ w, 2 * g.T @ x),
    "a sign": lambda x, w, g: (-g @ w, g.T @ x),
    "a missing term": lambda x, w, g: (g @ w, g[:1].T @ x[:1]),
    "a transposed array": lambda x, w, g: (g @ w, x.T @ g),
}


def right(x: Any, w: Any, g: Any) -> Any:
    return g @ w, g.T @ x


class Kernel(torch.autograd.Function):
    """x wᵀ in half precision, and in nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, backward: Any) -> Any:
        if x.dtype not in (torch.bfloat16, torch.float16):
            raise TypeError(f"no kernel for {x.dtype}")
        ctx.save_for_backward(x, w)
        ctx.own = backward
        return (x.float() @ w.float().T).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, incoming: Any) -> Any:
        x, w = ctx.saved_tensors
        found = ctx.own(x.float(), w.float(), incoming.float())
        return (*(part.to(x.dtype) for part in found), None)


class Product(torch.nn.Module):
    def __init__(self, backward: Any) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(8, 8, generator=generator) / 3)
        self.own = backward

    def forward(self, x: Any) -> Any:
        return Kernel.apply(x, self.weight, self.own)


def point(dtype: Any) -> Any:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_right_kernel_passes(dtype: Any) -> None:
    module = Product(right).to(dtype)
    assert fastbp.torch.check_module(module, point(dtype), seed=0).verdict == "passed"
    function = fastbp.torch.check_function(
        lambda x, w: Kernel.apply(x, w, right), point(dtype), module.weight.detach(), seed=0
    )
    assert function.verdict == "passed"


@pytest.mark.parametrize("backward", MISTAKES.values(), ids=MISTAKES)
def test_a_gross_mistake_of_a_kernel_is_found(backward: Any) -> None:
    module = Product(backward).to(torch.bfloat16)
    report = fastbp.torch.check_module(module, point(torch.bfloat16), seed=0)
    assert report.verdict == "failed"
    function = fastbp.torch.check_function(
        lambda x, w: Kernel.apply(x, w, backward),
        point(torch.bfloat16), module.weight.detach(), seed=0,
    )  # fmt: skip
    assert function.verdict == "failed"


def test_the_limit_of_offsets_is_fitted_within_its_bar() -> None:
    steps = few_digits.long_steps(2.0**-8)
    rng = np.random.default_rng(0)
    for limit in (0.0, 1.0):
        noise = 1e-3 * rng.standard_normal(steps.size) / steps
        found, bar = few_digits.fitted_offset(steps, limit + 0.3 * steps**2 + noise)
        assert abs(found - limit) <= bar <= 0.2
    assert few_digits.fitted_offset(steps, np.full(steps.size, np.nan))[1] == np.inf


def test_one_direction_alone_decides_nothing() -> None:
    passed, failed, unclear = (
        ("passed", "", 0.1),
        ("failed", "off", 0.1),
        ("inconclusive", "?", 1.0),
    )
    assert few_digits.voted(lambda _: passed)[0] == "passed"
    assert few_digits.voted(lambda number: failed if number == 2 else passed)[0] == "passed"
    assert few_digits.voted(lambda number: failed if number % 2 else passed)[0] == "failed"
    assert few_digits.voted(lambda number: failed if number < 2 else passed)[0] == "inconclusive"
    assert few_digits.voted(lambda _: unclear)[0] == "inconclusive"
