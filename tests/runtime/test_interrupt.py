"""Ctrl-C: it arrives within a second whatever the size, and the library works afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from support.processes import command, environment

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="a process cannot send Ctrl-C to one child alone"
)
# The promise, on a machine that has its cores free; a busy one is given as much more time as it
# has more work than cores, and a worker of pytest-xdist shares the cores with the others.
SECONDS = 1.0

PROGRAM = """
import sys, time
import numpy as np
import fastbp

small = fastbp.Network.random([64, 128, 128, 10])
random = np.random.default_rng(0)
small_x, small_y = random.standard_normal((64, 64)), random.standard_normal((10, 64))

def everything_small():
    loss, gradients = small.loss_and_gradients(small_x, small_y)
    few = fastbp.Network.random([9, 16, 4])
    quotients = fastbp.finite_differences(few, small_x[:9], small_y[:4])
    return np.concatenate([[loss], gradients.flat, gradients.inputs.ravel(), quotients.flat])

expected = everything_small()  # compiles, too
sizes, batch = {sizes}, {batch}
net = fastbp.Network.random(sizes, dtype=np.{dtype})
x = random.standard_normal((sizes[0], batch)).astype(net.dtype)
y = random.standard_normal((sizes[-1], batch)).astype(net.dtype)
before = net.parameters.copy(), x.copy(), y.copy()
fastbp.set_num_threads({threads})

def work():
    {work}

for _ in range({times}):
    print("begins", flush=True)
    try:
        work()
        print("ended before the signal", flush=True)
        sys.exit(3)
    except KeyboardInterrupt:
        arrived = time.monotonic()
    print(arrived, flush=True)
    # No thread goes on with what was interrupted.
    used = time.process_time()
    time.sleep(0.25)
    assert time.process_time() - used < 0.1, time.process_time() - used
    assert np.array_equal(everything_small(), expected)
assert all(map(np.array_equal, before, (net.parameters, x, y)))
print("right bits", flush=True)
"""
REPLAY = "fastbp.finite_differences(net, x, y, method='replay')"
EXACT = "fastbp.finite_differences(net, x, y)"
GRADIENTS = "net.loss_and_gradients(x, y)"
CHECK = "fastbp.check_network(net, x, y, method='replay')"


def load_of_the_machine() -> float:
    """Threads that want to run, by the cores that we may use; at least the workers, or 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    return max(1.0, workers, os.getloadavg()[0] / cores)


def interrupt(wait: float, times: int = 1, **values: object) -> list[float]:
    """Start some work, send SIGINT a while after it began; returns how long each one took."""
    defaults = {"dtype": "float64", "threads": 2, "times": times}
    program = PROGRAM.format(**(defaults | values))
    process = subprocess.Popen(
        command(program),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    delays = []
    try:
        for _ in range(times):
            assert process.stdout.readline() == "begins\n", process.communicate()[1]
            time.sleep(wait)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            delays.append(float(process.stdout.readline()) - sent)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (rest, process.returncode) == ("right bits\n", 0), errors
    return delays


def assert_prompt(delays: list[float]) -> None:
    assert max(delays) < SECONDS * load_of_the_machine(), delays


@pytest.mark.parametrize("work", [REPLAY, pytest.param(CHECK, marks=pytest.mark.long)])
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_long_replay(work, threads):
    # 530 442 entries, some minutes of work.
    sizes = [512, 512, 512, 10]
    assert_prompt(interrupt(0.5, times=2, sizes=sizes, batch=128, threads=threads, work=work))


@pytest.mark.long
def test_exact_differences():
    # 1e11 operations, again and again; the kernel itself stops, not only the loop.
    sizes, work = [512, 512, 512, 512, 10], f"while True: {EXACT}"
    assert_prompt(interrupt(0.4, times=2, sizes=sizes, batch=1024, work=work))


@pytest.mark.long
def test_a_replay_of_few_but_huge_entries():
    # One entry of the first layer alone is 7e10 operations: about a second.
    assert_prompt(interrupt(9.0, sizes=[2048] * 5, batch=2048, dtype="float32", work=REPLAY))


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 2])
def test_one_huge_forward_and_backward_pass(threads):
    # 6 * 4 * 2048^2 * 4096 = 4e11 operations, in 0.9 GB.
    delays = interrupt(0.5, times=2, sizes=[2048] * 5, batch=4096, threads=threads, work=GRADIENTS)
    assert_prompt(delays)


@pytest.mark.long
def test_one_huge_forward_pass():
    delays = interrupt(0.4, sizes=[2048] * 5, batch=4096, work="net.forward(x); net.forward(x)")
    assert_prompt(delays)


@pytest.mark.long
def test_narrow_layers_and_a_long_batch():
    # Products as deep as the batch is long, and passes that are bound by memory.
    for wait in (0.2, 0.5):
        work = f"for _ in range(100): {GRADIENTS}"
        delays = interrupt(wait, sizes=[8, 32, 32, 2], batch=500_000, dtype="float32", work=work)
        assert_prompt(delays)


@pytest.mark.long
def test_many_interrupts_one_after_the_other():
    """At any moment, also while threads are being started: none goes on, none is lost."""
    work = f"while True: {GRADIENTS}"
    assert_prompt(interrupt(0.01, times=6, sizes=[784, 512, 512, 10], batch=512, work=work))


WORKERS = """
import os, sys, time
import numpy as np
import psutil
import fastbp

log, where, group = sys.argv[1:]

def f(x):
    with open(log, "a") as file:
        file.write(str(os.getpid()) + chr(10))
    time.sleep(0.05)
    return float(np.sum(x**2))

def work():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    print("begins", flush=True)
    try:
        fastbp.numerical_gradient(f, np.ones(100_000), workers=2)
    except KeyboardInterrupt:
        arrived = time.monotonic()
    print(arrived, flush=True)
    # Nobody goes on with what was interrupted: a cluster's workers may finish one evaluation.
    deadline, calls = time.monotonic() + 10, -1
    while calls != os.path.getsize(log):
        assert time.monotonic() < deadline
        calls = os.path.getsize(log)
        time.sleep(0.3)
    # joblib keeps one process that tidies up behind the others.
    children = [
        child for child in psutil.Process().children(recursive=True)
        if child.pid not in before and child.status() != psutil.STATUS_ZOMBIE
        and "resource_tracker" not in " ".join(child.cmdline())
    ]
    if where == "cluster" and group == "group":
        return  # the workers of the cluster got the signal too, and Dask lets them go
    assert not children, children
    found = fastbp.numerical_gradient(f, np.ones(4), workers=2)
    assert np.all(np.abs(found.value - 2) <= found.error_bar)

if __name__ == "__main__":
    if where == "cluster":
        import distributed, joblib
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config("dask"),
        ):
            work()
    else:
        work()
    print("works afterwards", flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("whom", ["process", "group"])
@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_workers_are_left_without_work_and_processes_end(where, whom, tmp_path):
    """As from a terminal, where every process of the group gets the signal, and to one alone."""
    pytest.importorskip("distributed")
    log = tmp_path / "calls"
    program = tmp_path / "program.py"
    program.write_text(WORKERS)
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(log), where, whom],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "begins\n", process.communicate()[1]
        while len(set(log.read_text().split()) if log.exists() else ()) < 3:
            time.sleep(0.05)  # until both workers are at it, beside the process itself
        sent = time.monotonic()
        if whom == "group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        delay = float(process.stdout.readline()) - sent
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (rest, process.returncode) == ("works afterwards\n", 0), errors
    assert_prompt([delay])
    assert not still_there(process.pid)


def still_there(session):
    """The processes of a session; they have some seconds to end."""
    import psutil

    def members():
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == session and process.status() != "zombie":
                    found.append(process.cmdline())
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    deadline = time.monotonic() + 10
    while members() and time.monotonic() < deadline:
        time.sleep(0.1)
    return members()


COMPILED = """
import time, sys
import numpy as np
import numba
import fastbp

@numba.njit
def f(x):
    total = 0.0
    for _ in range({rounds}):
        for i in range(x.size):
            total += np.sin(x[i] + total)
    return total

fastbp.set_num_threads({threads})
small = fastbp.numerical_gradient(f, np.ones(2)).value  # compiles
at = np.linspace(0.1, 1.0, 2000)
before = at.copy()
print("begins", flush=True)
try:
    while True:
        fastbp.numerical_gradient(f, at)
except KeyboardInterrupt:
    arrived = time.monotonic()
print(arrived, flush=True)
used = time.process_time()
time.sleep(0.25)
assert time.process_time() - used < 0.1, time.process_time() - used
assert np.array_equal(at, before)
assert np.array_equal(fastbp.numerical_gradient(f, np.ones(2)).value, small)
print("right bits", flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rounds", [1, 1000])  # an evaluation takes some 50 us, and some 0.1 s
def test_the_loop_over_a_compiled_function(rounds, threads):
    process = subprocess.Popen(
        command(COMPILED.format(rounds=rounds, threads=threads)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "begins\n", process.communicate()[1]
        time.sleep(0.15 if rounds == 1 else 1.0)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        delay = float(process.stdout.readline()) - sent
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (rest, process.returncode) == ("right bits\n", 0), errors
    assert_prompt([delay])
