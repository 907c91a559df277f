"""In which precision a module can be checked: float64 if it can be had, else its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fastbp.errors import DTypeError, EvaluationError, FastbpError, ShapeError
from fastbp.torch.autodiff.arithmetic import Arithmetic, CastsInDouble
from fastbp.torch.modules.layer_calls import Recorder, Scripted
from fastbp.torch.modules.module_copies import (
    copied_module,
    in_precision,
    module_in_double,
    with_still_power_iterations,
)
from fastbp.torch.modules.nesting import changed_tensors, is_movable, movable_tensors
from fastbp.torch.modules.scalar_functions import real_product
from fastbp.torch.state import same_random_numbers
from fastbp.torch.tensors import HALF_UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Call", "Prepared", "in_best_precision"]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """How the user calls a module, and what the output goes through."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    loss: Callable[..., Any] | None
    target: Any

    def in_precision(self, dtype: torch.dtype | None) -> Call:
        """Return copies of all tensors, in a precision or in their own."""

        def changed(tensor: torch.Tensor) -> torch.Tensor:
            return in_precision(tensor, tensor.dtype if dtype is None else dtype)

        loss = self.loss
        if isinstance(loss, torch.nn.Module):
            loss = copied_module(loss)[0] if dtype is None else module_in_double(loss)
        arguments, keywords, target = changed_tensors(
            changed, (self.arguments, self.keywords, self.target)
        )
        return Call(arguments, keywords, loss, target)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A copy of a module in some precision, and what it is called with.

    Attributes
    ----------
    module : torch.nn.Module
        May be changed.
    call : Call
        Copies of what the user gave.
    arithmetic : Arithmetic
    notes : tuple of str
        What there is to say about all this.
    half : Prepared or None
        The same in half precision, where the module is in that and runs in float64 too.
    """

    module: torch.nn.Module
    call: Call
    arithmetic: Arithmetic
    notes: tuple[str, ...]
    half: Prepared | None = None

    def loss(self, output: Any) -> torch.Tensor:
        """Return the number whose gradient is taken: by the user's loss, or a weighted sum."""
        call = self.call
        if call.loss is None:
            return weighted_sum(output, self.arithmetic.seed)
        result = self.what_loss_returns(output)
        if not isinstance(result, torch.Tensor) or result.numel() != 1:
            shape = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result)
            raise ShapeError(f"loss must return one number, not {shape}.")
        return result.reshape(())

    def what_loss_returns(self, output: Any) -> Any:
        """Return the result of the user's loss, whatever it is; without one, all tensors."""
        call = self.call
        if call.loss is None:
            return required_tensors(output)
        return call.loss(output) if call.target is None else call.loss(output, call.target)


def in_best_precision(module: torch.nn.Module, call: Call, seed: int) -> Prepared:
    """Return a module in float64 if it runs in that, else in its own precision.

    Casts inside of it are made casts to float64 if need be. Raise if it does not run at all.
    """
    own, notes = copied_module(module)
    notes += _without_lazy_parts(own, call)
    _require_values(own)
    notes += with_still_power_iterations(own)
    _wrap_scripted_parts(own)
    reason = "it cannot be converted"
    try:
        double, moved = module_in_double(own), call.in_precision(torch.float64)
    except Exception as error:  # no float64 on the device, quantised weights, no copy of the loss
        reason = f"it raises {type(error).__name__}: {error}"
    else:
        for watched in (True, False):
            found, reason = _run_in_double(double, moved, seed, watched=watched)
            if found is not None:
                return Prepared(double, moved, found, notes, _in_half(own, call, seed))
    kept = call.in_precision(None)
    arithmetic = Arithmetic(_least_precision(own, kept), seed)
    prepared = Prepared(own, kept, arithmetic, notes)
    output = _run_or_say_where(prepared)
    least = _least_precision(own, kept, output)
    name = str(least).removeprefix("torch.")
    note = f"checked in {name}, with the error bars of that: in float64 {reason}"
    return Prepared(own, kept, Arithmetic(least, seed), (*notes, note))


def _in_half(module: torch.nn.Module, call: Call, seed: int) -> Prepared | None:
    kept = call.in_precision(None)
    least = _least_precision(module, kept)
    if least not in HALF_UNITS:
        return None
    return Prepared(module, kept, Arithmetic(least, seed), ())


def _without_lazy_parts(module: torch.nn.Module, call: Call) -> tuple[str, ...]:
    """Run a module once if it has parameters without a shape."""
    parameters = [*module.parameters(), *module.buffers()]
    if not any(map(torch.nn.parameter.is_lazy, parameters)):
        return ()
    kept = call.in_precision(None)
    try:
        with same_random_numbers(0), torch.no_grad():
            module(*kept.arguments, **kept.keywords)
    except Exception as error:
        raise EvaluationError(
            f"module has lazy parameters, and its first call raised {type(error).__name__}: {error}"
        ) from error
    left = [name for name, one in module.named_parameters() if torch.nn.parameter.is_lazy(one)]
    if left:
        raise EvaluationError(
            f"module has lazy parameters that its first call leaves without a shape: {left[0]}."
        )
    return ("lazy parameters got their shapes and values on a copy, by a first call",)


def _require_values(module: torch.nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_meta:
            raise DTypeError(
                f"module must hold numbers, but {name} is on the meta device: load it first."
            )


def _wrap_scripted_parts(module: torch.nn.Module) -> None:
    for part in list(module.modules()):
        if isinstance(part, torch.jit.ScriptModule | Scripted):
            continue
        for name, child in part._modules.items():
            if isinstance(child, torch.jit.ScriptModule):
                part._modules[name] = Scripted(child)


def _run_in_double(
    module: torch.nn.Module, call: Call, seed: int, *, watched: bool
) -> tuple[Arithmetic | None, str]:
    """Run a copy once; return its arithmetic if all goes well, else what does not."""
    mode = CastsInDouble()
    arithmetic = Arithmetic(torch.float64, seed)
    prepared = Prepared(copied_module(module)[0], call, arithmetic, ())
    try:
        with arithmetic.calling():
            if watched:
                with mode:
                    output, result = _run(prepared)
            else:
                output, result = _run(prepared)
    except FastbpError:
        raise
    except Exception as error:
        return None, f"it raises {type(error).__name__}: {error}"
    for tensor in movable_tensors((output, result)):
        if torch.finfo(tensor.dtype).bits < 64:
            return None, f"it returns {str(tensor.dtype).removeprefix('torch.')}"
    return Arithmetic(torch.float64, seed, casts=mode.count > 0), ""


def _run(prepared: Prepared) -> tuple[Any, Any]:
    output = _output_of(prepared)
    return output, prepared.what_loss_returns(output)


def _output_of(prepared: Prepared) -> Any:
    arguments, keywords = changed_tensors(
        torch.clone, (prepared.call.arguments, prepared.call.keywords)
    )
    return prepared.module(*arguments, **keywords)


def _run_or_say_where(prepared: Prepared) -> Any:
    """Run a copy once in the precision of its own; say in which part it, or the loss, raises."""
    copied = copied_module(prepared.module)[0]
    recorder = Recorder(copied, lambda _: False)
    ready = Prepared(copied, prepared.call, prepared.arithmetic, ())
    running = "module"
    try:
        with prepared.arithmetic.calling(), recorder:
            output = _output_of(ready)
            running = "loss"
            ready.what_loss_returns(output)
            return output
    except FastbpError:
        raise
    except Exception as error:
        where = recorder.where() if running == "module" else ""
        what = f"{running} raised {type(error).__name__}: {error}"
        raise EvaluationError(what + (f" (in {where})" if where else "")) from error


def _least_precision(module: torch.nn.Module, *others: Any) -> torch.dtype:
    """Return the real type of fewest digits among parameters and other tensors."""
    parts = []
    for other in others:
        held = (other.arguments, other.keywords) if isinstance(other, Call) else other
        parts += movable_tensors(held)
    found = [tensor.dtype for tensor in (*filter(is_movable, module.parameters()), *parts)]
    least = max(found, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float32)
    return {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(least, least)


def required_tensors(output: Any) -> list[torch.Tensor]:
    """Return the tensors of floats in an output; raise if there are none."""
    tensors = movable_tensors(output)
    if not tensors:
        raise DTypeError("module must return at least one tensor of floats.")
    return tensors


def weighted_sum(output: Any, seed: int) -> torch.Tensor:
    """Return a random weighted sum of all tensors of floats in an output."""
    generator = torch.Generator().manual_seed(seed)
    tensors = required_tensors(output)
    sums = []
    for tensor in tensors:
        dtype = torch.complex128 if tensor.is_complex() else torch.float64
        weights = torch.randn(tensor.shape, generator=generator, dtype=dtype)
        if tensor.device.type == "mps":  # which has no float64
            weights = weights.float()
        sums.append(real_product(tensor, weights.to(tensor.device)).sum().to(tensors[0].device))
    return torch.stack(sums).sum()
