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


def test_directions_keep_to_chosen_entries_and_to_the_limits_of_a_check() -> None:
    x, w = point(torch.bfloat16), Product(right).to(torch.bfloat16).weight.detach()

    def first_row_doubled(x: Any, w: Any, g: Any) -> Any:
        return g @ w, (g * torch.tensor([2.0] + 7 * [1.0])).T @ x

    def report(**options: Any) -> Any:
        return fastbp.torch.check_function(
            lambda x, w: Kernel.apply(x, w, first_row_doubled), x, w, seed=0, **options
        )

    first = torch.zeros(8, 8, dtype=torch.bool)
    first[0] = True
    names = [False, first.numpy()], [False, ~first.numpy()]
    assert [report(entries=masks).verdict for masks in names] == ["failed", "passed"]
    assert report(budget=1e9).verdict == report().verdict
    limited = report(max_evaluations=100)
    assert "not judged along directions, which takes" in limited.notes[-1]
    assert limited.notes[-1].endswith("max_evaluations is reached")


def test_the_limit_of_offsets_is_fitted_within_its_bar() -> None:
    steps = few_digits.long_steps(2.0**-8)
    rng = np.random.default_rng(0)
    for limit in (0.0, 1.0):
        noise = 1e-3 * rng.standard_normal(steps.size) / steps
        found, bar = few_digits.fitted_offset(steps, limit + 0.3 * steps**2 + noise, 0.0)
        assert abs(found - limit) <= bar <= 0.2
    assert few_digits.fitted_offset(steps, np.full(steps.size, np.nan), 0.0)[1] == np.inf


def test_values_that_are_equal_are_rounded_all_the_same() -> None:
    # f rises by less than half of the distance of two numbers: all differences are 0.
    steps = few_digits.long_steps(2.0**-11)
    found, bar = few_digits.fitted_offset(steps, np.full(steps.size, -1.0), rounding=0.3)
    assert found == pytest.approx(-1.0)
    assert bar > 1.0


def test_a_gradient_that_its_double_could_pass_for_is_not_judged() -> None:
    assert few_digits.judged(1.0, 0.0, 0.49, 1.0)[0] == "passed"
    assert few_digits.judged(1.0, 0.0, 0.5, 1.0)[0] == "inconclusive"
    assert few_digits.judged(1.0, 0.6, 0.5, 1.0)[0] == "failed"


class SumBesideMuch(torch.autograd.Function):
    """1000 + slope sum(x), and a factor of its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Any, slope: float, factor: float) -> Any:
        if x.dtype != torch.float16:
            raise TypeError(f"no kernel for {x.dtype}")
        ctx.own = torch.full_like(x, factor * slope)
        return (x * slope).sum() + 1000

    @staticmethod
    def backward(ctx: Any, incoming: Any) -> Any:
        return incoming * ctx.own, None, None


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, "inconclusive"), (40.0, "passed")])
def test_a_right_gradient_beside_a_large_value(slope: float, verdict: str) -> None:
    # Half of the distance between two numbers is 1/4, and what slope 1 makes of a step 2 at most.
    x = torch.linspace(-1, 1.5, 7).half()
    report = fastbp.torch.check_function(lambda x: SumBesideMuch.apply(x, slope, 1.0), x, seed=0)
    assert report.verdict == verdict
    for factor in (0.0, -1.0, 2.0):
        wrong = fastbp.torch.check_function(
            lambda x, factor=factor: SumBesideMuch.apply(x, slope, factor), x, seed=0
        )
        assert wrong.verdict != "passed"


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
