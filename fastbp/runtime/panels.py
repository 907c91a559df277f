"""The layout of the kernels' operands: panels of neighbouring samples, [panel, unit, lane]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from fastbp.kernels.machine.cache_sizes import LINE_BYTES
from fastbp.typing import Array

__all__ = [
    "aligned_empty",
    "aligned_zeros",
    "block_count",
    "flat_view",
    "from_panels",
    "to_panels",
    "writable",
]


def aligned_zeros(sizes: Sequence[int], dtype: npt.DTypeLike = np.float64) -> list[Array]:
    """Return flat arrays of zeros, each of which begins at a line of the cache.

    They are parts of one block: no vector of a panel lies across two lines, and small networks
    wait for one allocation instead of several.

    Examples
    --------
    >>> [len(array) for array in aligned_zeros([3, 0, 20])]
    [3, 0, 20]
    """
    return _aligned(sizes, dtype, np.zeros)


def aligned_empty(sizes: Sequence[int], dtype: npt.DTypeLike = np.float64) -> list[Array]:
    """Return such arrays as `aligned_zeros`, with whatever was in the memory before."""
    return _aligned(sizes, dtype, np.empty)


def _aligned(
    sizes: Sequence[int], dtype: npt.DTypeLike, allocated: Callable[[int, npt.DTypeLike], Array]
) -> list[Array]:
    each = LINE_BYTES // np.dtype(dtype).itemsize
    parts, whole = _parts_of_lines(tuple(sizes), each)
    block = allocated(whole + each, dtype)
    shift = -block.ctypes.data % LINE_BYTES // block.itemsize
    return [block[shift + start : shift + end] for start, end in parts]


@lru_cache(maxsize=1024)
def _parts_of_lines(sizes: tuple[int, ...], each: int) -> tuple[list[tuple[int, int]], int]:
    """Say where arrays begin and end that start at lines of ``each`` numbers, and their end."""
    starts = [0, *accumulate(block_count(size, each) * each for size in sizes)]
    parts = [(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    return parts, starts[-1]


def block_count(count: int, size: int) -> int:
    """Return how many blocks of ``size`` hold ``count`` things."""
    return -(-count // size)


def to_panels(by_unit: Array, width: int) -> Array:
    """Arrange (units, batch) in panels of ``width`` samples; the lanes that are left over are 0.

    Examples
    --------
    >>> to_panels(np.array([[1, 2, 3], [4, 5, 6]]), 2).tolist()
    [[[1, 2], [4, 5]], [[3, 0], [6, 0]]]
    """
    units, batch = by_unit.shape
    panels = np.zeros((block_count(batch, width), units, width), by_unit.dtype)
    whole = batch // width
    full = by_unit[:, : whole * width].reshape(units, whole, width)
    panels[:whole] = full.transpose(1, 0, 2)
    panels[whole:, :, : batch - whole * width] = by_unit[:, whole * width :]
    return panels


def from_panels(panels: Array, batch: int) -> Array:
    """Copy panels to (units, batch) in C order.

    Examples
    --------
    >>> from_panels(np.array([[[1, 2], [4, 5]], [[3, 0], [6, 0]]]), 3).tolist()
    [[1, 2, 3], [4, 5, 6]]
    """
    if len(panels) == 1:
        return panels[0, :, :batch].copy()
    _, units, width = panels.shape
    by_unit = np.empty((units, batch), panels.dtype)
    whole = batch // width
    full = by_unit[:, : whole * width].reshape(units, whole, width)  # a view: one axis is split
    full[...] = panels[:whole].transpose(1, 0, 2)
    if whole * width < batch:
        by_unit[:, whole * width :] = panels[whole, :, : batch - whole * width]
    return by_unit


def writable(array: Array) -> Array:
    """Return an array as kernels take it, for operands that they only read.

    The type that numba gives to a read-only array is another one, so that all kernels would be
    compiled again. It is a view that says that it may be written: of a mapped file no page is
    copied.
    """
    if array.flags.writeable:
        return array
    if not (array.flags.c_contiguous and array.flags.aligned):
        return array.copy()
    return np.asarray(_SaidToBeWritable(array))


class _SaidToBeWritable:
    """A read-only array as NumPy takes in foreign ones; the view keeps this alive, and this it."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.__array_interface__ = {
            **array.__array_interface__,
            "data": (array.ctypes.data, False),
        }


def flat_view(array: Array) -> tuple[Array, int, int]:
    """Lay a 2-D array out flat for a kernel: (flat, stride of axis 0, stride of axis 1).

    A view where the array is contiguous either way and writable, else a copy: kernels know
    one type of array only (a read-only or strided one would compile them again).
    """
    flags = array.flags
    if flags.c_contiguous and flags.writeable:
        return array.ravel(), array.shape[1], 1
    if not flags.writeable or not flags.f_contiguous:
        array = np.array(array, order="C")
    if array.flags.c_contiguous:
        return array.reshape(-1), array.shape[1], 1
    return array.T.reshape(-1), 1, array.shape[0]
