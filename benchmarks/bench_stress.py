"""The default check on extreme networks: many entries, wide, one sample and thousands.

Deep ones, and those of everyday size, are in ``bench_check.py``.
"""

from __future__ import annotations

import numpy as np

import fastbp

from . import common
from .clock import measured_in, seconds_per_call

# The first one is small: the tests run it.
NETWORKS = (
    "10-20-10", "2048^5-10", "4096^5-10", "65536-256-128-10", "784-512-512-10", "64-256-10000",
)  # fmt: skip


class Large:
    """A given gradient, all entries of it, beside the step that made it."""

    params = (list(NETWORKS), [16, 1, 4096])
    param_names = ("sizes", "batch")
    timeout = 600
    rounds = 1

    def setup(self, name: str, batch: int) -> None:
        common.skip_unless(batch == 16 or name == "784-512-512-10")
        loss = "softmax_cross_entropy" if name == "64-256-10000" else "least_squares"
        self.x, self.y = common.examples(name, batch)
        if loss == "softmax_cross_entropy":
            classes = common.layer_sizes(name)[-1]
            self.y = np.random.default_rng(0).integers(0, classes, batch)
        self.network = fastbp.Network(*common.parameters(name), loss=loss)
        _, self.given = self.network.loss_and_gradients(self.x, self.y, inputs=False)
        if not self.check():
            raise RuntimeError("A correct gradient did not pass.")

    def check(self) -> fastbp.Report:
        return fastbp.check_network(self.network, self.x, self.y, self.given, progress=False)

    def step(self) -> None:
        self.network.loss_and_gradients(self.x, self.y, out=self.given, inputs=False)

    def time_check(self, *_: object) -> None:
        self.check()

    @measured_in("steps", "A check of a large network in steps of our own")
    def track_check_in_steps(self, *_: object) -> float:
        return seconds_per_call(self.check, rounds=3) / seconds_per_call(self.step, rounds=3)

    def peakmem_check(self, *_: object) -> None:
        self.check()
