"""Seeded, cached data for the benchmarks.

Append only: a change of what is here changes every curve that asv has drawn. Nothing here uses
fastbp, so that every commit gets the same numbers. Arrays are read-only, since they are shared.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


SMALL = ("1-6^5-1", "10-32-32-10", "64-128-128-10")


def layer_sizes(name: str) -> tuple[int, ...]:
    """Return the widths that a name like ``"1-6^5-1"`` stands for: ``(1, 6, 6, 6, 6, 6, 1)``."""
    widths: list[int] = []
    for part in name.split("-"):
        width, _, repeats = part.partition("^")
        widths.extend([int(width)] * int(repeats or 1))
    return tuple(widths)


def count_parameters(name: str) -> int:
    """Return the number of weights and biases of the network of that name."""
    sizes = layer_sizes(name)
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


@lru_cache(maxsize=4)
def parameters(name: str, dtype: str = "float64", seed: int = 0) -> tuple[list[Array], list[Array]]:
    """Return weights (n_out, n_in), as He drew them, and small biases (n_out, 1)."""
    rng = np.random.default_rng(seed)
    sizes = layer_sizes(name)
    weights = [
        _frozen(rng.standard_normal((n_out, n_in)) * np.sqrt(2 / n_in), dtype)
        for n_in, n_out in pairwise(sizes)
    ]
    biases = [_frozen(rng.standard_normal((n_out, 1)) * 0.1, dtype) for n_out in sizes[1:]]
    return weights, biases


@lru_cache(maxsize=16)
def examples(name: str, batch: int, dtype: str = "float64", seed: int = 1) -> tuple[Array, Array]:
    """Return inputs (n_in, batch) and targets (n_out, batch), standard normal."""
    rng = np.random.default_rng(seed)
    sizes = layer_sizes(name)
    x = rng.standard_normal((sizes[0], batch))
    y = rng.standard_normal((sizes[-1], batch))
    return _frozen(x, dtype), _frozen(y, dtype)


def skip_unless(condition: bool) -> None:
    """Leave a combination of parameters out: asv skips what raises this in ``setup``."""
    if not condition:
        raise NotImplementedError("this combination is not measured")


def spread_entries(total: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` positions (or all) spread evenly over a flat vector of ``total`` entries."""
    if count >= total:
        return np.arange(total)
    return np.linspace(0, total - 1, count).astype(np.int64)


def _frozen(values: NDArray[np.float64], dtype: str) -> Array:
    array = values.astype(dtype)
    array.flags.writeable = False
    return array
