"""How long kernels were compiled for, and a line on the terminal that says that they are.

numba tells of every function that it compiles; here those of ``fastbp.kernels`` count that were
called from Python, with all that is compiled for them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastbp.runtime.progress import compilation_line

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["Stopwatch", "compiled_entries", "watch_compilation"]

KERNELS = "fastbp.kernels."
COMPILE = "numba:compile"


class _Watch:
    """Hears of each compilation: numba makes one at a time, in whatever thread."""

    def __init__(self) -> None:
        self.registered = False
        self.seconds = 0.0
        self.entries = 0
        self._depth = 0
        self._began = 0.0
        self._line: AbstractContextManager[object] | None = None

    def begin(self) -> None:
        """Begin, unless it is for a kernel that is being compiled."""
        self._depth += 1  # first: numba tells of the end also where this raises
        if self._depth == 1:
            self._began = time.perf_counter()
            self._line = compilation_line()
            self._line.__enter__()

    def end(self) -> None:
        """End, with the last of those that began."""
        if self._depth == 1:
            self.seconds += time.perf_counter() - self._began
            self.entries += 1
        self._depth -= 1
        if self._depth == 0 and self._line is not None:
            self._line.__exit__(None, None, None)

    def seconds_until(self, now: float) -> float:
        """Return how long kernels were compiled for, the one that is being compiled included."""
        return self.seconds + (now - self._began if self._depth else 0.0)


_WATCH = _Watch()


def watch_compilation() -> None:
    """Count from here on; more calls change nothing.

    numba is imported here, by whom runs kernels: a check of a function in Python needs none.
    """
    if _WATCH.registered:
        return
    from numba.core import event

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, event: Any) -> None:
            if _is_kernel(event):
                _WATCH.begin()

        def on_end(self, event: Any) -> None:
            if _is_kernel(event):
                _WATCH.end()

    event.register(COMPILE, Listener())
    _WATCH.registered = True


def _is_kernel(event: Any) -> bool:
    return str(event.data["dispatcher"].py_func.__module__).startswith(KERNELS)


def compiled_entries() -> int:
    """Return how many kernels this process has compiled for calls from Python."""
    return _WATCH.entries


class Stopwatch:
    """The time since it was made, without what kernels took to compile.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> watch.seconds >= 0, watch.compile_seconds
    (True, 0.0)
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._compiled = _WATCH.seconds_until(self._started)

    @property
    def compile_seconds(self) -> float:
        """Return the time in which this process compiled kernels, in whatever thread.

        One that is still running does not count: whoever asks here has not waited for it.
        """
        return max(0.0, _WATCH.seconds - self._compiled)

    @property
    def seconds(self) -> float:
        """Return the rest of the time."""
        return max(0.0, time.perf_counter() - self._started - self.compile_seconds)
