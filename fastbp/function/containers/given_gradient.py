"""The gradient argument of a check of any function: from what a user gives to one array per leaf.

A value of another structure than the argument is bad input and raises. What a gradient function
returns is a finding, whatever it is: another structure, shape or dtype becomes a failed row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import ShapeError
from fastbp.function.containers.alignment import aligned
from fastbp.function.containers.point import Point
from fastbp.runtime.user_code import (
    NOISE_IS_AN_OPTION,
    called_twice,
    calling,
    noise_of_calls,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["GivenLeaves", "given_leaves", "leaves_of"]


@dataclass(slots=True, eq=False)
class GivenLeaves:
    """The given gradient, a leaf for each leaf of the argument.

    Attributes
    ----------
    arrays : list of ndarray or None
        As given, of any shape and dtype; None where there is none.
    findings : list of str
        What a gradient function does that it should not.
    extra : list of str
        The names of arrays that it gives and that the argument does not have.
    dtype : dtype
        The precision in which it was computed, as far as its argument tells.
    noise : dict of int to float
        What leaves are off by themselves: in float32, how far they are from what the same function
        gives in float64; and, where noise is allowed, by how much its results differ.
    notes : list of str
        What there is to know about it.
    accumulates : bool
        Whether a function returned twice as much when it was called again.
    """

    arrays: list[NDArray[Any] | None]
    findings: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float64))
    noise: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    accumulates: bool = False

    @property
    def largest(self) -> float:
        """The largest entry of all arrays that are numbers."""
        numbers = [array for array in self.arrays if array is not None and array.dtype.kind == "f"]
        finite = [np.abs(array[np.isfinite(array)]) for array in numbers]
        return max((float(np.max(sizes, initial=0.0)) for sizes in finite), default=0.0)


def given_leaves(
    gradient: Any, point: Point, name: str = "gradient", *rest: Any, noise: float = 0.0
) -> GivenLeaves:
    """Return what the `gradient` argument of a check stands for.

    Parameters
    ----------
    gradient : callable or nesting
        The gradient, or a function that returns it: called twice, on fresh copies of the point.
    point : Point
        Where.
    name : str
        What it is called in messages.
    *rest
        Further arguments for the function.
    noise : float
        By how much its results may differ from one call to the next.

    Raises
    ------
    DTypeError, ShapeError
        If it is neither callable nor of the structure of the argument.
    EvaluationError
        If the function raises.
    """
    if callable(gradient):
        return _called_twice(gradient, point, name, rest, noise)
    given = leaves_of(gradient, point, name)
    missing = [
        leaf_name
        for leaf_name, array in zip(point.container.names, given.arrays, strict=True)
        if array is None
    ]
    if missing or given.extra:
        raise ShapeError(
            f"{name} must be a function or have the structure of {point.name}"
            + (f"; there is none for {', '.join(missing)}" if missing else "")
            + (f"; there is no parameter for {', '.join(given.extra)}" if given.extra else "")
            + "."
        )
    given.dtype = _coarsest(point.container.leaves)
    return given


def leaves_of(value: Any, point: Point, name: str) -> GivenLeaves:
    """Take a gradient apart and put its leaves into the order of the argument's."""
    found = aligned(value, point.container, name)
    given = GivenLeaves(found.arrays, extra=found.extra)
    given.findings += [f"{own} has no derivative, but is given one" for own in found.not_zero]
    if found.outside:
        given.notes.append(
            f"{found.outside} numbers of {name} lie outside the structure of what is sparse: they "
            f"are derivatives by what is no parameter, and not compared"
        )
    return given


def _coarsest(leaves: Sequence[Any]) -> np.dtype[Any]:
    single = any(np.asarray(leaf).dtype in (np.float32, np.complex64) for leaf in leaves)
    return np.dtype(np.float32 if single else np.float64)


def _called_twice(
    function: Callable[..., Any], point: Point, name: str, rest: tuple[Any, ...], noise: float
) -> GivenLeaves:
    """Call a gradient function on fresh copies, twice, and see whether it behaves."""
    answers: list[GivenLeaves] = []

    def call() -> tuple[list[str], list[NDArray[Any] | None], list[str]]:
        argument, changed = point.for_derivative()
        with calling(name):
            result = function(argument, *rest)
        answers.append(leaves_of(result, point, name))
        return point.container.names, answers[-1].arrays, changed()

    twice = called_twice(call, noise=noise)
    given = answers[0]
    given.arrays, given.dtype = twice.arrays, _coarsest(point.container.leaves)
    if given.dtype.itemsize == 4 and not point.single:
        given.noise = _single_precision_noise(function, point, name, rest, given.arrays)
    if noise and twice.apart:
        for leaf, own in enumerate(noise_of_calls(call, twice.arrays)):
            given.noise[leaf] = given.noise.get(leaf, 0.0) + own
    given.accumulates = twice.accumulates
    if twice.changed:
        given.findings.append(f"{name} changed its argument: {', '.join(twice.changed)}")
    if twice.differing:
        ending = NOISE_IS_AN_OPTION if twice.apart else ""
        given.findings.append(f"{name}, called twice, {twice.differing}{ending}")
    return given


def _single_precision_noise(
    function: Callable[..., Any],
    point: Point,
    name: str,
    rest: tuple[Any, ...],
    arrays: list[NDArray[Any] | None],
) -> dict[int, float]:
    """Ask for the gradient in float64 too: what differs is the rounding of the one in float32."""
    try:
        with np.errstate(all="ignore"):
            wide_point = Point(point.at, point.name, members=point.members)
            result = wide_point.evaluated_by(function)(wide_point.argument, *rest)
            wide = leaves_of(result, point, name).arrays
    except Exception:  # it may refuse float64
        return {}
    noise = {}
    for leaf, (one, two) in enumerate(zip(arrays, wide, strict=True)):
        if one is not None and two is not None and one.shape == two.shape and one.size:
            with np.errstate(invalid="ignore", over="ignore"):
                apart = float(np.max(np.abs(one.astype(np.result_type(one, np.float64)) - two)))
            noise[leaf] = apart if np.isfinite(apart) else 0.0
    return noise
