"""The default check on extreme networks: many entries, wide, one sample and thousands.

Deep ones, and those of everyday size, are in ``bench_check.py``.
"""

from __future__ import annotations

import numpy as np

import fastbp

from . import common
from .clock import seconds_per_call

NETWORKS = [
    ("10-20-10", 8, "least_squares"),  # small: the tests run the first of each list
    ("4096^5-10", 16, "least_squares"),
    ("65536-256-128-10", 32, "least_squares"),
    ("784-512-512-10", 1, "least_squares"),
    ("784-512-512-10", 4096, "least_squares"),
    ("64-256-10000", 48, "softmax_cross_entropy"),
]


class Large:
    """A given gradient, all entries of it, beside the step that made it."""

    params = (NETWORKS,)
    param_names = ("network",)
    timeout = 600
    rounds = 1

    def setup(self, network: tuple[str, int, str]) -> None:
        name, batch, loss = network
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

    def track_check_in_steps(self, *_: object) -> float:
        return seconds_per_call(self.check, rounds=3) / seconds_per_call(self.step, rounds=3)

    def peakmem_check(self, *_: object) -> None:
        self.check()
