"""Arrays as kernels take them."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from fastbp.runtime.panels import writable

pytestmark = pytest.mark.small


def test_a_read_only_array_is_viewed_and_stays_read_only():
    kept = []
    for dtype in (np.float64, np.float32, np.int64):
        for shape in ((6,), (2, 3), (0,)):
            given = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
            given.flags.writeable = False
            taken = writable(given)
            assert taken.flags.writeable
            assert not given.flags.writeable
            assert (taken.dtype, taken.shape, type(taken)) == (given.dtype, given.shape, np.ndarray)
            assert given.size == 0 or taken.ctypes.data == given.ctypes.data
            kept.append((taken, given.tolist()))
    del given, taken
    gc.collect()
    for taken, expected in kept:
        assert taken.tolist() == expected


def test_an_array_that_kernels_could_not_take_is_copied():
    odd = np.frombuffer(bytes(17), np.float64, count=2, offset=1)
    for given in (np.ones((3, 4)).T, np.ones(8)[::2], odd):
        given.flags.writeable = False
        taken = writable(given)
        assert not np.shares_memory(taken, given)
        assert taken.flags.c_contiguous
        assert taken.flags.aligned
        np.testing.assert_array_equal(taken, given)
