"""Networks with the sweeps of their sensitivities."""

from __future__ import annotations

from fastbp.network.checks.tile_comparison import Tiles
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.certificate import judge_sweeps
from fastbp.network.sensitivities.hull import hull_of
from fastbp.network.sensitivities.sweeps import Sweeps
from fastbp.verdict.tolerance import Tolerance

UNIT = 2.0**-53


def swept(net, x, y, seed=0):
    batch = require_batch(net, x, y)
    sweeps = Sweeps(net, batch, roundoff=UNIT, directions=2, seed=seed, max_memory=2**30)
    sweeps.forward()
    sweeps.reverse()
    sweeps.prove()
    assert judge_sweeps(sweeps).problem == ""
    tiles = Tiles(sweeps, hull_of(sweeps), roundoff=UNIT, tolerance=Tolerance(0.0, 0.0))
    return sweeps, tiles
