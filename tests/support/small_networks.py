"""Small networks with data, and the rows of their reports."""

from __future__ import annotations

import numpy as np

import fastbp

SIZES = (3, 5, 4, 2)
BATCH = 6


def example(dtype=np.float64, layout="book", seed=3, **options):
    """A small network and data of its dtype and layout."""
    net = fastbp.Network.random(SIZES, seed=seed, dtype=dtype, layout=layout, **options)
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((3, BATCH)), rng.standard_normal((2, BATCH))
    if layout != "book":
        x, y = x.T, y.T
    return net, np.ascontiguousarray(x, dtype), np.ascontiguousarray(y, dtype)


def rows(report):
    return {row.name: row for row in report.arrays}
