"""Functions that keep a reference to their argument.

The working copy is one array, in which entries are changed and put back. A function that remembers
its last argument, to spare itself a second evaluation there, would find the array that it has kept
changed along with the new one, and answer from memory everywhere. It gets copies of its own.
"""

from __future__ import annotations

import sys
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from fastbp.function.pytree import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastbp.function.point import Point

__all__ = ["OwnCopies", "references"]


def references(point: Point) -> int:
    """Count the references to the arrays of a working copy and to what holds them.

    Examples
    --------
    >>> from fastbp.function.point import Point
    >>> point = Point(np.ones(3), "x")
    >>> before, kept = references(point), point.argument[1:]
    >>> references(point) - before
    1
    """
    return sum(sys.getrefcount(part) for part in [*point.leaves, *_containers(point.fixed)])


def _containers(value: Any) -> Iterator[Any]:
    """Go through lists, tuples, dicts and dataclasses, and what they hold."""
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    elif is_dataclass(value) and hasattr(value, "__dict__"):
        parts = vars(value).values()
    else:
        return
    yield value
    for part in parts:
        yield from _containers(part)


class OwnCopies:
    """A function that gets arrays of its own in each call, and may keep them."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, argument: Any) -> Any:
        """Evaluate it."""
        return self.function(optree.tree_map(_own, argument, namespace=NAMESPACE))


def _own(leaf: Any) -> Any:
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf
