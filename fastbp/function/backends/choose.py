"""Ways to evaluate a function at many points: one by one, many in a call, compiled, or elsewhere.

All of them give the same bits for the same function.
"""

from __future__ import annotations

import sys
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from fastbp.errors import OptionError
from fastbp.function.backends.vectorized import VectorizedFunction
from fastbp.function.evaluation import Function
from fastbp.runtime.validation import require_bool

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.function.containers.point import Point
    from fastbp.runtime.account import Account


__all__ = ["make_function", "require_workers"]


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
    require_workers(workers, vectorized)
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


def require_workers(workers: object, vectorized: bool) -> None:
    """Raise unless `workers` is None, a number of processes that makes sense, or what maps."""
    if workers is None:
        return
    number = isinstance(workers, int) and not isinstance(workers, bool)
    if number:
        makes_sense = workers == -1 or workers > 0  # type: ignore[operator]
    else:
        makes_sense = isinstance(workers, Executor) or callable(workers)
    if not makes_sense:
        raise OptionError(
            f"workers must be None, a number of processes, or -1 for one per processor; or an "
            f"executor of concurrent.futures, or a callable that maps as map does; not {workers!r}."
        )
    if vectorized:
        raise OptionError("workers and vectorized exclude each other: one call takes many points.")
