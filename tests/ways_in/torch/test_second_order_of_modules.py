"""order=2 and forward_ad=True of check_module: right modules pass, planted mistakes are found."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import fastbp.torch  # noqa: E402
from fastbp.errors import OptionError  # noqa: E402

nn = torch.nn


class Cube(torch.autograd.Function):
    """x³, whose backward pass takes 3 x² for a constant, and whose forward mode forgets the 3."""

    @staticmethod
    def forward(x: Any) -> Any:
        return x**3

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, incoming: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * x.detach() ** 2 * incoming

    @staticmethod
    def jvp(ctx: Any, tangent: Any) -> Any:
        (x,) = ctx.saved_tensors
        return x**2 * tangent


class Cubed(nn.Module):
    def forward(self, x: Any) -> Any:
        return Cube.apply(x)


MODULES = {
    "statistics and dropout": lambda: (
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.3)),
        (torch.randn(4, 2),), {},
    ),
    "a ReLU network": lambda: (
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        (torch.randn(5, 3),), {"loss": nn.MSELoss(), "target": torch.randn(5, 2)},
    ),
    "integers": lambda: (
        nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 2), nn.Sigmoid()),
        (torch.tensor([1, 2, 2]),), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(made, id=name, marks=pytest.mark.long if "dropout" in name else ())
        for name, made in MODULES.items()
    ],
)
def test_right_modules_pass(made: Any) -> None:
    torch.manual_seed(0)
    module, inputs, options = made()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    report = fastbp.torch.check_module(module, *inputs, order=2, forward_ad=True, seed=0, **options)
    assert report.verdict == "passed", str(report)
    names = [row.name for row in report.arrays]
    assert any(name.startswith("forward: output by inputs[0]") for name in names)
    assert names[-1] == "backward by inputs['incoming gradient'][0]"
    assert all(torch.equal(before[name], now) for name, now in module.state_dict().items())
    assert not any(tensor.requires_grad for tensor in inputs)


@pytest.mark.long
def test_a_zero_second_derivative_and_a_wrong_forward_mode_are_found() -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(3, 4), Cubed()), torch.randn(5, 3)
    assert fastbp.torch.check_module(module, x, seed=0).verdict == "passed"
    for options, prefix in (({"order": 2}, "backward by "), ({"forward_ad": True}, "forward: ")):
        report = fastbp.torch.check_module(module, x, seed=0, **options)
        assert report.verdict == "failed"
        wrong = [row.name for row in report.arrays if row.verdict == "failed"]
        assert wrong
        assert all(name.startswith(prefix) for name in wrong)


def test_senseless_options_are_refused() -> None:
    module, x = nn.Sequential(nn.Linear(3, 2), nn.Tanh()), torch.randn(2, 3)
    with pytest.raises(OptionError, match="order must be 1 or 2, not 3"):
        fastbp.torch.check_module(module, x, order=3)
    with pytest.raises(OptionError, match="forward_ad"):
        fastbp.torch.check_module(module, x, forward_ad=1)
    with pytest.raises(OptionError, match="exclude leaves parts out"):
        fastbp.torch.check_module(module, x, order=2, exclude="1")
