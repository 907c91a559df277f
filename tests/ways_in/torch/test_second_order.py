"""Second derivatives of twenty functions beside gradgradcheck: five of them are wrong or zero."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support.torch_modules import cube  # noqa: E402

import fastbp.torch  # noqa: E402

pytestmark = pytest.mark.long

X = torch.linspace(0.3, 1.1, 4, dtype=torch.float64)
MATRIX = torch.eye(4, dtype=torch.float64) + 0.1 * torch.outer(X, X)


class Scaled(torch.autograd.Function):
    """3 x² w, whose own backward pass is off by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        ctx.save_for_backward(x, w)
        return 3 * x**2 * w

    @staticmethod
    def backward(ctx: Any, incoming: Any) -> Any:
        x, w = ctx.saved_tensors
        return 5 * x * w * incoming, 3 * x**2 * incoming


RIGHT = {
    "sin": torch.sin, "exp": torch.exp, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "softmax": lambda x: torch.softmax(x, 0), "logsumexp": lambda x: torch.logsumexp(x, 0),
    "cumprod": lambda x: torch.cumprod(x, 0), "norm": torch.linalg.vector_norm,
    "solve": lambda x: torch.linalg.solve(MATRIX + torch.diag(x), X),
    "cholesky": lambda x: torch.linalg.cholesky(MATRIX + torch.diag(x)),
    "logdet": lambda x: torch.logdet(MATRIX + torch.diag(x)),
    "convolution": lambda x: torch.conv1d(x[None, None], x[None, None, :2] ** 2),
    "layer norm": lambda x: torch.layer_norm(x, (4,)), "products": lambda x: torch.outer(x, x**2),
    "cube": cube(lambda x, w: 3 * x**2 * w),
}  # fmt: skip
WRONG = {
    "constant": cube(lambda x, w: 3 * x.detach() ** 2 * w),
    "constant cotangent": cube(lambda x, w: 3 * x**2 * w.detach()),
    "factor": cube(Scaled.apply),
    "half of it constant": cube(lambda x, w: 3 * x * x.detach() * w),
    "one entry constant": cube(
        lambda x, w: 3 * torch.cat([x[:1].detach(), x[1:]]) ** 2 * w
    ),
}  # fmt: skip


@pytest.mark.parametrize("f", RIGHT.values(), ids=RIGHT)
def test_right_second_derivatives_pass(f: Any) -> None:
    assert torch.autograd.gradgradcheck(f, X.clone().requires_grad_())
    report = fastbp.torch.check_function(f, X, order=2, seed=0)
    assert report.verdict == "passed", str(report)


@pytest.mark.parametrize("f", WRONG.values(), ids=WRONG)
def test_wrong_second_derivatives_are_found(f: Any) -> None:
    assert fastbp.torch.check_function(f, X, seed=0).verdict == "passed"
    assert not torch.autograd.gradgradcheck(f, X.clone().requires_grad_(), raise_exception=False)
    report = fastbp.torch.check_function(f, X, order=2, seed=0)
    assert report.verdict == "failed"
    assert all(
        row.name.startswith("backward by ") for row in report.arrays if row.verdict == "failed"
    )
