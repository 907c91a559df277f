"""What is measured along lines: slopes and their error bars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbp.typing import Indices, Vector

__all__ = ["Evaluate", "Lines"]


# (which lines, displacement of each) -> (displacement as realised in floating point, value of f)
Evaluate: TypeAlias = Callable[[NDArray[np.int64], Vector], tuple[Vector, Vector]]


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The slope along each of n lines, at the point where they start; arrays of shape (n,).

    Attributes
    ----------
    slope, error_bar : ndarray of float64
        The derivative, and how far off it may be. NaN and infinity where there is none.
    left, right : ndarray of float64
        The slopes on both sides of a kink at the point; the slope where there is none.
    noise : ndarray of float64
        The standard deviation of the noise in the values of f.
    curvature, third : ndarray of float64
        How large the second and the third derivative may be; NaN at a kink.
    kink : ndarray of bool
        Where left and right slope differ: `slope` is their mean, and `error_bar` that of each.
    shortest : ndarray of float64
        The first step: longer than usual where f takes steps, shorter where it varies fast.
    divergence : ndarray of int8
        Where there is no derivative: `JUMP` or `INFINITE_SLOPE`; 0 elsewhere.
    smooth : ndarray of bool
        Where f is as smooth as a table of values, or those of other entries, say: the error bar
        does not rest on the agreement of two steps alone.
    """

    slope: Vector
    error_bar: Vector
    left: Vector
    right: Vector
    noise: Vector
    curvature: Vector
    third: Vector
    kink: NDArray[np.bool_]
    shortest: Vector
    divergence: NDArray[np.int8]
    smooth: NDArray[np.bool_]

    @property
    def hull(self) -> Vector:
        """Half the distance between left and right slope; 0 where there is no kink."""
        return np.where(self.kink, np.abs(self.right - self.left) / 2, 0.0)

    @classmethod
    def unknown(cls, count: int) -> Lines:
        """Return lines of which nothing is known: NaN, with infinite error bars."""
        slope, left, right, noise, curvature, third, shortest = np.full((7, count), np.nan)
        nowhere, smooth = np.zeros((2, count), dtype=bool)
        return cls(
            slope, np.full(count, np.inf), left, right, noise, curvature, third, nowhere,
            shortest, np.zeros(count, dtype=np.int8), smooth,
        )  # fmt: skip

    @classmethod
    def without_kinks(
        cls, slope: Vector, error_bar: Vector, noise: Vector, curvature: Vector, third: Vector,
        shortest: Vector, *, smooth: bool,
    ) -> Lines:  # fmt: skip
        """Return lines that have a derivative, and no kink, at the point."""
        return cls(
            slope, error_bar, slope.copy(), slope.copy(), noise, curvature, third,
            np.zeros(slope.shape, dtype=bool), shortest, np.zeros(slope.shape, dtype=np.int8),
            np.full(slope.shape, smooth),
        )  # fmt: skip

    def only(self, where: NDArray[np.bool_] | Indices | slice) -> Lines:
        """Return some of these lines."""
        return Lines(*(getattr(self, field.name)[where] for field in fields(self)))

    def without_divergent(self) -> Lines:
        """Return these lines, with no derivative where f jumps or is infinitely steep."""
        diverges = self.divergence != 0
        return replace(
            self,
            slope=np.where(diverges, np.nan, self.slope),
            error_bar=np.where(diverges, np.inf, self.error_bar),
            kink=self.kink & ~diverges,
        )

    def or_zero(self, where: NDArray[np.bool_]) -> Lines:
        """Return these lines, with error bars that reach to a slope of 0 in some places."""
        return self.reaching(np.zeros(self.slope.size), where)

    def reaching(self, given: NDArray[np.floating], where: NDArray[np.bool_]) -> Lines:
        """Return these lines, with error bars that reach to given slopes in some places."""
        # Twice as far: another measurement over the same steps may find another slope.
        reach = self.error_bar.copy()
        reach[where] = np.maximum(reach[where], 2 * np.abs(given[where] - self.slope[where]))
        return replace(self, error_bar=reach)

    def copy(self) -> Lines:
        """Return the same lines in arrays of their own."""
        return Lines(*(getattr(self, field.name).copy() for field in fields(self)))

    def put(self, where: NDArray[np.bool_] | Indices, other: Lines) -> None:
        """Write other lines, in their order, to the given places."""
        for field in fields(self):
            getattr(self, field.name)[where] = getattr(other, field.name)

    def replaced(self, where: NDArray[np.bool_] | Indices, other: Lines) -> Lines:
        """Return these lines, those of `other`, in their order, in the given places."""
        lines = self.copy()
        lines.put(where, other)
        return lines
