"""Slopes of all outputs of a function along one tangent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.function.array_function import VectorFunction
from fastbp.function.containers.point import SINGLE_UNIT
from fastbp.function.derivatives.entry_slopes import power_of_two, smaller_scale_first, typical
from fastbp.function.derivatives.line_slopes import (
    FIRST_STEP,
    FIRST_STEP_SINGLE,
    LAST_STEP,
    measure_lines,
)
from fastbp.typing import Vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.derivatives.lines import Lines

__all__ = ["first_step_along", "measure_outputs"]


def measure_outputs(
    function: VectorFunction,
    leaf: int,
    tangent: Vector,
    shift: float = 1.0,
    only: slice = slice(None),
    noise: Vector | float = 0.0,
    *,
    raises: bool = True,
) -> Lines:
    """Difference all outputs, or some, along a tangent of one leaf.

    `noise` is what is known of the noise of each output: at least so much is in each value.

    What f raises on both sides of the point is raised, unless `raises` is false and the caller
    looks for a direction in which it does not.
    """
    base = function.point.base[leaf]
    first = _first_step(function)
    scale, longest = _scales(function, leaf, tangent)
    direction = tangent.astype(base.dtype)
    cache: dict[float, Vector] = {}

    def evaluate(which: NDArray[np.int64], steps: Vector) -> tuple[Vector, Vector]:
        # All outputs move along the same line: one evaluation for all that share a step.
        different = np.unique(steps).tolist()
        new = [step for step in different if step not in cache]
        for step, outputs in zip(new, function.along(leaf, direction, new), strict=True):
            cache[step] = outputs[only]
        values = np.empty(steps.size)
        for step in different:
            same = steps == step
            values[same] = cache[step][which[same]]
        return steps, values

    values = function.value[only]

    def measured(scale: float, longest: float) -> Lines:
        return measure_lines(
            evaluate,
            values,
            np.full(values.size, shift * first * scale),
            np.full(values.size, longest),
            function.unit,
            np.fmax(noise, function.hidden_rounding[only]),
            alike=False,
            one_entry=np.count_nonzero(tangent) == 1,
        )

    lines = measured(scale, longest)
    own = _own_scale(base, tangent)
    if function.domain.scale(leaf) is None and 0.0 < own < scale:
        # On the scale of a tiny entry too.
        lines = smaller_scale_first(measured(own, LAST_STEP * own), lines)
    if raises and not np.isfinite(lines.error_bar).any() and np.isfinite(values).any():
        function.raise_if_it_raised_along(leaf, direction, first * scale)
    return lines


def first_step_along(function: VectorFunction, leaf: int, tangent: Vector) -> float:
    """Return the shortest step of `measure_outputs` along a tangent."""
    return _first_step(function) * _scales(function, leaf, tangent)[0]


def _first_step(function: VectorFunction) -> float:
    return FIRST_STEP_SINGLE if function.unit == SINGLE_UNIT else FIRST_STEP


def _scales(function: VectorFunction, leaf: int, tangent: Vector) -> tuple[float, float]:
    """Return the length over which f may vary along a tangent, and the longest step."""
    base, lengths = function.point.base[leaf], function.domain.scale(leaf)
    if lengths is not None and np.any(tangent):
        scale = float(power_of_two(np.min(lengths[tangent != 0], keepdims=True))[0])
        return scale, LAST_STEP * scale
    scale = typical(base) if np.count_nonzero(tangent) != 1 else _entry_scale(base, tangent)
    return scale, LAST_STEP * max(scale, typical(base))


def _own_scale(base: NDArray[np.floating], tangent: Vector) -> float:
    """Return the size of the only entry that moves; 0 if there are several.

    And if it is 0, infinite, or so small that steps of its size are denormal numbers, or none.
    """
    moving = np.flatnonzero(tangent)
    if moving.size != 1:
        return 0.0
    size, numbers = np.abs(base[moving]), np.finfo(base.dtype)
    if not numbers.tiny / numbers.eps <= size[0] < np.inf:
        return 0.0
    return float(power_of_two(size.astype(np.float64))[0])


def _entry_scale(base: NDArray[np.floating], tangent: Vector) -> float:
    entry = base[np.flatnonzero(tangent)]
    return max(typical(entry), 2.0**-16 * typical(base)) if entry[0] else typical(base)
