"""The mistakes of the gallery: planted as ``fastbp demo MISTAKE`` does, checked and shown."""

from __future__ import annotations

import numpy as np

import fastbp
from fastbp.network.checks.diagnosis.planted_mistakes import planted_gradients

__all__ = ["show"]


def show(name: str) -> None:
    """Print and draw the report of a backward pass in which a mistake was planted.

    Parameters
    ----------
    name : str
        One of those that ``fastbp demo list`` names.
    """
    net = fastbp.Network.random(
        [5, 7, 7, 4], seed=1, loss="softmax_cross_entropy", reduction="mean", weight_decay=0.01
    )
    random = np.random.default_rng(1)
    x, y = random.standard_normal((5, 6)), random.integers(4, size=6)
    gradients = planted_gradients(name, net, x, y)
    report = fastbp.check_network(net, x, y, gradients, method="replay")
    print(report)
    report.plot()
