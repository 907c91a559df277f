"""The backward pass as a function of the inputs and the incoming gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastbp.runtime.user_code import calling
from fastbp.torch.autodiff.arguments import Arguments
from fastbp.torch.autodiff.incoming import random_cotangent
from fastbp.torch.autodiff.tensor_function import BACKWARD, TensorFunction, tensor_like

if TYPE_CHECKING:
    import numpy as np

__all__ = ["backward_pass"]

COTANGENT = "incoming gradient"


def backward_pass(function: TensorFunction, rng: np.random.Generator) -> TensorFunction:
    """Return the backward pass at the point, with a random incoming gradient beside it.

    As a function of the arguments and, by the name "incoming gradient", of the latter; its outputs
    are the gradients. It is linear in the incoming gradients.
    """
    first = function.arguments
    cotangents = [
        tensor_like(output, array).requires_grad_()
        for output, array in zip(
            function.results.tensors_at_first, random_cotangent(function, rng), strict=True
        )
    ]
    positional, named = first.with_tensors(first.as_given(first.at))
    count = len(positional)

    def backward(*inputs: Any, **keywords: Any) -> tuple[torch.Tensor, ...]:
        incoming = keywords.pop(COTANGENT)
        positional, named = list(inputs[:count]), keywords
        leaves = first.checked_in(positional, named)
        graph = torch.is_grad_enabled()
        if not graph:  # its values alone: a graph of the backward pass takes as long as the rest
            leaves = [leaf.detach().requires_grad_() for leaf in leaves]
            positional, named = first.with_tensors(leaves)
        raising = "f"
        try:
            with torch.enable_grad():
                outputs = function.results.tensors(function.f(*positional, **named))
            used = [place for place, output in enumerate(outputs) if output.requires_grad]
            if not used:
                return tuple(torch.zeros_like(leaf) for leaf in leaves)
            raising = BACKWARD
            return torch.autograd.grad(
                [outputs[place] for place in used],
                leaves,
                [incoming[place] for place in used],
                create_graph=graph,
                materialize_grads=True,
            )
        except Exception:
            with calling(raising):  # which names what raised
                raise

    backward.__name__ = f"backward pass of {function.__name__}"
    arguments = Arguments(positional, {**named, COTANGENT: cotangents})
    return TensorFunction(
        backward, arguments, function.seed, surrounding=function.surrounding, every=True
    )
