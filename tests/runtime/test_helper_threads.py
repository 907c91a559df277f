"""Helper threads: when they come, sleep and end. Kernels in Python show it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
import weakref

import numpy as np
import pytest
from fastbp.kernels.machine.compile import JIT_DISABLED
from fastbp.kernels.machine.tickets import DRAWN, STOP
from support.processes import command, environment
from support.thread_problems import COMMON, everything, one_problem

import fastbp
from fastbp.runtime.threads import _POOL, run_team

HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

TEAM_OF_ANY = 1e8  # operations, by which a team works and its caller is one of it
SECONDS = 20.0  # until a test gives up; never waited for when all is well
COMPILED = pytest.mark.skipif(JIT_DISABLED, reason="without JIT there are no teams")


def wait_for(condition) -> None:
    """Look again and again, as long as a busy machine may take."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(1e-3)


def helpers() -> list:
    return list(_POOL.team().helpers)


class Meeting:
    """A kernel that ends when two threads are in it."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)
        self.threads: set[int] = set()

    def __call__(self, control: np.ndarray) -> None:
        self.threads.add(threading.get_ident())
        control[DRAWN] += 1
        if control[DRAWN] <= 2:  # a helper may look in again
            self.barrier.wait(SECONDS)


def assert_helper_comes() -> None:
    meeting = Meeting()
    run_team(meeting, (), TEAM_OF_ANY)
    # A second helper may look in, where there is one.
    assert 2 <= len(meeting.threads) <= fastbp.get_num_threads()


@COMPILED
def test_a_helper_comes_awake_or_asleep(threads):
    threads(2)
    for _ in range(20):
        assert_helper_comes()
    wait_for(lambda: helpers()[0].asleep)
    assert_helper_comes()


@COMPILED
def test_a_helper_that_was_busy_joins_the_call_that_is_running(threads):
    threads(2)
    inside, release = threading.Event(), threading.Event()
    caller = threading.current_thread()
    ends = []

    def busy(control: np.ndarray) -> None:
        control[DRAWN] += 1
        if threading.current_thread().name == "fastbp":
            inside.set()
            release.wait(SECONDS)
        else:
            assert inside.wait(SECONDS)

    def late(control: np.ndarray) -> None:
        if threading.current_thread() is caller:
            control[DRAWN] += 1
            release.set()  # only now is the helper free
            wait_for(lambda: ends)
        else:
            ends.append(threading.current_thread())

    run_team(busy, (), TEAM_OF_ANY)  # its caller leaves, the helper stays inside
    run_team(late, (), TEAM_OF_ANY)
    assert set(ends) == set(helpers())


@COMPILED
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_exception_of_the_caller_leaves_no_helper_at_work(error, threads):
    threads(2)
    inside, left = threading.Event(), threading.Event()

    def kernel(control: np.ndarray) -> None:
        control[DRAWN] += 1
        if threading.current_thread().name != "fastbp":
            assert inside.wait(SECONDS)
            raise error
        inside.set()
        wait_for(lambda: control[STOP])
        time.sleep(0.05)  # the rest of a block
        left.set()

    with pytest.raises(error):
        run_team(kernel, (), TEAM_OF_ANY)
    assert left.is_set()
    assert_helper_comes()


@COMPILED
def test_an_exception_before_the_first_ticket_waits_for_nobody(threads):
    """A helper that still compiles, say: it will find the call stopped."""
    threads(2)
    inside, release, stopped = threading.Event(), threading.Event(), []

    def kernel(control: np.ndarray) -> None:
        if threading.current_thread().name != "fastbp":
            assert inside.wait(SECONDS)
            raise KeyboardInterrupt
        inside.set()
        release.wait(SECONDS)
        stopped.append(int(control[STOP]))

    with pytest.raises(KeyboardInterrupt):
        run_team(kernel, (), TEAM_OF_ANY)
    assert not stopped
    release.set()
    wait_for(lambda: stopped)
    assert stopped == [1]


@COMPILED
def test_a_caller_that_was_interrupted_while_it_claimed_a_job_disturbs_nobody(threads):
    threads(2)
    assert_helper_comes()
    _POOL.team().vacant.claimed.acquire()  # and nothing more came of it
    assert_helper_comes()
    assert_helper_comes()


@COMPILED
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_no_argument_is_kept_alive_by_a_call_that_is_over(error, threads):
    threads(2)

    def kernel(control: np.ndarray, _: np.ndarray) -> None:
        control[DRAWN] += 1
        if error is not None:
            raise error

    argument = np.zeros(1000)
    alive = weakref.ref(argument)
    with contextlib.suppress(KeyboardInterrupt):
        run_team(kernel, (argument,), TEAM_OF_ANY)
    del argument
    wait_for(lambda: alive() is None)


@COMPILED
def test_helpers_that_have_nothing_to_do_sleep(threads):
    threads(4)
    for _ in range(5):
        run_team(lambda _: None, (), TEAM_OF_ANY)
    wait_for(lambda: len(helpers()) == 3 and all(helper.asleep for helper in helpers()))
    used = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - used < 0.1


@COMPILED
def test_helpers_end_when_fewer_are_wanted(threads):
    threads(4)
    wait_for(lambda: len(helpers()) == 3)
    former = helpers()
    threads(2)
    for helper in former:
        helper.join(SECONDS)
        assert not helper.is_alive()
    assert_helper_comes()


@COMPILED
def test_without_threads_of_the_system_the_caller_works_alone(threads, monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    problem = one_problem()
    threads(1)
    expected = everything(*problem)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    threads(3)
    np.testing.assert_array_equal(everything(*problem), expected)
    assert helpers() == []


@COMPILED
def test_an_interrupt_while_helpers_start_leaves_none_behind(threads, monkeypatch):
    started = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        raise KeyboardInterrupt

    threads(3)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_team(lambda _: None, (), TEAM_OF_ANY)
    monkeypatch.undo()
    (helper,) = started
    helper.join(SECONDS)
    assert not helper.is_alive()
    assert_helper_comes()


EXITS = (
    COMMON
    + """
fastbp.set_num_threads(3)
for wait in [0.0, 0.0003, 0.01]:
    process = os.fork()
    if process == 0:  # ends as a whole interpreter does, with helpers awake or just falling asleep
        import time
        assert np.array_equal(gradients(), expected)
        time.sleep(wait)
        sys.exit(0)
    assert os.waitpid(process, 0)[1] == 0
gradients()
"""
)


@pytest.mark.long
@HAS_FORK
def test_an_interpreter_ends_quietly_while_helpers_are_awake():
    done = subprocess.run(
        command(EXITS), env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
