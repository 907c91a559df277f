"""Parts that are wrong on purpose: left out, and everything around them judged all the same.

Where such a part is called, the whole is cut. What it returned becomes a tensor like an input; what
its backward pass gave for its arguments becomes a fixed cotangent of those. The derivative of that
is what the real backward pass computes, by all parts but the one that is left out.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch

from fastbp.errors import DTypeError, OptionError
from fastbp.function.methods.directions import scalar_cotangent
from fastbp.torch.modules.layer_calls import parts_of, shown_path
from fastbp.torch.modules.nesting import (
    changed_tensors,
    is_movable,
    movable_tensors,
    named_tensors,
)
from fastbp.torch.modules.scalar_functions import Alone, Counter, evaluated, real_product, tensor_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.torch.autodiff.arithmetic import Arithmetic
    from fastbp.torch.modules.layer_calls import LayerCall

__all__ = ["StandIns", "excluded_paths"]


def excluded_paths(module: torch.nn.Module, exclude: Any) -> list[str]:
    """Return the paths of the parts that names or patterns stand for; raise if one matches none."""
    patterns = [exclude] if isinstance(exclude, str) else exclude
    if not isinstance(patterns, list | tuple | set | frozenset) or not all(
        isinstance(pattern, str) for pattern in patterns
    ):
        raise DTypeError(f"exclude must hold names of parts of the module, not {exclude!r}.")
    paths = [shown_path(path) for path, _ in parts_of(module)]
    found: set[str] = set()
    for pattern in patterns:
        matching = [path for path in paths if fnmatchcase(path, pattern)]
        if not matching:
            known = ", ".join(paths[:20]) or "none"
            more = ", ..." if len(paths) > 20 else ""
            raise OptionError(
                f"exclude must name parts of module, but {pattern!r} matches none of {known}{more}."
            )
        found.update(matching)
    return [path for path in paths if path in found]


@dataclass(frozen=True, slots=True, eq=False)
class _StandIn:
    """What is there in the place of one call."""

    outputs: Any  # with leaves
    leaves: dict[str, torch.Tensor]
    contributions: list[torch.Tensor | None]  # what it gave for its arguments


class StandIns:
    """What stands in the place of the parts that are left out."""

    def __init__(self, calls: list[LayerCall], arithmetic: Arithmetic, counted: Counter) -> None:
        self.scale = scalar_cotangent(arithmetic.seed)
        self.layers = {call.path: call.layer for call in calls}
        self.of_calls: dict[str, list[_StandIn]] = {path: [] for path in self.layers}
        self.used: dict[str, torch.Tensor] = {}
        for call in calls:
            contributions = _contributions(call, arithmetic, counted)
            outputs = changed_tensors(_as_leaf, call.outputs)
            place = len(self.of_calls[call.path])
            again = f" (call {place})" if place else ""
            leaves = {
                name: tensor
                for name, tensor in named_tensors(outputs, f"{call.path}{again}, output")
                if tensor.requires_grad
            }
            self.of_calls[call.path].append(_StandIn(outputs, leaves, contributions))

    @contextmanager
    def standing(self, earlier: dict[str, int]) -> Iterator[list[torch.Tensor]]:
        """Let them stand in, after so many earlier calls; the list gets what is to be added."""
        counts = dict(earlier)
        terms: list[torch.Tensor] = []
        self.used = {}

        def stand_in(path: str, original: Any) -> Any:
            def forward(*arguments: Any, **keywords: Any) -> Any:
                if not torch.is_grad_enabled():
                    return original(*arguments, **keywords)
                one = self.of_calls[path][counts.get(path, 0)]
                counts[path] = counts.get(path, 0) + 1
                given = movable_tensors((arguments, keywords))
                terms.extend(
                    (real_product(tensor, weights) / self.scale).sum()
                    for tensor, weights in zip(given, one.contributions, strict=True)
                    if weights is not None and tensor.requires_grad
                )
                self.used |= one.leaves
                return changed_tensors(torch.clone, one.outputs)

            return forward

        with ExitStack() as stack:
            for path, layer in self.layers.items():
                own = vars(layer).get("forward")
                vars(layer)["forward"] = stand_in(path, layer.forward)
                stack.callback(_put_back, layer, own)
            yield terms

    def used_leaves(self) -> dict[str, torch.Tensor]:
        """Return the outputs of parts that were called since they began to stand in."""
        return self.used


def _put_back(layer: torch.nn.Module, own: Any) -> None:
    del vars(layer)["forward"]
    if own is not None:
        vars(layer)["forward"] = own


def _as_leaf(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone().requires_grad_() if is_movable(tensor) else tensor


def _contributions(
    call: LayerCall, arithmetic: Arithmetic, counted: Counter
) -> list[torch.Tensor | None]:
    """Return what the part's own backward pass gives for each of its float arguments."""
    alone = Alone(call, arithmetic, counted)
    gradients = evaluated(alone, call.name)[1] if call.reached else {}
    scale = scalar_cotangent(arithmetic.seed)
    found: list[torch.Tensor | None] = []
    places = {id(tensor): name for name, tensor in alone.tensors.items()}
    for tensor in movable_tensors(alone.arguments):
        name = places.get(id(tensor))
        if name is None or name not in gradients or name in alone.unreached:
            found.append(None)
            continue
        found.append(tensor_of(gradients[name] * scale, tensor))
    return found
