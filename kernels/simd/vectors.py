"""Vectors of the host: their width, and the emitter of vector code."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import overload

from ..machine.compile import kernel


def _host_vector_bytes() -> int:
    """Width of the vectors that the generated code may use, in bytes."""
    if numba.config.CPU_NAME not in (
        None,
        "host",
    ):  # a named target: only its named features
        features = set((numba.config.CPU_FEATURES or "").replace("+", "").split(","))
    else:
        features = {name for name, on in llvmlite.binding.get_host_cpu_features().items() if on}
    if "avx512f" in features:
        return 64
    return 32 if "avx2" in features and "fma" in features else 16


VECTOR_BYTES = _host_vector_bytes()
VECTORS = 2  # of each row of a tile


# Rows of a tile: as many accumulators as fit the registers (32 of 64 bytes, 16 of 32 bytes,
# 32 of 16 bytes) beside two vectors of B and one broadcast.
MR = {64: 8, 32: 6, 16: 8}[VECTOR_BYTES]
ROW_COUNTS = (MR, 2, 1)  # 2 rows still keep four sums in flight, the latency of an FMA


def panel_width(array: Any) -> int:
    """Columns of one panel (NR) for the element type of ``array``."""
    return VECTORS * VECTOR_BYTES // int(array.itemsize)


@overload(panel_width, inline="always")
def _panel_width(array):
    width = VECTORS * VECTOR_BYTES * 8 // array.dtype.bitwidth
    return lambda array: width


def broadcast(builder: Any, value: Any, vector: Any) -> Any:
    """Put one number in all lanes of a vector."""
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, undefined, zeros)


def square_width(array: Any) -> int:
    """Lanes of one vector, the side of a square that is transposed in registers."""
    return VECTOR_BYTES // int(array.itemsize)


@overload(square_width, inline="always")
def _square_width(array):
    width = VECTOR_BYTES * 8 // array.dtype.bitwidth
    return lambda array: width


LANES = VECTOR_BYTES // 8


class _Emitter:
    """What both kinds of sums need: float64 vectors of arrays, by position of the argument."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self.vector = ir.VectorType(ir.DoubleType(), LANES)
        self.zero = ir.Constant(self.vector, [0.0] * LANES)
        self._starts = {
            k: context.make_array(kind)(context, builder, value).data
            for k, (kind, value) in enumerate(zip(signature.args, arguments, strict=True))
            if isinstance(kind, types.Array)
        }
        self.fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fma.v{LANES}f64",
        )

    def number(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    def address(self, position: int, offset: Any) -> Any:
        return self.builder.gep(self._starts[position], [offset])

    def load(self, position: int, offset: Any) -> Any:
        place = self.builder.bitcast(self.address(position, offset), self.vector.as_pointer())
        return self.builder.load(place, align=8)

    def store(self, value: Any, position: int, offset: Any) -> None:
        place = self.builder.bitcast(self.address(position, offset), self.vector.as_pointer())
        self.builder.store(value, place, align=8)


@kernel(inline=True)
def panels_of(columns, width):
    """Count the panels that hold so many columns."""
    return (columns + width - 1) // width
