"""Nested containers of floats: taken apart into arrays with names, and put together again.

An argument may be an array, a scalar, or any nesting of lists, tuples, dicts, named tuples and
dataclasses of these. Names read like Python: ``params['layer1'].weight``.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optree

from fastbp.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Container", "by_reference", "take_apart"]

# Dataclasses are registered with optree in a namespace of ours, so that nobody else sees it.
NAMESPACE = "fastbp"
REAL = (np.dtype(np.float64), np.dtype(np.float32))
COMPLEX = (np.dtype(np.complex128), np.dtype(np.complex64))
_registered: set[type] = set()


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """What a nesting of floats is made of, in the order in which Python would walk it.

    Attributes
    ----------
    names : list of str
        One for each leaf, as ``params['layer1'].weight``.
    leaves : list
        Arrays and scalars, as they were given.
    structure : PyTreeSpec
        How they are nested.
    """

    names: list[str]
    leaves: list[Any]
    structure: Any

    def rebuilt(self, leaves: Sequence[Any]) -> Any:
        """Return the same nesting with other leaves."""
        return optree.tree_unflatten(self.structure, leaves)

    def copied(self) -> Container:
        """Return the same with copies of the leaves."""
        return Container(self.names, [copy.copy(leaf) for leaf in self.leaves], self.structure)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each leaf; that of a scalar is ()."""
        return [np.shape(leaf) for leaf in self.leaves]


def take_apart(value: Any, name: str) -> Container:
    """Take a nesting apart, whatever its leaves are.

    Parameters
    ----------
    value : object
        An array, a scalar, or a nesting of lists, tuples, dicts, named tuples and dataclasses.
    name : str
        What the whole is called.

    Examples
    --------
    >>> parts = take_apart({"b": [0.5, np.ones(3)]}, "params")
    >>> parts.names, parts.shapes
    (["params['b'][0]", "params['b'][1]"], [(), (3,)])
    >>> parts.rebuilt([1.0, 2.0])
    {'b': [1.0, 2.0]}
    """
    _register_dataclasses(value)
    accessors, leaves, structure = optree.tree_flatten_with_accessor(value, namespace=NAMESPACE)
    return Container([accessor.codify(name) for accessor in accessors], leaves, structure)


def require_leaves(container: Container, name: str, *, complex_too: bool = False) -> None:
    """Raise unless there is an entry at all and every leaf holds floats."""
    allowed = REAL + COMPLEX if complex_too else REAL
    for leaf_name, leaf in zip(container.names, container.leaves, strict=True):
        _require_float_leaf(leaf, leaf_name, allowed)
    if sum(np.size(leaf) for leaf in container.leaves) == 0:
        raise ShapeError(f"{name} must hold at least one float, but it is empty.")


def _require_float_leaf(leaf: Any, name: str, allowed: tuple[np.dtype[Any], ...]) -> None:
    kinds = (
        "float64, float32, complex128 or complex64" if len(allowed) > 2 else ("float64 or float32")
    )
    if not isinstance(leaf, np.ndarray | np.generic | float | complex | int):
        raise DTypeError(f"{name} must be an array or a float, not {type(leaf).__name__}.")
    dtype = np.asarray(leaf).dtype
    if dtype not in allowed or not dtype.isnative:
        came = type(leaf).__name__ if isinstance(leaf, bool | int) else str(dtype)
        hint = ""
        if dtype.kind in "iub":
            hint = " What is no float has no derivative: bind it to the function."
        if dtype.kind == "c":
            hint = " Complex arguments are for check_vjp and check_jvp."
        raise DTypeError(f"{name} must be {kinds}, not {came}.{hint}")


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
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _write(targets: list[NDArray[Any]], values: Sequence[Any]) -> None:
    for target, value in zip(targets, values, strict=True):
        target[...] = value


def _register_dataclasses(value: Any) -> None:
    """Make the types of all dataclasses in a nesting known to optree."""

    def is_leaf(node: Any) -> bool:
        if dataclasses.is_dataclass(node) and not isinstance(node, type):
            _register(type(node))
        return False

    seen = -1
    while seen != len(_registered):  # what is inside a dataclass shows once that is registered
        seen = len(_registered)
        optree.tree_leaves(value, is_leaf=is_leaf, namespace=NAMESPACE)


def _register(cls: type) -> None:
    if cls in _registered or optree.register_pytree_node.get(cls, namespace=NAMESPACE) is not None:
        return
    fields = [field.name for field in dataclasses.fields(cls)]

    def flatten(instance: Any) -> tuple[list[Any], None, list[str]]:
        return [getattr(instance, field) for field in fields], None, fields

    def unflatten(_: Any, children: Any) -> Any:
        # Neither __init__ nor __post_init__ may change, refuse or compute anything here.
        instance: Any = object.__new__(cls)
        for field, child in zip(fields, children, strict=True):
            object.__setattr__(instance, field, child)
        return instance

    optree.register_pytree_node(
        cls, flatten, unflatten, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE
    )
    _registered.add(cls)
