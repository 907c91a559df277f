"""Threads for the kernels: a pool of ours, no threading layer of numba.

Kernels release the GIL and share their work by tickets (``kernels/team.py``), so any number of
Python threads may call them at once.  numba's own layers abort there (workqueue) or kill a
forked child (omp); this pool is made anew in the child.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from fastbp.errors import OptionError
from fastbp.kernels.compile import JIT_DISABLED
from fastbp.kernels.team import STOP, new_control, spent_control

# Floating-point operations below which waking a second thread (30-50 us) does not pay.
SERIAL_OPERATIONS = 4e6
# Above about a twentieth of a second the calling thread waits in Python, where Ctrl-C reaches it.
INTERRUPTIBLE_OPERATIONS = 2e9
SECONDS_BETWEEN_LOOKS = 0.1  # for signals, on systems where a lock cannot be interrupted


def _usable_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _positive_count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} must be an integer of at least 1, not {value!r}.")
    return value


def _initial_count() -> int:
    text = os.environ.get("FASTBP_NUM_THREADS")
    if text is None:
        return _usable_processors()
    return _positive_count(int(text) if text.isdecimal() else text, "FASTBP_NUM_THREADS")


class _Pool:
    """The wanted number of threads and the executor that has one less."""

    def __init__(self) -> None:
        self.threads = _initial_count()
        self.lock = threading.Lock()
        self.executor: ThreadPoolExecutor | None = None

    def helpers(self) -> ThreadPoolExecutor:
        with self.lock:
            if self.executor is None:
                self.executor = ThreadPoolExecutor(self.threads, thread_name_prefix="fastbp")
            return self.executor

    def resize(self, threads: int) -> None:
        with self.lock:
            self.threads = threads
            if self.executor is not None:
                self.executor.shutdown(wait=False)
            self.executor = None

    def forget(self) -> None:
        """After a fork: the parent's threads do not exist here, its lock may be held."""
        self.lock = threading.Lock()
        self.executor = None


_POOL = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)


def set_num_threads(n: int) -> None:
    """Set how many threads a kernel may use.

    Parameters
    ----------
    n : int
        At least 1.  The default is ``FASTBP_NUM_THREADS``, or else the number of processors
        that the process may use.  Results have the same bits for every number.

    Raises
    ------
    OptionError
        If ``n`` is not a positive integer.

    Examples
    --------
    >>> import fastbp
    >>> before = fastbp.get_num_threads()
    >>> fastbp.set_num_threads(1)
    >>> fastbp.get_num_threads()
    1
    >>> fastbp.set_num_threads(before)
    """
    _POOL.resize(_positive_count(n, "n"))


def get_num_threads() -> int:
    """Return how many threads a kernel may use.

    Returns
    -------
    int

    Examples
    --------
    >>> import fastbp
    >>> fastbp.get_num_threads() >= 1
    True
    """
    return _POOL.threads


def _submit(
    kernel: Callable[..., object], control: Any, arguments: tuple[Any, ...]
) -> Future[object] | None:
    try:
        return _POOL.helpers().submit(kernel, control, *arguments)
    except RuntimeError:  # shut down by a resize, or as the interpreter ends: fewer hands
        return None


def _run_on_helpers(
    kernel: Callable[..., object], control: Any, arguments: tuple[Any, ...]
) -> bool:
    """Let helpers do all the work and wait where signals are seen; False: there are none.

    On any exception the kernels are stopped, and have ended when it goes on its way.
    """
    futures: list[Future[object]] = []
    try:
        for _ in range(_POOL.threads):
            future = _submit(kernel, control, arguments)
            if future is not None:
                futures.append(future)
        while wait(futures, timeout=SECONDS_BETWEEN_LOOKS).not_done:
            pass
        for future in futures:
            future.result()
    except BaseException:
        control[STOP] = 1
        for future in futures:
            if not future.cancel():
                future.exception()
        raise
    return bool(futures)


def run_team(kernel: Callable[..., object], arguments: tuple[Any, ...], operations: float) -> Any:
    """Run ``kernel(control, *arguments)`` on as many threads as its operations deserve.

    Parameters
    ----------
    kernel : callable
        Shares its work through ``control``; every thread makes the same call.
    arguments : tuple
    operations : float
        Floating-point operations, estimated.  They decide who computes, never what.

    Returns
    -------
    int64 ndarray
        The control block, for the flags that the kernel has set.
    """
    control = new_control()
    if JIT_DISABLED:  # plain Python has no atomic tickets, and NumPy would warn of overflow
        with np.errstate(all="ignore"):
            kernel(control, *arguments)
    elif operations < SERIAL_OPERATIONS:
        kernel(control, *arguments)
    elif operations < INTERRUPTIBLE_OPERATIONS:
        for _ in range(_POOL.threads - 1):
            _submit(kernel, control, arguments)
        kernel(control, *arguments)
    else:
        kernel(spent_control(), *arguments)  # compile here, where Ctrl-C reaches the compiler
        if not _run_on_helpers(kernel, control, arguments):
            kernel(control, *arguments)
    return control
