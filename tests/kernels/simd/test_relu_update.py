"""One panel of perturbed pre-activations: vectors, their plain twin, and a loop in the clear."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from fastbp.kernels.simd.relu_update import (
    LINEAR,
    OFF_AT_ZERO,
    ON_AT_ZERO,
    PARTLY_AT_ZERO,
    update_panel,
)
from fastbp.kernels.simd.vectors import panel_width

pytestmark = pytest.mark.processor

SHARE = {OFF_AT_ZERO: 0.0, ON_AT_ZERO: 1.0, PARTLY_AT_ZERO: 0.5}


@numba.njit
def update_by_kernel(
    mode, units, base, base_at, base_pitch, column, column_at, delta, delta_at,
    before, before_at, before_pitch, result, result_at,
):  # fmt: skip
    return update_panel(
        mode, units, base, base_at, base_pitch, column, column_at, delta, delta_at,
        before, before_at, before_pitch, result, result_at,
    )  # fmt: skip


def mask(value: float, mode: int) -> float:
    return 1.0 if value > 0 else (SHARE[mode] if value == 0 else 0.0)


def expected_update(
    mode: int, base: np.ndarray, column: np.ndarray, delta: np.ndarray, before: np.ndarray
) -> tuple[np.ndarray, int]:
    after = base + column[:, None] * delta
    if mode == LINEAR:
        return after, 0
    bits = 0
    for unit, lane in np.ndindex(after.shape):
        if mask(after[unit, lane], mode) != mask(before[unit, lane], mode):
            bits |= 1 << lane
    return np.where(after <= 0, 0.0, after), bits


@pytest.mark.small
@pytest.mark.parametrize("run", [update_panel, update_by_kernel], ids=["plain", "compiled"])
@pytest.mark.parametrize("mode", [LINEAR, OFF_AT_ZERO, ON_AT_ZERO, PARTLY_AT_ZERO])
@pytest.mark.parametrize("units", [1, 2, 7])
def test_a_panel_is_updated_and_its_masks_are_compared(run: Any, mode, units, rng):
    width = panel_width(np.empty(0))
    pitch = width + 3
    for _ in range(30):
        # Small integers: exact, and full of zeros.
        base = rng.integers(-2, 3, 2 + units * pitch).astype(float)
        before = rng.integers(-2, 3, 1 + units * pitch).astype(float)
        column = rng.integers(-1, 2, 4 + units).astype(float)
        delta = rng.integers(-1, 2, 5 + width).astype(float)
        result = np.full(3 + units * width + 2, 99.0)
        rows = base[2:].reshape(units, pitch)[:, :width]
        old = before[1:].reshape(units, pitch)[:, :width]
        wanted, bits = expected_update(mode, rows, column[4:], delta[5:], old)
        found = run(mode, units, base, 2, pitch, column, 4, delta, 5, before, 1, pitch, result, 3)
        assert found == bits
        np.testing.assert_array_equal(result[3:-2].reshape(units, width), wanted)
        assert (result[:3] == 99.0).all()
        assert (result[-2:] == 99.0).all()


@pytest.mark.small
@pytest.mark.parametrize("run", [update_panel, update_by_kernel], ids=["plain", "compiled"])
def test_nan_is_not_rectified_away(run: Any):
    width = panel_width(np.empty(0))
    base, result = np.zeros(width), np.empty(width)
    base[1] = np.nan
    run(
        OFF_AT_ZERO, 1, base, 0, width, np.zeros(1), 0, np.zeros(width), 0,
        np.zeros(width), 0, width, result, 0,
    )  # fmt: skip
    assert np.isnan(result[1])
    assert not np.isnan(result[[0, *range(2, width)]]).any()
