"""Copies of a module that may be changed: in its own precision, or in float64."""

from __future__ import annotations

import copy
from typing import Any

import torch

from fastbp.errors import EvaluationError
from fastbp.torch.layout import copied_in_layout, overlaps
from fastbp.torch.modules.nesting import changed_tensors, is_movable

__all__ = ["copied_module", "in_precision", "module_in_double", "with_still_power_iterations"]

# Its name in torch is that of the function which is defined there.
OLD_SPECTRAL_NORM = "torch.nn.utils.spectral_norm"
OF_MODULES = {"_parameters", "_buffers", "_modules"}
LATER_HOOKS = "hooks of parameters that run after accumulation are not run: they are not checked"


def copied_module(module: torch.nn.Module) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Return a copy in the same precision, and what there is to say about it."""
    if isinstance(module, torch.nn.parallel.DistributedDataParallel):
        copied, notes = copied_module(module.module)
        return copied, (*notes, "what DistributedDataParallel wraps is checked, on this process")
    try:
        copied = copy.deepcopy(module, _not_copied_by_torch(module))
    except Exception as error:
        raise EvaluationError(
            f"module cannot be copied: {type(error).__name__}: {error}"
        ) from error
    return copied, _copy_hooks(module, copied)


def _not_copied_by_torch(module: torch.nn.Module) -> dict[int, Any]:
    """Return copies of what torch does not copy itself, by identity: a memo for deepcopy.

    That is weights that a hook computes before every call (weight norm, spectral norm and pruning
    as they were before parametrizations): what the last call computed has a history, and torch
    copies no tensor with one.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for buffer in part._buffers.values():
            if isinstance(buffer, torch.nn.parameter.UninitializedBuffer):
                # Torch copies parameters without a shape, and no buffers.
                made: Any = torch.nn.parameter.UninitializedBuffer
                memo[id(buffer)] = made(device=buffer.device, dtype=buffer.dtype)
        for hook in part._forward_pre_hooks.values():
            for key in ("name", "_tensor_name"):
                value = vars(part).get(str(getattr(hook, key, "")))
                if isinstance(value, torch.Tensor) and not value.is_leaf:
                    memo[id(value)] = value.detach().clone()
    return memo


def _copy_hooks(module: torch.nn.Module, copied: torch.nn.Module) -> tuple[str, ...]:
    """Give the copies of parameters what copying loses; return what there is to say about it."""
    later = False
    for original, parameter in zip(module.parameters(), copied.parameters(), strict=True):
        if torch.nn.parameter.is_lazy(original):
            continue
        if parameter.stride() != original.stride() and not overlaps(original):
            parameter.data = copied_in_layout(original)
        hooks: Any = original._backward_hooks
        for hook in (hooks or {}).values():
            register: Any = parameter.register_hook
            register(hook)
        later |= bool(getattr(original, "_post_accumulate_grad_hooks", None))
    return (LATER_HOOKS,) if later else ()


def module_in_double(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a copy in float64: parameters, buffers, and tensors that are attributes."""
    double, _ = copied_module(module)
    strides = [parameter.stride() for parameter in double.parameters()]
    double.double()
    for parameter, stride in zip(double.parameters(), strides, strict=True):
        if parameter.is_complex():
            parameter.data = parameter.data.to(torch.complex128)
        if parameter.stride() != stride and not overlaps(parameter):
            parameter.data = _strided(parameter.data, stride)
    for part in double.modules():
        if isinstance(part, torch.jit.ScriptModule):
            _renew_parameters(part)
        else:
            for name, buffer in part._buffers.items():
                if buffer is not None and buffer.is_complex():
                    part._buffers[name] = buffer.to(torch.complex128)
            _attributes_in_double(part)
    return double


def _renew_parameters(scripted: torch.nn.Module) -> None:
    """Give a scripted part new parameters: those that were traced cast gradients to float32."""
    for name, parameter in list(scripted.named_parameters(recurse=False)):
        renewed = torch.nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
        setattr(scripted, name, renewed)


def _strided(tensor: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    made = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device)
    return made.copy_(tensor)


def _attributes_in_double(part: torch.nn.Module) -> None:
    for name, value in list(vars(part).items()):
        if name not in OF_MODULES and not name.endswith("_hooks"):
            held = isinstance(value, torch.Tensor | list | tuple | dict)
            changed = changed_tensors(_attribute_in_double, value) if held else value
            if changed is not value:
                vars(part)[name] = changed


def _attribute_in_double(tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, torch.nn.Parameter):  # converted with its module
        return tensor
    return in_precision(tensor, torch.float64)


def in_precision(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a copy of a tensor of floats in its layout, in that precision; others as they are."""
    if tensor.is_complex() and dtype is torch.float64:
        return copied_in_layout(tensor, torch.complex128)
    if is_movable(tensor) or (tensor.is_floating_point() and not tensor.is_quantized):
        wanted = tensor.dtype if tensor.is_complex() else dtype
        return copied_in_layout(tensor, wanted)
    return tensor


def with_still_power_iterations(module: torch.nn.Module) -> tuple[str, ...]:
    """Stop the power iterations of spectral norm, and say so if there are any.

    They change buffers in every call, which a backward pass takes as constant: then no difference
    can confirm it. With the buffers as they are it can.
    """
    stopped = False
    for part in module.modules():
        if isinstance(part, torch.nn.utils.parametrizations._SpectralNorm) and part.training:
            part.eval()
            stopped = True
        for hook in part._forward_pre_hooks.values():
            known: Any = hook
            if type(hook).__module__ == OLD_SPECTRAL_NORM and part.training:
                known.n_power_iterations = 0
                stopped = True
    return ("spectral norm: checked with power iterations that stand still",) if stopped else ()
