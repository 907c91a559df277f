"""Ways to evaluate a function at many points: one by one, many in a call, compiled, or elsewhere.

All of them give the same bits for the same function.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastbp.errors import OptionError
from fastbp.function.backends.vectorized import VectorizedFunction
from fastbp.function.evaluation import Function
from fastbp.runtime.validation import require_bool
from fastbp.runtime.workers.worker_pool import require_workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.containers.point import Point
    from fastbp.runtime.account import Account


__all__ = ["make_function", "require_evaluation"]


def make_function(
    f: Callable[[Any], Any],
    point: Point,
    name: str,
    *,
    vectorized: bool,
    workers: Any,
    account: Account | None = None,
) -> Function:
    """Return the function at the point, evaluated in the way that was asked for."""
    require_bool(vectorized, "vectorized")
    require_evaluation(workers, vectorized)
    f = point.evaluated_by(f)
    if vectorized:
        return VectorizedFunction(f, point, name, account)
    if workers is not None:
        from fastbp.function.backends.distributed import DistributedFunction

        return DistributedFunction(f, point, name, workers, account)
    if _is_compiled(f):
        from fastbp.function.backends.compiled import CompiledFunction

        return CompiledFunction(f, point, name, account)
    return Function(f, point, name, account)


def _is_compiled(f: Callable[[Any], Any]) -> bool:
    """Tell whether a function is one of numba's, without importing numba, which takes 0.5 s."""
    numba = sys.modules.get("numba")
    return numba is not None and isinstance(f, numba.core.dispatcher.Dispatcher)


def require_evaluation(workers: object, vectorized: bool) -> None:
    """Raise unless `workers` makes sense, and beside `vectorized`."""
    require_workers(workers)
    if vectorized and workers is not None:
        raise OptionError("workers and vectorized exclude each other: one call takes many points.")
