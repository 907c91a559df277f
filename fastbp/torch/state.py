"""Random numbers and buffers of a module, put back after each call."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Buffers", "buffers_of", "restore_buffers", "same_random_numbers"]


Buffers: TypeAlias = list[tuple[torch.nn.Module, str, torch.Tensor]]


def buffers_of(module: torch.nn.Module) -> Buffers:
    """Copy all buffers: running statistics change with every call in training."""
    return [
        (part, name, buffer.clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]


def restore_buffers(buffers: Buffers) -> None:
    """Put copies of the kept buffers back into their modules."""
    for part, name, buffer in buffers:
        part._buffers[name] = buffer.clone()


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
