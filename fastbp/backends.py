"""Ways to evaluate a function at many points: one by one, many in a call, or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp.evaluation import Function

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.evaluation import Point

__all__ = ["make_function"]


def make_function(
    f: Callable[[Any], Any], point: Point, name: str, *, vectorized: bool, workers: int | None
) -> Function:
    """Return the function at the point, evaluated in the way that was asked for."""
    return Function(f, point, name)


def check_workers(workers: object, vectorized: bool) -> None:
    """Raise unless `workers` makes sense."""
