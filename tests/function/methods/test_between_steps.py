"""Functions that take wide steps and rise between them: floor(x) and a slope, brackets of a tax."""

from __future__ import annotations

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.small

AT = np.random.default_rng(1).normal(size=6)


def stairs(width):
    return lambda x: float(np.sum(np.floor(x / width) * width + x / 10))


@pytest.mark.parametrize("method", ["every", "probe"])
@pytest.mark.parametrize("width", [1e-3, 3e-3, 1e-1])
def test_the_slope_between_steps_is_not_called_wrong(width, method):
    right = np.full(6, 0.1)
    verdict = fastbp.check_gradient(stairs(width), right, AT, method=method, seed=0).verdict
    assert verdict in ("passed", "inconclusive")


@pytest.mark.parametrize("width", [1e-3, 3e-3, 1e-1])
@pytest.mark.parametrize("factor", [-1.0, 2.0, 1.01])
def test_another_slope_is(width, factor):
    given = np.full(6, factor / 10)
    report = fastbp.check_gradient(stairs(width), given, AT, method="every", seed=0)
    assert report.verdict == "failed"


def test_the_part_of_a_loss_that_is_not_in_float32_is_not_all_of_it():
    """Between the steps of float32 f has the slope of its regulariser, and no other."""

    def loss(x):
        return float(np.sum(np.sin(x.astype(np.float32)))) + 1e-3 * float(np.sum(x**2))

    report = fastbp.check_gradient(loss, 2e-3 * AT, AT, method="every", seed=0)
    assert report.verdict == "failed"
