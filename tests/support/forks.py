"""Commands in processes of their own that need not import everything anew.

One process imports and prepares, and forks for every command. What a command changes, prints and
returns is that of a process of its own; what it does while it starts is not, and is left to
`subprocess`.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

SERVER = """
import gc, json, os, runpy, socket, sys, warnings

exec(sys.argv[2])
gc.freeze()  # at its end, a fork would look at all that was imported: 0.6 s instead of 0.15 s
line = socket.socket(fileno=int(sys.argv[1]))
line.send(b"ready")
while True:
    message, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 2)
    if not message:
        sys.exit()
    with warnings.catch_warnings(action="ignore"):  # Python 3.12 minds the threads of OpenBLAS
        child = os.fork()
    if child == 0:
        break
    for descriptor in descriptors:
        os.close(descriptor)
    line.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
line.close()
for standard, descriptor in enumerate(descriptors, 1):
    os.dup2(descriptor, standard)
    os.close(descriptor)
request = json.loads(message)
os.environ.clear()
os.environ.update(request["environment"])
os.chdir(request["folder"])
sys.argv = [request["module"], *request["arguments"]]
runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
"""


class ForkingServer:
    """A process that has run a program, and then runs modules in forks of itself."""

    def __init__(self, prepare: str) -> None:
        self._prepare = prepare
        self._line: socket.socket | None = None

    def _started(self) -> socket.socket:
        if self._line is None:
            self._line, theirs = socket.socketpair()
            with theirs:
                number = theirs.fileno()
                program = [SERVER, str(number), textwrap.dedent(self._prepare)]
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", *program],
                    pass_fds=[number], stdin=subprocess.DEVNULL,
                )  # fmt: skip
            atexit.register(self._end, self._line, process)
            assert self._line.recv(5) == b"ready"  # kernels may have had to be compiled
            self._line.settimeout(120)
        return self._line

    @staticmethod
    def _end(line: socket.socket, process: subprocess.Popen[bytes]) -> None:
        line.close()
        process.kill()
        process.wait()

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module as ``python -m`` does; return what `subprocess.run` returns."""
        request: dict[str, Any] = {
            "module": module, "arguments": arguments, "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }  # fmt: skip
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            line = self._started()
            files = [out.fileno(), errors.fileno()]
            socket.send_fds(line, [json.dumps(request).encode()], files)
            code = int(line.recv(16))
            out.seek(0)
            errors.seek(0)
            texts = [file.read().decode() for file in (out, errors)]
        return subprocess.CompletedProcess([module, *arguments], code, *texts)
