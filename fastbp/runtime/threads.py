"""Threads for the kernels: helpers of ours, no threading layer of numba.

Kernels release the GIL and share their work by tickets (``kernels.machine.tickets``), so any number
of Python threads may call them at once.  numba's own layers abort there (workqueue) or kill a
forked child (omp); these helpers are made anew in the child.

A helper that has just worked watches for the next call for some 0.2 ms before it sleeps: to
wake a sleeping thread takes 50 us or more, as long as a step of a small network.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from fastbp.errors import OptionError
from fastbp.kernels.machine.compile import JIT_DISABLED
from fastbp.kernels.machine.tickets import (
    DRAWN,
    STOP,
    new_control,
    spent_control,
    wait_for_first_ticket,
)
from fastbp.runtime.compilation import watch_compilation

# Floating-point operations below which a second thread does not pay.
SERIAL_OPERATIONS = 2e6
# Above about a twentieth of a second the calling thread waits in Python, where Ctrl-C reaches it.
INTERRUPTIBLE_OPERATIONS = 2e9
SECONDS_BETWEEN_LOOKS = 0.1  # for signals, on systems where a lock cannot be interrupted
SECONDS_OF_A_BLOCK = 1e-4
SECONDS_BEFORE_EXIT = 1.0  # a helper that is awake sees within a millisecond that it may end


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


class _Job:
    """One call of a kernel that helpers may join, from its first ticket on."""

    def __init__(self) -> None:
        self.control = new_control()
        self.claimed = threading.Lock()
        self.call: tuple[Callable[..., object], tuple[Any, ...]] | None = None
        self.guests: list[None] = []  # one for each helper that is executing this call

    def join(self) -> None:
        """Make the same call; whatever is wrong with it, the caller meets it too."""
        call = self.call
        if call is not None:
            self.guests.append(None)
            with contextlib.suppress(Exception):
                call[0](self.control, *call[1])
            self.guests.pop()

    def stop(self) -> None:
        """Let no block begin, and wait for those that have: before the first ticket is none."""
        self.control[STOP] = 1
        while self.control[DRAWN] and self.guests:
            time.sleep(SECONDS_OF_A_BLOCK)


class _Team:
    """Helpers of one process, as many as threads are wanted beside the caller.

    ``vacant`` is the job that the next caller will claim: helpers that are awake watch its
    tickets.  ``latest`` is the last one that was claimed, for a helper that comes late.  No lock
    is held, so that neither a fork, nor Ctrl-C, nor a signal's handler that computes finds one
    taken: whatever callers overwrite of each other, a helper only comes later.
    """

    def __init__(self) -> None:
        self.vacant = _Job()
        self.latest = _Job()
        self.helpers: list[_Helper] = []
        self.closed = False

    def start(self, helpers: int) -> None:
        """Start helpers; where the system has no more threads, the callers work with fewer."""
        compile_own_kernels()  # here, where Ctrl-C reaches the compiler
        with contextlib.suppress(RuntimeError):
            for _ in range(helpers):
                _Helper(self).start()

    def run(self, kernel: Callable[..., object], arguments: tuple[Any, ...]) -> Any:
        """Make a call: helpers awake join with its first ticket, sleeping ones are woken.

        An exception on its way out leaves no helper at work.  Returns the control block.
        """
        job = self._claim_job()
        try:
            job.call = kernel, arguments
            self.latest = job
            self._wake_helpers()
            kernel(job.control, *arguments)
        except BaseException:
            job.stop()
            raise
        finally:
            job.call = None  # the job outlives its call: it must not keep arrays alive
        return job.control

    def _claim_job(self) -> _Job:
        job = self.vacant
        if not job.claimed.acquire(blocking=False):  # another caller was quicker
            job = _Job()
        self.vacant = _Job()
        return job

    def close(self) -> None:
        """Let the helpers end, after what they are at."""
        self.closed = True
        self._wake_helpers()

    def _wake_helpers(self) -> None:
        for helper in self.helpers:
            if helper.asleep:
                helper.wake()


class _Helper(threading.Thread):
    def __init__(self, team: _Team) -> None:
        super().__init__(name="fastbp", daemon=True)
        self.team = team
        self.job = team.latest
        self.asleep = False
        self.bell = threading.Lock()
        self.bell.acquire()

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # another caller has just done so
            self.bell.release()

    def run(self) -> None:
        self.team.helpers.append(self)
        while not self.team.closed:
            self._find_job()
            self.job.join()

    def _find_job(self) -> None:
        """Take the latest job, or watch for the next for a while and then sleep."""
        vacant = self.team.vacant
        if self.job is not self.team.latest:
            self.job = self.team.latest
        elif wait_for_first_ticket(vacant.control):
            self.job = vacant
        else:
            self._sleep_unless_claimed(vacant)

    def _sleep_unless_claimed(self, vacant: _Job) -> None:
        self.asleep = True  # said before looking: a caller claims before it looks who sleeps
        team = self.team
        if vacant is team.vacant and self.job is team.latest and not team.closed:
            self.bell.acquire()
        self.asleep = False


class _Pool:
    """The wanted number of threads, and the team that has one less."""

    def __init__(self) -> None:
        self.threads = _initial_count()
        self.lock = threading.Lock()
        self.members: _Team | None = None

    def team(self) -> _Team:
        members = self.members
        if members is None:
            with self.lock:
                if self.members is None:
                    self.members = self._new_team()
                members = self.members
        return members

    def _new_team(self) -> _Team:
        members = _Team()
        try:
            members.start(self.threads - 1)
        except BaseException:
            members.close()
            raise
        return members

    def resize(self, threads: int) -> None:
        with self.lock:
            self.threads = threads
            members, self.members = self.members, None
        if members is not None:
            members.close()

    def end(self) -> None:
        """At the interpreter's exit: no helper may be inside a kernel when its frames vanish."""
        members, self.members = self.members, None
        if members is not None:
            members.close()
            for helper in members.helpers:
                helper.join(SECONDS_BEFORE_EXIT)

    def forget(self) -> None:
        """After a fork: the parent's threads do not exist here, its lock may be held."""
        self.lock = threading.Lock()
        self.members = None


watch_compilation()
_POOL = _Pool()
atexit.register(_POOL.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)


def compile_own_kernels() -> None:
    """Compile what helpers wait in, if it is not there yet."""
    wait_for_first_ticket(spent_control())


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


def _run_in_background(
    kernel: Callable[..., object], control: Any, arguments: tuple[Any, ...], threads: int
) -> None:
    """Let other threads do all the work and wait where signals are seen.

    On any exception the kernels are stopped, and have ended when it goes on its way.
    """
    futures: list[Future[object]] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="fastbp") as executor:
        try:
            futures.extend(executor.submit(kernel, control, *arguments) for _ in range(threads))
            while wait(futures, timeout=SECONDS_BETWEEN_LOOKS).not_done:
                pass
        except BaseException:
            control[STOP] = 1
            raise
    for future in futures:
        future.result()


def run_team(
    kernel: Callable[..., object],
    arguments: tuple[Any, ...],
    operations: float,
    *,
    alone: bool = False,
) -> Any:
    """Run ``kernel(control, *arguments)`` on as many threads as its operations deserve.

    Parameters
    ----------
    kernel : callable
        Shares its work through ``control``; every thread makes the same call.
    arguments : tuple
    operations : float
        Floating-point operations, estimated.  They decide who computes, never what.
    alone : bool
        Run on one thread: `kernel` is not safe to call concurrently.

    Returns
    -------
    int64 ndarray
        The control block, for the flags that the kernel has set.
    """
    if JIT_DISABLED:  # plain Python has no atomic tickets, and NumPy would warn of overflow
        control = new_control()
        with np.errstate(all="ignore"):
            kernel(control, *arguments)
    elif operations < INTERRUPTIBLE_OPERATIONS:
        if alone or operations < SERIAL_OPERATIONS or _POOL.threads == 1:
            control = new_control()
            kernel(control, *arguments)
        else:
            control = _POOL.team().run(kernel, arguments)
    else:
        kernel(spent_control(), *arguments)  # compile here, where Ctrl-C reaches the compiler
        control = new_control()
        _run_in_background(kernel, control, arguments, 1 if alone else _POOL.threads)
    return control
