"""A torch module that is a ReLU network, given to the network engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.network.checks.check_network import check_network
from fastbp.network.network import Network
from fastbp.torch.tensors import array_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastbp.function.methods.options import Options
    from fastbp.report import Report

__all__ = ["ModuleAsNetwork", "as_network", "check_as_network"]


@dataclass(frozen=True, slots=True, eq=False)
class ModuleAsNetwork:
    """A network with the parameters, the loss and the data of a module."""

    network: Network
    inputs: torch.Tensor
    targets: NDArray[Any]
    loss: Callable[[torch.Tensor], torch.Tensor]


def as_network(
    module: torch.nn.Module,
    inputs: tuple[Any, ...],
    loss: Callable[..., Any] | None,
    target: Any,
    seed: int,
) -> ModuleAsNetwork | None:
    """Return the module as a network; None if it is not one of ours.

    It is if it is a ``Sequential`` of ``Linear``, ``ReLU``, ..., ``Linear``, with a matrix as
    input and one of the losses that both know.
    """
    linear = _linear_layers(module)
    if linear is None or len(inputs) != 1 or not _is_matrix(inputs[0]):
        return None
    known = _known_loss(loss, target, len(inputs[0]), linear[-1].out_features, seed)
    if known is None:
        return None
    targets, value, options = known
    network = Network(
        [array_of(layer.weight) for layer in linear],
        None if linear[0].bias is None else [array_of(layer.bias) for layer in linear],
        layout="torch",
        **options,
    )
    return ModuleAsNetwork(network, inputs[0], targets, value)


def _is_matrix(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 2 and value.is_floating_point()


def _linear_layers(module: torch.nn.Module) -> list[torch.nn.Linear] | None:
    """Return the linear layers of a plain ReLU network; None if the module is something else."""
    if type(module) is not torch.nn.Sequential:
        return None
    layers = list(module)
    linear = [layer for layer in layers[0::2] if type(layer) is torch.nn.Linear]
    if len(layers) != 2 * len(linear) - 1:
        return None
    if not all(type(layer) is torch.nn.ReLU for layer in layers[1::2]) or _has_hooks(layers):
        return None
    biases = {layer.bias is None for layer in linear}
    # The same layer twice has one gradient for both, which the engine does not know of.
    if len(biases) > 1 or len(set(map(id, linear))) < len(linear):
        return None
    return linear


def _has_hooks(layers: list[torch.nn.Module]) -> bool:
    return any(
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks
        for layer in layers
    )


def _known_loss(
    loss: Callable[..., Any] | None, target: Any, batch: int, outputs: int, seed: int
) -> tuple[NDArray[Any], Callable[[torch.Tensor], torch.Tensor], dict[str, Any]] | None:
    """Return targets, the loss of an output, and what `Network` calls that loss."""
    if loss is None:
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn((batch, outputs), generator=generator, dtype=torch.float64)
        pair = (lambda output, y: float(np.sum(output * y)), lambda output, y: y.copy())  # noqa: ARG005
        return weights.numpy(), lambda output: (output * weights).sum(), {"loss": pair}
    if target is None or not isinstance(target, torch.Tensor):
        return None

    def value(output: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = loss(output, target)
        return result.sum() if result.ndim else result

    if type(loss) is torch.nn.MSELoss and tuple(target.shape) == (batch, outputs):
        reduction = "mean_entries" if loss.reduction == "mean" else "sum"
        return array_of(target), value, {"loss": "least_squares", "reduction": reduction}
    if type(loss) is torch.nn.CrossEntropyLoss and _is_plain(loss, target, outputs):
        reduction = "mean" if loss.reduction == "mean" else "sum"
        return array_of(target), value, {"loss": "softmax_cross_entropy", "reduction": reduction}
    return None


def _is_plain(loss: torch.nn.CrossEntropyLoss, target: torch.Tensor, outputs: int) -> bool:
    """Tell whether the cross-entropy is without class weights, smoothing and ignored classes."""
    if loss.weight is not None or loss.label_smoothing:
        return False
    if target.is_floating_point():
        sums = target.sum(dim=-1)
        return bool(
            (target >= 0).all() and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-12)
        )
    return bool(((target >= 0) & (target < outputs)).all())


def check_as_network(module: torch.nn.Module, known: ModuleAsNetwork, options: Options) -> Report:
    """Compare torch's gradients with the network engine, every entry of them."""
    for parameter in module.parameters():
        parameter.requires_grad_()
    layers = _linear_layers(module) or []
    parameters = [layer.weight for layer in layers]
    if known.network.biases is not None:
        parameters += [layer.bias for layer in layers]
    gradients = torch.autograd.grad(known.loss(module(known.inputs)), parameters)
    weights = [array_of(gradient) for gradient in gradients[: len(layers)]]
    biases = [array_of(gradient) for gradient in gradients[len(layers) :]] or None
    report = check_network(
        known.network,
        array_of(known.inputs),
        known.targets,
        (weights, biases),
        rtol=options.rtol,
        atol=options.atol,
        progress=options.progress,
    )
    note = f"a ReLU network with a loss we know: every entry, by the engine, method {report.method}"
    return replace(report, notes=(note, *report.notes))
