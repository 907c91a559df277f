"""The progress bar, on a real pseudo-terminal and on plain files."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastbp
from fastbp.errors import OptionError
from fastbp.runtime import progress
from fastbp.runtime.progress import compilation_line, progress_bar, said_while_compiling

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX")
import os  # noqa: E402

pytestmark = pytest.mark.small

WORK = """
import time
from fastbp.runtime.progress import progress_bar
{patience}
with progress_bar({progress}, 8, "replay") as advance:
    for _ in range(8):
        advance(1)
        time.sleep({pause})
print("done")
"""
# Where no bar may appear, a fifth of the patience shows it as well as the whole second does.
LESS_PATIENCE = "import fastbp.runtime.progress\nfastbp.runtime.progress.PATIENCE_SECONDS = 0.2"


def work(progress: bool | None, pause: float, patience: str = "") -> str:
    return WORK.format(progress=progress, pause=pause, patience=patience)


def patient_work(progress: bool | None) -> str:
    """Work that takes twice as long as the bar waits."""
    return work(progress, 0.05, LESS_PATIENCE)


def on_a_terminal(code: str) -> tuple[str, str]:
    """Run Python with stderr on a pseudo-terminal; return stdout and what the terminal got."""
    controller, terminal = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TTY_COMPATIBLE")}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(terminal)
    shown: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(controller, shown))
    reader.start()
    stdout, _ = process.communicate(timeout=60)
    reader.join()
    os.close(controller)
    assert process.returncode == 0, b"".join(shown).decode()
    return stdout, b"".join(shown).decode()


def read_all(controller: int, shown: list[bytes]) -> None:
    while True:
        try:
            data = os.read(controller, 4096)
        except OSError:  # Linux reports the closed terminal so
            return
        if not data:
            return
        shown.append(data)


def on_a_pipe(code: str) -> tuple[str, str]:
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return process.stdout, process.stderr


def test_a_bar_appears_on_a_terminal_after_a_second():
    stdout, shown = on_a_terminal(work(None, 0.2))
    assert stdout == "done\n"
    assert "replay" in shown
    assert re.search(r"[678]/8", shown)


def test_a_bar_appears_on_a_terminal_after_less_patience_where_that_is_set():
    assert "replay" in on_a_terminal(patient_work(None))[1]


def test_no_bar_on_a_terminal_for_what_is_over_at_once():
    assert on_a_terminal(work(None, 0)) == ("done\n", "")


def test_no_bar_on_a_pipe_however_long_it_takes():
    assert on_a_pipe(patient_work(None)) == ("done\n", "")


@pytest.mark.parametrize("run", [on_a_terminal, on_a_pipe])
def test_true_shows_a_bar_everywhere_and_at_once(run):
    stdout, shown = run(work(True, 0))
    assert stdout == "done\n"
    assert "replay" in shown
    assert "8/8" in shown


@pytest.mark.parametrize("run", [on_a_terminal, on_a_pipe])
def test_false_never_shows_one(run):
    assert run(patient_work(False)) == ("done\n", "")


COMPILATION = """
import time
from fastbp.runtime.progress import compilation_line, progress_bar, said_while_compiling
{patience}
with {around}, compilation_line():
    time.sleep(0.4)
print("done")
"""


def compilation(around: str) -> str:
    """Kernels that compile for twice as long as a line waits."""
    return COMPILATION.format(around=around, patience=LESS_PATIENCE)


@pytest.mark.parametrize(
    "around", ["said_while_compiling(None)", "progress_bar(None, 8, 'replay')"]
)
def test_a_compilation_is_said_on_a_terminal(around):
    stdout, shown = on_a_terminal(compilation(around))
    assert stdout == "done\n"
    assert "compiling kernels" in shown
    assert ("replay, compiling" in shown) == ("replay" in around)


@pytest.mark.parametrize("around", ["said_while_compiling(False)", "progress_bar(False, 8, 'x')"])
def test_a_compilation_is_not_said_where_no_bar_may_be(around):
    assert on_a_terminal(compilation(around)) == ("done\n", "")


def test_the_innermost_check_decides_whether_a_compilation_is_said(monkeypatch):
    monkeypatch.setattr(progress, "_is_shown", lambda option: option is not False)
    with said_while_compiling(None), said_while_compiling(False):
        with said_while_compiling(None):
            assert not isinstance(compilation_line(), contextlib.nullcontext)
        assert isinstance(compilation_line(), contextlib.nullcontext)
    assert progress._running == []


def test_checks_of_several_threads_end_in_any_order(monkeypatch):
    monkeypatch.setattr(progress, "_is_shown", lambda option: option is not False)
    first, second, third = (said_while_compiling(option) for option in (False, None, False))
    for check in (first, second, third):
        check.__enter__()
    first.__exit__(None, None, None)
    assert isinstance(compilation_line(), contextlib.nullcontext)
    third.__exit__(None, None, None)
    third.__exit__(None, None, None)  # as after an interrupt before it was entered
    assert not isinstance(compilation_line(), contextlib.nullcontext)
    second.__exit__(None, None, None)
    assert progress._running == []


def test_without_a_thread_for_the_bar_there_is_none(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(progress, "_is_shown", lambda option: option is not False)
    monkeypatch.setattr(threading.Timer, "start", start)
    with progress_bar(None, 2, "work") as advance:
        advance(2)
    with compilation_line():
        pass


@pytest.mark.parametrize("call", ["finite_differences", "check_network"])
def test_no_part_of_a_call_says_a_compilation_if_it_shows_no_bar(monkeypatch, call):
    monkeypatch.setattr(progress, "_is_shown", lambda option: option is not False)
    silent = []

    def value(output, y):
        silent.append(isinstance(compilation_line(), contextlib.nullcontext))
        return float(np.sum((output - y) ** 2))

    def gradient(output, y):
        silent.append(isinstance(compilation_line(), contextlib.nullcontext))
        return 2 * (output - y)

    net = fastbp.Network.random([2, 3, 1], loss=(value, gradient))
    getattr(fastbp, call)(net, np.ones((2, 2)), np.ones((1, 2)), method="replay", progress=False)
    assert all(silent)
    assert silent


def test_a_compilation_is_said_in_a_log_only_on_request():
    assert on_a_pipe(compilation("said_while_compiling(None)")) == ("done\n", "")
    stdout, shown = on_a_pipe(compilation("said_while_compiling(True)"))
    assert stdout == "done\n"
    assert shown.startswith("compiling kernels")
    assert shown.count("\n") == 1


INTERRUPTED = """
from fastbp.runtime.progress import progress_bar
try:
    with progress_bar(True, 8, "replay") as advance:
        advance(3)
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("stopped")
"""


def test_an_interrupt_leaves_the_terminal_in_order():
    stdout, shown = on_a_terminal(INTERRUPTED)
    assert stdout == "stopped\n"
    assert "3/8" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")  # the cursor is back


def test_every_thread_may_report(capsys):
    def report() -> None:
        for _ in range(100):
            advance(1)

    with progress_bar(True, 400, "threads") as advance:
        threads = [threading.Thread(target=report) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "400/400" in capsys.readouterr().err


def test_a_process_without_stderr_has_no_bar():
    code = "import sys; sys.stderr = None\n" + patient_work(None)
    assert on_a_pipe(code) == ("done\n", "")


@pytest.mark.parametrize("progress", ["yes", 1, 0.0, ()])
def test_anything_else_is_refused_before_the_work_begins(progress):
    with pytest.raises(OptionError) as caught:
        progress_bar(progress, 1, "work")
    assert str(caught.value) == f"progress must be None, True or False, not {progress!r}."


def test_rich_is_imported_only_for_a_bar():
    code = (
        "import sys\nfrom fastbp.runtime.progress import progress_bar\n"
        "with progress_bar(False, 1, 'x') as advance: advance(1)\n"
        "print([name for name in sys.modules if name.startswith('rich')])"
    )
    assert on_a_pipe(code)[0] == "[]\n"


class Recorded:
    """A surface that remembers what it was told."""

    made: list[Recorded]

    def __init__(self, description: str, *, stays: bool) -> None:
        self.said = [description if stays else f"for now: {description}"]
        self.made.append(self)

    def describe(self, description: str) -> None:
        self.said.append(description)

    def update(self, done: int, total: int | None) -> None:
        self.said.append(f"{done}/{total}")

    def stop(self, done: int, total: int | None) -> None:
        self.said.append(f"ended at {done}/{total}")


def test_a_bar_that_was_begun_goes_on_as_that_of_the_check(monkeypatch):
    monkeypatch.setattr(Recorded, "made", [], raising=False)
    monkeypatch.setattr(progress, "_StderrBar", Recorded)
    with progress.outer_progress_bar(True, "layers") as begun:
        begun(2)
        with progress_bar(False, 3, "silent") as silent:
            silent(1)
        with progress_bar(True, 5, "evaluations") as check:
            check(4)
        begun(1)  # too late: it has ended
        with progress_bar(True, 1, "another"):
            pass
    assert [surface.said for surface in Recorded.made] == [
        ["layers", "0/None", "2/None", "0/5", "evaluations", "4/5", "ended at 4/5"],
        ["another", "0/1", "ended at 0/1"],
    ]
    assert progress._running == []


DOORS = {
    "check_gradient": (lambda x: float(np.sum(np.sin(x))), (np.cos,)),
    "check_vjp": (np.sin, (lambda x, w: np.cos(x) * w,)),
    "check_jvp": (np.sin, (lambda x, v: np.cos(x) * v,)),
    "check_jacobian": (np.sin, (lambda x: np.diag(np.cos(x)),)),
    "check_hessian": (np.cos, (lambda x: -np.diag(np.sin(x)),)),
    "check_hvp": (np.cos, (lambda x, v: -np.sin(x) * v,)),
    "taylor_test": (lambda x: float(np.sum(np.sin(x))), (np.cos,)),
    "numerical_gradient": (lambda x: float(np.sum(np.sin(x))), ()),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_bar_is_there_while_the_function_is_evaluated_the_first_time(monkeypatch, door):
    monkeypatch.setattr(progress, "_is_shown", lambda option: option is not False)
    function, given = DOORS[door]
    begun = []

    def f(x):
        begun.append(any(isinstance(bar, progress._Bar) for bar in progress._running))
        return function(x)

    getattr(fastbp, door)(f, *given, np.linspace(0.3, 1.1, 4))
    assert begun
    assert all(begun)
