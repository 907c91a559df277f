"""Nested containers of floats: taken apart into arrays with names, and put together again.

An argument may be an array, a scalar, or any nesting of lists, tuples, dicts, named tuples,
dataclasses and registered classes of these; an array may be a tensor, an array of JAX or a sparse
one. Names read like Python: ``params['layer1'].weight``.
"""

from __future__ import annotations

import copy
import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optree

from fastbp.errors import DTypeError, ShapeError
from fastbp.function.containers.leaf_forms import Form, read_leaf
from fastbp.function.containers.registered import NAMESPACE, make_known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


__all__ = ["NAMESPACE", "Container", "Held", "flattened", "require_leaves", "take_apart"]

REAL = (np.dtype(np.float64), np.dtype(np.float32))
COMPLEX = (np.dtype(np.complex128), np.dtype(np.complex64))


class Held(NamedTuple):
    """A leaf that has no derivative, and stays what it is.

    Attributes
    ----------
    place : int
        Which of all leaves.
    name, path : str
        As in `Container`.
    value : object
        As it was given.
    dtype : str
        Of what.
    """

    place: int
    name: str
    path: str
    value: Any
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """What a nesting of floats is made of, in the order in which Python would walk it.

    Attributes
    ----------
    names : list of str
        One for each leaf, as ``params['layer1'].weight``.
    leaves : list
        Arrays of NumPy and scalars; of a tensor and its like, the numbers.
    structure : PyTreeSpec
        How they are nested.
    paths : list of str
        The names without that of the whole, as ``['layer1'].weight``.
    forms : list of Form or None
        What a leaf is made into again; None for arrays of NumPy and scalars.
    held : tuple of Held
        Leaves that are put back as they are, beside the others.
    """

    names: list[str]
    leaves: list[Any]
    structure: Any
    paths: list[str]
    forms: list[Form | None]
    held: tuple[Held, ...] = ()

    def rebuilt(self, leaves: Sequence[Any]) -> Any:
        """Return the same nesting with other numbers."""
        if any(self.forms):
            leaves = [
                leaf if form is None else form.leaf(leaf)
                for leaf, form in zip(leaves, self.forms, strict=True)
            ]
        return self._nested(leaves, [held.value for held in self.held])

    def of_results(self, leaves: Sequence[Any]) -> Any:
        """Return the same nesting for results: arrays of NumPy, and NaN for what is held."""
        plain = [
            leaf if form is None else form.plain(leaf)
            for leaf, form in zip(leaves, self.forms, strict=True)
        ]
        nothing = [np.full(np.shape(held.value), np.nan)[()] for held in self.held]
        return self._nested(plain, nothing)

    def _nested(self, leaves: Sequence[Any], of_held: Sequence[Any]) -> Any:
        parts = list(leaves)
        for held, value in zip(self.held, of_held, strict=True):  # in the order of their places
            parts.insert(held.place, value)
        return optree.tree_unflatten(self.structure, parts)

    def copied(self) -> Container:
        """Return the same with copies of the leaves."""
        return replace(self, leaves=[copy.copy(leaf) for leaf in self.leaves])

    def same_form(self, other: Container) -> bool:
        """Tell whether another one has leaves of the same names and shapes at the same places."""
        return (
            self.names == other.names
            and self.shapes == other.shapes
            and all(
                not (one is not None and one.suffix) or one == two
                for one, two in zip(self.forms, other.forms, strict=True)
            )
        )

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each leaf; that of a scalar is ()."""
        return [np.shape(leaf) for leaf in self.leaves]

    @property
    def notes(self) -> list[str]:
        """Sentences that say which leaves are held fixed."""
        return [f"{held.name} is held fixed: {held.dtype} has no derivative" for held in self.held]

    def holding(self) -> Container:
        """Return the same with integers, booleans and words held fixed, if there are floats too.

        In a list of numbers an integer beside a float is a float: ``[1, 0.5]`` is a vector.
        """
        kinds = [_kind(leaf) for leaf in self.leaves]
        if not any(kind in "fc" for kind in kinds):
            return self
        leaves = _with_floats_of_lists(self.leaves, self.structure)
        keep = [_kind(leaf) not in "iubks" for leaf in leaves]
        held = tuple(
            Held(place, self.names[place], self.paths[place],
                 _as_given(leaf, self.forms[place]), _dtype_name(leaf))
            for place, leaf in enumerate(leaves)
            if not keep[place]
        )  # fmt: skip

        def kept(values: list[Any]) -> list[Any]:
            return [value for value, wanted in zip(values, keep, strict=True) if wanted]

        return replace(
            self,
            names=kept(self.names),
            leaves=kept(leaves),
            paths=kept(self.paths),
            forms=kept(self.forms),
            held=held,
        )

    def without(self, held: Sequence[Held]) -> Container:
        """Return the same without the leaves that another one holds, of the same structure."""
        places = {one.place for one in held}
        kept = [place for place in range(len(self.leaves)) if place not in places]
        return replace(
            self,
            names=[self.names[place] for place in kept],
            leaves=[self.leaves[place] for place in kept],
        )

    def named(self, first: Mapping[str, str]) -> Container:
        """Return the same with other names for the members of the whole, by their paths."""

        def renamed(name: str, path: str) -> str:
            for code, label in first.items():
                if path.startswith(code):
                    return label + path.removeprefix(code)
            return name

        return replace(
            self,
            names=[renamed(*both) for both in zip(self.names, self.paths, strict=True)],
            held=tuple(held._replace(name=renamed(held.name, held.path)) for held in self.held),
        )


def flattened(value: Any, name: str) -> Container:
    """Take a nesting apart, and leave its leaves what they are.

    Parameters
    ----------
    value : object
        An array, a scalar, or a nesting of lists, tuples, dicts, named tuples, dataclasses and
        classes that are registered with optree or JAX.
    name : str
        What the whole is called.
    """
    if type(value) is np.ndarray:  # what is evaluated most
        return Container([name], [value], LEAF, [""], [None])
    try:
        make_known(value)
        accessors, leaves, structure = optree.tree_flatten_with_accessor(value, namespace=NAMESPACE)
    except RecursionError as error:
        raise DTypeError(f"{name or 'at'} is nested too deeply, or holds itself.") from error
    paths = [accessor.codify("") for accessor in accessors]
    return Container(
        [name + path for path in paths], leaves, structure, paths, [None] * len(leaves)
    )


def take_apart(value: Any, name: str) -> Container:
    """Take a nesting apart into arrays of NumPy and scalars.

    Parameters
    ----------
    value, name
        As in `flattened`; leaves that are neither arrays nor numbers stay what they are.

    Examples
    --------
    >>> parts = take_apart({"b": [0.5, np.ones(3)]}, "params")
    >>> parts.names, parts.shapes
    (["params['b'][0]", "params['b'][1]"], [(), (3,)])
    >>> parts.rebuilt([1.0, 2.0])
    {'b': [1.0, 2.0]}
    """
    parts = flattened(value, name)
    read = [read_leaf(*both) for both in zip(parts.leaves, parts.names, strict=True)]
    forms = [form for _, form in read]
    endings = ["" if form is None else form.suffix for form in forms]
    return replace(
        parts,
        names=[own + ending for own, ending in zip(parts.names, endings, strict=True)],
        leaves=[leaf for leaf, _ in read],
        paths=[path + ending for path, ending in zip(parts.paths, endings, strict=True)],
        forms=forms,
    )


ANY_LEAF: Any = 0.0
LEAF = optree.tree_structure(ANY_LEAF, namespace=NAMESPACE)


def _kind(leaf: Any) -> str:
    """Return the kind of a dtype as NumPy writes it, s for words, k for the key of a generator.

    That of anything else is O.
    """
    if isinstance(leaf, str | bytes | enum.Enum):
        return "s"
    if isinstance(leaf, np.ndarray | np.generic | bool | int | float | complex):
        return np.asarray(leaf).dtype.kind
    return "k" if type(leaf).__module__.startswith("jax") else "O"


def _dtype_name(leaf: Any) -> str:
    if isinstance(leaf, np.ndarray | np.generic):
        return str(leaf.dtype)
    return "a key of JAX" if _kind(leaf) == "k" else type(leaf).__name__


def _as_given(leaf: Any, form: Form | None) -> Any:
    """Return a copy of a leaf that is held, as it was given: f may not change the user's."""
    own = leaf.copy() if isinstance(leaf, np.ndarray) else leaf
    return own if form is None else form.leaf(own)


def _with_floats_of_lists(leaves: list[Any], structure: Any) -> list[Any]:
    """Return the leaves with an integer as a float where a list of numbers has a float."""
    nested = optree.tree_unflatten(structure, list(range(len(leaves))))
    made = list(leaves)

    def visit(node: Any) -> bool:
        if type(node) is list and node and all(type(place) is int for place in node):
            members = [leaves[place] for place in node]
            if {type(member) for member in members} == {int, float}:
                for place, member in zip(node, members, strict=True):
                    made[place] = float(member)
        return False

    if any(type(leaf) is int for leaf in leaves):
        optree.tree_leaves(nested, is_leaf=visit, namespace=NAMESPACE)
    return made


def require_leaves(
    container: Container, name: str, *, complex_too: bool = False, empty_too: bool = False
) -> None:
    """Raise unless there is an entry at all and every leaf holds floats."""
    allowed = REAL + COMPLEX if complex_too else REAL
    for leaf_name, leaf, form in zip(
        container.names, container.leaves, container.forms, strict=True
    ):
        _require_float_leaf(leaf, leaf_name, allowed)
        if getattr(form, "sparse", False):
            raise DTypeError(f"{leaf_name} must be a dense tensor: use .to_dense().")
    empty_too &= bool(container.leaves)
    if not empty_too and sum(np.size(leaf) for leaf in container.leaves) == 0:
        raise ShapeError(f"{name} must hold at least one float, but it is empty.")


def _require_float_leaf(leaf: Any, name: str, allowed: tuple[np.dtype[Any], ...]) -> None:
    kinds = (
        "float64, float32, complex128 or complex64" if len(allowed) > 2 else ("float64 or float32")
    )
    if not isinstance(leaf, np.ndarray | np.generic | float | complex | int):
        hint = " Use .to_numpy()." if type(leaf).__module__.startswith("pandas") else ""
        raise DTypeError(f"{name} must be an array or a float, not {type(leaf).__name__}.{hint}")
    dtype = np.asarray(leaf).dtype
    if dtype not in allowed or not dtype.isnative:
        came = type(leaf).__name__ if isinstance(leaf, bool | int) else str(dtype)
        hint = ""
        if dtype.kind in "iub":
            hint = " What is no float has no derivative: bind it to the function."
        if dtype.kind == "c":
            hint = " Complex arguments are for check_vjp and check_jvp."
        raise DTypeError(f"{name} must be {kinds}, not {came}.{hint}")
