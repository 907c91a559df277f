"""A torch.autograd.Function with a backward pass written by hand, checked.

The mistake is a usual one: the softplus of a scaled input, whose derivative forgets the scale.
"""

from __future__ import annotations

from typing import Any

import torch

import fastbp.torch


class ScaledSoftplus(torch.autograd.Function):
    """log(1 + exp(scale x)) / scale, for a fixed scale."""

    scale = 3.0
    backward_scale = 3.0

    @classmethod
    def forward(cls, ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Evaluate."""
        ctx.save_for_backward(x)
        return torch.nn.functional.softplus(cls.scale * x) / cls.scale

    @classmethod
    def backward(cls, ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Multiply by the derivative."""
        (x,) = ctx.saved_tensors
        return gradient * torch.sigmoid(cls.backward_scale * x)


class Forgetful(ScaledSoftplus):
    """The same with the mistake."""

    backward_scale = 1.0


def main() -> None:
    """Check the right one and the wrong one, alone and as a layer."""
    x = torch.linspace(-1, 2, 12, dtype=torch.float64).reshape(3, 4)
    print(fastbp.torch.check_function(ScaledSoftplus.apply, x).verdict)
    report = fastbp.torch.check_function(Forgetful.apply, x, seed=0)
    print(report.verdict, f"{report.wrong} of {report.entries}")


if __name__ == "__main__":
    main()
