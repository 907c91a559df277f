"""Exact differences: one for every unit and sample, beside one training step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

import fastbp

from . import common
from .clock import measured_in, seconds_per_call


class Exact:
    """The numerical gradient by every parameter."""

    params = (
        ["1-6^5-1", "64-128-128-10", "784-512-512-10", "784-512^5-10", "784-64^200-10"],
        [1, 64],
        ["book", "keras"],
    )
    param_names = ("sizes", "batch", "layout")

    def setup(self, sizes: str, batch: int, layout: str) -> None:
        weights, biases = common.parameters(sizes)
        x, y = common.examples(sizes, batch)
        if layout == "keras":
            weights, biases = [w.T for w in weights], [b.ravel() for b in biases]
            x, y = x.T, y.T
        self.network, self.x, self.y = fastbp.Network(weights, biases, layout=layout), x, y
        self.differences()

    def differences(self) -> fastbp.Differences:
        return fastbp.finite_differences(
            self.network, self.x, self.y, method="exact", progress=False
        )

    def time_all_entries(self, *_: object) -> None:
        self.differences()

    def time_yardstick_step(self, *_: object) -> None:
        self.network.loss_and_gradients(self.x, self.y, inputs=False)


class ExactProducts:
    """Useful operations per second: rows and columns of active units only, all else in the time."""

    params = (["8-16^3-4", "100-1024^4"], [8, 64])
    param_names = ("sizes", "batch")

    def setup(self, sizes: str, batch: int) -> None:
        weights, biases = common.parameters(sizes)
        self.x, self.y = common.examples(sizes, batch)
        self.network = fastbp.Network(weights, biases)
        self.operations = useful_operations(self.network, self.x)

    @measured_in("flop/s", "Useful operations of exact differences")
    def track_useful_operations(self, *_: object) -> float:
        return self.operations / seconds_per_call(
            lambda: fastbp.finite_differences(
                self.network, self.x, self.y, method="exact", progress=False
            ),
            rounds=3,
        )


def useful_operations(network: fastbp.Network, x: common.Array) -> float:
    """Two for each active row, active column and unit below, by sample and layer."""
    forward = network.forward(x)
    active = [np.count_nonzero(h, axis=0) for h in forward.activations[1:]]
    active.append(np.full(x.shape[1], network.sizes[-1]))
    below = np.zeros(x.shape[1])
    operations = 0.0
    for inputs, outputs in pairwise(active):
        operations += float(np.sum(2.0 * below * inputs * outputs))
        below += inputs
    return operations
