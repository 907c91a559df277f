"""Fixtures of this folder."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def arrays():
    """The smallest complete file: two layers, a batch of four."""
    rng = np.random.default_rng(5)
    shapes = {
        "weights_0": (3, 2), "weights_1": (1, 3), "biases_0": (3, 1), "biases_1": (1, 1),
        "x": (2, 4), "y": (1, 4),
    }  # fmt: skip
    return {key: rng.standard_normal(shape) for key, shape in shapes.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "problem.npz"
