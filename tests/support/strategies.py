"""Hypothesis strategies: networks, data and objectives of every kind that fastbp accepts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from reference import Reference

import fastbp

# Sizes around the tiles of the kernels (8, 16, 32, 64), and the smallest.
SIZES = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65)
LOSSES = ("least_squares", "softmax_cross_entropy", "sigmoid_cross_entropy", "custom")
LAYOUTS = ("book", "torch", "keras")
REDUCTIONS = ("sum", "mean", "mean_entries")
MEMORY_ORDERS = ("C", "F", "strided", "reversed", "readonly")
BIAS_KINDS = ("none", "flat", "column")
VALUES = ("normal", "integers", "sparse")


def smooth_distance(output: np.ndarray, y: np.ndarray) -> float:
    """Like |output - y| far away and like half its square nearby; slope and curvature <= 1."""
    return float((np.sqrt(1 + (output - y) ** 2) - 1).sum())


def d_smooth_distance(output: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (output - y) / np.sqrt(1 + (output - y) ** 2)


CUSTOM_LOSS = (smooth_distance, d_smooth_distance)


@dataclass(frozen=True)
class Problem:
    """A network with its data and objective, as a caller of fastbp would hold them."""

    weights: list[np.ndarray]
    biases: list[np.ndarray] | None
    x: np.ndarray
    y: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)

    def network(self) -> fastbp.Network:
        return fastbp.Network(self.weights, self.biases, **self.options)

    def reference(self) -> Reference:
        return Reference(self.weights, self.biases, **self.options)

    def with_options(self, **options: Any) -> Problem:
        return replace(self, options={**self.options, **options})

    @property
    def dtype(self) -> np.dtype:
        return self.weights[0].dtype

    @property
    def arrays(self) -> list[np.ndarray]:
        return [*self.weights, *(self.biases or []), self.x, self.y]


def draw_values(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers, small integers, or normal numbers of which a third is exactly 0."""
    if kind == "integers":
        return rng.integers(-2, 3, size=shape).astype(np.float64)
    values = rng.standard_normal(shape)
    return values * (rng.random(shape) > 1 / 3) if kind == "sparse" else values


def in_memory_order(array: np.ndarray, order: str) -> np.ndarray:
    """The same values, laid out otherwise in memory."""
    if order == "F":
        return np.asfortranarray(array)
    if order == "strided":
        roomy = np.full(tuple(2 * n for n in array.shape), 7, dtype=array.dtype)
        view = roomy[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if order == "reversed":
        backwards = tuple(slice(None, None, -1) for _ in array.shape)
        return np.ascontiguousarray(array[backwards])[backwards]
    result = np.array(array, order="C")
    result.flags.writeable = order != "readonly"
    return result


def draw_targets(
    rng: np.random.Generator, loss: str, shape: tuple[int, int], indices: bool
) -> np.ndarray:
    """Targets in the book's layout (n_out, batch), or class indices (batch,)."""
    n_out, batch = shape
    if loss == "softmax_cross_entropy":
        if indices:
            return rng.integers(0, n_out, size=batch)
        # Multiples of 1/64: they sum to 1 exactly in either float type.
        return rng.multinomial(64, np.full(n_out, 1 / n_out), size=batch).T / 64.0
    if loss == "sigmoid_cross_entropy":
        return rng.integers(0, 9, size=shape) / 8.0
    return rng.standard_normal(shape)


def make_problem(
    sizes: list[int],
    batch: int,
    *,
    seed: int = 0,
    dtype: Any = np.float64,
    layout: str = "book",
    bias: str = "column",
    values: str = "normal",
    order: str = "C",
    loss: str = "least_squares",
    class_indices: bool = True,
    **options: Any,
) -> Problem:
    """A problem from one seed."""
    rng = np.random.default_rng(seed)

    def finish(array: np.ndarray) -> np.ndarray:
        kept = array if np.issubdtype(array.dtype, np.integer) else array.astype(dtype)
        return in_memory_order(kept, order)

    shrink = 1.0 if values == "integers" else 1.4
    weights, biases = [], []
    for n_in, n_out in pairwise(sizes):
        scale = 1.0 if values == "integers" else shrink / np.sqrt(n_in)
        weight = scale * draw_values(rng, values, (n_out, n_in))
        weights.append(finish(weight.T if layout == "keras" else weight))
        shape = (n_out,) if bias == "flat" else (n_out, 1)
        biases.append(finish(draw_values(rng, values, shape)))
    x = draw_values(rng, values, (sizes[0], batch))
    y = draw_targets(rng, loss, (sizes[-1], batch), class_indices)
    if values == "integers" and loss == "least_squares":
        y = np.round(y)
    if layout != "book":
        x, y = x.T, y.T
    return Problem(
        weights,
        None if bias == "none" else biases,
        finish(x),
        finish(y),
        {"loss": CUSTOM_LOSS if loss == "custom" else loss, "layout": layout, **options},
    )


@st.composite
def problems(
    draw: st.DrawFn,
    *,
    dtypes: tuple[Any, ...] = (np.float64, np.float32),
    values: tuple[str, ...] = VALUES,
    losses: tuple[str, ...] = LOSSES,
    max_size: int = 65,
    max_batch: int = 33,
    max_layers: int = 4,
) -> Problem:
    """Any problem that fastbp accepts."""
    size = st.sampled_from([n for n in SIZES if n <= max_size])
    return make_problem(
        draw(st.lists(size, min_size=2, max_size=max_layers + 1)),
        draw(st.sampled_from([n for n in SIZES if n <= max_batch])),
        seed=draw(st.integers(0, 2**32 - 1)),
        dtype=draw(st.sampled_from(dtypes)),
        layout=draw(st.sampled_from(LAYOUTS)),
        bias=draw(st.sampled_from(BIAS_KINDS)),
        values=draw(st.sampled_from(values)),
        order=draw(st.sampled_from(MEMORY_ORDERS)),
        loss=draw(st.sampled_from(losses)),
        class_indices=draw(st.booleans()),
        reduction=draw(st.sampled_from(REDUCTIONS)),
        scale=draw(st.sampled_from([1.0, 0.5, -3.0])),
        weight_decay=draw(st.sampled_from([0.0, 0.25])),
        relu_at_zero=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )
