"""A process that times what it is asked for, one line of words at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence


class TimingProcess:
    """A process that runs a module of this package, which ends with `answer_requests`.

    Parameters
    ----------
    module : str
    arguments : sequence of str
    **environment : str
        Variables beside those of this process.
    """

    def __init__(self, module: str, arguments: Sequence[str] = (), **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, *request: object) -> float:
        """Let it time one thing."""
        requests, answers = self._process.stdin, self._process.stdout
        print(*request, file=requests, flush=True)
        line = "" if answers is None else answers.readline()
        if not line:
            named = ", ".join(map(str, request))
            raise RuntimeError(f"the process that times {named} has ended.")
        return float(line)

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def answer_requests(seconds: Callable[..., float]) -> None:
    """Read requests from standard input, and write the seconds of each."""
    for line in sys.stdin:
        print(seconds(*line.split()), flush=True)
