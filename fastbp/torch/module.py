"""PyTorch's own derivatives of a module or a function, against differences. Needs torch.

``import torch`` here means the package: all imports in fastbp are absolute.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.errors import DTypeError, EvaluationError, ShapeError
from fastbp.function.checks.report_assembly import report_of
from fastbp.function.methods.options import checked_options
from fastbp.torch.layers import check_layers
from fastbp.torch.layout import copied_in_layout, overlaps
from fastbp.torch.relu_network import as_network, check_as_network
from fastbp.torch.state import same_random_numbers
from fastbp.torch.tensors import in_double, is_float, required_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.report import Report

__all__ = ["check_module"]


def check_module(
    module: torch.nn.Module,
    *inputs: torch.Tensor,
    loss: Callable[..., Any] | None = None,
    target: torch.Tensor | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> Report:
    """Check the backward pass of a module, and say which of its layers is wrong.

    Parameters
    ----------
    module : torch.nn.Module
        Evaluated in float64, on a copy, in the mode (training or not) that it is in.
    *inputs : Tensor
        What it is called with.
    loss : callable, optional
        ``loss(output, target)``, or ``loss(output)`` without a target, returns one number. None:
        a random weighted sum of all outputs.
    target : Tensor, optional
        The second argument of the loss.
    rtol, atol, seed, progress
        As in `check_gradient`.

    Returns
    -------
    Report
        For a ``Sequential`` of ``Linear`` and ``ReLU`` with ``MSELoss``, ``CrossEntropyLoss`` or
        no loss, that of `check_network`: every entry of every parameter. For any other module a
        row for each layer (a module without children, once for each call), and one for the whole;
        where a layer is wrong, rows for its inputs and parameters, with the wrong entries. Where
        something is wrong, modules with children get rows too, but those with a wrong layer.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient`; if the module or the loss returns no tensors of floats.

    Notes
    -----
    One forward and backward pass of the whole, with hooks: they keep what reaches each layer.
    Then each layer stands alone: one more forward and backward pass with its real inputs and
    cotangents, in the memory layout that these have, and two forward passes for a difference
    along a random direction of its inputs and parameters, whose hooks are kept. The whole takes
    two more forward passes. Layers see the same random numbers in all of them, and the buffers
    that they had when they were called. What is not deterministic even so is *inconclusive*, as
    is what depends on buffers that every call changes (spectral norm in training): a backward
    pass takes these as constant. Padding rows of embeddings have no gradient by definition, and
    are not compared. In all about the time of five forward and backward passes, as long as
    nothing is wrong.

    Examples
    --------
    >>> import fastbp.torch
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layers = torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    >>> report = fastbp.torch.check_module(torch.nn.Sequential(*layers), torch.randn(4, 3))
    >>> report.verdict, [row.name for row in report.arrays]
    ('passed', ['0: Linear', '1: Tanh', '2: Linear', 'the whole module'])
    """
    started = time.perf_counter()
    options = checked_options(
        {"method": "probe", "rtol": rtol, "atol": atol, "seed": seed, "progress": progress}
    )
    if not isinstance(module, torch.nn.Module):
        raise DTypeError(f"module must be a torch.nn.Module, not {type(module).__name__}.")
    double = in_double(_copied(module))
    notes = _copy_hooks_and_layout(module, double)
    arguments = [in_double(value) if is_float(value) else value for value in inputs]
    goal = in_double(target) if is_float(target) else target
    _require_a_result(double, arguments)
    network = as_network(double, arguments, loss, goal, options.seed)
    if network is not None:
        found = check_as_network(double, network, options)
        return replace(found, notes=(*found.notes, *notes))
    checks = check_layers(double, arguments, _scalar_loss(loss, goal, options.seed), options)
    title = f"backward pass of {type(module).__name__}"
    report = report_of([checks], title, [np.zeros(0)], options, started)
    return replace(report, method="layers", notes=(*report.notes, *notes))


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # what is computed by a hook cannot be copied, and other reasons
        raise EvaluationError(
            f"module cannot be copied: {type(error).__name__}: {error}"
        ) from error


def _copy_hooks_and_layout(module: torch.nn.Module, double: torch.nn.Module) -> tuple[str, ...]:
    """Give the copies of parameters what copying loses; return what there is to say about it."""
    later = False
    for parameter, copied in zip(module.parameters(), double.parameters(), strict=True):
        if copied.stride() != parameter.stride() and not overlaps(parameter):
            copied.data = copied_in_layout(parameter, torch.float64)
        hooks: Any = parameter._backward_hooks
        if hooks:
            copied.requires_grad_()
        for hook in (hooks or {}).values():
            register: Any = copied.register_hook
            register(hook)
        later |= bool(getattr(parameter, "_post_accumulate_grad_hooks", None))
    if not later:
        return ()
    return ("hooks of parameters that run after accumulation are not run: they are not checked",)


def _require_a_result(module: torch.nn.Module, inputs: list[Any]) -> None:
    """Run the module once, so that what it does not take is said before anything else."""
    try:
        with same_random_numbers(0), torch.no_grad():
            output = copy.deepcopy(module)(*inputs)
    except Exception as error:
        raise EvaluationError(f"module raised {type(error).__name__}: {error}") from error
    required_tensors(output)


def _scalar_loss(
    loss: Callable[..., Any] | None, target: Any, seed: int
) -> Callable[[Any], torch.Tensor]:
    """Return the function of the output whose gradient is taken."""
    if loss is None:
        return lambda output: weighted_sum(output, seed)

    def value(output: Any) -> torch.Tensor:
        result = loss(output) if target is None else loss(output, target)
        if not isinstance(result, torch.Tensor) or result.numel() != 1:
            shape = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result)
            raise ShapeError(f"loss must return one number, not {shape}.")
        return result.reshape(())

    return value


def weighted_sum(output: Any, seed: int) -> torch.Tensor:
    """Return a random weighted sum of all real tensors in an output."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros((), dtype=torch.float64)
    for tensor in required_tensors(output):
        weights = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        total = total.to(tensor.device) + (tensor * weights.to(tensor.device)).sum()
    return total
