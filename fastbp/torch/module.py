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
from fastbp.function.checks.check_gradient import check_gradient, report_of
from fastbp.function.checks.check_products import check_vjp
from fastbp.function.methods.options import checked_options
from fastbp.torch.layers import check_layers, same_random_numbers
from fastbp.torch.relu_network import as_network, check_as_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.report import Report

__all__ = ["check_function", "check_module"]


def check_function(f: Callable[..., Any], *inputs: torch.Tensor, **options: Any) -> Report:
    """Check what ``torch.autograd`` makes of a function.

    Parameters
    ----------
    f : callable
        ``f(*inputs)`` returns a tensor, or a tuple of tensors.
    *inputs : Tensor
        Where, of real or complex floats; bind what is no float to `f`. float32 is differenced in
        float64 if f takes that.
    **options
        As in `check_gradient` where f returns one real number of real inputs, else as in
        `check_vjp`.

    Returns
    -------
    Report

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient` and `check_vjp`.

    Notes
    -----
    Complex numbers by PyTorch's convention. On the device of the inputs.

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
            _array(torch.zeros_like(leaf) if grad is None else grad)
            for leaf, grad in zip(leaves, grads, strict=True)
        )

    evaluate.__name__ = getattr(f, "__name__", type(f).__name__)
    with torch.no_grad():
        result = f(*to_torch(at))
    complex_somewhere = any(tensor.is_complex() for tensor in inputs)
    if _is_float(result) and result.numel() == 1 and not complex_somewhere:
        one = np.ones(tuple(result.shape), dtype=result.detach().cpu().numpy().dtype)
        return check_gradient(evaluate, lambda inputs: vjp(inputs, one), at, **options)
    return check_vjp(evaluate, vjp, at, convention="torch", **options)


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
        where a layer is wrong, rows for its inputs and parameters, with the wrong entries.

    Raises
    ------
    DTypeError, ShapeError, EvaluationError, OptionError
        As in `check_gradient`; if the module or the loss returns no tensors of floats.

    Notes
    -----
    One forward and backward pass of the whole, with hooks: they keep what reaches each layer.
    Then each layer stands alone: one more forward and backward pass with its real inputs and
    cotangents, and two forward passes for a difference along a random direction of its inputs and
    parameters. The whole takes two more forward passes. Layers see the same random numbers in all
    of them, and the buffers that they had when they were called. What is not deterministic even so
    is *inconclusive*, as is what depends on buffers that every call changes (spectral norm in
    training): a backward pass takes these as constant. Padding rows of embeddings have no gradient
    by definition, and are not compared. In all about the time of five forward and backward passes,
    as long as nothing is wrong.

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
        "probe", rtol, atol, 0.0, 10, seed, vectorized=False, workers=None, progress=progress
    )
    if not isinstance(module, torch.nn.Module):
        raise DTypeError(f"module must be a torch.nn.Module, not {type(module).__name__}.")
    double = _in_double(_copied(module))
    arguments = [_in_double(value) if _is_float(value) else value for value in inputs]
    goal = _in_double(target) if _is_float(target) else target
    _require_a_result(double, arguments)
    network = as_network(double, arguments, loss, goal, options.seed)
    if network is not None:
        return check_as_network(double, network, options)
    checks = check_layers(double, arguments, _scalar_loss(loss, goal, options.seed), options)
    title = f"backward pass of {type(module).__name__}"
    report = report_of([checks], title, [np.zeros(0)], options, started)
    return replace(report, method="layers")


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # what is computed by a hook cannot be copied, and other reasons
        raise EvaluationError(
            f"module cannot be copied: {type(error).__name__}: {error}"
        ) from error


def _require_a_result(module: torch.nn.Module, inputs: list[Any]) -> None:
    """Run the module once, so that what it does not take is said before anything else."""
    try:
        with same_random_numbers(0), torch.no_grad():
            output = copy.deepcopy(module)(*inputs)
    except Exception as error:
        raise EvaluationError(f"module raised {type(error).__name__}: {error}") from error
    _tensors(output)


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
    for tensor in _tensors(output):
        weights = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        total = total.to(tensor.device) + (tensor * weights.to(tensor.device)).sum()
    return total


def _tensors(output: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(output)
    found = [leaf for leaf in leaves if _is_float(leaf)]
    if not found:
        raise DTypeError("module must return at least one tensor of floats.")
    return found


def _in_double(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().double()
    return value.double()


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _as_tuple(outputs: Any) -> tuple[torch.Tensor, ...]:
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _to_numpy(outputs: Any) -> Any:
    if isinstance(outputs, torch.Tensor):
        return _array(outputs)
    return tuple(_array(output) for output in outputs)


def _array(tensor: torch.Tensor) -> Any:
    return tensor.detach().resolve_conj().resolve_neg().cpu().numpy()
