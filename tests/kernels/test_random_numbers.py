"""Random signs and normals of the kernels."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from fastbp.kernels.random_numbers import fill_normals, fill_signs
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.small


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
