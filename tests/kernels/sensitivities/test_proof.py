"""What proves the way back: projections, masks, gaps, typical sizes."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from fastbp.kernels.sensitivities.network_pairs import typical_sizes
from fastbp.kernels.sensitivities.proof import note_wrong_masks, project_rows, wrong_masks
from fastbp.kernels.simd.vectors import panel_width
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kernel_arrays import GUARD, SEEDS, whole_numbers

import fastbp
from fastbp.network.network import require_batch
from fastbp.network.sensitivities.certificate import judge_sweeps
from fastbp.network.sensitivities.sweeps import Sweeps

pytestmark = [pytest.mark.small, pytest.mark.processor]

WIDTH = panel_width(np.empty(0))
UNIT = 2.0**-53


# ---- W v ----


@numba.njit
def projected(rows, depth, a, a_at, a_row, a_column, factors, results):
    project_rows(rows, depth, a, a_at, a_row, a_column, factors, results)


def projections_fit(rows, depth, by_columns, seed):
    rng = np.random.default_rng(seed)
    matrix, factors = whole_numbers(rng, rows, depth), whole_numbers(rng, depth)
    roomy = np.full((depth + 2, rows + 3) if by_columns else (rows + 2, depth + 3), np.nan)
    view = roomy.T if by_columns else roomy
    view[:rows, :depth] = matrix
    flat = np.concatenate([[np.nan] * 4, roomy.ravel()])
    strides = [stride // 8 for stride in view.strides]
    results = np.full(rows + 1, GUARD)
    projected(rows, depth, flat, 4, *strides, factors, results[:rows])
    np.testing.assert_array_equal(results, [*(matrix @ factors), GUARD])


@pytest.mark.parametrize("by_columns", [False, True])
def test_projections_of_three_rows(by_columns):
    projections_fit(3, 40, by_columns, 0)


@given(rows=st.integers(1, 20), depth=st.integers(1, 300), by_columns=st.booleans(), seed=SEEDS)
def test_projections_of_rows(rows, depth, by_columns, seed):
    projections_fit(rows, depth, by_columns, seed)


# ---- masks ----


@numba.njit
def masks(units, h, before, s, flipped):
    note_wrong_masks(units, h, before, s, flipped)
    return wrong_masks(h, before, s)


@given(units=st.integers(1, 12), seed=SEEDS)
def test_masks_are_compared_to_the_bit(units, seed):
    rng = np.random.default_rng(seed)
    h = np.maximum(rng.standard_normal((units, WIDTH)), 0)
    before = rng.standard_normal((units, WIDTH))
    s = np.where(h > 0, before, 0.0)
    flipped = np.zeros(WIDTH, np.int64)
    assert masks(units, h.ravel(), before.ravel(), s.ravel(), flipped) == 0
    assert not flipped.any()
    unit, lane = (int(n) for n in rng.integers([units, WIDTH]))
    for value in (np.nextafter(s[unit, lane], 9.0), np.nan, np.inf):
        wrong = s.copy()
        wrong[unit, lane] = value
        flipped[:] = 0
        assert masks(units, h.ravel(), before.ravel(), wrong.ravel(), flipped) == 1
        np.testing.assert_array_equal(flipped, np.arange(WIDTH) == lane)


# ---- a layer's proof ----


def swept(
    sizes: list[int],
    batch: int,
    *,
    directions: int = 2,
    layout: str = "book",
    seed: int = 0,
    by_panels: bool | None = None,
) -> Sweeps:
    net = fastbp.Network.random(sizes, seed=seed, layout=layout)
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
    if layout != "book":
        x, y = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
    sweeps = Sweeps(
        net, require_batch(net, x, y),
        roundoff=UNIT, directions=directions, seed=seed, max_memory=2**30,
    )  # fmt: skip
    if by_panels is not None:
        sweeps.by_panels = by_panels
    sweeps.forward()
    sweeps.reverse()
    sweeps.prove()
    return sweeps


def unmasked(sweeps: Sweeps, k: int) -> np.ndarray:
    """Copy U = W[k]^T s out of its panels: (units, batch)."""
    sizes = sweeps.network.sizes
    return sweeps._rows(sweeps.unmasked, sum(sizes[1:k]), sizes[k])


@settings(max_examples=20)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 7, 9, 17]), min_size=3, max_size=5),
    batch=st.sampled_from([1, 2, 5, WIDTH, WIDTH + 1, 2 * WIDTH + 3]),
    directions=st.integers(1, 3),
    layout=st.sampled_from(["book", "torch", "keras"]),
    seed=SEEDS,
)
def test_what_is_proved_with_is_the_network_itself(sizes, batch, directions, layout, seed):
    """Projections are W v, U is W^T s, and s is U, masked."""
    sweeps = swept(sizes, batch, directions=directions, layout=layout, seed=seed)
    assert not judge_sweeps(sweeps).problem
    net = sweeps.network
    weights = [w.T if layout == "keras" else w for w in net.weights]
    starts = np.cumsum([0, *sizes[1:]])
    for k in range(1, len(sizes) - 1):
        v = sweeps.v[:, starts[k - 1] : starts[k]]
        own = sweeps.w_v[:, starts[k] : starts[k + 1]]
        np.testing.assert_allclose(own, v @ weights[k].T, rtol=1e-12, atol=1e-13)
        s, before = sweeps.sensitivity(k), unmasked(sweeps, k)
        size = np.abs(weights[k].T) @ np.abs(s)
        assert np.all(np.abs(before - weights[k].T @ s) <= 1e-14 * size)
        mask = sweeps.level(sweeps.h, k) > 0
        np.testing.assert_array_equal(sweeps.sensitivity(k - 1), np.where(mask, before, 0.0))


def gaps_fit(sizes, batch, directions, seed):
    """<U, v> and <s, p> of whole numbers that have nothing to do with each other."""
    sweeps, rng = swept(sizes, batch, directions=directions), np.random.default_rng(seed)
    for array in (sweeps.unmasked, sweeps.s, sweeps.v, sweeps.w_v):
        array[...] = whole_numbers(rng, *array.shape)
    sweeps.prove()
    starts = np.cumsum([0, *sizes[1:]])
    for k in range(1, len(sizes) - 1):
        own, s = unmasked(sweeps, k), sweeps.sensitivity(k)
        v = sweeps.v[:, starts[k - 1] : starts[k]]
        p = sweeps.w_v[:, starts[k] : starts[k + 1]]
        np.testing.assert_array_equal(sweeps.gaps[k, :, :batch], np.abs(v @ own - p @ s))
        norms = np.sqrt(np.sum(own**2, axis=0))
        np.testing.assert_allclose(sweeps.unmasked_norms[k, :batch], norms, rtol=1e-15)
        expected = np.where(sweeps.level(sweeps.h, k) > 0, own, 0.0)
        wrong = np.count_nonzero(sweeps.sensitivity(k - 1) != expected, axis=0)
        np.testing.assert_array_equal(sweeps.flipped[k, :batch], wrong)


@pytest.mark.parametrize("directions", [1, 3])
def test_gaps_of_a_small_network(directions):
    gaps_fit([2, 3, 40, 2], WIDTH + 3, directions, 0)


@settings(max_examples=20)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 7, 9, 17]), min_size=3, max_size=4),
    batch=st.sampled_from([1, 5, WIDTH, 2 * WIDTH + 3]),
    directions=st.integers(1, 5),
    seed=SEEDS,
)
def test_gaps_are_what_the_equation_says(sizes, batch, directions, seed):
    gaps_fit(sizes, batch, directions, seed)


def test_a_single_wrong_mask_is_noted():
    sweeps = swept([2, 3, 4, 2], 1)
    flipped = sweeps.sensitivity(1)
    flipped[2] += 1.0
    sweeps.replace_samples(1, np.array([0]), flipped)
    sweeps.prove()
    assert sweeps.flipped[1:, 0].tolist() == [0, 1]


@pytest.mark.parametrize("place", ["U", "s", "v", "W v"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_proves_nothing(place, value):
    for k in (1, 2):
        sweeps = swept([4, 5, 6, 3], 9)
        arrays = {"U": sweeps.unmasked, "s": sweeps.s, "v": sweeps.v, "W v": sweeps.w_v}
        sizes, pitch = sweeps.network.sizes, sweeps.pitch
        layer = k - 1 if place in ("U", "v") else k  # whose units it belongs to
        first = sum(sizes[1 : layer + 1])
        unit = slice(first * pitch, first * pitch + 1)
        arrays[place][(0, first) if place in ("v", "W v") else unit] = value
        sweeps.prove()
        problem = judge_sweeps(sweeps).problem
        assert "fail their certificate" in problem or "overflow" in problem, (k, problem)


# ---- typical sizes ----


@given(
    shapes=st.lists(
        st.tuples(st.sampled_from([1, 2, 255, 256, 257, 700]), st.booleans()), min_size=1,
        max_size=4,
    ),
    scale=st.sampled_from([1.0, 1e-300, 1e300]),
    seed=SEEDS,
)  # fmt: skip
def test_typical_sizes_are_root_mean_squares_of_a_sample(shapes, scale, seed):
    rng, parts, places = np.random.default_rng(seed), [], []
    expected = np.zeros((2, len(shapes)))
    at = 0
    for k, (count, zero) in enumerate(shapes):
        values = (
            0 * scale * rng.standard_normal(count) if zero else scale * rng.uniform(1, 2, count)
        )
        sample = values[:: max(1, count // 256)] / scale
        expected[0, k] = 1.0 / count if zero else scale * np.sqrt(np.mean(sample**2))
        places.append([at, count, -1, 0])
        parts.append(values)
        at += count
    sizes = np.full((2, len(shapes)), GUARD)
    typical_sizes(np.array(places, np.int64).T.copy(), np.concatenate(parts), sizes)
    np.testing.assert_allclose(sizes, expected, rtol=1e-13)


def test_layers_that_are_proved_on_the_way_back_show_the_same_gaps():
    sizes, batch = [5, 9, 4, 7, 3], 4 * WIDTH - 1
    together = swept(sizes, batch)
    apart = swept(sizes, batch, by_panels=False)
    assert (together.by_panels, apart.by_panels) == (True, False)
    assert together.gaps[1:].any(axis=(1, 2)).all()
    for name in ("gaps", "flipped", "unmasked_norms"):
        np.testing.assert_array_equal(getattr(together, name), getattr(apart, name))
