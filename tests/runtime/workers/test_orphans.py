"""A process that is killed takes its workers with it, and what they laid down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import environment

psutil = pytest.importorskip("psutil")
pytest.importorskip("joblib")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

PROGRAM = """
import sys, time
import numpy as np
import fastbp

table = np.ones(100_000)  # so large that workers read it from a file

def f(x, table=table):
    open(sys.argv[1], "a").write("called ")
    time.sleep(0.01)
    return float(x @ x) * table[0]

if __name__ == "__main__":
    fastbp.check_gradient(f, 2 * np.ones(3000), np.ones(3000), method="{method}", workers=2)
"""


def members(session: int) -> list[list[str]]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def eventually(condition, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("when", ["as soon as they are started", "while they compute"])
def test_no_worker_and_no_file_is_left(sent: signal.Signals, when: str, tmp_path: Path) -> None:
    scratch, calls = tmp_path / "scratch", tmp_path / "calls"
    scratch.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(method="every"))
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(calls)],
        env=environment() | {"TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.exists() else set()
    try:
        workers = psutil.Process(process.pid)
        assert eventually(lambda: len(workers.children(recursive=True)) >= 3)
        if when == "while they compute":
            assert eventually(lambda: calls.exists() and calls.stat().st_size > 200)
        process.send_signal(sent)
        process.wait(timeout=60)
        assert eventually(lambda: not members(process.pid), 30), members(process.pid)
        assert not list(scratch.glob("fastbp-*"))
        own = set(shared.glob(f"*{process.pid}*")) if shared.exists() else set()
        assert not own - before
    finally:
        process.kill()
        process.wait()
