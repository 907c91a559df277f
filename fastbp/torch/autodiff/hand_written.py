"""Backward passes that somebody wrote, and what goes wrong in these alone.

The operators of torch give the same gradient however often their graph is asked, whichever of
their arguments require one, and for incoming gradients of zeros as for none. An
``autograd.Function`` may change what it has saved, or confuse what ``ctx.needs_input_grad`` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import BackwardCFunction

from fastbp.errors import EvaluationError
from fastbp.torch.autodiff.accumulation import nodes_behind
from fastbp.torch.autodiff.incoming import products_differ

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastbp.torch.autodiff.incoming import AtThePoint
    from fastbp.typing import Mask

__all__ = [
    "findings_of_hand_written",
    "findings_where_some_are_fixed",
    "has_forward_mode",
    "is_hand_written",
]

# Functions of compiled graphs, which another graph would compile anew, of checkpoints, and our own.
NOT_THE_USERS = ("torch._functorch", "torch._dynamo", "torch.utils.checkpoint", "fastbp.torch.")
TWICE = "gives another result when the same graph is asked again: it changes what it has saved"
MOST_OUTPUTS = 4  # that are asked beside zeros


def is_hand_written(outputs: Sequence[torch.Tensor]) -> bool:
    """Tell whether a node in the graph of some outputs is none of torch's own operators."""
    return any(map(_is_written_by_hand, nodes_behind(outputs)))


def has_forward_mode(outputs: Sequence[torch.Tensor]) -> bool:
    """Tell whether an ``autograd.Function`` in the graph of some outputs has a ``jvp``."""
    return any(
        isinstance(node, BackwardCFunction)
        and _forward_class(node).jvp is not torch.autograd.Function.jvp
        for node in nodes_behind(outputs)
    )


def _is_written_by_hand(node: Any) -> bool:
    if isinstance(node, BackwardCFunction):
        return not _forward_class(node).__module__.startswith(NOT_THE_USERS)
    # A function in C++ is named after its class, as ``torch::autograd::CppNode<Square>``.
    return "::" in type(node).__name__


def _forward_class(node: Any) -> type[torch.autograd.Function]:
    found: type[torch.autograd.Function] = type(node)._forward_cls
    return found


def findings_of_hand_written(here: AtThePoint, seed: int) -> list[str]:
    """Ask a graph twice, for outputs beside zeros, and where some tensors require no gradient.

    Each tensor requires one in one of two graphs. What is found is said of "the backward pass".
    """
    if not is_hand_written(here.graph[1]):
        return []
    rng = np.random.default_rng((seed, 8))
    return _asked_twice(here) or _beside_zeros(here) or _partly_wanted(here, rng)


def _asked_twice(here: AtThePoint) -> list[str]:
    function, graph = here.function, here.function.fresh_graph()
    versions = [leaf._version for leaf in graph[0]]
    first = function.products(graph, here.weights, retain_graph=True)
    changed = [
        name
        for name, leaf, version in zip(function.arguments.names, graph[0], versions, strict=True)
        if leaf._version != version
    ]
    if changed:
        return [f"changes in place what f was called with: {', '.join(changed)}"]
    try:
        second = function.products(graph, here.weights, retain_graph=True)
    except EvaluationError:  # a graph that cannot be asked twice is no wrong gradient
        return []
    return [TWICE] if products_differ(first, second, here.noise) else []


def _beside_zeros(here: AtThePoint) -> list[str]:
    """Ask for outputs alone, where the others have no incoming gradient, or one of zeros."""
    function = here.function
    used = [place for place, output in enumerate(here.graph[1]) if output.requires_grad]
    for place in used[:MOST_OUTPUTS] if len(used) > 1 else ():
        weights = [np.zeros_like(weight) for weight in here.weights]
        weights[place] = here.weights[place]
        try:
            without, beside = here.asked(weights), here.asked(weights, with_zeros=True)
        except EvaluationError:  # where it is asked for all of them together, that is said
            continue
        if products_differ(without, beside, here.noise):
            return [
                f"gives another gradient for {function.results.names[place]} where the incoming "
                f"gradients of the others are zeros, and not undefined"
            ]
    return []


def _partly_wanted(here: AtThePoint, rng: np.random.Generator) -> list[str]:
    function = here.function

    def product(wanted: Mask) -> list[Any]:
        return function.products(function.with_graph(function.arguments.at, wanted), here.weights)

    names = function.arguments.names
    return findings_where_some_are_fixed(names, here.product, product, rng, here.noise)


def findings_where_some_are_fixed(
    names: list[str],
    gradients: list[Any],
    gradients_by: Callable[[Mask], list[Any]],
    rng: np.random.Generator,
    noise: float = 0.0,
) -> list[str]:
    """Compare gradients with those where a random half of the tensors, or the other, is fixed.

    Parameters
    ----------
    names : list of str
    gradients : list of ndarray
        By all tensors.
    gradients_by : callable
        Returns them by those of a mask; whatever for the others. May raise an `EvaluationError`.
    rng : Generator
    noise : float
        By how much they may differ beside rounding.
    """
    if len(names) < 2:
        return []
    half = np.zeros(len(names), dtype=bool)
    half[rng.permutation(len(names))[: len(names) // 2]] = True
    for wanted in (half, ~half):
        try:
            found = gradients_by(wanted)
        except EvaluationError:  # as where f differentiates by one of them itself
            continue
        for place in np.flatnonzero(wanted).tolist():
            if products_differ([gradients[place]], [found[place]], noise):
                fixed = [names[other] for other in np.flatnonzero(~wanted).tolist()]
                return [
                    f"gives another gradient by {names[place]} where none is wanted by "
                    + ", ".join(fixed[:3] + ["..."] * (len(fixed) > 3))
                ]
    return []
