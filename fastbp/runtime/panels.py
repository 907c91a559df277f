"""The layout of the kernels' operands: panels of neighbouring samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def flat_view(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int, int]:
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
