"""Tensors are checked on the device where they are: CUDA where there is one, else the CPU."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import fastbp.torch  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
pytestmark = pytest.mark.filterwarnings("ignore:Sparse")


def on_device(*shape: int, dtype: Any = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        assert x.device.type == DEVICE.type
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        assert gradient.device.type == DEVICE.type
        (x,) = ctx.saved_tensors
        factor = torch.full_like(x, 2.0)
        factor.view(-1)[-1] = 2.5
        return factor * x * gradient


def watched(f: Any) -> Any:
    """Return a function that sees only tensors of the device."""

    def function(*inputs: Any, **keywords: Any) -> Any:
        leaves = torch.utils._pytree.tree_leaves((inputs, keywords))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        assert {tensor.device.type for tensor in tensors} == {DEVICE.type}
        return f(*inputs, **keywords)

    return function


WEIGHT = on_device(4, 2, dtype=torch.float32)
CASES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "a number": (lambda x: torch.tanh(x).sum(), (on_device(3, 4),)),
    "an array": (lambda x, w: torch.softmax(x @ w, -1), (on_device(3, 4), on_device(4, 2))),
    "single": (lambda x: torch.sin(x), (on_device(3, 4, dtype=torch.float32),)),
    "a constant": (
        lambda x: torch.sin(x) @ WEIGHT,
        (on_device(3, 4, dtype=torch.float32),),
    ),
    "bfloat16": (lambda x: torch.tanh(x) * 2, (on_device(3, 4, dtype=torch.bfloat16),)),
    "float16": (lambda x: torch.exp(x).sum(), (on_device(3, 4, dtype=torch.float16),)),
    "complex": (lambda z: z * z.conj() + z**2, (torch.complex(on_device(3), on_device(3)),)),
    "a nesting": (
        lambda nested, index: {"y": nested["x"][index] ** 2, "i": index},
        ({"x": on_device(3, 2)}, torch.tensor([2, 0], device=DEVICE)),
    ),
    "sparse": (
        lambda s, x: torch.sparse.mm(s, x).sum(),
        (on_device(3, 4).relu().to_sparse(), on_device(4, 2)),
    ),
    "a transpose": (lambda x: torch.sin(x).contiguous(), (on_device(3, 4).t(),)),
    "a gradient inside": (
        lambda x: torch.autograd.grad(torch.tanh(x).sum(), x, create_graph=True)[0] ** 2,
        (on_device(4),),
    ),
    "random numbers": (lambda x: torch.nn.functional.dropout(x, 0.5), (on_device(6),)),
    "convolution": (torch.nn.functional.conv2d, (on_device(1, 2, 4, 4), on_device(2, 2, 3, 3))),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_right_functions_pass_on_the_device(name: str) -> None:
    f, inputs = CASES[name]
    report = fastbp.torch.check_function(watched(f), *inputs, seed=0)
    assert report.verdict == "passed", str(report)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_a_wrong_function_fails_on_the_device(dtype: Any) -> None:
    report = fastbp.torch.check_function(watched(Wrong.apply), on_device(2, 3, dtype=dtype), seed=0)
    assert report.verdict == "failed"
    assert {failure.where for failure in report.failures} == {"inputs[0][1, 2]"}


def test_all_modes_work_on_the_device() -> None:
    report = fastbp.torch.check_function(
        watched(lambda x, w: torch.tanh(x @ w)), on_device(3, 4), on_device(4, 2),
        order=2, forward_ad=True, batched=True, seed=0,
    )  # fmt: skip
    assert report.verdict == "passed"
    report = fastbp.torch.check_function(watched(Wrong.apply), on_device(3), order=2, seed=0)
    assert report.verdict == "failed"
