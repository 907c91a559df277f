"""A function of tensors, its vjp checked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch

from fastbp.errors import DTypeError
from fastbp.function.checks.check_gradient import check_gradient
from fastbp.function.checks.check_products import check_vjp
from fastbp.function.checks.report_assembly import noting_scalar_cotangent
from fastbp.function.checks.vjp_against_jvp import AGREEMENT, AGREEMENT_SINGLE
from fastbp.function.methods.directions import random_components, scalar_cotangent
from fastbp.function.methods.options import CheckOptions, checked_options, takes_check_options
from fastbp.torch.layout import copied_in_layout
from fastbp.torch.tensors import array_of, is_float
from fastbp.verdict.rows import bare_row

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
    incoming gradient is random, and never 1. Complex numbers by PyTorch's convention. Inputs
    keep their memory layout; incoming gradients are contiguous, expanded, and with their axes
    in another order. On the device of the inputs.

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

    changed: list[int] = []  # the outputs whose incoming gradient the backward pass changes

    def as_given(arrays: Any) -> list[torch.Tensor]:
        # In the memory layout of the user's: a backward pass may be wrong for one alone.
        return [
            copied_in_layout(tensor, torch.from_numpy(np.empty(0, array.dtype)).dtype)
            .requires_grad_()
            for tensor, array in zip(inputs, arrays, strict=True)
        ]  # fmt: skip

    def vjp(
        inputs: Any,
        cotangent: Any,
        layout: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
    ) -> Any:
        leaves = as_given(inputs)
        outputs = _as_tuple(f(*leaves))
        weights = cotangent if isinstance(cotangent, tuple) else (cotangent,)
        # An output with a cotangent of 0 is left out: its incoming gradient is then None.
        used = [
            place
            for place, output in enumerate(outputs)
            if output.requires_grad and np.any(weights[place])
        ]
        grads: Any = [None] * len(leaves)
        if used:
            incoming = [
                layout(torch.tensor(weights[place], device=outputs[place].device)) for place in used
            ]
            grads = torch.autograd.grad(
                [outputs[place] for place in used], leaves, incoming, allow_unused=True
            )
            for place, tensor in zip(used, incoming, strict=True):
                if not np.array_equal(array_of(tensor), weights[place]):
                    changed.append(place)
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
        return _naming_changed(noting_scalar_cotangent(report, cotangent), changed)
    seed = checked_options(options).seed
    options["seed"] = seed
    report = check_vjp(evaluate, vjp, at, convention="torch", **options)
    outputs = [array_of(output) for output in _as_tuple(result)]
    if report.verdict != "failed" and not complex_somewhere:
        report = _asked_in_other_layouts(report, evaluate, vjp, at, outputs, options)
    return _naming_changed(report, changed)


def _asked_in_other_layouts(
    report: Report,
    evaluate: Callable[[Any], Any],
    vjp: Callable[..., Any],
    at: tuple[Any, ...],
    outputs: list[Any],
    options: CheckOptions,
) -> Report:
    """Ask with incoming gradients that are no contiguous arrays; check anew where that matters.

    That of a sum is expanded, that of a transpose has its axes in another order.
    """
    if any(output.dtype.kind != "f" for output in outputs) or max(map(np.size, outputs)) < 2:
        return report
    rng = np.random.default_rng((options["seed"] or 0, 3))
    ones = tuple(np.ones_like(output) for output in outputs)
    weights = tuple(
        random_components(rng, output.size).astype(output.dtype).reshape(output.shape)
        for output in outputs
    )

    def total(inputs: Any) -> Any:
        results = evaluate(inputs)
        return sum(np.sum(part) for part in (results if type(results) is tuple else (results,)))

    for cotangent, layout, what in (
        (ones, _expanded, "expanded"),
        (weights, _scattered, "of axes in another order, with gaps"),
    ):
        try:
            apart = _differ(vjp(at, cotangent), vjp(at, cotangent, layout))
        except Exception as error:  # what a backward pass does not take is no wrong gradient
            note = f"the backward pass raised for an incoming gradient {what}: {error}"
            report = replace(report, notes=(*report.notes, note))
            continue
        if not apart:
            continue
        if layout is _expanded:
            again = check_gradient(
                total, lambda inputs: vjp(inputs, ones, _expanded), at, **options
            )
        else:
            again = check_vjp(
                evaluate, lambda inputs, some: vjp(inputs, some, _scattered), at, **options
            )
        if again.verdict == "failed":
            note = f"wrong for an incoming gradient {what}, right for a contiguous one"
            return replace(again, notes=(*again.notes, note), function=report.function)
    return report


def _differ(first: Any, second: Any) -> bool:
    """Tell whether products differ by more than the order of sums explains."""
    for one, two in zip(first, second, strict=True):
        share = AGREEMENT_SINGLE if one.dtype == np.float32 else AGREEMENT
        finite = np.isfinite(one)
        size = np.max(np.abs(one), initial=0.0, where=finite)
        if not np.all(np.abs(one - two)[finite] <= share * size):
            return True
    return False


def _expanded(tensor: torch.Tensor) -> torch.Tensor:
    """Return equal entries as one number."""
    return tensor.new_ones(()).expand(tensor.shape)


def _scattered(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor with its axes in the opposite order in memory, and gaps."""
    memory = tensor.new_zeros((*reversed(tensor.shape), 2))
    scattered = memory[..., 0].permute(*reversed(range(tensor.ndim)))
    return scattered.copy_(tensor)


def _naming_changed(report: Report, changed: list[int]) -> Report:
    """Fail a backward pass that changes its incoming gradient in place."""
    if not changed:
        return report
    row = bare_row(
        "backward", (), 0, "failed", "the backward pass changes its incoming gradient in place"
    )
    return replace(report, verdict="failed", arrays=(*report.arrays, row))


def _as_tuple(outputs: Any) -> tuple[torch.Tensor, ...]:
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def _to_numpy(outputs: Any) -> Any:
    if isinstance(outputs, torch.Tensor):
        return array_of(outputs)
    return tuple(array_of(output) for output in outputs)
