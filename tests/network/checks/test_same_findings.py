"""The same findings, whatever the threads, the layout and the memory."""

from __future__ import annotations

import numpy as np
import pytest
from fastbp.kernels.comparison.summary_columns import WRONG
from support.swept_networks import swept

import fastbp
from fastbp.network.given_gradients import given_gradients
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.sweeps import Sweeps

UNIT = 2.0**-53


def test_the_bits_do_not_depend_on_the_threads():
    rng = np.random.default_rng(0)
    before = fastbp.get_num_threads()
    for sizes, batch in (([300, 400, 300, 5], 80), ([60, 64, 64, 64, 3], 200)):
        net = fastbp.Network.random(sizes, seed=1)
        x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
        found = []
        for threads in (1, 2, 3):
            fastbp.set_num_threads(threads)
            sweeps, tiles = swept(net, x, y)
            parts = [tiles.expand(k, slice(0, sizes[k + 1]))[0] for k in range(len(sizes) - 1)]
            found.append([sweeps.gaps, sweeps.z_sizes, sweeps.xi_sizes, *parts])
        fastbp.set_num_threads(before)
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("by_panels", [False, True])
def test_panels_that_go_through_alone_give_the_same_bits(by_panels):
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([20, 30, 25, 5], seed=1)
    x, y = rng.standard_normal((20, 100)), rng.standard_normal((5, 100))
    expected, _ = swept(net, x, y)
    batch = require_batch(net, x, y)
    sweeps = Sweeps(net, batch, roundoff=UNIT, directions=2, seed=0, max_memory=2**30)
    sweeps.by_panels = by_panels
    sweeps.forward()
    sweeps.reverse()
    sweeps.prove()
    for name in ("h", "s", "gaps", "w_v", "xi_sizes", "z_sizes", "dots"):
        np.testing.assert_array_equal(getattr(sweeps, name), getattr(expected, name))


@pytest.mark.parametrize("layout", ["torch", "keras"])
@pytest.mark.parametrize("separate", [False, True])
def test_layouts_maps_and_samples(layout, separate):
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([300, 200, 7], seed=0, layout=layout, weight_decay=0.1)
    x, y = rng.standard_normal((33, 300)), rng.standard_normal((33, 7))
    _, own = net.loss_and_gradients(x, y)
    own.weights[0][17, 150] += 1e-3
    given = (own.weights, own.biases) if separate else own
    report = fastbp.check_network(net, x, y, given, seed=0)
    assert [failure.where for failure in report.failures] == ["weights[0][17, 150]"]
    row = report.arrays[0]
    assert row.worst.index == (17, 150)
    assert (row.wrong, row.factor) == (1, pytest.approx(1, abs=1e-6))
    cells = report.maps["weights[0]"]
    assert max(cells.shape) <= 128
    high = np.unravel_index(cells.argmax(), cells.shape)
    rows, columns = np.ceil(np.array(row.shape) / cells.shape)
    assert (17 // rows, 150 // columns) == pytest.approx(high, abs=1)
    assert np.count_nonzero(cells > 1) == 1
    samples = np.concatenate(list(report.samples.values()))
    assert 500 < len(samples) < 2000
    for place, value, numerical, bar, radius in report.samples["weights[1]"]:
        assert value == own.weights[1].reshape(-1)[int(place)]
        assert abs(value - numerical) <= bar
        assert radius == 0


def test_little_memory_gives_the_same_findings():
    rng = np.random.default_rng(0)
    net = fastbp.Network.random([50, 60, 40, 3], seed=0)
    x, y = rng.standard_normal((50, 20)), rng.standard_normal((3, 20))
    own = given_gradients(net, require_batch(net, x, y), None)
    _, roomy = swept(net, x, y)
    _, tight = swept(net, x, y)
    tight._together = False
    offsets = list(net.shapes.weight_offsets)
    one, two = (t.compare([0, 1, 2], own.flat, offsets, [1.0] * 3) for t in (roomy, tight))
    np.testing.assert_array_equal(one.summaries, two.summaries)
    assert one.summaries[:, WRONG].sum() == 0
