"""The number of threads: what was set, what the environment says, what is refused."""

from __future__ import annotations

import os

import pytest
from support.processes import environment, run_program

import fastbp
from fastbp.errors import OptionError


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


@pytest.mark.long
@pytest.mark.parametrize("bad", ["0", "-2", ""])
def test_a_senseless_number_in_the_environment_is_named(bad):
    value = bad if bad == "0" else repr(bad)
    message = f"OptionError: FASTBP_NUM_THREADS must be an integer of at least 1, not {value}.\n"
    assert run_program(REFUSED, env=environment(FASTBP_NUM_THREADS=bad)) == message


@pytest.mark.long
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
