"""The comparison of tiles: a tile that is corrupted is caught."""

from __future__ import annotations

import numpy as np
from fastbp.kernels.comparison.summary_columns import PROOF
from support.swept_networks import swept

import fastbp
from fastbp.network.given_gradients import given_gradients
from fastbp.network.network import require_batch


def test_a_corrupted_tile_is_caught():
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([40, 30, 20], seed=0)
    x, y = rng.standard_normal((40, 9)), rng.standard_normal((20, 9))
    own = given_gradients(net, require_batch(net, x, y), None)
    for seed in range(50):
        sweeps, tiles = swept(net, x, y, seed)
        run = tiles._run
        wrong = np.random.default_rng(seed).integers([30, 9]) @ [sweeps.pitch, 1]

        def in_two_calls(schedule, table, packed, *others, run=run, place=wrong, **options):
            run(schedule[:2], table, packed, *others, **options)
            left = packed[0]
            left[place] += 1e-8 * (1 + np.abs(left[place]))
            run([(*phase[:4], 0) for phase in schedule[2:]], table, packed, *others, **options)

        tiles._run = in_two_calls
        found = tiles.compare([0, 1], own.flat, list(net.shapes.weight_offsets), [1.0, 1.0])
        assert found.tables[0][:, PROOF].max() > 1, seed
        assert found.tables[1][:, PROOF].max() == 0
