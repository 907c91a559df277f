"""Parameters that a function holds by reference, and arguments to which it keeps a reference.

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

from fastbp.errors import DTypeError, ShapeError
from fastbp.function.containers.leaf_forms import read_leaf
from fastbp.function.containers.pytree import NAMESPACE, Container, require_leaves, take_apart
from fastbp.runtime.validation import require_callable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastbp.function.containers.point import Point

__all__ = ["OwnCopies", "by_reference", "references"]


def by_reference(function: Callable[[], Any], parameters: Any) -> Callable[[Any], Any]:
    """Turn a function without arguments, of arrays that it holds, into one of their values.

    Parameters
    ----------
    function : callable
        Takes no argument; reads `parameters`, which are changed in place.
    parameters : nesting of ndarray
        The arrays themselves, any nesting of them; writable.

    Returns
    -------
    callable
        Writes the values that it is given into `parameters`, calls `function`, and puts the
        former values back, also after an exception. Each call copies all parameters twice.

    Raises
    ------
    DTypeError
        If a leaf of `parameters` is no writable array of floats.

    Examples
    --------
    >>> import fastbp
    >>> import numpy as np
    >>> weights = np.array([1.0, 2.0])
    >>> loss = fastbp.by_reference(lambda: np.sum(weights**2), weights)
    >>> gradient = fastbp.by_reference(lambda: 2 * weights, weights)
    >>> fastbp.check_gradient(loss, gradient, weights).verdict
    'passed'
    """
    require_callable(function, "function")
    held = take_apart(parameters, "parameters")
    require_leaves(held, "parameters", complex_too=True)
    for name, leaf in zip(held.names, held.leaves, strict=True):
        if not isinstance(leaf, np.ndarray) or not leaf.flags.writeable:
            raise DTypeError(f"{name} must be a writable array: it is changed in place.")

    return _ByReference(function, held.leaves)


class _ByReference:
    """A function of values that are written into arrays, for as long as it takes."""

    def __init__(self, function: Callable[[], Any], leaves: list[NDArray[Any]]) -> None:
        self.function, self.leaves = function, leaves
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, at: Any) -> Any:
        former = [leaf.copy() for leaf in self.leaves]
        try:
            _write(self.leaves, _fitting(self.leaves, take_apart(at, "at")))
            result = self.function()
            # A result that is the parameters' own memory would change with them.
            return optree.tree_map(_own, result, namespace=NAMESPACE)
        finally:
            # Ctrl-C may come between two arrays. Not in a function of its own: Python looks for
            # signals where one begins, before its first statement.
            interrupt: KeyboardInterrupt | None = None
            while True:
                try:
                    _write(self.leaves, former)
                    break
                except KeyboardInterrupt as error:
                    interrupt = error
            if interrupt is not None:
                raise interrupt

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a worker, if function and arrays are still those of each other there."""
        _require_held(self.function, self.leaves)
        return vars(self)


def _fitting(targets: list[NDArray[Any]], values: Container) -> list[NDArray[Any]]:
    """Return the values as arrays; raise where writing them would cast or broadcast."""
    if len(values.leaves) != len(targets):
        raise ShapeError(f"at must have {len(targets)} arrays, not {len(values.leaves)}.")
    arrays = [np.asarray(leaf) for leaf in values.leaves]
    for name, array, target in zip(values.names, arrays, targets, strict=True):
        if array.shape != target.shape:
            raise ShapeError(f"{name} must have shape {target.shape}, not {array.shape}.")
        if array.dtype != target.dtype:
            raise DTypeError(f"{name} must be {target.dtype}, not {array.dtype}.")
    return arrays


def _require_held(function: Callable[[], Any], leaves: list[NDArray[Any]]) -> None:
    """Raise unless a pickle of the function has the very arrays in it.

    What is imported by name on the other side reads arrays of its own there, and a view is no
    view of anything: the function would seem constant.
    """
    import io

    import cloudpickle

    missing = {id(leaf) for leaf in leaves}

    class Looking(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, thing: Any) -> None:
            missing.discard(id(thing))

    Looking(io.BytesIO()).dump(function)
    if missing:
        raise DTypeError(
            "what is called by_reference reads parameters that do not travel with it: they must "
            "be in its closure or in an object that it holds, and no views of other arrays."
        )


def _own(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf.copy()
    # A tensor may share its memory with the working copy.
    numbers, form = read_leaf(leaf, "at")
    return leaf if form is None else form.leaf(numbers.copy())


def _write(targets: list[NDArray[Any]], values: Sequence[Any]) -> None:
    for target, value in zip(targets, values, strict=True):
        target[...] = value


def references(point: Point) -> int:
    """Count the references to the arrays of a working copy and to what holds them.

    Examples
    --------
    >>> from fastbp.function.containers.point import Point
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
