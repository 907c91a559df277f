"""Functions of tensors in bfloat16 and float16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastbp.torch  # noqa: E402
from fastbp.torch.autodiff.half_precision import judged_in_half  # noqa: E402

HALVES = [torch.bfloat16, torch.float16]
X = torch.tensor([[0.3, -0.7, 1.1], [2.0, -1.3, 0.4]])


def scaled(factor: Any) -> Any:
    """Return tanh with a factor in its derivative, in the precision that it is asked in."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = torch.tanh(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (y,) = ctx.saved_tensors
            return factor(y.dtype) * (1 - y * y) * gradient

    return Scaled.apply


@pytest.mark.parametrize("dtype", HALVES)
def test_right_derivatives_in_half_precision_pass(dtype: Any) -> None:
    x, weight = X.to(dtype), torch.randn(3, 4).to(dtype)
    functions = (
        lambda x: (x**2).sum(),
        lambda x: torch.softmax(x @ weight, -1),
        lambda x: torch.nn.functional.layer_norm(x, (3,)),
        lambda x: (torch.tanh(x), x.exp().mean(), x.argmax()),
        scaled(lambda _: 1.0),
    )
    for f in functions:
        report = fastbp.torch.check_function(f, x, seed=0)
        assert report.verdict == "passed"
        name = str(dtype).removeprefix("torch.")
        assert report.dtype == f"{name}, differenced in float64"
        assert [row.name for row in report.arrays] == ["inputs[0]", f"inputs[0] in {name}"]


@pytest.mark.parametrize("dtype", HALVES)
def test_a_wrong_derivative_is_seen_in_float64(dtype: Any) -> None:
    report = fastbp.torch.check_function(scaled(lambda _: 1.0001), X.to(dtype), seed=0)
    assert [row.verdict for row in report.arrays] == ["failed", "passed"]


@pytest.mark.parametrize("dtype", HALVES)
def test_one_that_is_wrong_in_half_precision_alone_is_seen_there(dtype: Any) -> None:
    f = scaled(lambda own: 1.25 if own == dtype else 1.0)
    report = fastbp.torch.check_function(f, X.to(dtype), seed=0)
    assert [row.verdict for row in report.arrays] == ["passed", "failed"]
    assert report.verdict == "failed"
    assert " entries are off by more than the rounding of" in report.arrays[1].reason


@pytest.mark.parametrize("dtype", HALVES)
def test_a_function_that_refuses_float64_is_differenced_in_half(dtype: Any) -> None:
    def only_half(factor: float) -> Any:
        def f(x: Any) -> Any:
            if x.dtype != dtype:
                raise TypeError("half precision only")
            return scaled(lambda _: factor)(x)

        return f

    report = fastbp.torch.check_function(only_half(1.0), X.to(dtype), seed=0)
    assert report.verdict != "failed"
    assert any(note.startswith("differenced in half precision: in float64 f raised TypeError")
               for note in report.notes)  # fmt: skip
    wrong = fastbp.torch.check_function(only_half(4.0), X.to(dtype), seed=0)
    assert wrong.verdict == "failed"


def test_half_precision_inside_a_function_of_float32() -> None:
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))

    def under_autocast(function: Any) -> Any:
        def f(x: Any) -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return function(x @ weight).float()

        return f

    right = fastbp.torch.check_function(under_autocast(scaled(lambda _: 1.0)), X, seed=0)
    assert [(row.name, row.verdict) for row in right.arrays] == [
        ("inputs[0]", "passed"), ("inputs[0] in bfloat16", "passed"),
    ]  # fmt: skip
    assert right.dtype == "bfloat16, differenced in float64"
    wrong = fastbp.torch.check_function(under_autocast(scaled(lambda _: 1.0001)), X, seed=0)
    assert [row.verdict for row in wrong.arrays] == ["failed", "passed"]
    alone = scaled(lambda own: 1.25 if own == torch.bfloat16 else 1.0)
    in_half = fastbp.torch.check_function(under_autocast(alone), X, seed=0)
    assert [row.verdict for row in in_half.arrays] == ["passed", "failed"]


def test_a_kernel_for_half_precision_inside_is_judged_with_its_rounding() -> None:
    def only_half(factor: float) -> Any:
        def f(x: Any) -> Any:
            y = x.half()
            if y.dtype != torch.float16:
                raise TypeError("half precision only")
            return scaled(lambda _: factor)(y).float()

        return f

    assert fastbp.torch.check_function(only_half(1.0), X, seed=0).verdict != "failed"
    assert fastbp.torch.check_function(only_half(4.0), X, seed=0).verdict == "failed"


def test_half_precision_beside_single_and_with_random_numbers() -> None:
    x, y = X.bfloat16(), X + 1
    assert fastbp.torch.check_function(lambda x, y: (x * y).sum(), x, y, seed=0)
    report = fastbp.torch.check_function(
        lambda x: torch.nn.functional.dropout(x, 0.5), X.bfloat16(), seed=0
    )
    assert report.verdict == "inconclusive"
    assert "draws random numbers" in report.arrays[-1].reason


def test_the_verdict_on_a_derivative_in_half_precision() -> None:
    exact, dtype = np.array([1.0, -2.0, 0.5]), torch.bfloat16
    noise = exact + 2.0**-8 * np.array([[1, 1, -1], [-1, 1, 1.0]])
    assert judged_in_half(exact.astype(np.float32), exact, noise, dtype).verdict == "passed"
    wrong = judged_in_half(np.float32([1.0, -2.5, 0.5]), exact, noise, dtype)
    assert wrong.verdict == "failed"
    assert wrong.reason == (
        "1 of 3 entries are off by more than the rounding of bfloat16: [1] is -2.5, in float64 -2"
    )
    nan = judged_in_half(np.float32([1.0, np.nan, 0.5]), exact, noise, dtype)
    assert nan.verdict == "failed"
    lost = judged_in_half(np.float32(exact), exact, exact + 10 * np.ones((2, 3)), dtype)
    assert lost == ("inconclusive", "the rounding of bfloat16 is as large as the derivative")
    beyond = judged_in_half(np.float32(exact), exact, noise + np.inf, dtype)
    assert beyond == ("inconclusive", "some numbers leave the range of bfloat16")
    zero = np.zeros(3)
    assert judged_in_half(np.float32(zero), zero, np.zeros((2, 3)), dtype).verdict == "untested"
