"""Checks at the door: each says which argument, what was expected, and what came."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.errors import DTypeError, NonFiniteError, OptionError, ShapeError
from fastbp.typing import AnyFloats, Array

FLOAT_TYPES = (np.dtype(np.float64), np.dtype(np.float32))


def require_array(value: object, name: str) -> Array:
    """Return ``value`` if it is a NumPy array; nothing else is converted."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.memmap):
        return np.asarray(value)
    raise DTypeError(f"{name} must be a NumPy array, not {type(value).__name__}.")


BLOCK = 1 << 20  # entries that are looked at together


def as_numbers(value: object, name: str) -> Array:
    """Return a gradient, as it is given, as an array of numbers; without a copy if possible."""
    if isinstance(value, np.ma.MaskedArray):
        raise DTypeError(f"{name} must be an array without a mask, not MaskedArray; fill it first.")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DTypeError(f"{name} must be an array of floats: {error}") from error
    if array.dtype.kind not in "fiucb":
        came = f"one of dtype {array.dtype}" if array.ndim else type(value).__name__
        raise DTypeError(f"{name} must be an array of floats, not {came}.")
    return array


def require_floats(value: object, name: str) -> AnyFloats:
    """Return ``value`` if it is an array of native float64 or float32."""
    array = require_array(value, name)
    if array.dtype not in FLOAT_TYPES or not array.dtype.isnative:
        hint = ""
        if array.dtype.kind in "iub":
            hint = " Use floats, for example array.astype(np.float64)."
        raise DTypeError(f"{name} must be float64 or float32, not {array.dtype}.{hint}")
    return array


def require_dtype(value: object, name: str, dtype: np.dtype[Any], like: str) -> AnyFloats:
    """Return ``value`` if it is an array of exactly the float type of ``like``."""
    array = require_floats(value, name)
    if array.dtype != dtype:
        raise DTypeError(f"{name} must be {dtype} like {like}, not {array.dtype}.")
    return array


def require_shape(array: Array, name: str, shape: tuple[int | str, ...]) -> None:
    """Compare a shape exactly; a string stands for a length that is free."""
    fits = len(array.shape) == len(shape) and all(
        isinstance(wanted, str) or wanted == length
        for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(length) for length in shape) + ("," if len(shape) == 1 else "")
        raise ShapeError(f"{name} must have shape ({wanted}), not {array.shape}.")


def require_finite(array: Array, name: str) -> None:
    """Raise for NaN or infinity, naming the first place in C order."""
    if all_finite(array):
        return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    index = ", ".join(str(i) for i in place)
    raise NonFiniteError(f"{name} must be finite, but {name}[{index}] is {float(array[place])}.")


def all_finite(array: Array) -> bool:
    """Tell whether there is neither NaN nor infinity, block by block: a mapped file may be large.

    Examples
    --------
    >>> all_finite(np.ones((3, 4))), all_finite(np.array([1.0, np.nan]))
    (True, False)
    """
    if array.size <= BLOCK:
        return bool(np.isfinite(array).all())
    rows = max(1, BLOCK // (array.size // len(array)))
    blocks = range(0, len(array), rows)
    return all(np.isfinite(array[start : start + rows]).all() for start in blocks)


def require_number(value: object, name: str, low: float, high: float, expected: str) -> float:
    """Return a finite real number between ``low`` and ``high`` as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise OptionError(f"{name} must be {expected}, not {value!r}.")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        raise OptionError(f"{name} must be {expected}, not an integer beyond 1e308.") from None
    if not low <= number <= high or not np.isfinite(number):
        raise OptionError(f"{name} must be {expected}, not {number!r}.")
    return number


def require_callable(value: object, name: str) -> None:
    """Raise unless ``value`` can be called.

    Examples
    --------
    >>> require_callable(3, "f")
    Traceback (most recent call last):
        ...
    fastbp.errors.DTypeError: f must be callable, not int.
    """
    if not callable(value):
        raise DTypeError(f"{name} must be callable, not {type(value).__name__}.")


def require_path(value: object, name: str = "path") -> Path:
    """Return a path of a file."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise DTypeError(f"{name} must be a path, not {type(value).__name__}.")
    if "\0" in text:
        raise OptionError(f"{name} must hold no NUL character.")
    return Path(text)


def require_tolerances(rtol: object, atol: object) -> None:
    """Raise unless each is None or a finite number of at least 0."""
    for value, name in ((rtol, "rtol"), (atol, "atol")):
        if value is not None:
            require_number(value, name, 0.0, np.inf, "None or a finite number of at least 0")


def require_integer(value: object, name: str, low: int) -> int:
    """Return an integer (of Python or NumPy) of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise OptionError(f"{name} must be an integer of at least {low}, not {value!r}.")
    return int(value)


def require_seed(value: object) -> int:
    """Return ``value`` if it is a seed, or one that is drawn for None."""
    return secrets.randbits(32) if value is None else require_integer(value, "seed", 0)


def require_choice(value: object, name: str, known: Sequence[str]) -> str:
    """Return ``value`` if it is one of the known names."""
    if not isinstance(value, str) or value not in known:
        names = ", ".join(repr(choice) for choice in known)
        raise OptionError(f"{name} must be one of {names}, not {value!r}.")
    return value


def require_order(value: object) -> int:
    """Return ``value`` if it is an order up to which derivatives are checked."""
    if type(value) is not int or value not in (1, 2):
        raise OptionError(f"order must be 1 or 2, not {value!r}.")
    return value


def require_bool(value: object, name: str) -> bool:
    """Return ``value`` if it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise OptionError(f"{name} must be True or False, not {value!r}.")
    return bool(value)


def require_memory(max_memory: object) -> int:
    """Return ``max_memory`` if it is a positive number of bytes."""
    integer = int | np.integer
    if isinstance(max_memory, bool) or not isinstance(max_memory, integer) or max_memory < 1:
        raise OptionError(f"max_memory must be a positive number of bytes, not {max_memory!r}.")
    return int(max_memory)
