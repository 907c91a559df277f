"""Forward mode and second derivatives of a module as a whole, by its parameters and inputs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.function.checks.check_products import check_jvp, check_vjp
from fastbp.function.checks.report_assembly import followed_by
from fastbp.torch.autodiff.arguments import Arguments
from fastbp.torch.autodiff.second_order import backward_pass
from fastbp.torch.autodiff.tensor_function import TensorFunction
from fastbp.torch.modules.nesting import movable_tensors
from fastbp.torch.state import buffers_of, restore_buffers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.function.methods.options import Options
    from fastbp.report import Report
    from fastbp.torch.modules.best_precision import Prepared

__all__ = ["with_forward_mode", "with_second_order"]


def with_forward_mode(report: Report, prepared: Prepared, options: Options) -> Report:
    """Add the forward mode, along a random tangent of each parameter and input."""

    def check() -> Report:
        function = _whole(prepared, options.seed)
        at = function.arguments.at
        found = check_jvp(function.outputs, function.jvp, at, **_asked(options))
        return replace(found, notes=(*found.notes, *function.notes))

    return followed_by(report, check, "forward: ")


def with_second_order(report: Report, prepared: Prepared, options: Options) -> Report:
    """Add the derivative of the backward pass, along random directions."""

    def check() -> Report:
        function = _whole(prepared, options.seed)
        second = backward_pass(function, np.random.default_rng((options.seed, 6)))
        found = check_vjp(second.outputs, second.vjp, second.arguments.at, **_asked(options))
        return replace(found, notes=(*found.notes, *second.notes))

    return followed_by(report, check, "backward by ")


def _whole(prepared: Prepared, seed: int) -> TensorFunction:
    """Return the loss as a function of parameters by name, and of what the module is called with.

    By the parameters that require a gradient, and by the inputs that do, or by all where none does.
    """
    module, call = prepared.module, prepared.call
    buffers = buffers_of(module)
    parameters = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    inputs = movable_tensors((call.arguments, call.keywords))
    if not any(tensor.requires_grad for tensor in inputs):
        for tensor in inputs:
            tensor.requires_grad_()

    def loss(parameters: dict[str, torch.Tensor], *arguments: Any, **keywords: Any) -> torch.Tensor:
        try:
            output = torch.func.functional_call(module, parameters, arguments, keywords)
            return prepared.loss(output)
        finally:
            restore_buffers(buffers)

    @contextmanager
    def calling() -> Iterator[None]:
        # The graph of the backward pass is there where it is asked for, and not elsewhere.
        with_graph = torch.is_grad_enabled()
        with prepared.arithmetic.calling(), torch.set_grad_enabled(with_graph):
            yield

    loss.__name__ = type(module).__name__
    arguments = Arguments((parameters, *call.arguments), call.keywords)
    return TensorFunction(loss, arguments, seed, surrounding=calling)


def _asked(options: Options) -> dict[str, Any]:
    return {
        "convention": "torch", "method": "probe", "rtol": options.rtol, "atol": options.atol,
        "seed": options.seed, "progress": options.progress,
    }  # fmt: skip
