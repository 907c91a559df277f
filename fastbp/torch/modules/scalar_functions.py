"""A layer, or the whole, as a scalar function of the tensors it depends on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from fastbp.errors import EvaluationError, FastbpError
from fastbp.function.methods.directions import scalar_cotangent
from fastbp.torch.autodiff.hand_written import is_hand_written
from fastbp.torch.layout import as_given, copied_in_layout
from fastbp.torch.modules.layer_calls import count_of_layers, shown_path
from fastbp.torch.modules.nesting import (
    changed_tensors,
    is_movable,
    movable_tensors,
    named_arguments,
    named_tensors,
)
from fastbp.torch.state import buffers_of, restore_buffers
from fastbp.torch.tensors import dense
from fastbp.typing import Mask, Vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from fastbp.torch.autodiff.arithmetic import Arithmetic
    from fastbp.torch.modules.layer_calls import LayerCall
    from fastbp.torch.state import Buffers

__all__ = [
    "ROUNDINGS_COARSE",
    "Alone",
    "Counter",
    "ScalarFunction",
    "Whole",
    "evaluated",
    "gradients_of",
    "numbers_of",
    "real_product",
    "tensor_of",
]

# Rounding of one forward pass, in units, relative to the root of the sum of squares of what is
# added up: products in a layer make it larger than that of a single addition. In less than float64
# sums are kept with more digits than results.
ROUNDINGS, ROUNDINGS_COARSE = 16, 2


def numbers_of(tensor: torch.Tensor) -> Vector:
    """Return the real numbers of a tensor in float64; of complex ones, both parts."""
    bare = dense(tensor.detach()).resolve_conj().resolve_neg()
    if bare.is_complex():
        bare = torch.view_as_real(bare)
    array: Vector = bare.cpu().double().numpy()
    return array


def tensor_of(numbers: Vector, like: torch.Tensor) -> torch.Tensor:
    """Return a tensor like another, with real numbers as those of `numbers_of`."""
    made = torch.from_numpy(np.array(numbers))
    return (torch.view_as_complex(made) if like.is_complex() else made).to(like)


class Substitutes(Protocol):
    """What stands in the place of parts that are left out."""

    def standing(self, earlier: dict[str, int]) -> AbstractContextManager[list[torch.Tensor]]:
        """Let them stand in, after so many earlier calls; the list gets what is to be added."""

    def used_leaves(self) -> dict[str, torch.Tensor]:
        """Return the outputs of parts that were called since they began to stand in."""


@dataclass(slots=True)
class Counter:
    """How many calls of layers there were; those of the whole count for each of its layers."""

    forward: int = 0
    backward: int = 0


class ScalarFunction(ABC):
    """What differences are taken of: a module with fixed cotangents.

    Parameters
    ----------
    module : torch.nn.Module
    given : tuple
        Its positional arguments and its keywords.
    wanted : list of bool
        Of which float tensors in there a gradient is wanted.
    buffers : Buffers
        What its buffers are before a call.
    arithmetic : Arithmetic
    counted : Counter
        Counts the calls of layers.
    stand_ins : Substitutes or None

    Attributes
    ----------
    tensors : dict
        What it depends on: leaves, which may be moved in place.
    noise : float
        The size of its rounding.
    unreached : list of str
        The tensors that the backward pass gives no gradient of.
    changes : str
        What the backward pass changes in place: what comes back to it, or its input, if any.
    hand_written : bool
        Whether somebody wrote a part of it.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        wanted: list[bool],
        buffers: Buffers,
        arithmetic: Arithmetic,
        counted: Counter,
        stand_ins: Substitutes | None,
    ) -> None:
        self.module, self.arithmetic, self.counted = module, arithmetic, counted
        self.given, self.buffers, self.stand_ins = given, buffers, stand_ins
        self.layers = count_of_layers(module)
        self.arguments = _requiring_grad(given, wanted)
        self.tensors: dict[str, torch.Tensor] = {
            name: tensor for name, tensor in named_arguments(self.arguments) if tensor.requires_grad
        }
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and is_movable(parameter):
                self.tensors[shown_path(name)] = parameter
        self.noise = 0.0
        self.unreached: list[str] = []
        self.changes = ""
        self.hand_written = False
        self.compiled = False

    @abstractmethod
    def value(self, *, afresh: bool = True) -> torch.Tensor:
        """Return the scalar; unless afresh, with buffers as the last call left them."""

    @abstractmethod
    def gradients(self) -> tuple[float, dict[str, Vector]]:
        """Return the value, and what torch's backward pass gives."""

    def gradients_by(self, wanted: Mask) -> list[Vector]:
        """Return the gradients by the tensors of a mask where the others require none.

        Zeros stand for those of the others.
        """
        tensors = self.tensors
        pairs = list(zip(tensors.items(), wanted.tolist(), strict=True))
        self.tensors = {name: tensor for (name, tensor), is_wanted in pairs if is_wanted}
        try:
            for (_, tensor), is_wanted in pairs:
                tensor.requires_grad_(is_wanted)
            _, found = evaluated(self, "with some tensors fixed it")
        finally:
            for tensor in tensors.values():
                tensor.requires_grad_()
            self.tensors = tensors
        return [
            found.get(name, np.zeros_like(numbers_of(tensor))) for name, tensor in tensors.items()
        ]

    def _output(self, given: Any, *, afresh: bool) -> Any:
        self.counted.forward += self.layers
        if afresh:
            restore_buffers(self.buffers)
        arguments, keywords = given
        return self.module(*arguments, **keywords)

    def _calling(self) -> Any:
        return self.arithmetic.calling(compiled=self.compiled)

    def _standing(self, earlier: dict[str, int]) -> Any:
        return self.stand_ins.standing(earlier) if self.stand_ins else nullcontext([])

    def _came_back(
        self, outputs: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]
    ) -> dict[str, Vector]:
        """Return the gradients from cotangents, divided by that of the whole."""
        if self.stand_ins:
            self.tensors |= self.stand_ins.used_leaves()
        self.counted.backward += self.layers
        found: list[torch.Tensor | None] = [None] * len(self.tensors)
        reached = [pair for pair in zip(outputs, cotangents, strict=True) if pair[0].requires_grad]
        if reached and self.tensors:
            ends, incoming = zip(*reached, strict=True)
            found = gradients_of(ends, incoming, list(self.tensors.values()), self.arithmetic)
        scale = scalar_cotangent(self.arithmetic.seed)
        self.unreached = [
            name for name, gradient in zip(self.tensors, found, strict=True) if gradient is None
        ]
        return {
            name: np.zeros_like(numbers_of(tensor))
            if gradient is None
            else numbers_of(gradient) / scale
            for (name, tensor), gradient in zip(self.tensors.items(), found, strict=True)
        }

    def _rounding(self, sizes: float) -> float:
        many = ROUNDINGS if self.arithmetic.is_double else ROUNDINGS_COARSE
        return many * self.arithmetic.unit * sizes


class Alone(ScalarFunction):
    """One call of a layer: <what came back, output>."""

    def __init__(
        self,
        call: LayerCall,
        arithmetic: Arithmetic,
        counted: Counter,
        stand_ins: Substitutes | None = None,
    ) -> None:
        given = (call.arguments, call.keywords)
        super().__init__(
            call.layer, given, call.wanted, call.buffers, arithmetic, counted, stand_ins
        )
        self.call = call

    def value(self, *, afresh: bool = True) -> torch.Tensor:
        """Return the scalar; unless afresh, with buffers as the last call left them."""
        # A layer that works in place must not spoil the input that all calls share.
        with self._calling(), self._standing(self.call.earlier) as terms:
            given = changed_tensors(torch.clone, self.arguments)
            outputs = movable_tensors(self._output(given, afresh=afresh))
            return self._paired(outputs, terms)

    def gradients(self) -> tuple[float, dict[str, Vector]]:
        """Return the value, and what torch's backward pass of this layer gives.

        It gets what it got in the backward pass of the whole: divided by the cotangent of that.
        """
        incoming = [
            None if cotangent is None else copied_in_layout(cotangent)
            for cotangent in self.call.cotangents
        ]
        with self._calling(), self._standing(self.call.earlier) as terms:
            given = _as_given(self.arguments, self.given)
            outputs = movable_tensors(self._output(given, afresh=True))
            value = self._paired(outputs, terms)
            reached = [
                (output, cotangent)
                for output, cotangent in zip(outputs, incoming, strict=True)
                if cotangent is not None
            ]
            reached += [(term, _scale_like(term, self.arithmetic)) for term in terms]
            self.hand_written = is_hand_written(outputs)
            versions = _versions_of(given)
            gradients = self._came_back(*zip(*reached, strict=True)) if reached else {}
        if self.hand_written and _versions_of(given) != versions:
            self.changes = "input"
        if any(
            before is not None
            and after is not None
            and not np.array_equal(numbers_of(before), numbers_of(after), equal_nan=True)
            for before, after in zip(self.call.cotangents, incoming, strict=True)
        ):
            self.changes = "incoming gradient"
        return float(value.detach()), gradients

    def _paired(self, outputs: list[torch.Tensor], terms: list[torch.Tensor]) -> torch.Tensor:
        scale = scalar_cotangent(self.arithmetic.seed)
        if len(outputs) != len(self.call.cotangents):
            raise EvaluationError(
                f"{self.call.name} returned {len(outputs)} tensors of floats when it was called "
                f"again, and {len(self.call.cotangents)} the first time."
            )
        products = [
            real_product(tensor, cotangent) / scale
            for tensor, cotangent in zip(outputs, self.call.cotangents, strict=True)
            if cotangent is not None
        ]
        size = sum(float(torch.linalg.norm(part.detach())) for part in products)
        size += sum(abs(float(term.detach())) for term in terms)
        self.noise = self._rounding(size)
        sums = [part.sum() for part in products] + terms
        return torch.stack(sums).sum() if sums else torch.zeros(())


class Whole(ScalarFunction):
    """The whole module and its loss."""

    def __init__(
        self,
        module: torch.nn.Module,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        wanted: list[bool],
        loss: Callable[[Any], torch.Tensor],
        arithmetic: Arithmetic,
        counted: Counter,
        stand_ins: Substitutes | None = None,
    ) -> None:
        super().__init__(module, given, wanted, buffers_of(module), arithmetic, counted, stand_ins)
        self.loss, self.compiled = loss, True

    def value(self, *, afresh: bool = True) -> torch.Tensor:
        """Return the scalar; unless afresh, with buffers as the last call left them."""
        with self._calling(), self._standing({}) as terms:
            # Not the leaves themselves: what works in place on them would raise.
            given = changed_tensors(torch.clone, self.arguments)
            result = self.loss(self._output(given, afresh=afresh))
            return torch.stack([result.double(), *(term.double() for term in terms)]).sum()

    def gradients(self) -> tuple[float, dict[str, Vector]]:
        """Return the value, and what torch's backward pass gives.

        Not with 1: a layer that forgets its incoming gradient would pass.
        """
        with self._calling(), self._standing({}) as terms:
            given = _as_given(self.arguments, self.given)
            result = self.loss(self._output(given, afresh=True))
            ends = [result, *terms]
            incoming = [_scale_like(end, self.arithmetic) for end in ends]
            gradients = self._came_back(ends, incoming)
        centre = sum(float(end.detach()) for end in ends)
        sizes = [
            np.sum((gradient * numbers_of(self.tensors[name])) ** 2)
            for name, gradient in gradients.items()
        ]
        self.noise = self._rounding(abs(centre) + float(np.sqrt(sum(sizes))))
        return centre, gradients


def _scale_like(end: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
    return torch.full_like(end, scalar_cotangent(arithmetic.seed))


def real_product(tensor: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the terms of the real inner product of two tensors, in float64."""
    if tensor.is_complex():
        tensor, weights = torch.view_as_real(tensor), torch.view_as_real(weights.resolve_conj())
    if tensor.device.type != "mps":  # which has no float64
        tensor, weights = tensor.double(), weights.double()
    return (tensor * weights).reshape(-1)


def evaluated(function: ScalarFunction, name: str) -> tuple[float, dict[str, Any]]:
    """Return the value and the gradients; what raises is told with a name."""
    try:
        return function.gradients()
    except FastbpError:
        raise
    except Exception as error:
        raise EvaluationError(f"{name} raised {type(error).__name__}: {error}") from error


def gradients_of(
    outputs: Sequence[torch.Tensor],
    cotangents: Sequence[torch.Tensor],
    tensors: list[torch.Tensor],
    arithmetic: Arithmetic,
) -> list[torch.Tensor | None]:
    """Return what a backward pass gives; None where that is nothing."""
    if not arithmetic.accumulates:
        found: Any = torch.autograd.grad(outputs, tensors, cotangents, allow_unused=True)
        return list(found)
    for tensor in tensors:
        tensor.grad = None
    torch.autograd.backward(outputs, cotangents)
    accumulated = [tensor.grad for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    return accumulated


def _requiring_grad(nested: Any, wanted: list[bool]) -> Any:
    """Return copies of tensors, those that are wanted as leaves that may be moved."""
    flags = iter(wanted)

    def copied(tensor: torch.Tensor) -> torch.Tensor:
        if is_movable(tensor) and next(flags):
            return tensor.detach().clone().requires_grad_()
        return tensor

    return changed_tensors(copied, nested)


def _as_given(arguments: Any, given: Any) -> Any:
    """Return what leaves a module is called with, each in the layout of what was given."""
    templates = iter([tensor for _, tensor in named_tensors(given, "")])
    return changed_tensors(lambda tensor: as_given(tensor, next(templates)), arguments)


def _versions_of(given: Any) -> list[int]:
    """Return how often each tensor was changed in place."""
    return [tensor._version for tensor in movable_tensors(given)]
