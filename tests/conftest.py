"""Fixtures and hypothesis profiles. The modules of this directory are importable by name."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from support.golden import GOLDEN_X, GOLDEN_Y, default_parameters

settings.register_profile(
    "everyday",
    deadline=None,  # the first example compiles the kernels
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "thorough", parent=settings.get_profile("everyday"), max_examples=1000, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))


# Python's search for reference cycles would look again and again at the half a million objects of
# torch, JAX, numba and pytest, which stay: 10 % of the collection's time and 3 % of the tests'.
@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240722)


@pytest.fixture
def golden() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Weights, biases, input and target of the notebook's default network."""
    weights, biases = default_parameters()
    return weights, biases, GOLDEN_X.copy(), GOLDEN_Y.copy()
