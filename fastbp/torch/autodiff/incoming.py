"""Incoming gradients of every kind: in several layouts, undefined, many at once.

A backward pass that is right for a contiguous incoming gradient may be wrong for the expanded one
of a sum or the scattered one of a transpose, for none at all, or under vmap.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastbp.errors import EvaluationError
from fastbp.function.methods.directions import random_components
from fastbp.torch.autodiff.tensor_function import tensor_like, unchanged
from fastbp.torch.tensors import array_of
from fastbp.verdict.tolerance import agreement_of_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.torch.autodiff.tensor_function import Graph, TensorFunction

__all__ = [
    "CHANNELS_LAST",
    "AtThePoint",
    "batched_findings",
    "channels_last",
    "expanded",
    "products_differ",
    "random_cotangent",
    "scattered",
]

BATCH = 2
# The identity, with a backward pass that gives no gradient: gradcheck's own.
_UNDEFINED: Any = torch._C._functions.UndefinedGrad
# What convolutions compute in, by the number of axes.
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class AtThePoint:
    """The backward pass at the point, asked many times of one graph.

    Parameters
    ----------
    function : TensorFunction
    weights : list of ndarray
        An incoming gradient, one for each output.
    noise : float
        By how much a derivative may differ from one call to the next.
    """

    def __init__(self, function: TensorFunction, weights: list[Any], noise: float = 0.0) -> None:
        self.function, self.weights = function, weights
        sizes = [float(np.max(np.abs(weight), initial=1.0)) for weight in weights]
        self.noise = noise * max(sizes, default=1.0)

    @cached_property
    def graph(self) -> Graph:
        """The tensors, and the outputs with their history."""
        return self.function.fresh_graph()

    @cached_property
    def product(self) -> list[Any]:
        """The derivatives that come back for the weights."""
        return self.asked(self.weights)

    @cached_property
    def again(self) -> list[Any]:
        """Those of another graph, for incoming gradients that are scattered where they can be."""
        function = self.function
        layout = scattered if function.has_layouts else unchanged
        return function.products(function.fresh_graph(), self.weights, layout)

    def asked(
        self,
        weights: list[Any],
        layout: Callable[[torch.Tensor], torch.Tensor] = unchanged,
        *,
        with_zeros: bool = False,
    ) -> list[Any]:
        """Ask for a product; of another graph where one cannot be asked twice."""
        function = self.function
        try:
            return function.products(
                self.graph, weights, layout, retain_graph=True, with_zeros=with_zeros
            )
        except EvaluationError:
            return function.products(function.fresh_graph(), weights, layout, with_zeros=with_zeros)

    def undefined_findings(self) -> list[str]:
        """Return `undefined_findings`; what is found is found of a graph that nobody has asked."""
        found = undefined_findings(self.function, self.graph, self.noise)
        if not found:
            return []
        return undefined_findings(self.function, self.function.fresh_graph(), self.noise)


def expanded(tensor: torch.Tensor) -> torch.Tensor:
    """Return equal entries as one number."""
    return tensor.new_ones(()).expand(tensor.shape)


def scattered(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor with its axes in the opposite order in memory, and gaps."""
    memory = tensor.new_zeros((*reversed(tensor.shape), 2))
    apart = memory[..., 0].permute(tuple(reversed(range(tensor.ndim))))
    return apart.copy_(tensor)


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of images, or of volumes, with its channels next to each other in memory."""
    memory_format = CHANNELS_LAST.get(tensor.ndim)
    return tensor if memory_format is None else tensor.contiguous(memory_format=memory_format)


def products_differ(first: Any, second: Any, noise: float = 0.0) -> bool:
    """Tell whether arrays differ by more than `noise` and the order of sums explain."""
    for one, two in zip(first, second, strict=True):
        if np.array_equal(one, two):
            continue
        share = agreement_of_sums(one.dtype in (np.float32, np.complex64))
        finite = np.isfinite(one)
        size = np.max(np.abs(one), initial=0.0, where=finite)
        if not np.all(np.abs(one - two)[finite] <= share * size + noise):
            return True
    return False


def random_cotangent(function: TensorFunction, rng: np.random.Generator) -> list[Any]:
    """Return an array for each output, its components between a half and one in size."""
    found = []
    for tensor in function.results.tensors_at_first:
        array = array_of(tensor)
        parts = 2 if array.dtype.kind == "c" else 1
        numbers = random_components(rng, parts * array.size)
        if parts == 2:
            numbers = numbers.view(np.complex128)
        found.append(numbers.astype(array.dtype).reshape(array.shape))
    return found


def undefined_findings(function: TensorFunction, graph: Graph, noise: float) -> list[str]:
    """Ask with incoming gradients of which some, or all, are undefined; say what is wrong.

    What comes back without any must be None, or zero but for noise; an autograd.Function that takes
    undefined ones (``set_materialize_grads(False)``) sees None there.
    """
    leaves, outputs = graph
    outputs = [output for output in outputs if output.requires_grad]
    if not outputs:
        return []
    try:
        found = function.backward(
            [_UNDEFINED()(output) for output in outputs],
            leaves,
            [torch.ones_like(output) for output in outputs],
            retain_graph=True,
        )
    except EvaluationError as error:
        return [f"raises where no gradient comes in: {error.__cause__}"]
    for name, gradient in zip(function.arguments.names, found, strict=True):
        if gradient is not None and not np.all(np.abs(array_of(gradient)) <= noise):
            return [f"gives a gradient by {name} that is not 0 where no gradient comes in"]
    return []


def batched_findings(function: TensorFunction, rng: np.random.Generator) -> list[str]:
    """Compare one backward pass for several incoming gradients (vmap) with one after the other."""
    cotangents = [random_cotangent(function, rng) for _ in range(BATCH)]
    leaves, outputs = function.with_graph(function.arguments.at)
    used = [place for place, output in enumerate(outputs) if output.requires_grad]
    if not used:
        return []
    asked = [outputs[place] for place in used]
    incoming = [
        [tensor_like(outputs[place], cotangent[place]) for place in used]
        for cotangent in cotangents
    ]
    try:
        with warnings.catch_warnings():
            # Of operations that vmap runs one after the other: slow, and right.
            warnings.filterwarnings("ignore", "There is a performance drop")
            together = function.backward(
                asked, leaves, [torch.stack(parts) for parts in zip(*incoming, strict=True)],
                retain_graph=True, is_grads_batched=True,
            )  # fmt: skip
    except EvaluationError as error:
        cause = str(error.__cause__).strip().splitlines()
        return [f"cannot be batched (vmap): {cause[0] if cause else error}"]
    for place, one in enumerate(incoming):
        alone = function.backward(asked, leaves, one, retain_graph=True)
        for name, whole, part in zip(function.arguments.names, together, alone, strict=True):
            if not _row_agrees(whole, part, place):
                return [f"is wrong by {name} when it is batched (vmap), right for one at a time"]
    return []


def _row_agrees(whole: torch.Tensor | None, part: torch.Tensor | None, place: int) -> bool:
    if whole is None or part is None:
        found = whole if part is None else part
        return found is None or not np.any(array_of(found))
    rows = array_of(whole)
    row = rows[place]
    return row.shape == tuple(part.shape) and not products_differ([row], [array_of(part)])
