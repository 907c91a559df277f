"""Threads and processes: the right bits, from any number of threads, in threads and after forks."""

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
from support.processes import command, environment, run_program

import fastbp
from fastbp.errors import OptionError
from fastbp.network.differences.replay import replay_entries
from fastbp.runtime.threads import _POOL, run_team

HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Over SERIAL_OPERATIONS of fastbp.runtime.threads, so that a team of threads computes.
SIZES, BATCH = [64, 128, 128, 10], 64

COMMON = f"""
import os, sys, threading
import numpy as np
import numba
import fastbp
from fastbp.network.differences.replay import replay_entries

net = fastbp.Network.random({SIZES})
small = fastbp.Network.random([9, 16, 4])
random = np.random.default_rng(0)
x, y = random.standard_normal(({SIZES[0]}, {BATCH})), random.standard_normal(({SIZES[-1]}, {BATCH}))
small_x, small_y = random.standard_normal((9, 70)), random.standard_normal((4, 70))

def gradients():
    loss, found = net.loss_and_gradients(x, y)
    return np.concatenate([[loss, net.loss(x, y)], found.flat, found.inputs.ravel()])

def quotients():
    # Some entries of the large network, which a team computes, and all of the small one.
    some = np.arange(0, net.parameters.size, 29)
    return np.concatenate([
        fastbp.finite_differences(small, small_x, small_y).flat,
        replay_entries(
            net, x, y, some, scheme="central", delta=1e-6, max_memory=2**30, progress=False
        )[0],
    ])

# The user's own use of numba's threads, in the main thread, before and after ours.
@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for k in numba.prange(values.size):
        result += values[k]
    return result

def users_own_kernel():
    try:
        assert total(np.ones(1000)) == 1000.0
    except ValueError as error:  # this wheel of numba has no such layer
        assert "threading layer" in str(error)

fastbp.set_num_threads(1)
expected, expected_quotients = gradients(), quotients()
"""
EIGHT_THREADS = (
    COMMON
    + """
users_own_kernel()
fastbp.set_num_threads(2)
wrong = []

def work(seed):
    try:
        for _ in range(10):
            if not np.array_equal(gradients(), expected):
                wrong.append("gradients")
        if not np.array_equal(quotients(), expected_quotients):
            wrong.append("quotients")
    except BaseException as error:
        wrong.append(repr(error))
        raise

threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong, wrong
users_own_kernel()
print("right bits")
"""
)


@pytest.mark.parametrize("layer", ["omp", "workqueue", None])
def test_eight_threads_at_once_give_the_right_bits(layer):
    env = environment(NUMBA_THREADING_LAYER=layer)
    assert run_program(EIGHT_THREADS, env=env) == "right bits\n"


FORK = (
    COMMON
    + """
users_own_kernel()
fastbp.set_num_threads(3)
assert np.array_equal(gradients(), expected)  # the parent's pool is at work

def child(generation):
    assert fastbp.get_num_threads() == 3
    assert np.array_equal(gradients(), expected)
    assert np.array_equal(quotients(), expected_quotients)
    if generation == 1:
        assert fork(2) == 0
    assert np.array_equal(gradients(), expected)

def fork(generation):
    process = os.fork()
    if process == 0:
        code = 1
        try:
            child(generation)
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

assert fork(1) == 0
assert np.array_equal(gradients(), expected)  # and the parent goes on
print("right bits")
"""
)


@HAS_FORK
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_child_forked_after_use_works_and_its_child_too(layer):
    env = environment(NUMBA_THREADING_LAYER=layer)
    assert run_program(FORK, env=env) == "right bits\n"


FORK_WHILE_BUSY = (
    COMMON
    + """
fastbp.set_num_threads(2)
busy, done = threading.Event(), threading.Event()

def work():
    while not done.is_set():
        assert np.array_equal(gradients(), expected)
        busy.set()

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
busy.wait()
for _ in range(15):  # whatever the other threads hold at that moment
    process = os.fork()
    if process == 0:
        os._exit(0 if np.array_equal(gradients(), expected) else 5)
    assert os.waitpid(process, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
print("right bits")
"""
)


@HAS_FORK
def test_children_forked_while_other_threads_compute():
    assert run_program(FORK_WHILE_BUSY) == "right bits\n"


POOL_OF_PROCESSES = """
import multiprocessing, sys
import numpy as np
import fastbp

def gradients(seed):
    net = fastbp.Network.random([64, 128, 128, 10], seed=seed)
    x, y = np.ones((64, 64)), np.zeros((10, 64))
    fastbp.set_num_threads(2)
    return net.loss_and_gradients(x, y)[1].flat

if __name__ == "__main__":
    here = [gradients(seed) for seed in range(4)]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        there = pool.map(gradients, range(4))
    assert all(np.array_equal(a, b) for a, b in zip(here, there, strict=True))
    print("right bits")
"""


@pytest.mark.parametrize("method", [pytest.param("fork", marks=HAS_FORK), "spawn"])
def test_pools_of_processes(tmp_path, method):
    script = tmp_path / "script.py"  # a file, since spawn imports it in the children
    script.write_text(POOL_OF_PROCESSES)
    program = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], {}, '__main__')"
    )
    assert run_program(program, str(script), method) == "right bits\n"


# ---- the number of threads ----


@pytest.fixture
def threads():
    """Set the number of threads; the old one comes back."""
    before = fastbp.get_num_threads()
    yield fastbp.set_num_threads
    fastbp.set_num_threads(before)


def one_problem(dtype: type = np.float64) -> tuple[fastbp.Network, np.ndarray, np.ndarray]:
    net = fastbp.Network.random(SIZES, dtype=dtype)
    random = np.random.default_rng(1)
    x = random.standard_normal((SIZES[0], BATCH)).astype(dtype)
    return net, x, random.standard_normal((SIZES[-1], BATCH)).astype(dtype)


def everything(net: fastbp.Network, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    loss, gradients = net.loss_and_gradients(x, y)
    quotients, _ = replay_entries(
        net, x, y, np.arange(0, net.parameters.size, 11),
        scheme="central", delta=1e-6, max_memory=2**30, progress=False,
    )  # fmt: skip
    return np.concatenate([[loss], gradients.flat, gradients.inputs.ravel(), quotients])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_bits_for_every_number_of_threads(dtype, threads):
    problem = one_problem(dtype)
    threads(1)
    expected = everything(*problem)
    for count in (2, 3, 4, 7):
        threads(count)
        for _ in range(3):
            np.testing.assert_array_equal(everything(*problem), expected)


def test_the_number_may_change_while_another_thread_computes(threads):
    problem = one_problem()
    threads(1)
    expected = everything(*problem)
    failures = []

    def compute() -> None:
        try:
            for _ in range(8):
                np.testing.assert_array_equal(everything(*problem), expected)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=compute) for _ in range(2)]
    for worker in workers:
        worker.start()
    count = 0
    while any(worker.is_alive() for worker in workers):
        count += 1
        threads(1 + count % 4)
        workers[0].join(0.002)
    for worker in workers:
        worker.join()
    assert not failures, failures
    assert count > 3


@pytest.mark.parametrize("layout", ["book", "keras"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_sample_has_the_same_bits_for_every_number_of_threads(dtype, layout, threads):
    """Partial sums are those of blocks of rows, whoever sums them."""
    net = fastbp.Network.random([700, 900, 500, 10], dtype=dtype, layout=layout)
    random = np.random.default_rng(2)
    x, y = random.standard_normal((700, 1)).astype(dtype), np.ones((10, 1), dtype)
    if layout == "keras":
        x, y = x.T, y.T
    threads(1)
    loss, expected = net.loss_and_gradients(x, y)
    for count in (2, 3):
        threads(count)
        for _ in range(5):
            again, found = net.loss_and_gradients(x, y)
            assert again == loss
            np.testing.assert_array_equal(found.flat, expected.flat)
            np.testing.assert_array_equal(found.inputs, expected.inputs)


def test_a_replay_has_the_same_bits_whatever_units_share_a_call(threads):
    """More threads take more units to one call, and share them otherwise."""
    net, x, y = one_problem()
    threads(1)
    expected = fastbp.finite_differences(net, x, y, progress=False)
    for count in (2, 3):
        threads(count)
        found = fastbp.finite_differences(net, x, y, progress=False)
        np.testing.assert_array_equal(found.flat, expected.flat)
        assert (found.kinks is None) == (expected.kinks is None)


# ---- helpers: kernels in Python show who comes and when ----

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


@HAS_FORK
def test_an_interpreter_ends_quietly_while_helpers_are_awake():
    done = subprocess.run(
        command(EXITS), env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.small
def test_the_number_is_what_was_set(threads):
    threads(3)
    assert fastbp.get_num_threads() == 3
    threads(1)
    assert fastbp.get_num_threads() == 1


@pytest.mark.small
@pytest.mark.parametrize("bad", [0, -1, 2.0, "2", None, True])
def test_a_senseless_number_is_refused_and_nothing_changes(bad, threads):
    threads(2)
    with pytest.raises(OptionError) as caught:
        fastbp.set_num_threads(bad)
    assert str(caught.value) == f"n must be an integer of at least 1, not {bad!r}."
    assert fastbp.get_num_threads() == 2


PRINT_NUMBER = "import fastbp; print(fastbp.get_num_threads())"


def test_the_environment_sets_the_number():
    assert run_program(PRINT_NUMBER, env=environment(FASTBP_NUM_THREADS="5")) == "5\n"


def test_the_default_is_what_the_process_may_use():
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    env = environment(FASTBP_NUM_THREADS=None)
    assert run_program(PRINT_NUMBER, env=env) == f"{count}\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_default_obeys_the_affinity():
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + PRINT_NUMBER
    assert run_program(program, env=environment(FASTBP_NUM_THREADS=None)) == "1\n"


REFUSED = """
import fastbp
try:
    fastbp.get_num_threads()
except ValueError as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("bad", ["0", "-2", ""])
def test_a_senseless_number_in_the_environment_is_named(bad):
    value = bad if bad == "0" else repr(bad)
    message = f"OptionError: FASTBP_NUM_THREADS must be an integer of at least 1, not {value}.\n"
    assert run_program(REFUSED, env=environment(FASTBP_NUM_THREADS=bad)) == message


def test_our_import_leaves_numbas_configuration_alone():
    program = """
    import numba
    before = (numba.get_num_threads(), numba.config.THREADING_LAYER, numba.config.NUMBA_NUM_THREADS)
    import fastbp
    net = fastbp.Network.random([2, 3, 1])
    fastbp.set_num_threads(1)
    after = (numba.get_num_threads(), numba.config.THREADING_LAYER, numba.config.NUMBA_NUM_THREADS)
    assert before == after, (before, after)
    """
    run_program(program)
