"""Vectors of the host: their width, and what is made of them."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
from numba.extending import overload

from ..machine.compile import kernel


def _host_vector_bytes() -> int:
    """Width of the vectors that the generated code may use, in bytes."""
    # As numba has it: NUMBA_CPU_NAME alone leaves the host's features, but for "generic".
    if numba.config.CPU_FEATURES is not None:
        named = numba.config.CPU_FEATURES.split(",")
        features = {name.strip()[1:] for name in named if name.strip().startswith("+")}
    else:
        features = {name for name, on in llvmlite.binding.get_host_cpu_features().items() if on}
    if "avx512f" in features:
        return 64
    return 32 if "avx2" in features and "fma" in features else 16


VECTOR_BYTES = _host_vector_bytes()
LANES = VECTOR_BYTES // 8  # of float64
VECTORS = 2  # of each row of a tile
# Rows of a tile: as many accumulators as fit the registers (32 of 64 bytes, 16 of 32 bytes,
# 32 of 16 bytes) beside two vectors of B and one broadcast.
MR = {64: 8, 32: 6, 16: 8}[VECTOR_BYTES]
ROW_COUNTS = (MR, 2, 1)  # 2 rows still keep four sums in flight, the latency of an FMA


def panel_width(array: Any) -> int:
    """Columns of one panel (NR) for the element type of ``array``."""
    return VECTORS * VECTOR_BYTES // int(array.itemsize)


# Not inlined by numba: it would remove as dead some writes to arrays in named tuples.
@overload(panel_width)
def _panel_width(array):
    width = VECTORS * VECTOR_BYTES * 8 // array.dtype.bitwidth
    return lambda array: width


def square_width(array: Any) -> int:
    """Lanes of one vector, the side of a square that is transposed in registers."""
    return VECTOR_BYTES // int(array.itemsize)


@overload(square_width)
def _square_width(array):
    width = VECTOR_BYTES * 8 // array.dtype.bitwidth
    return lambda array: width


@kernel
def panels_of(columns, width):
    """Count the panels that hold so many columns."""
    return (columns + width - 1) // width
