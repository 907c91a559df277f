"""A function of tensors, its vjp checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch

from fastbp.errors import DTypeError
from fastbp.function.checks.check_gradient import check_gradient
from fastbp.function.checks.check_products import check_vjp
from fastbp.function.checks.report_assembly import noting_scalar_cotangent
from fastbp.function.methods.directions import scalar_cotangent
from fastbp.function.methods.options import CheckOptions, checked_options, takes_check_options
from fastbp.torch.tensors import array_of, is_float

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.report import Report

__all__ = ["check_function"]


@takes_check_options
def check_function(
    f: Callable[..., Any], *inputs: torch.Tensor, **options: Unpack[CheckOptions]
) -> Report:
    """Check what ``torch.autograd`` makes of a function.

    Parameters
    ----------
    f : callable
        ``f(*inputs)`` returns a tensor, or a tuple of tensors.
    *inputs : Tensor
        Where, of real or complex floats; bind what is no float to `f`. float32 is differenced in
        float64 if f takes that.
    **options

    Returns
    -------
    Report

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient` and `check_vjp`.

    Notes
    -----
    As `check_gradient` where f returns one real number of real inputs, else as `check_vjp`; the
    incoming gradient is random, and never 1. Complex
    numbers by PyTorch's convention. On the device of the inputs.

    Examples
    --------
    >>> import fastbp.torch
    >>> import torch
    >>> fastbp.torch.check_function(lambda x: torch.sin(x).sum(), torch.ones(3)).verdict
    'passed'
    """
    for place, tensor in enumerate(inputs):
        if not isinstance(tensor, torch.Tensor):
            raise DTypeError(f"inputs[{place}] must be a tensor, not {type(tensor).__name__}.")
    devices = [tensor.device for tensor in inputs]
    at = tuple(tensor.detach().cpu().numpy() for tensor in inputs)

    def to_torch(arrays: Any) -> list[torch.Tensor]:
        return [
            torch.tensor(array, device=device)
            for array, device in zip(arrays, devices, strict=True)
        ]

    def evaluate(inputs: Any) -> Any:
        with torch.no_grad():
            return _to_numpy(f(*to_torch(inputs)))

    def vjp(inputs: Any, cotangent: Any) -> Any:
        leaves = [tensor.requires_grad_() for tensor in to_torch(inputs)]
        outputs = _as_tuple(f(*leaves))
        used = [place for place, output in enumerate(outputs) if output.requires_grad]
        weights = cotangent if isinstance(cotangent, tuple) else (cotangent,)
        grads: Any = [None] * len(leaves)
        if used:
            grads = torch.autograd.grad(
                [outputs[place] for place in used],
                leaves,
                [torch.tensor(weights[place], device=outputs[place].device) for place in used],
                allow_unused=True,
            )
        return tuple(
            array_of(torch.zeros_like(leaf) if grad is None else grad)
            for leaf, grad in zip(leaves, grads, strict=True)
        )

    evaluate.__name__ = getattr(f, "__name__", type(f).__name__)
    with torch.no_grad():
        result = f(*to_torch(at))
    complex_somewhere = any(tensor.is_complex() for tensor in inputs)
    if is_float(result) and result.numel() == 1 and not complex_somewhere:
        # Not with 1: a backward pass that forgets its incoming gradient would pass.
        seed = checked_options(options).seed
        options["seed"] = seed
        cotangent = scalar_cotangent(seed)
        incoming = np.full_like(array_of(result), cotangent)

        def gradient(inputs: Any) -> Any:
            return tuple(product / cotangent for product in vjp(inputs, incoming))

        report = check_gradient(evaluate, gradient, at, **options)
        return noting_scalar_cotangent(report, cotangent)
    return check_vjp(evaluate, vjp, at, convention="torch", **options)


def _as_tuple(outputs: Any) -> tuple[torch.Tensor, ...]:
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _to_numpy(outputs: Any) -> Any:
    if isinstance(outputs, torch.Tensor):
        return array_of(outputs)
    return tuple(array_of(output) for output in outputs)
