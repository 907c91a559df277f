"""The arrays that a network is made of, checked once at the door."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.errors import DTypeError, OptionError, ShapeError
from fastbp.network.gradients import Shapes
from fastbp.runtime.threads import get_num_threads
from fastbp.runtime.validation import (
    FLOAT_TYPES,
    require_dtype,
    require_finite,
    require_floats,
    require_integer,
    require_shape,
)
from fastbp.typing import AnyFloats

# Of more parameters, which take 10 ms, threads draw blocks of about so many.
ONE_STREAM = 1 << 20
BLOCK_ENTRIES = 1 << 16


def require_weights(weights: object, layout: str) -> list[AnyFloats]:
    """Check that ``weights`` is a list of finite matrices that fit each other."""
    if isinstance(weights, np.ndarray) or not isinstance(weights, Sequence):
        raise DTypeError(f"weights must be a list of arrays, not {type(weights).__name__}.")
    if not weights:
        raise ShapeError("weights must hold at least one array, not none.")
    arrays: list[AnyFloats] = []
    for k, value in enumerate(weights):
        name = f"weights[{k}]"
        array = (
            require_floats(value, name)
            if k == 0
            else require_dtype(value, name, arrays[0].dtype, "weights[0]")
        )
        if array.ndim != 2 or 0 in array.shape:
            raise ShapeError(
                f"{name} must have two dimensions of at least 1, not shape {array.shape}."
            )
        if k > 0:
            before = arrays[-1].shape[1 if layout == "keras" else 0]
            wanted = (before, "n_out") if layout == "keras" else ("n_out", before)
            require_shape(array, name, wanted)
        arrays.append(array)
    for k, array in enumerate(arrays):
        require_finite(array, f"weights[{k}]")
    return arrays


def require_biases(biases: object, weights: list[AnyFloats], layout: str) -> list[AnyFloats] | None:
    """Check that ``biases`` is None or a list of finite vectors that fit the weights."""
    if biases is None:
        return None
    if isinstance(biases, np.ndarray) or not isinstance(biases, Sequence):
        raise DTypeError(f"biases must be a list of arrays or None, not {type(biases).__name__}.")
    if len(biases) != len(weights):
        raise ShapeError(f"biases must hold {len(weights)} arrays like weights, not {len(biases)}.")
    arrays = []
    for k, (value, weight) in enumerate(zip(biases, weights, strict=True)):
        name = f"biases[{k}]"
        array = require_dtype(value, name, weights[0].dtype, "weights[0]")
        units = weight.shape[1 if layout == "keras" else 0]
        if array.shape not in ((units,), (units, 1)):
            raise ShapeError(
                f"{name} must have shape ({units}, 1) or ({units},), not {array.shape}."
            )
        require_finite(array, name)
        arrays.append(array)
    return arrays


def mapped_vector(arrays: list[AnyFloats]) -> AnyFloats | None:
    """View arrays that lie one after the other in a memory-mapped file as one read-only vector.

    Returns None where they do not, or not at addresses that are multiples of their items.
    """
    mappings = [_mapping_of(array) for array in arrays]
    mapping, dtype = mappings[0], arrays[0].dtype
    if mapping is None or any(other is not mapping for other in mappings):
        return None
    starts = [array.ctypes.data for array in arrays]
    ends = [start + array.nbytes for start, array in zip(starts, arrays, strict=True)]
    contiguous = all(array.flags.c_contiguous for array in arrays)
    if not contiguous or starts[1:] != ends[:-1] or starts[0] % dtype.itemsize:
        return None
    offset = starts[0] - np.frombuffer(mapping, np.uint8).ctypes.data
    size = (ends[-1] - starts[0]) // dtype.itemsize
    vector = np.ndarray(size, dtype, buffer=mapping, offset=offset)
    vector.flags.writeable = False
    return vector


def _mapping_of(array: Any) -> mmap.mmap | None:
    """Find the mapped file of which an array is a view."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None


def require_float_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the float type that ``dtype`` names."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"dtype must be float64 or float32, not {dtype!r}.") from None
    if kind not in FLOAT_TYPES:
        raise DTypeError(f"dtype must be float64 or float32, not {kind}.")
    return kind


def require_sizes(sizes: object) -> list[int]:
    """Return the units of each level as plain integers."""
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise DTypeError(f"sizes must be a sequence of integers, not {type(sizes).__name__}.")
    if len(sizes) < 2:
        raise ShapeError(f"sizes must name at least an input and an output, not {list(sizes)}.")
    return [require_integer(size, f"sizes[{k}]", 1) for k, size in enumerate(sizes)]


def require_room(sizes: list[int], dtype: np.dtype[Any]) -> None:
    """Refuse more parameters than any memory has addresses for, or than this one has now."""
    needed = dtype.itemsize * sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
    try:
        if max(*sizes, needed) > sys.maxsize:
            raise MemoryError
        np.empty(needed, np.uint8)  # touched by nobody: only asks
    except MemoryError:
        digits = int(math.log10(needed))
        size = f"{needed:,}" if digits < 18 else f"about 1e{digits}"
        raise OptionError(
            f"sizes must leave room for the parameters, but they need {size} bytes."
        ) from None


def random_parameters(shapes: Shapes, seed: int, dtype: np.dtype[Any]) -> AnyFloats:
    """Draw He-initialised weights, and biases of standard deviation 0.1, as one vector.

    Each number is drawn in float64 and rounded, and is that of the same unit and input in every
    layout. Up to `ONE_STREAM` parameters come from one generator, of more every block of rows from
    a generator of its own: so threads share the work, and the numbers do not depend on how many.
    """
    vector = np.empty(shapes.size, dtype)
    if shapes.size <= ONE_STREAM:
        generator = np.random.default_rng(seed)
        for rows, deviation in _rows_and_deviations(shapes, vector):
            _draw(generator, rows, deviation)
        return vector
    blocks = [
        (rows[start : start + height], deviation, (array, start // height))
        for array, (rows, deviation) in enumerate(_rows_and_deviations(shapes, vector))
        for height in [max(1, BLOCK_ENTRIES // rows.shape[1])]
        for start in range(0, len(rows), height)
    ]

    def draw_block(rows: AnyFloats, deviation: float, key: tuple[int, int]) -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=key)
        _draw(np.random.default_rng(sequence), rows, deviation)

    with ThreadPoolExecutor(get_num_threads(), thread_name_prefix="fastbp") as executor:
        try:
            for _ in executor.map(draw_block, *zip(*blocks, strict=True)):
                pass
        except BaseException:
            executor.shutdown(cancel_futures=True)  # Ctrl-C: no block begins
            raise
    return vector


def _rows_and_deviations(shapes: Shapes, vector: AnyFloats) -> Iterator[tuple[AnyFloats, float]]:
    """View each array of a vector as (units, inputs) or (units, 1), with its deviation."""
    for array in shapes.arrays:
        view: AnyFloats = array.view(vector)
        if array.kind == "weights":
            yield shapes.by_unit(view), math.sqrt(2.0 / shapes.sizes[array.layer])
        else:
            yield view.reshape(-1, 1), 0.1


def _draw(generator: np.random.Generator, rows: AnyFloats, deviation: float) -> None:
    drawn = generator.standard_normal(rows.shape)
    np.multiply(drawn, deviation, out=drawn)
    rows[...] = drawn
