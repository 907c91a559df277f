"""How long a user waits before anything happens: the import, and the first call of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import ClassVar

from .clock import measured_in, seconds_of

FIRST_CALLS = {
    "loss_and_gradients": "net.loss_and_gradients(x, y)",
    "check_network": "assert fastbp.check_network(net, x, y)",
    "check_network by replay": "assert fastbp.check_network(net, x, y, method='replay')",
    "check_gradient": "assert fastbp.check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, x)",
    "demo": "import fastbp.cli; assert fastbp.cli.main(['demo']) == 0",
}

PROGRAM = """
import numpy as np, fastbp
rng = np.random.default_rng(0)
net = fastbp.Network.random([10, 32, 32, 10], seed=0)
x, y = rng.standard_normal((2, 10, 16))
{call}
"""


class Import:
    """The import in a fresh process, beside that of what it stands on."""

    def timeraw_fastbp_alone(self) -> str:
        return "import fastbp"  # its rooms are imported as they are used

    def timeraw_fastbp_every_name(self) -> str:
        return "import fastbp; [getattr(fastbp, name) for name in fastbp.__all__]"

    def timeraw_yardstick_numba(self) -> str:
        return "import numba"

    def timeraw_yardstick_numpy(self) -> str:
        return "import numpy"


class FirstCall:
    """A whole process from start to end, with an empty and with a filled kernel cache."""

    params = (list(FIRST_CALLS),)
    param_names = ("call",)
    timeout = 300
    program: ClassVar[str] = PROGRAM

    def setup(self, call: str) -> None:
        self.source = self.program.format(call=FIRST_CALLS[call])

    def run_process(self, **variables: str) -> None:
        # -P: the working directory must not hide the installed fastbp.
        command = [sys.executable, "-P", "-c", self.source]
        subprocess.run(command, check=True, env=os.environ | variables)

    @measured_in("seconds", "First call, kernels not compiled yet")
    def track_cold_cache(self, *_: object) -> float:
        with tempfile.TemporaryDirectory() as empty:
            return seconds_of(lambda: self.run_process(NUMBA_CACHE_DIR=empty))

    @measured_in("seconds", "First call, kernels on disk")
    def track_warm_cache(self, *_: object) -> float:
        self.run_process()
        return min(seconds_of(self.run_process) for _ in range(3))
