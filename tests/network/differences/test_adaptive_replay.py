"""Steps of a replay that noise keeps too long: their bar holds the slope all the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastbp
from fastbp.network.differences.adaptive_replay import measure_by_replay
from fastbp.network.differences.unperturbed import evaluate
from fastbp.network.network import require_batch

pytestmark = pytest.mark.small


@pytest.mark.parametrize("size", [1e8, 1e9, 3.7e9])
def test_a_step_that_stays_too_far_is_off_by_no_more_than_its_loss_bends(size):
    """A logit of 3 that a step moves by thousands, beside a decay that rounds by 1e10."""
    net = fastbp.Network([np.array([[0.0, size]])], loss="sigmoid_cross_entropy", weight_decay=1.0)
    batch = require_batch(net, np.array([[1e12], [3.0 / size]]), np.array([[0.9]]))
    measured = measure_by_replay(evaluate(net, batch), max_memory=2**20, progress=False)
    slope = 1e12 * (1.0 / (1.0 + math.exp(-3.0)) - 0.9)
    error = abs(measured.quotients[0] - slope)
    assert 0.25 * measured.noise[0] < error < measured.noise[0] < 1e12
