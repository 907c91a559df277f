"""What NumPy does after an overflow or an underflow: ours while we compute, the user's for theirs.

A user who looks for a NaN says ``np.seterr(all="raise")``.  The library's own arithmetic meets
infinities, zeros and numbers below the smallest on purpose, and tests for them afterwards, so it
never listens to that setting; a function of the user always does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = ["callers_errstate", "callers_geterr", "own_errstate"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# The context of whoever called the library, which holds NumPy's setting; None while code of a user
# runs.  To copy a context takes 0.1 us, to ask NumPy for its setting ten times as much.
_callers: ContextVar[Context | None] = ContextVar("callers", default=None)


def own_errstate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a public function compute without NumPy's floating-point errors, whatever the caller set.

    Examples
    --------
    >>> @own_errstate
    ... def halved_till_zero(x):
    ...     return x * x
    >>> with np.errstate(all="raise"):
    ...     float(halved_till_zero(np.float64(1e-200)))
    0.0
    """

    @functools.wraps(function)
    def quietly(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        if _callers.get() is not None:  # called by ourselves
            return function(*arguments, **options)
        token = _callers.set(copy_context())
        try:
            with np.errstate(all="ignore"):
                return function(*arguments, **options)
        finally:
            _callers.reset(token)

    return quietly


def callers_geterr() -> dict[str, Any]:
    """Return ``np.geterr()`` as whoever called the library has it."""
    caller = _callers.get()
    return {**(np.geterr() if caller is None else caller.run(np.geterr))}


class callers_errstate:  # noqa: N801 - used as a statement, like np.errstate
    """Surround the call of a user's function: it runs under the setting of whoever called us.

    Parameters
    ----------
    warn : bool
        Let NumPy warn where the user's setting says so.  False where we choose the points: a
        warning about them would be about something that the user never computed.

    Examples
    --------
    >>> @own_errstate
    ... def apply(f, x):
    ...     with callers_errstate():
    ...         return f(x)
    >>> with np.errstate(all="raise"):
    ...     apply(lambda x: x * x, np.float64(1e-200))
    Traceback (most recent call last):
        ...
    FloatingPointError: underflow encountered in scalar multiply
    """

    def __init__(self, *, warn: bool = True) -> None:
        self.warn = warn

    def __enter__(self) -> None:
        """Give NumPy back to the user."""
        state = callers_geterr()
        if not self.warn:
            state = {
                kind: "ignore" if what in ("warn", "print") else what
                for kind, what in state.items()
            }
        self._token = _callers.set(None)
        self._errstate = np.errstate(**state)
        self._errstate.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take NumPy back."""
        self._errstate.__exit__(kind, error, trace)
        _callers.reset(self._token)
