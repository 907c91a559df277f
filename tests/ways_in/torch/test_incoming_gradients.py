"""Backward passes that depend on how they are asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import as_in_memory, square  # noqa: E402

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
    [
        torch.ones_like,
        torch.square,
        lambda gradient: gradient**3,
        torch.reciprocal,
        torch.abs,
        torch.relu,
    ],
    ids=["ones", "square", "cube", "reciprocal", "abs", "relu"],
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


def test_a_loss_may_require_a_gradient() -> None:
    def loss(x: Any) -> Any:
        return (torch.tensor(x, requires_grad=True) ** 2).sum()

    assert fastbp.check_gradient(loss, lambda x: 2 * x, np.ones(2))
    assert fastbp.check_gradient(loss, lambda x: 2.1 * x, np.ones(2)).verdict == "failed"


def two_results(backward: Any) -> Any:
    """Return a function with the results x ** 2 and sum(x), that takes None as an incoming one."""

    class Moments(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x)
            return x * x, x.sum()

        @staticmethod
        def backward(ctx: Any, squares: Any, total: Any) -> Any:
            return backward(ctx.saved_tensors[0], squares, total)

    return Moments.apply


def right(x: Any, squares: Any, total: Any) -> Any:
    gradient = torch.zeros_like(x) if squares is None else 2 * x * squares
    return gradient if total is None else gradient + total


def test_each_output_is_asked_for_alone() -> None:
    assert fastbp.torch.check_function(two_results(right), AT, seed=0).verdict == "passed"
    for alone, named in ((0, "output[0]"), (1, "output[1]")):

        def wrong(x: Any, *incoming: Any, alone: int = alone) -> Any:
            return right(x, *incoming) * (2 if incoming[1 - alone] is None else 1)

        report = fastbp.torch.check_function(two_results(wrong), AT, seed=0)
        assert report.verdict == "failed"
        [row] = [row for row in report.arrays if row.verdict == "failed"]
        assert row.reason.startswith(f"asked for {named} alone, it is wrong")

    def raises(x: Any, squares: Any, total: Any) -> Any:
        return 2 * x * squares + (0 if total is None else total)

    report = fastbp.torch.check_function(two_results(raises), AT, seed=0)
    [row] = [row for row in report.arrays if row.verdict == "failed"]
    assert "asked for output[1] alone" in row.reason


def test_many_outputs_are_asked_for_alone_or_together() -> None:
    report = fastbp.torch.check_function(lambda x: tuple(x * k for k in range(1, 31)), AT, seed=0)
    assert report.verdict == "passed"


def test_a_backward_pass_that_changes_its_incoming_gradient_is_named() -> None:
    def f(use: Any) -> Any:
        return two_results(lambda x, squares, total: right(x, use(squares), total))

    def doubled(gradient: Any) -> Any:
        return None if gradient is None else gradient.mul_(2) / 2

    report = fastbp.torch.check_function(f(doubled), AT, seed=0)
    assert report.verdict == "failed"
    assert report.arrays[-1].reason == ("the backward pass changes its incoming gradient in place")
    report = fastbp.torch.check_function(
        sum_of_squares(lambda gradient: gradient.mul_(2) / 2), AT, seed=0
    )
    assert report.verdict == "failed"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x[1:, 1:3],
        lambda x: x[:, :1].expand(3, 4),
        lambda x: x[0].unfold(0, 3, 1),
    ],
    ids=["transposed", "gaps", "offset", "expanded", "windows"],
)
def test_inputs_keep_their_layout(layout: Any, dtype: Any) -> None:
    x = layout(torch.randn(3, 6, dtype=dtype))
    wrong = fastbp.torch.check_function(square(as_in_memory, torch.clone), x, seed=0)
    assert wrong.verdict == "failed"
    assert fastbp.torch.check_function(square(torch.clone, torch.clone), x, seed=0)
    assert fastbp.torch.check_function(square(as_in_memory, torch.clone), x.contiguous(), seed=0)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 3, 2)])
def test_incoming_gradients_come_in_several_layouts(shape: tuple[int, ...]) -> None:
    x = torch.randn(*shape, dtype=torch.float64)
    report = fastbp.torch.check_function(square(torch.clone, as_in_memory), x, seed=0)
    assert report.verdict == "failed"
    assert report.notes[-1].startswith("wrong for an incoming gradient")
    assert fastbp.torch.check_function(square(torch.clone, torch.clone), x, seed=0)

    def transposed_only(gradient: Any) -> Any:
        return as_in_memory(gradient) if 0 not in gradient.stride() else gradient

    report = fastbp.torch.check_function(square(torch.clone, transposed_only), x, seed=0)
    assert report.verdict == "failed"
    assert "axes in another order" in report.notes[-1]


def test_a_backward_pass_that_refuses_a_layout_is_not_wrong() -> None:
    f = square(torch.clone, lambda gradient: gradient.view(-1).view(3, 4))
    report = fastbp.torch.check_function(f, torch.randn(3, 4, dtype=torch.float64), seed=0)
    assert report.verdict == "passed"
    assert any("raised for an incoming gradient" in note for note in report.notes)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 3, 2, 2)])
def test_incoming_gradients_come_in_channels_last(shape: tuple[int, ...]) -> None:
    memory_format = {4: torch.channels_last, 5: torch.channels_last_3d}[len(shape)]

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            factor = 1 if gradient.is_contiguous(memory_format=memory_format) else 2
            return factor * ctx.saved_tensors[0] * gradient

    x = torch.linspace(0.5, 2.0, int(np.prod(shape)), dtype=torch.float64).reshape(shape)
    report = fastbp.torch.check_function(Square.apply, x, seed=0)
    assert report.verdict == "failed"
    assert "in the memory format channels_last, right for a contiguous one" in report.notes[-1]
