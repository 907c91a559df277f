"""Random numbers and buffers of a module, put back after each call; how torch itself is set."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Buffers", "buffers_of", "restore_buffers", "same_random_numbers", "with_gradients"]

AnyCheck = TypeVar("AnyCheck", bound="Callable[..., Any]")


def with_gradients(check: AnyCheck) -> AnyCheck:
    """Let a check have its graphs also where it is called under no_grad or inference_mode.

    What the checked function switches off itself stays off.
    """

    @wraps(check)
    def checked(*args: Any, **kwargs: Any) -> Any:
        with torch.inference_mode(False), torch.enable_grad():
            return check(*args, **kwargs)

    return cast("AnyCheck", checked)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A buffer, or a tensor that a module keeps as an attribute, and what was in it."""

    owner: torch.nn.Module
    name: str
    tensor: torch.Tensor
    values: torch.Tensor
    version: int | None  # of an attribute, which may be an alias of something else


Buffers: TypeAlias = list[_Kept]


def buffers_of(module: torch.nn.Module) -> Buffers:
    """Copy all buffers: running statistics change with every call in training.

    And tensors that are attributes, as a state that goes from call to call.
    """
    found = []
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False, remove_duplicate=False):
            found.append(_Kept(part, name, buffer, buffer.detach().clone(), None))
        if not isinstance(part, torch.jit.ScriptModule):
            for name, value in vars(part).items():
                if isinstance(value, torch.Tensor):
                    copied = value.detach().clone()
                    found.append(_Kept(part, name, value, copied, value._version))
    return found


def restore_buffers(buffers: Buffers) -> None:
    """Put copies of the kept buffers back into their modules."""
    for kept in buffers:
        if kept.version is not None:
            _restore_attribute(kept)
        elif isinstance(kept.owner, torch.jit.ScriptModule):
            with torch.no_grad():
                held: Any = getattr(kept.owner, kept.name)
                held.copy_(kept.values)
        else:
            kept.owner._buffers[kept.name] = kept.values.clone()


def _restore_attribute(kept: _Kept) -> None:
    """Put an attribute back; its values only if they were changed in place."""
    vars(kept.owner)[kept.name] = kept.tensor
    if kept.tensor._version != kept.version:
        kept.tensor.data = kept.values.clone()


@contextmanager
def same_random_numbers(seed: int) -> Iterator[None]:
    """Let dropout and the like draw the same numbers each time, and nobody else notice.

    Of Python's and NumPy's global generators too.
    """
    devices = list(range(torch.cuda.device_count()))
    pythons, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    # torch.manual_seed takes a stack trace for CUDA each time, which costs as much as a layer.
    try:
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)  # noqa: NPY002
