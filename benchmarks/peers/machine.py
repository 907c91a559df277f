"""What the machine can do at most: vector FMAs without loads, and large arrays through memory."""

from __future__ import annotations

import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from fastbp.kernels.machine.cache_sizes import LAST_LEVEL_BYTES
from fastbp.kernels.simd.vectors import VECTOR_BYTES
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from ..clock import seconds_of


@dataclass(frozen=True)
class Sizes:
    """How much is done to measure: elements (float64) of a stream, passes of FMAs, rounds."""

    elements: int
    passes: int
    rounds: int


FULL = Sizes(elements=2**25, passes=2_000_000, rounds=15)  # 256 MB an array: beyond every cache
QUICK = Sizes(elements=2**16, passes=1000, rounds=1)


@dataclass(frozen=True)
class Machine:
    """Measured limits; ``peak`` in flop/s by dtype, the bandwidths in counted bytes/s."""

    name: str
    threads: int
    cache_bytes: int
    peak_of_one_core: dict[str, float]
    peak: dict[str, float]
    read: float
    copy: float
    triad: float

    def describe(self) -> list[str]:
        """Return what was measured, a line for each."""
        peaks = ", ".join(
            f"{dtype} {self.peak_of_one_core[dtype] / 1e9:.0f} GFLOP/s on one core, "
            f"{self.peak[dtype] / 1e9:.0f} on {self.threads}"
            for dtype in self.peak
        )
        return [
            f"{self.name}, {self.threads} threads, last-level cache {self.cache_bytes >> 20} MB",
            f"FMA peak: {peaks}",
            f"memory, {self.threads} threads: read {self.read / 1e9:.1f} GB/s, "
            f"copy {self.copy / 1e9:.1f}, triad {self.triad / 1e9:.1f} "
            "(counting what the program reads and writes)",
        ]


def measure(threads: int, sizes: Sizes = FULL) -> Machine:
    """Measure this machine, now."""
    dtypes = ("float64", "float32")
    read, copy, triad = _bandwidths(threads, sizes)
    return Machine(
        name=processor_name(),
        threads=threads,
        cache_bytes=LAST_LEVEL_BYTES,
        peak_of_one_core={dtype: _fma_peak(dtype, 1, sizes) for dtype in dtypes},
        peak={dtype: _fma_peak(dtype, threads, sizes) for dtype in dtypes},
        read=read,
        copy=copy,
        triad=triad,
    )


# ---- FMA peak ----------------------------------------------------------------------------------


def _independent_chains() -> int:
    """Return how many independent sums hide the latency of an FMA.

    They must fit the registers beside two factors: 32 registers of 64 (AVX-512) or of 16 bytes
    (NEON), 16 of 32 (AVX2) or of 16 (SSE2).
    """
    if VECTOR_BYTES == 16 and llvmlite.binding.get_host_cpu_features().get("neon"):
        return 24
    return {64: 24, 32: 13, 16: 13}[VECTOR_BYTES]


CHAINS = _independent_chains()


@intrinsic
def _fma_chains(typingctx, passes, factor, addend):  # noqa: ARG001
    """Run ``CHAINS`` sums s = s * factor + addend side by side; return one lane of their total."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        passes, factor, addend = arguments
        bits = factor.type.intrinsic_name[1:]
        lanes = VECTOR_BYTES * 8 // int(bits)
        vector, integer = ir.VectorType(factor.type, lanes), passes.type
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fmuladd.v{lanes}f{bits}",
        )
        factors, addends = (_broadcast(builder, value, vector) for value in (factor, addend))
        before = builder.block
        loop = builder.append_basic_block("fma.loop")
        after = builder.append_basic_block("fma.after")
        builder.branch(loop)
        builder.position_at_end(loop)
        count = builder.phi(integer)
        sums = [builder.phi(vector) for _ in range(CHAINS)]
        following = builder.add(count, ir.Constant(integer, 1))
        results = [builder.call(fma, [total, factors, addends]) for total in sums]
        count.add_incoming(ir.Constant(integer, 0), before)
        count.add_incoming(following, loop)
        for start, (total, result) in enumerate(zip(sums, results, strict=True)):
            # Different starts: equal chains would be computed once.
            total.add_incoming(ir.Constant(vector, [float(start)] * lanes), before)
            total.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", following, passes), loop, after)
        builder.position_at_end(after)
        combined = results[0]
        for result in results[1:]:
            combined = builder.fadd(combined, result)
        return builder.extract_element(combined, ir.Constant(ir.IntType(32), 0))

    return factor(types.intp, factor, factor), codegen


def _broadcast(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, undefined, lanes)


@numba.njit(nogil=True)
def _run_fma_chains(passes: int, factor: Any, addend: Any) -> Any:
    return _fma_chains(passes, factor, addend)


def _fma_peak(dtype: str, threads: int, sizes: Sizes) -> float:
    scalar = np.dtype(dtype).type
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize

    def run(_thread: int) -> None:
        _run_fma_chains(sizes.passes, scalar(0.5), scalar(1))

    run(0)
    flops = threads * sizes.passes * CHAINS * lanes * 2
    return flops / _best_seconds(run, threads, sizes.rounds)


# ---- memory bandwidth --------------------------------------------------------------------------


@numba.njit(nogil=True, fastmath={"reassoc"})
def _read(a: Any) -> Any:
    total = 0.0
    for k in range(a.size):
        total += a[k]
    return total


@numba.njit(nogil=True)
def _copy(a: Any, b: Any) -> None:
    for k in range(a.size):
        a[k] = b[k]


@numba.njit(nogil=True)
def _triad(a: Any, b: Any, c: Any) -> None:
    for k in range(a.size):
        a[k] = b[k] + 0.5 * c[k]


def _bandwidths(threads: int, sizes: Sizes) -> tuple[float, float, float]:
    """Return bytes/s of reading one array, copying it, and a = b + s c (two read, one written)."""
    return (
        _stream(_read, 1, threads, sizes),
        _stream(_copy, 2, threads, sizes),
        _stream(_triad, 3, threads, sizes),
    )


def _stream(kernel: Callable[..., Any], arrays: int, threads: int, sizes: Sizes) -> float:
    operands = [np.full(sizes.elements, float(k)) for k in range(arrays)]
    bounds = np.linspace(0, sizes.elements, threads + 1).astype(int)

    def parts(thread: int) -> list[NDArray[np.float64]]:
        return [operand[bounds[thread] : bounds[thread + 1]] for operand in operands]

    kernel(*parts(0))
    seconds = _best_seconds(lambda thread: kernel(*parts(thread)), threads, sizes.rounds)
    return arrays * sizes.elements * 8 / seconds


# ---- both --------------------------------------------------------------------------------------


def _best_seconds(run: Callable[[int], object], threads: int, rounds: int) -> float:
    """Return the shortest wall time in which all threads have run their part."""
    if threads == 1:
        return min(seconds_of(lambda: run(0)) for _ in range(rounds))
    with ThreadPoolExecutor(threads) as pool:
        return min(seconds_of(lambda: list(pool.map(run, range(threads)))) for _ in range(rounds))


@cache
def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
