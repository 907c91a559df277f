"""Backward passes that depend on how they are asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastbp  # noqa: E402
import fastbp.torch  # noqa: E402

AT = torch.tensor([0.3, -0.7, 1.1, 2.0], dtype=torch.float64)


def sum_of_squares(use: Any) -> Any:
    """Return a function whose backward pass makes a factor of its incoming gradient by `use`."""

    class SumOfSquares(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return (x**2).sum()

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * use(gradient)

    return SumOfSquares.apply


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "use",
    [torch.ones_like, torch.square, lambda gradient: gradient**3, torch.reciprocal],
    ids=["ones", "square", "cube", "reciprocal"],
)
def test_a_scalar_function_is_asked_with_a_random_cotangent(use: Any, seed: int) -> None:
    report = fastbp.torch.check_function(sum_of_squares(use), AT, seed=seed)
    assert report.verdict == "failed"
    assert report.wrong == 4
    assert "asked with a cotangent of" in report.notes[-1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_scalar_function_that_uses_its_cotangent_passes(dtype: Any) -> None:
    f = sum_of_squares(lambda gradient: gradient)
    report = fastbp.torch.check_function(f, AT.to(dtype), seed=0)
    assert report.verdict == "passed"
    assert not any("cotangent" in note for note in report.notes)
    assert fastbp.torch.check_function(lambda x: x.prod().reshape(1), AT.to(dtype))


def test_a_wrong_entry_is_told_as_an_entry_of_the_gradient() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return x.sum()

        @staticmethod
        def backward(_: Any, gradient: Any) -> Any:
            return gradient * torch.tensor([1.0, 1.0, 1.0, 1.25], dtype=torch.float64)

    report = fastbp.torch.check_function(Wrong.apply, AT, seed=3)
    assert [failure.index for failure in report.failures] == [(3,)]
    assert report.failures[0].given == 1.25
    assert report.failures[0].numerical == pytest.approx(1.0)


def test_a_loss_that_requires_a_gradient_is_refused_with_advice() -> None:
    def loss(x: Any) -> Any:
        return (torch.tensor(x, requires_grad=True) ** 2).sum()

    with pytest.raises(fastbp.DTypeError, match=r"requires a gradient: detach it, or return"):
        fastbp.check_gradient(loss, lambda x: 2 * x, np.ones(2))
    assert fastbp.check_gradient(lambda x: loss(x).detach(), lambda x: 2 * x, np.ones(2))
