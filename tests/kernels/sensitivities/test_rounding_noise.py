"""Rounding noise of a block of units, beside its formulas written out."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from fastbp.kernels.sensitivities.rounding_noise import (
    activate_block,
    growth_root,
    mask_block,
    underflow_of_sum,
)
from fastbp.kernels.simd.vectors import panel_width

pytestmark = [pytest.mark.small, pytest.mark.processor]

LANES = panel_width(np.empty(0))
ROWS = 3
ROOT, SHARE, LEAST, MARGIN = 0.75, 0.25, 1e-3, 0.125


# Kernels have no way in from Python of their own.
@numba.njit
def activated(
    on_top, sizes, biases, root, share, least, margin, hidden, live, h_norms, xi_norms, signs,
    f, xi, doubt, norms,
):  # fmt: skip
    activate_block(
        on_top, sizes, biases, root, share, least, margin, hidden, live, h_norms, xi_norms, signs,
        f, xi, doubt, norms,
    )  # fmt: skip


@numba.njit
def masked(sizes, root, share, least, live, s_norms, z_norms, signs, h, doubt, before, s, z, norms):
    mask_block(
        sizes, root, share, least, live, s_norms, z_norms, signs, h, doubt, before, s, z, norms
    )


@numba.njit
def growth_and_loss(depth, least):
    return growth_root(depth), underflow_of_sum(depth, least)


class Block:
    """Numbers of a block: some far from 0, some within their noise of it, some exactly 0."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.sizes, self.biases = rng.uniform(1, 2, ROWS), rng.normal(size=ROWS)
        self.live = (np.arange(LANES) < LANES - 1).astype(float)
        self.h_norms, self.xi_norms = rng.uniform(1, 2, LANES), rng.uniform(1, 30, LANES)
        self.signs = rng.integers(-(2**62), 2**62, ROWS)
        self.f = rng.normal(size=(ROWS, LANES)) * rng.choice([1e-2, 1.0, 10.0], (ROWS, LANES))
        self.f -= self.biases[:, None]
        self.f[0, 0] = -self.biases[0]
        self.noise = rng.normal(size=(ROWS, LANES)) * 3
        self.plus = np.array(
            [[1 - 2 * (int(bits) >> lane & 1) for lane in range(LANES)] for bits in self.signs]
        )


def moved_by(own, came_in, least):
    """What is there, no less than half of either size, with its own sign."""
    size = np.maximum(np.abs(own), 0.5 * np.maximum(*least))
    return np.where(own >= 0, size, -size) if came_in is None else came_in


@pytest.mark.parametrize("on_top", [True, False])
@pytest.mark.parametrize("hidden", [True, False])
def test_activations_their_noise_and_what_is_in_doubt(on_top, hidden):
    block = Block()
    f, xi = block.f.reshape(-1).copy(), block.noise.reshape(-1).copy()
    doubt, norms = np.full(f.size, 7, np.uint8), np.empty(ROWS)
    activated(
        on_top, block.sizes, block.biases, ROOT, SHARE, LEAST, MARGIN, hidden, block.live,
        block.h_norms, block.xi_norms, block.signs, f, xi, doubt, norms,
    )  # fmt: skip
    value = block.f + block.biases[:, None]
    size = block.sizes[:, None] + LEAST
    own = size * (block.h_norms + LEAST) + np.abs(block.biases)[:, None] + LEAST
    own = block.live * (own + ROOT * np.abs(value))
    moved = (block.noise if on_top else 0) + own * block.plus
    moved = moved_by(moved, None, (own, size * block.xi_norms * SHARE * block.live))
    doubtful = (np.abs(value) <= MARGIN * np.abs(moved)) & (block.live > 0)
    off = hidden & (value <= 0)
    assert doubtful.any()
    assert not doubtful.all()
    np.testing.assert_array_equal(doubt.reshape(f.size), (hidden & doubtful).reshape(-1))
    np.testing.assert_allclose(f, np.where(off, 0, value).reshape(-1), rtol=1e-15, atol=0)
    expected = np.where(off & ~doubtful, 0, moved)
    np.testing.assert_allclose(xi, expected.reshape(-1), rtol=1e-14)
    np.testing.assert_allclose(norms, np.linalg.norm(expected, axis=1), rtol=1e-14)


def test_an_exact_zero_without_noise_is_in_doubt():
    f, xi, doubt = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES, np.uint8)
    nothing, live = np.zeros(1), np.ones(LANES)
    live[-1] = 0.0
    activated(
        True, nothing, nothing, ROOT, SHARE, 0.0, MARGIN, True, live, np.zeros(LANES),
        np.zeros(LANES), np.zeros(1, np.int64), f, xi, doubt, np.empty(1),
    )  # fmt: skip
    assert doubt.tolist() == live.tolist()


def test_sensitivities_and_their_noise_pass_where_a_mask_lets_them():
    block = Block(seed=1)
    before, z = block.f.reshape(-1).copy(), block.noise.reshape(-1).copy()
    h = np.maximum(block.f, 0).reshape(-1)
    doubt = (np.arange(h.size) % 3 == 0).astype(np.uint8)
    s, norms = np.full(h.size, 9.0), np.empty(ROWS)
    masked(
        block.sizes, ROOT, SHARE, LEAST, block.live, block.h_norms, block.xi_norms, block.signs,
        h, doubt, before, s, z, norms,
    )  # fmt: skip
    size = block.sizes[:, None] + LEAST
    own = size * block.h_norms + ROOT * np.abs(block.f) + LEAST * block.live
    moved = moved_by(block.noise + own * block.plus, None, (own, size * block.xi_norms * SHARE))
    through = (h > 0) | (doubt != 0)
    assert s.tolist() == np.where(h > 0, before, 0).tolist()
    expected = np.where(through, moved.reshape(-1), 0)
    np.testing.assert_allclose(z, expected, rtol=1e-14)
    np.testing.assert_allclose(
        norms, np.linalg.norm(expected.reshape(ROWS, -1), axis=1), rtol=1e-14
    )


@pytest.mark.parametrize("depth", [1, 16, 256, 4096])
def test_sums_lose_a_root_or_a_64th_of_their_terms(depth):
    expected = max(0.25 * math.sqrt(depth), depth / 64)
    assert growth_and_loss(depth, 2.0) == (expected, 2.0 * (1 + expected))
