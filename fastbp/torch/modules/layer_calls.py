"""The calls of all parts of a module in one real pass, with what comes back to each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from fastbp.torch.layout import copied_in_layout
from fastbp.torch.modules.nesting import changed_tensors, movable_tensors
from fastbp.torch.state import Buffers, buffers_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "LayerCall",
    "Recorder",
    "Scripted",
    "count_of_layers",
    "has_no_children",
    "shown_call",
    "shown_path",
]

# What stands between a part and the module that the user wrote.
BETWEEN = {"_orig_mod", "scripted_"}


@dataclass(slots=True, eq=False)
class LayerCall:
    """One call of a part in the forward pass of the whole.

    Attributes
    ----------
    path, name : str
        Where the part is, and also of what type: ``layers.17: Linear``.
    layer : torch.nn.Module
    arguments, keywords
        What it was called with, copied in its layout.
    wanted : list of bool
        Which of the float tensors in there a gradient is wanted of.
    buffers : list
        The buffers of the part before the call.
    earlier : dict
        How often each part that is left out had been called before, by its path.
    in_backward : bool
        Whether it was called while the backward pass ran, as by a checkpoint.
    holds_calls : bool
        Whether it called other parts.
    ended : bool
        Whether it returned.
    outputs
        What it returned, without history; of parts that are left out.
    cotangents : list of Tensor or None
        What came back to the float tensors in its output, in its layout.
    """

    path: str
    name: str
    layer: torch.nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    wanted: list[bool]
    buffers: Buffers
    earlier: dict[str, int]
    in_backward: bool
    holds_calls: bool = False
    ended: bool = False
    outputs: Any = None
    cotangents: list[torch.Tensor | None] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether anything came back to it."""
        return any(cotangent is not None for cotangent in self.cotangents)


class Scripted(torch.nn.Module):
    """A scripted part, whose calls can be watched as those of any other."""

    def __init__(self, scripted: torch.nn.Module) -> None:
        super().__init__()
        self.scripted_ = scripted

    def __getattr__(self, name: str) -> Any:
        """Return what the scripted part has."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):  # what Python asks of the wrapper, as to be copied
                raise
            return getattr(super().__getattr__("scripted_"), name)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it."""
        return self.scripted_(*arguments, **keywords)


def has_no_children(layer: torch.nn.Module) -> bool:
    """Tell whether a module has no parts."""
    return not list(layer.children())


def count_of_layers(module: torch.nn.Module) -> int:
    """Return how many layers a call of a module counts for: its parts without parts, 1 at least."""
    return max(1, sum(map(has_no_children, module.modules())))


def shown_path(path: str) -> str:
    """Return a path as the user knows it."""
    return ".".join(step for step in path.split(".") if step not in BETWEEN)


def shown_call(path: str, part: torch.nn.Module) -> str:
    """Return a path with the type of what is there: ``layers.17: Linear``."""
    inner = part.scripted_ if isinstance(part, Scripted) else part
    kind = getattr(inner, "original_name", type(inner).__name__)
    return f"{shown_path(path)}: {kind}"


def parts_of(module: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Return the parts of a module that Python calls, but itself; what is scripted is one."""
    found: list[tuple[str, torch.nn.Module]] = []
    waiting = [(module, "")]
    while waiting:
        part, path = waiting.pop()
        if path and path.split(".")[-1] != "_orig_mod":
            found.append((path, part))
        if not isinstance(part, Scripted | torch.jit.ScriptModule):
            inner = list(part.named_children())
            waiting += [(one, f"{path}.{name}" if path else name) for name, one in reversed(inner)]
    unique: dict[int, tuple[str, torch.nn.Module]] = {}
    for path, part in found:
        unique.setdefault(id(part), (path, part))
    return list(unique.values())


class Recorder:
    """Keeps the calls of all parts of a module while it runs.

    Parameters
    ----------
    module : torch.nn.Module
    is_left_out : callable
        Tells of a path whether that part is not judged; its outputs are kept.
    keeps_parents : bool
        Whether to keep the arguments of parts that call others, too.

    Attributes
    ----------
    calls : list of LayerCall
        In the order in which they began. Calls without a graph, as in the forward pass of a
        checkpoint or in a solver, are not among them.
    open : list of LayerCall
        What was called and has not returned: where it raised, if it did.
    latest : str
        The name of what a gradient came back to last.
    in_backward : bool
        To be set when the backward pass begins.
    without_graph : dict
        Parts that were called without a graph: their names, and under what, by their paths.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        is_left_out: Callable[[str], bool],
        *,
        keeps_parents: bool = False,
    ) -> None:
        self.module, self.is_left_out = module, is_left_out
        self.keeps_parents = keeps_parents
        self.calls: list[LayerCall] = []
        self.open: list[LayerCall] = []
        self.latest = ""
        self.in_backward = False
        self.without_graph: dict[str, tuple[str, str]] = {}
        self._counts: dict[str, int] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Recorder:
        """Watch the parts."""
        for path, part in parts_of(self.module):
            before = self._before(path)
            hook = part.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
            self._handles += [hook, part.register_forward_hook(self._after)]
        return self

    def __exit__(self, *_: object) -> None:
        """Watch them no more."""
        for handle in self._handles:
            handle.remove()

    def where(self) -> str:
        """Return the name of the innermost part that was called and has not returned."""
        return self.open[-1].name if self.open else ""

    def kept_calls(self) -> list[LayerCall]:
        """Return the calls that mean something: not those that a checkpoint repeats in vain."""
        return [
            call for call in self.calls if call.ended and (call.reached or not call.in_backward)
        ]

    def _before(self, path: str) -> Callable[..., None]:
        def hook(layer: torch.nn.Module, arguments: Any, keywords: Any) -> None:
            name = shown_call(path, layer)
            if self.open:
                self.open[-1].holds_calls = True
            if not torch.is_grad_enabled() or _is_transformed():
                how = "torch.func" if _is_transformed() else "torch.no_grad"
                self.without_graph[path] = (name, how)
                return
            if self.open and not self.keeps_parents and not self.is_left_out(self.open[-1].path):
                self.open[-1].arguments, self.open[-1].keywords = (), {}
            wanted = [tensor.requires_grad for tensor in movable_tensors((arguments, keywords))]
            positional, named = changed_tensors(copied_in_layout, (arguments, keywords))
            call = LayerCall(
                shown_path(path), name, layer, positional, named, wanted,
                buffers_of(layer), dict(self._counts), self.in_backward,
            )  # fmt: skip
            self.calls.append(call)
            self.open.append(call)

        return hook

    def _after(self, layer: torch.nn.Module, _arguments: Any, output: Any) -> None:
        call = next((call for call in reversed(self.open) if call.layer is layer), None)
        if call is None or not torch.is_grad_enabled() or _is_transformed():
            return
        del self.open[self.open.index(call) :]  # what it called and did not return, too
        call.ended = True
        if self.is_left_out(call.path):
            self._counts[call.path] = self._counts.get(call.path, 0) + 1
            call.outputs = changed_tensors(copied_in_layout, output)
        for place, tensor in enumerate(movable_tensors(output)):
            call.cotangents.append(None)
            if tensor.requires_grad:
                register: Any = tensor.register_hook
                register(self._keeper(call, place))

    def _keeper(self, call: LayerCall, place: int) -> Callable[[torch.Tensor | None], None]:
        def keep(gradient: torch.Tensor | None) -> None:
            if gradient is None:  # of a backward pass that returns none where it should
                return
            call.cotangents[place] = copied_in_layout(gradient)
            self.latest = call.name

        return keep


def _is_transformed() -> bool:
    """Tell whether this runs under vmap, grad or another transform of torch.func."""
    return torch._C._functorch.peek_interpreter_stack() is not None
