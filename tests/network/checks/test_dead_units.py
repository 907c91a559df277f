"""Units that no sample activates are named in a note."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp
from fastbp.network.checks.dead_units import count_dead_units, note_on_dead_units

pytestmark = pytest.mark.small

METHODS = ["certified", "exact", "replay"]


def network(seed=1):
    net = fastbp.Network.random([3, 6, 4, 2], seed=seed)
    net.biases[0][:] = 9.0  # every unit is active
    net.biases[1][:] = 90.0
    return net, np.random.default_rng(0).uniform(-1, 1, (3, 5)), np.zeros((2, 5))


@pytest.mark.parametrize("method", METHODS)
def test_units_that_are_never_active_are_counted(method):
    net, x, y = network()
    assert fastbp.check_network(net, x, y, method=method).notes == ()
    net.biases[0][[1, 4]] = -90.0
    net.biases[1][3] = -900.0
    report = fastbp.check_network(net, x, y, method=method)
    assert report.verdict == "passed"
    assert report.notes == (
        "never active in this batch: 2 of 6 units of layer 0, 1 of 4 units of layer 1; through "
        "them the loss depends on no weight or bias, so that mistakes there may not show",
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_unit_on_a_kink_is_not_dead(method):
    net, x, y = network()
    net.weights[0][2], net.biases[0][2] = 0.0, 0.0
    assert fastbp.check_network(net, x, y, method=method).notes == ()


@pytest.mark.parametrize("batch", [1, 11])
def test_dead_units_of_a_deep_network_are_those_of_its_forward_pass(batch):
    net = fastbp.Network.random([5, 20, 3, 30, 12, 2], seed=4)
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((5, batch)), rng.standard_normal((2, batch))
    hidden = net.forward(x).activations[1:]
    dead = [np.count_nonzero(~h.any(axis=1)) for h in hidden]
    assert sum(dead) > 3
    expected = note_on_dead_units(dead, [len(h) for h in hidden])
    assert fastbp.check_network(net, x, y).notes == expected


def test_a_unit_that_one_sample_activates_is_not_dead():
    activations = np.zeros((2, 3))
    activations[0, 1] = 1e-300
    dead = count_dead_units(activations, np.zeros((2, 3), bool))
    [note] = note_on_dead_units([dead], [2])
    assert note.startswith("never active in this batch: 1 of 2 units of layer 0; ")


def test_many_layers_are_summed_up():
    dead = count_dead_units(np.zeros((1, 3)), np.zeros((1, 3), bool))
    [note] = note_on_dead_units([dead] * 8, [1] * 8)
    assert "1 of 1 unit of layer 4 and some of 3 more; " in note
