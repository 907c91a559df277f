"""PyTorch's own derivatives of a module, against differences. Needs torch.

``import torch`` here means the package: all imports in fastbp are absolute.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from fastbp.errors import DTypeError, OptionError
from fastbp.function.checks.report_assembly import report_of
from fastbp.function.containers.calls import takes_keyword
from fastbp.function.containers.point import described_precision
from fastbp.function.methods.options import DEFAULTS, checked_options
from fastbp.runtime.compilation import Stopwatch
from fastbp.runtime.progress import outer_progress_bar
from fastbp.runtime.validation import require_bool, require_order
from fastbp.torch.autodiff.arithmetic import without_warnings_of_ours
from fastbp.torch.modules.best_precision import Call, Prepared, in_best_precision
from fastbp.torch.modules.check_layers import Subject, check_layers
from fastbp.torch.modules.exclusion import excluded_paths
from fastbp.torch.modules.nesting import movable_tensors
from fastbp.torch.modules.other_derivatives import with_forward_mode, with_second_order
from fastbp.torch.modules.relu_network import ModuleAsNetwork, as_network, check_as_network
from fastbp.torch.state import with_gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastbp.report import Report

__all__ = ["check_module"]


@with_gradients
def check_module(
    module: torch.nn.Module,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    loss: Callable[..., Any] | None = None,
    target: Any = None,
    exclude: str | Sequence[str] = (),
    order: int = 1,
    forward_ad: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int | None = None,
    progress: bool | None = None,
    **keywords: Any,
) -> Report:
    """Check the backward pass of a module, and say which of its layers is wrong.

    Parameters
    ----------
    module : torch.nn.Module
        Evaluated in float64, on a copy, in the mode (training or not) that it is in.
    *inputs, **keywords
        What it is called with: tensors, anything that holds tensors (dicts, lists, named tuples,
        dataclasses), and whatever else it takes. Gradients are judged of those floats that require
        one, or of all floats where none does. Then an input that gets no gradient at all is held
        fixed, and a note says so.
    kwargs : dict, optional
        Keywords of the module that are options here too, as ``kwargs={"target": words}``.
    loss : callable, optional
        ``loss(output, target)``, or ``loss(output)`` without a target, returns one number. None:
        a random weighted sum of all outputs.
    target : optional
        The second argument of the loss.
    exclude : str or sequence of str
        Parts that are wrong on purpose, as straight-through estimators and gradient reversal: names
        or patterns, as ``"quantise"`` or ``"blocks.*.quantise"``. Everything else is judged, their
        own parts too, and with what they give back.
    order : {1, 2}
        2: also the derivative of the backward pass of the whole, by parameters, inputs and incoming
        gradient, as ``torch.autograd.gradgradcheck``.
    forward_ad : bool
        Also the forward mode of the whole, along a random tangent of each parameter and input.
    rtol, atol, seed, progress
        As in `check_gradient`.

    Returns
    -------
    Report
        For a ``Sequential`` of ``Linear`` and ``ReLU`` with ``MSELoss``, ``CrossEntropyLoss`` or
        no loss, that of `check_network`: every entry of every parameter. For any other module a
        row for each layer (a module that calls no others, once for each call), and one for the
        whole; where a layer is wrong, rows for its inputs and parameters, with the wrong entries.
        Where something is wrong, modules with children get rows too, but those with a wrong layer.

    Raises
    ------
    DTypeError, ShapeError, OptionError
        As in `check_gradient`; if the module returns no tensors of floats, the loss not one number,
        if there is a target and no loss, or `exclude` matches nothing, or is given beside
        ``order=2`` or `forward_ad`.
    EvaluationError
        If the module cannot be copied, or it or the loss raises: the message says in which part.

    Notes
    -----
    One forward and backward pass of the whole, with hooks: they keep what reaches each layer.
    Then each layer stands alone: one more forward and backward pass with its real inputs and
    cotangents, in the memory layout that these have, and two forward passes for a difference
    along a random direction of its inputs and parameters, whose hooks are kept. The whole takes
    two more forward passes. Layers see the same random numbers in all of them, and the buffers
    that they had when they were called. What is not deterministic even so is *inconclusive*, as
    is what depends on buffers that every call changes: a backward pass takes these as constant.
    (The power iterations of spectral norm stand still.) Padding rows of embeddings have no gradient
    by definition, and are not compared; parameters that require none are held fixed. In all about
    the time of five forward and backward passes, as long as nothing is wrong.

    In float64 means: casts inside of the module and tensors that it makes in float32, float16 or
    bfloat16 become float64, too. A module that does not run so, or returns float32 all the same, is
    checked in its own precision over longer steps, with the error bars of that; a note says so.
    Layers in half precision are also compared with float64, within what rounding explains.
    What is compiled is run as it is written for its layers, and compiled for the whole; what is
    scripted is one layer. All on the device where the module is.

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
    watch = Stopwatch()
    options = checked_options(
        {"method": "probe", "rtol": rtol, "atol": atol, "seed": seed, "progress": progress}
    )
    if not isinstance(module, torch.nn.Module):
        raise DTypeError(f"module must be a torch.nn.Module, not {type(module).__name__}.")
    _require_known(keywords, module)
    _require_loss(loss, target)
    call = Call(inputs, _all_keywords(kwargs, keywords), loss, target)
    require_order(order)
    require_bool(forward_ad, "forward_ad")
    with without_warnings_of_ours(), outer_progress_bar(progress, "layers"):
        prepared = in_best_precision(module, call, options.seed)
        excluded = excluded_paths(prepared.module, exclude)
        if excluded and (order == 2 or forward_ad):
            raise OptionError("exclude leaves parts out; order=2 and forward_ad judge the whole.")
        network = None if excluded else _as_network(prepared, options.seed)
        if network is not None:
            report = check_as_network(prepared.module, network, options)
        else:
            checks = check_layers(_subject(prepared, call, excluded), options)
            title = f"backward pass of {type(module).__name__}"
            report = report_of([checks], title, _precision(module, prepared), options, watch)
            report = replace(report, method="layers")
        report = replace(report, notes=(*report.notes, *prepared.notes))
        if forward_ad:
            report = with_forward_mode(report, prepared, options)
        if order == 2:
            report = with_second_order(report, prepared, options)
    return report


def _precision(module: torch.nn.Module, prepared: Prepared) -> str:
    """Say of which dtypes the parameters are, and in which they are differenced."""
    used = prepared.arithmetic.dtype
    given = [tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()] or [used]
    return described_precision(map(_name, given), [_name(used)])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _as_network(prepared: Prepared, seed: int) -> ModuleAsNetwork | None:
    call = prepared.call
    if call.keywords or prepared.half or not prepared.arithmetic.is_double:
        return None
    return as_network(prepared.module, call.arguments, call.loss, call.target, seed)


def _subject(prepared: Prepared, call: Call, excluded: list[str]) -> Subject:
    """Return what is checked; if the user asks for gradients of some inputs, of these alone."""
    asked = [tensor.requires_grad for tensor in movable_tensors((call.arguments, call.keywords))]
    chosen = any(asked)
    wanted = asked if chosen else [True] * len(asked)
    half = None if prepared.half is None else _subject(prepared.half, call, excluded)
    return Subject(
        prepared.module, (prepared.call.arguments, prepared.call.keywords), wanted, chosen,
        prepared.loss, prepared.arithmetic, excluded, half,
    )  # fmt: skip


def _require_known(keywords: dict[str, Any], module: torch.nn.Module) -> None:
    """Raise where an option of other checks would go to a module that does not take it."""
    for name in keywords:
        if name in DEFAULTS and not takes_keyword(module, name):
            raise OptionError(
                f"{name} is no option of check_module, and module takes no such keyword."
            )


def _require_loss(loss: Any, target: Any) -> None:
    if loss is None and target is not None:
        raise OptionError(
            "target is the second argument of loss, but there is no loss; a keyword of the module "
            "is given as kwargs={'target': ...}."
        )
    if loss is not None and not callable(loss):
        raise OptionError(f"loss must be None or a callable, not {loss!r}.")


def _all_keywords(kwargs: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    if kwargs is not None and not isinstance(kwargs, dict):
        raise DTypeError(f"kwargs must be a dict, not {type(kwargs).__name__}.")
    twice = sorted(set(kwargs or {}) & set(keywords))
    if twice:
        raise DTypeError(f"kwargs and the keywords both have {', '.join(twice)}.")
    return {**(kwargs or {}), **keywords}
