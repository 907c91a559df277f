"""Threads and processes: the right bits, in threads, after forks, in pools."""

from __future__ import annotations

import os

import pytest
from support.processes import environment, run_program
from support.thread_problems import COMMON

HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
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


@pytest.mark.parametrize(
    "layer",
    [*(pytest.param(layer, marks=pytest.mark.long) for layer in ("omp", "workqueue")), None],
)
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("method", [pytest.param("fork", marks=HAS_FORK), "spawn"])
def test_pools_of_processes(tmp_path, method):
    script = tmp_path / "script.py"  # a file, since spawn imports it in the children
    script.write_text(POOL_OF_PROCESSES)
    program = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], {}, '__main__')"
    )
    assert run_program(program, str(script), method) == "right bits\n"
