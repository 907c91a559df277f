"""What proves the way back: projections, gaps, masks, random bits, and borrowed arrays."""

from __future__ import annotations

import sys
from itertools import pairwise

import numba
import numpy as np
import pytest
from fastbp.kernels.machine.borrowed_arrays import borrowed, keep
from fastbp.kernels.random_numbers import fill_normals, fill_signs
from fastbp.kernels.sensitivities.network_pairs import typical_sizes
from fastbp.kernels.sensitivities.proof import note_wrong_masks, project_rows, wrong_masks
from fastbp.kernels.simd.vectors import panel_width
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys

import fastbp
from fastbp.network.sensitivities.certificate import judge_sweeps
from fastbp.network.sensitivities.sweeps import Sweeps

pytestmark = pytest.mark.small

WIDTH = panel_width(np.empty(0))
UNIT = 2.0**-53
GUARD = 7.25  # in every place that a kernel must not touch
SEEDS = st.integers(0, 2**32 - 1)


def whole_numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Small integers: their products and sums are exact in any order."""
    return rng.integers(-9, 10, shape).astype(np.float64)


# ---- W v ----


@numba.njit
def projected(rows, depth, a, a_at, a_row, a_column, factors, results):
    project_rows(rows, depth, a, a_at, a_row, a_column, factors, results)


@given(rows=st.integers(1, 20), depth=st.integers(1, 300), by_columns=st.booleans(), seed=SEEDS)
def test_projections_of_rows(rows, depth, by_columns, seed):
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
    sizes: list[int], batch: int, *, directions: int = 2, layout: str = "book", seed: int = 0
) -> Sweeps:
    net = fastbp.Network.random(sizes, seed=seed, layout=layout)
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((sizes[0], batch)), rng.standard_normal((sizes[-1], batch))
    if layout != "book":
        x, y = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)
    sweeps = Sweeps(
        net, x, y, roundoff=UNIT, directions=directions, seed=seed, max_memory=2**30
    )  # fmt: skip
    sweeps.everything()
    return sweeps


def unmasked(sweeps: Sweeps, k: int) -> np.ndarray:
    """Copy U = W[k]^T s out of its panels: (units, batch)."""
    sizes = sweeps.network.sizes
    return sweeps._rows(sweeps.before, sum(sizes[1:k]), sizes[k])


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
        v = sweeps.factors[:, starts[k - 1] : starts[k]]
        own = sweeps.projected[:, starts[k] : starts[k + 1]]
        np.testing.assert_allclose(own, v @ weights[k].T, rtol=1e-12, atol=1e-13)
        s, before = sweeps.sensitivity(k), unmasked(sweeps, k)
        size = np.abs(weights[k].T) @ np.abs(s)
        assert np.all(np.abs(before - weights[k].T @ s) <= 1e-14 * size)
        mask = sweeps.level(sweeps.h, k) > 0
        np.testing.assert_array_equal(sweeps.sensitivity(k - 1), np.where(mask, before, 0.0))


@settings(max_examples=20)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 7, 9, 17]), min_size=3, max_size=4),
    batch=st.sampled_from([1, 5, WIDTH, 2 * WIDTH + 3]),
    directions=st.integers(1, 5),
    seed=SEEDS,
)
def test_gaps_are_what_the_equation_says(sizes, batch, directions, seed):
    """<U, v> and <s, p> of whole numbers that have nothing to do with each other."""
    sweeps, rng = swept(sizes, batch, directions=directions), np.random.default_rng(seed)
    for array in (sweeps.before, sweeps.s, sweeps.factors, sweeps.projected):
        array[...] = whole_numbers(rng, *array.shape)
    sweeps.prove()
    starts = np.cumsum([0, *sizes[1:]])
    for k in range(1, len(sizes) - 1):
        own, s = unmasked(sweeps, k), sweeps.sensitivity(k)
        v = sweeps.factors[:, starts[k - 1] : starts[k]]
        p = sweeps.projected[:, starts[k] : starts[k + 1]]
        np.testing.assert_array_equal(sweeps.gaps[k, :, :batch], np.abs(v @ own - p @ s))
        norms = np.sqrt(np.sum(own**2, axis=0))
        np.testing.assert_allclose(sweeps.before_norms[k, :batch], norms, rtol=1e-15)
        expected = np.where(sweeps.level(sweeps.h, k) > 0, own, 0.0)
        wrong = np.count_nonzero(sweeps.sensitivity(k - 1) != expected, axis=0)
        np.testing.assert_array_equal(sweeps.flipped[k, :batch], wrong)


@pytest.mark.parametrize("place", ["U", "s", "v", "W v"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_proves_nothing(place, value):
    for k in (1, 2):
        sweeps = swept([4, 5, 6, 3], 9)
        arrays = {"U": sweeps.before, "s": sweeps.s, "v": sweeps.factors, "W v": sweeps.projected}
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


# ---- random bits ----


@numba.njit
def signs(key, start, out):
    fill_signs(key, start, out)


@numba.njit
def normals(key, start, out):
    fill_normals(key, start, out)


def bits_of(key: int, start: int, count: int) -> np.ndarray:
    """The random bits as 0 and 1, (numbers, 64)."""
    out = np.empty(count, np.int64)
    with np.errstate(over="ignore"):  # of plain Python
        signs(np.uint64(key), start, out)
    return (out[:, None] >> np.arange(64)) & 1


def split_mix(key: int, counter: int) -> int:
    """SplitMix64 in Python's whole numbers."""
    bits = (key + counter * 0x9E3779B97F4A7C15) % 2**64
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
    return bits ^ (bits >> 31)


@given(key=st.integers(0, 2**64 - 1), start=st.integers(0, 2**40))
def test_signs_are_the_bits_of_splitmix(key, start):
    expected = [[split_mix(key, start + n) >> lane & 1 for lane in range(64)] for n in range(5)]
    np.testing.assert_array_equal(bits_of(key, start, 5), expected)


def test_signs_are_balanced_and_no_two_streams_or_counters_agree():
    count = 1000
    keys = np.random.SeedSequence(0).generate_state(3, np.uint64)
    streams = [2.0 * bits_of(int(key), 0, count) - 1 for key in keys]
    for n, one in enumerate(streams):
        # Six standard deviations of a fair coin; of each lane, of each number, and all together.
        assert abs(one.sum()) < 6 * np.sqrt(one.size)
        assert np.abs(one.sum(axis=0)).max() < 6 * np.sqrt(count)
        assert np.abs(one.sum(axis=1)).max() < 6 * np.sqrt(64)
        assert abs(np.sum(one[1:] * one[:-1])) < 6 * np.sqrt(one.size)
        for other in streams[:n]:
            assert abs(np.sum(one * other)) < 6 * np.sqrt(one.size)
    numbers = np.unique(streams[0], axis=0)
    assert len(numbers) == count


def test_normals_have_mean_0_and_variance_1_and_are_never_0():
    out = np.empty(20_000 if not numba.config.DISABLE_JIT else 2_000)
    with np.errstate(over="ignore"):
        normals(np.uint64(2**63 + 5), 3, out)
        again = np.empty(7)
        normals(np.uint64(2**63 + 5), 13, again)
    np.testing.assert_array_equal(again, out[10:17])
    assert abs(out.mean()) < 6 / np.sqrt(out.size)
    assert abs(out.var() - 1) < 6 * np.sqrt(2 / out.size)
    assert np.abs(out).min() > 0


# ---- borrowed arrays ----


@numba.njit
def sum_of_borrowed(arrays, numbers):
    """Sum up through many blocks, and in a nested tuple."""
    (first, second), third, factor = borrowed((arrays, numbers, 2.0))
    total = 0.0
    for k in range(first.size):
        if third[k] > 0:
            total += factor * first[k] * third[k]
        else:
            total -= second[k]
    return total


@numba.njit
def sum_of_scratch(size, rounds):
    """Borrow memory of a kernel's own while more and more is allocated and freed around it."""
    total = 0.0
    for n in range(rounds):
        owned = (np.empty(size), np.empty(size))
        one, two = borrowed(owned)
        one[:] = n
        two[:] = 1.0
        for _ in range(4):
            other = np.full(size, -1e9)
            total += other[0] + 1e9
        for k in range(size):
            total += one[k] * two[k]
        keep(owned)
    return total


def test_no_reference_is_leaked_or_lost():
    arrays = [np.arange(1.0, 9.0) for _ in range(3)]
    counts = [sys.getrefcount(array) for array in arrays]
    for _ in range(10):
        assert sum_of_borrowed((arrays[0], arrays[1]), arrays[2]) == 2 * 204.0
    assert [sys.getrefcount(array) for array in arrays] == counts
    np.testing.assert_array_equal(arrays[1], np.arange(1.0, 9.0))


def test_a_check_leaves_the_references_of_its_arrays_as_they_were():
    rng = np.random.default_rng(0)
    sizes = [5, 6, 4]
    weights = [rng.standard_normal((o, i)) for i, o in pairwise(sizes)]
    net = fastbp.Network(weights)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((4, 3))
    given = net.loss_and_gradients(x, y)[1].flat.copy()
    held = [net.parameters, x, y, given, *weights]
    assert fastbp.check_network(net, x, y, given, seed=0)  # and whatever is made once
    counts = [sys.getrefcount(array) for array in held]
    for _ in range(3):
        assert fastbp.check_network(net, x, y, given, seed=0)
    assert [sys.getrefcount(array) for array in held] == counts


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="numba allocates nothing then")
def test_memory_that_was_borrowed_is_freed():
    _nrt_python.memsys_enable_stats()  # for the process; what it costs is a counter
    sum_of_scratch(10, 1)
    before = rtsys.get_allocation_stats()
    sum_of_scratch(10, 50)
    after = rtsys.get_allocation_stats()
    assert after.alloc - before.alloc >= 2 * 50
    assert after.alloc - before.alloc == after.free - before.free


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_memory_that_is_kept_is_not_freed_before(size):
    rounds = 20 if not numba.config.DISABLE_JIT else 2
    assert sum_of_scratch(size, rounds) == size * rounds * (rounds - 1) / 2
