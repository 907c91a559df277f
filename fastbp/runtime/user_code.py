"""Calling a user's function: its errors, its determinism, what it may not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.errors import EvaluationError, FastbpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["call_with", "differing_reason"]


# Two runs of one correct function may differ by the order of its sums, where threads share them.
ROUNDING = 64


def differing_reason(
    names: list[str], first: list[NDArray[Any]], second: list[NDArray[Any]]
) -> str:
    """Say which arrays differ between two calls of one function; empty if none."""
    differing = [
        (name, one, two)
        for name, one, two in zip(names, first, second, strict=True)
        if _differ(one, two)
    ]
    if not differing:
        return ""
    where = ", ".join(name for name, _, _ in differing)
    reason = f"called twice, it gave two different results: {where}"
    if all(_is_double(one, two) for _, one, two in differing):
        reason += " (second = 2 first: an accumulation)"
    return reason


def _differ(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Tell whether two results differ by more than the order of sums can explain."""
    if first.shape != second.shape or first.dtype.kind != second.dtype.kind:
        return True
    if np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"):
        return False
    return not _close(first, second)


def _is_double(first: NDArray[Any], second: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return first.shape == second.shape and _close(2 * first, second)


def _close(first: NDArray[Any], second: NDArray[Any]) -> bool:
    floats = first.dtype.kind == second.dtype.kind == "f"
    if not (floats and np.isfinite(first).all() and np.isfinite(second).all()):
        return False
    coarser = max(np.finfo(first.dtype).eps, np.finfo(second.dtype).eps)
    largest = np.max(np.abs(first), initial=0.0)
    with np.errstate(over="ignore"):
        difference = np.max(np.abs(second - first), initial=0.0)
    return bool(difference <= ROUNDING * coarser * largest)


def _raised(name: str, error: Exception, where: str) -> str:
    return f"{name} raised {type(error).__name__} {where}: {error}"


def call_with(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """Call a user's function; what it raises becomes the cause of an error of ours."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments)
    except FastbpError:
        raise
    except Exception as error:
        raise EvaluationError(
            f"{name} raised {type(error).__name__} at the point: {error}"
        ) from error
