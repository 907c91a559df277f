"""Fixtures of this folder."""

from __future__ import annotations

import pytest
from support.small_networks import example


@pytest.fixture
def problem():
    """Network, data and the correct gradient, of which the lists may be edited."""
    net, x, y = example()
    _, own = net.loss_and_gradients(x, y)
    return net, x, y, own
