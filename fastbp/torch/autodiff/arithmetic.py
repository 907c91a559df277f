"""The arithmetic in which a module is evaluated: float64 where it can be had."""

from __future__ import annotations

import sys
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastbp.torch.autodiff.precision import WithRounding
from fastbp.torch.state import same_random_numbers
from fastbp.torch.tensors import IN_DOUBLE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Arithmetic", "CastsInDouble", "without_warnings_of_ours"]


class CastsInDouble(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes everything that asks for float32 or less get float64: casts, new tensors, sums.

    `count` tells how often that was asked for. In a backward pass too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call an operator, with another dtype if need be."""
        asked = (kwargs or {}).get("dtype")
        if asked in IN_DOUBLE:
            self.count += 1
            kwargs = {**kwargs, "dtype": IN_DOUBLE[asked]}
        return operator(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How the calls of a module are made.

    Attributes
    ----------
    dtype : torch.dtype
        What its tensors are of.
    seed : int
        Of the random numbers, which are the same in all calls.
    casts : bool
        Whether the module casts to float32 or less, so that these casts have to be made casts to
        float64.
    rounding : tuple of torch.dtype and int, optional
        Of which precision each operation gets a rounding, and the seed of their signs.
    accumulates : bool
        Whether gradients can only be had by accumulation, as with re-entrant checkpoints.
    """

    dtype: torch.dtype
    seed: int
    casts: bool = False
    rounding: tuple[torch.dtype, int] | None = None
    accumulates: bool = False

    @property
    def unit(self) -> float:
        """Half the distance from 1 to the next number."""
        return torch.finfo(self.dtype).eps / 2

    @property
    def is_double(self) -> bool:
        """Whether differences can be taken with all digits."""
        return self.dtype is torch.float64

    @contextmanager
    def calling(self, *, compiled: bool = False) -> Iterator[None]:
        """Let a module be called: with the same random numbers, and gradients enabled.

        Tensors that it makes are of the right dtype. What is compiled runs as it is written,
        unless asked for.
        """
        with ExitStack() as stack:
            enter = stack.enter_context
            enter(same_random_numbers(self.seed))
            enter(torch.enable_grad())
            if self.is_double:
                enter(_default_dtype(torch.float64))
            if self.rounding is not None:
                enter(WithRounding(*self.rounding))
            elif self.casts:
                enter(CastsInDouble())
            if "torch._dynamo" in sys.modules and not (compiled and not self.casts):
                enter(torch.compiler.set_stance("force_eager"))
            yield


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# What torch warns of because modules are checked: beginnings of messages.
OF_OURS = "|".join((
    "None of the inputs have requires_grad=True",  # checkpoints, called without a graph
    "The .grad attribute of a Tensor that is not a leaf",
    "Lazy modules are a new feature",
    "<class 'torch.autograd.function.Function'> should not be instantiated",  # compilation
    "RNN module weights are not part of single contiguous chunk",
))  # fmt: skip


@contextmanager
def without_warnings_of_ours() -> Iterator[None]:
    """Leave out what torch warns of because modules are checked, not because of what they do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", OF_OURS)
        yield
