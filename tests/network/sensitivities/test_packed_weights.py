"""The way back through weights with columns far apart, packed for s and its noise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from fastbp.kernels.products.matmul import DEPTH
from fastbp.kernels.simd.vectors import MR

import fastbp
from fastbp.network.batch import Batch
from fastbp.network.sensitivities.sweeps import Sweeps


@pytest.mark.processor
@pytest.mark.parametrize("batch", [1, 5, 70])
def test_sensitivities_of_whole_numbers_are_exact_and_noise_is_alike_in_both_layouts(batch, rng):
    sizes = [3, DEPTH + MR + 3, DEPTH + 44, 2]  # more rows, and columns, than one pass takes
    weights = [rng.integers(-2, 3, (o, i)) * 1.0 for i, o in pairwise(sizes)]
    x, y = rng.integers(-2, 3, (3, batch)) * 1.0, rng.integers(-2, 3, (2, batch)) * 1.0
    found = []
    for layout in ("book", "keras"):
        keras = layout == "keras"
        own = [w.T.copy() for w in weights] if keras else weights
        net = fastbp.Network(own, layout=layout, reduction="sum")
        data = Batch(x.T.copy(), y.T.copy(), 1) if keras else Batch(x, y, 0)
        sweeps = Sweeps(net, data, roundoff=2.0**-53, directions=1, seed=0, max_memory=2**30)
        sweeps.forward()
        sweeps.reverse()
        found.append(sweeps)
    levels = [x]
    for k, weight in enumerate(weights):
        f = weight @ levels[-1]
        levels.append(np.maximum(f, 0.0) if k < 2 else f)
    s = 2.0 * (levels[-1] - y)
    for k in (2, 1, 0):
        for sweeps in found:
            np.testing.assert_array_equal(sweeps.sensitivity(k), s)
        if k:
            s = np.where(levels[k] > 0, weights[k].T @ s, 0.0)
    np.testing.assert_allclose(found[0].z_sizes, found[1].z_sizes, rtol=1e-12, atol=0.0)
