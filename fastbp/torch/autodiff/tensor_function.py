"""A function of tensors as the checks of functions take it, with its derivatives in both modes."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch.autograd import forward_ad

from fastbp.runtime.user_code import agree, calling
from fastbp.torch.autodiff.accumulation import accumulated_gradients, needs_accumulation
from fastbp.torch.autodiff.precision import InDouble
from fastbp.torch.autodiff.results import Results
from fastbp.torch.state import same_random_numbers
from fastbp.torch.tensors import HALF_UNITS, array_of, dense

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from fastbp.torch.autodiff.arguments import Arguments
    from fastbp.typing import Mask, Vector

__all__ = ["Graph", "TensorFunction", "tensor_like", "unchanged"]

# Tensors that a gradient is wanted of, and the outputs that were computed of them.
Graph: TypeAlias = tuple[list[torch.Tensor], list[torch.Tensor]]

BACKWARD, FORWARD = "the backward pass of f", "the forward mode of f"


def unchanged(tensor: torch.Tensor) -> torch.Tensor:
    """Return an incoming gradient as it is: contiguous."""
    return tensor


class TensorFunction:
    """A function at a point: from arrays to arrays.

    Parameters
    ----------
    f : callable
        Of the arguments.
    arguments : Arguments
        Where.
    seed : int
        Of its random numbers, if it draws any.
    surrounding : callable
        Returns the context in which f and its backward pass run.
    every : bool
        As in `Results`.
    half : torch.dtype, optional
        The half precision that f computes in, unless `surrounding` makes float64 of it.

    Attributes
    ----------
    results : Results
        What it returns.
    notes : list of str
        What else there is to know.
    changed : set of int
        The outputs whose incoming gradient the backward pass has changed in place.
    seeded : bool
        Whether it draws random numbers: it gets the same ones in each call.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        arguments: Arguments,
        seed: int,
        *,
        surrounding: Callable[[], AbstractContextManager[Any]] = nullcontext,
        every: bool = False,
        half: torch.dtype | None = None,
    ) -> None:
        self.f, self.arguments, self.seed = f, arguments, seed
        self.__name__ = getattr(f, "__name__", type(f).__name__)
        self.changed: set[int] = set()
        self.half = half
        self.surrounding, self.seeded, self._with_graph = surrounding, False, True
        self._evaluating = surrounding
        leaves = arguments.as_given(arguments.at)
        with calling("f"):
            value = self._called(leaves)
        self.results = Results(value, every=every)
        self.notes = [*arguments.notes, *self.results.notes]
        self._choose_how_to_evaluate()
        first = (leaves, self.results.tensors(value))
        self._accumulates = needs_accumulation(first[1])
        self._first_graph: Graph | None = None if self.seeded else first
        if any(leaf.array.dtype in (np.float32, np.complex64) for leaf in arguments.leaves):
            self._widen_constants()

    def within(self, surrounding: Callable[[], AbstractContextManager[Any]]) -> TensorFunction:
        """Return the same function in another context."""
        other = object.__new__(TensorFunction)
        vars(other).update(
            vars(self), surrounding=surrounding, _evaluating=surrounding, changed=set(),
            _first_graph=None,
        )  # fmt: skip
        return other

    @property
    def scalar(self) -> bool:
        """Tell whether it is a real function of real tensors with one number as result."""
        return self.results.scalar and not self.arguments.complex

    @property
    def real(self) -> bool:
        """Tell whether nothing is complex."""
        outputs = self.results.tensors_at_first
        return not self.arguments.complex and not any(part.is_complex() for part in outputs)

    @property
    def has_layouts(self) -> bool:
        """Tell whether incoming gradients may lie in memory in several ways, and are real."""
        sizes = [tensor.numel() for tensor in self.results.tensors_at_first]
        return not self.scalar and self.real and max(sizes) > 1

    def outputs(self, inputs: Any) -> Any:
        """Evaluate at arrays in the structure of `arguments.at`: the outputs as arrays."""
        return self.results.arrays(self._evaluated(inputs))

    def number(self, inputs: Any) -> Any:
        """Evaluate a scalar function: a number."""
        return self.results.number(self._evaluated(inputs))

    def recording(self) -> AbstractContextManager[Any]:
        """Return the context in which what `recorder` returns is called: with a graph or without.

        Around many calls, since to enter it takes as long as a small operation.
        """
        return torch.set_grad_enabled(self._with_graph)

    def recorder(self, inputs: Any) -> Callable[[Vector], None]:
        """Return what evaluates at arrays, as they are whenever it is called.

        It writes the real numbers of all outputs into a row. On the CPU the tensors share the
        memory of the arrays, and are made once.
        """
        tensors = self.arguments.beside(inputs)
        if self._is_plain(tensors):
            return self._plain_recorder(tensors)
        on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)

        def record(row: Vector) -> None:
            now = tensors if on_cpu else self.arguments.beside(inputs)
            if self._with_graph:
                now = [tensor.detach().requires_grad_() for tensor in now]
            value = self._called(now, graph=self._with_graph, surrounding=self._evaluating)
            self.results.record(value, row)

        return record

    def _is_plain(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Tell whether f only has to be called: no graph, no context, nothing on another device."""
        return (
            not (self._with_graph or self.seeded)
            and self._evaluating is nullcontext
            and all(tensor.device.type == "cpu" for tensor in tensors)
        )

    def _plain_recorder(self, tensors: Sequence[torch.Tensor]) -> Callable[[Vector], None]:
        f, results, arguments = self.f, self.results, self.arguments.repeated(tensors)

        def record(row: Vector) -> None:
            positional, named = arguments()
            results.record(f(*positional, **named), row)

        return record

    def vjp(
        self,
        inputs: Any,
        cotangent: Any,
        layout: Callable[[torch.Tensor], torch.Tensor] = unchanged,
    ) -> Any:
        """Ask the backward pass, of a graph that nobody else uses."""
        weights = self.results.flat(cotangent)
        return self.arguments.rebuilt(self.products(self.with_graph(inputs), weights, layout))

    def products(
        self,
        graph: Graph,
        weights: list[Any],
        layout: Callable[[torch.Tensor], torch.Tensor] = unchanged,
        *,
        retain_graph: bool = False,
        with_zeros: bool = False,
    ) -> list[Any]:
        """Ask the backward pass for one array for each tensor that is checked.

        An output with a cotangent of 0 is left out of it, unless it is to come in as zeros.
        """
        leaves, outputs = graph
        used = [
            place
            for place, output in enumerate(outputs)
            if output.requires_grad and (with_zeros or weights[place].any())
        ]
        incoming = [layout(tensor_like(outputs[place], weights[place])) for place in used]
        asked = [outputs[place] for place in used]
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        gradients = iter(self.backward(asked, wanted, incoming, retain_graph=retain_graph))
        found = [next(gradients) if leaf.requires_grad else None for leaf in leaves]
        for place, tensor in zip(used, incoming, strict=True):
            after = array_of(tensor)
            if not np.array_equal(after, weights[place].astype(after.dtype, copy=False)):
                self.changed.add(place)
        return self.arguments.derivatives(found, leaves)

    def fresh_graph(self) -> Graph:
        """Return a graph at the point that nobody has asked: at first that of the first call."""
        first, self._first_graph = self._first_graph, None
        return first or self.with_graph(self.arguments.at)

    def with_graph(self, inputs: Any, wanted: Mask | None = None) -> Graph:
        """Return tensors as the user has them, and the outputs with their history.

        Only those of a mask, if there is one, require a gradient.
        """
        leaves = self.arguments.as_given(inputs)
        if wanted is not None:
            for leaf, is_wanted in zip(leaves, wanted.tolist(), strict=True):
                leaf.requires_grad_(is_wanted)
        with calling("f"):
            value = self._called(leaves)
        return leaves, self.results.tensors(value)

    def backward(
        self, outputs: Sequence[torch.Tensor], leaves: Sequence[torch.Tensor], incoming: Any,
        **options: Any,
    ) -> Sequence[torch.Tensor | None]:  # fmt: skip
        """Return the gradients by the leaves, as autograd gives them."""
        if not outputs:
            return [None] * len(leaves)
        with calling(BACKWARD), self.surrounding():
            if self._accumulates and not options.get("is_grads_batched"):
                return accumulated_gradients(outputs, leaves, incoming, **options)
            return torch.autograd.grad(outputs, leaves, incoming, allow_unused=True, **options)

    def jvp(self, inputs: Any, tangent: Any) -> Any:
        """Ask the forward mode along a tangent."""
        leaves, tangents = self.arguments.as_given(inputs), self.arguments.beside(tangent)
        with calling(FORWARD), forward_ad.dual_level(), warnings.catch_warnings():
            # Torch's own, when it loads its rules for the forward mode.
            warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
            make_dual: Any = forward_ad.make_dual
            unpack_dual: Any = forward_ad.unpack_dual
            duals = [
                make_dual(leaf, along.to(leaf.dtype))
                for leaf, along in zip(leaves, tangents, strict=True)
            ]
            found = map(unpack_dual, self.results.tensors(self._called(duals)))
            return self.results.nested(
                [
                    array_of(torch.zeros_like(primal) if along is None else along)
                    for primal, along in found
                ]
            )

    def _evaluated(self, inputs: Any) -> Any:
        tensors = self.arguments.beside(inputs)
        if self._with_graph:
            for tensor in tensors:
                tensor.requires_grad_()
        return self._called(tensors, graph=self._with_graph, surrounding=self._evaluating)

    def _called(
        self, tensors: Sequence[torch.Tensor], *, graph: bool = True,
        surrounding: Callable[[], AbstractContextManager[Any]] | None = None,
    ) -> Any:  # fmt: skip
        positional, named = self.arguments.with_tensors(tensors)
        surrounding = surrounding or self.surrounding
        with torch.set_grad_enabled(graph):
            if surrounding is nullcontext and not self.seeded:
                return self.f(*positional, **named)
            same = same_random_numbers(self.seed) if self.seeded else nullcontext()
            with surrounding(), same:
                return self.f(*positional, **named)

    def _widen_constants(self) -> None:
        """Evaluate with every number in float64 where constants in float32 refuse such arguments.

        The weights of a module are such constants.
        """
        wide = self.arguments.mapped(
            lambda array: array.astype(np.result_type(array, np.float64)), self.arguments.at
        )
        for self._evaluating in (nullcontext, InDouble):
            try:
                self.outputs(wide)
            except Exception:  # whatever it does not like about float64
                continue
            return
        self._evaluating = nullcontext

    def _choose_how_to_evaluate(self) -> None:
        """Evaluate without a graph, and with random numbers as they come, where that is the same.

        A function with a derivative inside (forces, a gradient penalty) needs the graph.
        """
        first: Any = self.results.tensors_at_first
        for self.seeded in (False, True):
            if self.seeded:
                first = self._values(graph=True)
            for self._with_graph in (False, True):
                if _same(first, self._values(graph=self._with_graph)):
                    if self.seeded:
                        self.notes.append("f draws random numbers: the same ones in each call")
                    return
        self.seeded = False

    def _values(self, *, graph: bool) -> list[torch.Tensor] | None:
        """Return the outputs at the point; None if f raises."""
        try:
            tensors = self.arguments.as_given(self.arguments.at)
            return [
                dense(tensor.detach())
                for tensor in self.results.tensors(self._called(tensors, graph=graph))
            ]
        except Exception:  # as it must where it has a derivative inside, without a graph
            return None


def tensor_like(output: torch.Tensor, array: Any) -> torch.Tensor:
    """Return a new tensor with the numbers of an array, of the dtype and device of another."""
    return torch.tensor(array, dtype=output.dtype, device=output.device)


def _same(first: list[torch.Tensor] | None, second: list[torch.Tensor] | None) -> bool:
    """Tell whether outputs differ by no more than the order of sums explains."""
    if first is None or second is None:
        return False
    return all(
        agree(array_of(one), array_of(two), HALF_UNITS.get(one.dtype, 0.0))
        for one, two in zip(first, second, strict=True)
    )
