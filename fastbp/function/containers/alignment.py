"""What a user gives, in the order of the leaves for which it is meant: gradients and products.

The structure must be that of the leaves. What means the same counts as the same: a list of numbers
for a vector and a vector for a list of numbers, a dense matrix for a sparse one and the reverse,
and nothing, or zeros, for what is held fixed.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.function.containers.leaf_forms import SparseForm
from fastbp.function.containers.pytree import take_apart
from fastbp.runtime.validation import as_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastbp.function.containers.leaf_forms import Form
    from fastbp.function.containers.pytree import Container, Held

__all__ = ["Aligned", "aligned"]

LAST_INDEX = re.compile(r"(.*)\[(\d+)\]$")


@dataclass(slots=True, eq=False)
class Aligned:
    """What was given, a leaf for each leaf of a container.

    Attributes
    ----------
    arrays : list of ndarray or None
        As given, of any shape and dtype; None where there is none.
    extra : list of str
        The names of what there is no leaf for.
    not_zero : list of str
        The names of leaves that have no derivative, but are given one.
    outside : int
        How many numbers that are not 0 lie outside the structure of a sparse leaf.
    """

    arrays: list[NDArray[Any] | None]
    extra: list[str] = field(default_factory=list)
    not_zero: list[str] = field(default_factory=list)
    outside: int = 0


def aligned(value: Any, container: Container, name: str) -> Aligned:
    """Put what was given for the leaves of a container into their order.

    Parameters
    ----------
    value : object
        In the structure of the container.
    container : Container
    name : str
        What it is called.

    Raises
    ------
    DTypeError
        If a leaf holds no numbers.

    Examples
    --------
    >>> leaves = take_apart({"w": np.ones(2), "b": [0.5, 1.5]}, "params")
    >>> aligned({"w": [1, 2.5], "b": np.array([3.0, 4.0])}, leaves, "gradient").arrays
    [array(3.), array(4.), array([1. , 2.5])]
    """
    return _Alignment(value, container, name).result()


class _Alignment:
    """The leaves that were given, by path, and which of them are used."""

    def __init__(self, value: Any, container: Container, name: str) -> None:
        parts = take_apart(value, name)
        self.container, self.name = container, name
        self.given = dict(zip(parts.paths, parts.leaves, strict=True))
        self.forms = dict(zip(parts.paths, parts.forms, strict=True))
        self.taken: dict[str, set[tuple[int, ...]]] = {}  # entries of vectors, for lists
        self.outside = 0

    def result(self) -> Aligned:
        arrays = [
            self._array(path, leaf, form)
            for path, leaf, form in zip(
                self.container.paths, self.container.leaves, self.container.forms, strict=True
            )
        ]
        for path, places in self.taken.items():
            array = np.asarray(self.given[path])
            if len(places) == array.size:
                del self.given[path]
            else:  # a vector of another length than the list
                arrays = [
                    None if own.startswith(f"{path}[") else found
                    for own, found in zip(self.container.paths, arrays, strict=True)
                ]
        not_zero = [held.name for held in self.container.held if self._is_not_zero(held)]
        return Aligned(arrays, [self.name + path for path in self.given], not_zero, self.outside)

    def _array(self, path: str, leaf: Any, form: Form | None) -> NDArray[Any] | None:
        if isinstance(form, SparseForm):
            return self._sparse(path, form)
        if path in self.given:
            return self._numbers(path)
        sparse = self.forms.get(f"{path}.data")
        if isinstance(sparse, SparseForm):
            return np.asarray(sparse.leaf(self._numbers(f"{path}.data")).toarray())
        if isinstance(leaf, np.ndarray):
            return self._list(path, leaf)
        return self._entry(path)

    def _numbers(self, path: str) -> NDArray[Any]:
        leaf = self.given.pop(path)
        if type(leaf) is int:  # a number of Python is exact; an array of integers may be cut off
            with contextlib.suppress(OverflowError):  # such an integer is refused below
                leaf = float(leaf)
        return as_numbers(leaf, self.name + path)

    def _sparse(self, path: str, form: SparseForm) -> NDArray[Any] | None:
        whole = path.removesuffix(form.suffix)
        given = self.forms.get(path)
        if isinstance(given, SparseForm):
            numbers = self._numbers(path)
            if form.same_structure(given):
                return numbers
            matrix = given.leaf(numbers)
        elif whole in self.given:
            matrix = self._numbers(whole)
            if matrix.shape != form.shape:  # the derivative by the data alone, or a finding
                return matrix
        else:
            return None
        if tuple(matrix.shape) != form.shape:
            return np.zeros(tuple(matrix.shape))
        numbers = form.gathered(matrix)
        self.outside += _count_not_zero(matrix) - _count_not_zero(numbers)
        return numbers

    def _list(self, path: str, leaf: NDArray[Any]) -> NDArray[Any] | None:
        """Return an array for a list, or lists of lists, of numbers of Python."""
        members = [own for own in self.given if own.startswith(f"{path}[")]
        indices = [tuple(map(int, re.findall(r"\[(\d+)\]", own[len(path) :]))) for own in members]
        numbers = all(type(self.given[own]) in (float, int, np.float64) for own in members)
        if not members or not numbers or sorted(indices) != list(np.ndindex(leaf.shape)):
            return None
        array = np.empty(leaf.shape)
        for own, index in zip(members, indices, strict=True):
            array[index] = self.given.pop(own)
        return array

    def _entry(self, path: str) -> NDArray[Any] | None:
        """Return the entry of a vector that is meant for a number in a list."""
        index: tuple[int, ...] = ()
        whole = path
        while match := LAST_INDEX.match(whole):
            whole, index = match[1], (int(match[2]), *index)
            if whole in self.given:
                array = as_numbers(self.given[whole], self.name + whole)
                if array.ndim != len(index) or any(
                    place >= length for place, length in zip(index, array.shape, strict=True)
                ):
                    return None
                self.taken.setdefault(whole, set()).add(index)
                return np.asarray(array[index])
        return None

    def _is_not_zero(self, held: Held) -> bool:
        """Tell whether what has no derivative is given one; JAX's zeros are empty (float0).

        The value itself is none: it comes with a copy of the argument, as from
        `dataclasses.replace`.
        """
        if held.path not in self.given:
            return False
        leaf = np.asarray(self.given.pop(held.path))
        if leaf.dtype.kind not in "fciub" or not np.any(leaf):
            return False
        own = np.asarray(held.value)
        return leaf.dtype.kind != own.dtype.kind or not np.array_equal(leaf, own)


def _count_not_zero(matrix: Any) -> int:
    if hasattr(matrix, "count_nonzero"):
        return int(matrix.count_nonzero())
    return int(np.count_nonzero(matrix))
