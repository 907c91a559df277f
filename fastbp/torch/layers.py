"""Each layer of a torch module on its own, with the inputs and cotangents that really reach it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.function.checks.report_assembly import FunctionCheck
from fastbp.function.checks.scalar_check import check_scalar
from fastbp.function.containers.given_gradient import GivenLeaves
from fastbp.function.containers.point import DOUBLE_UNIT, Point
from fastbp.function.evaluation import Function
from fastbp.function.methods.directions import scalar_cotangent
from fastbp.runtime.progress import progress_bar
from fastbp.torch.directional import DirectionalDifference
from fastbp.torch.layout import as_given, copied_in_layout
from fastbp.torch.state import Buffers, buffers_of, restore_buffers, same_random_numbers
from fastbp.torch.tensors import array_of, detached, float_tensors, is_float, mapped, requiring_grad
from fastbp.typing import Vector
from fastbp.verdict.arrays import check_verdict
from fastbp.verdict.rows import bare_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastbp.function.methods.options import Options
    from fastbp.report import ArrayReport


__all__ = ["check_layers"]

# Rounding of one forward pass, relative to the root of the sum of squares of what is added up:
# products in a layer make it larger than that of a single addition.
NOISE = 16 * DOUBLE_UNIT
INSIDE = "since a layer of it is wrong"


@dataclass(slots=True, eq=False)
class LayerCall:
    """One call of a layer in the forward pass of the whole.

    Attributes
    ----------
    path, name : str
        Where the layer is, and also of what type: ``layers.17: Linear``.
    layer : torch.nn.Module
    arguments, keywords
        What it was called with, copied in its layout.
    buffers : list
        The buffers of the layer before the call.
    cotangents : list of Tensor or None
        What came back to its outputs, in its layout.
    """

    path: str
    name: str
    layer: torch.nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    buffers: Buffers
    cotangents: list[torch.Tensor | None] = field(default_factory=list)


def check_layers(
    module: torch.nn.Module,
    inputs: list[Any],
    loss: Callable[[Any], torch.Tensor],
    options: Options,
) -> FunctionCheck:
    """Check each layer, and the whole; look closely at what disagrees.

    Parameters
    ----------
    module : torch.nn.Module
        A copy, in float64, that may be changed.
    inputs : list
        Its inputs.
    loss : callable
        From its output to a number.
    options : Options
        The validated options of the check.
    """
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            # Else a layer's output overwrites the input that it is judged by.
            vars(part)["inplace"] = False
    for parameter in module.parameters():
        parameter.requires_grad_()
    counted = _Counter()
    buffers = buffers_of(module)
    calls = _recorded_calls(module, inputs, loss, counted, options.seed, _has_no_children)
    checks = []
    with progress_bar(options.progress, len(calls) + 1, "layers") as advance:
        for call in calls:
            checks.append(_checked_call(call, counted, options))
            advance(1)
        wrong = [call.path for call, check in zip(calls, checks, strict=True) if _failed(check)]
        restore_buffers(buffers)

        def parents() -> list[FunctionCheck]:
            restore_buffers(buffers)
            found = _recorded_calls(module, inputs, loss, counted, options.seed, _has_own_forward)
            return _checked_parents(found, wrong, counted, options)

        checks += _checked_whole(module, inputs, loss, counted, options, wrong, parents)
        advance(1)
    return FunctionCheck(
        rows=tuple(row for check in checks for row in check.rows),
        others=tuple(row for check in checks for row in check.others),
        failures=tuple(some for check in checks for some in check.failures),
        method="layers",
        evaluations=counted.forward,
        notes=(
            f"{len(calls)} calls of layers, each on its own; {counted.forward} forward passes of "
            f"layers and {counted.backward} backward; seed {options.seed}",
            *(note for check in checks for note in check.notes),
        ),
        at_least=any(check.at_least for check in checks),
    )


@dataclass(slots=True)
class _Counter:
    """How many calls of layers there were; those of the whole count for each of its layers."""

    forward: int = 0
    backward: int = 0


def _recorded_calls(
    module: torch.nn.Module,
    inputs: list[Any],
    loss: Callable[[Any], torch.Tensor],
    counted: _Counter,
    seed: int,
    wanted: Callable[[torch.nn.Module], bool],
) -> list[LayerCall]:
    """Run the whole once, forward and backward, and keep what reaches each layer that is wanted."""
    calls: list[LayerCall] = []
    handles = []

    def before(name: str) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, arguments: Any, keywords: Any) -> None:
            positional, named = mapped(detached, (arguments, keywords))
            title = f"{name}: {type(layer).__name__}"
            calls.append(LayerCall(name, title, layer, positional, named, buffers_of(layer)))

        return hook

    def after(layer: torch.nn.Module, _arguments: Any, output: Any) -> None:
        call = next(call for call in reversed(calls) if call.layer is layer)
        for place, tensor in enumerate(float_tensors(output)):
            call.cotangents.append(None)
            if tensor.requires_grad:
                register: Any = tensor.register_hook
                register(_keeper(call, place))

    for name, layer in module.named_modules():
        if name and wanted(layer):
            handles.append(layer.register_forward_pre_hook(before(name), with_kwargs=True))
            handles.append(layer.register_forward_hook(after))
    try:
        with same_random_numbers(seed), torch.enable_grad():
            leaves = [as_given(requiring_grad(value), value) for value in inputs]
            result = loss(module(*leaves))
            # Not with 1: a layer that forgets its incoming gradient would pass.
            torch.autograd.backward(result, torch.full_like(result, scalar_cotangent(seed)))
    finally:
        for handle in handles:
            handle.remove()
    layers = sum(map(_has_no_children, module.modules()))
    counted.forward += layers
    counted.backward += layers
    return calls


def _has_no_children(layer: torch.nn.Module) -> bool:
    return not list(layer.children())


def _has_own_forward(layer: torch.nn.Module) -> bool:
    """Tell whether a module with children may compute something itself."""
    chained = type(layer).forward is torch.nn.Sequential.forward
    return not _has_no_children(layer) and not chained


def _failed(check: FunctionCheck) -> bool:
    return any(row.verdict == "failed" for row in check.rows)


def _checked_parents(
    calls: list[LayerCall], wrong: list[str], counted: _Counter, options: Options
) -> list[FunctionCheck]:
    """Check modules with children, inner ones first, but those that hold what is wrong already."""
    found, checks = list(wrong), []
    for call in reversed(calls):
        if not any(path.startswith(f"{call.path}.") for path in found):
            checks.append(_checked_call(call, counted, options))
            if _failed(checks[-1]):
                found.append(call.path)
    return checks


def _keeper(call: LayerCall, place: int) -> Callable[[torch.Tensor], None]:
    def keep(gradient: torch.Tensor) -> None:
        call.cotangents[place] = copied_in_layout(gradient)

    return keep


def _checked_call(call: LayerCall, counted: _Counter, options: Options) -> FunctionCheck:
    """Check one layer along one direction of everything that it depends on."""
    alone = _Alone(call, counted, options.seed)
    if not alone.tensors or not alone.reached:
        reason = "nothing comes back to it" if alone.tensors else "has no inputs of floats"
        return _single_row(bare_row(call.name, (), 0, "untested", reason))
    counted.backward += alone.layers
    centre, gradients = alone.gradients()
    if alone.changed:
        reason = "its backward pass changes its incoming gradient in place"
        return _single_row(bare_row(call.name, (), 0, "failed", reason))
    without = _without_gradients(call.layer)
    difference = DirectionalDifference(
        alone.value, alone.tensors, gradients, centre, alone.noise, options, without
    )
    return _judged(call.name, difference, options)


def _without_gradient(layer: torch.nn.Module) -> dict[str, int]:
    """Return rows of parameters that have no gradient by definition: padding of embeddings."""
    padding = getattr(layer, "padding_idx", None)
    known = isinstance(layer, torch.nn.Embedding | torch.nn.EmbeddingBag)
    return {"weight": padding} if known and padding is not None else {}


def _without_gradients(module: torch.nn.Module) -> dict[str, int]:
    """Return the same for all parts of a module."""
    return {
        f"{name}.{parameter}" if name else parameter: row
        for name, part in module.named_modules()
        for parameter, row in _without_gradient(part).items()
    }


class _Alone:
    """A layer with fixed cotangents, as a scalar function of its float inputs and parameters."""

    def __init__(self, call: LayerCall, counted: _Counter, seed: int) -> None:
        self.call, self.counted, self.seed = call, counted, seed
        self.arguments = mapped(requiring_grad, (call.arguments, call.keywords))
        self.tensors: dict[str, torch.Tensor] = {}
        for place, tensor in enumerate(float_tensors(self.arguments)):
            self.tensors[f"input[{place}]"] = tensor
        for name, parameter in call.layer.named_parameters():
            self.tensors[name] = parameter
        self.reached = any(cotangent is not None for cotangent in call.cotangents)
        self.noise = 0.0
        self.changed = False  # whether its backward pass changes what comes back to it
        self.layers = sum(map(_has_no_children, call.layer.modules()))

    def value(self, *, afresh: bool = True) -> torch.Tensor:
        """Return <cotangent, output>; unless afresh, with buffers as the last call left them."""
        # A layer that works in place must not spoil the input that all calls share.
        arguments, keywords = mapped(torch.clone, self.arguments)
        return self._paired(self._outputs(arguments, keywords, afresh))

    def gradients(self) -> tuple[float, dict[str, Vector]]:
        """Return the value, and what torch's backward pass of this layer gives.

        It gets what it got in the backward pass of the whole: divided by the cotangent of that.
        """
        with torch.enable_grad():
            arguments, keywords = torch.utils._pytree.tree_map(
                as_given, self.arguments, (self.call.arguments, self.call.keywords)
            )
            outputs = self._outputs(arguments, keywords, True)
            value = self._paired(outputs)
            incoming = [
                None if cotangent is None else copied_in_layout(cotangent)
                for cotangent in self.call.cotangents
            ]
            gradients = _gradients_of(outputs, incoming, self.tensors, self.seed)
        self.changed = any(
            before is not None
            and after is not None
            and not np.array_equal(array_of(before), array_of(after), equal_nan=True)
            for before, after in zip(self.call.cotangents, incoming, strict=True)
        )
        return float(value.detach()), gradients

    def _outputs(self, arguments: Any, keywords: Any, afresh: bool) -> list[torch.Tensor]:
        self.counted.forward += self.layers
        if afresh:
            restore_buffers(self.call.buffers)
        with same_random_numbers(self.seed):
            return float_tensors(self.call.layer(*arguments, **keywords))

    def _paired(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        products = [
            (tensor * (cotangent / scalar_cotangent(self.seed))).reshape(-1)
            for tensor, cotangent in zip(outputs, self.call.cotangents, strict=True)
            if cotangent is not None
        ]
        self.noise = NOISE * float(sum(torch.linalg.norm(part.detach()) for part in products))
        return torch.stack([part.sum() for part in products]).sum()


def _gradients_of(
    outputs: list[torch.Tensor],
    cotangents: Sequence[torch.Tensor | None],
    tensors: dict[str, torch.Tensor],
    seed: int,
) -> dict[str, Vector]:
    """Return the gradients from cotangents, divided by that of the whole."""
    found: Any = [None] * len(tensors)
    reached = [
        (output, cotangent)
        for output, cotangent in zip(outputs, cotangents, strict=True)
        if output.requires_grad and cotangent is not None
    ]
    if reached:
        found = torch.autograd.grad(
            [output for output, _ in reached],
            list(tensors.values()),
            [cotangent for _, cotangent in reached],
            allow_unused=True,
        )
    return {
        name: np.zeros_like(array_of(tensor))
        if gradient is None
        else array_of(gradient) / scalar_cotangent(seed)
        for (name, tensor), gradient in zip(tensors.items(), found, strict=True)
    }


def _judged(
    name: str,
    difference: DirectionalDifference,
    options: Options,
    explained: Callable[[], bool] = lambda: False,
) -> FunctionCheck:
    """Return a row for a layer, and rows for its tensors where it is wrong.

    Unless that is `explained`: then the row is not judged.
    """
    entries = sum(gradient.size for gradient in difference.gradients.values())
    verdict, reason, detectable = difference.verdict()
    if verdict != "failed":
        if verdict == "passed" and not any(part.any() for part in difference.gradients.values()):
            verdict, reason = "untested", "zero on both sides"
        row = bare_row(name, (), entries, verdict, reason)
        return _single_row(replace(row, detectable=detectable))
    if explained():
        return _single_row(bare_row(name, (), 0, "untested", INSIDE))
    closer = _closer_look(difference, options)
    verdict = check_verdict([row.verdict for row in closer.rows])
    if verdict != "failed":  # its inputs are on kinks, where a direction alone does not decide
        found = "untested" if verdict == "vacuous" else verdict
        row = bare_row(name, (), entries, found, "on kinks: each tensor was looked at")
        return _single_row(replace(row, detectable=detectable))
    renamed = [replace(part, name=f"{name}, {part.name}") for part in closer.rows]
    failures = [
        tuple(replace(wrong, array=f"{name}, {wrong.array}") for wrong in some)
        for some in closer.failures
    ]
    row = bare_row(name, (), 0, "failed", reason)
    return replace(closer, rows=(row, *renamed), failures=tuple(failures), notes=())


def _closer_look(difference: DirectionalDifference, options: Options) -> FunctionCheck:
    """Find the wrong tensors and entries of one layer, by directions of each and bisection."""
    names = sorted(difference.tensors)  # as optree goes through a dict

    def value(at: dict[str, Any]) -> float:
        with torch.no_grad():
            for name, tensor in difference.tensors.items():
                tensor.copy_(torch.as_tensor(at[name]))
                if name in difference.without:  # what has no gradient is not moved either
                    row = difference.without[name]
                    tensor[row] = difference.base[name][row]
            return float(difference.value())

    at = {name: array_of(difference.base[name]) for name in names}
    function = Function(value, Point(at, ""), "layer")
    tensor_of = dict(zip(function.point.container.names, names, strict=True))
    given = GivenLeaves([difference.gradients[name] for name in names])
    check = check_scalar(function, given, options)
    for name, tensor in difference.tensors.items():
        with torch.no_grad():
            tensor.copy_(difference.base[name])
    rows = [replace(row, name=name) for row, name in zip(check.rows, names, strict=True)]
    failures = [
        tuple(replace(wrong, array=tensor_of[wrong.array]) for wrong in some)
        for some in check.failures
    ]
    return replace(check, rows=tuple(rows), failures=tuple(failures))


def _checked_whole(
    module: torch.nn.Module,
    inputs: list[Any],
    loss: Callable[[Any], torch.Tensor],
    counted: _Counter,
    options: Options,
    wrong: list[str],
    parents: Callable[[], list[FunctionCheck]],
) -> list[FunctionCheck]:
    """Check the whole: what is wrong between the layers shows only there.

    Where it shows, modules with children are looked at too.
    """
    name = "the whole module"
    if wrong:
        return [*parents(), _single_row(bare_row(name, (), 0, "untested", INSIDE))]
    layers = sum(map(_has_no_children, module.modules()))
    leaves = [requiring_grad(value) for value in inputs]
    tensors = {f"input[{place}]": value for place, value in enumerate(leaves) if is_float(value)}
    tensors |= dict(module.named_parameters())
    if not tensors:
        return [_single_row(bare_row(name, (), 0, "untested", "has no inputs or parameters"))]

    buffers = buffers_of(module)
    without = _without_gradients(module)

    def value(arguments: list[Any] = leaves, *, afresh: bool = True) -> torch.Tensor:
        counted.forward += layers
        if afresh:
            restore_buffers(buffers)
        with same_random_numbers(options.seed):
            return loss(module(*arguments))

    with torch.enable_grad():
        result = value(list(map(as_given, leaves, inputs)))
        cotangent = torch.full_like(result, scalar_cotangent(options.seed))
        gradients = _gradients_of([result], [cotangent], tensors, options.seed)
    counted.backward += layers
    noise = NOISE * (
        abs(float(result.detach()))
        + float(
            np.sqrt(
                sum(
                    np.sum((gradient * array_of(tensors[key])) ** 2)
                    for key, gradient in gradients.items()
                )
            )
        )
    )
    centre = float(result.detach())
    difference = DirectionalDifference(value, tensors, gradients, centre, noise, options, without)
    looked_at: list[FunctionCheck] = []

    def explained() -> bool:
        looked_at.extend(parents())
        restore_buffers(buffers)
        return any(map(_failed, looked_at))

    judged = _judged(name, difference, options, explained)
    return [*looked_at, judged]


def _single_row(row: ArrayReport) -> FunctionCheck:
    return FunctionCheck(rows=(row,), method="layers")
