"""What is wrong with one array, from the array and the right one alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.report.causes import Cause
from fastbp.verdict.diagnosis.likeness import Likeness, fitted_multiple, residual

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbp.typing import Array, Floats, Indices, Mask

__all__ = ["misarranged", "misshapen", "partly_wrong", "rounded"]

# Of rows that are looked up among all others, and of places that are named.
MOST_ROWS, MOST_NAMED = 4096, 4


def misshapen(given: Array, truth: Floats, likeness: Likeness) -> tuple[Cause, float] | None:
    """Explain an array whose shape is wrong, and say what is left unexplained of it.

    Examples
    --------
    >>> truth = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> cause, left = misshapen(truth.T, truth, Likeness(1e-9))
    >>> cause.kind, left
    ('transposed', 0.0)
    """
    if given.dtype.kind not in "fiu" or given.shape == truth.shape:
        return None
    numbers = given.astype(np.float64)
    ideas = []
    if numbers.size == truth.size > 0:
        if numbers.ndim == truth.ndim == 2 and numbers.shape == truth.T.shape:
            ideas.append((Cause("transposed"), numbers.T))
        shapes = f"{given.shape} in place of {truth.shape}"
        ideas.append((Cause("reshaped", shapes), numbers.reshape(truth.shape)))
    for axis in range(numbers.ndim if numbers.size else 0):
        summed = numbers.sum(axis=axis)
        if summed.size == truth.size:
            ideas.append((Cause("not_summed"), summed.reshape(truth.shape)))
    for cause, one in ideas:
        if likeness.alike(one, truth):
            return cause, residual(one, truth)
    return None


def misarranged(given: Floats, truth: Floats, likeness: Likeness) -> tuple[Cause, float] | None:
    """Explain an array that holds the right numbers at the wrong places.

    Examples
    --------
    >>> misarranged(np.array([2.0, 1.0, 3.0]), np.array([1.0, 2.0, 3.0]), Likeness(1e-9))
    (Cause(kind='permuted', detail='entries', factor=None, readings=()), 0.0)
    """
    if likeness.alike(given, truth):
        return None
    for cause, one in _arrangements(given, truth):
        if likeness.explains(given, one, truth):
            return cause, residual(given, one)
    return None


def _arrangements(given: Floats, truth: Floats) -> Iterator[tuple[Cause, Floats]]:
    """Yield the right array in the arrangements that a given one may have."""
    if truth.ndim == 2 and truth.shape[0] == truth.shape[1] > 1:
        yield Cause("transposed"), truth.T
        diagonal = np.diag(np.diag(truth))
        for name, one in (
            ("the sum of the gradient and its transpose", truth + truth.T),
            ("the mean of the gradient and its transpose", (truth + truth.T) / 2),
            ("the lower triangle alone", np.tril(truth)),
            ("the upper triangle alone", np.triu(truth)),
            ("the diagonal alone", diagonal),
            ("right but for the diagonal, which is zero", truth - diagonal),
            ("the lower triangle with the upper one added", np.tril(truth) + np.triu(truth, 1).T),
            ("the upper triangle with the lower one added", np.triu(truth) + np.tril(truth, -1).T),
            ("the gradient and its transpose added, its diagonal once",
             truth + truth.T - diagonal),
        ):  # fmt: skip
            yield Cause("pattern", name), one
    if truth.ndim == 1 or 1 in truth.shape:
        yield from _permuted("entries", given.reshape(-1, 1), truth.reshape(-1, 1), truth.shape)
    elif truth.ndim == 2:
        yield from _permuted("rows", given, truth, truth.shape)
        for cause, one in _permuted("columns", given.T, truth.T, truth.T.shape):
            yield cause, one.T
        read_by_columns = truth.reshape(-1, order="F").reshape(truth.shape)
        yield Cause("permuted", "numbers, read by columns in place of by rows,"), read_by_columns


def _permuted(
    name: str, given: Floats, truth: Floats, shape: tuple[int, ...]
) -> Iterator[tuple[Cause, Floats]]:
    """Yield the right rows in the order of the given ones."""
    if not 2 <= len(given) <= MOST_ROWS:
        return
    order, own = (np.argsort(_projection(side), kind="stable") for side in (given, truth))
    if not np.array_equal(order, own):
        arranged = np.empty_like(truth)
        arranged[order] = truth[own]
        yield Cause("permuted", name), arranged.reshape(shape)


def _projection(rows: Floats) -> Floats:
    """Return one number for each row, which differs for almost all rows that differ."""
    weights = np.cos(np.arange(1.0, rows.shape[1] + 1.0))
    result: Floats = rows @ weights
    return result


def rounded(given: Floats, truth: Floats, wrong: Mask) -> Cause | None:
    """Explain an array of float64 that was rounded to fewer digits.

    Examples
    --------
    >>> truth = np.array([0.1, 0.2, 0.3])
    >>> rounded(truth.astype(np.float16).astype(np.float64), truth, np.ones(3, dtype=bool))
    Cause(kind='rounded', detail='half precision', factor=None, readings=())
    """
    if np.count_nonzero(wrong) < 2:
        return None
    with np.errstate(over="ignore"):
        for dtype, name in ((np.float16, "half precision"), (np.float32, "single precision")):
            exact = np.array_equal(given.astype(dtype), given)
            smallest = float(np.finfo(dtype).smallest_subnormal)
            unit = float(np.finfo(dtype).eps) * np.abs(truth) + smallest
            if exact and bool(np.all(np.abs(given - truth) <= 0.51 * unit)):
                return Cause("rounded", name)
    bits = np.ascontiguousarray(truth, dtype=np.float32).view(np.uint32)
    bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    brain = (bits & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
    held = np.ascontiguousarray(given, dtype=np.float32).view(np.uint32)
    if not np.any(held & np.uint32(0xFFFF)) and bool(
        np.all(np.abs(given - brain) <= 2.0**-7 * np.abs(brain) * (np.abs(given - brain) > 0))
    ):
        return Cause("rounded", "bfloat16")
    return None


def partly_wrong(given: Floats, truth: Floats, wrong: Mask, likeness: Likeness) -> Cause | None:
    """Tell which rows, columns or block are wrong, where the rest is right, and by what.

    Parameters
    ----------
    given, truth : float64
    wrong : bool
        Which entries are.
    likeness : Likeness

    Examples
    --------
    >>> truth = np.arange(1.0, 13.0).reshape(4, 3)
    >>> given = truth.copy(); given[2] = 0
    >>> partly_wrong(given, truth, given != truth, Likeness(1e-9)).detail
    'row 2, left at zero'
    """
    if not wrong.any():
        return None
    if wrong.all():
        return _factor_of_each(given, truth, likeness)
    right = np.count_nonzero(~wrong & (truth != 0))
    if right < np.count_nonzero(wrong):
        return None
    places = [np.unique(axis) for axis in np.nonzero(wrong)]
    said = _place_names(truth, wrong, places)
    if not said:
        return None
    how = _how(given[wrong], truth[wrong], likeness)
    return Cause("part", f"{said}{how}")


def _place_names(truth: Floats, wrong: Mask, places: list[Indices]) -> str:
    shape = truth.shape
    if int(np.count_nonzero(wrong)) == 1:
        index = ", ".join(str(int(axis[0])) for axis in places)
        return f"the entry [{index}]"
    if len(shape) == 1 or 1 in shape:
        longest = places[int(np.argmax(shape))]
        return f"entries {_listed(longest)}" if len(longest) <= MOST_NAMED else ""
    if len(shape) != 2:
        return ""
    for axis, name in ((0, "row"), (1, "column")):
        lines = places[axis]
        if len(lines) <= MOST_NAMED and len(lines) < shape[axis]:
            informative = int(np.count_nonzero(np.take(truth, lines, axis=axis)))
            if np.count_nonzero(wrong) >= WHOLE * max(informative, 1) and informative > 1:
                return (
                    f"{name} {_listed(lines)}" if len(lines) == 1 else f"{name}s {_listed(lines)}"
                )
    block = wrong[np.ix_(*places)]
    together = all(int(axis[-1]) - int(axis[0]) + 1 == len(axis) for axis in places)
    if together and np.count_nonzero(block) >= WHOLE * block.size:
        spans = ", ".join(f"{int(axis[0])}:{int(axis[-1]) + 1}" for axis in places)
        return f"the block [{spans}]"
    return ""


# So many of the entries of a row are wrong that the row is.
WHOLE = 0.8


def _how(given: Floats, truth: Floats, likeness: Likeness) -> str:
    if not np.any(given):
        return ", left at zero"
    if not np.isfinite(given).all():
        return ", not finite"
    multiple = fitted_multiple(given, truth)
    if multiple is not None and given.size > 2 and likeness.alike(given, multiple.factor * truth):
        times = f"{multiple.factor:.4g}"
        return "" if times == "1" else f", {times} times what it should be"
    return ""


def _factor_of_each(given: Floats, truth: Floats, likeness: Likeness) -> Cause | None:
    """Tell whether each row, or each column, is a multiple of the right one."""
    if truth.ndim != 2 or min(truth.shape) < 3:
        return None
    for name, one, other in (("row", given, truth), ("column", given.T, truth.T)):
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = (one * other).sum(axis=1) / np.square(other).sum(axis=1)
        factors = np.where(np.isfinite(factors), factors, 0.0)
        if likeness.alike(one, factors[:, None] * other):
            return Cause("row_factors", name)
    return None


def _listed(numbers: Indices) -> str:
    words = [str(int(number)) for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
